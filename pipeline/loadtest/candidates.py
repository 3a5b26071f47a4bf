"""When each candidate can be seen at verification: asked again and again, as a screen asks.

The names are not for reviewers: a candidate says only with the vault's token key which upload it
is. A load test holds that key too, of made-up uploads.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from pipeline import keys, vouchers
from pipeline.errors import LoadTestRefused, SluisError
from pipeline.rpc import verdicts as wire
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2
from pipeline.verification.review import Reviewer

POLL_SECONDS: Final = 0.05
"""Between two looks: what was measured is at most so much too long."""

_ALL: Final = review_service_pb2.CANDIDATE_STATE_UNSPECIFIED


class Watch:
    """Sees every candidate that is released, and when."""

    def __init__(self, address: str, key_folder: Path) -> None:
        """Connect.

        Args:
            address: of the verification service.
            key_folder: every party's folder: a reviewer's and the provider's are used.

        Raises:
            KeysRefused: they are not there.
        """
        self._reviewer = Reviewer(address, key_folder / "reviewer-1")
        self._token_key = keys.token_key(key_folder / "provider")
        self._seen: list[tuple[float, candidate_pb2.Candidate]] = []
        self._after = 0
        self._failed: SluisError | None = None
        self._stop = threading.Event()
        self._looking = threading.Lock()
        self._look()
        self._seen.clear()  # what was there before
        self._thread = threading.Thread(target=self._work, name="candidates", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()
        self._reviewer.close()

    def take(self) -> dict[str, list[float]]:
        """Look once more: upload -> when (UNIX time) each candidate came since the last time.

        Raises:
            SluisError: verification did not answer, or a seal does not open.
        """
        if self._failed is not None:
            raise self._failed
        self._look()
        with self._looking:
            taken, self._seen = self._seen, []
        found: dict[str, list[float]] = {}
        for at, candidate in taken:
            found.setdefault(self._name_of(candidate), []).append(at)
        return found

    def _name_of(self, candidate: candidate_pb2.Candidate) -> str:
        payload = self._reviewer.open(candidate)
        context = wire.subject_of(candidate).context
        try:
            return vouchers.open_token(
                self._token_key, "content", context, candidate.candidate_id, payload.content_token
            )
        except vouchers.Unsealable as error:
            raise LoadTestRefused(
                "the provider's token key does not open what verification got meanwhile: give the "
                "keys of this deployment, and let no other provider use it during a load test"
            ) from error

    def _work(self) -> None:
        try:
            while not self._stop.wait(POLL_SECONDS):
                self._look()
        except SluisError as error:
            self._failed = error

    def _look(self) -> None:
        with self._looking:
            for item in self._reviewer.list(_ALL, self._after):
                self._seen.append((time.time(), item.candidate))
                self._after = item.sequence
