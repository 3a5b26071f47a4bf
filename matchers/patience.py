"""Whether there is time left: asked between pictures, so that what was seen until then is kept.

This package has no clock. Whoever runs it says when time is over (`allow`); the loops that can go
on for long ask (`check`).
"""

from __future__ import annotations

from collections.abc import Callable

from matchers.errors import DecodeError


class _Patience:
    """What this process was told; without it there is always time."""

    def __init__(self) -> None:
        self.is_over: Callable[[], bool] = lambda: False


_patience = _Patience()


def allow(is_over: Callable[[], bool]) -> None:
    """Ask `is_over` from now on."""
    _patience.is_over = is_over


def check() -> None:
    """Go on if there is time left.

    Raises:
        DecodeError: reason `timed_out`.
    """
    if _patience.is_over():
        raise DecodeError("timed_out")
