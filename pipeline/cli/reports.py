"""`sluis reports …`: the report desk's reports. Sluis drafts and checks; a person sends."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline.cli.common import (
    GROUP,
    Address,
    DeskKeys,
    OrderFile,
    candidate_id,
    check_address,
    out,
)
from pipeline.text import counted

if TYPE_CHECKING:
    from pipeline.desk.annex3 import Gap

app = typer.Typer(
    help="Reports on confirmed candidates: draft, check, and record what a person has sent.",
    **GROUP,
)

CandidateArgument = Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")]


@app.command("draft")
def reports_draft(
    candidate: CandidateArgument,
    verdicts: Annotated[Path, typer.Option(help="The file that `sluis verdicts fetch` keeps.")],
    order: OrderFile,
    identities: Annotated[
        Path, typer.Option(help="The folder the vault writes identities into.")
    ] = Path("identities"),
    reports: Annotated[Path, typer.Option(help="The folder for reports.")] = Path("reports"),
    keys: DeskKeys = Path("keys/desk"),
) -> None:
    """Draft the report on a confirmed candidate, and say what a person still has to fill in.

    Writes CANDIDATE.json (its schema: `sluis reports schema`) and CANDIDATE.html to read and print.
    Uses the identity that the vault has written, if it has. Nothing is sent.
    """
    from pipeline import identity, verdict_file
    from pipeline import keys as key_folders
    from pipeline import order as orders
    from pipeline.desk import annex3
    from pipeline.desk import reports as files

    under = orders.load(order)
    found = verdict_file.read(verdicts, key_folders.signers(keys))
    name = candidate_id(candidate)
    verdict = files.find(found, name, under)
    drafted = files.draft(verdict, under, identity.read(identities, name.hex()))
    path = files.write(drafted, reports)
    _show(list(annex3.gaps(drafted)))
    out.print(f"draft: {path} and {path.with_suffix('.html')}", soft_wrap=True)


@app.command("check")
def reports_check(
    report: Annotated[Path, typer.Argument(help="The report's JSON file.")],
) -> None:
    """Check a report that a person has filled in, and write its page again.

    Ends with status 1 while a field is missing.
    """
    from pipeline.desk import annex3
    from pipeline.desk import reports as files

    filled = files.read(report)
    page = files.write_page(filled, report)
    missing = list(annex3.gaps(filled))
    _show(missing)
    out.print(f"page: {page}", soft_wrap=True)
    if missing:
        sys.exit(1)


@app.command("schema")
def reports_schema() -> None:
    """Print the JSON schema of a report."""
    from pipeline.desk import annex3

    sys.stdout.write(annex3.schema())


@app.command("sweep")
def reports_sweep(
    reports: Annotated[Path, typer.Argument(help="The folder of reports.")] = Path("reports"),
) -> None:
    """Delete the reports that are past their last day, twelve months after the verdict."""
    from pipeline.desk import reports as files

    deleted = files.sweep(reports, dt.datetime.now(dt.UTC).date())
    for name in deleted:
        out.print(f"{name}: deleted")
    out.print(f"{counted(len(deleted), 'report')} deleted")


@app.command("sent")
def reports_sent(
    candidate: CandidateArgument,
    reference: Annotated[str, typer.Option(help="To whom, under which number.")],
    verification: Address,
    reports: Annotated[Path, typer.Option(help="The folder of reports.")] = Path("reports"),
    keys: DeskKeys = Path("keys/desk"),
    even_if_incomplete: Annotated[
        bool,
        typer.Option(help="Also where the report here is missing or has fields to be filled in."),
    ] = False,
) -> None:
    """Record at verification that a person has sent the report on a candidate.

    A report that is not there, or not complete, is refused: then something else was sent.
    """
    from pipeline.desk import annex3
    from pipeline.desk import reports as files

    if not even_if_incomplete:
        path = reports / f"{candidate_id(candidate).hex()}.json"
        missing = list(annex3.gaps(files.read(path)))
        if missing:
            raise files.ReportRefused(
                f"{path} has {counted(len(missing), 'field')} still to be filled in (`sluis "
                "reports check` names them). If the report was completed elsewhere, say "
                "--even-if-incomplete"
            )
    _record(candidate, "REPORTED", reference, verification, keys)


@app.command("close")
def reports_close(
    candidate: CandidateArgument,
    note: Annotated[str, typer.Option(help="Why the case is closed.")],
    verification: Address,
    keys: DeskKeys = Path("keys/desk"),
) -> None:
    """Record at verification that a reported or rejected candidate is done with."""
    _record(candidate, "CLOSED", note, verification, keys)


def _record(candidate: str, progress: str, note: str, address: str, key_folder: Path) -> None:
    from pipeline.desk.client import VerdictsClient
    from pipeline.rpc.sluis.verification.v1 import verdict_service_pb2 as pb

    check_address(address)
    client = VerdictsClient(address, key_folder)
    try:
        value = pb.Progress.Value(f"PROGRESS_{progress}")
        client.record(candidate_id(candidate), value, note)
    finally:
        client.close()
    out.print(f"{candidate}: {progress.lower()}")


def _show(missing: Iterable[Gap]) -> None:
    """What is still to be filled in, by whom."""
    table = Table(header_style="bold", box=None)
    for column in ("to be filled in", "by", "what to write"):
        table.add_column(column)
    count = 0
    for gap in missing:
        count += 1
        table.add_row(gap.field, gap.filled_in_by, f"{gap.write} ({gap.article})")
    if count:
        out.print(table)
    out.print(f"{counted(count, 'field')} still to be filled in" if count else "complete")
