"""The pictures that are edited and told apart: folders of JPEG files, each file once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from benchmarks.effectiveness.edits import LEAST_SIDE_PIXELS

Kind = Literal["photographs", "cut-outs", "tuned on"]
"""photographs: never tuned on. cut-outs: one thing or one drawing on white, never tuned on either.
tuned on: of a set on which views or thresholds were chosen, so that its recall flatters."""

ABOUT: Final = "about.txt"
"""A sentence in a folder about its pictures, quoted on the page."""

NOTHING_SAID: Final = "its folder does not say what they are."


@dataclass(frozen=True)
class Picture:
    """One file.

    Attributes:
        kind: which kind of pictures it is counted among.
        name: of the file, without its ending.
        key: SHA-256 of its bytes: what tells it from others, and seeds its edits.
        blob: the bytes, a JPEG.
    """

    kind: Kind
    name: str
    key: bytes
    blob: bytes

    def shown(self) -> Image.Image:
        """Its pixels, RGB."""
        with Image.open(io.BytesIO(self.blob)) as image:
            return image.convert("RGB")


@dataclass(frozen=True)
class Corpus:
    """A folder of pictures.

    Attributes:
        name: the folder's.
        kind: what its pictures are counted among.
        about: what they are, in a sentence.
        pictures: by file name.
    """

    name: str
    kind: Kind
    about: str
    pictures: tuple[Picture, ...]


def corpus(folder: Path, kind: Kind, most: int | None = None) -> Corpus:
    """Read a folder; `most`: only so many, spread over it.

    Raises:
        ValueError: it has no JPEG file of at least `LEAST_SIDE_PIXELS` a side, or one that
            cannot be read.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    paths = paths[:: max(1, len(paths) // most)][:most] if most else paths
    found: dict[bytes, Picture] = {}
    for path in paths:
        blob = path.read_bytes()
        try:
            with Image.open(io.BytesIO(blob)) as image:
                is_usable = min(image.size) >= LEAST_SIDE_PIXELS
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image ({error}): remove it") from error
        if is_usable:
            key = hashlib.sha256(blob).digest()
            found.setdefault(key, Picture(kind, path.stem, key, blob))
    if not found:
        raise ValueError(
            f"{folder} has no JPEG files of at least {LEAST_SIDE_PIXELS} pixels a side: give a "
            "folder of photographs"
        )
    note = folder / ABOUT
    about = note.read_text(encoding="utf-8").strip() if note.exists() else NOTHING_SAID
    return Corpus(folder.resolve().name, kind, about, tuple(found.values()))


def joined(corpora: Sequence[Corpus]) -> tuple[Picture, ...]:
    """All pictures, each file once, whichever corpus has it first."""
    unique: dict[bytes, Picture] = {}
    for one in corpora:
        for picture in one.pictures:
            unique.setdefault(picture.key, picture)
    return tuple(unique.values())
