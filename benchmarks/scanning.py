"""The whole scan, files to candidates, over the bare scanner loop on the same files."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import timing
from benchmarks.party import REFERENCE, Parties
from benchmarks.scales import Scale
from matchers.indicators import Manifest, VersionLedger
from matchers.indicators import build as building
from matchers.indicators import manifest as on_disk
from matchers.scanner import Scanner
from pipeline import keys, resources, run
from pipeline.sources import Declared

_BATCH: Final = 256  # items that the bare loop reads together
_ROUNDS: Final = 3


def measure(
    parties: Parties, photos: Sequence[Path], scale: Scale, say: Callable[[str], None]
) -> dict[str, Any]:
    """Seconds an image of both, on all cores."""
    repeats = max(1, scale.scanned // len(photos))
    rows = [photo.resolve() for _ in range(repeats) for photo in photos][: scale.scanned]
    manifest = _manifest(parties, rows)
    config = _config(parties, photos[0])
    scanner = Scanner(resources.load_sets(config))
    ledger = VersionLedger(parties.folder / "versions.json")
    numbers = iter(range(1_000))

    def whole() -> None:
        run.scan_source(
            manifest,
            config,
            parties.folder / f"run-{next(numbers)}",
            declared=Declared(part="public-gallery"),
            version_ledger=ledger,
            listener=lambda _: None,
        )

    def bare() -> None:
        for first in range(0, len(rows), _BATCH):
            batch = [path.read_bytes() for path in rows[first : first + _BATCH]]
            scanner.scan(batch, config.threads)

    say(f"{len(rows):,} rows")
    spent = timing.interleaved({"whole": whole, "bare": bare}, _ROUNDS)
    return {
        "images": len(rows),
        "threads": config.threads,
        "ways": [
            {"way": way, "seconds_per_image": [second / len(rows) for second in seconds]}
            for way, seconds in spent.items()
        ],
    }


def _manifest(parties: Parties, rows: Sequence[Path]) -> Path:
    """A manifest of all rows, as `docs/manifests.md` describes it."""
    path = parties.folder / "bench.csv"
    lines = ["item_id,uri,part,encryption,account_class,consent"]
    lines += [f"i{n},{row},public-gallery,none,ordinary,given" for n, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _config(parties: Parties, listed: Path) -> resources.ScanConfig:
    """The order, and a signed set that lists one of the photographs."""
    pictures = parties.folder / "listed"
    pictures.mkdir()
    (pictures / "one.jpg").write_bytes(listed.read_bytes())
    data, _ = building.from_images(pictures, 0)
    today = dt.datetime.now(dt.UTC).date()
    manifest = Manifest(
        set_id="bench",
        kind="known",
        version=1,
        algorithm="pdq",
        radius_bits=31,
        min_quality=0,
        profile="standard",
        effective=today,
        not_after=today,
        order_ids=(REFERENCE,),
        provenance="bench",
    )
    on_disk.write(
        parties.folder / "set",
        manifest,
        building.as_version(data, manifest, None),
        keys.signing_key(parties.folder / "keys" / "centre" / "signing.key"),
    )
    return resources.ScanConfig(
        order=parties.order,
        sets=(parties.folder / "set",),
        key_folder=parties.provider,
        index_folder=None,
        verification=parties.address,
        threads=os.cpu_count() or 1,
    )
