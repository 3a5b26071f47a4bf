"""`sluis vault …`: the provider's vault."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from pipeline.cli.common import (
    GROUP,
    DeskKeys,
    VerdictsFile,
    candidate_id,
    check_address,
    err,
    out,
    serve_until_stopped,
)

app = typer.Typer(
    help="The provider's vault: opens who is behind a confirmed verdict, for the report desk.",
    **GROUP,
)

RegisterFile = Annotated[
    Path, typer.Option(help="The vault's register: every act, append-only; made if absent.")
]


@app.command("serve")
def vault_serve(
    order: Annotated[
        list[Path],
        typer.Option(help="A detection order whose verdicts are acted upon; repeatable."),
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:7444",
    keys: Annotated[Path, typer.Option(help="The vault's key folder.")] = Path("keys/vault"),
    identities: Annotated[
        Path,
        typer.Option(
            help="The report desk's folder: identities are written there, 0600; or 0640 for its "
            "group, if the folder has mode 2750."
        ),
    ] = Path("identities"),
    register: RegisterFile = Path("vault-register.sqlite3"),
) -> None:
    """Serve: take confirmed verdicts, write who it is into the report desk's folder.

    Nothing is opened but on a verdict that the verification service and two different reviewers
    have signed, for that candidate, under one of these orders. Mutual TLS only.
    """
    from pipeline import order as orders
    from pipeline.vault import service

    served = [orders.load(path) for path in order]
    serve_until_stopped(
        "vault",
        listen,
        lambda ready, stop: service.serve(
            address=listen,
            key_folder=keys,
            orders=served,
            desk_folder=identities,
            register_path=register,
            ready=ready,
            stop=stop,
        ),
    )


@app.command("identify")
def vault_identify(
    verdicts: VerdictsFile,
    vault: Annotated[
        str,
        typer.Option(envvar="SLUIS_VAULT", metavar="HOST:PORT", help="Address of the vault."),
    ],
    keys: DeskKeys = Path("keys/desk"),
    candidate: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Only this candidate; repeatable. [default: every confirmed one]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Have the vault write who is behind confirmed verdicts into the report desk's folder.

    The identity does not come back over this line. Asked again, the vault writes nothing.
    """
    from pipeline import keys as key_folders
    from pipeline import verdict_file
    from pipeline.desk.client import VaultClient
    from pipeline.rpc.sluis.vault.v1 import reidentification_service_pb2 as pb
    from pipeline.verdicts import CONFIRMED

    check_address(vault)
    wanted = {candidate_id(one) for one in candidate or []}
    found = [
        verdict
        for verdict in verdict_file.read(verdicts, key_folders.signers(keys))
        if verdict.subject.candidate_id in wanted or (not wanted and verdict.value == CONFIRMED)
    ]
    for absent in wanted - {verdict.subject.candidate_id for verdict in found}:
        raise typer.BadParameter(f"there is no verdict on {absent.hex()} in {verdicts}")
    refused = 0
    client = VaultClient(vault, keys)
    try:
        for verdict in found:
            answer = client.reidentify(verdict)
            word = pb.ReidentifyOutcome.Name(answer.outcome).removeprefix("REIDENTIFY_OUTCOME_")
            name = verdict.subject.candidate_id.hex()
            if answer.outcome == pb.REIDENTIFY_OUTCOME_REFUSED:
                refused += 1
                reason = pb.Refusal.Name(answer.refusal).removeprefix("REFUSAL_").lower()
                err.print(f"{name}: refused: {reason}")
            else:
                out.print(f"{name}: {word.lower().replace('_', ' ')}")
    finally:
        client.close()
    if refused:
        sys.exit(4)


@app.command("register")
def vault_register(register: RegisterFile = Path("vault-register.sqlite3")) -> None:
    """Show every act of the vault, and check that each follows from those before it.

    Acts cut off the end are not found by that: keep the number and hash of the last line somewhere
    else, and compare.
    """
    from pipeline.vault.register import Register, RegisterRefused

    if not register.exists():
        raise RegisterRefused(f"{register} does not exist: name the vault's register")
    opened = Register(register)
    try:
        table = Table(header_style="bold", box=None)
        for column in ("act", "when", "what", "candidate", "asked by"):
            table.add_column(column, overflow="fold")
        acts, last = opened.acts(), opened.last_hash()
        for number, at, caller, act, refusal, candidate, *_ in acts:
            when = dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
            what = f"{act}: {refusal}" if refusal else act
            who = caller.rpartition("/")[2]
            table.add_row(str(number), when, what.replace("_", " "), candidate.hex(), who)
    finally:
        opened.close()
    if acts:
        out.print(table)
    out.print(
        f"{len(acts):,} acts, each following from those before it; the last: {last.hex()}",
        soft_wrap=True,
    )
