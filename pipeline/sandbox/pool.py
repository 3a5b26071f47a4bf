"""A pool of children, each with one item at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from matchers.errors import DecodeError
from matchers.examine import Part, Wanted
from matchers.limits import MAX_LARGE_BYTES
from pipeline.errors import SandboxLost, SandboxRefused
from pipeline.sandbox import limits, memory
from pipeline.sandbox.confine import Confinement
from pipeline.sandbox.process import Child, NotStarted

_log: Final = logging.getLogger(__name__)

_NEEDS_MORE: Final = "out_of_memory"
_AGAIN: Final = "killed"  # by somebody outside: not the item's doing as a rule


class Sandbox:
    """Examines items in processes that can do nothing else. Thread-safe.

    A child is started when it is first needed, and again after one has ended.

    Attributes:
        starts: how many children have been started so far.
    """

    def __init__(
        self,
        processes: int,
        *,
        require_filter: bool = False,
        room: limits.Room = limits.USUAL,
    ) -> None:
        """A sandbox of at most `processes` children; further calls wait for one.

        Args:
            processes: how many items are examined at once.
            require_filter: refuse to work where system calls cannot be filtered.
            room: what each child has for an item.
        """
        self.starts = 0
        self._processes = processes
        self._require_filter = require_filter
        self._room = room
        self._large = threading.Lock()
        self._owner = os.getpid()
        self._places: queue.LifoQueue[Child | None] = queue.LifoQueue()
        for _ in range(processes):
            self._places.put(None)
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self._first = threading.Lock()
        self._counting = threading.Lock()
        self._confinement: Confinement | None = None

    @property
    def confinement(self) -> Confinement:
        """What children are kept from; starts one if none has been started yet.

        Raises:
            SandboxRefused: it does not start, or less is confined than is required.
        """
        if self._confinement is None:
            with self._child():
                pass
        if self._confinement is None:
            raise RuntimeError("a child without confinement")
        return self._confinement

    def examine(self, blob: bytes | memoryview, wanted: Wanted) -> tuple[Part, ...]:
        """`matchers.examine.examine`, in a child.

        Args:
            blob: the item. A view of `memory.Sealed` is shown to the child as it is; anything else
                is copied once.
            wanted: what is to be found out.

        Raises:
            DecodeError: reason `crashed`, `defect`, `timed_out`, `out_of_memory`, `killed`,
                `too_many_bytes`, `empty`.
            SandboxRefused: no child can be started, or less is confined than is required.
            SandboxLost: no child can be started any more.
        """
        if len(blob) > MAX_LARGE_BYTES:
            raise DecodeError("too_many_bytes")
        content = memory.seal(blob)
        if isinstance(content, bytes):
            raise DecodeError("empty")
        try:
            return self._examine(content, wanted)
        except DecodeError as error:
            if error.reason != _AGAIN:
                raise
        return self._examine(content, wanted)

    def _examine(self, content: memory.Sealed, wanted: Wanted) -> tuple[Part, ...]:
        try:
            with self._child() as child:
                parts = child.examine(content, wanted)
        except DecodeError as error:
            if error.reason != _NEEDS_MORE:
                raise
        else:
            if all(part.reason != _NEEDS_MORE for part in parts):
                return parts
        return self._examine_at_large(content, wanted)

    def _examine_at_large(self, content: memory.Sealed, wanted: Wanted) -> tuple[Part, ...]:
        """In a further child with more room: one item at a time, so that memory stays bounded."""
        with self._large:
            child = self._new_child(limits.LARGE)
            try:
                return child.examine(content, wanted)
            finally:
                child.end()

    def close(self) -> None:
        """End all children, each after the item at hand."""
        for _ in range(self._processes):
            child = self._places.get()
            if child is not None:
                child.end()
        self._starter.shutdown()

    @contextlib.contextmanager
    def _child(self) -> Iterator[Child]:
        if os.getpid() != self._owner:
            raise RuntimeError("a sandbox does not outlive a fork: make one in each process")
        child = self._places.get()
        try:
            if child is None or not child.is_running:
                child = self._start()
            yield child
            if child.items >= limits.MAX_ITEMS_PER_CHILD:
                child.end()
        finally:
            self._places.put(child)

    def _start(self) -> Child:
        with self._first:
            if self._confinement is None:  # alone: it fills the kernels' cache for the others
                child = self._new_child(self._room)
                self._confinement = child.confinement
                return child
        return self._new_child(self._room)

    def _start_again_if_need_be(self, room: limits.Room) -> Child:
        """A child; somebody may have ended the first one while it started."""
        try:
            return self._started(room)
        except NotStarted:
            return self._started(room)

    def _started(self, room: limits.Room) -> Child:
        with self._counting:
            self.starts += 1
        return Child(self._starter, room, MAX_LARGE_BYTES)

    def _new_child(self, room: limits.Room) -> Child:
        try:
            child = self._start_again_if_need_be(room)
        except NotStarted as error:
            kind = SandboxRefused if self._confinement is None else SandboxLost
            raise kind(str(error)) from None
        lacking = child.confinement.system_calls
        if lacking is not None and self._require_filter:
            child.end()
            raise SandboxRefused(
                f"system calls of decoders cannot be filtered, and that is required: {lacking}"
            )
        if lacking is not None and self._confinement is None:
            _log.warning("decoders run with limits only: %s", lacking)
        return child
