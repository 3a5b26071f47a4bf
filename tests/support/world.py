"""A small world to scan in: keys, an order, signed sets, a verification service, uploads."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from matchers.indicators import Manifest, VersionLedger
from matchers.indicators import build as building
from matchers.indicators import manifest as on_disk
from pipeline import keys, order, resources, run
from pipeline.sources import Declared
from pipeline.vault import service as vault_service
from pipeline.verification import service
from pipeline.verification.review import Reviewer

REPOSITORY = Path(__file__).parents[2]
PHOTOS = REPOSITORY / "deploy" / "demo" / "photos"
REFERENCE = "TEST-2026-0001"
TODAY = dt.date(2026, 6, 15)


def clock() -> dt.datetime:
    """Noon of `TODAY`, always."""
    return dt.datetime.combine(TODAY, dt.time(12), dt.UTC)


def order_values(**changes: Any) -> dict[str, Any]:
    """The example order as plain values, for this world."""
    values = yaml.safe_load(order.example())
    values |= {
        "reference": REFERENCE,
        "legal_profile": "com2022",
        "media": ["image", "url"],
        "indicator_sets": ["known", "exact", "urls", "new"],
        "valid_from": dt.date(2026, 1, 1),
        "valid_until": dt.date(2027, 6, 30),
    }
    return values | changes


def make_order(**changes: Any) -> order.Order:
    """An order that is in force on `TODAY`."""
    return order.parse(order_values(**changes), "test order")


@dataclass
class World:
    """Folders of one deployment, made once and used by many tests."""

    folder: Path
    sets: dict[str, Path] = field(default_factory=dict)

    @property
    def keys(self) -> Path:
        """Every party's key folder."""
        return self.folder / "keys"

    def config(self, address: str, *sets: str, **changes: Any) -> resources.ScanConfig:
        """What to scan with: `known` unless sets are named."""
        settings: dict[str, Any] = {
            "order": make_order(),
            "sets": tuple(self.sets[name] for name in (sets or ("known",))),
            "key_folder": self.keys / "provider",
            "index_folder": None,
            "verification": address,
            "threads": 2,
            "clock": clock,
        }
        return resources.ScanConfig(**(settings | changes))

    def add_set(self, name: str, kind: str, data: Any, previous: str = "", **changes: Any) -> Path:
        """Sign a set of ready-made rows; `previous` names the version before."""
        key = keys.signing_key(self.keys / "centre" / "signing.key")
        before = None
        if previous:
            earlier = on_disk.read(self.sets[previous], [key.public_key()])
            before = building.Previous(earlier, on_disk.read_data(self.sets[previous], earlier))
            changes = {
                "set_id": earlier.set_id,
                "version": earlier.version + 1,
                "lineage": earlier.next_lineage,
            } | changes
        settings: dict[str, Any] = {
            "set_id": name,
            "kind": kind,
            "version": 1,
            "algorithm": "pdq",
            "radius_bits": 31,
            "min_quality": 50,
            "profile": "plain" if changes.get("algorithm", "pdq") != "pdq" else "standard",
            "effective": dt.date(2026, 2, 1),
            "not_after": dt.date(2027, 1, 1),
            "order_ids": (REFERENCE,),
            "provenance": "tests",
        }
        manifest = Manifest(**(settings | changes))
        folder = self.folder / "sets" / name
        on_disk.write(folder, manifest, building.as_version(data, manifest, before), key)
        self.sets[name] = folder
        return folder

    def scan(
        self,
        source: Path,
        config: resources.ScanConfig,
        run_folder: Path,
        *,
        ledger: Path | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Scan with a fresh version ledger, silently."""
        return run.scan_source(
            source,
            config,
            run_folder,
            declared=Declared(part="public-gallery", consent="given"),
            version_ledger=VersionLedger(ledger or run_folder.parent / "versions.json"),
            listener=options.pop("listener", lambda _progress: None),
            **options,
        )


def build(folder: Path, listed: tuple[str, ...]) -> World:
    """Keys and a set `known` of the demo photographs named in `listed`."""
    world = World(folder)
    keys.make(world.keys, hosts=["localhost", "127.0.0.1"], reviewers=2, now=real_now())
    pictures = folder / "listed"
    pictures.mkdir()
    for name in listed:
        shutil.copy(PHOTOS / f"{name}.jpg", pictures)
    if listed:
        data, _ = building.from_images(pictures, 50)
        world.add_set("known", "known", data)
    return world


def real_now() -> dt.datetime:
    """Certificates are checked by TLS, which has no other clock."""
    return dt.datetime.now(dt.UTC)


@contextmanager
def _running(what: str, start: Callable[[Any, Any], Coroutine[Any, Any, None]]) -> Iterator[str]:
    """A service in this process; yields its address."""
    started: list[int] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    stopping: list[Any] = []

    def on_ready(port: int) -> None:
        started.append(port)
        ready.set()

    async def serve() -> None:
        event = asyncio.Event()
        loop = asyncio.get_running_loop()
        stopping.append(lambda: loop.call_soon_threadsafe(event.set))

        async def stop() -> None:
            await event.wait()

        await start(on_ready, stop)

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the test
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=work, name=what)
    thread.start()
    try:
        assert ready.wait(30), f"{what} did not start"
        if failed:
            raise failed[0]
        yield f"127.0.0.1:{started[0]}"
    finally:
        if not failed:
            stopping[0]()
        thread.join(30)


@contextmanager
def verification(
    world: World, store: Path | str, address: str = "127.0.0.1:0", **changes: Any
) -> Iterator[str]:
    """A verification service in this process; yields its address. `changes` are its settings."""
    settings: dict[str, Any] = {
        "orders": [make_order()],
        "clock": lambda: clock().timestamp(),
    }
    with _running(
        "verification",
        lambda ready, stop: service.serve(
            address=address,
            key_folder=world.keys / "verification",
            store_path=store,
            ready=ready,
            stop=stop,
            **(settings | changes),
        ),
    ) as running:
        yield running


@contextmanager
def vault(world: World, folder: Path, **changes: Any) -> Iterator[str]:
    """The provider's vault in this process: `folder` gets identities/ and register.sqlite3."""
    settings: dict[str, Any] = {
        "address": "127.0.0.1:0",
        "key_folder": world.keys / "vault",
        "orders": [make_order()],
        "desk_folder": folder / "identities",
        "register_path": folder / "register.sqlite3",
    }
    with _running(
        "vault",
        lambda ready, stop: vault_service.serve(ready=ready, stop=stop, **(settings | changes)),
    ) as running:
        yield running


@contextmanager
def reviewer(world: World, address: str, number: int = 1) -> Iterator[Reviewer]:
    """A reviewer's connection."""
    connection = Reviewer(address, world.keys / f"reviewer-{number}")
    try:
        yield connection
    finally:
        connection.close()
