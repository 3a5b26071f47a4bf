"""A run: a source scanned to its end, in chunks, with its state in a folder.

    RUN/run.json         what is scanned: order, sets, snapshot; a resumed run must agree with it
    RUN/items.parquet    the snapshot of references; removed at the end
    RUN/outcomes/        one small file for each finished batch of the chunk at hand
    RUN/chunks/          one file for each finished chunk: its counts, durable
    RUN/failed.parquet   items that could not be examined, and why
    RUN/report.json      the run's figures, once it is complete

A batch is done when its file is there, and a chunk when its own is. A killed run therefore goes on
from its last finished batch, counts nothing twice, and sends a candidate again at worst.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from matchers import indicators
from matchers.files import read_json, sha256_file, write_json
from pipeline import order, scan, sources
from pipeline.errors import (
    AccountingError,
    LedgerDamaged,
    RunInterrupted,
    RunRefused,
    SandboxLost,
    SluisError,
    VerificationRefused,
    VerificationUnreachable,
)
from pipeline.items import FAILED, Tally
from pipeline.ledger.again import take as take_ledger
from pipeline.ledger.folder import LedgerFolder
from pipeline.ledger.key import read_key
from pipeline.resources import Resources, ScanConfig, release_resources, resources_for
from pipeline.sources import Declared, Snapshot

FORMAT: Final = "sluis-run/1"
POLL_SECONDS: Final = 0.2
_FIRST_FILES: Final = {".lock", "items.parquet", "items.parquet.new", "run.json.new"}
"""What a run that was killed before its run.json may have left."""

DEFAULT_CHUNK_ROWS: Final = 8_192


@dataclass
class Progress:
    """How far a run is. The rate is of this session, so that a resumed run does not flatter."""

    rows: int
    tally: Tally = field(default_factory=Tally)
    rows_before: int = 0
    inner_before: int = 0
    started_at: float = field(default_factory=time.monotonic)

    @property
    def rows_per_second(self) -> float:
        """Items finished in this session, a second."""
        return self._a_second(self.tally.rows - self.rows_before)

    @property
    def counted_per_second(self) -> float:
        """Items, and parts inside them, finished in this session, a second."""
        return self._a_second(self.tally.counted - self.rows_before - self.inner_before)

    def _a_second(self, count: int) -> float:
        seconds = time.monotonic() - self.started_at
        return count / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None before there is one."""
        rate = self.rows_per_second
        return (self.rows - self.tally.rows) / rate if rate > 0 else None


Listener = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """Where a run's rows come from.

    Attributes:
        folder: what nothing of ours may lie in; None where it is a file.
        about: what it is, for run.json: a resumed run must agree with it.
        take: writes its snapshot, in chunks of so many rows.
        load: reads the rows of a slice of it.
        decodes: whether anything is decoded.
    """

    folder: Path | None
    about: dict[str, Any]
    take: Callable[[Path, int], Snapshot]
    load: Callable[[scan.Slice], scan.Batch]
    decodes: bool = True


def scan_source(
    source: Path,
    config: ScanConfig,
    run_folder: Path,
    *,
    declared: Declared | None,
    version_ledger: indicators.VersionLedger,
    listener: Listener,
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
    batch_rows: int | None = None,
) -> dict[str, Any]:
    """Scan `source`, or finish scanning it.

    Args:
        source: a directory or a manifest.
        config: what to scan with.
        run_folder: a new folder, or one of an unfinished run of the same source.
        declared: for a directory.
        version_ledger: refuses rollbacks of indicator sets.
        listener: told of progress a few times a second, from this thread.
        chunk_rows: items in one run of the engine.
        batch_rows: items that are opened together; None: by the size of the source.

    Returns:
        The contents of report.json.

    Raises:
        SluisError: one of its kinds, saying what to do. An unfinished run can be started again.
    """
    origin = _Origin(
        folder=source if source.is_dir() else None,
        about={
            "source": str(source.resolve()),
            "source_sha256": sources.fingerprint(source),
            "declared": dataclasses.asdict(declared) if declared and source.is_dir() else None,
            "ledger": str(config.ledger.resolve()) if config.ledger else None,
        },
        take=functools.partial(_take_source, source, declared),
        load=scan.load,
    )
    return _run(origin, config, run_folder, version_ledger, listener, chunk_rows, batch_rows)


def match_again(
    config: ScanConfig,
    run_folder: Path,
    *,
    version_ledger: indicators.VersionLedger,
    listener: Listener,
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
    batch_rows: int | None = None,
) -> dict[str, Any]:
    """Match what a hash ledger holds, or finish doing so; every item once, as examined last.

    Args:
        config: what to match with; its ledger is the one.
        run_folder: a new folder, or one of an unfinished run of the same ledger.
        version_ledger: refuses rollbacks of indicator sets.
        listener: told of progress a few times a second, from this thread.
        chunk_rows: items in one run of the engine.
        batch_rows: items that are matched together; None: by how many there are.

    Returns:
        The contents of report.json.

    Raises:
        SluisError: one of its kinds, saying what to do. An unfinished run can be started again.
    """
    if config.ledger is None:
        raise ValueError("there is no ledger to match")
    folder, key = LedgerFolder.found(config.ledger), read_key(config.key_folder)
    origin = _Origin(
        folder=config.ledger,
        about={
            "source": None,
            "ledger": str(config.ledger.resolve()),
            "matched_again": True,
            "without_sha256": sha256_file(config.without) if config.without else None,
        },
        take=functools.partial(take_ledger, folder, key),
        load=functools.partial(scan.load_again, config=config),
        decodes=False,
    )
    return _run(origin, config, run_folder, version_ledger, listener, chunk_rows, batch_rows)


def _take_source(source: Path, declared: Declared | None, path: Path, chunk_rows: int) -> Snapshot:
    return sources.take(source, path, chunk_rows=chunk_rows, declared=declared)


def _run(
    origin: _Origin,
    config: ScanConfig,
    run_folder: Path,
    version_ledger: indicators.VersionLedger,
    listener: Listener,
    chunk_rows: int,
    batch_rows: int | None,
) -> dict[str, Any]:
    with _locked(run_folder):
        _check_folder(origin, run_folder, config)
        order.check_in_force(config.order, config.clock().date())
        try:
            resources = resources_for(config)  # verifies the sets, reads the keys
            version_ledger.accept([s.manifest for s in resources.sets])
            about = _about(origin, config, resources)
            finished = read_json(run_folder / "report.json")
            if finished is not None:
                _check_same(run_folder, finished, about)
                _tidy(run_folder)
                return finished
            snapshot = _snapshot(origin, run_folder, about, chunk_rows, batch_rows)
            resources.emitter.check()
            confined = "nothing is decoded"
            if origin.decodes:
                confined = str(resources.sandbox.confinement)  # refuses before anything is opened
                if resources.ledger is not None:
                    resources.ledger.prepare()
            about_decoders = {"decoders_confined_by": confined}
            return _finish(run_folder, snapshot, config, listener, origin, about | about_decoders)
        finally:
            release_resources(config)


def _finish(
    run_folder: Path,
    snapshot: Snapshot,
    config: ScanConfig,
    listener: Listener,
    origin: _Origin,
    about: dict[str, Any],
) -> dict[str, Any]:
    for name in ("outcomes", "chunks"):
        (run_folder / name).mkdir(exist_ok=True)
    progress = Progress(snapshot.rows)
    done_chunks = set()
    for closed in _closed_chunks(run_folder):
        done_chunks.add(closed["chunk"])
        progress.tally.add(Tally.from_json(closed["tally"]))
    progress.rows_before = progress.tally.rows
    progress.inner_before = progress.tally.inner
    batch_rows: int = about["batch_rows"]
    listener(progress)
    for chunk in range(snapshot.chunks):
        if chunk in done_chunks:
            continue
        rows = min(snapshot.chunk_rows, snapshot.rows - chunk * snapshot.chunk_rows)
        wanted = scan.slices(snapshot.path, chunk, rows, batch_rows)
        _run_chunk(run_folder, chunk, wanted, config, origin, progress, listener)
    progress.tally.check("run")
    if progress.tally.rows != snapshot.rows:
        raise SluisError(
            f"{run_folder}: {snapshot.rows} items in the source, {progress.tally.rows} "
            "accounted for. This is a defect of Sluis: keep the run folder and report it"
        )
    return _close(run_folder, progress.tally, about)


def _run_chunk(
    run_folder: Path,
    chunk: int,
    slices: Sequence[scan.Slice],
    config: ScanConfig,
    origin: _Origin,
    progress: Progress,
    listener: Listener,
) -> None:
    """Run the engine over what is left of a chunk, watching its outcomes, then close the chunk."""
    outcomes = run_folder / "outcomes"
    wanted = {one.name: one for one in slices}
    counted = _Counted(outcomes, wanted, progress)
    rows_seen, inner_seen = progress.tally.rows, progress.tally.inner
    counted.look()  # what an earlier session has finished
    progress.rows_before += progress.tally.rows - rows_seen
    progress.inner_before += progress.tally.inner - inner_seen
    left = [one for name, one in wanted.items() if name not in counted.batches]
    if left:
        failure: list[BaseException] = []

        def engine() -> None:
            try:
                with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
                    batches = pipeline | beam.Create(left) | "Load" >> beam.Map(origin.load)
                    _ = batches | scan.Scan(config, outcomes)
            except BaseException as error:  # noqa: BLE001 - raised again below, in this thread
                failure.append(error)

        thread = threading.Thread(target=engine, name="engine")
        thread.start()
        try:
            while thread.is_alive():
                thread.join(POLL_SECONDS)
                counted.look()
                listener(progress)
        except BaseException:
            scan.STOP.set()  # nothing goes on behind a run that has ended
            thread.join()
            scan.STOP.clear()
            raise
        counted.look()
        if failure:
            raise _cause(failure[0], run_folder) from failure[0]
    listener(progress)
    _close_chunk(run_folder, chunk, sum(one.length for one in slices), counted.batches)


class _Counted:
    """The finished batches of a chunk, counted into the run's progress as they appear."""

    def __init__(self, folder: Path, wanted: dict[str, Any], progress: Progress) -> None:
        self._folder = folder
        self._wanted = wanted
        self._progress = progress
        self.batches: dict[str, dict[str, Any]] = {}

    def look(self) -> None:
        for entry in os.scandir(self._folder):
            name = entry.name.removesuffix(".json")
            if name == entry.name or name in self.batches or name not in self._wanted:
                continue
            done = read_json(Path(entry.path))
            if done is None or done["tally"]["rows"] != self._wanted[name].length:
                os.unlink(entry.path)  # torn by a crash, or of another batch size: do it again
                continue
            self.batches[name] = done
            self._progress.tally.add(Tally.from_json(done["tally"]))


def _close_chunk(
    run_folder: Path, chunk: int, rows: int, batches: dict[str, dict[str, Any]]
) -> None:
    """Batch files -> the chunk's failures, then its counts: with these it is closed."""
    tally = Tally()
    failed: list[list[str]] = []
    seconds: dict[str, float] = {}
    for _, done in sorted(batches.items()):
        tally.add(Tally.from_json(done["tally"]))
        failed.extend(done["failed"])
        for step, spent in done["seconds"].items():
            seconds[step] = seconds.get(step, 0.0) + spent
    tally.check(f"chunk {chunk}")
    if tally.rows != rows:
        raise SluisError(
            f"{run_folder}: chunk {chunk} has {rows} items, but {tally.rows} were accounted for. "
            "This is a defect of Sluis: keep the run folder and report it"
        )
    path = run_folder / "chunks" / f"failed-{chunk:06d}.parquet"
    path.unlink(missing_ok=True)
    if failed:
        columns = [pa.array(column, pa.string()) for column in zip(*failed, strict=True)]
        _write_parquet(path, pa.Table.from_arrays(columns, schema=FAILED))
    closed = {
        "chunk": chunk,
        "tally": tally.to_json(),
        "seconds": seconds,
        "finished": [
            [
                done["finished_at"],
                Tally.from_json(done["tally"]).counted,
                sum(done["seconds"].values()),
            ]
            for done in batches.values()
        ],
    }
    write_json(run_folder / "chunks" / f"{chunk:06d}.json", closed)
    for name in batches:
        (run_folder / "outcomes" / f"{name}.json").unlink()


def _close(run_folder: Path, tally: Tally, about: dict[str, Any]) -> dict[str, Any]:
    """Gather failures, write the report's figures, remove what named the items."""
    parts = sorted((run_folder / "chunks").glob("failed-*.parquet"))
    tables = [pq.read_table(part, schema=FAILED) for part in parts]
    failed = pa.concat_tables(tables) if tables else FAILED.empty_table()
    if failed.num_rows != tally.failed_total:
        raise SluisError(
            f"{run_folder}: {tally.failed_total} items failed, but {failed.num_rows} are named. "
            "This is a defect of Sluis: keep the run folder and report it"
        )
    _write_parquet(run_folder / "failed.parquet", failed)
    chunks = list(_closed_chunks(run_folder))
    seconds: dict[str, float] = {}
    for closed in chunks:
        for step, spent in closed["seconds"].items():
            seconds[step] = seconds.get(step, 0.0) + spent
    report = {
        **about,
        "tally": tally.to_json(),
        "seconds": seconds,
        "finished": sorted(batch for closed in chunks for batch in closed["finished"]),
        "completed_at": time.time(),
    }
    write_json(run_folder / "report.json", report)
    _tidy(run_folder)
    return report


def _tidy(run_folder: Path) -> None:
    """Remove what named the items, once the report is there."""
    for name in ("outcomes", "chunks"):
        shutil.rmtree(run_folder / name, ignore_errors=True)
    (run_folder / "items.parquet").unlink(missing_ok=True)


def _write_parquet(path: Path, table: pa.Table) -> None:
    """Replace a Parquet file whole and durably."""
    unfinished = path.with_name(path.name + ".new")
    with open(unfinished, "wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _snapshot(
    origin: _Origin,
    run_folder: Path,
    about: dict[str, Any],
    chunk_rows: int,
    batch_rows: int | None,
) -> Snapshot:
    """Take the snapshot, or find the one that a started run has taken."""
    path = run_folder / "items.parquet"
    started = read_json(run_folder / "run.json")
    if started is None:
        snapshot = origin.take(path, chunk_rows)
        about |= {
            "format": FORMAT,
            "run_id": uuid.uuid4().hex,
            "started_at": time.time(),
            "rows": snapshot.rows,
            "chunk_rows": snapshot.chunk_rows,
            # Small sources get small batches: progress and resumption have something to hold on to.
            "batch_rows": batch_rows or max(16, min(256, snapshot.rows // 32)),
        }
        write_json(run_folder / "run.json", about)
        return snapshot
    if started.get("format") != FORMAT:
        raise RunRefused(f"{run_folder} was made by another version of Sluis: name a new folder")
    _check_same(run_folder, started, about)
    about |= started
    if not path.exists():
        raise RunRefused(f"{path} is missing: this run cannot be resumed; name a new folder")
    return Snapshot(path, started["rows"], started["chunk_rows"])


def _check_folder(origin: _Origin, run_folder: Path, config: ScanConfig) -> None:
    """A run folder is new, empty or a run's; and nothing of ours is what is to be scanned."""
    others = {entry.name for entry in run_folder.iterdir()} - _FIRST_FILES
    if others and read_json(run_folder / "run.json") is None:
        raise RunRefused(f"{run_folder} holds other things than a run: name a new folder")
    ours = [run_folder, config.key_folder]
    if config.ledger is not None and origin.decodes:
        ours.append(config.ledger)
    source = origin.folder
    for inner in ours:
        if source is not None and inner.resolve().is_relative_to(source.resolve()):
            raise RunRefused(
                f"{inner} lies inside {source}: keep the folders of runs, keys and ledger "
                "elsewhere, for what lies there is no hosted content"
            )


def _check_same(run_folder: Path, started: dict[str, Any], about: dict[str, Any]) -> None:
    """Refuse to mix two runs in one folder."""
    for name, now in about.items():
        if started.get(name) != now:
            raise RunRefused(
                f"{run_folder} holds a run that was started otherwise ({name.replace('_', ' ')}): "
                "use what it was started with, or name a new folder"
            )


def _about(origin: _Origin, config: ScanConfig, resources: Resources) -> dict[str, Any]:
    """What makes a run this run, and no other."""
    return {
        "order": config.order.reference,
        "order_sha256": hashlib.sha256(config.order.model_dump_json().encode()).hexdigest(),
        **origin.about,
        "pdq_mode": config.pdq_mode,
        "indicator_sets": [
            {
                "set_id": s.manifest.set_id,
                "kind": s.manifest.kind,
                "version": s.manifest.version,
                "algorithm": s.manifest.algorithm,
                "radius_bits": s.manifest.radius_bits,
                "profile": s.manifest.profile,
                "min_share_percent": s.manifest.min_share_percent,
                "indicators": s.manifest.rows,
                "videos": len(s.videos.frames) if s.videos is not None else None,
                "sha256": s.manifest.sha256,
            }
            for s in resources.sets
        ],
        "rejections_sha256": (
            hashlib.sha256(b"".join(sorted(resources.suppressed))).hexdigest()
            if resources.suppressed
            else None
        ),
    }


def _cause(error: BaseException, run_folder: Path) -> SluisError:
    """Name again what a step raised: engines re-create it, or only hand its text on."""
    again = f"Start the same command again to go on from where it stopped ({run_folder})."

    said = str(error).partition(" [while running")[0]
    known: dict[type[SluisError], str] = {
        RunInterrupted: f"stopped on request. {again}",
        SandboxLost: "decoders' processes cannot be started any more: see that memory and the "
        f"number of processes suffice (docs/sandbox.md); nothing is lost. {again}",
        VerificationUnreachable: "verification stopped answering, after bounded retries; nothing "
        f"is lost. {again}",
        VerificationRefused: "verification answered, and does not take this run's candidates: "
        "check that the provider's certificate and verifier.pub belong to this service. "
        f"{again}",
        LedgerDamaged: f"{said}. {again}",
        AccountingError: f"items in and outcomes do not add up in {run_folder}: report it",
    }
    for kind, message in known.items():
        if isinstance(error, kind) or kind.__name__ in str(error):
            return kind(message)
    # The text may quote an item, so only the kind goes into the message.
    return SluisError(
        f"the scan failed ({type(error).__name__}); --debug shows the trace. {again} If it fails "
        "again, report it"
    )


def _closed_chunks(run_folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((run_folder / "chunks").glob("*.json")):
        closed = read_json(path)
        if closed is not None:
            yield closed


@contextlib.contextmanager
def _locked(run_folder: Path) -> Iterator[None]:
    """One process at a time in a run folder."""
    try:
        run_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(run_folder / ".lock", "w")  # noqa: SIM115 - held until the run ends
    except OSError as error:
        raise RunRefused(f"{run_folder} cannot be used as a run folder: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunRefused(f"{run_folder} is in use by another scan: wait for it") from None
        yield
