"""Candidates, durable: what is kept, and when what waits is released.

The state of a waiting candidate follows from the candidates of its group alone, not from the order
or the number of their deliveries: each delivery adds to sets (candidates, points of a group's
lines), and the group is then settled from what the sets hold, in the same transaction.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pipeline.errors import SluisError
from pipeline.verdicts import CONFIRMED_ONCE, DISPUTED, RELEASED
from pipeline.verification import audit
from pipeline.verification.database import (
    Connection,
    Database,
    StoreFault,
    StoreRefused,
    Transaction,
    marks,
)
from pipeline.verification.erasure import WAITING, due, erase
from pipeline.verification.postgres import SCHEMES, PostgresDatabase
from pipeline.verification.release import contested, release
from pipeline.verification.sqlite import SqliteDatabase
from pipeline.verification.writer import Writer

HELD, QUARANTINED = WAITING

ADDED, REPEATED = "added", "repeated"
CONFLICT, ALTERED, EXPIRED, CLOSED = "conflict", "altered", "expired", "closed"
EARLY = "early"
"""What became of a candidate that arrived."""

MOST_RETENTION_DAYS: Final = 365
"""Twelve months, the longest the proposal allows."""

_SECONDS_A_DAY: Final = 86_400
_IDLE_READERS: Final = 8
_MOST_DAYS_AHEAD: Final = 1
"""Of a hit's day: clocks differ, and a day begins earlier elsewhere. A later one would be kept for
longer than the retention."""

T = TypeVar("T")


class NotFound(SluisError):  # noqa: N818
    """There is no such candidate."""


@dataclass(frozen=True)
class Stored:
    """A candidate as it is kept."""

    candidate_id: bytes
    sequence: int
    message: bytes
    state: str
    received_at: int
    group_ref: bytes = b""


@dataclass(frozen=True)
class Arrival:
    """A candidate that came in.

    Attributes:
        candidate_id: its id.
        message: serialized, as it arrived.
        order_id: of its order.
        epoch: of that order.
        hit_day: days since 1970.
        group_tag: its group, if it waits for a second hit; empty if it is released at once.
        shares: of one that waits, (stream, x, y) of each.
    """

    candidate_id: bytes
    message: bytes
    order_id: bytes
    epoch: int
    hit_day: int
    group_tag: bytes = b""
    shares: tuple[tuple[str, bytes, bytes], ...] = ()


def open_store(
    where: str | Path,
    *,
    clock: Callable[[], float] = time.time,
    retention_days: int = MOST_RETENTION_DAYS,
    may_make: bool = True,
) -> Store:
    """Open or make a store.

    Args:
        where: a file (SQLite), or postgresql://USER@HOST/DATABASE.
        clock: seconds since 1970.
        retention_days: how long a hit that waits is kept after its day, and a released one after
            its release.
        may_make: whether to make one where there is none.

    Raises:
        StoreRefused: not ours, of another version, or not reachable.
    """
    if not 1 <= retention_days <= MOST_RETENTION_DAYS:
        raise StoreRefused(
            f"retention of {retention_days} days: at least 1 and at most {MOST_RETENTION_DAYS}"
        )
    database = _database(where)
    database.prepare(may_make=may_make)
    return Store(database, clock, retention_days)


@contextmanager
def looking_at(where: str | Path) -> Iterator[Connection]:
    """Read a store without the right to write to it: for whoever examines one.

    Raises:
        StoreRefused: as `open_store`; there is none.
    """
    connection = _database(where).look()
    try:
        yield connection
    finally:
        connection.close()


def _database(where: str | Path) -> Database:
    text = str(where)
    return PostgresDatabase(text) if text.startswith(SCHEMES) else SqliteDatabase(Path(where))


class Store:
    """The verification service's database."""

    def __init__(self, database: Database, clock: Callable[[], float], retention_days: int) -> None:
        """Start the writer on a prepared database; see `open_store`."""
        self._database = database
        self._clock = clock
        self._retention_days = retention_days
        self._writer = Writer(database)
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()

    @property
    def name(self) -> str:
        """For messages; holds no password."""
        return self._database.name

    @property
    def is_writing(self) -> bool:
        """Whether candidates can still be kept."""
        return self._writer.is_alive

    def now(self) -> int:
        """Seconds since 1970, by the store's clock."""
        return int(self._clock())

    def today(self) -> int:
        """Days since 1970, by the store's clock."""
        return self.now() // _SECONDS_A_DAY

    def purge(self) -> None:
        """Let what was deleted leave the database's files, as far as the database can.

        Raises:
            StoreFault: the database does not answer.
        """
        with self.read() as connection:
            connection.purge()

    def close(self) -> None:
        """Finish what waits, stop the writer, close connections."""
        self._writer.close()
        self._close_idle()

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Run `work` in the writer's transaction; its result comes once it is durable.

        A job that raises is undone alone, and its future raises the same.

        Raises:
            StoreFault: the store is closed.
        """
        return self._writer.submit(work)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read with.

        Raises:
            StoreFault: the database does not answer.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._database.connect()
        broken = False
        try:
            yield connection
        except StoreFault:
            broken = True  # and so may be those that lie idle: a server that restarted drops all
            self._close_idle()
            raise
        finally:
            if broken or self._idle.qsize() >= _IDLE_READERS:
                connection.close()
            else:
                self._idle.put(connection)

    def _close_idle(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    # --- candidates -----------------------------------------------------------------------

    def add(self, arrivals: Sequence[Arrival]) -> Future[list[str]]:
        """Keep candidates; whatever can be opened with them is released at once.

        The first message of an id and a kind of seal wins. An id may come with both kinds: a user
        has notified an item that waits. Reviewers then get the direct seal until its group opens,
        and from then on the one that the group's tag has proven, unless they have decided.

        Returns:
            For each `ADDED`, `REPEATED`, `CONFLICT` (the same x as another with another y),
            `ALTERED` (not what was sealed: seen once its group is open), `EXPIRED` (waits, and
            its retention is over), `EARLY` (its day has not come) or `CLOSED` (the key of its
            epoch is destroyed); resolved once durable.
        """

        def work(transaction: Transaction) -> list[str]:
            return _Intake(transaction, self.now(), self._retention_days).add(arrivals)

        return self.submit(work)

    def known(self, ids: Sequence[bytes]) -> dict[bytes, frozenset[bool]]:
        """Which seals are durably kept of each id: True for a threshold seal, False for a direct.

        What is known stays known, so a repeat can be answered without asking the writer.
        """
        with self.read() as connection:
            return _seals(connection, ids)

    def aside(self, ids: Sequence[bytes]) -> dict[bytes, str]:
        """Which of these are put aside, and why: `CONFLICT` or `ALTERED`."""
        with self.read() as connection:
            return _aside(connection, ids)

    def get(self, candidate_id: bytes) -> Stored:
        """One released candidate.

        Raises:
            NotFound: there is none.
        """
        with self.read() as connection:
            return one_released(connection, candidate_id)

    def page(
        self, after: int, size: int, state: str | None, seen_by: str = ""
    ) -> tuple[list[Stored], int]:
        """Up to `size` released candidates after a sequence, and how many are in that state.

        To a reviewer (`seen_by` their id) one that others alone have decided on is `released`.
        """
        condition, values = _in_state(state, seen_by)
        with self.read() as connection:
            rows = connection.execute(
                f"{_SELECT} WHERE {condition} AND sequence > ? ORDER BY sequence LIMIT ?",
                (*values, after, size),
            ).fetchall()
            (total,) = connection.execute(
                f"SELECT count(*) FROM candidate WHERE {condition} AND sequence IS NOT NULL",
                values,
            ).fetchone()
        return [_stored(row) for row in rows], total


class _Intake:
    """One batch of arrivals, in the writer's transaction."""

    def __init__(self, transaction: Transaction, now: int, retention_days: int) -> None:
        self._transaction = transaction
        self._now = now
        self._retention_days = retention_days
        self._today = now // _SECONDS_A_DAY
        (last,) = transaction.execute("SELECT max(sequence) FROM candidate").fetchone()
        self._sequence = last or 0

    def add(self, arrivals: Sequence[Arrival]) -> list[str]:
        """Keep what is new, settle the groups it belongs to, say what became of each."""
        self._erase_what_is_due(arrivals)
        filled = _seals(self._transaction, [one.candidate_id for one in arrivals])
        closed = closed_epochs(self._transaction)
        outcomes = []
        rows: list[tuple[Any, ...]] = []
        joining: list[Arrival] = []
        waiting: list[Arrival] = []
        for one in arrivals:
            seals = filled.get(one.candidate_id, frozenset())
            seal = bool(one.group_tag)
            if seal in seals:
                outcomes.append(REPEATED)
                continue
            refusal = self._refusal(one, closed)
            if refusal is not None:
                outcomes.append(refusal)
                continue
            if seals:
                joining.append(one)
            else:
                rows.append(self._row(one))
            if one.group_tag:
                waiting.append(one)
            filled[one.candidate_id] = seals | {seal}
            outcomes.append(ADDED)
        if rows:
            self._transaction.executemany(_INSERT, rows)
        for one in joining:
            self._join(one)
        points = [(one.group_tag, *share) for one in waiting for share in one.shares]
        if points:
            self._transaction.executemany(
                "INSERT INTO share VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", points
            )
        aside = self._settle(waiting)
        outcomes = [
            aside.get(one.candidate_id, ADDED) if outcome == ADDED and one.group_tag else outcome
            for one, outcome in zip(arrivals, outcomes, strict=True)
        ]
        self._note(arrivals, outcomes)
        return self._with_repeats(arrivals, outcomes)

    def _with_repeats(self, arrivals: Sequence[Arrival], outcomes: Sequence[str]) -> list[str]:
        """A repeat of what is put aside has the answer that the first one had."""
        found = list(zip(arrivals, outcomes, strict=True))
        again = [one.candidate_id for one, out in found if out == REPEATED and one.group_tag]
        aside = _aside(self._transaction, again)
        return [
            aside.get(one.candidate_id, out) if out == REPEATED and one.group_tag else out
            for one, out in found
        ]

    def _refusal(self, one: Arrival, closed: set[tuple[bytes, int]]) -> str | None:
        if (one.order_id, one.epoch) in closed:
            return CLOSED
        if one.hit_day > self._today + _MOST_DAYS_AHEAD:
            return EARLY
        return EXPIRED if self._is_expired(one) else None

    def _is_expired(self, one: Arrival) -> bool:
        return bool(one.group_tag) and one.hit_day + self._retention_days < self._today

    def _erase_what_is_due(self, arrivals: Sequence[Arrival]) -> None:
        """Of what newcomers meet: a hit past its retention is no second hit."""
        new = [one for one in arrivals if not self._is_expired(one)]
        if not new:
            return
        tags = sorted({one.group_tag for one in new if one.group_tag})
        ids = due(self._transaction, [one.candidate_id for one in new], tags, self._today)
        if ids:
            erase(self._transaction, ids=ids, before=self._today, now=self._now, kind="sweep")

    def _row(self, one: Arrival) -> tuple[Any, ...]:
        known = (one.candidate_id, one.order_id, one.epoch, self._now)
        if one.group_tag:
            day = one.hit_day + self._retention_days
            return (*known, None, HELD, one.group_tag, one.message, None, day)
        self._sequence += 1
        day = self._today + self._retention_days
        return (*known, self._sequence, RELEASED, None, None, one.message, day)

    def _join(self, one: Arrival) -> None:
        """Add a second seal to a candidate that has one."""
        if one.group_tag:
            self._transaction.execute(
                "UPDATE candidate SET group_tag = ?, waiting = ? WHERE candidate_id = ?",
                (one.group_tag, one.message, one.candidate_id),
            )
        else:
            self._release(one.candidate_id, one.message)

    def _release(self, candidate_id: bytes, message: bytes) -> bool:
        changed = self._transaction.execute(
            "UPDATE candidate SET sequence = ?, state = 'released', released = ?, "
            "delete_after = ? WHERE candidate_id = ? AND state IN ('held', 'quarantined')",
            (self._sequence + 1, message, self._today + self._retention_days, candidate_id),
        ).rowcount
        self._sequence += changed
        return changed == 1

    def _replace(self, candidate_id: bytes, message: bytes) -> bool:
        """Put what the group's tag has proven in the place of a direct seal that nobody proves."""
        changed = self._transaction.execute(
            "UPDATE candidate SET released = ? "
            "WHERE candidate_id = ? AND state = 'released' AND released <> ?",
            (message, candidate_id, message),
        ).rowcount
        return changed == 1

    def _settle(self, newcomers: Sequence[Arrival]) -> dict[bytes, str]:
        """Release or put aside what the newcomers decide; says which ids are put aside, and why."""
        by_tag: dict[bytes, list[Arrival]] = {}
        for one in newcomers:
            by_tag.setdefault(one.group_tag, []).append(one)
        if not by_tag:
            return {}
        tags = sorted(by_tag)
        pairs = {
            tag: (one, two)
            for tag, one, two in self._transaction.execute(
                "SELECT group_tag, one, two FROM hit_group "
                f"WHERE group_tag IN ({marks(len(tags))})",
                tags,
            ).fetchall()
        }
        points: dict[bytes, list[tuple[int, int]]] = {}
        for tag, xs, ys in self._transaction.execute(
            "SELECT group_tag, count(DISTINCT x), count(*) FROM share "
            f"WHERE group_tag IN ({marks(len(tags))}) GROUP BY group_tag, stream",
            tags,
        ).fetchall():
            points.setdefault(tag, []).append((xs, ys))
        aside: dict[bytes, str] = {}
        for tag in tags:
            may_open = sum(xs > 1 for xs, _ in points[tag]) > 1
            is_contested = any(ys > xs for xs, ys in points[tag])
            if may_open and self._open(tag, pairs.get(tag), by_tag[tag], aside):
                continue
            if is_contested:
                for candidate_id in contested(self._group(tag)):
                    self._put_aside(candidate_id)
                    aside[candidate_id] = CONFLICT
        return aside

    def _open(
        self,
        tag: bytes,
        pair: tuple[bytes, bytes] | None,
        newcomers: Sequence[Arrival],
        aside: dict[bytes, str],
    ) -> bool:
        """Open a group, or open it again for its newcomers; False if it does not open."""
        messages = self._waiting(pair) if pair else []
        tried: set[bytes] | None
        if len(messages) == 2:
            known = {*pair} if pair else set()
            messages += [one.message for one in newcomers if one.candidate_id not in known]
            tried = None
        else:
            messages = self._group(tag)
            tried = {one.candidate_id for one in newcomers}  # the others do not open each other
        opened = release(messages, tried)
        if opened is None:
            return False
        self._transaction.execute(
            "INSERT INTO hit_group VALUES (?, ?, ?, ?, ?) ON CONFLICT (group_tag) DO UPDATE "
            "SET one = excluded.one, two = excluded.two",
            (tag, secrets.token_bytes(16), *opened.pair, self._now),
        )
        released = [
            candidate_id.hex()
            for candidate_id, message in opened.messages.items()
            if self._release(candidate_id, message) or self._replace(candidate_id, message)
        ]
        if released:
            audit.append(self._transaction, "release", {"candidates": released}, self._now)
        for candidate_id in opened.bad:
            self._put_aside(candidate_id)
            aside[candidate_id] = ALTERED
        return True

    def _waiting(self, ids: Sequence[bytes]) -> list[bytes]:
        rows = self._transaction.execute(
            "SELECT waiting FROM candidate "
            f"WHERE candidate_id IN ({marks(len(ids))}) AND waiting IS NOT NULL",
            ids,
        ).fetchall()
        return [message for (message,) in rows]

    def _group(self, tag: bytes) -> list[bytes]:
        rows = self._transaction.execute(
            "SELECT waiting FROM candidate WHERE group_tag = ? AND waiting IS NOT NULL "
            "ORDER BY candidate_id",
            (tag,),
        ).fetchall()
        return [message for (message,) in rows]

    def _put_aside(self, candidate_id: bytes) -> None:
        changed = self._transaction.execute(
            "UPDATE candidate SET state = 'quarantined' WHERE candidate_id = ? AND state = 'held'",
            (candidate_id,),
        ).rowcount
        if changed:
            audit.append(
                self._transaction, "quarantine", {"candidate": candidate_id.hex()}, self._now
            )

    def _note(self, arrivals: Sequence[Arrival], outcomes: Sequence[str]) -> None:
        """One link for the batch, if it changed anything: counts, and a digest of its new ids."""
        counts = Counter(outcomes)
        kept = [
            one.candidate_id
            for one, outcome in zip(arrivals, outcomes, strict=True)
            if outcome in (ADDED, CONFLICT, ALTERED)
        ]
        if kept:
            digest = hashlib.sha256(b"".join(sorted(kept))).hexdigest()
            audit.append(self._transaction, "batch", {**counts, "ids_sha256": digest}, self._now)


_WAITS: Final = frozenset({True})
_DIRECT: Final = frozenset({False})
_INSERT: Final = (
    "INSERT INTO candidate (candidate_id, order_id, epoch, received_at, sequence, state, "
    "group_tag, waiting, released, delete_after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT: Final = (
    "SELECT candidate_id, sequence, released, state, received_at, group_ref "
    "FROM candidate LEFT JOIN hit_group USING (group_tag)"
)
_UNDECIDED: Final = (RELEASED, CONFIRMED_ONCE, DISPUTED)
"""States of a candidate without a verdict."""
_VISIBLE: Final = "state NOT IN ('held', 'quarantined')"
"""What anyone but the release step ever sees."""


def _seals(transaction: Transaction, ids: Sequence[bytes]) -> dict[bytes, frozenset[bool]]:
    """See `Store.known`."""
    if not ids:
        return {}
    found = transaction.execute(
        "SELECT candidate_id, waiting IS NOT NULL, released IS NOT NULL, delete_after IS NULL "
        f"FROM candidate WHERE candidate_id IN ({marks(len(ids))})",
        ids,
    ).fetchall()
    kinds = {(0, 0): frozenset(), (1, 0): _WAITS, (0, 1): _DIRECT, (1, 1): _WAITS | _DIRECT}
    # A closed file is not opened again: of what is erased, every seal is known.
    return {
        candidate_id: _WAITS | _DIRECT if is_erased else kinds[waits, is_direct]
        for candidate_id, waits, is_direct, is_erased in found
    }


def _aside(transaction: Transaction, ids: Sequence[bytes]) -> dict[bytes, str]:
    """See `Store.aside`."""
    if not ids:
        return {}
    rows = transaction.execute(
        "SELECT candidate_id, group_ref IS NOT NULL "
        "FROM candidate LEFT JOIN hit_group USING (group_tag) "
        f"WHERE candidate_id IN ({marks(len(ids))}) AND state = ?",
        (*ids, QUARANTINED),
    ).fetchall()
    return {candidate_id: ALTERED if is_open else CONFLICT for candidate_id, is_open in rows}


def _in_state(state: str | None, seen_by: str) -> tuple[str, tuple[str, ...]]:
    """A condition on candidates, and its values."""
    if state is None:
        return _VISIBLE, ()
    if not seen_by or state not in _UNDECIDED:
        return "state = ?", (state,)
    decided = (
        "EXISTS (SELECT 1 FROM decision WHERE decision.candidate_id = candidate.candidate_id "
        "AND decision.reviewer_id = ?)"
    )
    if state == RELEASED:
        undecided = f"state IN ({marks(len(_UNDECIDED))})"
        return f"{undecided} AND (state = ? OR NOT {decided})", (*_UNDECIDED, RELEASED, seen_by)
    return f"state = ? AND {decided}", (state, seen_by)


def closed_epochs(transaction: Transaction) -> set[tuple[bytes, int]]:
    """Order and epoch of every key that is known to be destroyed."""
    rows = transaction.execute("SELECT order_id, epoch FROM closed_epoch").fetchall()
    return {(order_id, epoch) for order_id, epoch in rows}


def one_released(transaction: Transaction, candidate_id: bytes) -> Stored:
    """One released candidate.

    Raises:
        NotFound: there is none, or it waits.
    """
    row = transaction.execute(
        f"{_SELECT} WHERE candidate_id = ? AND {_VISIBLE}", (candidate_id,)
    ).fetchone()
    if row is None:
        raise NotFound("there is no such candidate")
    return _stored(row)


def _stored(row: Sequence[Any]) -> Stored:
    candidate_id, sequence, message, state, received_at, group_ref = row
    return Stored(candidate_id, sequence, message, state, received_at, group_ref or b"")
