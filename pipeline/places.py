"""Where in an item a match lies, in words for people: inside a container, within a video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Span(Protocol):
    """One showing, as a candidate's payload holds it."""

    @property
    def start_milliseconds(self) -> int:
        """Its first moment, from the start of the video."""

    @property
    def end_milliseconds(self) -> int:
        """Its last moment."""


def inner_place(path: Sequence[int]) -> str:
    """The entries that lead to something inside an item: "entry 3, in it entry 1"."""
    return ", in it ".join(f"entry {number}" for number in path)


def spans_shown(spans: Sequence[Span], total: int) -> str:
    """The showings of a match: "0:03.0 to 0:05.5, 1:10.0 to 1:12.0 and 4 more"."""
    named = ", ".join(
        f"{_clock(span.start_milliseconds)} to {_clock(span.end_milliseconds)}" for span in spans
    )
    more = total - len(spans)
    return f"{named} and {more} more" if more > 0 else named


def _clock(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 1000:02}.{rest % 1000 // 100}"
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"
