"""Every parser of ours, fed with bytes: whatever they are, it answers or refuses as it says it does.

A target takes bytes and lets through only what nobody has promised: that is what a fuzzer looks
for. Each comes with sound input to start from.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matchers import boxes, containers, images, jpeg, lengths, media, metadata, urls
from matchers.errors import DecodeError, IndexFormatError, IndicatorSetError, UrlError
from matchers.examine import Part, Wanted, examine
from matchers.hamming import HammingIndex
from matchers.indicators.manifest import Manifest
from pipeline import order, sources, verdict_file
from pipeline.errors import OrderRefused, SourceRefused
from pipeline.sandbox import wire
from tests.fuzz import seeds
from tests.support import manifests, rulings, sets

WANTED = Wanted(frozenset({"image"}), ("md5", "sha256"))


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        feed: gives it the bytes.
        sound: input that it accepts.
    """

    feed: Callable[[bytes], object]
    sound: Callable[[], list[bytes]]


def _files(*beginnings: str) -> Callable[[], list[bytes]]:
    return lambda: [blob for name, blob in seeds.all_files().items() if name.startswith(beginnings)]


def _jpeg(blob: bytes) -> None:
    jpeg.scan_starts(blob)
    jpeg.first_means(blob)


def _metadata(blob: bytes) -> None:
    with contextlib.suppress(DecodeError, SyntaxError, ValueError):
        metadata.check_before_opening(blob)
    with contextlib.suppress(DecodeError, SyntaxError, ValueError):
        metadata.check_exif(blob)


def _boxes(blob: bytes) -> None:
    with contextlib.suppress(DecodeError):
        boxes.check_items(blob)
    with contextlib.suppress(DecodeError):
        boxes.promised_sizes(blob)
    lengths.is_cut_short(blob)


def _container(blob: bytes) -> None:
    with contextlib.suppress(DecodeError):
        for _ in containers.walk(blob, containers.Budget(len(blob))):
            pass


def _header(blob: bytes) -> None:
    with contextlib.suppress(DecodeError), images.opened(blob):
        pass


def _url(blob: bytes) -> None:
    text = blob.decode("utf-8", errors="replace")
    with contextlib.suppress(UrlError):
        canonical = urls.canonicalise(text)
        if urls.canonicalise(canonical) != canonical:
            raise AssertionError("a canonical form is not its own")


def _set_manifest(blob: bytes) -> None:
    with contextlib.suppress(IndicatorSetError):
        Manifest.from_bytes(blob, Path("manifest.json"))


def _order(blob: bytes) -> None:
    with contextlib.suppress(OrderRefused):
        order.load(_written("order.yaml", blob))


def _verdicts(blob: bytes) -> None:
    with contextlib.suppress(verdict_file.VerdictFileRefused):
        verdict_file.read(_written("verdicts.jsonl", blob), rulings.SIGNERS)


def _item_manifest(suffix: str) -> Callable[[bytes], None]:
    def feed(blob: bytes) -> None:
        with contextlib.suppress(SourceRefused):
            sources.take(
                _written(f"items{suffix}", blob), _room() / "taken", chunk_rows=100, declared=None
            )

    return feed


def _index(blob: bytes) -> None:
    """A header beside sound arrays, as far as it can be changed unseen: see `HammingIndex.open`."""
    with contextlib.suppress(IndexFormatError):
        folder = _index_folder()
        (folder / "header.json").write_bytes(blob)
        HammingIndex.open(folder, verify=False)


def _answer(blob: bytes) -> None:
    with contextlib.suppress(wire.Malformed):
        wire.encode(wire.decode(blob, WANTED), WANTED)


# --- sound input ------------------------------------------------------------------------------


def _answers() -> list[bytes]:
    inner = Part((1, 2), None, b"", reason="encrypted")
    return [
        wire.encode((*examine(seeds.all_files()[name], WANTED), inner), WANTED)
        for name in ("GIF animation", "PNG, RGBA, opaque, 1")
    ]


def _item_manifests(suffix: str) -> Callable[[], list[bytes]]:
    rows = [manifests.item(1), manifests.item(2, kind="url", uri=None, url="https://example.org")]
    return lambda: [manifests.write(_room() / f"sound{suffix}", rows).read_bytes()]


def _verdict_files() -> list[bytes]:
    verdict = rulings.confirmed().sign()
    path = _room() / "sound-verdicts.jsonl"
    path.unlink(missing_ok=True)
    verdict_file.append(path, [verdict])
    return [path.read_bytes()]


@functools.cache
def _room() -> Path:
    """A folder of this process."""
    return Path(_kept.enter_context(tempfile.TemporaryDirectory(prefix="sluis-fuzz-")))


_kept = contextlib.ExitStack()


def _written(name: str, blob: bytes) -> Path:
    path = _room() / name
    path.write_bytes(blob)
    return path


@functools.cache
def _index_folder() -> Path:
    folder = _room() / "index"
    codes = np.random.default_rng(4).integers(0, 256, (300, 32), np.uint8)
    HammingIndex.build(codes, backend="mih").save(folder)
    return folder


TARGETS: dict[str, Target] = {
    "jpeg": Target(_jpeg, _files("JPEG")),
    "metadata": Target(_metadata, _files("JPEG", "PNG", "TIFF", "GIF")),
    "boxes": Target(_boxes, _files("HEIC", "AVIF", "mpeg4 avi", "libx264 mp4")),
    "container": Target(_container, _files("zip", "tar", "jpg.gz", "7z", "pdf")),
    "header": Target(_header, lambda: list(seeds.all_files().values())),
    "magic": Target(media.claimed, lambda: [blob[:200] for blob in seeds.all_files().values()]),
    "url": Target(_url, lambda: [b"https://user@example.org:8080/a%2fb/../c?d=%C3%A9#f"]),
    "set-manifest": Target(_set_manifest, lambda: [sets.manifest().to_bytes()]),
    "order": Target(_order, lambda: [order.example().encode()]),
    "verdicts": Target(_verdicts, _verdict_files),
    "items-csv": Target(_item_manifest(".csv"), _item_manifests(".csv")),
    "items-jsonl": Target(_item_manifest(".jsonl"), _item_manifests(".jsonl")),
    "index-header": Target(_index, lambda: [(_index_folder() / "header.json").read_bytes()]),
    "answer": Target(_answer, _answers),
}
