"""What a child says of a defect: a kind and a place that there are, and no other word."""

from __future__ import annotations

import logging

import pytest

from matchers.views.profiles import check_profile
from pipeline.sandbox import defects, limits


class OwnError(ValueError):
    """A library's own error."""


def test_an_error_is_described_by_a_kind_of_pythons_own_and_our_last_line():
    """Its text, and those of names that only it uses, stay in the child."""
    with pytest.raises(ValueError, match="beach") as raised:
        check_profile("a name on a beach")
    kind, file, line = defects.describe(raised.value).decode().split()
    assert (kind, file) == ("ValueError", "matchers/views/profiles.py")
    assert int(line) > 0
    assert defects.describe(OwnError("secret")).startswith(b"ValueError pipeline/")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"TypeError",
        b"TypeError matchers/examine.py secret",
        b"TypeError matchers/no_such_file.py 1",
        b"TypeError matchers/../etc/passwd.py 1",
        b"TypeError tests/pipeline/test_sandbox.py 1",
        b"Secret matchers/examine.py 1",
        b"int matchers/examine.py 1",
        b"KeyboardInterrupt matchers/examine.py 1",
        b"TypeError matchers/examine.py 1\nsluis: forged",
    ],
)
def test_what_names_no_kind_or_no_file_of_ours_is_no_defect(
    said: bytes, caplog: pytest.LogCaptureFixture
):
    """A child that was taken over cannot write what it likes into the log."""
    with caplog.at_level(logging.WARNING, "pipeline.sandbox"):
        assert not defects.Defects().tell(said)
    assert not caplog.records


def test_made_up_defects_do_not_fill_a_log(caplog: pytest.LogCaptureFixture):
    """They still count as what they say they are."""
    told = defects.Defects()
    with caplog.at_level(logging.WARNING, "pipeline.sandbox"):
        for line in range(2 * limits.MAX_DEFECTS_TOLD):
            assert told.tell(b"TypeError matchers/examine.py %d" % line)
    assert len(caplog.records) == limits.MAX_DEFECTS_TOLD
