"""What a process that scans holds: sets, keys, decoders, channel; and what it is told to hold."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from matchers import indicators, pdq
from matchers.hamming import BackendName
from matchers.indicators import IndicatorSet
from matchers.scanner import Scanner
from pipeline import keys, order, verdict_file, vouchers
from pipeline.emit import Emitter
from pipeline.errors import OrderRefused, SourceRefused
from pipeline.gate import media_covered
from pipeline.ledger.ledger import Ledger
from pipeline.sandbox import Sandbox


def utc_now() -> dt.datetime:
    """The clock of a real run."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True)
class ScanConfig:
    """All that a worker needs, as plain values and paths: no key, no index, no channel.

    Attributes:
        order: the detection order.
        sets: folders of indicator sets.
        key_folder: the provider's keys, on this machine.
        index_folder: where built indexes are shared between workers; None: in memory.
        verification: host:port.
        threads: items worked on at once in one process.
        pdq_mode: how images are hashed, see `matchers.pdq.hash_images`.
        index_backend: what looks codes up, see `matchers.hamming.HammingIndex.build`.
        require_filter: refuse to decode where the decoders' system calls cannot be filtered
            (docs/sandbox.md).
        suppress: files of verdicts (`verdict_file`): pairs of indicator and content that people
            have rejected are not sent again.
        ledger: folder of a hash ledger (docs/ledger.md); None, the default: nothing is kept of
            what resembles nothing.
        ledger_days: that it keeps an item; None: as it was made.
        without: a file of ids, one a line, of items that are not matched again.
        clock: tells the time.
    """

    order: order.Order
    sets: tuple[Path, ...]
    key_folder: Path
    index_folder: Path | None
    verification: str
    threads: int
    pdq_mode: pdq.Mode = "exact"
    index_backend: BackendName = "auto"
    require_filter: bool = False
    suppress: tuple[Path, ...] = ()
    ledger: Path | None = None
    ledger_days: int | None = None
    without: Path | None = None
    clock: Callable[[], dt.datetime] = utc_now


class Resources:
    """Sets, keys, channel and threads of one process, made once and shared by its steps.

    Attributes:
        order: what the gate asks. A stream puts one in its place that is in force on no day, while
            the order's file is gone.
    """

    def __init__(self, config: ScanConfig) -> None:
        """Verify the sets and read the keys.

        Raises:
            OrderRefused, IndicatorSetError, KeysRefused, VerdictFileRefused: as their loaders say.
        """
        self.sets: Sequence[IndicatorSet] = load_sets(config)
        self.order = config.order
        self._scanners: dict[dt.date, Scanner] = {}
        self._pdq_mode = config.pdq_mode
        self._media = media_covered(config.order)
        self.keys: keys.KeyService = keys.LocalKeyService(
            config.key_folder,
            config.order.reference,
            config.order.group_hits_by,
            vouchers.Epochs.of(
                config.order.valid_from, config.order.valid_until, config.order.epoch_days
            ),
        )
        self.suppressed = load_suppressed(config, self.keys)
        self.ledger = (
            Ledger(config.ledger, config.ledger_days, config.key_folder, config.clock)
            if config.ledger
            else None
        )
        self.withdrawn = load_withdrawn(config.without)
        self.emitter = Emitter(config.verification, config.key_folder)
        self.sandbox = Sandbox(config.threads, require_filter=config.require_filter)
        self.pool = ThreadPoolExecutor(config.threads, thread_name_prefix="open")

    def swap_sets(self, sets: Sequence[IndicatorSet]) -> None:
        """Ask other sets from the next batch on; call it between two batches."""
        self.sets = sets
        self._scanners = {}

    def scanner(self, today: dt.date) -> Scanner:
        """A scanner over the sets that are in force today: one that expires is not asked."""
        if today not in self._scanners:
            in_force = [
                s for s in self.sets if s.manifest.effective <= today <= s.manifest.not_after
            ]
            self._scanners = {
                today: Scanner(
                    in_force,
                    pdq_mode=self._pdq_mode,
                    media=self._media,
                    examiner=self.sandbox.examine,
                )
            }
        return self._scanners[today]

    def close(self) -> None:
        """Let go of threads, decoders and channel."""
        self.pool.shutdown()
        self.sandbox.close()
        self.emitter.close()
        if self.ledger is not None:
            self.ledger.close()


def load_sets(config: ScanConfig) -> list[IndicatorSet]:
    """Verify every set and hold it against the order.

    Raises:
        IndicatorSetError: unsigned, altered, expired.
        OrderRefused: not covered by the order, or two sets of kind new.
    """
    loaded = [load_set(folder, config) for folder in config.sets]
    check_together(loaded)
    return loaded


def load_set(folder: Path, config: ScanConfig) -> IndicatorSet:
    """Verify one set and hold it against the order.

    Raises:
        IndicatorSetError: unsigned, altered, expired.
        OrderRefused: not covered by the order.
    """
    found = indicators.load(
        folder,
        keys.trusted_centre_keys(config.key_folder),
        today=config.clock().date(),
        index_folder=config.index_folder,
        backend=config.index_backend,
    )
    order.check_covers(config.order, found.manifest)
    return found


def check_together(loaded: Sequence[IndicatorSet]) -> None:
    """Hold sets against one another.

    Raises:
        OrderRefused: one is there twice, or two are of kind new.
    """
    ids = [found.manifest.set_id for found in loaded]
    for set_id in ids:
        if ids.count(set_id) > 1:
            raise OrderRefused(f"indicator set {set_id!r} is given twice: give its newest version")
    new = [found.manifest.set_id for found in loaded if found.manifest.kind == "new"]
    if len(new) > 1:
        raise OrderRefused(
            f"{' and '.join(new)} are both of kind new: a near-duplicate listed in both would "
            "count as two distinct hits. Scan with one; ask the EU Centre to merge them"
        )


def load_suppressed(config: ScanConfig, service: keys.KeyService) -> frozenset[bytes]:
    """The pairs of indicator and content that are not sent again.

    Raises:
        VerdictFileRefused, KeysRefused: as their loaders say.
    """
    if not config.suppress:
        return frozenset()
    signers = keys.signers(config.key_folder)
    reference = vouchers.order_id(config.order.reference)
    return verdict_file.rejected_pairs(config.suppress, signers, reference, service.pair_id)


def load_withdrawn(path: Path | None) -> pa.StringArray:
    """The items that are not matched again.

    Raises:
        SourceRefused: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n") if path else []
    except (OSError, UnicodeDecodeError):
        raise SourceRefused(
            f"{path} cannot be read: it must hold one item id a line, in UTF-8"
        ) from None
    return pa.array(lines, pa.string())


_lock = threading.Lock()
_resources: dict[ScanConfig, Resources] = {}


def resources_for(config: ScanConfig) -> Resources:
    """This process's resources for `config`: made by whichever step asks first."""
    with _lock:
        if config not in _resources:
            _resources[config] = Resources(config)
        return _resources[config]


def release_resources(config: ScanConfig) -> None:
    """Let go of them again, at the end of a run."""
    with _lock, contextlib.suppress(KeyError):
        _resources.pop(config).close()
