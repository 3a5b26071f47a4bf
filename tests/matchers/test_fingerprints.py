"""Pictures -> fingerprints: every rendering of a file is among its codes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.pictures import bits_apart, reference, store
from support.places import PHOTOS

from matchers import fingerprints
from matchers.errors import DecodeError
from matchers.pictures import Picture, pictures
from matchers.views import view_codes

PHOTO = np.asarray(Image.open(PHOTOS / "otters.jpg"))


def plain_codes(found: fingerprints.Fingerprints) -> dict[str, np.ndarray]:
    """The plain code of each rendering."""
    return {found.rendering(row): found.codes[row] for row in np.flatnonzero(found.views == 0)}


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_photograph_stored_sideways_is_hashed_as_shown_and_as_stored(mode):
    """Lists contain either, and both modes give both."""
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = np.rot90(PHOTO)
    blob = store(sideways, "JPEG", quality=95, exif=exif)
    found, reason = fingerprints.of_image(blob, pictures(blob, "image"), "standard", mode)
    assert reason is None
    codes = plain_codes(found)
    assert bits_apart(codes["as_shown"], reference(PHOTO)[0]) <= 10
    assert bits_apart(codes["as_stored"], reference(sideways)[0]) <= 10
    assert found.is_still


def test_what_was_seen_before_the_damage_is_kept_beside_its_reason():
    """A film that breaks off is known by what it showed until then."""

    def broken():
        yield Picture(PHOTO, time_seconds=0.0)
        raise DecodeError("truncated")

    found, reason = fingerprints.of_pictures(broken(), "plain")
    assert reason == "truncated"
    np.testing.assert_array_equal(found.codes[0], reference(PHOTO)[0])
    assert not found.is_still


def test_no_picture_at_all_leaves_only_the_reason():
    """Nothing seen, nothing to look up."""

    def nothing():
        raise DecodeError("corrupt")
        yield

    assert fingerprints.of_pictures(nothing(), "plain") == (None, "corrupt")


def test_each_code_belongs_to_its_picture_and_plane():
    """Codes of several pictures are told apart by frame, and find their planes."""
    photos = [PHOTO, np.ascontiguousarray(PHOTO[::-1, 40:])]
    shown = [Picture(photo, time_seconds=float(n)) for n, photo in enumerate(photos)]
    found, _ = fingerprints.of_pictures(iter(shown), "refine")
    for number, photo in enumerate(photos):
        alone = view_codes(photo, "refine")
        mine = found.frame == number
        np.testing.assert_array_equal(found.codes[mine], alone.codes)
        np.testing.assert_array_equal(found.planes[found.plane[mine]], alone.planes[alone.plane])


def test_a_picture_that_stays_is_one_frame_however_often_it_is_looked_at():
    """In all its views it is the same; its showing grows longer."""
    shown = [Picture(PHOTO, time_seconds=float(n)) for n in range(3)]
    found, _ = fingerprints.of_pictures(iter(shown), "standard")
    assert found.frames.tolist() == [[0.0, 2.0]]
