"""`sluis rematch` and `sluis ledger …`: the hash ledger."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from pipeline.cli.common import (
    GROUP,
    Address,
    OrderFile,
    ProviderKeys,
    check_address,
    err,
    out,
)
from pipeline.cli.scanning import IndexBackend, progress_shown, stop_on_signal
from pipeline.text import counted

app = typer.Typer(
    help="The hash ledger: what a scan with --ledger has kept, sealed (docs/ledger.md).", **GROUP
)

LedgerFolder = Annotated[
    Path, typer.Option("--ledger", envvar="SLUIS_LEDGER", help="Folder of the hash ledger.")
]


def rematch(
    ledger: LedgerFolder,
    order: OrderFile,
    indicators: Annotated[
        list[Path],
        typer.Option(help="A signed indicator set; may be given several times.", metavar="SET"),
    ],
    verification: Address,
    run_dir: Annotated[
        Path,
        typer.Option(
            help="Folder of this run: its state while it runs, its report afterwards. Start the "
            "same command again to finish a run that was stopped."
        ),
    ],
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
            help="A file of verdicts, as for `sluis scan`: what people have rejected is counted "
            "and not sent again.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        Optional[Path],
        typer.Option(
            metavar="IDS",
            help="A file of item ids, one a line, that are not matched: what was deleted or whose "
            "consent was withdrawn since it was scanned, which the ledger cannot know.",
            show_default=False,
        ),
    ] = None,
    index_backend: Annotated[
        IndexBackend, typer.Option(help="What looks codes up, as for `sluis scan`.")
    ] = IndexBackend.auto,
) -> None:
    """Match what a hash ledger holds against indicator sets; nothing is read or decoded.

    For a set that has gained indicators. Every item is asked about once, as it was examined last,
    and the order decides anew whether it may be. Candidates are those that a scan of the same items
    would find, and repeats of earlier ones are known at verification. What the ledger cannot
    answer is skipped as needs_decoding: scan it again.
    """
    from matchers.indicators import VersionLedger
    from pipeline import order as orders
    from pipeline import report, run
    from pipeline.resources import ScanConfig

    check_address(verification)
    state = state_dir or Path.home() / ".local" / "state" / "sluis"
    config = ScanConfig(
        order=orders.load(order),
        sets=tuple(indicators),
        key_folder=keys,
        index_folder=state / "indexes",
        verification=verification,
        threads=os.cpu_count() or 1,
        index_backend=index_backend.value,
        suppress=tuple(suppress or ()),
        ledger=ledger,
        without=without,
    )
    was_complete = (run_dir / "report.json").exists()
    with stop_on_signal(), progress_shown() as listener:
        figures = run.match_again(
            config,
            run_dir,
            version_ledger=VersionLedger(state / "indicator-versions.json"),
            listener=listener,
        )
    if was_complete:
        err.print(f"{run_dir} holds a complete run; name a new --run-dir to match again.")
    if not (run_dir / "report.html").exists():
        report.write_html(figures, run_dir / "report.html")
    out.print(report.terminal(figures, run_dir))


@app.command()
def show(ledger: LedgerFolder, keys: ProviderKeys = Path("keys/provider")) -> None:
    """Show how much a ledger holds of each day, and which set versions it was matched against."""
    from pipeline.ledger import folder, summary
    from pipeline.ledger.key import read_key

    found = folder.LedgerFolder.found(ledger)
    days = summary.by_day(found, read_key(keys))
    table = Table(header_style="bold")
    for name in ("day", "items", "bytes", "matched against"):
        table.add_column(name, justify="left" if name in {"day", "matched against"} else "right")
    for day in days:
        sets = ", ".join(f"{set_id} v{version}" for set_id, version in sorted(day.sets))
        table.add_row(day.day, f"{day.items:,}", f"{day.size_bytes:,}", sets)
    out.print(table)
    out.print(
        f"An item is kept for {counted(found.days, 'day')}. Items scanned more than once stand "
        "here more than once."
    )


@app.command()
def sweep(
    ledger: LedgerFolder,
    days: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help="Keep items for so many days from now on. [default: as before]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Delete what has been kept for long enough; scans that keep a ledger do so by themselves.

    Run it every day if scans are rarer.
    """
    from pipeline.ledger import folder

    before = folder.LedgerFolder.found(ledger)
    kept = folder.LedgerFolder.made(ledger, days or before.days)
    gone = kept.sweep(dt.datetime.now(dt.UTC).date())
    out.print(
        f"{counted(gone, 'file')} deleted; an item is kept for {counted(kept.days, 'day')}",
        soft_wrap=True,
    )
