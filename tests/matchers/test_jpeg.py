"""Where a JPEG's scans stand, and when its first one may be taken for the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import smooth, store, with_scan_of
from support.settings import SEEDED

from matchers import jpeg

PROGRESSIVE = store(smooth(200, 300), "JPEG", quality=85, progressive=True)
GREY_PROGRESSIVE = store(smooth(200, 300)[:, :, 0], "JPEG", quality=85, progressive=True)
START_OF_SCAN = b"\xff\xda"


def scans_of(blob: bytes) -> list[int]:
    """Every place of the marker, by the plainest search there is."""
    return [k for k in range(len(blob) - 1) if blob[k : k + 2] == START_OF_SCAN]


@SEEDED
@given(
    st.lists(st.sampled_from([b"\xff", b"\xda", b"\x00", START_OF_SCAN]), max_size=30).map(b"".join)
)
def test_every_start_of_scan_is_found_in_any_bytes(blob):
    """The places are those of a plain search, also at either end and in runs of 0xff."""
    assert jpeg.scan_starts(blob).tolist() == scans_of(blob)


@pytest.mark.parametrize("blob", [PROGRESSIVE, GREY_PROGRESSIVE], ids=["colour", "grey"])
def test_the_first_scan_alone_is_the_picture_eight_times_smaller(blob):
    """The cut file is whole for a strict decoder, and its cells are the means of the blocks."""
    cut = jpeg.first_means(blob)
    assert len(cut) < len(blob) / 2
    small = simplejpeg.decode_jpeg(cut, "GRAY", min_height=25, min_width=38)[:, :, 0]
    assert small.shape == (25, 38)
    full = simplejpeg.decode_jpeg(blob, "GRAY")[:, :296, 0].astype(float)
    means = full.reshape(25, 8, 37, 8).mean(axis=(1, 3))
    assert np.abs(small[:, :37] - means).max() <= 3


def with_refinement(blob: bytes, bits: int) -> bytes:
    """The same file, whose refinement of the means claims to be of other bits (Ah, Al)."""
    altered = bytearray(blob)
    for scan in scans_of(blob)[1:]:
        place = scan + 5 + 2 * blob[scan + 4]
        if blob[place] == 0:
            assert blob[place + 2] == 0x10
            altered[place + 2] = bits
    assert altered != blob
    return bytes(altered)


def with_two_frames(blob: bytes) -> bytes:
    """The same file with its frame header said twice: decoders differ on which one counts."""
    place = blob.index(b"\xff\xc2")
    frame = blob[place : place + 2 + int.from_bytes(blob[place + 2 : place + 4], "big")]
    return blob[:place] + frame + blob[place:]


def cut_short(blob: bytes, scan: int) -> bytes:
    """The file up to the middle of a scan's header."""
    return blob[: scans_of(blob)[scan] + 6]


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"no JPEG at all",
        PROGRESSIVE[:100],
        store(smooth(200, 300), "JPEG", quality=85),
        with_scan_of(PROGRESSIVE, PROGRESSIVE),
        with_refinement(PROGRESSIVE, 0xBA),
        with_refinement(PROGRESSIVE, 0x00),
        with_refinement(PROGRESSIVE, 0x1F),
        cut_short(PROGRESSIVE, 0),
        cut_short(PROGRESSIVE, 3),
        PROGRESSIVE[: scans_of(PROGRESSIVE)[1]],
        PROGRESSIVE.replace(b"\xff\xc2", b"\xff\xca"),
        with_two_frames(PROGRESSIVE),
        PROGRESSIVE[:2] + b"\xff\x01" + PROGRESSIVE[2:],
        PROGRESSIVE[:2] + b"\xff\xe1\x00\x00" + PROGRESSIVE[2:],
    ],
    ids=[
        "empty",
        "start_only",
        "no_frame",
        "other_bytes",
        "header_cut",
        "baseline",
        "means_said_twice",
        "high_bits_refined",
        "means_said_anew",
        "bits_that_do_not_follow",
        "first_scan_header_cut",
        "later_scan_header_cut",
        "one_scan",
        "arithmetic",
        "two_frames",
        "marker_without_length",
        "segment_shorter_than_its_length_field",
    ],
)
def test_a_file_whose_first_scan_is_not_surely_its_means_is_not_cut(blob):
    """None, never a wrong picture and never an error: the whole file is decoded instead."""
    assert jpeg.first_means(blob) is None


def test_scans_inside_metadata_come_before_the_first():
    """A progressive thumbnail in a leading segment is no scan of the picture."""
    thumbnail = store(smooth(64, 64), "JPEG", progressive=True)
    segment = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    blob = PROGRESSIVE[:2] + segment + PROGRESSIVE[2:]
    cut = jpeg.first_means(blob)
    assert cut == blob[:2] + segment + jpeg.first_means(PROGRESSIVE)[2:]


def test_only_quantisers_of_what_was_cut_away_are_changed():
    """Beside the cut, one value of each table is zeroed and nothing else."""
    cut = jpeg.first_means(PROGRESSIVE)
    changed = [k for k in range(len(cut) - 2) if cut[k] != PROGRESSIVE[k]]
    assert len(changed) == 2  # one table for luma, one for colour
    for place in changed:
        assert PROGRESSIVE[place - 6 : place - 4] == b"\xff\xdb"
        assert cut[place] == 0


@SEEDED
@given(st.integers(0, len(PROGRESSIVE) - 1), st.integers(0, 255), st.booleans())
def test_damaged_files_raise_nothing(place, value, is_cut):
    """Whatever byte is changed or wherever the file ends: bytes or None."""
    damaged = PROGRESSIVE[:place] + bytes([value]) + (b"" if is_cut else PROGRESSIVE[place + 1 :])
    cut = jpeg.first_means(damaged)
    assert cut is None or cut.endswith(b"\xff\xd9")
