"""Answers of a child: what they say comes across, and nothing else does."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.settings import SEEDED

from matchers.digests import DIGEST_BYTES
from matchers.examine import Part, Wanted
from matchers.fingerprints import Fingerprints
from matchers.limits import MAX_CODES, MAX_VIDEO_SECONDS
from pipeline.sandbox import wire

WANTED = Wanted(frozenset({"image"}), ("md5", "sha256"))
SECONDS = st.floats(0, MAX_VIDEO_SECONDS, width=32)
SPANS = st.one_of(
    st.just((np.nan, np.nan)), st.tuples(SECONDS, SECONDS).map(lambda pair: tuple(sorted(pair)))
)


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprints:
    """Some codes of some pictures."""
    codes, frames, planes = (
        draw(st.integers(1, 6)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 2)),
    )
    found = Fingerprints(
        codes=draw(arrays.arrays(np.uint8, (codes, 32))),
        quality=draw(arrays.arrays(np.uint8, codes, elements=st.integers(0, 100))),
        views=draw(arrays.arrays(np.uint16, codes, elements=st.integers(0, 7))),
        frame=draw(arrays.arrays(np.int32, codes, elements=st.integers(0, frames - 1))),
        frames=np.array(draw(st.lists(SPANS, min_size=frames, max_size=frames)), np.float32),
        renderings=draw(arrays.arrays(np.uint8, frames, elements=st.integers(0, 2))),
        planes=np.full((planes, 64, 64), draw(st.floats(-9, 300, width=32)), np.float32),
        plane=draw(arrays.arrays(np.int32, codes, elements=st.integers(-1, planes - 1))),
    )
    return dataclasses.replace(found, **{name: draw(st.integers(0, 9)) for name in wire._COUNTS})


PARTS = st.lists(
    st.builds(
        Part,
        locator=st.just(()),
        medium=st.sampled_from([None, "image", "video", "container", "url"]),
        content=st.sampled_from([b"", bytes(range(32))]),
        digests=st.fixed_dictionaries(
            {},
            optional={name: st.binary(min_size=n, max_size=n) for name, n in DIGEST_BYTES.items()},
        ).map(lambda found: {name: found[name] for name in WANTED.digests if name in found}),
        fingerprints=st.none() | fingerprints(),
        reason=st.none() | st.sampled_from(["corrupt", "too_many_pixels"]),
    ),
    min_size=1,
    max_size=3,
).map(
    lambda parts: tuple(
        dataclasses.replace(part, locator=(number, 2) if number else ())
        for number, part in enumerate(parts)
    )
)


def same(one: object, other: object) -> bool:
    """Equality that looks into arrays, and for which NaN is NaN."""
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name))
            for field in dataclasses.fields(one)
        )
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(
            one, other, equal_nan=one.dtype.kind == "f"
        )
    return one == other


@SEEDED
@given(PARTS)
def test_what_a_child_says_comes_across(parts: tuple[Part, ...]):
    """Every field of every part; arrays are their own, aligned and writeable."""
    got = wire.decode(wire.encode(parts, WANTED), WANTED)
    assert len(got) == len(parts)
    assert all(same(one, other) for one, other in zip(got, parts, strict=True))
    for part in got:
        if part.fingerprints is not None:
            assert part.fingerprints.planes.flags.writeable
            assert part.fingerprints.frame.flags.aligned


@SEEDED
@given(PARTS, st.randoms(use_true_random=False), st.data())
def test_a_spoilt_answer_is_malformed_or_plausible(
    parts: tuple[Part, ...], chance: random.Random, data: st.DataObject
):
    """Whatever bytes are changed: either nothing is taken from it, or what could have been said."""
    answer = bytearray(wire.encode(parts, WANTED))
    for _ in range(data.draw(st.integers(1, 4))):
        answer[chance.randrange(len(answer))] = chance.randrange(256)
    try:
        got = wire.decode(answer, WANTED)
    except wire.Malformed:
        return
    assert same(wire.decode(wire.encode(got, WANTED), WANTED)[0], got[0])


@SEEDED
@given(PARTS, st.data())
def test_an_answer_of_another_length_is_malformed(parts: tuple[Part, ...], data: st.DataObject):
    """Cut anywhere, or followed by anything."""
    answer = wire.encode(parts, WANTED)
    cut = data.draw(st.integers(0, len(answer) - 1))
    for spoilt in (answer[:cut], answer + b"\0"):
        with pytest.raises(wire.Malformed):
            wire.decode(spoilt, WANTED)


def _one(**fields: object) -> tuple[Part, ...]:
    found = Fingerprints(
        codes=np.zeros((1, 32), np.uint8),
        quality=np.zeros(1, np.uint8),
        views=np.zeros(1, np.uint16),
        frame=np.zeros(1, np.int32),
        frames=np.full((1, 2), np.nan, np.float32),
        renderings=np.zeros(1, np.uint8),
        planes=np.zeros((1, 64, 64), np.float32),
        plane=np.zeros(1, np.int32),
    )
    return (Part((), "image", bytes(32), fingerprints=dataclasses.replace(found, **fields)),)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("codes", np.zeros((0, 32), np.uint8)),
        ("quality", np.array([101], np.uint8)),
        ("views", np.array([65535], np.uint16)),
        ("frame", np.array([1], np.int32)),
        ("frame", np.array([-1], np.int32)),
        ("frames", np.array([[2, 1]], np.float32)),
        ("frames", np.array([[np.nan, 1]], np.float32)),
        ("frames", np.array([[0, np.inf]], np.float32)),
        ("renderings", np.array([3], np.uint8)),
        ("plane", np.array([1], np.int32)),
        ("plane", np.array([-2], np.int32)),
        ("planes", np.full((1, 64, 64), np.nan, np.float32)),
    ],
)
def test_fingerprints_that_point_where_nothing_is_are_malformed(field: str, value: np.ndarray):
    """Those who use them later do not check again."""
    answer = wire.encode(_one(**{field: value}), WANTED)
    with pytest.raises(wire.Malformed):
        wire.decode(answer, WANTED)


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (Part((1,), "image", b""),),
        (Part((), "image", b""), Part((), "image", b"")),
        (Part((), "image", b""), Part((0,), "image", b"")),
        (Part((), "image", b"short"),),
        (Part((), "image", b"", reason="Holiday at the sea"),),
        (Part((), "image", b"", reason="x" * 41),),
    ],
)
def test_parts_that_cannot_be_are_malformed(parts: tuple[Part, ...]):
    """The item comes first, no part twice, and a reason is a short word."""
    with pytest.raises(wire.Malformed):
        wire.decode(wire.encode(parts, WANTED), WANTED)


def test_a_claim_of_many_codes_takes_no_memory():
    """What is not there is not allocated."""
    answer = bytearray(wire.encode(_one(), WANTED))
    place = answer.rindex((1).to_bytes(4, "little") * 3)
    answer[place : place + 4] = MAX_CODES.to_bytes(4, "little")
    with pytest.raises(wire.Malformed, match="early"):
        wire.decode(answer, WANTED)


def test_what_is_wanted_comes_across():
    """With every field of it."""
    wanted = Wanted(frozenset({"image", "video"}), ("md5",), None, "fast", digest_item=False)
    assert wire.decode_wanted(wire.encode_wanted(wanted)) == wanted
