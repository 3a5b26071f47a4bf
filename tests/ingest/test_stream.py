"""The streaming scan, with a real upload log and a real verification service."""

from __future__ import annotations

import csv
import datetime as dt
import errno
import shutil
import time
from pathlib import Path

import pytest
from support import streams
from support import world as worlds
from support.streams import picture, upload

from matchers.indicators import build as building
from pipeline import emit, matching, scan
from pipeline.emit import Emitter
from pipeline.errors import SandboxLost, VerificationRefused
from pipeline.ingest import stream, troubles
from pipeline.ingest.stream_metrics import Meters
from pipeline.sandbox import Sandbox

LISTED = ("cat", "coffee", "pagoda")
OTHER = ("fig", "heron", "dogs", "drum", "osprey")
PHOTO = worlds.PHOTOS / "cat.jpg"


def mixture() -> list[dict]:
    """Uploads of every outcome, some with their bytes and some by reference."""
    found = [upload(f"other-{name}", picture(name)) for name in OTHER]
    found += [upload(f"copy-of-{name}", picture(name)) for name in LISTED]
    found += [
        upload("by-reference", uri=str(worlds.PHOTOS / "cat.jpg")),
        upload("not-there", uri="/nowhere/at/all.jpg"),
        upload("half", picture("cat")[:2000]),
        upload("words", b"no picture"),
        upload("empty", b""),
        upload("encrypted", encryption="e2ee"),
        upload("kept-shut", skip_reason="outside_period"),
        upload("elsewhere", part="private-messages"),
    ]
    return found


EXPECTED = {
    "rows": 16,
    "clear": 5,
    "candidate": 4,
    "skipped": {"e2ee": 1, "outside_period": 1, "part_not_covered": 1},
    "failed": {
        "read: not_found": 1,
        "decode: truncated": 1,
        "decode: unrecognised_format": 1,
        "decode: empty": 1,
    },
}


def counts(tally) -> dict:
    """In the shape of `EXPECTED`."""
    return {name: tally.to_json()[name] for name in EXPECTED}


def test_every_upload_ends_as_what_it_is(world, verification, tmp_path):
    """Outcomes, failures by name, candidates; and the log is empty and its bytes are gone."""
    streams.fill(tmp_path / "log", mixture())
    meters = Meters()
    tally = streams.drained(streams.settings(world, tmp_path, verification), meters)
    assert counts(tally) == EXPECTED
    found = streams.candidates(world, verification)
    assert set(found) == {*(f"copy-of-{name}" for name in LISTED), "by-reference"}
    assert {payload.set_version for payload in found.values()} == {1}
    assert streams.failures(tmp_path / "log") == [
        ("not-there", "read", "not_found"),
        ("half", "decode", "truncated"),
        ("words", "decode", "unrecognised_format"),
        ("empty", "decode", "empty"),
    ]
    left = b"".join(path.read_bytes() for path in (tmp_path / "log").glob("*.uploads"))
    assert picture("fig")[:64] not in left, "content outlives its outcome"
    assert (
        meters.registry.get_sample_value("sluis_scan_outcomes_total", {"outcome": "candidate"}) == 4
    )
    assert meters.registry.get_sample_value("sluis_log_backlog_uploads") == 0


def test_the_stream_and_the_batch_scan_find_the_same(world, tmp_path):
    """The same items once as hosted files and once as uploads: equal counts, equal candidates."""
    items = [one for one in mixture() if one["item_id"] not in ("not-there", "kept-shut")]
    hosted = tmp_path / "hosted"
    hosted.mkdir()
    columns = ("item_id", "account_id", "kind", "uri", "part", "encryption", "account_class")
    with open(tmp_path / "m.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, "consent"], extrasaction="ignore")
        writer.writeheader()
        for one in items:
            path = hosted / one["item_id"]
            content = one["content"]
            path.write_bytes(PHOTO.read_bytes() if content is None else content)
            writer.writerow({"uri": str(path)} | {k: v for k, v in one.items() if v})
    results = {}
    for way in ("batch", "stream"):
        folder = tmp_path / way
        folder.mkdir()
        with worlds.verification(world, folder / "verification.sqlite3") as address:
            if way == "batch":
                report = world.scan(
                    tmp_path / "m.csv", world.config(address), folder / "run", batch_rows=4
                )
                tally = report["tally"]
            else:
                streams.fill(folder / "log", items)
                wanted = streams.settings(world, folder, address, most_rows=4)
                tally = streams.drained(wanted).to_json()
            found = streams.candidates(world, address)
        results[way] = (
            tally,
            {
                name: (one.set_id, one.indicator_id, one.distance_bits, one.quality, one.view)
                for name, one in found.items()
            },
        )
    assert results["batch"] == results["stream"]
    assert len(results["stream"][1]) == 4


# --- what changes while it runs -------------------------------------------------------------


def until(condition, seconds: float = 30) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def rows_counted(meters: Meters) -> float:
    """Everything that has an outcome."""
    return sum(
        meters.registry.get_sample_value("sluis_scan_outcomes_total", {"outcome": outcome}) or 0
        for outcome in ("clear", "candidate", "skipped", "failed")
    )


@pytest.mark.parametrize("its_file", ["is there", "is gone"])
def test_an_order_that_expires_while_it_runs_closes_everything(
    world, verification, tmp_path, monkeypatch, its_file
):
    """After its last day uploads are skipped unopened, whether or not its file is still there."""
    streams.NOW.append(worlds.clock())
    wanted = streams.settings(
        world, tmp_path, verification, drain=False, config={"clock": streams.movable_clock}
    )
    meters = Meters()
    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        writer.append(streams.rows([upload("before", picture("cat"))]))
        until(lambda: rows_counted(meters) == 1)
        if its_file == "is gone":
            wanted.order_file.unlink()
            until(lambda: meters.registry.get_sample_value("sluis_order_in_force") == 0)
        streams.NOW.append(dt.datetime(2027, 7, 1, tzinfo=dt.UTC))
        monkeypatch.setattr("matchers.scanner.Scanner.examine", lambda *_: pytest.fail("opened"))
        writer.append(streams.rows([upload("after", picture("coffee"))]))
        until(lambda: rows_counted(meters) == 2)
    tally = streams.counted(tmp_path / "log")
    assert (tally.candidate, dict(tally.skipped)) == (1, {"outside_period": 1})
    assert set(streams.candidates(world, verification)) == {"before"}


def test_without_its_order_file_nothing_is_opened_until_it_is_back(
    world, verification, tmp_path, caplog
):
    """Gone: skipped as outside the period. Back: scanned again. Both are said."""
    wanted = streams.settings(world, tmp_path, verification, drain=False)
    meters = Meters()
    order = wanted.order_file.read_text()

    def in_force() -> float | None:
        return meters.registry.get_sample_value("sluis_order_in_force")

    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        until(lambda: in_force() == 1)
        wanted.order_file.unlink()
        until(lambda: in_force() == 0)
        writer.append(streams.rows([upload("unordered", picture("cat"))]))
        until(lambda: rows_counted(meters) == 1)
        wanted.order_file.write_text(order)
        until(lambda: in_force() == 1)
        writer.append(streams.rows([upload("ordered", picture("cat"))]))
        until(lambda: rows_counted(meters) == 2)
    assert set(streams.candidates(world, verification)) == {"ordered"}
    assert streams.counted(tmp_path / "log").skipped == {"outside_period": 1}
    assert sum("nothing is opened" in record.message for record in caplog.records) == 1


def test_a_changed_order_is_taken_over(world, verification, tmp_path):
    """A part that the order no longer covers is no longer opened."""
    wanted = streams.settings(world, tmp_path, verification, drain=False)
    meters = Meters()
    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        writer.append(streams.rows([upload("before", picture("cat"))]))
        until(lambda: rows_counted(meters) == 1)
        values = worlds.order_values()
        values["service"]["parts"] = ["elsewhere"]
        streams.write_order(wanted.order_file, values)
        until(lambda: _skips(writer, meters))
    assert streams.counted(tmp_path / "log").skipped["part_not_covered"] >= 1


def _skips(writer, meters: Meters) -> bool:
    """Whether an upload is skipped by now."""
    before = rows_counted(meters)
    writer.append(streams.rows([upload(f"after-{before}", picture("coffee"))]))
    until(lambda: rows_counted(meters) > before)
    return bool(
        meters.registry.get_sample_value("sluis_scan_outcomes_total", {"outcome": "skipped"})
    )


@pytest.fixture
def versions(world, tmp_path) -> Path:
    """A place of versions of the set `known`; CURRENT names the first."""
    place = tmp_path / "known"
    place.mkdir()
    (place / "one").symlink_to(world.sets["known"])
    point(place, "one")
    return place


def point(place: Path, name: str) -> None:
    """Replace CURRENT whole."""
    (place / "CURRENT.new").write_text(name + "\n")
    (place / "CURRENT.new").replace(place / "CURRENT")


def version_in_use(meters: Meters) -> float | None:
    """Of the set `known`."""
    return meters.registry.get_sample_value("sluis_indicator_set_version", {"set_id": "known"})


def next_version(world, tmp_path: Path, name: str, *listed: str, **changes) -> Path:
    """Version 2 of `known`, of other photographs: what is not in it is withdrawn."""
    pictures = tmp_path / f"pictures-of-{name}"
    pictures.mkdir()
    for one in listed:
        (pictures / f"{one}.jpg").write_bytes((worlds.PHOTOS / f"{one}.jpg").read_bytes())
    data, _ = building.from_images(pictures, 50)
    return world.add_set(name, "known", data, previous="known", **changes)


def test_a_new_version_of_a_set_is_taken_over_while_it_runs(
    world, verification, tmp_path, versions
):
    """What is new in it is found, what is withdrawn no more, and each hit names its version."""
    (versions / "two").symlink_to(next_version(world, tmp_path, "known-2", "cat", "heron"))
    wanted = streams.settings(world, tmp_path, verification, versions, drain=False)
    meters = Meters()
    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        names = ("cat", "coffee", "heron")
        writer.append(streams.rows([upload(f"1-{name}", picture(name)) for name in names]))
        until(lambda: rows_counted(meters) == 3)
        point(versions, "two")
        until(lambda: version_in_use(meters) == 2)
        writer.append(streams.rows([upload(f"2-{name}", picture(name)) for name in names]))
        until(lambda: rows_counted(meters) == 6)
    found = streams.candidates(world, verification)
    assert {name: payload.set_version for name, payload in found.items()} == {
        "1-cat": 1, "1-coffee": 1, "2-cat": 2, "2-heron": 2,
    }  # fmt: skip


def test_a_bad_new_version_is_refused_and_the_old_one_holds_on(
    world, verification, tmp_path, versions, caplog
):
    """Altered, expired, of another set, no folder at all: said once each; a good one then passes."""
    altered = shutil.copytree(
        next_version(world, tmp_path, "known-altered", "cat"), versions / "altered"
    )
    data = next(path for path in altered.iterdir() if path.suffix == ".arrow")
    data.write_bytes(data.read_bytes()[:-1] + b"\0")
    expired = {"not_after": dt.date(2026, 3, 1), "version": 2}
    (versions / "expired").symlink_to(
        next_version(world, tmp_path, "known-expired", "cat", **expired)
    )
    other = building.from_images(world.folder / "listed", 50)[0]
    (versions / "other").symlink_to(world.add_set("exact", "known", other))
    (versions / "good").symlink_to(next_version(world, tmp_path, "known-good", "cat", "fig"))
    wanted = streams.settings(world, tmp_path, verification, versions, drain=False)
    meters = Meters()

    def refusals() -> int:
        return sum("is refused" in record.message for record in caplog.records)

    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        until(lambda: version_in_use(meters) == 1)
        for number, name in enumerate(("altered", "expired", "other", "nothing", "../good"), 1):
            point(versions, name)
            until(lambda wanted=number: refusals() == wanted)
        time.sleep(0.3)
        assert refusals() == 5, "a refusal is said once"
        writer.append(streams.rows([upload("meanwhile", picture("coffee"))]))
        until(lambda: rows_counted(meters) == 1)
        point(versions, "good")
        until(lambda: version_in_use(meters) == 2)
        point(versions, "one")
        until(lambda: refusals() == 6)  # a rollback
        assert version_in_use(meters) == 2
    found = streams.candidates(world, verification)
    assert {name: payload.set_version for name, payload in found.items()} == {"meanwhile": 1}


# --- when something does not work -----------------------------------------------------------


def test_while_verification_is_away_uploads_wait_and_none_is_lost(
    world, tmp_path, caplog, monkeypatch
):
    """The log keeps them, memory holds one batch, it is said once, and all goes on afterwards."""
    monkeypatch.setattr(emit, "_SERVICE_CONFIG", "{}")  # no retries within a call
    monkeypatch.setattr(emit, "_RECONNECT_SECONDS", 1)
    monkeypatch.setattr(troubles, "MOST_PAUSE_SECONDS", 0.5)
    port = streams.free_port()
    wanted = streams.settings(world, tmp_path, f"127.0.0.1:{port}", drain=False, most_rows=4)
    meters = Meters()
    store = tmp_path / "verification.sqlite3"
    items = [upload(f"{n}-{name}", picture(name)) for n in range(4) for name in LISTED]

    def is_up() -> float | None:
        return meters.registry.get_sample_value("sluis_verification_up")

    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        until(lambda: "none is lost" in caplog.text)
        writer.append(streams.rows(items[:6]))
        with worlds.verification(world, store, f"127.0.0.1:{port}"):
            until(lambda: rows_counted(meters) == 6)
            assert is_up() == 1
        writer.append(streams.rows(items[6:]))
        until(lambda: is_up() == 0)
        assert rows_counted(meters) == 6
        with worlds.verification(world, store, f"127.0.0.1:{port}") as address:
            until(lambda: rows_counted(meters) == 12)
            assert len(streams.candidates(world, address)) == 12
    assert counts(streams.counted(tmp_path / "log"))["candidate"] == 12
    assert caplog.text.count("none is lost") == 2


def test_an_upload_that_the_scan_fails_on_is_given_up_by_name_and_the_rest_goes_on(
    world, verification, tmp_path, monkeypatch
):
    """A defect of ours on one upload: its batch is tried again, then item by item."""
    really = matching._seal

    def defective(row, *rest):
        if row["item_id"] == "poison":
            raise ZeroDivisionError("a defect")
        return really(row, *rest)

    monkeypatch.setattr(matching, "_seal", defective)
    monkeypatch.setattr(troubles, "LEAST_PAUSE_SECONDS", 0.01)
    items = [upload(f"a-{name}", picture(name)) for name in LISTED]
    items += [upload("poison", picture("cat")), upload("b-fig", picture("fig"))]
    streams.fill(tmp_path / "log", items)
    tally = streams.drained(streams.settings(world, tmp_path, verification))
    assert (tally.rows, tally.clear, tally.candidate) == (5, 1, 3)
    assert streams.failures(tmp_path / "log") == [("poison", "scan", "gave_up")]


def test_what_verification_refuses_after_all_waits_too(
    world, verification, tmp_path, monkeypatch, caplog
):
    """Mid-stream a refusal is no reason to lose anything: it is tried until it passes."""
    monkeypatch.setattr(troubles, "LEAST_PAUSE_SECONDS", 0.05)
    really, refused = Emitter.send, []

    def refusing(self: Emitter, candidates: list) -> list:
        if len(refused) < 2:
            refused.append(len(candidates))
            raise VerificationRefused("said no")
        return really(self, candidates)

    monkeypatch.setattr(Emitter, "send", refusing)
    streams.fill(tmp_path / "log", [upload("one", picture("cat"))])
    tally = streams.drained(streams.settings(world, tmp_path, verification))
    assert (len(refused), tally.candidate) == (2, 1)
    assert caplog.text.count("does not take this scan's candidates") == 1


def test_a_full_disk_is_no_fault_of_an_upload(world, verification, tmp_path, monkeypatch, caplog):
    """However often the outcome cannot be written, its upload is not given up for it."""
    really, failed = scan.emit, []

    def emit_to_a_full_disk(batch, emitter):
        if len(failed) < 5:
            failed.append(batch.name)
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(batch, emitter)

    monkeypatch.setattr(scan, "emit", emit_to_a_full_disk)
    monkeypatch.setattr(troubles, "LEAST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(troubles, "MOST_PAUSE_SECONDS", 0.05)
    streams.fill(tmp_path / "log", [upload("one", picture("cat"))])
    tally = streams.drained(streams.settings(world, tmp_path, verification))
    assert (len(failed), tally.candidate, tally.failed_total) == (5, 1, 0)
    assert caplog.text.count("the disk fails or is full") == 1


def test_decoders_that_cannot_be_started_are_no_fault_of_an_upload(
    world, verification, tmp_path, monkeypatch, caplog
):
    """A machine that is short of memory for a while loses nothing, and nothing is given up."""
    really, failed = Sandbox.examine, []

    def examine_without_room(self, blob, wanted):
        if len(failed) < 5:
            failed.append(1)
            raise SandboxLost("no more processes")
        return really(self, blob, wanted)

    monkeypatch.setattr(Sandbox, "examine", examine_without_room)
    monkeypatch.setattr(troubles, "LEAST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(troubles, "MOST_PAUSE_SECONDS", 0.05)
    streams.fill(tmp_path / "log", [upload("one", picture("cat"))])
    tally = streams.drained(streams.settings(world, tmp_path, verification))
    assert (len(failed), tally.candidate, tally.failed_total) == (5, 1, 0)
    assert caplog.text.count("cannot be started just now") == 1


def test_what_failed_just_after_its_outcome_was_there_is_not_scanned_again(
    world, verification, tmp_path, monkeypatch
):
    """The outcome on disk counts, not whether the engine came to say so."""
    really, calls = Meters.batch, []

    def batch(self, *arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise ZeroDivisionError("a defect")
        really(self, *arguments)

    monkeypatch.setattr(Meters, "batch", batch)
    items = [upload(name, picture(name)) for name in LISTED]
    streams.fill(tmp_path / "log", items)
    tally = streams.drained(streams.settings(world, tmp_path, verification, most_rows=2))
    assert (tally.rows, tally.candidate, tally.duplicates) == (3, 3, 0)
    assert [len(arguments[0].rows) for arguments in calls] == [2, 1]


def test_lost_uploads_of_a_damaged_log_are_counted_as_failed(world, verification, tmp_path):
    """Every acknowledged upload has an outcome, also the one that no byte is left of."""
    with streams.log(tmp_path / "log") as writer:
        for name in LISTED:
            writer.append(streams.rows([upload(name, picture(name))]))
    segment = next(iter(sorted((tmp_path / "log").glob("*.uploads"))))
    whole = segment.read_bytes()
    at = whole.index(picture("coffee"))
    segment.write_bytes(whole[: at + 100] + b"damage" + whole[at + 106 :])
    tally = streams.drained(streams.settings(world, tmp_path, verification))
    assert (tally.rows, tally.candidate, dict(tally.failed)) == (3, 2, {"log: damaged": 1})


# --- size, memory ---------------------------------------------------------------------------


def test_batches_are_as_large_as_what_waits(world, verification, tmp_path):
    """A backlog is taken at once, within the bound; single uploads are not kept waiting for more."""
    streams.fill(tmp_path / "log", [upload(f"{n}", b"no picture") for n in range(200)])
    meters = Meters()
    wanted = streams.settings(world, tmp_path, verification, drain=False, most_rows=64)

    def batches() -> float | None:
        return meters.registry.get_sample_value("sluis_scan_batches_total")

    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        until(lambda: rows_counted(meters) == 200)
        assert batches() == 4  # 64, 64, 64, 8
        for n in range(3):
            writer.append(streams.rows([upload(f"single-{n}", b"no picture")]))
            until(lambda n=n: rows_counted(meters) == 201 + n)
        assert batches() == 7


def test_memory_is_flat_over_some_hundred_batches(world, verification, tmp_path, monkeypatch):
    """Runs of the engine follow one another; what Beam keeps of a bundle goes with its run."""
    monkeypatch.setattr(stream, "RUN_BUNDLES", 40)
    meters = Meters()
    wanted = streams.settings(world, tmp_path, verification, drain=False, most_rows=1)
    resident = []
    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        for round_number in range(4):
            names = [f"{round_number}-{n}" for n in range(60)]
            writer.append(streams.rows([upload(name, b"no picture") for name in names]))
            until(lambda done=60 * (round_number + 1): rows_counted(meters) == done, 120)
            resident.append(streams.resident_bytes())
    assert resident[-1] - resident[0] < 30 << 20
    assert streams.counted(tmp_path / "log").failed_total == 240
    assert not list((tmp_path / "log" / "accounts" / "outcomes").iterdir())
