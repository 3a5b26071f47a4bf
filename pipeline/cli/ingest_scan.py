"""`sluis ingest scan`: the streaming scan."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.cli.common import (
    Address,
    KeptLedger,
    LedgerDays,
    LogFolder,
    OrderFile,
    ProviderKeys,
    check_address,
    check_ledger,
    err,
    out,
)
from pipeline.cli.scanning import IndexBackend, PdqMode


def ingest_scan(
    order: OrderFile,
    indicators: Annotated[
        list[Path],
        typer.Option(
            help="A signed indicator set, or a folder of its versions with a file CURRENT that "
            "names the one that holds; may be given several times.",
            metavar="SET",
        ),
    ],
    verification: Address,
    log: LogFolder,
    keys: ProviderKeys = Path("keys/provider"),
    state_dir: Annotated[
        Optional[Path],
        typer.Option(
            envvar="SLUIS_STATE",
            help="Folder that outlives runs: set versions already used, built indexes. "
            "[default: ~/.local/state/sluis]",
            show_default=False,
        ),
    ] = None,
    suppress: Annotated[
        Optional[list[Path]],
        typer.Option(
            metavar="VERDICTS",
            help="A file of verdicts: what people have rejected is counted and not sent again. "
            "Read when the scan starts.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=1,
            help="Uploads opened at once. Each has a decoder process of its own, which takes 1.2 "
            "GiB at most (docs/sandbox.md).",
            show_default="one for each core",
        ),
    ] = os.cpu_count() or 1,
    pdq_mode: Annotated[
        PdqMode, typer.Option(help="How images are hashed, as for `sluis scan`.")
    ] = PdqMode.exact,
    index_backend: Annotated[
        IndexBackend, typer.Option(help="What looks codes up, as for `sluis scan`.")
    ] = IndexBackend.auto,
    require_sandbox: Annotated[
        bool,
        typer.Option(
            "--require-sandbox",
            help="Refuse to scan where the kernel cannot be told which calls a decoder may make "
            "(docs/sandbox.md): use it in production. Without it the scan says so and goes on "
            "within its other limits.",
        ),
    ] = False,
    ledger: KeptLedger = None,
    ledger_days: LedgerDays = None,
    most_rows: Annotated[
        int, typer.Option("--batch-rows", min=1, help="Most uploads in a batch.")
    ] = 1024,
    drain: Annotated[
        bool, typer.Option("--drain", help="End once the log is empty, instead of waiting.")
    ] = False,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT|none",
            help="Where Prometheus finds metrics, over plain HTTP: keep it on this machine.",
        ),
    ] = "127.0.0.1:9746",
    human: Annotated[
        bool, typer.Option("--human", help="Log text for people instead of JSON lines.")
    ] = False,
) -> None:
    """Scan uploads as they arrive in the log; candidates go to the verification service.

    Nothing is opened that the order does not cover, on the day. Ctrl-C or SIGTERM ends the scan
    after the batch at hand; started again, it goes on from there, as after any crash.
    """
    check_address(verification)
    check_ledger(ledger, ledger_days)
    if metrics != "none":
        check_address(metrics)
    from pipeline import order as orders
    from pipeline.ingest import logs, stream
    from pipeline.ingest import metrics as metric_server
    from pipeline.ingest.stream_metrics import Meters
    from pipeline.resources import ScanConfig

    logs.say(as_json=not human)
    state = state_dir or Path.home() / ".local" / "state" / "sluis"
    settings = stream.StreamSettings(
        log=log,
        order_file=order,
        places=tuple(indicators),
        ledger=state / "indicator-versions.json",
        config=ScanConfig(
            order=orders.load(order),
            sets=(),
            key_folder=keys,
            index_folder=state / "indexes",
            verification=verification,
            threads=threads,
            pdq_mode=pdq_mode.value,
            index_backend=index_backend.value,
            require_filter=require_sandbox,
            suppress=tuple(suppress or ()),
            ledger=ledger,
            ledger_days=ledger_days,
        ),
        most_rows=most_rows,
        drain=drain,
    )
    meters = Meters()
    with _stop_on_signal(say=human) as stop, contextlib.ExitStack() as held:
        if metrics != "none":
            held.callback(metric_server.serve(meters.registry, metrics))
        stream.scan_uploads(settings, stop, meters)
    out.print(f"{log}: {'the log is empty' if drain else 'stopped'}; nothing is left half done")


@contextmanager
def _stop_on_signal(*, say: bool) -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) ends the scan after the batch at hand, the second at once."""
    stopping = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        if stopping.is_set():
            os._exit(130)
        stopping.set()
        if say:
            err.print("stopping after the batch at hand; once more to stop at once")

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
