"""`sluis scan` and `sluis report`."""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from pipeline.cli.common import (
    Address,
    KeptLedger,
    LedgerDays,
    ProviderKeys,
    check_address,
    check_ledger,
    err,
    out,
)
from pipeline.text import counted

if TYPE_CHECKING:
    from pipeline import run

_PLAIN_LINE_SECONDS = 5.0

# How the options of a scan are grouped in its help.
_WHAT = "What to scan"
_STATED = "What is stated of a directory"
_SAFETY = "Safety"
_TUNING = "Tuning"


class Encryption(StrEnum):
    """What a directory's files are stated to be."""

    none = "none"
    e2ee = "e2ee"


class PdqMode(StrEnum):
    """How closely PDQ codes follow the reference."""

    exact = "exact"
    fast = "fast"


class IndexBackend(StrEnum):
    """What looks codes up."""

    auto = "auto"
    mih = "mih"
    faiss = "faiss"


class AccountClass(StrEnum):
    """Whose accounts a directory's files are stated to be."""

    ordinary = "ordinary"
    state = "state"


class Consent(StrEnum):
    """Whether a directory's uploaders are stated to have consented."""

    given = "given"
    refused = "refused"


def scan(
    source: Annotated[
        Path, typer.Argument(help="A directory, or a manifest: .parquet, .csv or .jsonl.")
    ],
    order: Annotated[Path, typer.Option(help="The detection order (YAML).", rich_help_panel=_WHAT)],
    indicators: Annotated[
        list[Path],
        typer.Option(
            help="A signed indicator set; may be given several times.",
            metavar="SET",
            rich_help_panel=_WHAT,
        ),
    ],
    verification: Address,
    run_dir: Annotated[
        Path,
        typer.Option(
            help="Folder of this run: its state while it runs, its report afterwards. Start the "
            "same command again to finish a run that was stopped.",
            rich_help_panel=_WHAT,
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
    part: Annotated[
        Optional[str],
        typer.Option(
            help="For a directory: the part of the service it belongs to. [default: the order's "
            "part, if it has only one]",
            show_default=False,
            rich_help_panel=_STATED,
        ),
    ] = None,
    encryption: Annotated[
        Optional[Encryption],
        typer.Option(
            help="For a directory: state how its files are encrypted. [default: none]",
            show_default=False,
            rich_help_panel=_STATED,
        ),
    ] = None,
    account_class: Annotated[
        Optional[AccountClass],
        typer.Option(
            help="For a directory: state whose accounts its files are. [default: ordinary]",
            show_default=False,
            rich_help_panel=_STATED,
        ),
    ] = None,
    consent: Annotated[
        Optional[Consent],
        typer.Option(
            help="For a directory: state whether its uploaders consented; needed where the "
            "order's legal profile asks for consent.",
            show_default=False,
            rich_help_panel=_STATED,
        ),
    ] = None,
    suppress: Annotated[
        Optional[list[Path]],
        typer.Option(
            metavar="VERDICTS",
            help="A file of verdicts, as `sluis verdicts fetch` keeps it: what people have "
            "rejected (an indicator on a content) is counted and not sent again. May be given "
            "several times.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=1,
            help="Items opened at once. Each has a decoder process of its own, which takes 1.2 GiB "
            "at most and a quarter of that as a rule (docs/sandbox.md).",
            show_default="one for each core",
            rich_help_panel=_TUNING,
        ),
    ] = os.cpu_count() or 1,
    pdq_mode: Annotated[
        PdqMode,
        typer.Option(
            help="How images are hashed. exact: bit for bit as the reference. fast: JPEG photos "
            "sooner, a few bits off; docs/pdq.md says how many.",
            rich_help_panel=_TUNING,
        ),
    ] = PdqMode.exact,
    index_backend: Annotated[
        IndexBackend,
        typer.Option(
            help="What looks codes up, with the same result. mih: our own index. faiss: FAISS's "
            "flat one. auto: whichever is faster, which is mih (docs/index.md).",
            rich_help_panel=_TUNING,
        ),
    ] = IndexBackend.auto,
    require_sandbox: Annotated[
        bool,
        typer.Option(
            "--require-sandbox",
            help="Refuse to scan where the kernel cannot be told which calls a decoder may make "
            "(docs/sandbox.md): use it in production. Without it the scan says so and goes on "
            "within its other limits.",
            rich_help_panel=_SAFETY,
        ),
    ] = False,
    ledger: KeptLedger = None,
    ledger_days: LedgerDays = None,
    chunk_rows: Annotated[
        int,
        typer.Option(min=1, help="Items in one run of the engine.", rich_help_panel=_TUNING),
    ] = 8192,
    batch_rows: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help="Items opened together. [default: by the source's size]",
            show_default=False,
            rich_help_panel=_TUNING,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option(help="Show traces and the engine's own log.")] = False,
) -> None:
    """Scan a directory or manifest; candidates go to the verification service.

    Nothing is opened that the order does not cover. Every item ends as exactly one of clear,
    candidate, skipped (with the reason) or failed (with the reason). Ctrl-C stops after the batch
    at hand; the same command goes on from there.
    """
    if debug:  # the engine's log and ours; decoders would log what pictures hold
        for name in ("apache_beam", "pipeline"):
            logging.getLogger(name).setLevel(logging.DEBUG)
    from matchers.indicators import VersionLedger
    from pipeline import order as orders
    from pipeline import report, run
    from pipeline.errors import SourceRefused
    from pipeline.resources import ScanConfig

    valid = orders.load(order)
    declared = None
    if source.is_dir():
        declared = _declared(valid, part, encryption, account_class, consent)
    elif not source.exists():
        raise SourceRefused(f"{source} does not exist: give a directory or a manifest")
    elif {part, encryption, account_class, consent} != {None}:
        raise typer.BadParameter(
            "--part, --encryption, --account-class and --consent are for directories; a manifest "
            "says it row by row"
        )
    check_address(verification)
    check_ledger(ledger, ledger_days)
    state = state_dir or Path.home() / ".local" / "state" / "sluis"
    config = ScanConfig(
        order=valid,
        sets=tuple(indicators),
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
    )
    was_complete = (run_dir / "report.json").exists()
    with stop_on_signal(), progress_shown() as listener:
        figures = run.scan_source(
            source,
            config,
            run_dir,
            declared=declared,
            version_ledger=VersionLedger(state / "indicator-versions.json"),
            listener=listener,
            chunk_rows=chunk_rows,
            batch_rows=batch_rows,
        )
    if was_complete:
        err.print(f"{run_dir} holds a complete run; name a new --run-dir to scan again.")
    if not (run_dir / "report.html").exists():
        report.write_html(figures, run_dir / "report.html")
    out.print(report.terminal(figures, run_dir))


def report_command(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a complete run.")],
) -> None:
    """Show a run's figures and write its report.html again.

    Not to be confused with `sluis reports`: what is reported to the EU Centre.
    """
    from matchers.files import read_json
    from pipeline import report
    from pipeline.errors import RunRefused

    figures = read_json(run_dir / "report.json")
    if not run_dir.is_dir():
        raise RunRefused(f"there is no folder {run_dir}: give the --run-dir of a scan")
    if figures is None:
        raise RunRefused(
            f"{run_dir} holds no complete run: start its `sluis scan` command again to finish it"
        )
    report.write_html(figures, run_dir / "report.html")
    out.print(report.terminal(figures, run_dir))


def _declared(
    valid: Any, part: str | None, encryption: Encryption | None, account_class: AccountClass | None,
    consent: Consent | None,
) -> Any:  # fmt: skip
    """What holds for every file of a directory; asks for what it cannot know."""
    from pipeline.errors import SourceRefused
    from pipeline.sources import Declared

    parts = valid.service.parts
    if part is None and len(parts) > 1:
        raise SourceRefused(
            f"the order covers several parts of the service ({', '.join(parts)}): state with "
            "--part which one this directory belongs to"
        )
    if part is not None and part not in parts:
        raise SourceRefused(
            f"--part {part} is none of the parts that the order covers ({', '.join(parts)}): "
            "nothing of the directory may be opened. Correct it, or leave the directory out"
        )
    if consent is None and valid.consent_required:
        raise SourceRefused(
            f"the order's legal profile {valid.legal_profile} asks for consent, which a directory "
            "cannot say: scan a manifest with a consent column, or state --consent given if every "
            "uploader has consented"
        )
    if "new" in valid.kinds and valid.group_hits_by == "account":
        err.print(
            "a directory names no accounts: a hit on new material in it stays shut, since no "
            "second one of its account can come. To find new material scan a manifest with "
            "account_id",
            soft_wrap=True,
        )
    return Declared(
        part=part or parts[0],
        encryption=(encryption or Encryption.none).value,
        account_class=(account_class or AccountClass.ordinary).value,
        consent=consent.value if consent else None,
    )


@contextmanager
def stop_on_signal() -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the run after the batch at hand, the second at once."""
    from pipeline import scan as scanning

    def stop(_number: int, _frame: object) -> None:
        if scanning.STOP.is_set():
            os._exit(130)
        scanning.STOP.set()
        err.print("stopping after the batch at hand; once more to stop at once")

    scanning.STOP.clear()
    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def progress_shown() -> Iterator[run.Listener]:
    """A live display in a terminal, plain lines elsewhere."""
    if not err.is_terminal:
        yield _plain_lines()
        return
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("[bold]{task.fields[candidates]}"),
        TextColumn("{task.fields[failures]:,} failed"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=err,
    ) as bar:
        task: TaskID | None = None

        def show(progress: run.Progress) -> None:
            nonlocal task
            fields: dict[str, Any] = {
                "rate": _rate(progress),
                "candidates": counted(progress.tally.candidate, "candidate"),
                "failures": progress.tally.failed_total,
                "left": _time_left(progress),
            }
            if task is None:
                task = bar.add_task("scan", total=progress.rows, **fields)
            bar.update(task, completed=progress.tally.rows, **fields)

        yield show


def _plain_lines() -> run.Listener:
    last = 0.0
    shown = -1

    def show(progress: run.Progress) -> None:
        nonlocal last, shown
        now = time.monotonic()
        done = progress.tally.rows
        if done == shown or (now - last < _PLAIN_LINE_SECONDS and done < progress.rows):
            return
        last, shown = now, done
        err.print(
            f"{done:,} of {counted(progress.rows, 'item')}, {_rate(progress)}, "
            f"{counted(progress.tally.candidate, 'candidate')}, "
            f"{progress.tally.failed_total:,} failed, {_time_left(progress)}",
            soft_wrap=True,
        )

    return show


def _rate(progress: run.Progress) -> str:
    """What is done a second; where items hold parts, how many there were as well."""
    inner = progress.tally.inner
    if not inner:
        return f"{progress.counted_per_second:,.0f} items/s"
    inside = counted(inner, "part")
    return f"{inside} inside, {progress.counted_per_second:,.0f} items and parts/s"


def _time_left(progress: run.Progress) -> str:
    seconds = progress.seconds_left
    if seconds is None:
        return "time left unknown"
    return f"{dt.timedelta(seconds=round(seconds))} left"
