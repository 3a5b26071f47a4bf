"""The store in a SQLite file: WAL, synchronous = FULL, deleted rows overwritten. The default."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pipeline.verification import schema
from pipeline.verification.database import Rows, StoreFault, StoreRefused

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",
    "trusted_schema = OFF",
    "cache_size = -65536",  # KiB: new ids fall anywhere in the indexes
    "wal_autocheckpoint = 8000",  # pages, 32 MB: fewer, larger copies into the file
)
_PATIENCE_SECONDS: Final = 10
"""How long another process (a sweep, a backup) may hold the file before a statement fails."""


class SqliteDatabase:
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self._path = path

    @property
    def name(self) -> str:
        """See `Database`."""
        return str(self._path)

    def prepare(self, *, may_make: bool) -> None:
        """See `Database`."""
        if not may_make and not (self._path.exists() and self._path.stat().st_size):
            raise StoreRefused(f"{self._path}: there is no store")
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(OSError):  # SQLite's own files take over the mode of this one
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            with contextlib.closing(_open(self._path)) as connection:
                self._make_or_check(connection, may_make=may_make)
        except sqlite3.DatabaseError as error:
            raise StoreRefused(f"{self._path} is not a store of Sluis: {error}") from error

    def _make_or_check(self, connection: sqlite3.Connection, *, may_make: bool) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if version == 0 and tables == 0 and not may_make:
            raise StoreRefused(f"{self._path}: there is no store")
        if version == 0 and tables == 0:
            connection.executescript(
                f"BEGIN; {schema.for_sqlite()} PRAGMA user_version = {schema.VERSION}; COMMIT;"
            )
        else:
            self._check(version)

    def _check(self, version: int) -> None:
        if version != schema.VERSION:
            raise StoreRefused(
                f"{self._path} is a database of something else, or of schema version {version}; "
                f"this version of Sluis reads {schema.VERSION}. Name a new file, or serve this one "
                "with the version that made it"
            )

    def look(self) -> SqliteConnection:
        """See `Database`."""
        if not (self._path.exists() and self._path.stat().st_size):
            raise StoreRefused(f"{self._path}: there is no store")
        # A log beside the file belongs to it. Without one nobody writes, and reading needs no lock
        # file, which an auditor may have no right to make.
        has_log = self._path.with_name(self._path.name + "-wal").exists()
        place = self._path.absolute().as_uri() + ("?mode=ro" if has_log else "?immutable=1")
        try:
            connection = sqlite3.connect(
                place, uri=True, isolation_level=None, timeout=_PATIENCE_SECONDS
            )
            connection.text_factory = _text
            try:
                self._check(connection.execute("PRAGMA user_version").fetchone()[0])
            except (sqlite3.Error, StoreRefused):
                connection.close()
                raise
        except sqlite3.Error as error:
            raise StoreRefused(f"{self._path} cannot be read as a store: {error}") from error
        return SqliteConnection(self.name, connection)

    def connect(self) -> SqliteConnection:
        """See `Database`."""
        with _wrapped(self.name):
            return SqliteConnection(self.name, _open(self._path))


class SqliteRows:
    """What a statement gave: SQLite goes on reading, and may fail, while rows are fetched."""

    def __init__(self, name: str, cursor: sqlite3.Cursor) -> None:
        self._name = name
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """See `Rows`."""
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        """See `Rows`."""
        with _wrapped(self._name):
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        """See `Rows`."""
        with _wrapped(self._name):
            return self._cursor.fetchall()


class SqliteConnection:
    """A connection to the file; see `Connection`."""

    def __init__(self, name: str, connection: sqlite3.Connection) -> None:
        self._name = name
        self._connection = connection

    @property
    def usable(self) -> bool:
        """A file does not go away."""
        return True

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        """See `Transaction`."""
        with _wrapped(self._name):
            return SqliteRows(self._name, self._connection.execute(statement, values))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        """See `Transaction`."""
        with _wrapped(self._name):
            self._connection.executemany(statement, rows)

    def begin(self) -> None:
        """See `Connection`."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """See `Connection`."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """See `Connection`."""
        if self._connection.in_transaction:
            self.execute("ROLLBACK")

    def purge(self) -> None:
        """See `Connection`. Deleted rows are overwritten; older pages are left in the WAL."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """See `Connection`."""
        self._connection.close()


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_SECONDS
    )
    # A changed row may hold what is no text: whoever reads it finds that, not the driver.
    connection.text_factory = _text
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _text(stored: bytes) -> str:
    return stored.decode(errors="surrogateescape")


@contextmanager
def _wrapped(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreFault(f"{name}: {error}") from error
