"""Matching again from a hash ledger: what it finds, what is kept, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import functools
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from PIL import Image
from support import archives, streams
from support import world as worlds

from matchers import pdq
from matchers.indicators import VersionLedger, build
from matchers.indicators.manifest import schema
from pipeline import resources, run, scan
from pipeline.emit import Emitter
from pipeline.errors import LedgerDamaged, RunInterrupted, RunRefused
from pipeline.ingest.stream_metrics import Meters
from pipeline.ledger import folder, reuse
from pipeline.ledger.folder import LedgerFolder
from pipeline.ledger.reading import Reader
from pipeline.rpc.sluis.verification.v1 import review_service_pb2

OTHER = ("fig", "heron", "dogs", "drum")
LISTED_LATER = ("fig", "heron")


@pytest.fixture(scope="module")
def world(world: worlds.World, tmp_path_factory: pytest.TempPathFactory) -> worlds.World:
    """The same deployment with keys of its own, and a second version of `known`."""
    folder = tmp_path_factory.mktemp("rematch")
    copy = worlds.World(folder, dict(world.sets))
    shutil.copytree(world.keys, copy.keys)
    pictures = folder / "later"
    shutil.copytree(world.folder / "listed", pictures)
    for name in LISTED_LATER:
        shutil.copy(worlds.PHOTOS / f"{name}.jpg", pictures)
    data, _ = build.from_images(pictures, 50)
    copy.add_set("known-v2", "known", data, previous="known", effective=dt.date(2026, 6, 10))
    copy.add_set("new-v2", "new", data, previous="new", effective=dt.date(2026, 6, 10))
    today = dt.datetime.now(dt.UTC).date()
    copy.add_set("today-v2", "known", data, previous="today", effective=today)
    return copy


@functools.cache
def photo(name: str, quality: int = 40) -> bytes:
    """A demo photograph, encoded anew."""
    buffer = io.BytesIO()
    image = Image.open(worlds.PHOTOS / f"{name}.jpg").convert("RGB")
    image.thumbnail((300, 300))
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def manifest(folder: Path, contents: dict[str, bytes], **changes: dict[str, str]) -> Path:
    """A manifest of files with these contents; `changes` are of one item's row."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number, (item, content) in enumerate(contents.items()):
        path = folder / f"file-{item}"
        path.write_bytes(content)
        usual = {
            "item_id": item,
            "account_id": f"account-{number % 3}",
            "kind": "image",
            "uri": str(path),
            "url": "",
            "part": "public-gallery",
            "uploaded_at": f"2026-03-{1 + number % 27:02}T00:00:00Z",
            "encryption": "none",
            "account_class": "ordinary",
            "consent": "given",
            "user_notice": "no",
        }
        rows.append(usual | changes.get(item, {}))
    path = folder / "m.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def mixture(folder: Path) -> Path:
    """Stills, an archive, repeats, and what is shut, damaged or not visual."""
    listed = ("cat", "coffee", "pagoda")
    contents = {name: photo(name) for name in (*listed, *OTHER)}
    contents |= {f"{name}-again": contents[name] for name in ("cat", "heron", "drum")}
    contents["archive"] = archives.zipped(
        {
            "a": photo("fig", 70),
            "b": photo("drum", 70),
            "c": b"words",
            "d": archives.zipped({"e": photo("heron", 75), "half": photo("dogs")[:2000]}),
        }
    )
    contents["flat"] = _flat()
    contents["half"] = photo("fig")[:3000]
    contents["words"] = b"no picture"
    contents["shut"] = photo("fig", 50)
    return manifest(
        folder,
        contents,
        archive={"kind": ""},
        shut={"encryption": "e2ee"},
        drum={"account_id": "", "uploaded_at": ""},
        heron={"user_notice": "yes"},
    )


def _flat() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (90, 90), (9, 9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


NOT_IN_THE_LEDGER = {"half", "words", "shut"}


def match_again(
    config: resources.ScanConfig, run_folder: Path, versions: Path | None = None, **options: Any
) -> dict[str, Any]:
    """`sluis rematch`, silently."""
    return run.match_again(
        config,
        run_folder,
        version_ledger=VersionLedger(versions or run_folder.parent / "versions-again.json"),
        listener=options.pop("listener", lambda _progress: None),
        **options,
    )


@pytest.fixture
def sent(monkeypatch) -> list[bytes]:
    """Ids of all candidates that are handed to verification, in order, repeats too."""
    ids: list[bytes] = []
    really = Emitter.send

    def noted(self: Emitter, candidates: list) -> list:
        ids.extend(one.candidate_id for one in candidates)
        return really(self, candidates)

    monkeypatch.setattr(Emitter, "send", noted)
    return ids


def taken(ids: list[bytes]) -> set[bytes]:
    """What was sent since it was asked last."""
    found = set(ids)
    ids.clear()
    return found


@pytest.fixture
def decoded(decoders, monkeypatch) -> list[int]:
    """Sizes of what was decoded."""
    sizes: list[int] = []
    examine = decoders.examine

    def noted(blob: Any, wanted: Any) -> Any:
        sizes.append(len(blob))
        return examine(blob, wanted)

    monkeypatch.setattr(decoders, "examine", noted)
    return sizes


# --- what it finds --------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("known",), ("new",), ("known", "exact")])
def test_matching_again_finds_what_scanning_again_would(world, verification, tmp_path, sent, names):
    """The same candidates to the bit of their ids, and every item and entry counted as a scan does."""
    order = worlds.make_order(kinds=["known", "new"], media=["image"], prior_known_order="K-1")
    later = tuple({"known": "known-v2", "new": "new-v2"}.get(name, name) for name in names)
    source = mixture(tmp_path / "u")
    keeping = world.config(verification, *names, order=order, ledger=tmp_path / "ledger")
    world.scan(source, keeping, tmp_path / "first")
    before = taken(sent)

    now = world.config(verification, *later, order=order, ledger=tmp_path / "ledger")
    again = match_again(now, tmp_path / "again")["tally"]
    found = taken(sent)
    afresh = world.config(verification, *later, order=order)
    whole = world.scan(source, afresh, tmp_path / "whole")["tally"]
    assert found == taken(sent)
    assert len(found) > len(before)

    assert again["rows"] == whole["rows"] - len(NOT_IN_THE_LEDGER)
    for name in ("inner", "clear", "candidate", "distances"):
        assert again[name] == whole[name], name
    assert again["skipped"] == {"quality_too_low": 1, "not_visual": 1}
    assert again["failed"] == {"decode: truncated": 1}, "inside the archive"
    assert whole["failed"] == {"decode: truncated": 2, "decode: unrecognised_format": 1}


def test_the_same_sets_again_bring_only_repeats(world, verification, tmp_path):
    """All is matched again, and what verification knows already it knows."""
    config = world.config(verification, ledger=tmp_path / "ledger")
    world.scan(mixture(tmp_path / "u"), config, tmp_path / "first")
    again = match_again(config, tmp_path / "again")["tally"]
    assert again["candidate"] == again["duplicates"] > 0


def test_nothing_is_read_or_decoded_and_nothing_is_kept_anew(
    world, verification, decoders, tmp_path, monkeypatch
):
    """The files may be gone; and matching again prolongs nobody's stay in the ledger."""
    config = world.config(verification, ledger=tmp_path / "ledger")
    world.scan(mixture(tmp_path / "u"), config, tmp_path / "first")
    shutil.rmtree(tmp_path / "u")
    monkeypatch.setattr(decoders, "examine", lambda *_: pytest.fail("decoded"))
    before = contents_of(tmp_path / "ledger")
    later = dataclasses.replace(config, sets=(world.sets["known-v2"],))
    report = match_again(later, tmp_path / "again")
    assert report["tally"]["candidate"] > 0
    assert report["decoders_confined_by"] == "nothing is decoded"
    assert contents_of(tmp_path / "ledger") == before


def test_a_question_that_the_ledger_cannot_answer_is_skipped_by_name(world, verification, tmp_path):
    """Scanned for digests alone, nothing was decoded: only scanning again can say."""
    ledger = tmp_path / "ledger"
    source = manifest(
        tmp_path / "u",
        {"cat": photo("cat"), "clock": (worlds.PHOTOS / "clock.jpg").read_bytes()},
    )
    world.scan(source, world.config(verification, "exact", ledger=ledger), tmp_path / "first")
    both = world.config(verification, "exact", "known", ledger=ledger)
    tally = match_again(both, tmp_path / "again")["tally"]
    assert (tally["candidate"], tally["skipped"]) == (1, {"needs_decoding": 1})


def test_what_a_list_had_named_and_names_no_more_is_decoded_and_not_taken_for_clear(
    world, verification, tmp_path, decoded
):
    """An item that a digest named was never opened, be it a picture or an archive."""
    ledger = tmp_path / "ledger"
    contents = {
        "picture": photo("cat"),
        "archive": archives.zipped({"a": photo("coffee"), "b": photo("drum")}),
    }
    listed = [hashlib.sha256(content).digest() for content in contents.values()]
    for name, previous, values in (("listed", "", listed), ("listed-v2", "listed", [b"x" * 32])):
        rows = {"indicator_id": [f"{name}-{n}" for n in range(len(values))], "value": values}
        world.add_set(
            name, "known", pa.table(rows, schema=schema("sha256")), previous=previous,
            set_id="exact", algorithm="sha256", radius_bits=0, min_quality=0,
        )  # fmt: skip
    source = manifest(tmp_path / "u", contents, archive={"kind": ""})
    first = world.config(verification, "known", "listed", ledger=ledger)
    assert world.scan(source, first, tmp_path / "first")["tally"]["candidate"] == 2
    assert not decoded
    now = world.config(verification, "known", "listed-v2", ledger=ledger)
    again = match_again(now, tmp_path / "again")["tally"]
    assert (again["clear"], again["skipped"]) == (0, {"needs_decoding": 2})
    tally = world.scan(source, now, tmp_path / "second")["tally"]
    assert (tally["reused"], len(decoded)) == (0, 2)
    assert (tally["candidate"], tally["clear"]) == (2, 2)


# --- the gate -------------------------------------------------------------------------------


def test_the_gate_is_asked_again_before_any_code_is_unsealed(
    world, verification, tmp_path, monkeypatch
):
    """The order of the day decides, on what was said of each item when it was scanned."""
    ledger = tmp_path / "ledger"
    source = manifest(
        tmp_path / "u",
        {name: photo("cat") for name in ("a", "b", "c", "d")},
        a={"part": "forum"},
        b={"consent": "refused"},
        c={"uploaded_at": "2026-01-05T00:00:00Z"},
    )
    wide = worlds.make_order(
        service=worlds.order_values()["service"] | {"parts": ["public-gallery", "forum"]}
    )
    first = world.config(verification, order=wide, ledger=ledger)
    assert world.scan(source, first, tmp_path / "first")["tally"]["candidate"] == 4
    unsealed: list[int] = []
    really = Reader.parts
    monkeypatch.setattr(
        Reader, "parts", lambda self, path, place, row: unsealed.append(row)
        or really(self, path, place, row),
    )  # fmt: skip
    narrow = worlds.make_order(uploaded_from=dt.date(2026, 2, 1), legal_profile="be2024")
    now = world.config(verification, order=narrow, ledger=ledger)
    tally = match_again(now, tmp_path / "again")["tally"]
    assert tally["candidate"] + sum(tally["skipped"].values()) == 4
    assert tally["skipped"]["part_not_covered"] == 1
    assert tally["skipped"]["outside_period"] == 1
    assert len(unsealed) == tally["candidate"]


def test_items_that_are_named_are_not_matched(world, verification, tmp_path, monkeypatch):
    """Consent withdrawn or item deleted since: counted by name, its codes unopened."""
    source = manifest(tmp_path / "u", {"cat": photo("cat"), "pagoda": photo("pagoda")})
    config = world.config(verification, ledger=tmp_path / "ledger")
    world.scan(source, config, tmp_path / "first")
    (tmp_path / "gone.txt").write_text("pagoda\nno such item\n")
    without = dataclasses.replace(config, without=tmp_path / "gone.txt")
    tally = match_again(without, tmp_path / "again")["tally"]
    assert (tally["candidate"], tally["skipped"]) == (1, {"withdrawn": 1})
    with pytest.raises(RunRefused, match="started otherwise"):
        match_again(config, tmp_path / "again")


# --- what is kept ---------------------------------------------------------------------------


def contents_of(*folders: Path) -> dict[Path, bytes]:
    """Every file below."""
    return {
        path: path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def traces(content: bytes) -> list[bytes]:
    """What of a non-match could be found again: its code in eight views, and its digests."""
    code = pdq.hash_images([content]).codes[0].tobytes()
    secrets = [code, hashlib.sha256(content).digest(), hashlib.md5(content).digest()]
    return [*secrets, *(one.hex().encode() for one in secrets)]


def test_without_a_ledger_nothing_of_a_non_match_is_kept(world, verification, tmp_path):
    """Off by default: of all that a scan leaves behind, no file names or shows what was clear."""
    provider = tmp_path / "provider"
    shutil.copytree(world.keys / "provider", provider)
    (provider / "ledger.key").unlink(missing_ok=True)
    source = manifest(tmp_path / "u", {"sentinel-clear": photo("fig"), "hit": photo("cat")})
    config = world.config(
        verification, key_folder=provider, index_folder=tmp_path / "state" / "indexes"
    )
    tally = world.scan(source, config, tmp_path / "run")["tally"]
    assert (tally["clear"], tally["candidate"], tally["reused"]) == (1, 1, 0)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "u" not in path.parts]
    assert any(path.name == "report.json" for path in left)
    for path in left:
        stored = path.read_bytes()
        for secret in (b"sentinel-clear", *traces(photo("fig"))):
            assert secret not in stored, path
    assert not (provider / "ledger.key").exists()
    assert not list(tmp_path.rglob("*.ledger"))


def test_a_ledger_is_sealed_and_no_log_speaks_of_it(world, verification, tmp_path, caplog):
    """Neither its files nor what is logged hold a name, an account, a digest or a code."""
    caplog.set_level(0)
    source = manifest(tmp_path / "u", {"sentinel-clear": photo("fig"), "hit": photo("cat")})
    config = world.config(verification, ledger=tmp_path / "ledger")
    world.scan(source, config, tmp_path / "run")
    match_again(config, tmp_path / "again")
    stored = b"".join(
        contents_of(tmp_path / "ledger", tmp_path / "run", tmp_path / "again").values()
    )
    for secret in (b"sentinel-clear", b"account-0", *traces(photo("fig"))):
        assert secret not in stored
        assert secret.decode("latin-1") not in caplog.text


# --- repeated content -----------------------------------------------------------------------


def test_repeated_content_is_decoded_once_and_counted_the_same(
    world, verification, tmp_path, decoded, sent
):
    """In the same scan and in later ones; candidates do not change by it."""
    contents = {f"{name}-{number}": photo(name) for number in range(3) for name in ("cat", "fig")}
    contents["archive"] = archives.zipped({"a": photo("cat", 60), "b": photo("fig", 60)})
    source = manifest(tmp_path / "u", contents, archive={"kind": ""})
    plain = world.config(verification)
    without = world.scan(source, plain, tmp_path / "without")["tally"]
    expected, decodes = taken(sent), len(decoded)
    config = world.config(verification, ledger=tmp_path / "ledger")
    first = world.scan(source, config, tmp_path / "first", batch_rows=2)["tally"]
    assert taken(sent) == expected
    assert first["reused"] == 4
    decoded.clear()
    second = world.scan(source, config, tmp_path / "second")["tally"]
    assert taken(sent) == expected
    assert (len(decoded), second["reused"], decodes) == (0, 7, 7)
    for tally in (first, second):
        for name in ("rows", "inner", "clear", "candidate", "skipped", "failed", "distances"):
            assert tally[name] == without[name], name


def test_what_failed_inside_is_decoded_again(world, verification, tmp_path, decoded):
    """It may have been for lack of time or memory, which another day has."""
    torn = archives.zipped({"a": photo("fig"), "half": photo("dogs")[:2000]})
    source = manifest(tmp_path / "u", {"archive": torn}, archive={"kind": ""})
    config = world.config(verification, ledger=tmp_path / "ledger")
    for name in ("first", "second"):
        tally = world.scan(source, config, tmp_path / name)["tally"]
        assert (tally["reused"], tally["failed"]) == (0, {"decode: truncated": 1})
    assert len(decoded) == 2


def test_what_another_version_has_hashed_is_decoded_again(
    world, verification, tmp_path, decoded, monkeypatch
):
    """Two versions may differ in a code: what one made never stands for the other's."""
    source = manifest(tmp_path / "u", {"cat": photo("cat"), "fig": photo("fig")})
    config = world.config(verification, ledger=tmp_path / "ledger")
    world.scan(source, config, tmp_path / "first")
    for module in (folder, reuse):
        monkeypatch.setattr(module, "hasher_version", lambda: "another")
    tally = world.scan(source, config, tmp_path / "second")["tally"]
    assert (tally["reused"], len(decoded)) == (0, 4)
    assert match_again(config, tmp_path / "again")["tally"]["rows"] == 2


def test_uploads_are_kept_and_repeated_ones_not_decoded(world, verification, tmp_path, decoded):
    """The streaming scan keeps the same ledger: what it has seen can be matched again."""
    (tmp_path / "log").mkdir()
    uploads = [
        streams.upload(f"{name}-{number}", photo(name))
        for number in range(2)
        for name in ("cat", "fig", "heron")
    ]
    streams.fill(tmp_path / "log", uploads)
    wanted = streams.settings(
        world, tmp_path, verification, most_rows=3, config={"ledger": tmp_path / "ledger"}
    )
    meters = Meters()
    tally = streams.drained(wanted, meters)
    assert (tally.clear, tally.candidate) == (4, 2)
    assert tally.reused == 6 - len(decoded) > 0
    assert meters.registry.get_sample_value("sluis_uploads_reused_total") == tally.reused
    later = world.config(verification, "known-v2", ledger=tmp_path / "ledger")
    assert match_again(later, tmp_path / "again")["tally"]["candidate"] == 6


# --- time -----------------------------------------------------------------------------------


def test_what_is_swept_is_neither_found_nor_reused(world, verification, tmp_path):
    """After its days an item is gone: a run that had begun before counts it as skipped."""
    streams.NOW.append(worlds.clock())
    source = manifest(tmp_path / "u", {"cat": photo("cat"), "fig": photo("fig")})
    config = world.config(
        verification, ledger=tmp_path / "ledger", ledger_days=3, clock=streams.movable_clock
    )
    world.scan(source, config, tmp_path / "first")
    try:
        scan.STOP.set()
        with pytest.raises(RunInterrupted):
            match_again(config, tmp_path / "begun")
    finally:
        scan.STOP.clear()
    streams.NOW.append(worlds.clock() + dt.timedelta(days=3))
    tally = match_again(config, tmp_path / "begun")["tally"]
    assert tally["skipped"] == {"no_longer_kept": 2}
    assert match_again(config, tmp_path / "later")["tally"]["rows"] == 0
    assert world.scan(source, config, tmp_path / "second")["tally"]["reused"] == 0


# --- runs -----------------------------------------------------------------------------------


def test_a_run_that_matches_again_is_no_scan_of_the_same_folder(world, verification, tmp_path):
    """One folder, one run: neither goes on as the other; and none lies in the ledger."""
    config = world.config(verification, ledger=tmp_path / "ledger")
    source = manifest(tmp_path / "u", {"cat": photo("cat")})
    world.scan(source, config, tmp_path / "run")
    with pytest.raises(RunRefused, match="started otherwise"):
        match_again(config, tmp_path / "run", tmp_path / "versions.json")
    with pytest.raises(RunRefused, match="lies inside"):
        match_again(config, tmp_path / "ledger" / "run", tmp_path / "versions.json")


def test_a_ledger_inside_the_source_is_refused(world, tmp_path):
    """Its segments are no hosted content, nor is it emptied by whoever tidies that."""
    (tmp_path / "u").mkdir()
    config = world.config("127.0.0.1:9", ledger=tmp_path / "u" / "ledger")
    with pytest.raises(RunRefused, match="lies inside"):
        world.scan(tmp_path / "u", config, tmp_path / "run")
    assert not (tmp_path / "u" / "ledger").exists()


def test_altered_codes_stop_the_run_and_it_goes_on_without_them(world, verification, tmp_path):
    """The message names the file; once it is moved away, its items are counted as gone."""
    config = world.config(verification, ledger=tmp_path / "ledger")
    world.scan(manifest(tmp_path / "u", {"cat": photo("cat")}), config, tmp_path / "run")
    (path,) = LedgerFolder.found(tmp_path / "ledger").segments()
    stored = bytearray(path.read_bytes())
    stored[-3] ^= 1
    path.write_bytes(stored)
    with pytest.raises(LedgerDamaged, match=path.name):
        match_again(config, tmp_path / "again")
    path.rename(tmp_path / "damaged")
    assert match_again(config, tmp_path / "again")["tally"]["skipped"] == {"no_longer_kept": 1}


def test_killed_while_matching_again_the_same_command_finishes_and_counts_once(world, tmp_path):
    """By kill -9 half-way: every item has one outcome, every candidate is there once."""
    today = _real_now().date()
    days = {"valid_from": today - dt.timedelta(60), "valid_until": today + dt.timedelta(300)}
    (tmp_path / "order.yaml").write_text(yaml.safe_dump(worlds.order_values(**days)))
    valid = worlds.make_order(**days)
    items = {f"{n}-{name}": photo(name) for n in range(200) for name in ("cat", "fig")}
    source = manifest(tmp_path / "u", items)
    store = tmp_path / "store.sqlite3"
    with worlds.verification(world, store, clock=time.time, orders=[valid]) as address:
        keeping = world.config(
            address, "today", ledger=tmp_path / "ledger", clock=_real_now, order=valid
        )
        first = world.scan(source, keeping, tmp_path / "first")["tally"]
        assert first["reused"] >= 300
        command = [
            str(Path(sys.executable).parent / "sluis"), "rematch",
            "--ledger", tmp_path / "ledger", "--order", tmp_path / "order.yaml",
            "--indicators", world.sets["today-v2"], "--verification", address,
            "--run-dir", tmp_path / "run", "--keys", world.keys / "provider",
            "--state-dir", tmp_path / "state",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        outcomes = tmp_path / "run" / "outcomes"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if outcomes.exists() and len(list(outcomes.glob("*.json"))) >= 3:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert not (tmp_path / "run" / "report.json").exists(), "it was not killed half-way"
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tally = json.loads((tmp_path / "run" / "report.json").read_text())["tally"]
        assert (tally["rows"], tally["candidate"], tally["clear"]) == (400, 400, 0)
        with worlds.reviewer(world, address) as reviewer:
            there = reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED)
            ids = [one.candidate.candidate_id for one in there]
    # Three accounts, and one content of each photograph: repeats of it are one candidate.
    assert len(ids) == len(set(ids)) == 6


def _real_now() -> dt.datetime:
    """A function of a module, since Beam pickles it."""
    return dt.datetime.now(dt.UTC)


# --- the command line -----------------------------------------------------------------------


def test_days_without_a_ledger_are_refused(sluis, tmp_path):
    """A forgotten --ledger must not look like one that is kept."""
    done = sluis(
        "scan", tmp_path, "--order", tmp_path / "o", "--indicators", tmp_path / "s",
        "--verification", "127.0.0.1:9", "--run-dir", tmp_path / "r", "--ledger-days", 3,
    )  # fmt: skip
    assert done.status == 2


def test_the_ledger_is_shown_and_swept(world, verification, sluis, tmp_path):
    """A person sees how far it goes back, and can make it forget."""
    config = world.config(verification, ledger=tmp_path / "ledger")
    world.scan(manifest(tmp_path / "u", {"cat": photo("cat")}), config, tmp_path / "first")
    provider = world.keys / "provider"
    shown = sluis("ledger", "show", "--ledger", tmp_path / "ledger", "--keys", provider)
    assert shown.status == 0, shown.err
    assert "2026-06-15" in shown.out
    assert "known v1" in shown.out
    assert "kept for 30 days" in shown.out
    swept = sluis("ledger", "sweep", "--ledger", tmp_path / "ledger", "--days", 1)
    assert "1 file deleted" in swept.out
    assert not list((tmp_path / "ledger").rglob("*.ledger"))
    assert sluis("ledger", "sweep", "--ledger", tmp_path / "u").status == 2
