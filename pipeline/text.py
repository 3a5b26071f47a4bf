"""Words of people and of other parties: they are shown on terminals, and must not steer them."""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""C0 and C1 with DEL (ECMA-48): escape sequences begin with one of them."""


def has_control(text: str) -> bool:
    """Whether a text holds a control character, a line break included."""
    return _CONTROL.search(text) is not None


def counted(count: int, noun: str) -> str:
    """A number and what it counts: 1 report, 2 reports."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def shown(text: str) -> str:
    """A text as it may go to a terminal: every control character replaced."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
