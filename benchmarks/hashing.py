"""JPEG bytes -> code, on one thread: ours beside what is used today, with equality beside speed.

At the photographs' own size, and enlarged to 12 megapixels as phones take them, as baseline and as
progressive JPEG. The reference is `threatexchange`: the reference core at full resolution.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import timing
from benchmarks.scales import Scale
from matchers import pdq

EXACT: Final = "Sluis, exact"
FAST: Final = "Sluis, fast"
THREATEXCHANGE: Final = "threatexchange PdqSignal"
REFERENCE: Final = "pdqhash + Pillow"
OTHER: Final = "imagehash.phash (another hash)"

LARGE: Final = (4_000, 3_000)
_JPEG_QUALITY: Final = 88
_MOST_TIMED: Final = 200  # photographs
_MOST_COMPARED: Final = 1_000

Codes = npt.NDArray[np.uint8]


def measure(photos: Sequence[Path], scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Rates and distances at the photographs' own size and at 12 megapixels."""
    own = [path.read_bytes() for path in photos[:_MOST_COMPARED]]
    large = photos[:: max(1, len(photos) // scale.large_compared)][: scale.large_compared]
    tables = []
    with timing.one_core() as pinned:
        say(f"{len(own)} photographs at their own size")
        tables.append(_table("own", own[:_MOST_TIMED], own, scale.rounds))
        for name, progressive in (("large", False), ("large, progressive", True)):
            say(f"{len(large)} photographs at 12 megapixels, {name}")
            blobs = [_enlarged(path, progressive=progressive) for path in large]
            tables.append(_table(name, blobs[: scale.large_timed], blobs, scale.large_rounds))
    return {"pinned": pinned, "tables": tables}


def _table(
    name: str, timed: Sequence[bytes], compared: Sequence[bytes], rounds: int
) -> dict[str, Any]:
    """Every way over the same images, round by round; and codes compared, of more of them."""
    import imagehash
    from threatexchange.signal_type.pdq.signal import PdqSignal

    ways: dict[str, Callable[[bytes], object]] = {
        EXACT: lambda blob: _ours([blob], "exact"),
        FAST: lambda blob: _ours([blob], "fast"),
        THREATEXCHANGE: PdqSignal.hash_from_bytes,
        REFERENCE: _reference,
        OTHER: lambda blob: imagehash.phash(Image.open(io.BytesIO(blob))),
    }
    spent = timing.interleaved_over(ways, timed, rounds)
    return {
        "name": name,
        "images": len(timed),
        "megapixels": statistics.mean(_pixels(blob) for blob in timed) / 1e6,
        "megabytes": statistics.mean(len(blob) for blob in timed) / 1e6,
        "ways": [
            {"way": way, "seconds_per_image": [second / len(timed) for second in seconds]}
            for way, seconds in spent.items()
        ],
        "agreement": _agreement(compared),
    }


def _agreement(blobs: Sequence[bytes]) -> dict[str, Any]:
    """Our codes beside the reference's: bits apart, and quality."""
    reference = [_reference(blob) for blob in blobs]
    codes = np.stack([code for code, _ in reference])
    quality = np.array([one for _, one in reference])
    found: dict[str, Any] = {"images": len(blobs)}
    for mode in get_args(pdq.Mode):
        batch = _ours(blobs, mode)
        bits = np.bitwise_count(batch.codes ^ codes).sum(axis=1)
        found[mode] = {
            "failed": sum(failure is not None for failure in batch.failures),
            "equal": int((bits == 0).sum()),
            "quality_equal": int((batch.quality == quality).sum()),
            "mean_bits": float(bits.mean()),
            "p99_bits": float(np.percentile(bits, 99)),
            "most_bits": int(bits.max()),
        }
    return found


def _ours(blobs: Sequence[bytes], mode: pdq.Mode) -> pdq.PdqBatch:
    return pdq.hash_images(blobs, mode=mode, threads=1)


def _reference(blob: bytes) -> tuple[Codes, int]:
    """Pillow, then the reference core: the bits in order, as threatexchange takes them."""
    import pdqhash

    bits, quality = pdqhash.compute(np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")))
    return np.packbits(bits.astype(np.uint8)), int(quality)


def _enlarged(path: Path, *, progressive: bool) -> bytes:
    """The photograph at 4000 x 3000: a stand-in for a phone's, smoother than a real one."""
    written = io.BytesIO()
    with Image.open(path) as image:
        large = image.convert("RGB").resize(LARGE, Image.Resampling.LANCZOS)
    large.save(written, "JPEG", quality=_JPEG_QUALITY, progressive=progressive)
    return written.getvalue()


def _pixels(blob: bytes) -> int:
    with Image.open(io.BytesIO(blob)) as image:
        return image.width * image.height
