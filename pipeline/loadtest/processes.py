"""What processes take of the machine: CPU seconds and resident memory, from Linux's /proc."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """Of a process, or of several together.

    Attributes:
        cpu_seconds: in user and kernel mode, so far.
        resident_bytes: memory in RAM. Pages that processes share count in each of them.
    """

    cpu_seconds: float
    resident_bytes: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.cpu_seconds + other.cpu_seconds, self.resident_bytes + other.resident_bytes
        )


NOTHING: Final = Usage(0.0, 0)


def is_available() -> bool:
    """Whether this system shows it."""
    return (_PROC / "self" / "stat").exists()


def usage(process_id: int) -> tuple[Usage, Usage]:
    """Of a process, and of all its descendants together; nothing of one that has ended."""
    children: dict[int, list[int]] = defaultdict(list)
    found: dict[int, Usage] = {}
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            number = int(folder.name)
            parent, found[number] = parsed((folder / "stat").read_text(encoding="utf-8"))
            children[parent].append(number)
    below, waiting = NOTHING, list(children[process_id])
    while waiting:
        number = waiting.pop()
        below += found[number]
        waiting += children[number]
    return found.get(process_id, NOTHING), below


def parsed(stat: str) -> tuple[int, Usage]:
    """The parent, and the usage, in a process's `stat` file (proc(5)).

    The second field is the program's name in brackets, which may hold anything.
    """
    fields = stat.rpartition(")")[2].split()  # from the third on
    ticks = int(fields[11]) + int(fields[12])
    return int(fields[1]), Usage(
        ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    )
