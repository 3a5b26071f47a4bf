"""Every limit of the sandbox, once, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from matchers.limits import MAX_ENTRIES, MAX_PIXELS

# --- time -----------------------------------------------------------------------------------

CPU_SECONDS: Final = 60
"""Processor time for an item, before what `CPU_SECONDS_PER_MIB` adds. The slowest still that the
header checks let through (150 million pixels, progressive) takes about 20."""

ONE_PICTURE_SECONDS: Final = 20
"""Of that, kept for the picture at hand."""

CPU_SECONDS_PER_MIB: Final = 2
"""Further processor time for each MiB of an item: a film of 1 GiB may take 35 minutes."""

WALL_FACTOR: Final = 3
"""Time on the clock, in processor times, after which a child is ended from outside. Processor time
comes first where a machine is busy, so that what fails does not hang on the load."""

START_SECONDS: Final = 300
"""Time for a child to start: under a second as a rule, minutes where kernels are not cached."""

# --- memory ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """What a child has for an item.

    Attributes:
        memory_bytes: beside what it starts with.
        pixels: the largest picture that it decodes.
    """

    memory_bytes: int
    pixels: int


USUAL: Final = Room(1024**3, 40_000_000)
"""Of each child: pictures of 40 megapixels at the 17 bytes a pixel that decoders hold at most, and
videos of 4K. All children together then take no more than so many GiB."""

LARGE: Final = Room(3 * 1024**3, MAX_PIXELS)
"""Of the one further child that items go to which need more: the most a decoder holds of a picture
at `matchers.limits.MAX_PIXELS` is 2.5 GB."""

# --- what comes back ------------------------------------------------------------------------

MAX_ANSWER_BYTES: Final = 256 * 1024**2
"""Longest answer. A day of frames, one kept each second, with 16 views each, is 60 MB."""

MAX_PARTS: Final = 1 + 2 * MAX_ENTRIES
"""Most parts in an answer: the item and what is inside it, each with a clip."""

MAX_DEPTH: Final = 32
"""Longest locator: containers in containers. Budgets of containers stop long before."""


# --- children -------------------------------------------------------------------------------

MAX_ITEMS_PER_CHILD: Final = 50_000
"""Items after which a child is replaced: what leaks in a decoder, and whoever took one over, is
gone then. A start each 50,000 items costs less than one percent."""

MAX_OPEN_FILES: Final = 32
"""Descriptors of a child: its channel, /dev/null, and those of the item at hand."""


def cpu_seconds(content_bytes: int) -> int:
    """Processor time that an item of this length may take."""
    return CPU_SECONDS + content_bytes * CPU_SECONDS_PER_MIB // 1024**2


def enough_seconds(content_bytes: int) -> int:
    """Processor time after which the next picture of an item is not begun: what was seen stays."""
    return cpu_seconds(content_bytes) - ONE_PICTURE_SECONDS


def wall_seconds(content_bytes: int) -> int:
    """Time on the clock that it may take."""
    return WALL_FACTOR * cpu_seconds(content_bytes)
