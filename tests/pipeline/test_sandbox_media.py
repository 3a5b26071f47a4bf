"""Every kind of file in a real child: sound ones as in this process, spoilt ones to an outcome."""

from __future__ import annotations

import contextlib

from matchers.errors import DecodeError
from matchers.examine import Wanted, examine
from matchers.views import PROFILES, Profile
from pipeline.sandbox import Sandbox, limits, wire
from tests.fuzz import mutate, mutations, seeds

SPOILT = 3_000


def test_a_sound_file_gives_the_same_in_a_child():
    """A child opens nothing and makes no code: whatever a decoder needs, it has had before."""
    with contextlib.closing(Sandbox(1)) as sandbox:
        stills = seeds.stills()
        sandbox.confinement  # noqa: B018 - starts the child
        child = sandbox._places.queue[-1]
        differing = [
            (name, profile)
            for name, blob in seeds.all_files().items()
            for profile in (PROFILES if name in stills else ("standard",))
            if not _same_in_a_child(sandbox, blob, profile)
        ]
        assert not differing
        assert child is sandbox._places.queue[-1], "it was replaced"


def _same_in_a_child(sandbox: Sandbox, blob: bytes, profile: Profile) -> bool:
    wanted = Wanted(frozenset({"image", "video", "container"}), ("md5", "sha1"), profile)
    here = examine(blob, wanted)
    try:
        there = sandbox.examine(blob, wanted)
    except DecodeError:
        return False
    return wire.encode(there, wanted) == wire.encode(here, wanted)


def test_spoilt_files_end_in_an_outcome_each():
    """A slice of `make mutate`, the same files every time; none brings a decoder down."""
    found = mutate.run(first=0, count=SPOILT, processes=2)
    assert found.counts.total() == SPOILT
    assert not found.noted
    assert len(found.counts) > 5
    assert found.peak_bytes < limits.LARGE.memory_bytes


def test_a_mutation_is_the_same_every_time_and_spoils():
    """What a run reports can be made again."""
    files = list(seeds.all_files().values())
    made = [mutations.mutated(files, number) for number in range(300)]
    assert made == [mutations.mutated(files, number) for number in range(300)]
    assert sum(blob != files[n % len(files)] for n, blob in enumerate(made)) > 290
