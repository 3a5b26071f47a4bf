"""Uploads for the streaming scan, and scans of them."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from PIL import Image
from support import world as worlds

from pipeline import keys, vouchers
from pipeline.ingest.accounts import Accounts, accounts_folder
from pipeline.ingest.stream import StreamSettings, scan_uploads
from pipeline.ingest.stream_metrics import Meters
from pipeline.ingest.upload_log import UPLOADS, UploadLog
from pipeline.items import Tally
from pipeline.rpc.sluis.verification.v1 import review_service_pb2
from pipeline.vouchers import Context, Policy

NOW: list[dt.datetime] = []
"""The last is what `movable_clock` says."""


def movable_clock() -> dt.datetime:
    """A clock that tests set; a function of a module, since Beam pickles it."""
    return NOW[-1]


def write_order(path: Path, values: dict[str, Any]) -> None:
    """Replace an order file whole."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(yaml.safe_dump(values))
    unfinished.replace(path)


def picture(name: str, quality: int = 60, size: int = 256) -> bytes:
    """A demo photograph, small and encoded anew."""
    image = Image.open(worlds.PHOTOS / f"{name}.jpg").convert("RGB")
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def upload(item_id: str, content: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """A row of the upload log that the gate lets through."""
    return {
        "item_id": item_id,
        "account_id": f"account-of-{item_id}",
        "kind": "image",
        "part": "public-gallery",
        "encryption": "none",
        "account_class": "ordinary",
        "consent": "given",
        "content": content,
    } | changes


def rows(uploads: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Uploads as the log takes them."""
    return pa.RecordBatch.from_pylist(list(uploads), UPLOADS)


@contextlib.contextmanager
def log(folder: Path, clock: Any = worlds.clock, **options: Any) -> Iterator[UploadLog]:
    """The log's writer."""
    writer = UploadLog(folder, clock=clock, **options)
    try:
        yield writer
    finally:
        writer.close()


def fill(folder: Path, uploads: Sequence[dict[str, Any]]) -> None:
    """Put uploads into a log, and close it."""
    with log(folder) as writer:
        writer.append(rows(uploads))


def settings(
    world: worlds.World, folder: Path, address: str, *places: Path, **changes: Any
) -> StreamSettings:
    """A scan of FOLDER/log that ends once the log is empty, with the set `known` unless told."""
    order_file = folder / "order.yaml"
    if not order_file.exists():
        write_order(order_file, worlds.order_values())
    config = world.config(address, **changes.pop("config", {}))
    values: dict[str, Any] = {
        "log": folder / "log",
        "order_file": order_file,
        "places": places or (world.sets["known"],),
        "ledger": folder / "versions.json",
        "config": config,
        "drain": True,
        "look_seconds": 0.05,
    }
    return StreamSettings(**(values | changes))


def drained(wanted: StreamSettings, meters: Meters | None = None) -> Tally:
    """Scan until the log is empty; what was counted."""
    scan_uploads(wanted, threading.Event(), meters or Meters())
    return counted(wanted.log)


@contextlib.contextmanager
def scanning(wanted: StreamSettings, meters: Meters | None = None) -> Iterator[threading.Event]:
    """A scan in a thread, for as long as the block runs or the event it yields is not set."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            scan_uploads(wanted, stop, meters or Meters())
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            failed.append(error)

    thread = threading.Thread(target=work, name="scan")
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive(), "the scan does not stop"
        if failed:
            raise failed[0]


def counted(log_folder: Path) -> Tally:
    """All days' counts."""
    total = Tally()
    for day in Accounts(accounts_folder(log_folder)).days().values():
        total.add(day.tally)
    return total


def failures(log_folder: Path) -> list[tuple[str, str, str]]:
    """All days' failures: item, stage, reason."""
    accounts = Accounts(accounts_folder(log_folder))
    found = [row for day in accounts.days() for row in accounts.failed(day)]
    return [(row["item_id"], row["stage"], row["reason"]) for row in found]


def candidates(world: worlds.World, address: str) -> dict[str, Any]:
    """Every candidate at verification: item (by the vault's key) -> payload. No item has two."""
    context = Context(vouchers.order_id(worlds.REFERENCE), 0, 1, Policy().policy_id)
    token_key = keys.token_key(world.keys / "provider")
    found: dict[str, Any] = {}
    with worlds.reviewer(world, address) as reviewer:
        for item in reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED):
            payload = reviewer.open(item.candidate)
            name = vouchers.open_token(
                token_key, "content", context, item.candidate.candidate_id, payload.content_token
            )
            assert name not in found, "one upload, two candidates"
            found[name] = payload
    return found


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
