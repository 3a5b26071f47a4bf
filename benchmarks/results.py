"""What was measured, on what: a JSON file of units, each with where and when it was taken.

A unit is the smallest thing that is measured at a time (one part at one size). It is written as
soon as it is done, so a run that was stopped can be resumed and one part can be measured again.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Final

FORMAT: Final = "sluis-benchmarks/1"
PACKAGES: Final = (
    "numpy", "numba", "faiss-cpu", "threatexchange", "pdqhash", "usearch", "imagehash", "pillow",
    "simplejpeg",
)  # fmt: skip

_ROOT: Final = Path(__file__).parents[1]


class Results:
    """The units of one results file."""

    def __init__(self, path: Path) -> None:
        """Read `path` if it is there.

        Raises:
            ValueError: it is there and is no results file of this format.
        """
        self.path = path
        self.units: dict[str, dict[str, Any]] = {}
        if path.exists():
            try:
                read = json.loads(path.read_text(encoding="utf-8"))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path} is not JSON ({error}): remove it") from error
            if not isinstance(read, dict) or read.get("format") != FORMAT:
                raise ValueError(f"{path} is not of format {FORMAT!r}: remove it")
            self.units = read["units"]

    def has(self, unit: str, taken: dict[str, Any]) -> bool:
        """Whether `unit` was measured with the same code, machine, photographs and scale."""
        held = self.units.get(unit, {}).get("taken", {})
        same = ("commit", "scale", "machine", "packages", "photos", "seed")
        return bool(held) and all(held[name] == taken[name] for name in same)

    def put(self, unit: str, taken: dict[str, Any], measured: dict[str, Any]) -> None:
        """Keep a unit, in the place of an older one, and write the file."""
        self.units[unit] = {"taken": taken, "measured": measured}
        self.write(self.path)

    def write(self, path: Path) -> None:
        """Write all units to `path`, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        ordered = dict(sorted(self.units.items()))
        text = json.dumps({"format": FORMAT, "units": _rounded(ordered)}, indent=1)
        unfinished.write_text(text + "\n", encoding="utf-8")
        os.replace(unfinished, path)

    def measured(self, part: str) -> dict[int, dict[str, Any]]:
        """The measurements of a part, by size (0 where it has none), smallest first."""
        found = {}
        for unit, content in self.units.items():
            name, _, size = unit.partition("/")
            if name == part:
                found[int(size or 0)] = content["measured"]
        return dict(sorted(found.items()))


def taken(scale: str, photos: dict[str, Any], seed: int) -> dict[str, Any]:
    """Where and when: date, commit, machine, versions, corpus, how busy the machine is."""
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "scale": scale,
        "machine": _machine(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "photos": photos,
        "seed": seed,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def _machine() -> dict[str, Any]:
    import psutil

    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _commit() -> str:
    """The commit, with a plus where the code differs from it (a page or results do not count)."""
    code = ["--", "benchmarks", "matchers", "pipeline", "constraints.txt"]
    try:
        commit = _git("rev-parse", "--short=10", "HEAD").strip()
        changed = _git("status", "--porcelain", *code).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+" if changed else commit


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=_ROOT, check=True, capture_output=True, text=True
    ).stdout


def _rounded(value: Any) -> Any:
    """Six significant digits: what is beyond is noise, and makes the file large."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
