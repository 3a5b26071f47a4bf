"""A sandbox's child whose decoder has been taken over: each item says what it does next.

Everything else is the real child's, its confinement above all. The first parts of the answers tell
how an attempt went: the name of the error, or `done`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

from matchers import examine
from matchers.examine import Part
from pipeline.sandbox import child, limits, warm_up, wire

really_encode = wire.encode


def _descriptors() -> list[int]:
    found = []
    for number in range(limits.MAX_OPEN_FILES):
        with contextlib.suppress(OSError):
            fcntl.fcntl(number, fcntl.F_GETFD)
            found.append(number)
    return found


ATTEMPTS = {
    "answer": lambda: None,
    "read a file": lambda: Path("/etc/passwd").read_bytes(),
    "write a file": lambda: Path("/tmp/left-behind").write_bytes(b"content"),
    "list a folder": lambda: list(Path("/").iterdir()),
    "read its memory file": lambda: Path("/proc/self/mem").read_bytes(),
    "fork": os.fork,
    "make code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "kill its parent": lambda: os.kill(os.getppid(), 9),
    "open a socket": lambda: ctypes.CDLL(None).socket(2, 1, 0),
    "start a program": lambda: ctypes.CDLL(None).execv(b"/bin/true", None),
    "segfault": lambda: ctypes.string_at(0),
    "take much memory": lambda: bytearray(8 << 30),
    "nap": lambda: time.sleep(3),
    "be killed": lambda: signal.pthread_kill(threading.get_ident(), signal.SIGKILL),
    "sleep": lambda: time.sleep(1000),
    "spin": lambda: sum(1 for _ in iter(int, 1)),
    "raise": lambda: 1 / 0,
}


def _examine(content: memoryview, wanted: object) -> tuple[Part, ...]:
    order = bytes(content).decode()
    if order == "look for secrets":
        return (Part((), None, b"", reason="found" if "SLUIS_SECRET" in os.environ else "none"),)
    if order == "count descriptors":
        return (Part((), None, b"", reason=f"n{len(_descriptors())}"),)
    if order.startswith("say "):
        return order[len("say ") :]
    try:
        ATTEMPTS[order]()
    except (OSError, RuntimeError) as error:
        return (Part((), None, b"", reason=_word(type(error).__name__)),)
    return (Part((), None, b"", reason="done"),)


def _word(name: str) -> str:
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")


def _encode(parts: object, wanted: object) -> bytes:
    return bytes.fromhex(parts) if isinstance(parts, str) else really_encode(parts, wanted)


if __name__ == "__main__":
    examine.examine = _examine
    wire.encode = _encode
    warm_up.decoders = lambda: None
    limits.CPU_SECONDS = 1
    child.main(*(int(argument) for argument in sys.argv[1:]))
