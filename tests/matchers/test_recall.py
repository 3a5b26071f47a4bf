"""What an item was reduced to, asked again: as examining it would answer, or `needs_decoding`."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from importlib import metadata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support import archives, pictures, videos

from matchers import hasher
from matchers.examine import NEEDS_DECODING, Part, Wanted, examine
from matchers.recall import recalled
from matchers.views import in_profile

STILL = pictures.store(pictures.smooth(96, 128), "JPEG")
FILM = videos.encode(videos.clip((pictures.smooth(64, 64), 5), (pictures.smooth(64, 64, 9), 5)))
BLOBS = {
    "still": STILL,
    "damaged still": STILL[: len(STILL) // 2],
    "film": FILM,
    "motion photo": STILL + FILM,
    "archive": archives.zipped(
        {
            "a.jpg": STILL,
            "b.mp4": FILM,
            "c.txt": b"words",
            "moving.jpg": STILL + FILM,
            "d.zip": archives.zipped({"half.jpg": STILL[:600]}),
        }
    ),
}
MEDIA = [frozenset(some) for some in (["image"], ["video"], ["url"], ["image", "video"])]
DIGESTS = [(), ("sha256",), ("md5", "sha256"), ("sha1",)]

asked = st.builds(
    Wanted,
    media=st.sampled_from(MEDIA).map(lambda some: some | {"container"} if len(some) > 1 else some),
    digests=st.sampled_from(DIGESTS),
    profile=st.sampled_from([None, "plain", "standard", "thorough"]),
    digest_item=st.just(True),
)


@functools.cache
def examined(blob: str, wanted: Wanted) -> tuple[Part, ...]:
    """Each question once: examining takes longer than all else here."""
    return examine(BLOBS[blob], wanted)


def seen(part: Part, wanted: Wanted) -> tuple:
    """All that matching can make of a part, in a form that compares."""
    codes = None
    if part.fingerprints is not None and wanted.profile is not None:
        shown = part.fingerprints
        mine = in_profile(shown.views, wanted.profile)
        codes = (
            shown.codes[mine].tobytes(),
            shown.quality[mine].tobytes(),
            shown.views[mine].tobytes(),
            shown.frames[shown.frame[mine]].tobytes(),
            shown.renderings[shown.frame[mine]].tobytes(),
        )
    return part.locator, part.medium, part.content, dict(part.digests), codes, part.reason


@settings(max_examples=150, deadline=None)
@given(blob=st.sampled_from(sorted(BLOBS)), held=asked, wanted=asked)
def test_recalling_is_examining_or_says_that_it_needs_decoding(blob, held, wanted):
    """No part is clear, matched, skipped or failed otherwise than if its bytes were opened now."""
    now = recalled(examined(blob, held), held, wanted)
    if now[0].reason == NEEDS_DECODING:  # what is inside it was perhaps never reached
        return
    afresh = examined(blob, wanted)
    unopened = {part.locator for part in now if part.reason == NEEDS_DECODING}
    by_place = {part.locator: part for part in afresh}
    missing = by_place.keys() - {part.locator for part in now}
    assert all(locator[:-1] in unopened for locator in missing)
    for part in now:
        if part.locator not in unopened:
            assert seen(part, wanted) == seen(by_place[part.locator], wanted)


EVERYTHING = Wanted(
    frozenset({"image", "video", "container"}), ("md5", "sha1", "sha256"), "thorough"
)


def test_what_was_examined_for_everything_answers_every_question():
    """Nothing needs decoding that was looked at as widely as can be."""
    for blob, media, digests, profile in itertools.product(
        BLOBS, MEDIA, DIGESTS, (None, "plain", "standard", "thorough")
    ):
        wanted = Wanted(media, digests, profile)
        now = recalled(examined(blob, EVERYTHING), EVERYTHING, wanted)
        assert all(part.reason != NEEDS_DECODING for part in now)
        assert [part.locator for part in now] == [part.locator for part in examined(blob, wanted)]


def test_more_than_was_looked_for_needs_decoding():
    """A wider profile, another digest, a medium that was out of scope, an item never decoded."""
    image = Wanted(frozenset({"image", "container"}), ("sha256",), "standard")
    held = examined("still", image)
    for wider in (
        replace(image, profile="thorough"),
        replace(image, digests=("md5", "sha256")),
    ):
        (part,) = recalled(held, image, wider)
        assert part.reason == NEEDS_DECODING
        assert part.fingerprints is held[0].fingerprints, "what is known still counts"
    both = replace(image, media=image.media | {"video"})
    inside = recalled(examined("archive", image), image, both)
    assert [part.reason for part in inside if part.medium == "video"] == [NEEDS_DECODING] * 2
    by_digest = (replace(held[0], fingerprints=None),)
    assert recalled(by_digest, image, replace(image, pdq_mode="fast"))[0].reason == NEEDS_DECODING


def test_what_was_not_opened_needs_decoding_whatever_is_asked():
    """A digest had said enough; that it says so no longer must not make the item clear."""
    for blob in ("still", "archive"):
        unopened = (replace(examined(blob, EVERYTHING)[0], reason=NEEDS_DECODING),)
        for wanted in (EVERYTHING, replace(EVERYTHING, profile=None)):
            assert recalled(unopened, EVERYTHING, wanted)[0].reason == NEEDS_DECODING


def test_the_same_question_has_the_same_answer():
    """Not even a copy is made."""
    parts = examined("archive", EVERYTHING)
    assert recalled(parts, EVERYTHING, EVERYTHING) is parts


def test_the_hasher_is_named_by_its_code_and_what_it_decodes_with():
    """Every package of its list is there, with the version that is installed."""
    named = hasher.hasher_version()
    for name in hasher.DEPENDENCIES:
        assert f"{name} {metadata.version(name)}" in named
    assert np.unique(hasher.DEPENDENCIES).tolist() == list(hasher.DEPENDENCIES)
