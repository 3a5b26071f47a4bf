"""`sluis keys …`: keys and certificates."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table

from pipeline.cli.common import GROUP, ProviderKeys, out

OrderFile = Annotated[Path, typer.Option("--order", help="The detection order (YAML).")]

app = typer.Typer(help="Keys and certificates.", **GROUP)


@app.command("new")
def keys_new(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    host: Annotated[
        Optional[list[str]],
        typer.Option(
            help="A name or address by which the verification service, the vault or the front "
            "door is reached; may be given several times. localhost and 127.0.0.1 always are.",
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
        "ingest": "for `sluis ingest serve`: the front door, opens nothing",
        "uploader": "for the provider's upload code and `sluis ingest send`",
        "verification": "for `sluis verification serve`: holds no private key of the verifier",
    }
    for party in made:
        table.add_row(
            str(party),
            purpose.get(party.name, "for one reviewer: opens candidates, signs decisions"),
        )
    out.print(table)
    out.print("Give each party its own folder, and nobody two.")


@app.command("list")
def keys_list(order: OrderFile, keys: ProviderKeys = Path("keys/provider")) -> None:
    """List an order's epoch keys: which epoch, which days, destroyed or not."""
    from pipeline import vouchers

    table = Table(header_style="bold", box=None)
    for column in ("epoch", "key version", "first day", "last day", "state"):
        table.add_column(column)
    held = _epoch_keys(order, keys)
    for one in held.all():
        table.add_row(
            str(one.epoch),
            str(one.version),
            str(vouchers.day(one.first_day)),
            str(vouchers.day(one.last_day)),
            "destroyed" if one.is_destroyed else "in use",
        )
    out.print(table)
    for version, epoch in held.scheduled():
        out.print(f"key version {version} begins with epoch {epoch}")


@app.command("rotate")
def keys_rotate(order: OrderFile, keys: ProviderKeys = Path("keys/provider")) -> None:
    """Begin a new key version with the next epoch. Within an epoch no key changes."""
    from pipeline import vouchers

    today = vouchers.day_number(dt.datetime.now(dt.UTC).date())
    version, epoch = _epoch_keys(order, keys).rotate(today)
    out.print(f"key version {version} begins with epoch {epoch}")


@app.command("destroy")
def keys_destroy(
    order: OrderFile,
    epoch: Annotated[int, typer.Option(min=0, help="Whose key; `sluis keys list` shows them.")],
    keys: ProviderKeys = Path("keys/provider"),
    even_if_current: Annotated[
        bool, typer.Option(help="Also before the epoch has ended: its hits cannot be sealed then.")
    ] = False,
) -> None:
    """Destroy an epoch's key for good: every hit of it that is still shut stays so for ever.

    Hand the receipt to verification (`sluis verification close`), and destroy your backups of the
    key.
    """
    from pipeline import keys as key_folders

    signer = key_folders.signing_key(keys / "receipt.key")
    receipt = _epoch_keys(order, keys).destroy(
        epoch, dt.datetime.now(dt.UTC), signer, even_if_current=even_if_current
    )
    out.print(f"the key of epoch {epoch} is destroyed; the receipt is {receipt}", soft_wrap=True)


def _epoch_keys(order: Path, folder: Path) -> Any:
    from pipeline import order as orders
    from pipeline import vouchers
    from pipeline.epoch_keys import EpochKeys

    valid = orders.load(order)
    epochs = vouchers.Epochs.of(valid.valid_from, valid.valid_until, valid.epoch_days)
    return EpochKeys(folder, vouchers.order_id(valid.reference), epochs)
