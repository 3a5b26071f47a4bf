"""The gate at the front door: the order and the sets' manifests, read again when they change.

The door needs no indicators: which media can be matched stands in the signed manifests. If the
order or a set can no longer be read, nothing may be judged, and so nothing is taken until it can.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from matchers.errors import MatcherError
from matchers.indicators import Manifest
from matchers.indicators import manifest as manifests
from matchers.media import Medium
from pipeline import keys, order
from pipeline.errors import SluisError
from pipeline.gate import gate
from pipeline.ingest.current import resolve
from pipeline.order import Order

LOOK_SECONDS: Final = 1.0
"""Between two looks whether a file has changed."""

_log = logging.getLogger(__name__)

_URLS: Final[tuple[Medium, ...]] = ("url",)
_VISUAL: Final[tuple[Medium, ...]] = ("image", "video", "container")

_Stamp = tuple[int, int, int] | None


class GateShut(SluisError):  # noqa: N818 - reads as the outcome it is
    """Whether an item may be opened cannot be told now."""


@dataclass(frozen=True)
class _Rules:
    order: Order
    sets: tuple[Manifest, ...]

    def scannable(self, today: dt.date) -> frozenset[Medium]:
        """What the sets in force have indicators for, as `Scanner.media` says."""
        media: set[Medium] = set()
        for one in self.sets:
            if one.effective <= today <= one.not_after:
                media.update(_URLS if one.algorithm == "url" else _VISUAL)
        return frozenset(media)


class Gatekeeper:
    """Judges rows by the order and sets as they are now. Thread-safe."""

    def __init__(
        self,
        order_file: Path,
        sets: Sequence[Path],
        trusted_keys: Path,
        clock: Callable[[], dt.datetime],
    ) -> None:
        """Read the order and the sets' manifests.

        Args:
            order_file: the detection order.
            sets: places of signed indicator sets, see `current`.
            trusted_keys: folder with centre/*.pub.
            clock: tells the time.

        Raises:
            OrderRefused, IndicatorSetError, KeysRefused: as their loaders say; or the order is
                not in force.
        """
        self._order_file = order_file
        self._sets = tuple(sets)
        self._trusted_keys = trusted_keys
        self._clock = clock
        self._stamps = self._looked()
        self._rules: _Rules | None = self._read()
        order.check_in_force(self._rules.order, clock().date())

    @property
    def is_open(self) -> bool:
        """Whether rows can be judged."""
        return self._rules is not None

    def judge(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of schema `ITEMS` -> `GATED`.

        Raises:
            GateShut: the order or a set cannot be read.
        """
        rules, now = self._rules, self._clock()
        if rules is None:
            raise GateShut("the order or an indicator set cannot be read")
        return gate(rows, rules.order, rules.scannable(now.astimezone(dt.UTC).date()), now)

    def look(self) -> None:
        """Read again what has changed; what cannot be read shuts the gate until it can."""
        stamps = self._looked()
        if stamps == self._stamps and self._rules is not None:
            return
        try:
            rules = self._read()
        except (SluisError, MatcherError) as error:
            if self._rules is not None or stamps != self._stamps:
                _log.error("nothing is taken until this is right: %s", error)
            self._rules = None
        else:
            _log.info("the order and the sets were read again: they have changed")
            self._rules = rules
        self._stamps = stamps

    def _read(self) -> _Rules:
        valid = order.load(self._order_file)
        trusted = keys.trusted_centre_keys(self._trusted_keys)
        found = tuple(manifests.read(resolve(place), trusted) for place in self._sets)
        for one in found:
            order.check_covers(valid, one)
        return _Rules(valid, found)

    def _looked(self) -> tuple[_Stamp, ...]:
        files = [self._order_file]
        for place in self._sets:
            with contextlib.suppress(MatcherError):  # said when it is read
                files += [resolve(place) / name for name in manifests.SIGNED_FILES]
        return tuple(_stamp(path) for path in files)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
