"""What to do when a run of the engine fails: what it means, how long to wait, what to say.

Whatever it is, the uploads stay in the log. What is no upload's fault (verification away, a full
disk) waits until it is over, and is said once. Anything else is a defect on the batch at hand, and
counts as an attempt at it (`attempts`).
"""

from __future__ import annotations

import errno
import logging
import re
import threading
from collections.abc import Callable
from typing import Final

from pipeline.emit import Emitter
from pipeline.errors import (
    AccountingError,
    SandboxRefused,
    SluisError,
    VerificationRefused,
    VerificationUnreachable,
)
from pipeline.ingest.attempts import Attempts
from pipeline.ingest.stream_metrics import Meters

LEAST_PAUSE_SECONDS: Final = 0.5
MOST_PAUSE_SECONDS: Final = 15.0
"""Before it is tried again; the first doubles each time, up to the second."""

_DISK_FAULTS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE)
_DISK: Final = re.compile(rf"\[Errno ({'|'.join(map(str, _DISK_FAULTS))})\]")
"""Faults that are no upload's: the engine hands on the text of what a step raised."""

_log = logging.getLogger(__name__)


class Troubles:
    """Sees a stream through what goes wrong."""

    def __init__(
        self,
        emitter: Emitter,
        attempts: Attempts,
        stop: threading.Event,
        meters: Meters,
        measure: Callable[[], None],
    ) -> None:
        """Nothing is wrong yet; `measure` is called while waiting, so that the backlog shows."""
        self._emitter = emitter
        self._attempts = attempts
        self._stop = stop
        self._meters = meters
        self._measure = measure
        self._pause_seconds = LEAST_PAUSE_SECONDS
        self._said = ""

    def are_over(self, *, candidates_sent: bool) -> None:
        """A batch has come through, perhaps with candidates."""
        self._pause_seconds = LEAST_PAUSE_SECONDS
        if candidates_sent:
            self._meters.verification_up.set(1)
        if self._said:
            _log.info("uploads are scanned again")
            self._said = ""

    def recover(self, failure: BaseException) -> None:
        """Wait until it is worth trying again; longer each time, unless a batch came through.

        Raises:
            AccountingError: a defect that trying again would only repeat.
            SandboxRefused: nothing can be opened safely.
        """
        if _is_a(failure, AccountingError):
            raise AccountingError(
                "uploads in and outcomes do not add up. This is a defect of Sluis: keep the folder "
                "of the upload log and report it"
            ) from failure
        if _is_a(failure, SandboxRefused):
            self._attempts.excuse()
            raise SandboxRefused(
                "decoders can no longer be started apart from the scan: nothing is opened. Uploads "
                "wait in the log, and none is lost; docs/sandbox.md says what they need"
            ) from failure
        if _is_a(failure, VerificationUnreachable):
            self._attempts.excuse()
            self._meters.verification_up.set(0)
            self.wait_for_verification()
        elif _is_a(failure, VerificationRefused):
            self._attempts.excuse()
            self._meters.verification_up.set(0)
            self._say(
                "verification answers, and does not take this scan's candidates: check that it "
                "serves this order, and that the provider's certificate and verifier.pub are its. "
                "Uploads wait in the log, and none is lost"
            )
        elif _DISK.search(str(failure)):
            self._attempts.excuse()
            self._say("the disk fails or is full: uploads wait in the log, and none is lost")
        else:  # its text may quote an upload, so only its kind is told
            self._meters.failed_batches.inc()
            _log.error("the scan of a batch failed (%s): it is tried again", type(failure).__name__)
        self._stop.wait(self._pause_seconds)
        self._pause_seconds = min(MOST_PAUSE_SECONDS, 2 * self._pause_seconds)

    def wait_for_verification(self) -> None:
        """Ask again and again whether it takes candidates."""
        pause = LEAST_PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                self._emitter.check()
            except (VerificationUnreachable, VerificationRefused) as error:
                self._say(f"uploads wait in the log, and none is lost: {error}")
                self._meters.verification_up.set(0)
                self._measure()
                self._stop.wait(pause)
                pause = min(MOST_PAUSE_SECONDS, 2 * pause)
            else:
                self._meters.verification_up.set(1)
                if self._said:
                    _log.info("verification answers again")
                    self._said = ""
                return

    def _say(self, trouble: str) -> None:
        """Once, until something else is the matter or a batch has come through."""
        if trouble != self._said:
            _log.error("%s", trouble)
        self._said = trouble


def _is_a(error: BaseException, kind: type[SluisError]) -> bool:
    """Engines raise what a step raised, or something else with its text."""
    return isinstance(error, kind) or kind.__name__ in str(error)
