"""Every kind of file in a real child: sound ones as in this process, spoilt ones to an outcome."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.fuzz import mutate, mutations, seeds

from matchers.examine import Wanted, examine
from matchers.views import PROFILES
from pipeline.sandbox import Sandbox, limits

FILES = seeds.all_files()
SPOILT = 3_000


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One child that stays for all files."""
    one = Sandbox(1)
    yield one
    one.close()


@pytest.mark.parametrize("name", FILES)
def test_a_sound_file_gives_the_same_in_a_child(sandbox: Sandbox, name: str):
    """A child opens nothing and makes no code: whatever a decoder needs, it has had before."""
    child = None
    for profile in PROFILES:
        wanted = Wanted(frozenset({"image", "video", "container"}), ("md5", "sha1"), profile)
        here, there = examine(FILES[name], wanted), sandbox.examine(FILES[name], wanted)
        assert [(p.locator, p.medium, p.content, p.digests, p.reason) for p in there] == [
            (p.locator, p.medium, p.content, p.digests, p.reason) for p in here
        ]
        for one, other in zip(here, there, strict=True):
            for field in ("codes", "quality", "views", "frame", "frames", "plane", "planes"):
                assert np.array_equal(
                    getattr(one.fingerprints, field, np.empty(0)),
                    getattr(other.fingerprints, field, np.empty(0)),
                    equal_nan=field in ("frames", "planes"),
                )
        child = child or sandbox._places.queue[-1]
        assert child is sandbox._places.queue[-1], "it was replaced"


def test_spoilt_files_end_in_an_outcome_each():
    """A slice of `make mutate`, the same files every time; none brings a decoder down."""
    found = mutate.run(first=0, count=SPOILT, processes=2)
    assert found.counts.total() == SPOILT
    assert not found.noted
    assert len(found.counts) > 5
    assert found.peak_bytes < limits.MEMORY_BYTES


def test_a_mutation_is_the_same_every_time_and_spoils():
    """What a run reports can be made again."""
    files = list(FILES.values())
    made = [mutations.mutated(files, number) for number in range(300)]
    assert made == [mutations.mutated(files, number) for number in range(300)]
    assert sum(blob != files[n % len(files)] for n, blob in enumerate(made)) > 290
