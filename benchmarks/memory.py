"""Memory of an index, in a process of its own: `python -m benchmarks.memory WAY CODES`.

What an allocator keeps from earlier work would blur it elsewhere. Libraries and compiled kernels do
not count: a small index is built, asked and dropped before the first reading.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import rivals
from benchmarks.corpora import Codes
from matchers.hamming import HammingIndex

OPENED: Final = f"{rivals.OURS.name}, opened from disk"
_WARM_UP_CODES: Final = 20_000
_QUERIES: Final = 1_000
_ROOT: Final = Path(__file__).parents[1]


def measure(indicators: Codes, say: Callable[[str], None]) -> dict[str, Any]:
    """Bytes of every way that is built at this size, each in a fresh process."""
    found = []
    with tempfile.TemporaryDirectory(prefix="sluis-bench-") as made:
        codes = Path(made) / "codes.npy"
        np.save(codes, indicators)
        names = [
            way.name
            for way in rivals.WAYS
            if len(indicators) <= way.most and way is not rivals.FLAT_NEAREST  # the flat one again
        ]
        for name in [*names, OPENED]:
            say(f"memory of {name}")
            found.append({"way": name, **_in_fresh_process(name, codes)})
    return {"ways": found}


def _in_fresh_process(name: str, codes: Path) -> dict[str, int]:
    """Run this module in a process of its own.

    Raises:
        RuntimeError: it failed; the message has what it said.
    """
    command = [sys.executable, "-m", "benchmarks.memory", name, str(codes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {name} failed:\n{done.stderr}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def main() -> None:
    """Build one way over one file of codes, ask it, and print the bytes it holds."""
    import psutil

    name, path = sys.argv[1:]
    opened = name == OPENED
    way = rivals.OURS if opened else rivals.BY_NAME[name]
    rng = np.random.default_rng(0)
    queries = rng.integers(0, 256, (_QUERIES, 32), np.uint8)
    small = way.kind(rng.integers(0, 256, (_WARM_UP_CODES, 32), np.uint8))
    small.search(queries, 31)
    del small
    if opened:  # built by a process that leaves nothing here but the files
        folder = Path(path).with_name("index")
        _save_elsewhere(path, folder)
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    lookup: Any
    if opened:
        lookup = HammingIndex.open(folder, verify=False)
        lookup.search(queries)
    else:
        codes = np.load(path)
        lookup = way.kind(codes)
        del codes
        lookup.search(queries[:16], 31)
    gc.collect()
    held = process.memory_info().rss - before
    print(json.dumps({"bytes": held, "peak_bytes": _peak_bytes() - before}))  # noqa: T201


def _save_elsewhere(path: str, folder: Path) -> None:
    code = (
        "import sys, numpy; from matchers.hamming import HammingIndex; "
        "HammingIndex.build(numpy.load(sys.argv[1])).save(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, path, str(folder)], cwd=_ROOT, check=True)


def _peak_bytes() -> int:
    """Most resident memory of this process so far.

    Not `ru_maxrss` where Linux tells better: there a child inherits its parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
