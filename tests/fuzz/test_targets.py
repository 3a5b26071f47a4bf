"""The fuzzers' targets as tests: sound input, and some that is spoilt, without a fuzzer."""

from __future__ import annotations

import warnings

import pytest

from tests.fuzz import mutations
from tests.fuzz.targets import TARGETS

SPOILT = 150


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_answers_or_refuses_as_it_says(name: str):
    """Nothing else escapes, whatever the bytes are."""
    target = TARGETS[name]
    files = target.sound()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata
        for blob in files:
            target.feed(blob)
        for number in range(SPOILT):
            target.feed(mutations.mutated(files, number))
        for blob in (b"", b"\0", b"? {a: b}\n: c", b"\xff" * 100, b"[" * 100_000, b"9" * 100_000):
            target.feed(blob)
