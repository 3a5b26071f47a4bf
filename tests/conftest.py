"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A real PostgreSQL server, started when the first test asks for it."""
    with postgres.server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a store: every test that asks for it runs on both databases."""
    if request.param == "sqlite":
        return str(tmp_path / "store" / "verification.sqlite3")
    running: postgres.Server = request.getfixturevalue("postgres_server")
    return running.new_url()
