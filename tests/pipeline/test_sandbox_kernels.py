"""No item needs a kernel that its child does not have: a child cannot make or read one any more."""

from __future__ import annotations

import subprocess
import sys

from support.places import REPOSITORY


def test_no_picture_or_video_needs_a_kernel_that_a_child_has_not_run():
    """Numba compiles once more for an array that is read-only, or lies otherwise in memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kernels_child"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    count, *late = done.stdout.splitlines()
    assert int(count) > 10
    assert not late
