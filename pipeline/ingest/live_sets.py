"""The order and the indicator sets of a scan that never ends: what is on disk is what holds.

A thread looks at the places of the sets (`current`) and at the order file. What is new is verified
and loaded beside the old, as a scan would when it starts, and taken over between two batches, so
that every batch has been asked of one list of sets and every hit says which version it is of. What
is bad is refused, loudly and once; the old version stays, until its own last day.

An order file that is gone, or is no longer a valid order, covers nothing: every upload is then
skipped as outside its period, and opened never.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matchers.errors import IndicatorSetError, MatcherError
from matchers.indicators import IndicatorSet, VersionLedger
from pipeline import order as orders
from pipeline import resources as worker
from pipeline.errors import SluisError
from pipeline.ingest.current import resolve
from pipeline.resources import ScanConfig

LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 60.0
"""After a refusal: the folder may still have been on its way here when CURRENT named it."""

_log = logging.getLogger(__name__)


@dataclass
class _Place:
    """What is known of a place.

    Attributes:
        folder: of the version that is loaded.
        refused: what was refused there last, and when to try it again.
    """

    path: Path
    folder: Path
    refused: str = ""
    retry_at: float = 0.0


class LiveSets:
    """Follows the places of a scan's sets, and its order file.

    Attributes:
        is_suspended: the order file is gone, or no longer holds this order.
        order_changed: set once it holds another valid version of this order.
    """

    def __init__(
        self,
        places: Sequence[Path],
        order_file: Path,
        config: ScanConfig,
        ledger: VersionLedger,
        loaded: Sequence[IndicatorSet],
    ) -> None:
        """Follow `places`, of which `loaded` are the sets that the scan holds now.

        Args:
            places: folders of sets, or of versions with CURRENT; `config.sets` are what they were
                resolved to, and `loaded` what was loaded from there, in the same order.
            order_file: of `config.order`.
            config: what sets are verified with.
            ledger: refuses rollbacks.
            loaded: the sets in use.
        """
        self._places = [
            _Place(place, folder) for place, folder in zip(places, config.sets, strict=True)
        ]
        self._sets = list(loaded)
        self._order_file = order_file
        self._order_digest = self._order_seen = _digest(order_file)
        self._config = config
        self._ledger = ledger
        self._lock = threading.Lock()
        self._pending = False
        self.is_suspended = False
        self.order_changed = threading.Event()

    def look(self) -> None:
        """Look at everything once: what changed is loaded and waits to be taken over."""
        self._look_at_order()
        for number, place in enumerate(self._places):
            self._look_at(number, place)

    def take_over(self, resources: worker.Resources) -> None:
        """Put what is new into the scan; between two batches."""
        with self._lock:
            if self._pending:
                resources.swap_sets(tuple(self._sets))
                self._pending = False
            resources.order = (
                orders.out_of_force(self._config.order) if self.is_suspended else self._config.order
            )

    @contextlib.contextmanager
    def followed(self, every_seconds: float = LOOK_SECONDS) -> Iterator[None]:
        """Look again and again, in a thread, for as long as the block runs."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(every_seconds):
                try:
                    self.look()
                except Exception as error:  # noqa: BLE001 - a watch that ends would not be missed
                    _log.error("looking for new indicator sets failed (%s)", type(error).__name__)

        thread = threading.Thread(target=work, name="live-sets", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look_at_order(self) -> None:
        """Act on a change once it has stayed for a look: an editor may be half-way through it."""
        digest, seen = _digest(self._order_file), self._order_seen
        self._order_seen = digest
        if digest == self._order_digest or digest != seen:
            return
        self._order_digest = digest
        try:
            found = orders.load(self._order_file)
        except SluisError as error:
            self.is_suspended = True
            _log.error("nothing is opened until the order is there again: %s", error)
            return
        if found.reference != self._config.order.reference:
            self.is_suspended = True
            _log.error(
                "%s now holds order %s, and this scan is of %s: nothing is opened. Start a scan "
                "for the new order, with an upload log of its own",
                self._order_file,
                found.reference,
                self._config.order.reference,
            )
            return
        if found == self._config.order:
            self.is_suspended = False
            _log.info("the order is there again")
            return
        _log.info("order %s has changed: it is taken over", found.reference)
        self.order_changed.set()

    def _look_at(self, number: int, place: _Place) -> None:
        named = ""
        try:
            folder = resolve(place.path)
            if folder == place.folder:
                place.refused = ""
                return
            named = str(folder)
            if place.refused == named and time.monotonic() < place.retry_at:
                return
            found = self._load(folder, number)
        except (SluisError, MatcherError, OSError) as error:
            if place.refused != (named or str(error)):
                before = self._sets[number].manifest
                _log.error(
                    "a new indicator set is refused, and %s version %d holds on, until %s: %s",
                    before.set_id,
                    before.version,
                    before.not_after,
                    error,
                )
            place.refused = named or str(error)
            place.retry_at = time.monotonic() + RETRY_SECONDS
            return
        with self._lock:
            self._sets[number] = found
            self._pending = True
        place.folder, place.refused = folder, ""
        _log.info(
            "indicator set %s: version %d holds from now on",
            found.manifest.set_id,
            found.manifest.version,
        )

    def _load(self, folder: Path, number: int) -> IndicatorSet:
        """Everything that a scan checks when it starts, before anything is changed."""
        found = worker.load_set(folder, self._config)
        before = self._sets[number].manifest.set_id
        if found.manifest.set_id != before:
            raise IndicatorSetError(
                f"{folder} holds set {found.manifest.set_id!r}, and its place is that of {before!r}"
            )
        worker.check_together([*self._sets[:number], found, *self._sets[number + 1 :]])
        self._ledger.accept([found.manifest])
        return found


def _digest(file: Path) -> bytes:
    """Of a file's contents; of nothing where it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""
