"""The conformance set: in any format and pixel mode a picture keeps its code within a stated bound."""

from __future__ import annotations

import json

import pytest

from matchers import images, media, pdq
from tests.conformance import __main__ as program
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


def test_the_set_can_be_written_for_others(tmp_path):
    """Every file with its codes: what is read back meets the bounds that stand beside it."""
    count = program.write(tmp_path)
    listed = json.loads((tmp_path / "conformance.json").read_text())["files"]
    assert len(listed) == count == len(list(tmp_path.iterdir())) - 1
    assert {one["way"] for one in listed} == WAYS.keys()
    for one in listed[:: len(listed) // 20]:
        for name, pixels in images.renderings((tmp_path / one["file"]).read_bytes()):
            code = bytes.fromhex(one["pdq"][name])
            found = pdq.hash_pixels(pixels)[0].tobytes()
            apart = (int.from_bytes(code, "big") ^ int.from_bytes(found, "big")).bit_count()
            assert apart <= one["bound_bits"]
