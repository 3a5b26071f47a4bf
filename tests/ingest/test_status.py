"""What a person is shown: gathered from running processes, and reckoned right."""

from __future__ import annotations

import datetime as dt
import io
import json
import time

import pytest
from rich.console import Console
from support import streams
from support.streams import picture, upload

from pipeline.cli import status as shown
from pipeline.ingest import metrics, status
from pipeline.ingest.metrics import DoorMetrics
from pipeline.ingest.stream_metrics import Meters
from pipeline.items import Tally


def text_of(found: status.Status, before: status.Status | None = None) -> str:
    """As on a wide terminal, without colours."""
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(shown.view(found, before))
    return console.export_text()


def test_a_status_shows_log_scan_sets_and_verification(world, verification, tmp_path):
    """From a scan's metrics and the log's files; with counts that add up."""
    meters, door = Meters(), DoorMetrics()
    addresses = [f"127.0.0.1:{streams.free_port()}" for _ in range(2)]
    stops = [
        metrics.serve(registry, address)
        for registry, address in zip((meters.registry, door.registry), addresses, strict=True)
    ]
    streams.NOW.append(dt.datetime.now(dt.UTC))
    wanted = streams.settings(
        world, tmp_path, verification, drain=False, config={"clock": streams.movable_clock}
    )
    door.uploads.labels("accepted").inc(2)
    try:
        with streams.log(tmp_path / "log") as writer, streams.scanning(wanted, meters):
            writer.append(streams.rows([upload("a", picture("cat")), upload("b", picture("fig"))]))
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                found = status.gather(
                    addresses[1], addresses[0], tmp_path / "log",
                    (verification, world.keys / "provider"),
                )  # fmt: skip
                if found.today and found.today.rows == 2 and found.log.waiting == 0:
                    break
    finally:
        for stop in stops:
            stop()
    assert (found.today.clear, found.today.candidate) == (1, 1)
    assert found.scan.outcomes == {"clear": 1, "candidate": 1, "skipped": 0, "failed": 0}
    assert found.scan.sets["known"][0] == 1
    assert found.scan.verification_up
    assert found.verification == "up"
    assert found.door.answered == {"accepted": 2}
    assert json.loads(json.dumps(found.to_json()))["today"]["rows"] == 2
    text = text_of(found)
    for part in ("0 uploads wait", "known version 1", "2 in = 1 clear + 1 candidate", "2 accepted"):
        assert part in text


def test_what_does_not_answer_is_said_and_so_is_what_to_look_after(tmp_path):
    """Nothing runs, and two uploads wait."""
    streams.fill(tmp_path / "log", [upload("a", b"x"), upload("b", b"y")])
    nobody = f"127.0.0.1:{streams.free_port()}"
    found = status.gather(nobody, nobody, tmp_path / "log", None)
    assert (found.door, found.scan, found.log.waiting) == (None, None, 2)
    assert found.today == Tally()
    text = text_of(found)
    assert "does not answer" in text
    assert "2 uploads wait, and no scan answers" in text


def test_quantiles_lie_within_their_bucket():
    """Linear within the bucket, as Prometheus does; nothing without values."""
    samples = {
        ("h_bucket", (("le", "0.1"),)): 50.0,
        ("h_bucket", (("le", "0.2"),)): 90.0,
        ("h_bucket", (("le", "+Inf"),)): 100.0,
    }
    assert status.quantile(samples, "h", 0.5) == pytest.approx(0.1)
    assert status.quantile(samples, "h", 0.7) == pytest.approx(0.15)
    assert status.quantile(samples, "h", 0.99) == pytest.approx(0.2)
    assert status.quantile({}, "h", 0.5) is None
