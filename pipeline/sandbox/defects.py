"""A defect of Sluis in a child: its type and place cross over, nothing that an item could be in.

The child says which built-in kind of exception it was, and the line of ours that was reached last.
The parent believes no more of it than that there is such a kind and such a file.
"""

from __future__ import annotations

import builtins
import logging
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Final

from pipeline.sandbox import limits

_log: Final = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).parents[2]
_OURS: Final = ("matchers", "pipeline")
_SAID: Final = re.compile(rb"([A-Za-z]{1,40}) ([a-z0-9_/]{1,100}\.py) ([0-9]{1,5})")


def describe(error: Exception) -> bytes:
    """What the child says of it: kind, file, line."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    file, line = _place(error.__traceback__)
    return f"{kind.__name__} {file} {line}".encode()


def _place(trace: TracebackType | None) -> tuple[str, int]:
    """The last line of ours on the way to where it was raised."""
    found = Path(__file__), 0
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in _OURS:
            found = path, trace.tb_lineno
        trace = trace.tb_next
    return found[0].relative_to(_ROOT).as_posix(), found[1]


class Defects:
    """Tells people of each defect once. Thread-safe."""

    def __init__(self) -> None:
        """None has been told of."""
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def tell(self, said: bytes | bytearray) -> bool:
        """Warn of what a child said, unless that has been done.

        Returns:
            False if it cannot be so: no child that is in order says it.
        """
        match = _SAID.fullmatch(said)
        if match is None:
            return False
        kind, file, line = (word.decode() for word in match.groups())
        known = getattr(builtins, kind, None)
        is_kind = isinstance(known, type) and issubclass(known, Exception)
        if not (is_kind and file.split("/")[0] in _OURS and (_ROOT / file).is_file()):
            return False
        place = f"{file} line {int(line)} ({kind})"
        with self._lock:
            is_new = place not in self._told and len(self._told) < limits.MAX_DEFECTS_TOLD
            if is_new:
                self._told.add(place)
        if is_new:
            _log.warning("a defect of Sluis in %s: report it", place)
        return True


TOLD: Final = Defects()
"""Of this process: whichever child or sandbox it was."""
