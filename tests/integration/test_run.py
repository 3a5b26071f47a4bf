"""Whole runs through Beam against a real verification service: outcomes, resumption, refusals."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from support import world as worlds

from matchers.errors import RollbackRefused, SetAltered
from matchers.examine import Part, Wanted
from matchers.indicators import build
from pipeline import keys, read, run, scan, vouchers
from pipeline.emit import Emitter
from pipeline.epoch_keys import EpochKeys
from pipeline.errors import (
    OrderRefused,
    RunInterrupted,
    RunRefused,
    SandboxLost,
    SourceRefused,
    VerificationRefused,
    VerificationUnreachable,
)
from pipeline.rpc.sluis.verification.v1 import candidate_service_pb2, review_service_pb2
from pipeline.sandbox import Sandbox
from pipeline.verification import expiry
from pipeline.verification.store import open_store
from pipeline.vouchers import Context, Policy

LISTED = ("cat", "coffee", "pagoda")
OTHER = ("fig", "heron", "dogs", "drum", "osprey")


def uploads(folder: Path) -> Path:
    """Five other photographs, three listed ones re-encoded, and four files that fail."""
    folder.mkdir()
    for name in OTHER:
        shutil.copy(worlds.PHOTOS / f"{name}.jpg", folder)
    for name in LISTED:
        image = Image.open(worlds.PHOTOS / f"{name}.jpg")
        image.save(folder / f"copy-of-{name}.jpg", quality=40)
    whole = (worlds.PHOTOS / "cat.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "link.jpg").symlink_to(worlds.PHOTOS / "cat.jpg")
    (folder / "notes.txt").write_text("words")
    Image.new("RGB", (90, 90), (9, 9, 9)).save(folder / "plain.png")
    return folder


EXPECTED = {
    "rows": 14,
    "inner": 0,
    "clear": 5,
    "candidate": 3,
    "skipped": {"media_out_of_scope": 1, "quality_too_low": 1},
    "failed": {
        "decode: truncated": 1,
        "decode: unrecognised_format": 1,
        "decode: empty": 1,
        "read: not_a_file": 1,
    },
}


def held(world: worlds.World, address: str) -> dict[str, str]:
    """Every candidate at verification: item (by the vault's key) -> indicator."""
    context = Context(vouchers.order_id(worlds.REFERENCE), 0, 1, Policy().policy_id)
    token_key = keys.token_key(world.keys / "provider")
    found = {}
    with worlds.reviewer(world, address) as reviewer:
        for item in reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED):
            payload = reviewer.open(item.candidate)
            name = vouchers.open_token(
                token_key, "content", context, item.candidate.candidate_id, payload.content_token
            )
            assert name not in found, "one item, two candidates"
            found[name] = payload.indicator_id
    return found


def counts(report: dict) -> dict:
    """What a run counted, in the shape of `EXPECTED`."""
    return {name: report["tally"][name] for name in EXPECTED}


def test_every_item_of_a_directory_ends_as_what_it_is(world, verification, tmp_path):
    """Clear, candidate, skipped and failed, each with its reason, and the failures by name."""
    report = world.scan(uploads(tmp_path / "u"), world.config(verification), tmp_path / "run")
    assert counts(report) == EXPECTED
    assert held(world, verification) == {f"copy-of-{n}.jpg": f"{n}.jpg" for n in LISTED}
    failed = {
        (row["item_id"], row["stage"], row["reason"])
        for row in pq.read_table(tmp_path / "run" / "failed.parquet").to_pylist()
    }
    assert failed == {
        ("half.jpg", "decode", "truncated"),
        ("text.jpg", "decode", "unrecognised_format"),
        ("empty.png", "decode", "empty"),
        ("link.jpg", "read", "not_a_file"),
    }


def test_scanning_twice_gives_the_same_counts_and_adds_no_candidate(world, verification, tmp_path):
    """A second run finds the same, and verification already has it all."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)
    first = world.scan(source, config, tmp_path / "run-1")
    before = held(world, verification)
    second = world.scan(source, config, tmp_path / "run-2")
    assert counts(first) == counts(second) == EXPECTED
    assert (first["tally"]["duplicates"], second["tally"]["duplicates"]) == (0, 3)
    assert held(world, verification) == before


@pytest.mark.parametrize(("chunk_rows", "batch_rows"), [(1, 1), (3, 2), (5, 4), (100, 100)])
def test_the_size_of_chunks_and_batches_changes_no_count(
    world, verification, tmp_path, chunk_rows, batch_rows
):
    """How the work is cut is no part of the result."""
    report = world.scan(
        uploads(tmp_path / "u"), world.config(verification), tmp_path / "run",
        chunk_rows=chunk_rows, batch_rows=batch_rows,
    )  # fmt: skip
    assert counts(report) == EXPECTED
    assert len(held(world, verification)) == 3


def test_a_complete_run_leaves_no_list_of_items_and_is_not_run_again(world, verification, tmp_path):
    """After the end only counts and failures are kept; the same command shows them again."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)
    report = world.scan(source, config, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock", "run.json", "report.json", "failed.parquet",
    }  # fmt: skip
    assert world.scan(source, config, tmp_path / "run") == report


# --- the manifest's rows --------------------------------------------------------------------


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as CSV."""
    columns = list({name: None for row in rows for name in row})
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(item_id: str, **changes: str) -> dict[str, str]:
    """A row of a listed picture inside the order, with changes."""
    usual = {
        "item_id": item_id,
        "account_id": "account-1",
        "kind": "image",
        "uri": str(worlds.PHOTOS / "cat.jpg"),
        "url": "",
        "part": "public-gallery",
        "uploaded_at": "2026-03-01T00:00:00Z",
        "encryption": "none",
        "account_class": "ordinary",
        "consent": "given",
    }
    return usual | changes


def test_nothing_outside_the_order_is_opened(world, verification, tmp_path, monkeypatch):
    """The gate comes before the read: of a listed picture outside the order no byte is read."""
    opened: list[str] = []
    really = read.read_item
    monkeypatch.setattr(read, "read_item", lambda uri: opened.append(uri) or really(uri))
    manifest = write_manifest(
        tmp_path / "m.csv",
        [
            row("covered"),
            row("e2ee", encryption="e2ee"),
            row("unknown", encryption=""),
            row("state", account_class="state"),
            row("class", account_class=""),
            row("part", part="messages"),
            row("late", uploaded_at="2027-12-01T00:00:00Z"),
            row("document", kind="other"),
            row("film", kind="video"),
        ],
    )
    report = world.scan(manifest, world.config(verification), tmp_path / "run")
    assert opened == [str(worlds.PHOTOS / "cat.jpg")]
    assert report["tally"]["candidate"] == 1
    assert report["tally"]["skipped"] == {
        "e2ee": 1,
        "encryption_unknown": 1,
        "state_account": 1,
        "account_class_unknown": 1,
        "part_not_covered": 1,
        "outside_period": 1,
        "media_out_of_scope": 2,
    }


def test_exact_perceptual_and_url_sets_work_together(world, verification, tmp_path):
    """Each item gets the one best hit of all sets, and URLs are matched in canonical form."""
    manifest = write_manifest(
        tmp_path / "m.csv",
        [
            row("perceptual"),
            row("exact", uri=str(worlds.PHOTOS / "clock.jpg")),
            row("clear", uri=str(worlds.PHOTOS / "fig.jpg")),
            row("sniffed", kind="", account_id=""),
            row("url", kind="url", uri="", url="HTTPS://IMAGES.example:443/listed/%6Fne.jpg#x"),
            row("other url", kind="url", uri="", url="https://images.example/listed/"),
            row("no url", kind="url", uri="", url="javascript:alert(1)"),
        ],
    )
    config = world.config(verification, "known", "exact", "urls")
    report = world.scan(manifest, config, tmp_path / "run")
    assert report["tally"]["failed"] == {"decode: not_http": 1}
    assert (report["tally"]["clear"], report["tally"]["candidate"]) == (2, 4)
    assert held(world, verification) == {
        "perceptual": "cat.jpg",
        "sniffed": "cat.jpg",
        "exact": "clock",
        "url": "line-1",
    }


def test_the_same_upload_of_one_account_is_one_candidate_and_of_two_accounts_two(
    world, verification, tmp_path
):
    """What makes candidates distinct is account, content and indicator."""
    manifest = write_manifest(
        tmp_path / "m.csv",
        [row("1"), row("2"), row("3", account_id="account-2"),
         row("4", account_id=""), row("5", account_id="")],
    )  # fmt: skip
    report = world.scan(manifest, world.config(verification), tmp_path / "run")
    assert report["tally"]["candidate"] == 5
    assert report["tally"]["duplicates"] == 1
    assert sorted(held(world, verification)) == ["1", "3", "4", "5"]


def test_a_candidate_that_verification_rejects_fails_its_item_by_name(
    world, verification, tmp_path, monkeypatch
):
    """A rejection is an outcome of that item, never a silent loss."""

    def reject(_self: Emitter, candidates: list) -> list:
        return [
            candidate_service_pb2.CandidateResult(
                candidate_id=c.candidate_id,
                outcome=candidate_service_pb2.SUBMIT_OUTCOME_REJECTED,
                reject_reason=candidate_service_pb2.REJECT_REASON_SHARE_CONFLICT,
            )
            for c in candidates
        ]

    monkeypatch.setattr(Emitter, "send", reject)
    report = world.scan(uploads(tmp_path / "u"), world.config(verification), tmp_path / "run")
    assert report["tally"]["candidate"] == 0
    assert report["tally"]["failed"]["emit: share_conflict"] == 3


def test_a_bad_manifest_is_refused_before_anything_is_opened(
    world, verification, tmp_path, monkeypatch
):
    """The row and column are named, nothing was read, and a mended manifest then runs."""
    monkeypatch.setattr(read, "read_item", lambda _uri: pytest.fail("opened"))
    manifest = write_manifest(tmp_path / "m.csv", [row("a"), row("b", encryption="maybe")])
    config = world.config(verification)
    with pytest.raises(SourceRefused, match="row 2, column encryption"):
        world.scan(manifest, config, tmp_path / "run")
    monkeypatch.undo()
    write_manifest(manifest, [row("a"), row("b", account_id="account-2")])
    assert world.scan(manifest, config, tmp_path / "run")["tally"]["candidate"] == 2


# --- interruption ---------------------------------------------------------------------------


class Reads:
    """Counts how often each file is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        really = read.read_item

        def counted(uri: str) -> bytes:
            self.names.append(Path(uri).name)
            return really(uri)

        monkeypatch.setattr(read, "read_item", counted)


def test_when_verification_stops_answering_the_run_ends_resumable_and_loses_nothing(
    world, verification, tmp_path, monkeypatch
):
    """The unfinished batch is not accounted for; the second start does it and counts nothing twice."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)
    sent = []
    really = Emitter.send

    def failing(self: Emitter, candidates: list) -> list:
        if sent:
            raise VerificationUnreachable("gone")
        sent.append(len(candidates))
        return really(self, candidates)

    monkeypatch.setattr(Emitter, "send", failing)
    with pytest.raises(VerificationUnreachable, match="Start the same command again"):
        world.scan(source, config, tmp_path / "run", chunk_rows=6, batch_rows=1)
    assert not (tmp_path / "run" / "report.json").exists()
    monkeypatch.setattr(Emitter, "send", really)
    reads = Reads(monkeypatch)
    report = world.scan(source, config, tmp_path / "run", chunk_rows=6, batch_rows=1)
    assert counts(report) == EXPECTED
    assert len(held(world, verification)) == 3
    assert "copy-of-cat.jpg" not in reads.names, "a finished batch was opened again"


def test_a_run_that_is_asked_to_stop_ends_after_a_batch_and_goes_on_later(
    world, verification, tmp_path
):
    """Stopping is not failing: what was finished stays finished."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)

    def stop_early(progress: run.Progress) -> None:
        if progress.tally.rows == 0:
            scan.STOP.set()

    try:
        with pytest.raises(RunInterrupted, match="stopped on request"):
            world.scan(source, config, tmp_path / "run", batch_rows=1, listener=stop_early)
    finally:
        scan.STOP.clear()
    assert counts(world.scan(source, config, tmp_path / "run")) == EXPECTED


def test_decoders_that_cannot_be_started_any_more_leave_a_run_that_goes_on_later(
    world, verification, tmp_path, monkeypatch
):
    """As where the machine runs out of memory or processes: nothing is refused for good."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)

    def lost(*_: object) -> object:
        raise SandboxLost("no more processes")

    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "examine", lost)
        with pytest.raises(SandboxLost, match="Start the same command again") as stopped:
            world.scan(source, config, tmp_path / "run")
    assert stopped.value.exit_status == 3
    assert counts(world.scan(source, config, tmp_path / "run")) == EXPECTED


def test_a_torn_outcome_file_is_a_batch_to_be_done_again(world, verification, tmp_path):
    """A crash may leave half a file behind; it must not be counted, nor stop the run."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)
    scan.STOP.set()
    try:
        with pytest.raises(RunInterrupted):
            world.scan(source, config, tmp_path / "run", batch_rows=2)
    finally:
        scan.STOP.clear()
    outcomes = tmp_path / "run" / "outcomes"
    (outcomes / "000000-00001.json").write_text('{"tally": {"rows"')
    (outcomes / "000000-00002.json").write_text(
        json.dumps({"tally": run.Tally(rows=9, clear=9).to_json(), "failed": [], "seconds": {},
                    "finished_at": 0})
    )  # fmt: skip
    (outcomes / ".000000-00003.77").write_text("unfinished")
    assert counts(world.scan(source, config, tmp_path / "run", batch_rows=2)) == EXPECTED


def sluis(*arguments: object, **environment: str) -> list[str]:
    """A command line of the installed command."""
    return [str(Path(sys.executable).parent / "sluis"), *map(str, arguments)]


def scan_command(world: worlds.World, source: Path, address: str, folder: Path) -> list[str]:
    """The scan of a manifest, as one would type it."""
    values = worlds.order_values(valid_from=dt.date(2026, 1, 1), valid_until=dt.date(2027, 12, 30))
    order_file = folder / "order.yaml"
    order_file.write_text(yaml.safe_dump(values))
    return sluis(
        "scan", source, "--order", order_file, "--indicators", world.sets["known"],
        "--verification", address, "--run-dir", folder / "run", "--keys",
        world.keys / "provider", "--state-dir", folder / "state", "--batch-rows", 2,
    )  # fmt: skip


def test_a_killed_run_is_finished_by_the_same_command(world, verification, tmp_path):
    """Killed half-way by kill -9: the second start finishes the rest and counts nothing twice."""
    rows = [
        row(f"{n}-{name}", uri=str(worlds.PHOTOS / f"{name}.jpg"), account_id=f"account-{n}")
        for n in range(40)
        for name in ("cat", *OTHER)
    ]
    manifest = write_manifest(tmp_path / "m.csv", rows)
    command = scan_command(world, manifest, verification, tmp_path)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    outcomes = tmp_path / "run" / "outcomes"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if outcomes.exists() and len(list(outcomes.glob("*.json"))) >= 5:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    finished = len(list(outcomes.glob("*.json")))
    assert 5 <= finished < 120, "the run was not killed half-way"
    assert not (tmp_path / "run" / "report.json").exists()

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["tally"]["rows"] == 240
    assert (report["tally"]["clear"], report["tally"]["candidate"]) == (200, 40)
    assert len(held(world, verification)) == 40


def test_a_run_folder_belongs_to_one_order_one_source_and_one_list_of_sets(
    world, verification, tmp_path
):
    """An unfinished run is not finished with something else than it was started with."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)
    scan.STOP.set()
    try:
        with pytest.raises(RunInterrupted):
            world.scan(source, config, tmp_path / "run")
    finally:
        scan.STOP.clear()
    other = uploads(tmp_path / "other")
    with pytest.raises(RunRefused, match=r"started otherwise \(source\)"):
        world.scan(other, config, tmp_path / "run")
    with pytest.raises(RunRefused, match=r"started otherwise \(indicator sets\)"):
        world.scan(source, world.config(verification, "known", "exact"), tmp_path / "run")
    with run._locked(tmp_path / "run"), pytest.raises(RunRefused, match="in use"):
        world.scan(source, config, tmp_path / "run")
    assert counts(world.scan(source, config, tmp_path / "run")) == EXPECTED


def test_a_manifest_that_changed_under_an_unfinished_run_is_refused(world, verification, tmp_path):
    """Otherwise the counts would be of two different manifests."""
    manifest = write_manifest(tmp_path / "m.csv", [row("a")])
    config = world.config(verification)
    scan.STOP.set()
    try:
        with pytest.raises(RunInterrupted):
            world.scan(manifest, config, tmp_path / "run")
    finally:
        scan.STOP.clear()
    write_manifest(manifest, [row("b")])
    with pytest.raises(RunRefused, match=r"started otherwise \(source sha256\)"):
        world.scan(manifest, config, tmp_path / "run")


# --- refusals before the start --------------------------------------------------------------


def test_without_verification_nothing_is_opened(world, tmp_path, monkeypatch):
    """The service is asked before the first byte is read."""
    monkeypatch.setattr(read, "read_item", lambda _uri: pytest.fail("opened"))
    with pytest.raises(VerificationUnreachable):
        world.scan(uploads(tmp_path / "u"), world.config("127.0.0.1:9"), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid_until": dt.date(2026, 6, 14)}, "expired after 2026-06-14"),
        ({"valid_from": dt.date(2026, 6, 16)}, "not in force before"),
        ({"indicator_sets": ["exact"]}, "not among the order's indicator_sets"),
        ({"kinds": ["url"], "media": ["url"]}, "of kind known"),
        ({"reference": "OTHER"}, "not issued for order OTHER"),
    ],
)
def test_an_order_that_does_not_cover_the_run_stops_it(world, tmp_path, changes, message):
    """Not in force, or not for this set: nothing is opened and the reason is given."""
    config = world.config("127.0.0.1:9", order=worlds.make_order(**changes))
    with pytest.raises(OrderRefused, match=message):
        world.scan(uploads(tmp_path / "u"), config, tmp_path / "run")


def new_order() -> object:
    """An order on known and new material."""
    return worlds.make_order(kinds=["known", "new"], media=["image"], prior_known_order="K-1")


def test_new_material_is_released_only_after_two_distinct_hits_of_one_account(
    world, verification, tmp_path
):
    """A single hit stays shut; two of one account open; a user's notice opens at once."""

    def listed(item: str, name: str, account: str, **changes: str) -> dict[str, str]:
        place = str(worlds.PHOTOS / f"{name}.jpg")
        return row(item, uri=place, account_id=account, user_notice="no") | changes

    again = tmp_path / "again.jpg"
    Image.open(worlds.PHOTOS / "cat.jpg").save(again, quality=60)
    manifest = write_manifest(
        tmp_path / "m.csv",
        [
            listed("single", "cat", "one"),
            listed("first", "cat", "two"),
            listed("second", "coffee", "two"),
            listed("original", "cat", "three"),
            listed("re-encoded", "cat", "three", uri=str(again)),
            listed("notified", "pagoda", "four", user_notice="yes"),
        ],
    )
    config = world.config(verification, "new", order=new_order())
    for number in (1, 2):  # a nightly run changes nothing
        report = world.scan(manifest, config, tmp_path / f"run-{number}")
        assert report["tally"]["candidate"] == 6
        assert sorted(held(world, verification)) == ["first", "notified", "second"]


def test_hits_on_new_material_whose_time_is_over_are_skipped_by_name(world, tmp_path):
    """Retention is over, the epoch is closed, its key is destroyed: skipped, never failed."""
    place = str(worlds.PHOTOS / "cat.jpg")
    manifest = write_manifest(
        tmp_path / "m.csv",
        [row("waits", uri=place, user_notice="no"), row("known", uri=place, user_notice="yes")],
    )
    copy = worlds.World(tmp_path, sets=world.sets)
    shutil.copytree(world.keys, copy.keys)
    store = tmp_path / "store.sqlite3"
    with worlds.verification(copy, store, retention_days=30) as address:
        config = copy.config(address, "new", order=new_order())

        def skipped(run: str) -> tuple[dict[str, int], int]:
            tally = copy.scan(manifest, config, tmp_path / run)["tally"]
            assert not tally["failed"]
            return tally["skipped"], tally["candidate"]

        assert skipped("run-1") == ({"expired": 1}, 1)
        order_id = vouchers.order_id(worlds.REFERENCE)
        with closing(open_store(store, may_make=False)) as kept:
            expiry.close_epoch(kept, {"order_id": order_id.hex(), "epoch": 0})
        assert skipped("run-2") == ({"epoch_closed": 1}, 1)  # the notice is known by now
        EpochKeys(copy.keys / "provider", order_id, keys.WITHOUT_END).destroy(
            0, worlds.clock(), keys.signing_key(copy.keys / "provider" / "receipt.key"),
            even_if_current=True,
        )  # fmt: skip
        assert skipped("run-3") == ({"epoch_key_destroyed": 2}, 0)


def test_a_new_version_of_a_set_brings_no_expired_hit_back(world, tmp_path):
    """The hit's day hangs on the indicator's first day, not on that of the version at hand."""
    data, _ = build.from_images(world.folder / "listed", 50)
    world.add_set("new-v2", "new", data, previous="new", effective=dt.date(2026, 6, 10))
    place = str(worlds.PHOTOS / "cat.jpg")
    manifest = write_manifest(tmp_path / "m.csv", [row("waits", uri=place, user_notice="no")])
    with worlds.verification(world, tmp_path / "store.sqlite3", retention_days=30) as address:
        for name in ("new", "new-v2"):
            config = world.config(address, name, order=new_order())
            tally = world.scan(manifest, config, tmp_path / f"run-{name}")["tally"]
            assert (tally["skipped"], tally["candidate"]) == ({"expired": 1}, 0), name


def test_two_sets_of_new_material_in_one_scan_are_refused(world, tmp_path):
    """A near-duplicate listed in both would count as two distinct hits."""
    data, _ = build.from_images(world.folder / "listed", 50)
    world.add_set("new-2", "new", data)
    order = worlds.make_order(
        kinds=["new"], media=["image"], prior_known_order="K", indicator_sets=["new", "new-2"]
    )
    config = world.config("127.0.0.1:9", "new", "new-2", order=order)
    with pytest.raises(OrderRefused, match="both of kind new"):
        world.scan(uploads(tmp_path / "u"), config, tmp_path / "run")
    twice = world.config("127.0.0.1:9", "new", "new", order=order)
    with pytest.raises(OrderRefused, match="given twice"):
        world.scan(tmp_path / "u", twice, tmp_path / "run-2")


def test_keys_that_do_not_fit_the_service_leave_the_run_unfinished(
    world, verification, tmp_path, monkeypatch
):
    """A wrong verifier key would fail every candidate: the run stops, resumable, not complete."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)
    monkeypatch.setattr(keys, "key_id", lambda _key: "0" * 16)
    with pytest.raises(VerificationRefused, match=r"verifier\.pub"):
        world.scan(source, config, tmp_path / "run")
    monkeypatch.undo()
    assert counts(world.scan(source, config, tmp_path / "run")) == EXPECTED


def test_another_batch_size_on_resume_changes_no_count(world, verification, tmp_path):
    """A resumed run keeps its batches, whatever the second command says."""
    source = uploads(tmp_path / "u")
    config = world.config(verification)

    def stop_early(progress: run.Progress) -> None:
        if progress.tally.rows:
            scan.STOP.set()

    try:
        with pytest.raises(RunInterrupted):
            world.scan(
                source, config, tmp_path / "run", batch_rows=2, chunk_rows=8, listener=stop_early
            )
    finally:
        scan.STOP.clear()
    report = world.scan(source, config, tmp_path / "run", batch_rows=5, chunk_rows=3)
    assert counts(report) == EXPECTED


def test_a_folder_of_other_things_is_no_run_folder(world, tmp_path):
    """Nothing of the user's is overwritten or removed."""
    mine = tmp_path / "mine"
    (mine / "chunks").mkdir(parents=True)
    (mine / "chunks" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunRefused, match="other things than a run"):
        world.scan(uploads(tmp_path / "u"), world.config("127.0.0.1:9"), mine)
    assert (mine / "chunks" / "thesis.txt").read_text() == "years of work"


def test_run_and_keys_inside_the_source_are_refused(world, tmp_path):
    """Our own files are no hosted content."""
    source = uploads(tmp_path / "u")
    with pytest.raises(RunRefused, match="lies inside"):
        world.scan(source, world.config("127.0.0.1:9"), source / "run")


def test_a_complete_run_of_something_else_is_no_success(world, verification, tmp_path):
    """A fixed run folder must not make tonight's scan look done."""
    config = world.config(verification)
    world.scan(uploads(tmp_path / "u"), config, tmp_path / "run")
    with pytest.raises(RunRefused, match=r"started otherwise \(source\)"):
        world.scan(uploads(tmp_path / "other"), config, tmp_path / "run")
    changed = world.config(verification, order=worlds.make_order(reasons="others"))
    with pytest.raises(RunRefused, match=r"started otherwise \(order sha256\)"):
        world.scan(tmp_path / "u", changed, tmp_path / "run")


def test_an_older_or_altered_set_is_refused_even_in_another_run(world, verification, tmp_path):
    """The version ledger outlives runs: rollback and silent change are refused."""
    source = uploads(tmp_path / "u")
    data, _ = build.from_images(world.folder / "listed", 50)
    sets = {
        name: world.add_set(name, "known", rows, previous)
        for name, previous, rows in (
            ("known-v2", "known", data),
            ("known-v3", "known-v2", data),
            ("known-v3-other", "known-v2", data.slice(1)),
        )
    }  # fmt: skip
    ledger = tmp_path / "versions.json"

    def scan_with(name: str, number: int) -> None:
        config = dataclasses.replace(world.config(verification), sets=(sets[name],))
        world.scan(source, config, tmp_path / f"run-{number}", ledger=ledger)

    scan_with("known-v3", 1)
    with pytest.raises(RollbackRefused, match="version 2 is older than version 3"):
        scan_with("known-v2", 2)
    with pytest.raises(SetAltered, match="other contents"):
        scan_with("known-v3-other", 3)
    scan_with("known-v3", 4)


# --- while it runs --------------------------------------------------------------------------


class TickingClock:
    """Goes to the next day after some calls; picklable by module path is not needed in-process."""

    calls = 0
    turns_after = 0
    later = worlds.clock()

    @classmethod
    def now(cls) -> dt.datetime:
        """Today, or later once it was asked often enough."""
        cls.calls += 1
        return worlds.clock() if cls.calls <= cls.turns_after else cls.later


def test_an_order_that_expires_while_the_run_goes_on_stops_opening_at_once(
    world, verification, tmp_path
):
    """Hard stop at expiry: the rest is counted as outside the period and never opened."""
    order = worlds.make_order(valid_until=worlds.TODAY)
    TickingClock.calls, TickingClock.turns_after = 0, 9
    TickingClock.later = worlds.clock() + dt.timedelta(days=1)
    config = world.config(verification, order=order, clock=TickingClock.now, threads=1)
    report = world.scan(uploads(tmp_path / "u"), config, tmp_path / "run", batch_rows=1)
    outside = report["tally"]["skipped"]["outside_period"]
    assert 0 < outside < 14
    assert report["tally"]["rows"] == 14


def test_a_set_that_expires_while_the_run_goes_on_is_no_longer_asked(world, verification, tmp_path):
    """With no indicator in force an item need not be opened, so it is not."""
    TickingClock.calls, TickingClock.turns_after = 0, 9
    TickingClock.later = worlds.clock() + dt.timedelta(days=230)
    config = world.config(verification, clock=TickingClock.now, threads=1)
    report = world.scan(uploads(tmp_path / "u"), config, tmp_path / "run", batch_rows=1)
    assert report["tally"]["skipped"]["no_indicators"] > 0
    assert report["tally"]["rows"] == 14


# --- the issue's own promise ----------------------------------------------------------------


SHARED_PHOTOS = worlds.REPOSITORY.parent / "shared" / "data" / "photos"


@pytest.mark.skipif(not SHARED_PHOTOS.exists(), reason="the 200 shared photographs are not here")
def test_twenty_of_two_hundred_photographs_are_found_and_no_other(tmp_path):
    """A set of 20 photographs re-encoded at quality 50 finds exactly those 20, twice, no more."""
    photos = sorted(SHARED_PHOTOS.glob("*.jpg"))
    listed = photos[::10]
    world = worlds.build(tmp_path / "world", ())
    pictures = tmp_path / "listed"
    pictures.mkdir()
    for photo in listed:
        buffer = io.BytesIO()
        Image.open(photo).convert("RGB").save(buffer, "JPEG", quality=50)
        (pictures / photo.name).write_bytes(buffer.getvalue())
    world.sets.clear()
    world.add_set("exact-photos", "known", build.from_images(pictures, 50)[0], set_id="known")
    with worlds.verification(world, tmp_path / "store.sqlite3") as address:
        for number in (1, 2):
            report = world.scan(
                SHARED_PHOTOS, world.config(address, "exact-photos"), tmp_path / f"run-{number}"
            )
            assert (report["tally"]["clear"], report["tally"]["candidate"]) == (180, 20)
            assert held(world, address) == {photo.name: photo.name for photo in listed}


def test_the_environment_is_left_as_it_was():
    """Scans in this process must not leave the stop signal set for the next one."""
    assert not scan.STOP.is_set()
    assert "SLUIS_STATE" not in os.environ


def test_the_pdq_mode_reaches_the_hashing_and_stands_in_the_report(
    world, verification, decoders, tmp_path, monkeypatch
):
    """A fast scan hashes fast, says so, counts the same, and is not finished as an exact one."""
    source = uploads(tmp_path / "u")
    asked = []
    examine = decoders.examine

    def noted(blob: bytes | memoryview, wanted: Wanted) -> tuple[Part, ...]:
        asked.append(wanted.pdq_mode)
        return examine(blob, wanted)

    monkeypatch.setattr(decoders, "examine", noted)
    fast = world.config(verification, pdq_mode="fast")
    report = world.scan(source, fast, tmp_path / "run")
    assert counts(report) == EXPECTED
    assert report["pdq_mode"] == "fast"
    assert json.loads((tmp_path / "run" / "report.json").read_text())["pdq_mode"] == "fast"
    assert set(asked) == {"fast"}
    with pytest.raises(RunRefused, match=r"started otherwise \(pdq mode\)"):
        world.scan(source, world.config(verification), tmp_path / "run")
