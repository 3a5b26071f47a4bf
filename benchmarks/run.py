"""`make bench`: ours beside the rival's, interleaved in one process, with equality beside speed.

Absolute figures are of the machine at hand and noisy; the ratios are what to compare. One thread
unless a row says otherwise. Photographs come from a folder given as argument, else the demo's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import logging
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
import pdqhash
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

from matchers import pdq
from matchers.hamming import HammingIndex
from matchers.indicators import Manifest, VersionLedger
from matchers.indicators import build as building
from matchers.indicators import manifest as on_disk
from pipeline import keys, order, run, scan, vouchers
from pipeline.emit import Emitter
from pipeline.rpc import candidates as messages
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.sources import Declared
from pipeline.verification import service

PHOTOS = Path(__file__).parents[1] / "deploy" / "demo" / "photos"
ROUNDS = 5

out = Console(highlight=False)


def interleaved(ways: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each way, the ways taking turns so that noise hits them alike."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # warm up
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in spent.items()}


def show(title: str, unit: str, amount: int, seconds: dict[str, float], note: str) -> None:
    """A table of rates; the last way is the rival that ratios refer to."""
    rival = list(seconds.values())[-1]
    table = Table(title=title, title_justify="left", caption=note, caption_justify="left")
    for column in ("way", unit, "ratio to the last"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name, spent in seconds.items():
        table.add_row(name, f"{amount / spent:,.0f}", f"{rival / spent:.2f}x")
    out.print(table)


def peer_hash(blob: bytes) -> tuple[bytes, int]:
    """What threatexchange does: Pillow, then the reference core."""
    bits, quality = pdqhash.compute(np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")))
    return np.packbits(bits.astype(np.uint8)).tobytes(), quality


def bench_pdq(title: str, blobs: Sequence[bytes], rounds: int) -> None:
    """JPEG bytes -> code, and pixels -> code."""
    batch = pdq.hash_images(blobs, threads=1)
    peers = [peer_hash(blob) for blob in blobs]
    equal = sum(
        (batch.codes[row].tobytes(), batch.quality[row]) == peer for row, peer in enumerate(peers)
    )
    seconds = interleaved(
        {
            "matchers.pdq.hash_images, all cores": lambda: pdq.hash_images(blobs),
            "matchers.pdq.hash_images": lambda: pdq.hash_images(blobs, threads=1),
            "Pillow + pdqhash": lambda: [peer_hash(blob) for blob in blobs],
        },
        rounds,
    )
    show(title, "images/s", len(blobs), seconds,
         f"equal to pdqhash, code and quality: {equal} of {len(blobs)}")  # fmt: skip


def bench_hamming(size: int) -> None:
    """Exact radius search at r = 31."""
    rng = np.random.default_rng(20261124)
    codes = rng.integers(0, 256, (size, 32), dtype=np.uint8)
    queries = rng.integers(0, 256, (64, 32), dtype=np.uint8)
    for row in range(32):  # half of the queries have a neighbour
        bits = np.unpackbits(codes[rng.integers(size)])
        bits[rng.choice(256, rng.integers(0, 32), replace=False)] ^= 1
        queries[row] = np.packbits(bits)
    started = time.perf_counter()
    index = HammingIndex.build(codes)
    built = time.perf_counter() - started
    flat = faiss.IndexBinaryFlat(256)
    flat.add(codes)
    faiss.omp_set_num_threads(1)
    ours = index.search(queries)
    starts, _, found = flat.range_search(queries, 32)
    theirs = {
        (query, int(row)) for query in range(64) for row in found[starts[query] : starts[query + 1]]
    }
    same = theirs == set(zip(ours.query.tolist(), ours.indicator.tolist(), strict=True))
    seconds = interleaved(
        {
            "HammingIndex, batch of 64": lambda: index.search(queries),
            "FAISS IndexBinaryFlat, batch of 64": lambda: flat.range_search(queries, 32),
        }
    )
    show(f"Exact search, radius 31, {size:,} indicators", "queries/s", 64, seconds,
         f"same pairs as FAISS: {same}; built in {built:.2f} s")  # fmt: skip


def bench_seal(folder: Path) -> None:
    """Seals a second: id, two tokens, HPKE."""
    service_ = keys.LocalKeyService(folder / "keys" / "provider", "BENCH", "account")

    def seal(count: int, at_once: bool) -> None:
        for number in range(count):
            hit = keys.Sealable(
                item_id=f"item-{number}",
                account_id="account",
                content=b"c" * 32,
                indicator=b"i",
                hit_day=20_000,
                released_at_once=at_once,
            )
            service_.seal(hit, service_.tokens(hit).content)

    seconds = interleaved(
        {"two hits needed": lambda: seal(500, False), "released at once": lambda: seal(500, True)},
        3,
    )
    show("Sealing", "candidates/s", 500, seconds, "one thread")


def candidates(folder: Path, count: int, label: str) -> list[candidate_pb2.Candidate]:
    """Sealed candidates with distinct ids (one seal, reused: its bytes do not matter here)."""
    service_ = keys.LocalKeyService(folder / "keys" / "provider", "BENCH", "account")
    hit = keys.Sealable(
        item_id="i",
        account_id="a",
        content=b"c" * 32,
        indicator=b"i",
        hit_day=vouchers.day_number(bench_order().valid_from),
        released_at_once=True,
    )
    sealed = service_.seal(hit, b"payload")
    template = messages.to_message(
        sealed.candidate_id, sealed.context, sealed.hit_day, sealed.verifier_key_id, sealed.seal
    )
    many = []
    for number in range(count):
        one = candidate_pb2.Candidate()
        one.CopyFrom(template)
        one.candidate_id = f"{label}{number:014d}".encode()[:16]
        many.append(one)
    return many


def bench_order() -> order.Order:
    """The order that all of it happens under, valid today."""
    today = dt.datetime.now(dt.UTC).date()
    values = yaml.safe_load(order.example())
    values |= {"reference": "BENCH", "indicator_sets": ["bench"], "valid_from": today,
               "valid_until": today, "kinds": ["known"], "media": ["image"]}  # fmt: skip
    return order.parse(values, "bench")


def bench_store(folder: Path, address: str) -> None:
    """Candidates into SQLite, synchronous FULL, over mutual TLS; server in this process."""
    emitter = Emitter(address, folder / "keys" / "provider")
    table = Table(title="Candidates into the store", title_justify="left",
                  caption="mutual TLS, SQLite WAL + FULL, client and server share one process",
                  caption_justify="left")  # fmt: skip
    table.add_column("way")
    table.add_column("candidates/s", justify="right")
    fresh = candidates(folder, 5_000, "ab")
    for name, sent in (("new", fresh), ("repeated", fresh)):
        started = time.perf_counter()
        emitter.send(sent)
        table.add_row(name, f"{len(sent) / (time.perf_counter() - started):,.0f}")
    emitter.close()
    out.print(table)


def bench_scan(folder: Path, address: str, photos: Sequence[Path]) -> None:
    """The whole scan over the bare hashing loop, on the same files."""
    rows = [photo for _ in range(max(1, 1_600 // len(photos))) for photo in photos]
    manifest = folder / "bench.csv"
    lines = ["item_id,uri,part,encryption,account_class,consent"]
    lines += [f"i{n},{p.resolve()},public-gallery,none,ordinary,given" for n, p in enumerate(rows)]
    manifest.write_text("\n".join(lines) + "\n")
    pictures = folder / "listed"
    pictures.mkdir()
    (pictures / "one.jpg").write_bytes(photos[0].read_bytes())
    data, _ = building.from_images(pictures, 0)
    today = dt.datetime.now(dt.UTC).date()
    on_disk.write(
        folder / "set",
        Manifest(set_id="bench", kind="known", version=1, algorithm="pdq", radius_bits=31,
                 min_quality=0, effective=today, not_after=today, order_ids=("BENCH",),
                 provenance="bench"),
        data,
        keys.signing_key(folder / "keys" / "centre" / "signing.key"),
    )  # fmt: skip
    config = scan.ScanConfig(
        order=bench_order(), sets=(folder / "set",),
        key_folder=folder / "keys" / "provider", index_folder=None, verification=address,
        threads=os.cpu_count() or 1,
    )  # fmt: skip
    numbers = iter(range(100))

    def whole() -> None:
        run.scan_source(
            manifest, config, folder / f"run-{next(numbers)}",
            declared=Declared(part="public-gallery"),
            version_ledger=VersionLedger(folder / "versions.json"), listener=lambda _: None,
        )  # fmt: skip

    def bare() -> None:
        for first in range(0, len(rows), 256):
            pdq.hash_images([path.read_bytes() for path in rows[first : first + 256]])

    seconds = interleaved({"sluis scan, files to candidates": whole, "bare hashing loop": bare}, 3)
    show("Whole scan", "images/s", len(rows), seconds,
         f"all cores; {len(rows):,} rows; a scan starts and ends its engine each time")  # fmt: skip


def serve(folder: Path, started: list[int], ready: threading.Event) -> None:
    """A verification service in a thread of its own, until the process ends."""

    def on_ready(port: int) -> None:
        started.append(port)
        ready.set()

    async def forever() -> None:
        await asyncio.Event().wait()

    asyncio.run(
        service.serve(address="127.0.0.1:0", key_folder=folder / "keys" / "verification",
                      store_path=folder / "store.sqlite3", orders=[bench_order()], ready=on_ready,
                      stop=forever)
    )  # fmt: skip


def main() -> None:
    """Run every benchmark."""
    logging.disable(logging.WARNING)  # Beam tells of clients it lacks
    photos = sorted((Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS).glob("*.jpg"))
    blobs = [photo.read_bytes() for photo in photos]
    pixels = statistics.mean(image.width * image.height for image in map(Image.open, photos))
    bench_pdq(f"PDQ from {len(blobs)} JPEGs of {pixels / 1e6:.2f} megapixels", blobs, ROUNDS)
    large = []
    for photo in photos[:4]:
        buffer = io.BytesIO()
        Image.open(photo).convert("RGB").resize((4000, 3000)).save(buffer, "JPEG", quality=88)
        large.append(buffer.getvalue())
    bench_pdq("PDQ from 4 JPEGs of 12 megapixels (enlarged photographs)", large, 2)
    bench_hamming(100_000)
    bench_hamming(1_000_000)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        keys.make(folder / "keys", hosts=["127.0.0.1"], reviewers=1, now=dt.datetime.now(dt.UTC))
        bench_seal(folder)
        started: list[int] = []
        ready = threading.Event()
        threading.Thread(target=serve, args=(folder, started, ready), daemon=True).start()
        ready.wait(30)
        address = f"127.0.0.1:{started[0]}"
        bench_store(folder, address)
        bench_scan(folder, address, photos)
    sys.stdout.flush()
    os._exit(0)  # the service's thread has no other end here


if __name__ == "__main__":
    main()
