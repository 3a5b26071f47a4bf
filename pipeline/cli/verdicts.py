"""`sluis verdicts …`: the report desk's file of verdicts."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.common import (
    GROUP,
    Address,
    DeskKeys,
    OrderFile,
    VerdictsFile,
    check_address,
    out,
)
from pipeline.text import counted

app = typer.Typer(help="Verdicts: fetch them for the report desk, and show them.", **GROUP)

_AT_ONCE = 500


@app.command("fetch")
def verdicts_fetch(
    verdicts: VerdictsFile,
    order: OrderFile,
    verification: Address,
    keys: DeskKeys = Path("keys/desk"),
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", help="Go on until Ctrl-C (or SIGTERM), taking verdicts as they are made."
        ),
    ] = False,
) -> None:
    """Fetch an order's verdicts into a file, going on from its last line.

    Every signature is checked, the service's and the reviewers', and that none was left out.
    """
    from pipeline import keys as key_folders
    from pipeline import order as orders
    from pipeline import verdict_file, vouchers
    from pipeline.desk.client import VerdictsClient

    check_address(verification)
    order_id = vouchers.order_id(orders.load(order).reference)
    with verdict_file.locked(verdicts):
        after = 0
        if verdicts.exists():
            kept = verdict_file.read(verdicts, key_folders.signers(keys))
            if any(verdict.subject.context.order_id != order_id for verdict in kept):
                raise verdict_file.VerdictFileRefused(
                    f"{verdicts} holds another order's verdicts: keep one file for each order"
                )
            after = max((verdict.sequence for verdict in kept), default=0)
        client = VerdictsClient(verification, keys)
        count = 0
        try:
            fetched = client.list(order_id, after)
            while batch := list(itertools.islice(fetched, _AT_ONCE)):
                verdict_file.append(verdicts, batch)
                count += len(batch)
            out.print(f"{counted(count, 'new verdict')} in {verdicts}", soft_wrap=True)
            if follow:
                for name in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(name, signal.default_int_handler)
                with contextlib.suppress(KeyboardInterrupt):
                    for verdict in client.watch(order_id, after + count):
                        verdict_file.append(verdicts, [verdict])
                        out.print(f"{verdict.sequence}: {verdict.value}")
        finally:
            client.close()


@app.command("show")
def verdicts_show(verdicts: VerdictsFile, keys: DeskKeys = Path("keys/desk")) -> None:
    """Show a file of verdicts, each signature checked, and how many were false positives."""
    from pipeline import keys as key_folders
    from pipeline import verdict_file
    from pipeline.text import shown
    from pipeline.verdicts import REJECTED

    table = Table(header_style="bold", box=None)
    for column in ("number", "candidate", "verdict", "when", "reviewers", "reason"):
        table.add_column(column, overflow="fold")
    found = verdict_file.read(verdicts, key_folders.signers(keys))
    for verdict in found:
        table.add_row(
            str(verdict.sequence),
            verdict.subject.candidate_id.hex(),
            verdict.value,
            dt.datetime.fromtimestamp(verdict.decided_at, dt.UTC).strftime("%Y-%m-%d %H:%M"),
            ", ".join(decision.reviewer_id for decision in verdict.decisions),
            shown("; ".join(one.reason for one in verdict.decisions if one.reason)),
        )
    if found:
        out.print(table)
    rejected = sum(verdict.value == REJECTED for verdict in found)
    out.print(
        f"{counted(len(found), 'verdict')}, all signed by verification and reviewers: "
        f"{len(found) - rejected:,} confirmed, {rejected:,} rejected (false positives)",
        soft_wrap=True,
    )


@app.command("sweep")
def verdicts_sweep(verdicts: VerdictsFile, keys: DeskKeys = Path("keys/desk")) -> None:
    """Take what matched, and the tokens, out of verdicts that are older than twelve months.

    The verdicts stay, with their numbers and signatures: fetching goes on from the last one.
    """
    from pipeline import keys as key_folders
    from pipeline import verdict_file

    with verdict_file.locked(verdicts):
        swept = verdict_file.sweep(verdicts, key_folders.signers(keys), dt.datetime.now(dt.UTC))
    out.print(f"{swept:,} payloads deleted")
