"""Warms up as a child does, examines much, and names every kernel that was compiled after that.

In a process of its own: in one that has run other tests, every kernel is compiled already.
"""

from __future__ import annotations

import sys
import typing

from numba.core.registry import CPUDispatcher

from matchers.examine import Wanted, examine
from matchers.pdq import Mode
from matchers.views import PROFILES
from pipeline.sandbox import warm_up
from tests.fuzz import shapes

_MEDIA = frozenset({"image", "video", "container"})


def compiled() -> set[str]:
    """Each kernel of `matchers`, with each signature that it was compiled or loaded for."""
    return {
        f"{kernel.py_func.__module__}.{kernel.py_func.__name__}{signature}"
        for module in [
            module for name, module in sys.modules.items() if name.startswith("matchers")
        ]
        for kernel in vars(module).values()
        if isinstance(kernel, CPUDispatcher)
        for signature in kernel.signatures
    }


def main() -> None:
    """Say how many there were, and what came too late, one line each, with what needed it."""
    warm_up.decoders()
    known = compiled()
    lines = [str(len(known))]
    for name, blob in [*shapes.stills(), *shapes.clips()]:
        modes = typing.get_args(Mode) if "JPEG" in name else ("exact",)  # others have but one
        for profile in PROFILES:
            for mode in modes:
                parts = examine(memoryview(blob), Wanted(_MEDIA, ("md5",), profile, mode))
                if parts[0].fingerprints is None:
                    lines.append(f"{name}: {parts[0].reason}")
                late = compiled() - known
                lines += [f"{name}, {profile}, {mode}: {kernel}" for kernel in late]
                known |= late
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
