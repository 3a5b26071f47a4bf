"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import postgres

from pipeline import resources
from pipeline.sandbox import Sandbox


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


@pytest.fixture(scope="session")
def decoders() -> Iterator[Sandbox]:
    """One sandbox for the scans of all tests: starting decoders takes longer than a small scan."""
    shared = Sandbox(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "Sandbox", lambda *_, **__: shared)
        patch.setattr(shared, "close", lambda: None)
        yield shared
    shared.close()
