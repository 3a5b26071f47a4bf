"""The vault's register: every act, append-only and hash-chained; no identity stands in it.

An opening is entered *before* a token is opened, so that none is ever opened unrecorded. It names
candidates by their pseudonymous id, as it must to answer for them: it is a register, not a log, and
only the vault may read it. Each act's hash covers the act before, with `enc` as in `vouchers`:

    hash[n]   SHA-256(enc("sluis/v1/act", hash[n - 1], n u64, every column in order))

So an act that was changed or taken out is found, but not acts cut off the end, nor a chain made
anew by whoever may write the file: for that the last number and hash are to be kept elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from pipeline.errors import SluisError
from pipeline.vouchers import PREFIX, enc

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE act (
  sequence          INTEGER PRIMARY KEY,
  done_at           INTEGER NOT NULL,  -- seconds since 1970
  caller            TEXT NOT NULL,     -- certified URI; empty where the vault acts by itself
  act               TEXT NOT NULL
    CHECK (act IN ('opening', 'handed_over', 'repeated', 'refused', 'deleted')),
  refusal           TEXT NOT NULL,     -- empty unless refused
  candidate_id      BLOB NOT NULL,
  order_id          BLOB NOT NULL,
  verdict_digest    BLOB NOT NULL,     -- SHA-256 of the verdict's signed bytes
  hash              BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX handed_over_once ON act (candidate_id) WHERE act = 'handed_over';
CREATE TRIGGER act_stands BEFORE UPDATE ON act
  BEGIN SELECT RAISE(ABORT, 'an act is never changed'); END;
CREATE TRIGGER act_stays BEFORE DELETE ON act
  BEGIN SELECT RAISE(ABORT, 'an act is never removed'); END;
"""
_COLUMNS: Final = "done_at, caller, act, refusal, candidate_id, order_id, verdict_digest"
_START: Final = bytes(32)


class RegisterRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """The vault's register cannot be used."""

    exit_status = 2


class Act(StrEnum):
    """What the vault has done."""

    OPENING = "opening"
    HANDED_OVER = "handed_over"
    REPEATED = "repeated"
    REFUSED = "refused"
    DELETED = "deleted"


class Register:
    """The register of one vault. One thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the register at `path`.

        Raises:
            RegisterRefused: not ours, of another version, or its chain is broken.
        """
        self._path = path
        self._lock: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "trusted_schema = OFF"):
                self._connection.execute(f"PRAGMA {pragma}")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if version == 0 and tables == 0:
                self._connection.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
                )
            elif version != _SCHEMA_VERSION:
                raise RegisterRefused(
                    f"{path} is a database of something else, or of schema version {version}; "
                    f"this version reads {_SCHEMA_VERSION}"
                )
        except sqlite3.DatabaseError as error:
            raise RegisterRefused(f"{path} is not a register of Sluis: {error}") from error
        broken = self.first_broken()
        if broken is not None:
            self._connection.close()
            raise RegisterRefused(
                f"{path}: act {broken} does not follow from those before it: the register was "
                "altered. Keep it, find out how, and restore the last good copy"
            )

    def lock(self) -> None:
        """Make this the register's only vault, until it is closed.

        Raises:
            RegisterRefused: another vault has it.
        """
        # Not the register itself: to close a file ends SQLite's own locks on it.
        self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RegisterRefused(
                f"{self._path} is in use by another vault: stop that one, or name another register"
            ) from None

    def append(
        self,
        act: Act,
        *,
        done_at: int,
        caller: str,
        candidate_id: bytes,
        order_id: bytes,
        verdict_digest: bytes,
        refusal: str = "",
    ) -> None:
        """Enter an act; durable when this returns."""
        values = (done_at, caller, act.value, refusal, candidate_id, order_id, verdict_digest)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            sequence, before = self._connection.execute(
                "SELECT sequence, hash FROM act ORDER BY sequence DESC LIMIT 1"
            ).fetchone() or (0, _START)
            self._connection.execute(
                f"INSERT INTO act (sequence, {_COLUMNS}, hash) "  # noqa: S608 - a constant
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (sequence + 1, *values, _hash(before, sequence + 1, values)),
            )
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def handed_over(self, candidate_id: bytes) -> bytes | None:
        """Digest of the verdict on which this candidate's identity was handed over, if it was."""
        row = self._connection.execute(
            "SELECT verdict_digest FROM act WHERE candidate_id = ? AND act = 'handed_over'",
            (candidate_id,),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def opening(self, candidate_id: bytes) -> bytes | None:
        """Digest of the verdict on which this candidate's tokens were opened, if they were.

        After a crash this is all that tells of an identity that may have been written. An opening
        that ended in a refusal has opened nothing.
        """
        row = self._connection.execute(
            "SELECT verdict_digest FROM act AS opening WHERE candidate_id = ? AND act = 'opening' "
            "AND NOT EXISTS (SELECT 1 FROM act WHERE act = 'refused' "
            "AND refusal IN ('payload', 'token') AND candidate_id = opening.candidate_id "
            "AND verdict_digest = opening.verdict_digest) ORDER BY sequence LIMIT 1",
            (candidate_id,),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def acts(self) -> list[tuple[int, int, str, str, str, bytes, bytes, bytes]]:
        """Every act in order: sequence, then the columns as they are kept."""
        return self._connection.execute(
            f"SELECT sequence, {_COLUMNS} FROM act ORDER BY sequence"  # noqa: S608 - a constant
        ).fetchall()

    def last_hash(self) -> bytes:
        """Hash of the last act: it stands for all of them."""
        row = self._connection.execute(
            "SELECT hash FROM act ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        return bytes(row[0]) if row else _START

    def first_broken(self) -> int | None:
        """The first act that does not follow from those before it, if any."""
        before = _START
        rows = self._connection.execute(
            f"SELECT sequence, hash, {_COLUMNS} FROM act ORDER BY sequence"  # noqa: S608
        )
        for expected, (sequence, kept, *values) in enumerate(rows, start=1):
            if sequence != expected or kept != _hash(before, sequence, values):
                return expected
            before = kept
        return None

    def close(self) -> None:
        """Close the file, and let go of it."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)


def _hash(before: bytes, sequence: int, values: Sequence[int | str | bytes]) -> bytes:
    columns = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    encoded = enc(PREFIX + b"act", before, sequence.to_bytes(8, "big"), *columns)
    return hashlib.sha256(encoded).digest()
