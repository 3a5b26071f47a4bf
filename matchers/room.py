"""Memory that the threads of a process share: pixels held at once, and pages lent again."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from matchers.errors import DecodeError


class Budget:
    """A number of pixels that threads share; whoever asks for more than is left waits.

    They are served in the order in which they came: small pictures do not pass a large one by,
    or it would wait as long as they keep coming.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.count_anew()

    def allow(self, pixels: int) -> None:
        """Share so many from now on; nobody may hold any."""
        self.pixels = pixels
        self.count_anew()

    def count_anew(self) -> None:
        """In a forked child nobody gives back what the parent's other threads held."""
        self._left = self.pixels
        self._waiting: deque[object] = deque()
        self._returned = threading.Condition()

    @contextlib.contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Hold so many while the block lasts; waits until they are free.

        Raises:
            DecodeError: reason `out_of_memory`, for more than there ever are.
        """
        if pixels > self.pixels:
            raise DecodeError("out_of_memory")
        place = object()
        returned = self._returned
        with returned:
            self._waiting.append(place)
            try:
                returned.wait_for(lambda: self._waiting[0] is place and self._left >= pixels)
                self._left -= pixels
            finally:
                self._waiting.remove(place)
                returned.notify_all()
        try:
            yield
        finally:
            if returned is self._returned:  # else the block began before a fork
                with returned:
                    self._left += pixels
                    returned.notify_all()


class Spare:
    """Memory of decoded pictures, lent again: fresh pages cost a tenth of a large decode."""

    LEAST_BYTES: Final = 4 * 1024 * 1024  # less than that the allocator itself keeps at hand

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child the lock may be another thread's, which is not there."""
        self._rooms: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lend(self, size_bytes: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Lend at least so many bytes, of any content, while the block lasts."""
        if size_bytes < self.LEAST_BYTES:
            yield np.empty(size_bytes, np.uint8)
            return
        room = self._take(size_bytes)
        yield room
        with self._lock:
            self._rooms.append(room)
            while sum(len(kept) for kept in self._rooms) > self._most_bytes:
                self._rooms.pop(0)  # the oldest

    def _take(self, size_bytes: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            for number, room in enumerate(self._rooms):
                if size_bytes <= len(room):
                    return self._rooms.pop(number)
        return np.empty(size_bytes, np.uint8)
