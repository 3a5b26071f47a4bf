"""Codes to look up, made from photographs by a seeded generator.

Random bits would flatter an index: the bits of real codes are correlated. So a corpus is made of
random crops of photographs. A crop is reduced to 64 x 64 pixels by exact box means, and
`pdq.dihedral` hashes it in all eight rotations and reflections. That is not bit for bit the code
of the crop's own pixels (whose filter is wider than a box), but it has the same structure, which is
what a benchmark of lookup needs. As lists do, a corpus leaves out what has too low a quality.

Every fifth photograph is kept for queries: no query is a crop of a photograph that made an
indicator, so a query matches nothing, as almost every upload does, until a match is planted.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from matchers import pdq
from matchers.hamming import HammingIndex

Codes = npt.NDArray[np.uint8]
Integral = npt.NDArray[np.uint32]
Role = Literal["indicators", "queries"]
Progress = Callable[[str, int, int], None]
"""Called with what is made, how many are done, and of how many."""

SEED: Final = 20_261_124
SHORTER_SIDE_PIXELS: Final = 384  # photographs are reduced to this first: bounds memory
LEAST_CROP_SHARE: Final = 0.3  # of each side
LEAST_PHOTOS: Final = 5
MIN_QUALITY: Final = 50  # what the reference and threatexchange discard below
BLOCK_CODES: Final = 8_192  # made together from one seed, so that workers may come in any order
VIEWS: Final = len(pdq.DIHEDRAL_VIEWS)
_TRIES: Final = 100  # crops in a row of too low a quality

_VERSION: Final = 1  # of the recipe; part of the cache's key


class Corpora:
    """Indicators and queries from the photographs of one folder, kept in a cache folder."""

    def __init__(self, photos: Path, cache: Path, seed: int = SEED) -> None:
        """Look at the folder's photographs; nothing is generated yet.

        Raises:
            ValueError: fewer than `LEAST_PHOTOS` JPEG files of at least 64 x 64 pixels, or one
                that is none.
        """
        self.photos = sorted(path for path in photos.glob("*") if _is_usable(path))
        if len(self.photos) < LEAST_PHOTOS:
            raise ValueError(
                f"{photos} has {len(self.photos)} JPEG files of at least 64 x 64 pixels: give a "
                f"folder of {LEAST_PHOTOS} photographs or more"
            )
        self.seed = seed
        self._cache = cache
        digest = hashlib.sha256(f"{_VERSION} {seed}".encode())
        for path in self.photos:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        self._key = digest.hexdigest()[:16]

    def description(self) -> dict[str, int | float]:
        """How many photographs, and their mean megapixels."""
        pixels = 0
        for path in self.photos:
            with Image.open(path) as image:
                pixels += image.width * image.height
        return {"count": len(self.photos), "megapixels": round(pixels / len(self.photos) / 1e6, 2)}

    def indicators(
        self, count: int, *, workers: int | None = None, progress: Progress | None = None
    ) -> Codes:
        """`count` codes, memory-mapped; a smaller corpus is the beginning of a larger one."""
        return self._codes("indicators", count, workers, progress)

    def queries(
        self, count: int, *, workers: int | None = None, progress: Progress | None = None
    ) -> Codes:
        """`count` codes of other photographs than the indicators'."""
        return self._codes("queries", count, workers, progress)

    def _codes(
        self, role: Role, count: int, workers: int | None, progress: Progress | None
    ) -> Codes:
        self._cache.mkdir(parents=True, exist_ok=True)
        kept = sorted(self._cache.glob(f"{self._key}-{role}-*.npy"), key=_count_of)
        enough = [path for path in kept if _count_of(path) >= count]
        if not enough:
            path = self._cache / f"{self._key}-{role}-{count}.npy"
            _generate(self._of(role), role, self.seed, count, path, workers, progress)
            for smaller in kept:  # the new one begins with it
                smaller.unlink()
            enough = [path]
        codes: Codes = np.load(enough[0], mmap_mode="r", allow_pickle=False)
        return codes[:count]

    def _of(self, role: Role) -> list[Path]:
        return [path for n, path in enumerate(self.photos) if (n % 5 == 4) == (role == "queries")]


def planted(
    indicators: Codes,
    queries: Codes,
    rows: Sequence[int],
    distances: Sequence[int],
    seed: int = SEED,
) -> tuple[Codes, npt.NDArray[np.int64]]:
    """Put matches among queries.

    Args:
        indicators: uint8 [n, 32].
        queries: uint8 [m, 32]; not changed.
        rows: queries to replace, each by an indicator drawn at random.
        distances: bits to flip in the query of that row.
        seed: of which indicators and which bits.

    Returns:
        uint8 [m, 32], and int64 [len(rows)]: the indicator that each was made from.
    """
    rng = np.random.default_rng([seed, len(indicators), len(rows)])
    sources = rng.integers(len(indicators), size=len(rows))
    made = np.array(queries)
    for row, source, distance in zip(rows, sources, distances, strict=True):
        bits = np.unpackbits(indicators[source])
        bits[rng.choice(256, distance, replace=False)] ^= 1
        made[row] = np.packbits(bits)
    return made, sources


def describe(codes: Codes, sample: int = 100_000) -> dict[str, int | float]:
    """How natural codes are: bit means, correlations and neighbours of the first `sample`.

    Returns:
        least_mean, greatest_mean: share of ones in the emptiest and the fullest of the 256 bits;
        greatest_correlation: largest |correlation| of any two bits; neighbours: other codes of
        the sample within 31 bits of a code, on average; sample: codes looked at.
    """
    looked_at = np.ascontiguousarray(codes[:sample])
    bits = np.unpackbits(looked_at, axis=1).astype(np.float32)
    means = bits.mean(axis=0)
    correlation = np.abs(np.corrcoef(bits, rowvar=False))
    np.fill_diagonal(correlation, 0)
    asked = looked_at[:2_000]
    pairs = HammingIndex.build(looked_at).search(asked)
    return {
        "least_mean": float(means.min()),
        "greatest_mean": float(means.max()),
        "greatest_correlation": float(correlation.max()),
        "neighbours": len(pairs) / len(asked) - 1,  # each finds itself
        "sample": len(looked_at),
    }


# --- the generator --------------------------------------------------------------------------


def _generate(
    photos: list[Path],
    role: Role,
    seed: int,
    count: int,
    path: Path,
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Fill `path`, whole or not at all, block by block."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".corpus-") as made:
        unfinished = Path(made) / path.name
        codes = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (count, 32))
        first = 0
        for block in _blocks(-(-count // BLOCK_CODES), workers, (photos, role, seed)):
            codes[first : first + BLOCK_CODES] = block[: count - first]
            first += BLOCK_CODES
            if progress:
                progress(role, min(first, count), count)
        codes.flush()
        del codes
        os.replace(unfinished, path)


def _blocks(
    count: int, workers: int | None, source: tuple[list[Path], Role, int]
) -> Iterator[Codes]:
    """The blocks in order, made by as many processes as there are cores."""
    workers = min(workers or os.cpu_count() or 1, count)
    if workers == 1:
        _prepare(*source)
        yield from map(_block, range(count))
        return
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, _prepare, source) as pool:
        yield from pool.imap(_block, range(count))


_integrals: list[Integral] = []
_stream: tuple[int, int] = (0, 0)


def _prepare(photos: list[Path], role: Role, seed: int) -> None:
    """What a worker needs for every block: the photographs' integral images."""
    global _stream  # noqa: PLW0603 - the state of a worker process
    _integrals[:] = [integral(path) for path in photos]
    _stream = (seed, 0 if role == "indicators" else 1)


def _block(block: int) -> Codes:
    """`BLOCK_CODES` codes: the eight views of random crops of good quality."""
    rng = np.random.default_rng([*_stream, block])
    codes = np.empty((BLOCK_CODES // VIEWS, VIEWS, 32), np.uint8)
    for row in range(len(codes)):
        for _ in range(_TRIES):
            photo = _integrals[rng.integers(len(_integrals))]
            views, quality = pdq.dihedral(crop(photo, rng))
            if quality >= MIN_QUALITY:
                break
        else:
            raise ValueError(
                f"{_TRIES} crops in a row have a quality under {MIN_QUALITY}: "
                "give photographs with more detail"
            )
        codes[row] = views
    shuffled = codes.reshape(BLOCK_CODES, 32)
    rng.shuffle(shuffled)
    return shuffled


def integral(file: Path | BinaryIO) -> Integral:
    """Sums of luma over all rows above and columns before: uint32 [height + 1, width + 1]."""
    with Image.open(file) as image:
        reduced = image.convert("L")
        shorter = min(reduced.size)
        if shorter > SHORTER_SIDE_PIXELS:
            width, height = (max(64, n * SHORTER_SIDE_PIXELS // shorter) for n in reduced.size)
            reduced = reduced.resize((width, height), Image.Resampling.BOX)
        luma = np.asarray(reduced, np.uint32)
    sums = np.zeros((luma.shape[0] + 1, luma.shape[1] + 1), np.uint32)
    luma.cumsum(0, np.uint32).cumsum(1, np.uint32, sums[1:, 1:])
    return sums


def crop(sums: Integral, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A random crop, reduced to 64 x 64 pixels by box means."""
    edges = []
    for side in (sums.shape[0] - 1, sums.shape[1] - 1):
        length = max(64, int(side * rng.uniform(LEAST_CROP_SHARE, 1)))
        start = int(rng.integers(side - length + 1))
        edges.append(start + np.linspace(0, length, 65).astype(np.int64))
    rows, columns = edges
    boxes = np.diff(np.diff(sums[rows[:, None], columns].astype(np.int64), axis=0), axis=1)
    areas = np.diff(rows)[:, None] * np.diff(columns)
    means: npt.NDArray[np.uint8] = (boxes / areas).round().astype(np.uint8)
    return means


def _is_usable(path: Path) -> bool:
    if path.suffix.lower() not in {".jpg", ".jpeg"}:
        return False
    try:
        with Image.open(path) as image:
            return min(image.size) >= 64
    except OSError as error:
        raise ValueError(f"{path} cannot be read as an image ({error}): remove it") from error


def _count_of(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
