"""Fixtures of the upload side: keys, sets and a verification service, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import world as worlds

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
def _one_sandbox(decoders: Sandbox) -> None:
    """Scans of these tests share their decoders."""
