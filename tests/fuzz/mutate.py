"""Many spoilt files through the real sandbox: what becomes of each, and at what cost.

    make mutate                 100,000 of them, from sound files of every kind
    make mutate ARGS="--count 1000 --first 5000"

Every file must end in an outcome. A decoder that crashes is caught and counted; the numbers of the
files that did it are printed, and `mutations.mutated` makes them again.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from matchers.errors import DecodeError
from matchers.examine import Wanted
from pipeline.sandbox import Sandbox
from tests.fuzz import mutations, seeds

WANTED = Wanted(frozenset({"image", "video", "container"}), ("md5",))
_NOTED = ("crashed", "defect", "killed", "timed_out", "out_of_memory")


@dataclass
class Outcomes:
    """What became of the files.

    Attributes:
        confinement: what the sandbox was.
        counts: outcome -> number of files.
        noted: outcome that only hostile files have -> numbers of the files.
        slowest: seconds, and the number of the file that took them.
        peak_bytes: most memory that any child had in use.
    """

    confinement: str
    counts: Counter[str] = field(default_factory=Counter)
    noted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    slowest: tuple[float, int] = (0.0, -1)
    peak_bytes: int = 0


def run(first: int, count: int, processes: int) -> Outcomes:
    """Examine mutations `first`, `first` + 1, ... in a sandbox."""
    files = list(seeds.all_files().values())
    sandbox = Sandbox(processes)
    confinement = str(sandbox.confinement)  # started now, not in the first file's time

    def outcome(number: int) -> tuple[int, str, float]:
        blob = mutations.mutated(files, number)
        started = time.perf_counter()
        try:
            reason = sandbox.examine(blob, WANTED)[0].reason or "examined"
        except DecodeError as error:
            reason = error.reason
        return number, reason, time.perf_counter() - started

    found = Outcomes(confinement)
    with ThreadPoolExecutor(processes) as threads:
        for number, reason, seconds in threads.map(outcome, range(first, first + count)):
            found.counts[reason] += 1
            found.slowest = max(found.slowest, (seconds, number))
            if reason in _NOTED:
                found.noted[reason].append(number)
    sandbox.close()
    found.peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return found


def main() -> None:
    """Run, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    found = run(options.first, options.count, options.processes)
    seconds = time.perf_counter() - started
    kinds = len(seeds.all_files())
    print(f"{options.count:,} files of {kinds} kinds, {seconds:.0f} s ({found.confinement})")
    for reason, count in found.counts.most_common():
        print(f"  {count:>8,}  {reason}")
    print(f"slowest: {found.slowest[0]:.2f} s (file {found.slowest[1]})")
    print(f"most memory of a child: {found.peak_bytes / 1024**2:,.0f} MiB")
    for reason, numbers in found.noted.items():
        print(f"{reason}: files {', '.join(map(str, numbers[:20]))}")
    if found.counts.total() != options.count:
        raise SystemExit("a file has no outcome")


if __name__ == "__main__":
    main()
