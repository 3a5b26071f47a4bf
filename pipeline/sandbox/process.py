"""One child, as its parent sees it: started, asked, ended."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor
from typing import IO, Final

from matchers.errors import DecodeError
from matchers.examine import Part, Wanted
from pipeline.sandbox import channel, defects, limits, wire
from pipeline.sandbox.confine import Confinement
from pipeline.sandbox.memory import Sealed

_log: Final = logging.getLogger(__name__)

_PASSED_ON: Final = (
    "PATH", "HOME", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH",
    "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT",
)  # fmt: skip
"""What a child sees of the environment: where libraries and cached kernels are; no secret."""

_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
_LAST_WORDS_BYTES: Final = 2_000
_END_SECONDS: Final = 10
_PROGRAM: Final = "pipeline.sandbox.child"


class NotStarted(Exception):  # noqa: N818 - reads as the outcome it is
    """A child has ended, or said nothing, before it was ready; says why and what to try."""


class Child:
    """A child that is ready for an item. Not thread-safe: whoever has it asks one thing at a time.

    Attributes:
        confinement: what it is kept from.
        items: how many it has been asked about.
        is_running: whether it can be asked again.
    """

    def __init__(self, starter: Executor, room: limits.Room, content_bytes: int) -> None:
        """Start a child and wait until it has given up all it can.

        Args:
            starter: runs the start in a thread that lives as long as the child is to: the kernel
                ends a child with the thread that started it.
            room: what it has for an item.
            content_bytes: the largest item.

        Raises:
            NotStarted: it does not start.
        """
        self.items = 0
        self.is_running = True
        self._channel, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as last_words:
            arguments = [theirs.fileno(), os.getpid(), content_bytes]
            arguments += [room.memory_bytes, room.pixels]
            try:
                self._process = starter.submit(_start, arguments, theirs, last_words).result()
            except OSError as error:  # no more processes, no memory
                self._channel.close()
                raise NotStarted(_lines(f"cannot be started ({error.strerror})")) from None
            theirs.close()
            try:
                self.confinement = self._wait_until_ready()
            except (channel.Malformed, OSError, ValueError) as error:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=1)  # its own status says more than ours
                self.end()
                raise NotStarted(_why_not(error, self._process, last_words)) from None

    def examine(self, content: Sealed, wanted: Wanted) -> tuple[Part, ...]:
        """`matchers.examine.examine`, in the child.

        Raises:
            DecodeError: reason `crashed`, `defect`, `timed_out`, `out_of_memory` or `killed`; the
                child has ended.
        """
        self.items += 1
        until = time.monotonic() + limits.wall_seconds(len(content))
        try:
            channel.send_item(
                self._channel, wire.encode_wanted(wanted), content.descriptor, len(content)
            )
            kind, answer = channel.receive(self._channel, limits.MAX_ANSWER_BYTES, until)
            if kind == channel.ANSWER:
                return wire.decode(answer, wanted)
            reason = _reason_of(kind, answer)
        except TimeoutError:
            reason = "timed_out"
        except (channel.Malformed, wire.Malformed):
            reason = "crashed"
        except OSError:
            reason = self._cause_of_death()
        except BaseException:
            self.end()  # or its answer would be taken for the next item's
            raise
        self.end()
        raise DecodeError(reason)

    def end(self) -> None:
        """End the child, whatever it does."""
        self.is_running = False
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def _wait_until_ready(self) -> Confinement:
        until = time.monotonic() + limits.START_SECONDS
        kind, body = channel.receive(self._channel, limits.MAX_ANSWER_BYTES, until)
        if kind != channel.READY:
            raise channel.Malformed("not ready")
        return Confinement(**json.loads(body))

    def _cause_of_death(self) -> str:
        """Why a child whose channel is closed has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)  # the channel closes a little before
        status = self._process.poll()
        if status == -signal.SIGXCPU:
            return "timed_out"
        if status == -signal.SIGKILL:
            return "killed"  # nobody here did it: as a rule the kernel, for want of memory
        if status == -signal.SIGSYS:
            _log.warning(
                "a decoder made a system call that no decoder makes, and was ended: "
                "an item may have tried to take it over"
            )
        return "crashed"


def _reason_of(kind: bytes, body: bytearray) -> str:
    """Why there is no answer, in the child's words as far as they make sense."""
    if kind == channel.OUT_OF_MEMORY:
        return "out_of_memory"
    if kind == channel.DEFECT and defects.TOLD.tell(body):
        return "defect"
    return "crashed"


def _start(
    arguments: list[int], theirs: socket.socket, last_words: IO[bytes]
) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - this program, numbers
        # -P: no module from the folder that somebody happens to stand in.
        [sys.executable, "-P", "-m", _PROGRAM, *map(str, arguments)],
        env=environment | _ONE_THREAD,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=last_words,
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # a terminal's Ctrl-C is the parent's business
    )


def _why_not(error: Exception, process: subprocess.Popen[bytes], last_words: IO[bytes]) -> str:
    """What went wrong before the child had seen any item: its words are safe to show."""
    last_words.seek(0, os.SEEK_END)
    last_words.seek(max(0, last_words.tell() - _LAST_WORDS_BYTES))
    text = last_words.read().decode(errors="replace").strip()
    how = f"does not start (status {process.returncode})"
    if isinstance(error, TimeoutError):
        how = f"is not ready after {limits.START_SECONDS} s"
    return _lines(how, *text.splitlines()[-1:])


def _lines(how: str, *words: str) -> str:
    by_hand = "'from pipeline.sandbox import warm_up; warm_up.decoders()'"
    lines = [f"the decoders' process {how}", *(f"  {line}" for line in words)]
    lines += [f"try it by hand: {shlex.quote(sys.executable)} -c {by_hand}"]
    return "\n".join(lines)
