"""Sending to the front door with real processes: killed again and again, nothing lost or twice."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import doors
from support import world as worlds
from support.doors import drain, item_ids

from pipeline.errors import RunRefused, VerificationRefused, VerificationUnreachable
from pipeline.ingest import client
from pipeline.ingest.journal import Journal
from pipeline.sources import Declared

DECLARED = Declared(part="public-gallery", consent="given")


def uploads(folder: Path, count: int, size: int = 2_000) -> Path:
    """A directory of files that differ."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04d}.jpg").write_bytes(doors.content(str(number), size))
    return folder


def manifest(path: Path, *rows: dict) -> Path:
    """A manifest in JSON lines; what a row does not say is as the order covers it."""
    usual = {"part": "public-gallery", "encryption": "none", "account_class": "ordinary"}
    path.write_text("".join(json.dumps(usual | row) + "\n" for row in rows))
    return path


def send(world: worlds.World, address: str, journal: Journal, **options):
    """Send, and close the journal."""
    try:
        settings = {"listener": lambda _sent: None, "patience_seconds": 60} | options
        return client.send(journal, address, world.keys / "uploader", **settings)
    finally:
        journal.close()


@pytest.fixture
def fixed_address() -> str:
    """An address for a service that comes and goes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_directory_is_sent_with_its_bytes_and_the_command_says_how_it_ended(
    world, tmp_path, sluis
):
    """`sluis ingest send` ends with counts; the same command again sends nothing."""
    source = uploads(tmp_path / "source", 150)
    (source / "notes.txt").write_text("a text is never opened")
    with doors.running(world, tmp_path / "door") as address:
        command = (
            "ingest", "send", source, "--door", address, "--journal", "sent", "--keys",
            world.keys / "uploader", "--part", "public-gallery", "--consent", "given",
        )  # fmt: skip
        done = sluis(*command)
        assert done.status == 0, done.err
        assert re.search(r"accepted +150\n", done.out)
        assert "media_out_of_scope: 1" in done.out
        again = sluis(*command)
        assert again.status == 0
        assert "is complete" in again.err
    taken = drain(tmp_path / "door" / "log")
    assert sorted(item_ids(taken)) == sorted(path.name for path in source.iterdir())
    first = taken[0].batch.to_pylist()[0]
    assert first["content"] == (source / first["item_id"]).read_bytes()
    assert not (tmp_path / "sent" / "items.parquet").exists()


def test_what_a_client_cannot_read_or_should_not_goes_by_reference(world, tmp_path):
    """URLs, object stores, missing files: the scan accounts for them."""
    (tmp_path / "here.jpg").write_bytes(b"bytes")
    source = manifest(
        tmp_path / "items.jsonl",
        {"item_id": "here", "uri": "here.jpg", "kind": "image"},
        {"item_id": "missing", "uri": "missing.jpg", "kind": "image", "user_notice": "yes"},
        {"item_id": "link", "url": "https://images.example/a", "kind": "url"},
        {"item_id": "unknown", "uri": "here.jpg", "encryption": "unknown"},
    )
    with doors.running(world, tmp_path / "door", "known", "urls") as address:
        sent = send(world, address, Journal(tmp_path / "sent", source, None))
        assert (sent.accepted, sent.skipped) == (3, {"encryption_unknown": 1})
        by_reference = Journal(tmp_path / "again", source, None)
        assert send(world, address, by_reference, by_reference=True).accepted == 1
    rows = [row for one in drain(tmp_path / "door" / "log") for row in one.batch.to_pylist()]
    missing = str(tmp_path / "missing.jpg")
    assert [(row["item_id"], row["content"], row["uri"]) for row in rows] == [
        ("here", b"bytes", None),
        ("missing", None, missing),
        ("link", None, None),
        ("unknown", None, None),
        ("here", None, str(tmp_path / "here.jpg")),
    ]
    assert rows[1]["user_notice"] == "yes"


def test_a_large_file_goes_by_reference(world, tmp_path, monkeypatch):
    """A video may have more bytes than are sent: the scan reads it where it is."""
    monkeypatch.setattr("pipeline.rpc.uploads.MOST_CONTENT_BYTES", 1000)
    source = uploads(tmp_path / "source", 1, 1001)
    with doors.running(world, tmp_path / "door") as address:
        send(world, address, Journal(tmp_path / "sent", source, DECLARED))
    (taken,) = drain(tmp_path / "door" / "log")
    row = taken.batch.to_pylist()[0]
    assert (row["content"], row["uri"]) == (None, str(source / "0000.jpg"))


def test_refused_rows_are_listed_and_the_command_ends_with_a_status_of_its_own(
    world, tmp_path, sluis
):
    """By row and reason, in a file of the journal."""
    source = manifest(
        tmp_path / "items.jsonl",
        {"item_id": "short", "url": "https://images.example/a", "kind": "url"},
        {"item_id": "long", "url": "https://images.example/" + 70_000 * "a", "kind": "url"},
    )
    with doors.running(world, tmp_path / "door") as address:
        done = sluis(
            "ingest", "send", source, "--door", address, "--journal", "sent", "--keys",
            world.keys / "uploader",
        )  # fmt: skip
    assert done.status == 4
    assert "1 item refused" in done.err
    assert (tmp_path / "sent" / "refused.csv").read_text().splitlines() == [
        "row,reason",
        "2,malformed: url",
    ]


def test_a_full_log_is_waited_for_and_then_all_is_sent(world, tmp_path, monkeypatch, caplog):
    """A scan that is slow holds the client back; nothing is lost when it catches up."""
    monkeypatch.setattr("pipeline.ingest.door._FULL_SECONDS", 0.1)
    monkeypatch.setattr(client, "BATCH_BYTES", 100_000)
    source = uploads(tmp_path / "source", 40, 30_000)
    names: list[str] = []
    stop = threading.Event()

    def consume() -> None:
        while not stop.wait(0.2):
            names.extend(item_ids(drain(tmp_path / "door" / "log", advance=True)))

    with doors.running(world, tmp_path / "door", quota_bytes=500_000) as address:
        scanning = threading.Thread(target=consume)
        scanning.start()
        sent = send(world, address, Journal(tmp_path / "sent", source, DECLARED))
        stop.set()
        scanning.join()
    names += item_ids(drain(tmp_path / "door" / "log"))
    assert "uploads are sent away (log_full)" in caplog.text
    assert sent.accepted + sent.repeated == 40
    assert sorted(names) == sorted(path.name for path in source.iterdir())


def test_a_journal_of_another_source_is_refused(world, tmp_path):
    """A changed manifest would make row numbers mean other rows."""
    source = manifest(tmp_path / "items.jsonl", {"item_id": "a", "uri": "a.jpg"})
    Journal(tmp_path / "sent", source, None).close()
    Journal(tmp_path / "sent", source, None).close()
    manifest(source, {"item_id": "b", "uri": "b.jpg"})
    with pytest.raises(RunRefused, match="has changed since"):
        Journal(tmp_path / "sent", source, None)
    with pytest.raises(RunRefused, match="holds something else"):
        Journal(tmp_path, source, None)


def test_a_torn_line_of_the_journal_is_sent_again_and_counted_once(world, tmp_path):
    """A crash while writing it leaves the lines before."""
    source = uploads(tmp_path / "source", 100)
    with doors.running(world, tmp_path / "door") as address:
        send(world, address, Journal(tmp_path / "sent", source, DECLARED))
        lines = tmp_path / "sent" / "answered.jsonl"
        whole = lines.read_bytes().splitlines(keepends=True)
        lines.write_bytes(b"".join(whole[:-1]) + whole[-1][:7])
        Journal(tmp_path / "fresh", source, DECLARED).close()  # its snapshot, to go on with
        (tmp_path / "fresh" / "items.parquet").rename(tmp_path / "sent" / "items.parquet")
        sent = send(world, address, Journal(tmp_path / "sent", source, DECLARED))
    assert sent.rows == 100
    assert sent.repeated == 36
    assert len(item_ids(drain(tmp_path / "door" / "log"))) == 100


def test_a_door_that_is_not_there_or_not_ones_own_is_said_clearly(world, tmp_path, fixed_address):
    """What to look after, and that the same command goes on."""
    source = uploads(tmp_path / "source", 1)
    with pytest.raises(VerificationUnreachable, match="the same command goes on"):
        send(world, fixed_address, Journal(tmp_path / "a", source, DECLARED), patience_seconds=0.0)
    with doors.running(world, tmp_path / "door") as address:
        journal = Journal(tmp_path / "b", source, DECLARED)
        with pytest.raises(VerificationRefused, match="permission_denied"):
            client.send(journal, address, world.keys / "provider", listener=lambda _sent: None)
        journal.close()


# --- real processes -------------------------------------------------------------------------


def test_a_door_killed_again_and_again_under_load_loses_nothing_and_keeps_nothing_twice(
    world, tmp_path, fixed_address
):
    """At random moments (kill -9): what was acknowledged is there once, the client sends the rest."""
    source = uploads(tmp_path / "source", 1_500, 6_000)
    expected = sorted(path.name for path in source.iterdir())
    sent = subprocess.Popen(
        [
            sys.executable, "-m", "pipeline.cli", "ingest", "send", str(source), "--door",
            fixed_address, "--journal", str(tmp_path / "sent"), "--keys",
            str(world.keys / "uploader"), "--part", "public-gallery", "--patience-seconds", "60",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=worlds.REPOSITORY,
    )  # fmt: skip
    chance = random.Random(6)
    acknowledged: list[int] = []
    kills = 0
    while sent.poll() is None and kills < 3:
        door = doors.start(world, tmp_path, address=fixed_address)
        more_than = _answered(tmp_path / "sent")
        _until(
            lambda most=more_than: _answered(tmp_path / "sent") > most or sent.poll() is not None
        )
        time.sleep(chance.uniform(0, 0.15))
        door.kill()
        kills += 1
        acknowledged.append(_answered(tmp_path / "sent"))
    door = doors.start(world, tmp_path, address=fixed_address)
    out, err = sent.communicate(timeout=60)
    assert sent.returncode == 0, err
    assert door.stop() == 0
    taken = drain(tmp_path / "log")
    assert sorted(item_ids(taken)) == expected
    assert sum(one.lost_rows for one in taken) == 0
    assert acknowledged == sorted(acknowledged)
    assert kills >= 2, out
    assert acknowledged[0] < 1_500  # it was in the middle of it


def test_a_client_killed_in_the_middle_goes_on_and_nothing_is_twice(world, tmp_path):
    """The journal and the front door's memory of repeats together."""
    source = uploads(tmp_path / "source", 800, 6_000)
    with doors.running(world, tmp_path / "door") as address:
        command = [
            sys.executable, "-m", "pipeline.cli", "ingest", "send", str(source), "--door",
            address, "--journal", str(tmp_path / "sent"), "--keys",
            str(world.keys / "uploader"), "--part", "public-gallery",
            "--consent", "given",
        ]  # fmt: skip
        killed = subprocess.Popen(command, cwd=worlds.REPOSITORY, stderr=subprocess.DEVNULL)
        _until(lambda: _answered(tmp_path / "sent") > 100)
        killed.kill()
        killed.wait()
        sent = send(world, address, Journal(tmp_path / "sent", source, DECLARED))
    assert sent.rows == 800
    names = item_ids(drain(tmp_path / "door" / "log"))
    assert sorted(names) == sorted(path.name for path in source.iterdir())


def test_a_second_door_on_one_log_is_refused_and_the_first_goes_on(world, tmp_path):
    """Two writers would overwrite one another."""
    with (
        doors.running(world, tmp_path) as address,
        doors.service(world, address) as service,
    ):
        with pytest.raises(AssertionError, match="has a writer already"):
            doors.start(world, tmp_path)
        service.SubmitUploads(doors.messages.SubmitUploadsRequest(uploads=[doors.upload("a")]))
    assert item_ids(drain(tmp_path / "log")) == ["a"]


def _answered(journal: Path) -> int:
    """Rows whose answers the client has noted."""
    try:
        lines = (journal / "answered.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return 0
    return sum(json.loads(line)["rows"] for line in lines if line.endswith("\n"))


def _until(condition) -> None:
    for _ in range(6_000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come")
