"""Work picture by picture, over all cores, kept in a cache: a stopped run goes on where it was.

The cache's key is the code that does the work, so that what an older version measured is never
taken for this one's; a run with more pictures measures only those.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import PIL

from benchmarks.effectiveness.pictures import Picture

Arrays = Mapping[str, npt.NDArray[Any]]
Work = Callable[[Picture], Arrays]
"""A pure function at module level, so that worker processes can import it."""

_ROOT: Final = Path(__file__).parents[2]


def each(
    work: Work,
    pictures: Sequence[Picture],
    code: Sequence[str],
    cache: Path,
    workers: int | None = None,
) -> Iterator[Arrays]:
    """The work's result for every picture, in turn.

    Args:
        work: what to do with one.
        pictures: all of them.
        code: files and folders of this repository that the result depends on.
        cache: folder to keep results in.
        workers: how many processes; None: one for each core.
    """
    folder = cache / f"{work.__module__.rpartition('.')[2]}-{_version(code)}"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(work, picture, folder / f"{picture.key.hex()[:32]}.npz") for picture in pictures]
    for path in _paths(jobs, workers):
        with np.load(path, allow_pickle=False) as kept:
            yield {name: kept[name] for name in kept.files}


_Job = tuple[Work, Picture, Path]


def _paths(jobs: list[_Job], workers: int | None) -> Iterator[Path]:
    workers = workers or os.cpu_count() or 1
    if workers == 1 or sum(not path.exists() for _, _, path in jobs) <= workers:
        yield from map(_done, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_done, jobs)


def _done(job: _Job) -> Path:
    """Do the work unless it is done, and keep it: whole or not at all."""
    work, picture, path = job
    if not path.exists():
        result = work(picture)
        unfinished = path.with_suffix(f".{os.getpid()}")
        with unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, **result)
        os.replace(unfinished, path)
    return path


def _version(code: Sequence[str]) -> str:
    """A digest of the code, and of the version of what writes JPEG files."""
    digest = hashlib.sha256(PIL.__version__.encode())
    for name in code:
        path = _ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
