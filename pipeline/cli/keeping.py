"""`sluis verification …`, upkeep: sweep, close an epoch, checkpoints and audit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.cli.common import Address, ProviderKeys, check_address, err, out
from pipeline.cli.serving import ServiceKeys, StorePlace, app, store_name
from pipeline.errors import SluisError

if TYPE_CHECKING:
    from pipeline.verification.expiry import Deleted
    from pipeline.verification.store import Store

__all__ = ["app"]


@app.command("sweep")
def verification_sweep(store: StorePlace) -> None:
    """Delete what is past its retention, as the service does by itself several times a day."""
    from pipeline.verification import expiry

    with _opened(store) as kept:
        _show_deleted(expiry.sweep(kept))


@app.command("close")
def verification_close(
    receipt: Annotated[
        Path, typer.Argument(help="The receipt that `sluis keys destroy` gave the provider.")
    ],
    store: StorePlace,
    keys: ServiceKeys = Path("keys/verification"),
) -> None:
    """Close an epoch whose key is destroyed: take nothing new of it, delete its single hits.

    Says so where the store holds no candidate of that order, or the epoch was closed before.
    """
    from pipeline import keys as key_folders
    from pipeline import signed
    from pipeline.epoch_keys import RECEIPT
    from pipeline.verification import expiry

    facts = signed.check(_json(receipt), RECEIPT, [key_folders.receipt_public_key(keys)])
    with _opened(store) as kept:
        before = expiry.standing(kept, facts)
        deleted = expiry.close_epoch(kept, facts)
    if not before.holds_order:
        err.print(
            f"this store holds no candidate of order {facts['order_id']}: was --store the one that "
            "is served? Close the epoch in that one too",
            soft_wrap=True,
        )
    closed = "was closed before" if before.is_closed else "is closed"
    out.print(f"epoch {facts['epoch']} of order {facts['order_id']} {closed}")
    _show_deleted(deleted)


@app.command("checkpoint")
def verification_checkpoint(
    file: Annotated[Path, typer.Argument(help="Where to keep it, behind those before it.")],
    verification: Address,
    keys: ProviderKeys = Path("keys/provider"),
) -> None:
    """Fetch a signed checkpoint of the audit: the provider keeps it, to hold the audit against.

    Take one regularly (after each scan, say), and keep the file where the verification service
    cannot write. One that cannot follow those in the file is refused: then the audit has been cut.
    """
    from pipeline import keys as key_folders
    from pipeline.verification import checkpoints

    check_address(verification)
    trusted = key_folders.audit_public_key(keys)
    before = checkpoints.read(file, trusted) if file.exists() else []
    statement = checkpoints.fetch(verification, keys)
    facts = checkpoints.follows(before, checkpoints.check(statement, trusted))
    checkpoints.append(file, statement)
    out.print(f"{file}: checkpoint of {facts['links']:,} links, signed by {facts['signed_by']}")


@app.command("audit")
def verification_audit(
    store: StorePlace,
    checkpoint: Annotated[
        Optional[list[Path]],
        typer.Option(
            help="A file of checkpoints that the provider has kept, each of which is held against "
            "the audit; may be given several times. Without one nobody can tell whether the whole "
            "audit was written anew.",
            show_default=False,
        ),
    ] = None,
    keys: Annotated[
        Path, typer.Option("--keys", help="Folder with the audit.pub that checks checkpoints.")
    ] = Path("keys/provider"),
) -> None:
    """Verify the audit, link by link; say where it breaks. Ends with status 5 if it does.

    Needs the right to read the store, and no more.
    """
    from pipeline import keys as key_folders
    from pipeline.verification import audit, checkpoints
    from pipeline.verification.store import looking_at

    held = [
        facts
        for file in checkpoint or []
        for facts in checkpoints.read(file, key_folders.audit_public_key(keys))
    ]
    with looking_at(store) as connection:
        links = audit.verify(connection, held)
    last = max((int(one["links"]) for one in held), default=0)
    out.print(f"{links:,} links are in order", end="")
    out.print(
        f"; {last:,} of them are vouched for by a checkpoint"
        if held
        else ". No checkpoint was given: that nobody has written all of it anew is not shown"
    )


@contextmanager
def _opened(store: str) -> Iterator[Store]:
    from pipeline.verification.store import open_store

    kept = open_store(store, may_make=False)
    out.print(f"store {store_name(store)}", soft_wrap=True)
    try:
        yield kept
    finally:
        kept.close()


def _show_deleted(deleted: Deleted) -> None:
    out.print(
        f"deleted {deleted.held:,} single hits and {deleted.quarantined:,} that were put aside; "
        f"erased the contents of {deleted.erased:,} released ones"
    )


def _json(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SluisError(f"{file} is not JSON: give the file as it was written") from error
