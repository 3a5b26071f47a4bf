"""Content that was examined before, by the very same code for the very same questions."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from matchers.digests import DigestIndex
from matchers.examine import Part, Wanted
from matchers.hasher import hasher_version
from pipeline.errors import LedgerDamaged
from pipeline.ledger import record
from pipeline.ledger.folder import LedgerFolder, records
from pipeline.ledger.key import TOKEN_BYTES, LedgerKey
from pipeline.ledger.reading import Reader
from pipeline.ledger.record import ABOUT, Kept
from pipeline.ledger.segment import Place

MAX_INDEXED: Final = 5_000_000
"""Newest items of earlier scans whose content is known again: 40 bytes each."""

MAX_RECENT: Final = 500_000
"""Newest items of this scan, some 250 bytes each."""

_log = logging.getLogger(__name__)


class Reuse:
    """Finds what the bytes of an item were reduced to. Thread-safe."""

    def __init__(self, folder: LedgerFolder, key: LedgerKey, reader: Reader) -> None:
        """Index what the ledger holds now; a damaged segment is left out, and named."""
        self._key = key
        self._reader = reader
        self._lock = threading.Lock()
        self._recent: OrderedDict[bytes, tuple[Path, Place, int]] = OrderedDict()
        self._records: list[tuple[Path, Place]] = []
        contents: list[npt.NDArray[np.uint8]] = []
        count = 0
        for path in reversed(folder.segments()):
            if count >= MAX_INDEXED:
                break
            mine = self._of_segment(path)
            for place, tokens in reversed(mine):  # the newest first: it is found first
                self._records.append((path, place))
                contents.append(tokens)
                count += len(tokens)
        tokens = np.concatenate([np.zeros((0, TOKEN_BYTES), np.uint8), *contents])
        self._index = DigestIndex(tokens)
        self._first = np.cumsum([0, *map(len, contents)])

    def find(self, sha256: bytes, wanted: Wanted) -> tuple[Part, ...] | None:
        """What these bytes were reduced to when `wanted` was wanted, if that is known."""
        token = self._key.content_token(sha256)
        with self._lock:
            found = self._recent.get(token)
        found = found or self._earlier(token)
        if found is None:
            return None
        path, place, row = found
        try:
            if self._reader.about(path, place).wanted != wanted:
                return None
            return self._reader.parts(path, place, row)
        except FileNotFoundError:
            return None  # its time is over
        except LedgerDamaged as error:
            _log.error("%s", error)
            return None

    def note(self, path: Path, place: Place, items: Sequence[Kept]) -> None:
        """What this scan has just kept can be found as well."""
        with self._lock:
            for row, item in enumerate(items):
                token = self._key.content_token(item.sha256)
                self._recent[token] = (path, place, row)
                self._recent.move_to_end(token)
            while len(self._recent) > MAX_RECENT:
                self._recent.popitem(last=False)

    def _earlier(self, token: bytes) -> tuple[Path, Place, int] | None:
        at = self._index.find(token)
        if at is None:
            return None
        number = int(np.searchsorted(self._first, at, "right")) - 1
        return (*self._records[number], at - int(self._first[number]))

    def _of_segment(self, path: Path) -> list[tuple[Place, npt.NDArray[np.uint8]]]:
        mine = []
        try:
            for segment, place in records(path, self._key):
                found = record.decode_about(segment.unseal(place, ABOUT))
                if found.about.hasher == hasher_version():
                    mine.append((place, found.contents))
        except FileNotFoundError:
            pass
        except LedgerDamaged as error:
            _log.error("%s", error)
        return mine
