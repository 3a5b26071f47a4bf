"""Candidates and verdicts on disk: SQLite in WAL mode with synchronous = FULL.

One writer thread commits whole groups of batches, so that many callers share one fsync; a result
is handed out only after the commit that made it durable. Readers have their own connections.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pipeline.errors import SluisError
from pipeline.verification.release import release

HELD, QUARANTINED = "held", "quarantined"
RELEASED, CONFIRMED, REJECTED = "released", "confirmed", "rejected"

_SCHEMA_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE candidate (
  sequence        INTEGER UNIQUE,    -- given on release: what waits leaves no gap to be seen
  candidate_id    BLOB NOT NULL UNIQUE CHECK (length(candidate_id) = 16),
  message         BLOB NOT NULL,     -- the sealed Candidate as it arrived
  released        BLOB,              -- the same with a direct seal, once its group is open
  group_tag       BLOB,              -- of a threshold seal
  state           TEXT NOT NULL
    CHECK (state IN ('held', 'quarantined', 'released', 'confirmed', 'rejected')),
  received_at     INTEGER NOT NULL   -- seconds since 1970
) STRICT;
CREATE INDEX candidate_by_state ON candidate (state, sequence);
CREATE INDEX candidate_by_group ON candidate (group_tag) WHERE group_tag IS NOT NULL;
CREATE TABLE share (
  group_tag       BLOB NOT NULL,
  stream          TEXT NOT NULL,
  x               BLOB NOT NULL,
  y               BLOB NOT NULL,
  PRIMARY KEY (group_tag, stream, x)  -- a repeat never counts twice
) STRICT, WITHOUT ROWID;
CREATE TABLE hit_group (
  group_tag       BLOB PRIMARY KEY,
  group_ref       BLOB NOT NULL UNIQUE,  -- random: what reviewers see in the tag's place
  opened_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE verdict (
  candidate_id    BLOB PRIMARY KEY REFERENCES candidate (candidate_id),
  value           TEXT NOT NULL CHECK (value IN ('confirmed', 'rejected')),
  reviewer        TEXT NOT NULL,     -- certified URI
  reason          TEXT NOT NULL,
  decided_at      INTEGER NOT NULL
) STRICT;
CREATE TRIGGER verdict_stands BEFORE UPDATE ON verdict
  BEGIN SELECT RAISE(ABORT, 'a verdict is never changed'); END;
CREATE TRIGGER verdict_is_first BEFORE INSERT ON verdict
  WHEN EXISTS (SELECT 1 FROM verdict WHERE candidate_id = NEW.candidate_id)
  BEGIN SELECT RAISE(ABORT, 'a verdict is never replaced'); END;
CREATE TRIGGER verdict_stays BEFORE DELETE ON verdict
  BEGIN SELECT RAISE(ABORT, 'a verdict is never removed'); END;
"""
_MOST_JOBS: Final = 64  # waiting batches; a full queue makes callers wait
_GROUP: Final = 16  # batches in one commit
_OPENED_BEFORE: Final = 64  # released candidates looked at to open their group again

T = TypeVar("T")


class StoreRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """The store's file cannot be used."""

    exit_status = 2


class NotFound(SluisError):  # noqa: N818
    """There is no such candidate."""


class AlreadyDecided(SluisError):  # noqa: N818
    """Another verdict stands."""


@dataclass(frozen=True)
class Verdict:
    """A person's decision."""

    value: str
    reviewer: str
    reason: str
    decided_at: int


@dataclass(frozen=True)
class Stored:
    """A candidate as it is kept."""

    sequence: int
    message: bytes
    state: str
    received_at: int
    verdict: Verdict | None
    group_ref: bytes = b""


@dataclass(frozen=True)
class Waiting:
    """A candidate that waits for a second hit of its group.

    Attributes:
        candidate_id: its id.
        message: serialized, as it arrived.
        group_tag: its group.
        shares: (stream, x, y) of each of its shares.
    """

    candidate_id: bytes
    message: bytes
    group_tag: bytes
    shares: tuple[tuple[str, bytes, bytes], ...]


ADDED, REPEATED, CONFLICT = "added", "repeated", "conflict"
"""What became of a waiting candidate."""


class Store:
    """The verification service's database."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open or make the database at `path`.

        Raises:
            StoreRefused: not ours, or of another version.
        """
        self._path = path
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(OSError):  # SQLite's own files take over the mode of this one
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        connection = self._connect()
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if version == 0 and tables == 0:
                connection.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
                )
            elif version != _SCHEMA_VERSION:
                raise StoreRefused(
                    f"{path} is a database of something else, or of schema version {version}; "
                    f"this version reads {_SCHEMA_VERSION}"
                )
        except sqlite3.DatabaseError as error:
            raise StoreRefused(f"{path} is not a store of Sluis: {error}") from error
        finally:
            connection.close()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_MOST_JOBS)
        self._writer = threading.Thread(
            target=self._write, args=(self._connect(),), name="store-writer", daemon=True
        )
        self._writer.start()

    def close(self) -> None:
        """Finish what waits and stop the writer."""
        self._jobs.put(None)
        self._writer.join()

    # --- writes ---------------------------------------------------------------------------

    def add(self, candidates: Sequence[tuple[bytes, bytes]]) -> Future[list[bool]]:
        """Keep released candidates.

        Args:
            candidates: (candidate_id, message); the first message of an id wins, but for one that
                waits: a user has notified that item since, which releases it.

        Returns:
            For each whether it is new; resolved once durable.
        """

        def work(connection: sqlite3.Connection) -> list[bool]:
            now = int(self._clock())
            return [
                connection.execute(
                    _INSERT_RELEASED, (candidate_id, message, RELEASED, now)
                ).rowcount
                == 1
                for candidate_id, message in candidates
            ]

        return self._submit(work)

    def add_waiting(self, waiting: Sequence[Waiting]) -> Future[list[str]]:
        """Keep candidates that wait; whatever can be opened with them is released at once.

        Returns:
            For each `ADDED`, `REPEATED` or `CONFLICT` (another y for the same x: quarantined);
            resolved once durable.
        """

        def work(connection: sqlite3.Connection) -> list[str]:
            now = int(self._clock())
            outcomes = [_add_waiting(connection, one, now) for one in waiting]
            groups = {
                one.group_tag
                for one, outcome in zip(waiting, outcomes, strict=True)
                if outcome == ADDED
            }
            for tag in sorted(groups):
                _open_group(connection, tag, now)
            return outcomes

        return self._submit(work)

    def decide(self, candidate_id: bytes, value: str, reviewer: str, reason: str) -> Future[Stored]:
        """Record a verdict, once; the same one by the same reviewer again changes nothing.

        The future fails with `NotFound` or `AlreadyDecided`.
        """

        def work(connection: sqlite3.Connection) -> Stored:
            before = _one(connection, candidate_id)
            if before.verdict is not None:
                if (before.verdict.value, before.verdict.reviewer) == (value, reviewer):
                    return before
                raise AlreadyDecided(
                    f"already {before.verdict.value} by {before.verdict.reviewer}; a verdict is "
                    "never changed"
                )
            connection.execute(
                "INSERT INTO verdict VALUES (?, ?, ?, ?, ?)",
                (candidate_id, value, reviewer, reason, int(self._clock())),
            )
            connection.execute(
                "UPDATE candidate SET state = ? WHERE candidate_id = ?", (value, candidate_id)
            )
            return _one(connection, candidate_id)

        return self._submit(work)

    def _submit(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        future: Future[T] = Future()
        if not self._writer.is_alive():
            raise StoreRefused(f"{self._path}: the store is closed")
        self._jobs.put(_Job(work, future))
        return future

    def _write(self, connection: sqlite3.Connection) -> None:
        running = True
        while running:
            jobs: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) == _GROUP or self._jobs.empty():
                    break
                job = self._jobs.get()
            running = job is not None
            self._commit(connection, jobs)
        connection.close()

    @staticmethod
    def _commit(connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction; a job that fails is undone alone."""
        # A caller whose deadline has passed has cancelled its future: nobody waits for that job.
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        finished: list[tuple[_Job, object, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                connection.execute("SAVEPOINT job")
                try:
                    finished.append((job, job.work(connection), None))
                except Exception as error:  # noqa: BLE001 - handed to the caller below
                    connection.execute("ROLLBACK TO job")
                    finished.append((job, None, error))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - every waiting caller must hear of it
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            finished = [(job, None, error) for job in jobs]
        for job, result, fault in finished:
            if fault is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(fault)

    # --- reads ----------------------------------------------------------------------------

    def get(self, candidate_id: bytes) -> Stored:
        """One candidate.

        Raises:
            NotFound: there is none.
        """
        connection = self._connect()
        try:
            return _one(connection, candidate_id)
        finally:
            connection.close()

    def page(self, after: int, size: int, state: str | None) -> tuple[list[Stored], int]:
        """Up to `size` released candidates after a sequence, and how many are in that state."""
        connection = self._connect()
        try:
            condition = _VISIBLE if state is None else f"{_VISIBLE} AND state = :state"
            values = {"after": after, "size": size, "state": state}
            rows = connection.execute(
                f"{_SELECT} WHERE {condition} AND sequence > :after ORDER BY sequence LIMIT :size",
                values,
            ).fetchall()
            total = connection.execute(
                f"SELECT count(*) FROM candidate WHERE {condition}",  # noqa: S608 - a constant
                values,
            ).fetchone()[0]
            return [_stored(row) for row in rows], total
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = None
        try:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=10
            )
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "foreign_keys = ON",
                "secure_delete = ON",
                "trusted_schema = OFF",
            ):
                connection.execute(f"PRAGMA {pragma}")
        except sqlite3.DatabaseError as error:
            if connection is not None:
                connection.close()
            raise StoreRefused(f"{self._path} is not a store of Sluis: {error}") from error
        return connection


@dataclass(frozen=True)
class _Job:
    work: Callable[[sqlite3.Connection], object]
    future: Future  # type: ignore[type-arg]


_SELECT: Final = (
    "SELECT sequence, coalesce(released, message), state, received_at, value, reviewer, reason, "
    "decided_at, group_ref FROM candidate LEFT JOIN verdict USING (candidate_id) "
    "LEFT JOIN hit_group USING (group_tag)"
)
_NEXT: Final = "(SELECT coalesce(max(sequence), 0) + 1 FROM candidate)"
_INSERT_RELEASED: Final = (
    "INSERT INTO candidate (sequence, candidate_id, message, state, received_at) "  # noqa: S608
    f"VALUES ({_NEXT}, ?, ?, ?, ?) ON CONFLICT (candidate_id) DO UPDATE "
    "SET sequence = excluded.sequence, released = excluded.message, state = excluded.state "
    "WHERE state = 'held'"
)
_RELEASE: Final = (
    f"UPDATE candidate SET sequence = {_NEXT}, state = 'released', released = ? "  # noqa: S608
    "WHERE candidate_id = ? AND state = 'held'"
)
_VISIBLE: Final = "state NOT IN ('held', 'quarantined')"
"""What anyone but the release step ever sees."""


def _add_waiting(connection: sqlite3.Connection, one: Waiting, now: int) -> str:
    """Keep one candidate and its shares; a share that contradicts another puts it aside."""
    conflict = any(
        found is not None and found[0] != y
        for stream, x, y in one.shares
        for found in [
            connection.execute(
                "SELECT y FROM share WHERE group_tag = ? AND stream = ? AND x = ?",
                (one.group_tag, stream, x),
            ).fetchone()
        ]
    )
    is_new = connection.execute(
        "INSERT INTO candidate (candidate_id, message, group_tag, state, received_at) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (candidate_id) DO NOTHING",
        (one.candidate_id, one.message, one.group_tag, QUARANTINED if conflict else HELD, now),
    ).rowcount
    if is_new != 1:
        return REPEATED
    if conflict:
        return CONFLICT
    connection.executemany(
        "INSERT INTO share VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(one.group_tag, stream, x, y) for stream, x, y in one.shares],
    )
    return ADDED


def _open_group(connection: sqlite3.Connection, tag: bytes, now: int) -> None:
    """Release what can be read of a group: in the insert's own transaction."""
    distinct = connection.execute(
        "SELECT count(DISTINCT x) FROM share WHERE group_tag = ? GROUP BY stream", (tag,)
    ).fetchall()
    if any(count < 2 for (count,) in distinct):
        return
    waiting = connection.execute(
        "SELECT message FROM candidate WHERE group_tag = ? AND state = 'held'", (tag,)
    ).fetchall()
    # A few that were opened before are enough to open it again; the key is never kept.
    before = connection.execute(
        "SELECT message FROM candidate WHERE group_tag = ? "
        "AND state NOT IN ('held', 'quarantined') ORDER BY sequence LIMIT ?",
        (tag, _OPENED_BEFORE),
    ).fetchall()
    opened = release([message for (message,) in (*before, *waiting)])
    if opened is None:
        return
    connection.execute(
        "INSERT INTO hit_group VALUES (?, ?, ?) ON CONFLICT (group_tag) DO NOTHING",
        (tag, secrets.token_bytes(16), now),
    )
    for candidate_id, message in opened.messages.items():
        connection.execute(
            _RELEASE,
            (message, candidate_id),
        )
    for candidate_id in opened.bad:
        connection.execute(
            "UPDATE candidate SET state = 'quarantined' WHERE candidate_id = ? AND state = 'held'",
            (candidate_id,),
        )


def _one(connection: sqlite3.Connection, candidate_id: bytes) -> Stored:
    row = connection.execute(
        f"{_SELECT} WHERE candidate_id = ? AND {_VISIBLE}", (candidate_id,)
    ).fetchone()
    if row is None:
        raise NotFound("there is no such candidate")
    return _stored(row)


def _stored(
    row: tuple[int, bytes, str, int, str | None, str, str, int, bytes | None],
) -> Stored:
    sequence, message, state, received_at, value, reviewer, reason, decided_at, group_ref = row
    verdict = None if value is None else Verdict(value, reviewer, reason, decided_at)
    return Stored(sequence, message, state, received_at, verdict, group_ref or b"")
