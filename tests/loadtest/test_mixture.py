"""What a load test uploads: the same for the same seed, in the shares it says, and decodable."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.settings import SEEDED

from matchers import limits, pdq
from pipeline.errors import LoadTestRefused
from pipeline.loadtest import mixture, pictures
from pipeline.loadtest.edits import EDITS, UNEDITED
from pipeline.loadtest.mixture import Content, Contents


def few_contents() -> Contents:
    """Contents that are quickly made: only their names matter."""
    named = {
        name: tuple(Content("image", f"{name} {n}".encode()) for n in range(4))
        for name in ("fresh", "popular", "corrupt")
    }
    planted = tuple(Content("image", edit.encode(), edit) for edit in EDITS)
    return Contents({}, planted, **named)


FEW = few_contents()


def planned(seed: int = 1, **changes):
    """A plan of a few contents."""
    settings = {"seed": (seed, 1), "prefix": "p", "rate": 50.0, "seconds": 20.0, "burst": 2.0}
    return mixture.plan(FEW, **(settings | changes))


def test_the_same_seed_gives_the_same_uploads_at_the_same_times():
    """A figure can be measured again."""
    assert planned() == planned()
    assert planned() != planned(seed=2)


@SEEDED
@given(
    st.integers(0, 2**32), st.floats(0.5, 40), st.floats(1, 40), st.floats(1, mixture.MOST_BURST)
)
def test_uploads_are_due_in_order_and_within_the_time(seed, rate, seconds, burst):
    """Whatever is asked for; only what is sent again has a name that was there before."""
    plan = planned(seed, rate=rate, seconds=seconds, burst=burst)
    due = [upload.due_seconds for upload in plan]
    assert due == sorted(due)
    assert all(0 <= at < seconds for at in due)
    seen: dict[str, object] = {}
    for upload in plan:
        row = (upload.content, upload.mark, upload.is_covered)
        assert (upload.role == "sent again") == (upload.item_id in seen)
        assert seen.setdefault(upload.item_id, row) == row


def test_the_rate_holds_on_average_and_bursts_stand_out():
    """Within four standard deviations of a Poisson count."""
    due = mixture.due_times(np.random.default_rng(5), rate=100.0, seconds=200.0, burst=3.0)
    assert abs(len(due) - 20_000) < 4 * 20_000**0.5
    in_bursts = int((due % 10 >= 9).sum())
    assert abs(in_bursts - 6_000) < 4 * 6_000**0.5


def test_shares_are_those_that_are_stated_and_edits_come_evenly():
    """Planted uploads take the edits in turn, the unedited first."""
    plan = planned(rate=200.0, seconds=50.0)
    counts = Counter(upload.role for upload in plan)
    for role, share in mixture.SHARES.items():
        assert abs(counts[role] - share * len(plan)) < 5 * (share * len(plan)) ** 0.5
    edits = [upload.content.edit for upload in plan if upload.role == "planted"]
    assert edits[0] == UNEDITED
    assert max(Counter(edits).values()) - min(Counter(edits).values()) <= 1
    assert all(
        upload.is_covered == (upload.role != "not covered")
        for upload in plan
        if upload.role != "sent again"
    )


def test_what_is_new_has_bytes_of_its_own():
    """No two fresh uploads are the same file; popular ones are."""
    plan = planned(rate=100.0)
    fresh = [u.content.data + u.mark for u in plan if u.role == "fresh"]
    assert len(set(fresh)) == len(fresh)
    assert {u.mark for u in plan if u.role == "popular"} == {b""}


def test_generated_pictures_are_indicators_and_resemble_each_other_in_nothing():
    """Every one has the quality that a list demands; no two are near."""
    made = list(pictures.generated(7, 6))
    assert [m.tobytes() for m in made[:2]] == [m.tobytes() for m in pictures.generated(7, 2)]
    files = []
    for image in made:
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        files.append(file.getvalue())
    hashed = pdq.hash_images(files)
    assert min(hashed.quality) >= limits.PDQ_MIN_QUALITY
    for n in range(len(made)):
        for m in range(n):
            apart = int(np.unpackbits(hashed.codes[n] ^ hashed.codes[m]).sum())
            assert apart > limits.MAX_RADIUS_BITS


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_bytes_after_the_end_change_no_pixel(file_format):
    """That is how an upload is new without a new picture."""
    image = next(pictures.generated(3, 1)).resize((96, 72))
    file = io.BytesIO()
    image.save(file, file_format)
    with (
        Image.open(io.BytesIO(file.getvalue())) as plain,
        Image.open(io.BytesIO(file.getvalue() + b"12345678")) as marked,
    ):
        assert plain.convert("RGB").tobytes() == marked.convert("RGB").tobytes()


def test_too_few_photographs_are_refused(tmp_path):
    """With what to do."""
    Image.new("RGB", (64, 64)).save(tmp_path / "one.jpg")
    with pytest.raises(LoadTestRefused, match=r"1 photographs.*leave --photos out"):
        next(pictures.photographs(tmp_path, 3))


def test_photographs_that_are_planted_do_not_come_again_as_others(tmp_path):
    """Where a folder has fewer than are needed."""
    for number in range(pictures.LEAST_PHOTOS):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number:02}.png")
    reds = [image.getpixel((0, 0))[0] for image in pictures.photographs(tmp_path, 60)]
    assert reds[: pictures.PLANTED] == list(range(pictures.PLANTED))
    assert min(reds[pictures.PLANTED :]) == pictures.PLANTED


def test_the_first_pictures_are_planted_or_left_out(monkeypatch):
    """A running service's list may have been made from just those."""
    monkeypatch.setattr(mixture, "FRESH", 3)
    monkeypatch.setattr(mixture, "POPULAR", 3)
    monkeypatch.setattr(mixture, "_SIDES", ((32, 24, 1.0),))
    monkeypatch.setattr(mixture, "EDITS", {UNEDITED: EDITS[UNEDITED]})
    monkeypatch.setattr(mixture, "_FORMATS", (("PNG", 1.0),))
    made = [Image.new("RGB", (64, 48), (n, n, n)) for n in range(mixture.PICTURES)]
    own = mixture.contents(iter(made), 1)
    others = mixture.contents(iter(made), 1, {"listed": Image.new("RGB", (64, 48), "white")})
    assert [one.data for one in own.fresh] == [one.data for one in others.fresh]
    assert next(iter(own.indicators)) == "planted-00"
    assert list(others.indicators) == ["listed"]
    assert [one.edit for one in others.planted] == [UNEDITED]
