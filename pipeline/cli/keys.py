"""`sluis keys …`: keys and certificates."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from pipeline.cli.common import GROUP, out

app = typer.Typer(help="Keys and certificates.", **GROUP)


@app.command("new")
def keys_new(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    host: Annotated[
        Optional[list[str]],
        typer.Option(
            help="A name or address by which the verification service or the vault is reached; "
            "may be given several times. localhost and 127.0.0.1 always are.",
            show_default=False,
        ),
    ] = None,
    reviewers: Annotated[
        int, typer.Option(min=2, help="How many reviewers get keys; two confirm.")
    ] = 2,
) -> None:
    """Make a working set of keys and certificates, one folder for each party."""
    from pipeline import keys

    hosts = ["localhost", "127.0.0.1", *(host or [])]
    made = keys.make(folder, hosts=hosts, reviewers=reviewers, now=dt.datetime.now(dt.UTC))
    table = Table(box=None, show_header=False)
    purpose = {
        "ca": "issues certificates: keep it offline",
        "centre": "signs indicator sets, in the EU Centre's place for trials",
        "provider": "for `sluis scan`: can seal, cannot open",
        "vault": "for `sluis vault serve`: opens tokens, on a confirmed verdict only",
        "desk": "for the report desk: fetches verdicts, asks the vault, drafts reports",
        "verification": "for `sluis verification serve`: holds no private key of the verifier",
    }
    for party in made:
        table.add_row(
            str(party),
            purpose.get(party.name, "for one reviewer: opens candidates, signs decisions"),
        )
    out.print(table)
    out.print("Give each party its own folder, and nobody two.")
