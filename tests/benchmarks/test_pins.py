"""The rivals' pins: beside those of the project, never against them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins(path: Path) -> dict[str, set[str]]:
    """Versions by package; a package may have one for each Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([a-z0-9._-]+)==([^\s;]+)", path.read_text()):
        found.setdefault(name, set()).add(version)
    return found


def test_what_both_pin_has_one_version() -> None:
    """`make bench` must not change what `make test` runs on; if it fails: `make constraints`."""
    ours, rivals = pins(ROOT / "constraints.txt"), pins(ROOT / "benchmarks" / "constraints.txt")
    shared = ours.keys() & rivals.keys()
    assert {"numpy", "pillow", "faiss-cpu", "pdqhash"} <= shared
    assert {name: rivals[name] for name in shared} == {name: ours[name] for name in shared}


def test_every_rival_of_the_extra_is_pinned() -> None:
    """With the hash of each of its files."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split("[<>=]", one)[0] for one in extra["optional-dependencies"]["bench"]}
    path = ROOT / "benchmarks" / "constraints.txt"
    assert names <= pins(path).keys()
    for pinned in re.split(r"(?m)^(?=[a-z0-9._-]+==)", path.read_text())[1:]:
        assert "--hash=sha256:" in pinned
