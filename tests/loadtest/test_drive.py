"""The driver: an open loop that counts waiting, and sends again whatever has no answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from pipeline.errors import LoadTestFailed
from pipeline.loadtest import drive
from pipeline.loadtest.mixture import Content, Upload
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages


class Broken(grpc.RpcError):
    """What gRPC raises when a call fails."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._code

    def trailing_metadata(self) -> tuple[()]:
        """None."""
        return ()

    def details(self) -> str:
        """None."""
        return ""


class Door:
    """A front door that reads ahead in a thread of its own, as gRPC does, and can break."""

    def __init__(self, *breaks_after: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE):
        self._breaks = list(breaks_after)
        self._code = code
        self._lock = threading.Lock()
        self.kept: dict[str, bytes] = {}

    def StreamUploads(self, requests: Iterator[messages.StreamUploadsRequest]):  # noqa: N802
        """Answer each batch, or break after so many."""
        coming: queue.SimpleQueue = queue.SimpleQueue()

        def read() -> None:
            for request in requests:
                coming.put(request)
            coming.put(None)

        threading.Thread(target=read, daemon=True).start()
        with self._lock:
            left = self._breaks.pop(0) if self._breaks else -1
        number = 0
        while (request := coming.get()) is not None:
            number += 1
            assert request.batch_number == number
            if left == 0:
                raise Broken(self._code)
            left -= 1
            with self._lock:
                results = [self._keep(upload) for upload in request.uploads]
            yield messages.StreamUploadsResponse(batch_number=number, results=results)

    def _keep(self, upload: messages.Upload) -> messages.UploadResult:
        self.kept[upload.item_id] = upload.content
        return messages.UploadResult(outcome=messages.UPLOAD_OUTCOME_ACCEPTED)


@pytest.fixture
def driver(monkeypatch):
    """A driver of a door that is given."""
    monkeypatch.setattr(drive, "_FIRST_PAUSE_SECONDS", 0.01)

    def made(door: Door) -> drive.Driver:
        one = object.__new__(drive.Driver)
        one._service = door
        return one

    return made


def uploads(count: int, every_seconds: float) -> list[Upload]:
    """So many, evenly."""
    content = Content("image", b"x")
    return [
        Upload(n * every_seconds, f"u{n}", "fresh", content, b"%d" % n, is_covered=True)
        for n in range(count)
    ]


def test_every_upload_is_answered_once(driver):
    """On however many streams."""
    door = Door()
    answered = driver(door).drive(uploads(200, 0.001), "part")
    assert answered.outcomes == {"accepted": 200}
    assert sorted(due for due, _ in answered.delays) == [u.due_seconds for u in uploads(200, 0.001)]
    assert {door.kept[f"u{n}"] for n in range(200)} == {b"x%d" % n for n in range(200)}


def test_what_has_no_answer_when_a_stream_breaks_is_sent_again(driver):
    """Also what gRPC had asked for and never sent."""
    door = Door(3, 0, 5, 1, 2)
    answered = driver(door).drive(uploads(300, 0.001), "part")
    assert len(answered.delays) == len(door.kept) == 300
    assert answered.sent_away == 5


def test_a_refusal_ends_the_drive(driver):
    """It would be the same for ever."""
    door = Door(0, 0, 0, 0, code=grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(LoadTestFailed, match="permission_denied"):
        driver(door).drive(uploads(8, 0.001), "part")


def test_waiting_counts_from_when_an_upload_was_due(driver, monkeypatch):
    """The uploads behind one that is held up have waited too."""
    door = Door()
    keep = door._keep

    def slow(upload):
        if upload.item_id == "u0":
            time.sleep(0.3)
        return keep(upload)

    monkeypatch.setattr(door, "_keep", slow)
    monkeypatch.setattr(drive, "STREAMS", 1)
    answered = driver(door).drive(uploads(10, 0.01), "part")
    for due, delay in answered.delays:
        assert delay >= 0.3 - due
