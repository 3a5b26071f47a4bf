"""Fixtures of the tests that run several parts together."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from support import world as worlds

from matchers.indicators.manifest import schema
from pipeline import cli
from pipeline.sandbox import Sandbox

LISTED = ("cat", "coffee", "pagoda")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    """Keys and sets, made once: known (three photographs), exact (clock), urls, new."""
    made = worlds.build(tmp_path_factory.mktemp("world"), LISTED)
    import hashlib

    from matchers.indicators import build

    clock = hashlib.sha256((worlds.PHOTOS / "clock.jpg").read_bytes()).digest()
    made.add_set(
        "exact",
        "known",
        pa.table({"indicator_id": ["clock"], "value": [clock]}, schema=schema("sha256")),
        algorithm="sha256",
        radius_bits=0,
        min_quality=0,
    )
    listed_urls = made.folder / "urls.txt"
    listed_urls.write_text("https://images.example/listed/one.jpg\n")
    made.add_set(
        "urls",
        "url",
        build.from_list(listed_urls, "url", b"k" * 32),
        algorithm="url",
        radius_bits=0,
        min_quality=0,
        url_rules="sluis-url-1",
        url_key="a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
    )
    data, _ = build.from_images(made.folder / "listed", 50)
    made.add_set("new", "new", data)
    today = dt.datetime.now(dt.UTC).date()  # for processes, which have no clock but the machine's
    days = dt.timedelta(days=30)
    made.add_set(
        "today", "known", data, set_id="known", effective=today - days, not_after=today + days
    )
    return made


@pytest.fixture(scope="session", autouse=True)
def _one_sandbox(decoders: Sandbox) -> None:
    """Scans of these tests share their decoders."""


@pytest.fixture
def verification(world: worlds.World, tmp_path: Path) -> Iterator[str]:
    """A running verification service with an empty store; its address."""
    with worlds.verification(world, tmp_path / "verification.sqlite3") as address:
        yield address


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def sluis(monkeypatch, capsys, tmp_path):
    """Run `sluis …` in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUIS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["sluis", *map(str, arguments)])
        status = 0
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return run
