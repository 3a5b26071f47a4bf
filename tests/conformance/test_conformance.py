"""The conformance set: in any format and pixel mode a picture keeps its code within a stated bound."""

from __future__ import annotations

import pytest

from matchers import images, media
from tests.conformance import judge
from tests.conformance.ways import WAYS, originals

ORIGINALS = tuple(originals())


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_store_a_picture_keeps_its_code(way):
    """All renderings that the file has come out, no other, each within the way's bound."""
    for original in ORIGINALS:
        for stored in judge.written(way, original):
            assert media.claimed(stored.blob) == "image"
            apart = judge.ours(stored)
            assert max(apart.values()) <= WAYS[way].bits, (original, apart)


@pytest.mark.parametrize("way", WAYS)
def test_only_files_that_are_grey_come_out_grey(way):
    """So that luma is computed once, by the same formula, wherever there is colour."""
    stored = judge.written(way, "generated")[0]
    channels = 1 if images.decode(stored.blob).ndim == 2 else 3
    assert channels == WAYS[way].channels
