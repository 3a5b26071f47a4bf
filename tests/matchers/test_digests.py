"""Exact digests and their lookup."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.settings import SEEDED

from matchers.digests import DIGEST_BYTES, DigestIndex, digest

# "abc": RFC 1321 appendix A.5 (MD5), FIPS 180-4 examples (SHA-1, SHA-256).
OF_ABC = {
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
}


def matrix(values: list[bytes], length: int) -> np.ndarray:
    """Values as uint8 [n, length]."""
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), length)


@pytest.mark.parametrize("algorithm", DIGEST_BYTES)
def test_digests_are_those_of_the_standards(algorithm):
    """The published test vector of each algorithm, at its stated length."""
    value = digest(b"abc", algorithm)
    assert value.hex() == OF_ABC[algorithm]
    assert len(value) == DIGEST_BYTES[algorithm]


@pytest.mark.parametrize("algorithm", ["sha512", "SHA256", "pdq", "url", ""])
def test_any_other_algorithm_is_refused_with_what_there_is(algorithm):
    """A name that is not one of ours is an error that lists ours."""
    with pytest.raises(ValueError, match="use one of md5, sha1, sha256"):
        digest(b"abc", algorithm)


@settings(SEEDED, max_examples=200)
@given(
    held=st.lists(st.binary(min_size=16, max_size=16), max_size=30),
    asked=st.binary(min_size=16, max_size=16),
    pick=st.integers(0, 10**6),
)
def test_lookup_equals_a_linear_search(held, asked, pick):
    """Every value in the set is found at its lowest row; any other is not."""
    index = DigestIndex(matrix(held, 16))
    for value in (asked, *([held[pick % len(held)]] if held else [])):
        assert index.find(value) == (held.index(value) if value in held else None)


@pytest.mark.parametrize("length", sorted({*DIGEST_BYTES.values()}))
def test_values_that_share_their_first_eight_bytes_are_told_apart(length):
    """Equal heads, unequal tails: each value has its own row, and a stranger has none."""
    head = b"\xff" * 8
    tails = [bytes([n]) * (length - 8) for n in (5, 3, 9, 0, 255)]
    index = DigestIndex(matrix([head + tail for tail in tails], length))
    for row, tail in enumerate(tails):
        assert index.find(head + tail) == row
    assert index.find(head + bytes([7]) * (length - 8)) is None


def test_a_value_that_stands_twice_is_found_at_its_lowest_row():
    """Repeats are allowed; the first of them names the match."""
    values = [bytes([n % 3]) * 20 for n in range(9)]
    index = DigestIndex(matrix(values, 20))
    assert [index.find(bytes([n]) * 20) for n in range(4)] == [0, 1, 2, None]


@pytest.mark.parametrize("length", sorted({*DIGEST_BYTES.values()}))
def test_an_empty_set_holds_nothing(length):
    """Lookup in no values is None."""
    assert DigestIndex(matrix([], length)).find(bytes(length)) is None


def test_order_is_that_of_unsigned_bytes():
    """Values with high first bytes sort and are found like any other."""
    values = [bytes([first]) + bytes(31) for first in (0x80, 0x00, 0xFF, 0x7F, 0x01)]
    index = DigestIndex(matrix(values, 32))
    assert [index.find(value) for value in values] == list(range(5))


def test_a_longer_value_with_the_same_beginning_is_not_found():
    """Only whole values match."""
    index = DigestIndex(matrix([bytes(16)], 16))
    assert index.find(bytes(20)) is None
    assert index.find(bytes(15)) is None
