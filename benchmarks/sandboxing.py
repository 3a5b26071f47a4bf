"""Photographs examined by threads of one process, and by as many children of the sandbox."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks import timing
from benchmarks.scales import Scale
from matchers.examine import Wanted, examine
from matchers.scanner import Examiner
from matchers.views import Profile
from pipeline.sandbox import Sandbox

HERE: Final = "threads of one process"
SANDBOXED: Final = "children of the sandbox"
_PROFILES: Final[tuple[Profile, ...]] = ("plain", "standard")
_MOST_TIMED: Final = 200  # photographs


def measure(photos: Sequence[Path], scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds for each photograph, both ways, taking turns."""
    blobs = [path.read_bytes() for path in photos[:_MOST_TIMED]]
    workers = os.cpu_count() or 1
    tables = []
    with (
        contextlib.closing(Sandbox(workers)) as sandbox,
        ThreadPoolExecutor(workers) as threads,
    ):
        confined = str(sandbox.confinement)
        for profile in _PROFILES:
            say(f"{len(blobs)} photographs, {workers} at once, {profile} profile")
            wanted = Wanted(frozenset({"image"}), ("md5",), profile)

            def all_by(examiner: Examiner, wanted: Wanted = wanted) -> Callable[[], object]:
                return lambda: list(threads.map(lambda blob: examiner(blob, wanted), blobs))

            spent = timing.interleaved(
                {HERE: all_by(examine), SANDBOXED: all_by(sandbox.examine)}, scale.rounds
            )
            ways = [
                {"way": way, "seconds_per_image": [second / len(blobs) for second in seconds]}
                for way, seconds in spent.items()
            ]
            tables.append({"profile": profile, "ways": ways})
    return {"images": len(blobs), "workers": workers, "confined": confined, "tables": tables}
