"""How far a hasher's codes are from those of the RGB pixels, way by way."""

from __future__ import annotations

import functools

import numpy as np

from matchers import images, pdq
from tests.conformance.ways import WAYS, Stored, originals
from tests.support.pictures import bits_apart, reference


@functools.cache
def written(way: str, original: str) -> tuple[Stored, ...]:
    """The files of one way for one picture."""
    return tuple(WAYS[way].write(originals()[original]))


def ours(stored: Stored) -> dict[str, int]:
    """Bits between our code of each rendering and the reference's code of what it shows.

    Raises:
        AssertionError: other renderings come out than the file has.
    """
    codes = {
        rendering: (pdq.hash_pixels(pixels)[0], pixels.shape)
        for rendering, pixels in images.renderings(stored.blob)
    }
    assert codes.keys() == stored.shows.keys(), (list(codes), list(stored.shows))
    apart = {}
    for rendering, (code, shape) in codes.items():
        shown = stored.shows[rendering]
        assert shape[:2] == shown.shape[:2], (rendering, shape)
        apart[rendering] = bits_apart(code, reference(shown)[0])
    return apart


def shown_code(stored: Stored) -> np.ndarray:
    """The reference's code of what a person sees."""
    return reference(stored.shows["as_shown"])[0]
