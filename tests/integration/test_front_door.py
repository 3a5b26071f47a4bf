"""The front door over mutual TLS: outcomes, order of answers, room, a changing order, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import shutil
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from support import doors
from support import world as worlds
from support.doors import drain, item_ids, upload

from pipeline.ingest import door as front_door
from pipeline.ingest import gatekeeper, room
from pipeline.ingest.upload_log import UploadLogReader
from pipeline.rpc import retry, streams
from pipeline.rpc.admission import Refused
from pipeline.rpc.server import CannotListen
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages

ACCEPTED = messages.UPLOAD_OUTCOME_ACCEPTED
REPEATED = messages.UPLOAD_OUTCOME_REPEATED
SKIPPED = messages.UPLOAD_OUTCOME_SKIPPED
REFUSED = messages.UPLOAD_OUTCOME_REFUSED
MALFORMED = messages.REFUSE_REASON_MALFORMED


@pytest.fixture
def door(world: worlds.World, tmp_path: Path):
    """A running front door; its address. The log is tmp_path/log."""
    with doors.running(world, tmp_path, "known", "urls") as address:
        yield address


@pytest.fixture
def service(world: worlds.World, door: str):
    """An uploader's connection."""
    with doors.service(world, door) as stub:
        yield stub


def submit(service, *uploads):
    """One batch."""
    return list(service.SubmitUploads(messages.SubmitUploadsRequest(uploads=uploads)).results)


def batch(number: int, *uploads) -> messages.StreamUploadsRequest:
    """One batch of a stream."""
    return messages.StreamUploadsRequest(batch_number=number, uploads=uploads)


def fails(code: grpc.StatusCode, call, *args) -> grpc.RpcError:
    """The error of a call that must fail with this code."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*args)
    assert caught.value.code() == code, caught.value
    return caught.value


def test_an_upload_is_in_the_log_once_it_is_accepted_with_all_it_said(service, tmp_path):
    """By bytes, by reference and a URL; a repeat is known."""
    by_bytes = upload("photo", account_id="someone", user_notified=True)
    by_bytes.uploaded_at.FromJsonString("2026-06-01T10:00:00Z")
    by_reference = upload("far", content=None, uri="s3://bucket/far.jpg")
    address = upload(
        "link", content=None, kind=messages.KIND_URL, url="https://images.example/listed/one.jpg"
    )
    empty = upload("nothing", size=0)
    results = submit(service, by_bytes, by_reference, address, empty)
    assert [one.outcome for one in results] == [ACCEPTED] * 4
    assert [one.outcome for one in submit(service, by_bytes)] == [REPEATED]
    (taken,) = drain(tmp_path / "log")
    rows = taken.batch.to_pylist()
    assert [row["item_id"] for row in rows] == ["photo", "far", "link", "nothing"]
    assert rows[0]["content"] == doors.content("photo")
    assert (rows[0]["account_id"], rows[0]["user_notice"]) == ("someone", "yes")
    assert rows[0]["uploaded_at"].isoformat() == "2026-06-01T10:00:00+00:00"
    assert rows[0]["received_at"] == worlds.clock()
    assert (rows[1]["uri"], rows[1]["content"]) == ("s3://bucket/far.jpg", None)
    assert rows[2]["url"] == "https://images.example/listed/one.jpg"
    assert rows[3]["content"] == b""
    assert all(row["skip_reason"] is None for row in rows)


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("state_account", {"account_class": messages.ACCOUNT_CLASS_STATE}),
        ("account_class_unknown", {"account_class": messages.ACCOUNT_CLASS_UNSPECIFIED}),
        ("e2ee", {"encryption": messages.ENCRYPTION_END_TO_END}),
        ("encryption_unknown", {"encryption": None}),
        ("part_not_covered", {"part": "private-mail"}),
        ("media_out_of_scope", {"kind": messages.KIND_OTHER}),
    ],
)
def test_what_the_order_does_not_cover_is_accounted_for_and_its_bytes_are_never_written(
    service, tmp_path, reason, changes
):
    """The row is in the log with the gate's reason; no file of the log holds the content."""
    outside = upload("outside", 5_000, **changes)
    results = submit(service, upload("inside"), outside)
    assert [(one.outcome, one.skip_reason) for one in results] == [
        (ACCEPTED, ""),
        (SKIPPED, reason),
    ]
    written = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert doors.content("inside") in written
    assert doors.content("outside", 5_000)[:40] not in written
    (taken,) = drain(tmp_path / "log")
    row = taken.batch.to_pylist()[1]
    assert (row["item_id"], row["skip_reason"]) == ("outside", reason)
    assert (row["content"], row["uri"], row["url"]) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("item_id", {"item_id": ""}),
        ("item_id", {"item_id": "a\nb"}),
        ("item_id", {"item_id": "x" * 1025}),
        ("account_id", {"account_id": "x" * 1025}),
        ("part", {"part": "\x7f"}),
        ("kind", {"kind": 99}),
        ("encryption", {"encryption": 99}),
        ("account_class", {"account_class": 99}),
        ("consent", {"consent": 99}),
        ("content", {"content": None}),
        ("url", {"kind": messages.KIND_URL}),
        ("url", {"content": None, "url": "https://example.org/"}),
        ("url", {"content": None, "kind": messages.KIND_URL, "url": "x" * 70_000}),
        ("uri", {"content": None, "uri": "holiday.jpg"}),
        ("uri", {"content": None, "uri": "/" + "x" * 5000}),
        ("uploaded_at", {"uploaded_at": {"seconds": 2**62}}),
    ],
)
def test_a_malformed_upload_is_refused_by_field_and_stops_no_other(
    service, tmp_path, field, changes
):
    """It is not kept; the one beside it is."""
    results = submit(service, upload("bad", **changes), upload("good"))
    assert (results[0].outcome, results[0].refuse_reason) == (REFUSED, MALFORMED)
    assert results[0].field == field
    assert results[1].outcome == ACCEPTED
    assert item_ids(drain(tmp_path / "log")) == ["good"]


def test_content_beyond_the_limit_is_refused_and_one_at_the_limit_is_not(
    service, tmp_path, monkeypatch
):
    """More is not scanned either."""
    monkeypatch.setattr("pipeline.rpc.uploads.MOST_CONTENT_BYTES", 1000)
    results = submit(service, upload("fits", 1000), upload("long", 1001))
    assert [one.outcome for one in results] == [ACCEPTED, REFUSED]
    assert results[1].refuse_reason == messages.REFUSE_REASON_TOO_MANY_BYTES
    assert item_ids(drain(tmp_path / "log")) == ["fits"]


def test_a_content_of_many_megabytes_passes(service, tmp_path):
    """Longer than gRPC's own limit, and than a segment."""
    assert [one.outcome for one in submit(service, upload("large", 9_000_000))] == [ACCEPTED]
    (taken,) = drain(tmp_path / "log")
    assert taken.batch["content"][0].as_py() == doors.content("large", 9_000_000)


def test_only_uploaders_may_upload_and_only_to_a_front_door(world, door):
    """Another party's certificate is refused, whatever it may do elsewhere."""
    for party in ("provider", "desk", "reviewer-1"):
        with doors.service(world, door, party) as stub:
            fails(grpc.StatusCode.PERMISSION_DENIED, submit, stub, upload("a"))


def test_a_batch_of_too_many_uploads_or_fields_is_refused_before_it_is_parsed(service):
    """Hostile requests make no objects."""
    many = [upload(f"{n}", 1) for n in range(front_door.MOST_UPLOADS + 1)]
    fails(grpc.StatusCode.INVALID_ARGUMENT, submit, service, *many)
    assert len(submit(service, *many[1:])) == front_door.MOST_UPLOADS
    one = messages.Upload(item_id="x").SerializeToString() * 20
    data = bytes([10, len(one)]) + one
    with pytest.raises(Refused, match="fields"):
        front_door.check_submitted(data)
    with pytest.raises(Refused, match="no message"):
        front_door.check_streamed(b"\xff" * 11)


def test_a_streams_answers_come_in_order_whether_or_not_each_is_waited_for(service, tmp_path):
    """First a client that waits for every answer, then one that waits for none."""
    waiting: queue.Queue = queue.Queue()
    answers = service.StreamUploads(iter(waiting.get, None))
    for number in (1, 2, 3):
        waiting.put(batch(number, upload(f"waited-{number}")))
        assert next(answers).batch_number == number
    waiting.put(None)
    assert list(answers) == []
    many = [batch(n, upload(f"{n}-a", 3000), upload(f"{n}-b")) for n in range(1, 101)]
    answers = list(service.StreamUploads(iter(many)))
    assert [one.batch_number for one in answers] == list(range(1, 101))
    assert all(len(one.results) == 2 for one in answers)
    names = item_ids(drain(tmp_path / "log"))
    assert len(names) == len(set(names)) == 203


def test_a_stream_that_does_not_count_up_ends_and_what_was_answered_stays(service, tmp_path):
    """The fault comes after the answers to what was right."""
    answers = service.StreamUploads(iter([batch(1, upload("a")), batch(3, upload("b"))]))
    assert next(answers).results[0].outcome == ACCEPTED
    error = fails(grpc.StatusCode.INVALID_ARGUMENT, next, answers)
    assert "count up by 1" in error.details()
    assert item_ids(drain(tmp_path / "log")) == ["a"]


def test_a_full_log_sends_callers_away_with_a_time_to_come_again_and_then_takes_all(
    world, tmp_path
):
    """A slow consumer: nothing is dropped, nothing is half kept, and room lets everything in."""
    with (
        doors.running(world, tmp_path, quota_bytes=400_000) as address,
        doors.service(world, address) as service,
    ):
        kept = []
        error: grpc.RpcError | None = None
        for number in range(100):
            try:
                submit(service, upload(f"{number}", 50_000))
            except grpc.RpcError as refusal:
                error = refusal
                break
            kept.append(f"{number}")
        assert error is not None
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry.delay_seconds(error) == 5.0
        streamed = service.StreamUploads(iter([batch(1, upload("more", 50_000))]))
        error = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, next, streamed)
        assert retry.delay_seconds(error) == 5.0
        assert str(tmp_path) not in error.details()
        assert item_ids(drain(tmp_path / "log", advance=True)) == kept
        assert submit(service, upload("more", 50_000))[0].outcome == ACCEPTED
    assert item_ids(drain(tmp_path / "log")) == ["more"]


def test_a_busy_door_sends_callers_away_and_says_when_to_come_again(world, tmp_path, monkeypatch):
    """Once no room comes free in time: memory stays bounded."""
    monkeypatch.setattr(room, "PATIENCE_SECONDS", 0.1)

    class Full(room.Room):
        def __init__(self) -> None:
            super().__init__(most_bytes=1000)
            self._total = self._most

    monkeypatch.setattr(front_door, "Room", Full)
    with doors.running(world, tmp_path) as address, doors.service(world, address) as service:
        error = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, submit, service, upload("a"))
        assert retry.delay_seconds(error) == 1.0
        assert "busy" in error.details()
    assert drain(tmp_path / "log") == []


def test_the_order_and_the_sets_are_read_again_when_they_change(world, tmp_path, monkeypatch):
    """A part that is covered no more is skipped from then on, without a new start."""
    monkeypatch.setattr(front_door, "LOOK_SECONDS", 0.02)
    order_file = doors.write_order(tmp_path / "order.yaml")
    with doors.running(world, tmp_path) as address, doors.service(world, address) as service:
        assert submit(service, upload("a"))[0].outcome == ACCEPTED
        values = worlds.order_values()["service"] | {"parts": ["elsewhere"]}
        doors.write_order(order_file, service=values)
        assert _soon(lambda n: submit(service, upload(f"b{n}"))[0].skip_reason) == (
            "part_not_covered"
        )


def test_an_order_that_cannot_be_read_shuts_the_door_until_it_can(world, tmp_path, monkeypatch):
    """Nothing is judged by an order that may be withdrawn; callers keep what they have."""
    monkeypatch.setattr(front_door, "LOOK_SECONDS", 0.02)
    order_file = doors.write_order(tmp_path / "order.yaml")
    with doors.running(world, tmp_path) as address, doors.service(world, address) as service:
        order_file.unlink()

        def attempt(number: int) -> grpc.RpcError | None:
            try:
                submit(service, upload(f"a{number}"))
            except grpc.RpcError as error:
                return error
            return None

        error = _soon(attempt)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert retry.delay_seconds(error) == 2.0
        doors.write_order(order_file)
        assert _soon(lambda n: attempt(n) is None)


def test_a_set_whose_last_day_has_passed_lets_no_content_in(world, tmp_path):
    """Nothing is kept for a scan that has nothing to match it with."""
    later = worlds.clock().replace(year=2027, month=2)
    with (
        doors.running(world, tmp_path, clock=lambda: later) as address,
        doors.service(world, address) as service,
    ):
        assert submit(service, upload("a"))[0].skip_reason == "no_indicators"


def test_a_set_that_was_altered_is_refused_at_the_start(world, tmp_path):
    """As the scan does."""
    copy = tmp_path / "copy"
    shutil.copytree(world.sets["known"], copy)
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace("known", "knowm", 1))
    keeper = lambda folder: gatekeeper.Gatekeeper(  # noqa: E731
        doors.write_order(tmp_path / "order.yaml"), [folder], world.keys / "ingest", worlds.clock
    )
    keeper(world.sets["known"])
    with pytest.raises(Exception, match="manifest"):
        keeper(copy)


def test_a_door_that_stops_answers_what_it_has_read_and_tells_streams_to_come_again(
    world, tmp_path
):
    """An open stream does not hold up the stop, and whatever was answered is in the log."""
    open_stream: queue.Queue = queue.Queue()
    with contextlib.ExitStack() as after, doors.running(world, tmp_path) as address:
        service = after.enter_context(doors.service(world, address))
        answers = service.StreamUploads(iter(open_stream.get, None))
        open_stream.put(batch(1, upload("a")))
        assert next(answers).results[0].outcome == ACCEPTED
        started = time.monotonic()
        after.callback(open_stream.put, None)
        after.callback(lambda: fails(grpc.StatusCode.UNAVAILABLE, next, answers))
    assert time.monotonic() - started < 60
    assert item_ids(drain(tmp_path / "log")) == ["a"]


def test_metrics_count_outcomes_and_name_nobody(world, tmp_path, caplog):
    """What Prometheus reads, and what the log says, holds no item, account, part or content."""
    address = _free_address()
    with (
        doors.running(world, tmp_path, metrics_address=address) as at,
        doors.service(world, at) as service,
    ):
        submit(
            service,
            upload("secret-name", account_id="secret-account"),
            upload("x", part="secret-part"),
            upload("x\n"),
        )
        with pytest.raises(CannotListen, match="metrics"):
            front_door.metrics.serve(front_door.metrics.DoorMetrics().registry, address)
        text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    assert 'sluis_ingest_uploads_total{outcome="accepted"} 1.0' in text
    assert 'sluis_ingest_skipped_total{reason="part_not_covered"} 1.0' in text
    assert 'sluis_ingest_refused_total{reason="malformed"} 1.0' in text
    assert "sluis_ingest_content_bytes_total 100.0" in text
    assert "sluis_ingest_acknowledgement_seconds_count 1.0" in text
    assert "sluis_ingest_in_flight_bytes 0.0" in text
    assert "sluis_upload_log_bytes" in text
    assert "secret" not in text + caplog.text


# --- room and streams -----------------------------------------------------------------------


def test_a_party_that_fills_its_own_room_leaves_some_for_others():
    """One greedy client does not keep the others out."""

    async def work() -> None:
        shared = room.Room(most_bytes=100_000, most_party_bytes=60_000)
        size = await shared.take("greedy", 1, 50_000)
        waiting = asyncio.create_task(shared.take("greedy", 1, 20_000))
        await shared.take("other", 1, 20_000)
        assert not waiting.done()
        shared.give("greedy", size)
        await waiting
        assert shared.held_bytes == 2 * (20_000 + 512)

    asyncio.run(work())


def test_a_batch_larger_than_all_room_goes_by_itself():
    """Nothing that is allowed waits for ever."""

    async def work() -> None:
        shared = room.Room(most_bytes=1_000, most_party_bytes=1_000)
        size = await shared.take("a", 1, 5_000)
        waiting = asyncio.create_task(shared.take("b", 1, 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        shared.give("a", size)
        await waiting

    asyncio.run(work())


def test_a_stream_is_read_only_as_far_ahead_as_its_answers_allow():
    """A client that sends without reading its answers is held back: flow control."""
    read: list[int] = []

    async def requests():
        for number in range(1, 1000):
            read.append(number)
            yield messages.StreamUploadsRequest(batch_number=number)

    async def begin(request):
        async def work() -> int:
            return int(request.batch_number)

        return asyncio.create_task(work())

    async def work() -> None:
        answers = streams.answered(requests(), begin, closing=asyncio.Event(), idle_seconds=60)
        assert await anext(answers) == (1, 1)
        await asyncio.sleep(0.05)
        assert len(read) <= streams.READ_AHEAD + 3
        await answers.aclose()

    asyncio.run(work())


def test_a_stream_whose_answers_nobody_reads_or_that_brings_nothing_ends():
    """Neither holds memory for ever."""

    async def silent():
        await asyncio.sleep(60)
        yield messages.StreamUploadsRequest(batch_number=1)

    async def endless():
        for number in range(1, 1000):
            yield messages.StreamUploadsRequest(batch_number=number)

    async def begin(_request):
        return asyncio.create_task(asyncio.sleep(0))

    async def work() -> None:
        stop = asyncio.Event()
        nothing = streams.answered(silent(), begin, closing=stop, idle_seconds=0.05)
        with pytest.raises(Refused, match="no batch came"):
            await anext(nothing)
        unread = streams.answered(endless(), begin, closing=stop, idle_seconds=0.05)
        await anext(unread)
        await asyncio.sleep(0.2)
        with pytest.raises(Refused, match="answers were not taken"):
            async for _ in unread:
                pass

    asyncio.run(work())


def _soon(attempt):
    """What `attempt(number)` gives once that is something."""
    for number in range(500):
        if result := attempt(number):
            return result
        time.sleep(0.02)
    raise AssertionError("it did not come")


def _free_address() -> str:
    """An address that nobody listens on just now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_reader_beside_a_running_door_sees_what_is_acknowledged(service, tmp_path):
    """Two processes' parts on one folder, at the same time."""
    reader = UploadLogReader(tmp_path / "log")
    for number in range(5):
        submit(service, upload(f"{number}"))
        taken = reader.read(reader.position, 10, 2**20, 10)
        assert item_ids([taken]) == [f"{number}"]
        reader.advance(taken.next)
    assert reader.backlog().rows == 0
    reader.close()
