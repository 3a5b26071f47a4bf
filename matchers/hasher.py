"""Which code made a fingerprint: what must be the same for one to stand for another."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Final

DEPENDENCIES: Final = (
    "av", "llvmlite", "numba", "numpy", "pikepdf", "pillow", "pillow-heif", "py7zr", "simplejpeg",
    "zstandard",
)  # fmt: skip
"""Packages that decode or compute: another version of one may give another code."""


@functools.lru_cache(maxsize=1)
def hasher_version() -> str:
    """Names this package's own code, to the letter, and the versions of what it decodes with.

    A digest of the source and no number that somebody must remember to raise: what has changed in
    it is worth less than one wrong fingerprint.
    """
    root = Path(__file__).parent
    code = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        source = path.read_bytes()
        code.update(f"{path.relative_to(root).as_posix()}\0{len(source)}\0".encode())
        code.update(source)
    versions = [f"{name} {metadata.version(name)}" for name in DEPENDENCIES]
    return ", ".join([f"matchers {code.hexdigest()[:16]}", *versions])
