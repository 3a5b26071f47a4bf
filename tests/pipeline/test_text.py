"""Text of others on a terminal: no control character gets through, and nothing else is changed."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from support.settings import SEEDED

from pipeline.text import has_control, shown


@SEEDED
@given(st.text())
def test_what_is_shown_holds_no_control_character(text):
    """Unicode's own category decides; every other character stays in its place."""
    kept = shown(text)
    assert len(kept) == len(text)
    for before, after in zip(text, kept, strict=True):
        assert after == ("\ufffd" if unicodedata.category(before) == "Cc" else before)
    assert has_control(text) == any(unicodedata.category(one) == "Cc" for one in text)
    assert not has_control(kept)


def test_an_escape_sequence_is_only_text():
    """Whether it begins with ESC or with C1's CSI."""
    assert shown("a\x1b[2J\x9b1Ab\x07") == "a\ufffd[2J\ufffd1Ab\ufffd"
