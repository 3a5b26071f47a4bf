"""`sluis ingest serve` and `sluis ingest send`: the front door, and a client of it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from pipeline.cli import ingest_scan
from pipeline.cli.common import (
    GROUP,
    LogFolder,
    OrderFile,
    check_address,
    err,
    fail,
    out,
    serve_until_stopped,
)
from pipeline.cli.scanning import AccountClass, Consent, Encryption
from pipeline.text import counted

if TYPE_CHECKING:
    from pipeline.ingest.journal import Sent

_PLAIN_LINE_SECONDS = 5.0
_REFUSED_STATUS = 4

app = typer.Typer(help="Uploads as they arrive: take them, send them, scan them.", **GROUP)
app.command("scan")(ingest_scan.ingest_scan)


@app.command("serve")
def ingest_serve(
    order: OrderFile,
    indicators: Annotated[
        list[Path],
        typer.Option(
            metavar="SET",
            help="A signed indicator set: its manifest says what can be matched; may be given "
            "several times. Read again when it changes, like the order.",
        ),
    ],
    log: LogFolder,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:7445",
    keys: Annotated[Path, typer.Option("--keys", help="The front door's key folder.")] = Path(
        "keys/ingest"
    ),
    quota_gib: Annotated[
        float, typer.Option(min=0.25, help="Most the upload log may take of the disk.")
    ] = 16.0,
    segment_mib: Annotated[
        int, typer.Option(min=1, max=1024, help="Length of one file of the upload log.")
    ] = 64,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT|none",
            help="Where Prometheus finds metrics, over plain HTTP: keep it on this machine.",
        ),
    ] = "127.0.0.1:9745",
    human: Annotated[
        bool, typer.Option("--human", help="Log text for people instead of JSON lines.")
    ] = False,
) -> None:
    """Take uploads, and answer each once it is on disk. Mutual TLS only.

    What the order does not cover is answered and counted; its bytes are not written. When there is
    no room callers are told when to come again: nothing is dropped.
    """
    from pipeline.ingest import door, logs

    logs.say(as_json=not human)
    if metrics != "none":
        check_address(metrics)

    def ready_with(ready: Callable[[int], None], port: int) -> None:
        ready(port)
        out.print(f"uploads are kept in {log.resolve()}", soft_wrap=True)

    serve_until_stopped(
        "the front door",
        listen,
        lambda ready, stop: door.serve(
            address=listen,
            key_folder=keys,
            log_folder=log,
            order_file=order,
            sets=indicators,
            quota_bytes=round(quota_gib * 1024**3),
            segment_bytes=segment_mib * 1024**2,
            metrics_address=None if metrics == "none" else metrics,
            ready=lambda port: ready_with(ready, port),
            stop=stop,
            clock=lambda: dt.datetime.now(dt.UTC),
        ),
    )


@app.command("send")
def ingest_send(
    source: Annotated[
        Path, typer.Argument(help="A directory, or a manifest: .parquet, .csv or .jsonl.")
    ],
    door: Annotated[
        str,
        typer.Option(envvar="SLUIS_DOOR", metavar="HOST:PORT", help="Address of the front door."),
    ],
    journal: Annotated[
        Path,
        typer.Option(
            help="Folder of this sending: what is answered. Start the same command again to go on "
            "with one that was stopped."
        ),
    ],
    keys: Annotated[Path, typer.Option("--keys", help="The uploader's key folder.")] = Path(
        "keys/uploader"
    ),
    part: Annotated[
        Optional[str],
        typer.Option(
            help="For a directory: the part of the service it belongs to.", show_default=False
        ),
    ] = None,
    encryption: Annotated[
        Optional[Encryption],
        typer.Option(
            help="For a directory: state how its files are encrypted. [default: none]",
            show_default=False,
        ),
    ] = None,
    account_class: Annotated[
        Optional[AccountClass],
        typer.Option(
            help="For a directory: state whose accounts its files are. [default: ordinary]",
            show_default=False,
        ),
    ] = None,
    consent: Annotated[
        Optional[Consent],
        typer.Option(
            help="For a directory: state whether its uploaders consented.", show_default=False
        ),
    ] = None,
    by_reference: Annotated[
        bool,
        typer.Option(
            "--by-reference",
            help="Send where local files are, not their bytes, to a scan that reaches them.",
        ),
    ] = False,
    patience_seconds: Annotated[
        float, typer.Option(min=0, help="How long to go on while the front door does not answer.")
    ] = 600.0,
) -> None:
    """Send a directory or manifest to the front door, each item until it is answered.

    Local files go as bytes, what lies in an object store by its reference. Ends with status 4 if
    items were refused, and says where they are listed.
    """
    from pipeline.errors import SourceRefused
    from pipeline.ingest import client
    from pipeline.ingest.journal import Journal
    from pipeline.sources import Declared

    check_address(door)
    declared = None
    if source.is_dir():
        if part is None:
            raise SourceRefused(
                f"{source} is a directory: state with --part which part of the service it belongs "
                "to, as the order names it"
            )
        declared = Declared(
            part=part,
            encryption=(encryption or Encryption.none).value,
            account_class=(account_class or AccountClass.ordinary).value,
            consent=consent.value if consent else None,
        )
    elif {part, encryption, account_class, consent} != {None}:
        raise typer.BadParameter(
            "--part, --encryption, --account-class and --consent are for directories; a manifest "
            "says it row by row"
        )
    with closing(Journal(journal, source, declared)) as begun:
        if begun.is_complete:
            err.print(f"{journal} is complete; name a new --journal to send again.", soft_wrap=True)
        with _progress() as listener:
            sent = client.send(
                begun,
                door,
                keys,
                listener=listener,
                by_reference=by_reference,
                patience_seconds=patience_seconds,
            )
    out.print(_summary(sent), soft_wrap=True)
    if sent.refused:
        refused = counted(sent.refused.total(), "item")
        fail(f"{refused} refused: {begun.refused_path} lists them by row", _REFUSED_STATUS)


def _summary(sent: Sent) -> str:
    """How every row ended, in words."""
    lines = [
        f"{counted(sent.rows, 'item')} answered",
        f"  accepted  {sent.accepted:,}",
        f"  repeated  {sent.repeated:,} (the front door had them already)",
        f"  skipped   {sent.skipped.total():,}",
        *(f"    {reason}: {count:,}" for reason, count in sorted(sent.skipped.items())),
        f"  refused   {sent.refused.total():,}",
        *(f"    {reason}: {count:,}" for reason, count in sorted(sent.refused.items())),
    ]
    return "\n".join(lines)


@contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """A live display in a terminal, plain lines elsewhere."""
    if not err.is_terminal:
        yield _plain_lines()
        return
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("answered"),
        TimeElapsedColumn(),
        console=err,
    ) as bar:
        task = bar.add_task("send", total=None)
        yield lambda sent: bar.update(task, total=sent.total, completed=sent.rows)


def _plain_lines() -> Callable[[Any], None]:
    last = 0.0

    def show(sent: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PLAIN_LINE_SECONDS:
            last = now
            err.print(f"{sent.rows:,} of {sent.total:,} items answered", soft_wrap=True)

    return show
