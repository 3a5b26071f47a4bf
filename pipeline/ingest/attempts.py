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
        number: the how-manieth attempt this is.
        alone_until: up to here uploads are taken one by one.
    """

    start: Position
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


class Attempts:
    """The note of what is begun: one small file, which outlives the process and no more."""

    def __init__(self, path: Path) -> None:
        """Keep the note at `path`."""
        self._path = path
        self._last = self._read()

    def begin(self, start: Position) -> Attempt:
        """Note that what begins at `start` is begun; says how to take it."""
        last = self._last
        if last is None or last.start != start:
            alone_until = _NOWHERE if last is None else last.alone_until
            last = Attempt(start, 0, alone_until)
        return self._note(replace(last, number=last.number + 1))

    def taken(self, attempt: Attempt, end: Position) -> Attempt:
        """Say how far the batch of `attempt` goes; a batch tried too often is to be taken anew."""
        if attempt.alone or attempt.number <= MOST_ATTEMPTS:
            return attempt
        return self._note(Attempt(attempt.start, 1, alone_until=end))

    def excuse(self) -> None:
        """The last attempt came to nothing through no fault of its uploads."""
        if self._last is not None:
            self._note(replace(self._last, number=max(0, self._last.number - 1)))

    def _note(self, attempt: Attempt) -> Attempt:
        """Replace the note. It is not synced: a crash of the machine is no upload's doing."""
        unfinished = self._path.with_name(self._path.name + ".new")
        unfinished.write_text(json.dumps(asdict(attempt)))
        os.replace(unfinished, self._path)
        self._last = attempt
        return attempt

    def _read(self) -> Attempt | None:
        try:
            kept = json.loads(self._path.read_text())
            return Attempt(
                Position(**kept["start"]), kept["number"], Position(**kept["alone_until"])
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
