"""The streaming scan, with a real upload log and a real verification service."""

from __future__ import annotations

import csv
import datetime as dt
import io
import threading
import time
from pathlib import Path

import pytest
from support import streams
from support import world as worlds
from support.streams import picture, upload

from pipeline import scan
from pipeline.emit import Emitter
from pipeline.errors import VerificationUnreachable
from pipeline.ingest import stream
from pipeline.ingest.stream_metrics import Meters

LISTED = ("cat", "coffee", "pagoda")
OTHER = ("fig", "heron", "dogs", "drum", "osprey")


def mixture() -> list[dict]:
    """Uploads of every outcome, some with their bytes and some by reference."""
    found = [upload(f"other-{name}", picture(name)) for name in OTHER]
    found += [upload(f"copy-of-{name}", picture(name)) for name in LISTED]
    found += [
        upload("by-reference", uri=str(worlds.PHOTOS / "cat.jpg")),
        upload("not-there", uri="/nowhere/at/all.jpg"),
        upload("half", picture("cat")[:2000]),
        upload("words", b"no picture"),
        upload("encrypted", encryption="e2ee"),
        upload("kept-shut", skip_reason="outside_period"),
        upload("elsewhere", part="private-messages"),
    ]
    return found


EXPECTED = {
    "rows": 15,
    "clear": 5,
    "candidate": 4,
    "skipped": {"e2ee": 1, "outside_period": 1, "part_not_covered": 1},
    "failed": {"read: not_found": 1, "decode: truncated": 1, "decode: unrecognised_format": 1},
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
    ]
    left = b"".join(path.read_bytes() for path in (tmp_path / "log").glob("*.uploads"))
    assert picture("fig")[:64] not in left, "content outlives its outcome"
    assert meters.registry.get_sample_value(
        "sluis_scan_outcomes_total", {"outcome": "candidate"}
    ) == 4
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
            path.write_bytes(one["content"] or (worlds.PHOTOS / "cat.jpg").read_bytes())
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
        results[way] = tally, {
            name: (one.set_id, one.indicator_id, one.distance_bits, one.quality, one.view)
            for name, one in found.items()
        }
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


def test_an_order_that_expires_while_it_runs_closes_everything(
    world, verification, tmp_path, monkeypatch
):
    """From its last day on uploads are skipped unopened, also those that were waiting."""
    streams.NOW.append(worlds.clock())
    wanted = streams.settings(
        world, tmp_path, verification, drain=False, config={"clock": streams.movable_clock}
    )
    meters = Meters()
    with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
        writer.append(streams.rows([upload("before", picture("cat"))]))
        until(lambda: rows_counted(meters) == 1)
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
