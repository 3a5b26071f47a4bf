"""What the store asks of a database; SQLite and PostgreSQL answer alike.

The SQL stands once, in the store: both understand it, with `?` for a value. Only what differs is a
backend's own: how to connect, how the writer gets the database for itself, how a schema's version
is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pipeline.errors import SluisError


class StoreRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """The database cannot be used: not ours, of another version, or not reachable as given."""

    exit_status = 2


class StoreFault(SluisError):  # noqa: N818
    """The database did not do what it was asked; nothing of it was kept. Try again."""

    exit_status = 3


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Rows changed."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class Transaction(Protocol):
    """Statements that become durable together, or not at all. Faults are `StoreFault`."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        """Run one statement; `?` stands for a value."""

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run one statement for each row of values."""


class Connection(Transaction, Protocol):
    """One connection. Outside `begin` and `commit` every statement stands for itself."""

    @property
    def usable(self) -> bool:
        """Whether the connection still stands."""

    def begin(self) -> None:
        """Start to write: nobody else writes until `commit` or `rollback`, whatever the process."""

    def commit(self) -> None:
        """Make durable what was written since `begin`."""

    def rollback(self) -> None:
        """Undo what was written since `begin`; does nothing without one."""

    def purge(self) -> None:
        """Let what was deleted leave the files: outside a transaction."""

    def close(self) -> None:
        """Close the connection."""


class Database(Protocol):
    """A place for the store's tables."""

    @property
    def name(self) -> str:
        """For messages; holds no password."""

    def prepare(self, *, may_make: bool) -> None:
        """Check that the tables are ours and of this version; make them where there are none.

        Raises:
            StoreRefused: they are not, or there are none and they may not be made.
        """

    def look(self) -> Connection:
        """A connection that only reads, to a store that is there; needs no right to write.

        Raises:
            StoreRefused: there is none, or it is not ours.
        """

    def connect(self) -> Connection:
        """A new connection.

        Raises:
            StoreFault: not now; the database may come back.
        """


def marks(count: int) -> str:
    """`count` places for values, for IN."""
    return ", ".join("?" * count)
