"""Sections of records, as they are needed: unsealed once for neighbours, held within bounds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from matchers.examine import Part
from pipeline.errors import LedgerDamaged
from pipeline.ledger import record
from pipeline.ledger.key import LedgerKey
from pipeline.ledger.record import ABOUT, PARTS, ROWS, About
from pipeline.ledger.segment import Place, Segment
from pipeline.sandbox.wire import Malformed

MAX_HELD_BYTES: Final = 128 * 1024**2
"""Sections that are held, decoded: some hundred thousand images, or the one at hand."""


class Reader:
    """Reads records of all segments. Thread-safe."""

    def __init__(self, key: LedgerKey) -> None:
        """Nothing is read yet."""
        self._key = key
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[Path, int, int], tuple[int, Any]] = OrderedDict()
        self._held_bytes = 0

    def about(self, path: Path, place: Place) -> About:
        """How a record's items were examined.

        Raises:
            FileNotFoundError, LedgerDamaged: as for all of these.
        """
        about: About = self._section(path, place, ABOUT, lambda it: record.decode_about(it).about)
        return about

    def rows(self, path: Path, place: Place) -> pa.RecordBatch:
        """A record's items, as `ITEMS`."""
        return self._section(path, place, ROWS, record.decode_rows)

    def parts(self, path: Path, place: Place, row: int) -> tuple[Part, ...]:
        """What one of its items was reduced to."""
        encoded = self._section(path, place, PARTS, record.decode_parts)
        try:
            return record.parts_of(encoded[row].as_py(), self.about(path, place).wanted)
        except (Malformed, LookupError):
            raise LedgerDamaged(f"{path} holds what no scan writes: move the file away") from None

    def _section(
        self, path: Path, place: Place, section: int, decode: Callable[[bytes], Any]
    ) -> Any:
        name = (path, place.offset, section)
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name][1]
        with closing(Segment(path, self._key)) as segment:
            unsealed = segment.unseal(place, section)
        value = decode(unsealed)
        size_bytes = value.nbytes if isinstance(value, pa.Array | pa.RecordBatch) else len(unsealed)
        with self._lock:
            if name not in self._held:
                self._held[name] = (size_bytes, value)
                self._held_bytes += size_bytes
            while self._held_bytes > MAX_HELD_BYTES and len(self._held) > 1:
                self._held_bytes -= self._held.popitem(last=False)[1][0]
        return value
