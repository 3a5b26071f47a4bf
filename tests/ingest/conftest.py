"""Fixtures of the upload side: keys, sets and a verification service, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import world as worlds

from pipeline import scan
from pipeline.sandbox import Sandbox


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    """Keys and a set `known` of three photographs."""
    return worlds.build(tmp_path_factory.mktemp("ingest"), ("cat", "coffee", "pagoda"))


@pytest.fixture
def verification(world: worlds.World, tmp_path: Path) -> Iterator[str]:
    """A running verification service with an empty store; its address."""
    with worlds.verification(world, tmp_path / "verification.sqlite3") as address:
        yield address


@pytest.fixture(scope="session", autouse=True)
def decoders() -> Iterator[Sandbox]:
    """One sandbox for the scans of all tests: starting decoders takes longer than a small scan."""
    shared = Sandbox(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "Sandbox", lambda *_, **__: shared)
        patch.setattr(shared, "close", lambda: None)
        yield shared
    shared.close()
