"""The parties of a benchmark: keys for all of them, and a verification service that runs."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from pipeline import keys, order
from pipeline.verification import service

REFERENCE: Final = "BENCH"
"""Of the order that everything happens under."""

_START_SECONDS: Final = 60


@dataclass(frozen=True)
class Parties:
    """Where the parties are.

    Attributes:
        folder: a temporary folder, free to use; `folder / "keys"` has every party's keys.
        address: of the verification service.
        order: the order that it serves, valid today.
    """

    folder: Path
    address: str
    order: order.Order

    @property
    def provider(self) -> Path:
        """The provider's keys."""
        return self.folder / "keys" / "provider"


@contextlib.contextmanager
def parties() -> Iterator[Parties]:
    """Make keys, and serve in a thread of this process until the end.

    Raises:
        RuntimeError: the service does not start.
    """
    with tempfile.TemporaryDirectory(prefix="sluis-bench-") as made:
        folder = Path(made)
        valid_today = _order()
        keys.make(folder / "keys", hosts=["127.0.0.1"], reviewers=1, now=dt.datetime.now(dt.UTC))
        loop = asyncio.new_event_loop()
        stopped = asyncio.Event()
        ports: list[int] = []
        ready = threading.Event()

        def on_ready(port: int) -> None:
            ports.append(port)
            ready.set()

        async def stop() -> None:
            await stopped.wait()

        async def serve() -> None:
            await service.serve(
                address="127.0.0.1:0",
                key_folder=folder / "keys" / "verification",
                store_path=folder / "store.sqlite3",
                orders=[valid_today],
                ready=on_ready,
                stop=stop,
            )

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        if not ready.wait(_START_SECONDS):
            raise RuntimeError(f"the verification service did not start in {_START_SECONDS} s")
        try:
            yield Parties(folder, f"127.0.0.1:{ports[0]}", valid_today)
        finally:
            loop.call_soon_threadsafe(stopped.set)
            thread.join(_START_SECONDS)
            loop.close()


def _order() -> order.Order:
    today = dt.datetime.now(dt.UTC).date()
    values = yaml.safe_load(order.example())
    values |= {
        "reference": REFERENCE,
        "indicator_sets": ["bench"],
        "valid_from": today,
        "valid_until": today,
        "kinds": ["known"],
        "media": ["image"],
    }
    return order.parse(values, "bench")
