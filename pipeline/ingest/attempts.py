"""An upload that brings the scan down must not bring it down for ever.

Damaged and hostile content fails by name inside the scan. What is left is the defect nobody knows:
an upload on which the scan raises what it should not, or dies. The scan therefore notes where a
batch begins before it begins it. A batch that was begun several times and never ended is taken
item by item; an item that was begun several times on its own is given up, by name, and the stream
goes on. Being killed for another reason counts as an attempt too, which is why it takes several.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from pipeline.ingest.upload_log import Position

MOST_ATTEMPTS: Final = 3
"""At a batch, then at each item of it alone."""


@dataclass(frozen=True)
class Attempt:
    """What is begun.

    Attributes:
        start: where in the log.
        end: up to where.
        number: the how-manieth attempt this is.
        alone_until: up to here uploads are taken one by one.
    """

    start: Position
    end: Position
    number: int
    alone_until: Position

    @property
    def alone(self) -> bool:
        """Whether to take one upload only."""
        return self.start < self.alone_until

    @property
    def hopeless(self) -> bool:
        """Whether the upload at `start` is to be given up."""
        return self.alone and self.number > MOST_ATTEMPTS


_NOWHERE: Final = Position(0, 0)
_NONE: Final = Attempt(_NOWHERE, _NOWHERE, 0, _NOWHERE)


def following(last: Attempt, start: Position) -> Attempt:
    """How to take what begins at `start`, after the `last` attempt. Pure."""
    if start != last.start:
        return Attempt(start, start, 1, last.alone_until)
    if last.number >= MOST_ATTEMPTS and not last.alone:
        return Attempt(start, start, 1, alone_until=last.end)
    return replace(last, number=last.number + 1)


class Attempts:
    """The note of what is begun: one small file, which outlives the process."""

    def __init__(self, path: Path) -> None:
        """Keep the note at `path`."""
        self._path = path
        self._last = self._read()

    def next(self, start: Position) -> Attempt:
        """How to take what begins at `start`; nothing is begun yet."""
        return following(self._last, start)

    def begin(self, attempt: Attempt, end: Position) -> None:
        """Note that what lies before `end` is begun now."""
        self._note(replace(attempt, end=end))

    def excuse(self) -> None:
        """The last attempt came to nothing through no fault of its uploads."""
        self._note(replace(self._last, number=max(0, self._last.number - 1)))

    def _note(self, attempt: Attempt) -> None:
        """Replace the note. It is not synced: a crash of the machine is no upload's doing."""
        unfinished = self._path.with_name(self._path.name + ".new")
        unfinished.write_text(json.dumps(asdict(attempt)))
        os.replace(unfinished, self._path)
        self._last = attempt

    def _read(self) -> Attempt:
        try:
            kept = json.loads(self._path.read_text())
            places = {name: Position(**kept[name]) for name in ("start", "end", "alone_until")}
            return Attempt(number=int(kept["number"]), **places)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return _NONE
