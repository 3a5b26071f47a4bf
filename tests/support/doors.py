"""A front door for tests: in this process with the tests' clock, or a real process to be killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from support import world as worlds

from pipeline import keys
from pipeline.ingest import door
from pipeline.ingest.upload_log import UPLOADS, Taken, UploadLogReader
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages
from pipeline.rpc.sluis.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub

SEGMENT_BYTES = 1024 * 1024


def write_order(path: Path, **changes: Any) -> Path:
    """The world's order as a file."""
    path.write_text(yaml.safe_dump(worlds.order_values(**changes)))
    return path


def rows(names: Sequence[str], size: int = 100, seed: str = "") -> pa.RecordBatch:
    """Uploads with contents that are the same for the same name and seed."""
    return pa.RecordBatch.from_pylist(
        [
            {"item_id": name, "kind": "image", "content": content(name, size, seed)}
            for name in names
        ],
        UPLOADS,
    )


def content(name: str, size: int = 100, seed: str = "") -> bytes:
    """Bytes that no other name has."""
    return random.Random(f"{seed}/{name}").randbytes(size)


def upload(name: str, size: int = 100, **changes: Any) -> messages.Upload:
    """An upload that the world's order covers."""
    values: dict[str, Any] = {
        "item_id": name,
        "kind": messages.KIND_IMAGE,
        "part": "public-gallery",
        "encryption": messages.ENCRYPTION_NONE,
        "account_class": messages.ACCOUNT_CLASS_ORDINARY,
        "consent": messages.CONSENT_GIVEN,
        "content": content(name, size),
    } | changes
    return messages.Upload(**{name: value for name, value in values.items() if value is not None})


def drain(folder: Path, *, advance: bool = False, batch_rows: int = 50) -> list[Taken]:
    """All that is in a log and not consumed."""
    reader = UploadLogReader(folder)
    taken: list[Taken] = []
    at = reader.position
    while (one := reader.read(at, batch_rows, 2**24, 0)) is not None:
        taken.append(one)
        at = one.next
    if advance:
        reader.advance(at)
    reader.close()
    return taken


def item_ids(taken: Sequence[Taken]) -> list[str]:
    """The items in what was taken."""
    return [name for one in taken for name in one.batch["item_id"].to_pylist()]


@contextmanager
def running(world: worlds.World, folder: Path, *sets: str, **changes: Any) -> Iterator[str]:
    """A front door in this process; yields its address. The log is folder/log."""
    settings: dict[str, Any] = {
        "address": "127.0.0.1:0",
        "key_folder": world.keys / "ingest",
        "log_folder": folder / "log",
        "order_file": folder / "order.yaml",
        "sets": [world.sets[name] for name in (sets or ("known",))],
        "quota_bytes": 2**30,
        "segment_bytes": SEGMENT_BYTES,
        "metrics_address": None,
        "clock": worlds.clock,
    }
    folder.mkdir(exist_ok=True)
    if not (folder / "order.yaml").exists():
        write_order(folder / "order.yaml")
    with worlds._running(
        "front door", lambda ready, stop: door.serve(ready=ready, stop=stop, **(settings | changes))
    ) as address:
        yield address


@contextmanager
def service(world: worlds.World, address: str, party: str = "uploader") -> Iterator[Any]:
    """A stub of a party's own channel."""
    channel = keys.identity(world.keys / party).channel(
        address, "ingest", [("grpc.max_send_message_length", -1)]
    )
    with contextlib.closing(channel):
        yield IngestServiceStub(channel)


@dataclass
class Process:
    """A front door that is a process of its own."""

    address: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """As the kernel does when memory is short: no warning, nothing is closed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """As an operator does."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def start(
    world: worlds.World, folder: Path, *options: object, address: str = "127.0.0.1:0"
) -> Process:
    """Start `sluis ingest serve` on folder/log under an order that holds today, really."""
    today = dt.datetime.now(dt.UTC).date()
    order_file = folder / "real-order.yaml"
    if not order_file.exists():
        write_order(
            order_file,
            valid_from=today - dt.timedelta(days=30),
            valid_until=today + dt.timedelta(days=30),
        )
    process = subprocess.Popen(
        [
            sys.executable, "-m", "pipeline.cli", "ingest", "serve", "--order", str(order_file),
            "--indicators", str(world.sets["today"]), "--log", str(folder / "log"),
            "--listen", address, "--keys", str(world.keys / "ingest"), "--segment-mib", "1",
            "--metrics", "none", *map(str, options),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=worlds.REPOSITORY,
    )  # fmt: skip
    line = process.stdout.readline()
    if "serves on" not in line:
        process.kill()
        raise AssertionError(process.communicate()[1])
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return Process(line.split()[-1], process)
