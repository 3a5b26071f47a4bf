"""`sluis status`: the upload side, for a person."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.cli.common import AsJson, ProviderKeys, check_address, out

if TYPE_CHECKING:
    from pipeline.ingest.status import Scan, Status

_LEAST_SECONDS = 0.2


def status(
    log: Annotated[
        Optional[Path],
        typer.Option(
            envvar="SLUIS_UPLOAD_LOG", help="Folder of the upload log.", show_default=False
        ),
    ] = None,
    door: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The front door's metrics.")
    ] = "127.0.0.1:9745",
    scan: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The streaming scan's metrics.")
    ] = "127.0.0.1:9746",
    verification: Annotated[
        Optional[str],
        typer.Option(
            envvar="SLUIS_VERIFICATION",
            metavar="HOST:PORT",
            help="Ask the verification service itself too, with the provider's keys.",
            show_default=False,
        ),
    ] = None,
    keys: ProviderKeys = Path("keys/provider"),
    every: Annotated[
        float, typer.Option(min=_LEAST_SECONDS, help="Seconds between two looks.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how uploads fare: front door, upload log, streaming scan, verification.

    Live in a terminal until Ctrl-C; once otherwise, or with --once. With --json one object, or one
    a look. Looking changes nothing.
    """
    from pipeline.ingest import status as statuses

    for address in (door, scan, verification):
        if address is not None:
            check_address(address)
    asked = (verification, keys) if verification else None

    def look() -> Status:
        return statuses.gather(door, scan, log, asked)

    if as_json or once or not out.is_terminal:
        while True:
            found = look()
            out.print(json.dumps(found.to_json()) if as_json else view(found, None), soft_wrap=True)
            if once or not as_json:
                return
            time.sleep(every)
    before = look()
    with Live(view(before, None), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            now = look()
            live.update(view(now, before), refresh=True)
            before = now


def view(now: Status, before: Status | None) -> RenderableType:
    """What a person sees; rates are since the look before."""
    from pipeline.ingest.status import warnings

    lines: list[RenderableType] = [_table(now, before)]
    found = list(warnings(now))
    if found:
        lines.append(Text("\n".join(found), style="bold red"))
    when = f"{now.at:%Y-%m-%d %H:%M:%S} UTC"
    return Panel(Group(*lines), title="sluis: uploads", subtitle=when, expand=False)


def _table(now: Status, before: Status | None) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("front door", _door(now, before))
    table.add_row("upload log", _log(now))
    if now.scan is None:
        table.add_row("scan", Text("does not answer", style="red"))
    else:
        earlier = before.scan.outcomes if before and before.scan else None
        seconds = (now.at - before.at).total_seconds() if before else 0.0
        table.add_row("scan", _counts(now.scan.outcomes, earlier, seconds))
        table.add_row("", _times(now.scan))
        table.add_row("sets", _sets(now.scan))
    table.add_row("verification", _verification(now))
    if now.today is not None:
        table.add_row(
            "today",
            f"{now.today.counted:,} in = {now.today.clear:,} clear + {now.today.candidate:,} "
            f"candidate + {now.today.skipped_total:,} skipped + {now.today.failed_total:,} failed",
        )
    return table


def _door(now: Status, before: Status | None) -> Text | str:
    if now.door is None:
        return Text("does not answer", style="red")
    earlier = before.door.answered if before and before.door else None
    seconds = (now.at - before.at).total_seconds() if before else 0.0
    counts = _counts(now.door.answered, earlier, seconds)
    p99 = now.door.acknowledged_p99_seconds
    return counts if p99 is None else f"{counts}; acknowledged within {_seconds(p99)} (p99)"


def _log(now: Status) -> str:
    if now.log is None:
        return "not looked at: name it with --log"
    age = ""
    if now.scan is not None and now.log.waiting:
        age = f", the oldest for {_seconds(now.scan.oldest_seconds)}"
    return f"{now.log.waiting:,} uploads wait{age}; {now.log.disk_bytes / 2**20:,.1f} MiB on disk"


def _counts(now: dict[str, float], before: dict[str, float] | None, seconds: float) -> str:
    """Counts by outcome, and how many come in a second."""
    text = ", ".join(f"{count:,.0f} {name}" for name, count in now.items()) or "nothing yet"
    if before is None or seconds <= 0:
        return text
    return f"{text}; {max(0.0, sum(now.values()) - sum(before.values())) / seconds:,.0f}/s"


def _times(scan: Scan) -> str:
    if scan.to_outcome_p50_seconds is None:
        return "no upload yet"
    text = f"upload to outcome {_seconds(scan.to_outcome_p50_seconds)} (p50)"
    if scan.to_candidate_p50_seconds is not None and scan.to_candidate_p99_seconds is not None:
        text += (
            f", to candidate {_seconds(scan.to_candidate_p50_seconds)} (p50) "
            f"{_seconds(scan.to_candidate_p99_seconds)} (p99)"
        )
    return f"{text}; {scan.batch_uploads_mean or 0:,.1f} uploads in a batch"


def _sets(scan: Scan) -> str:
    order = f"order for {scan.order_days_left:,.0f} more days"
    return "; ".join(
        [f"{name} version {v}, {days:,} days left" for name, (v, days) in scan.sets.items()]
        + [order if scan.order_in_force else "order not in force"]
    )


def _verification(now: Status) -> Text | str:
    if now.verification is not None:
        return now.verification
    if now.scan is None:
        return "not asked: name it with --verification"
    if now.scan.verification_up:
        return "takes candidates, says the scan"
    return Text("does not take candidates, says the scan", style="red")


def _seconds(value: float) -> str:
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"
