"""The store in a PostgreSQL database, by URL: several services may share one.

Needs the extra `sluis[postgresql]`. A server on another machine is only spoken to over TLS with
its certificate checked (sslmode=verify-full).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pipeline.verification import schema
from pipeline.verification.database import Rows, StoreFault, StoreRefused

if TYPE_CHECKING:
    import psycopg

SCHEMES: Final = ("postgresql://", "postgres://")

_WRITER: Final = 0x536C756973  # "Sluis": names the writer's lock within the database
_SETTINGS: Final = "-c synchronous_commit=on -c statement_timeout=60s -c lock_timeout=30s"
_CONNECT_SECONDS: Final = 10
_LOCAL: Final = ("", "localhost", "127.0.0.1", "::1")
"""Hosts that are this machine; so is a socket's path."""


class PostgresDatabase:
    """A PostgreSQL database."""

    def __init__(self, url: str) -> None:
        """Name the database; nothing is connected yet.

        Raises:
            StoreRefused: no such URL, a server elsewhere without TLS, or no driver installed.
        """
        try:
            from psycopg import ProgrammingError, conninfo
        except ImportError as error:
            raise StoreRefused(
                "a store in PostgreSQL needs its driver, the extra postgresql: in the checkout, "
                ".venv/bin/pip install -e '.[postgresql]'"
            ) from error
        try:
            given = conninfo.conninfo_to_dict(url)
        except ProgrammingError:
            raise StoreRefused(
                "that is no URL of a PostgreSQL database: write postgresql://USER@HOST/DATABASE, "
                "and % signs and brackets as RFC 3986 says"
            ) from None  # the driver's text holds what was given, a password included
        mode = given.get("sslmode") or os.environ.get("PGSSLMODE")
        if mode != "verify-full" and not _is_local(given):
            raise StoreRefused(
                "that database may be on another machine: add "
                "?sslmode=verify-full&sslrootcert=CA.pem to its URL"
            )
        host = str(given.get("host") or given.get("hostaddr") or "")
        self._url = url
        self._options = f"{given.get('options') or ''} {_SETTINGS}".strip()
        self._name = f"postgresql://{host}/{given.get('dbname') or ''}"

    @property
    def name(self) -> str:
        """See `Database`."""
        return self._name

    def prepare(self, *, may_make: bool) -> None:
        """See `Database`."""
        try:
            connection = self.connect()
        except StoreFault as error:
            raise StoreRefused(str(error)) from error
        try:
            connection.begin()  # two services that start together: one makes, the other checks
            self._make_or_check(connection, may_make=may_make)
            connection.commit()
        finally:
            connection.close()

    def _make_or_check(self, connection: PostgresConnection, *, may_make: bool) -> None:
        tables = {
            name
            for (name,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchall()
        }
        if not tables and not may_make:
            raise StoreRefused(f"{self._name}: there is no store")
        if not tables:
            connection.execute(schema.for_postgres())
            return
        versions = []
        if "sluis_schema" in tables:
            rows = connection.execute("SELECT version FROM sluis_schema").fetchall()
            versions = [version for (version,) in rows]
        if versions != [schema.VERSION]:
            found = f"of schema version {versions[0]}" if versions else "of something else"
            raise StoreRefused(
                f"{self._name} is a database {found}; this version of Sluis reads "
                f"{schema.VERSION}. Name an empty database, or serve this one with the version "
                "that made it"
            )

    def look(self) -> PostgresConnection:
        """See `Database`."""
        try:
            connection = self.connect()
        except StoreFault as error:
            raise StoreRefused(str(error)) from error
        try:
            connection.execute("SET default_transaction_read_only = on")
            self._make_or_check(connection, may_make=False)
        except (StoreFault, StoreRefused):
            connection.close()
            raise
        return connection

    def connect(self) -> PostgresConnection:
        """See `Database`."""
        import psycopg

        with _wrapped(self._name):
            connection = psycopg.connect(
                self._url, autocommit=True, options=self._options,
                connect_timeout=_CONNECT_SECONDS, application_name="sluis",
            )  # fmt: skip
        return PostgresConnection(self._name, connection)


class PostgresConnection:
    """A connection to the database; see `Connection`."""

    def __init__(self, name: str, connection: psycopg.Connection) -> None:
        self._name = name
        self._connection = connection

    @property
    def usable(self) -> bool:
        """See `Connection`."""
        return not self._connection.closed

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Rows:
        """See `Transaction`."""
        with _wrapped(self._name):
            return self._connection.execute(_translated(statement), values or None)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        """See `Transaction`."""
        with _wrapped(self._name), self._connection.cursor() as cursor:
            cursor.executemany(_translated(statement), rows)

    def begin(self) -> None:
        """See `Connection`. One lock, taken first: no deadlock, and a pair cannot miss itself."""
        self.execute("BEGIN")
        self.execute("SELECT pg_advisory_xact_lock(?)", (_WRITER,))

    def commit(self) -> None:
        """See `Connection`."""
        self.execute("COMMIT")

    def rollback(self) -> None:
        """See `Connection`."""
        if self.usable:
            self.execute("ROLLBACK")

    def purge(self) -> None:
        """See `Connection`. The server's own log and backups are its keeper's to expire."""
        for table in ("candidate", "share", "opened"):
            self.execute(f"VACUUM {table}")

    def close(self) -> None:
        """See `Connection`."""
        self._connection.close()


def _is_local(given: Mapping[str, object]) -> bool:
    """Whether every way to the server stays on this machine; a named service may lead anywhere."""
    sources = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "service": "PGSERVICE"}
    values = {name: str(given.get(name) or os.environ.get(sources[name], "")) for name in sources}
    hosts = f"{values['host']},{values['hostaddr']}".split(",")
    return not values["service"] and all(h.startswith("/") or h in _LOCAL for h in hosts)


@functools.cache
def _translated(statement: str) -> bytes:
    """`?` as psycopg writes it. No statement of the store holds either sign otherwise."""
    return statement.replace("?", "%s").encode()


@contextmanager
def _wrapped(name: str) -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise StoreFault(f"{name}: {_told(error)}") from None


def _told(error: psycopg.Error) -> str:
    """What may be said of it: the driver's own text may hold values of a row, or a password."""
    known = (type(error).__name__, error.sqlstate, error.diag.constraint_name)
    return ", ".join(part for part in known if part)
