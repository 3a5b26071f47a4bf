"""`sluis loadtest` with real processes: nothing is lost, and what is planted is found."""

from __future__ import annotations

import json

from pipeline.loadtest import mixture, run
from pipeline.loadtest.edits import UNEDITED


def test_a_load_test_needs_nothing_loses_nothing_and_finds_what_is_planted(
    sluis, tmp_path, monkeypatch
):
    """Few contents and a low rate: it is about the outcome, not about the figures."""
    monkeypatch.setattr(mixture, "FRESH", 8)
    monkeypatch.setattr(mixture, "_SIDES", ((480, 360, 0.5), (640, 480, 0.5)))
    monkeypatch.setitem(mixture.SHARES, "planted", 0.26)
    monkeypatch.setitem(mixture.SHARES, "fresh", 0.54)
    monkeypatch.setattr(run, "_WARM_UP_SECONDS", 1.0)
    done = sluis("loadtest", "--rate", 10, "--seconds", 6, "--report", "out", "--keep", "made")
    assert done.status == 0, done.err
    read = json.loads((tmp_path / "out" / "loadtest.json").read_text(encoding="utf-8"))
    measured = read["measured"]
    assert measured["losses"]["sent"] == measured["losses"]["accounted"] > 20
    unedited = measured["recall"][UNEDITED]
    assert unedited["planted"] == unedited["found"] > 0
    recompressed = measured["recall"]["recompressed"]
    assert recompressed["planted"] == recompressed["found"] > 0
    assert measured["unexpected"] == 0
    assert measured["to_candidate"]["count"] == sum(
        one["found"] for one in measured["recall"].values()
    )
    assert set(measured["cores"]) >= {"verification", "front door", "scan", "its decoders"}
    assert (tmp_path / "made" / "set" / "manifest.json").exists()
    assert (tmp_path / "out" / "loadtest.html").exists()


def test_running_services_need_the_pictures_of_their_set(sluis):
    """Without them nothing is sent."""
    done = sluis("loadtest", "--door", "127.0.0.1:1")
    assert done.status == 2
    assert "--planted" in done.err


def test_a_folder_without_pictures_is_refused(sluis, tmp_path):
    """Before anything is sent."""
    (tmp_path / "planted").mkdir()
    done = sluis("loadtest", "--door", "127.0.0.1:1", "--planted", "planted")
    assert done.status == 2
    assert "holds no picture" in done.err
    (tmp_path / "planted" / "notes.txt").write_text("no picture")
    done = sluis("loadtest", "--door", "127.0.0.1:1", "--planted", "planted")
    assert done.status == 2
    assert "notes.txt is no picture" in done.err
