"""What a service does again and again beside its calls, and whether it succeeds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

RETRY_SECONDS: Final = 60.0
"""After a failure."""
MOST_FAILURES: Final = 3
"""In a row; then the service says that it is not well."""

_log = logging.getLogger(__name__)


class Upkeep:
    """Runs a task for as long as the service serves; no failure ends it."""

    def __init__(self, name: str, work: Callable[[], object], every_seconds: float) -> None:
        """Name the task, for the log; `work` may block."""
        self._name = name
        self._work = work
        self._every_seconds = every_seconds
        self._failures = 0

    @property
    def is_well(self) -> bool:
        """Whether it has not failed several times in a row."""
        return self._failures < MOST_FAILURES

    async def run(self, *, first_now: bool = True) -> None:
        """Go on until cancelled."""
        pause = 0.0 if first_now else self._every_seconds
        while True:
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self._work)
            except Exception as error:  # noqa: BLE001 - a task that ends would never be missed
                self._failures += 1
                pause = min(RETRY_SECONDS, self._every_seconds)
                _log.error(
                    "%s has failed (%s), %d times in a row; it is tried again in %.0f seconds",
                    self._name,
                    type(error).__name__,
                    self._failures,
                    pause,
                )
            else:
                self._failures = 0
                pause = self._every_seconds
