"""What is PostgreSQL's own: whose database it is, how it is reached, what happens when it goes."""

from __future__ import annotations

import time
from contextlib import closing

import psycopg
import pytest
from support import hits

from pipeline.verification import schema
from pipeline.verification.database import StoreFault, StoreRefused
from pipeline.verification.postgres import PostgresDatabase
from pipeline.verification.store import ADDED, REPEATED, open_store

PATIENCE_SECONDS = 30


@pytest.fixture
def url(postgres_server) -> str:
    """An empty place."""
    return postgres_server.new_url()


def refusal(where: str, **options) -> str:
    """The message that a place is refused with."""
    with pytest.raises(StoreRefused) as refused:
        open_store(where, **options).close()
    return str(refused.value)


def run(url: str, statement: str) -> None:
    """Go around the store."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_an_empty_database_becomes_a_store_once(url):
    """The second service finds the tables that the first has made."""
    with closing(open_store(url)) as one, closing(open_store(url, may_make=False)) as two:
        one.add([hits.arrival(hits.sealed("x", "1"))]).result(PATIENCE_SECONDS)
        assert hits.states(two) == hits.states(one)


def test_no_store_is_made_by_a_command_that_looks_at_one(url, tmp_path):
    """A mistyped place is not an empty store that is in order."""
    assert "there is no store" in refusal(url, may_make=False)
    assert "there is no store" in refusal(str(tmp_path / "absent"), may_make=False)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("version", [schema.VERSION - 1, schema.VERSION + 1])
def test_a_store_of_another_version_is_refused(url, version):
    """Older or newer, it says which, and touches nothing."""
    open_store(url).close()
    run(url, f"UPDATE sluis_schema SET version = {version}")
    assert f"version {version}" in refusal(url)


def test_a_database_of_something_else_is_refused(url):
    """Tables of another program are left alone."""
    run(url, "CREATE TABLE orders (anything TEXT)")
    assert "something else" in refusal(url)


def test_an_append_only_table_is_not_emptied(url):
    """TRUNCATE, which asks no trigger of rows, is refused too."""
    with closing(open_store(url)):
        for table in schema.APPEND_ONLY:
            with pytest.raises(psycopg.IntegrityError, match="never changed"):
                run(url, f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize(
    "wrong", ["postgresql://user@/db?nosuch=1", "postgresql://[::1/d", "postgres://a=b@/d?host"]
)
def test_what_is_no_url_is_refused(wrong):
    """With how to write one."""
    assert "postgresql://USER@HOST/DATABASE" in refusal(wrong)


@pytest.mark.parametrize(
    "place",
    ["[::1/db", "localhost/db?x=y", "localhost:port/db", "127.0.0.1:1/db", "/db?host=/none"],
)
@pytest.mark.parametrize("password", ["secret-word", "secret%zzword"])
def test_no_password_is_told_whatever_is_wrong_with_the_url(place, password):
    """Neither in the message nor in what it was raised from."""
    with pytest.raises(StoreRefused) as refused:
        open_store(f"postgresql://someone:{password}@{place}").close()
    assert "secret" not in "".join(str(e) for e in (refused.value, refused.value.__cause__))


def test_a_server_that_does_not_answer_is_refused_without_its_password(tmp_path):
    """The message names the place, never the password."""
    message = refusal(f"postgresql://someone:secret-word@/db?host={tmp_path}")
    assert str(tmp_path) in message
    assert "secret-word" not in message


@pytest.mark.parametrize("mode", ["", "disable", "require", "verify-ca"])
def test_a_server_elsewhere_needs_its_certificate_checked(monkeypatch, mode):
    """Over a network only verify-full will do: refused before anything is sent to it."""
    asked = []
    monkeypatch.setattr(psycopg, "connect", lambda *a, **k: asked.append(a))
    for place in (
        "postgresql://u@db.example/d?",
        "postgresql://u@localhost,db.example/d?",
        "postgresql://u@localhost/d?hostaddr=192.0.2.1&",
        "postgresql:///?service=elsewhere&",
    ):
        assert "sslmode=verify-full" in refusal(place + (f"sslmode={mode}" if mode else ""))
    assert not asked


def test_a_lost_connection_is_made_anew(url):
    """A server that restarts ends no service: what failed is said to have, the next succeeds."""
    with closing(open_store(url)) as store:
        assert store.add([hits.arrival(hits.sealed("x", "1"))]).result(PATIENCE_SECONDS) == [ADDED]
        list(hits.states(store))
        run(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'sluis'",
        )
        for ask in (
            lambda: store.add([hits.arrival(hits.sealed("y", "2"))]).result(PATIENCE_SECONDS),
            lambda: hits.states(store),
        ):
            until = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    ask()
                except StoreFault:
                    assert time.monotonic() < until
                else:
                    break
        assert len(hits.readable(store)) == 2
        again = store.add([hits.arrival(hits.sealed("y", "2"))])
        assert again.result(PATIENCE_SECONDS) == [REPEATED]


def test_no_value_of_a_row_stands_in_a_message(url):
    """PostgreSQL names the values in its details; they are left out."""
    with closing(open_store(url)) as store, closing(store._database.connect()) as connection:
        store.add([hits.arrival(hits.sealed("x", "1"))]).result(PATIENCE_SECONDS)
        with pytest.raises(StoreFault) as fault:
            connection.execute("INSERT INTO candidate SELECT * FROM candidate")
    assert "candidate_pkey" in str(fault.value)
    assert hits.sealed("x", "1").candidate_id.hex() not in str(fault.value)


def test_the_driver_is_an_extra(monkeypatch):
    """Without it the message says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreRefused, match=r"pip install -e '\.\[postgresql\]'"):
        PostgresDatabase("postgresql://u@/d")
