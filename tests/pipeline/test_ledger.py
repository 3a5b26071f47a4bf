"""The hash ledger on disk: sealed, torn, altered, swept, found again."""

from __future__ import annotations

import datetime as dt
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import codes

from matchers.examine import Part, Wanted
from pipeline import key_files
from pipeline.errors import KeysRefused, LedgerDamaged, LedgerRefused
from pipeline.ledger import again, folder, record, reuse
from pipeline.ledger.folder import LedgerFolder
from pipeline.ledger.key import LedgerKey, read_key, read_or_make_key
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.reading import Reader
from pipeline.ledger.segment import Segment, SegmentWriter
from pipeline.ledger.summary import by_day

WANTED = Wanted(frozenset({"image", "container"}), ("sha256",), "plain")
KEY = LedgerKey(bytes(range(32)))
NOBODY = pa.array([], pa.string())
NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)


@dataclass
class Clock:
    """A clock that tests turn."""

    now: dt.datetime = NOON

    def __call__(self) -> dt.datetime:
        """The time."""
        return self.now

    def later(self, **time: float) -> None:
        """Turn it."""
        self.now += dt.timedelta(**time)


@dataclass(frozen=True)
class Item:
    """An examined item."""

    row: dict[str, Any]
    sha256: bytes
    parts: tuple[Part, ...]


def keep(ledger: Ledger, items: Sequence[Item], wanted: Wanted, sets: dict[str, int]) -> None:
    """Keep a batch, as a scan does."""
    keeping = ledger.keeping(wanted, sets)
    for one in items:
        keeping.add(one.row, one.sha256, one.parts)
    keeping.finish()


@dataclass
class Place:
    """A ledger with its key folder."""

    path: Path
    provider: Path
    clock: Clock = field(default_factory=Clock)
    days: int | None = None

    def open(self) -> Ledger:
        """As a new process would."""
        return Ledger(self.path, self.days, self.provider, self.clock)

    def keep(self, *items: Item, wanted: Wanted = WANTED) -> None:
        """As one process that then ends."""
        ledger = self.open()
        keep(ledger, items, wanted, {"known": 1})
        ledger.close()

    def segments(self) -> list[Path]:
        """Its files."""
        return LedgerFolder.found(self.path).segments()

    def references(self, file: Path) -> Any:
        """The snapshot of it, as one batch."""
        again.take(LedgerFolder.found(self.path), read_key(self.provider), file, 100)
        return pq.read_table(file).combine_chunks().to_batches()[0]

    def item_ids(self, file: Path) -> list[str]:
        """The items that would be matched again."""
        references = self.references(file)
        rows, _ = again.rows(references, self.path, Reader(read_key(self.provider)), NOBODY)
        return rows["item_id"].to_pylist()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty ledger."""
    provider = tmp_path / "provider"
    provider.mkdir(mode=0o700)
    (provider / "token.key").write_text("00" * 32)
    (provider / "token.key").chmod(0o600)
    return Place(tmp_path / "ledger", provider)


def item(item_id: str, seed: int = 0, **changes: Any) -> Item:
    """An examined picture; pictures of different seeds have different codes and bytes."""
    random = np.random.default_rng(seed)
    sha256 = random.bytes(32)
    code = np.frombuffer(random.bytes(32), np.uint8).reshape(1, 32)
    part = Part((), "image", sha256, {"sha256": sha256}, codes.of_codes(code))
    row = dict.fromkeys(record.KEPT.names) | {"item_id": item_id, "part": "gallery"} | changes
    return Item(row, sha256, (part,))


def test_what_was_kept_is_found_by_its_content_and_is_the_same(place):
    """By a later process as by the one that kept it; other content is not known."""
    kept = item("a", 1, account_id="me", uploaded_at=NOON, consent="given", user_notice="no")
    ledger = place.open()
    keep(ledger, [kept], WANTED, {"known": 1})
    for one in (ledger, place.open()):
        (part,) = one.find(kept.sha256, WANTED)
        assert part.content == kept.sha256
        np.testing.assert_array_equal(part.fingerprints.codes, kept.parts[0].fingerprints.codes)
        assert one.find(item("b", 2).sha256, WANTED) is None


def test_content_is_known_only_for_the_very_same_question(place):
    """Another profile, mode or digest, and it is decoded."""
    kept = item("a", 1)
    place.keep(kept)
    ledger = place.open()
    for other in (
        Wanted(WANTED.media, ("sha256",), "standard"),
        Wanted(WANTED.media, ("md5", "sha256"), "plain"),
        Wanted(WANTED.media, ("sha256",), "plain", "fast"),
        Wanted(WANTED.media | {"video"}, ("sha256",), "plain"),
    ):
        assert ledger.find(kept.sha256, other) is None


def test_content_that_other_code_has_examined_is_not_known(place, monkeypatch):
    """Fingerprints of two versions are not mixed; a newer one takes the older's place."""
    kept = item("a", 1)
    place.keep(kept)
    for module in (folder, reuse):
        monkeypatch.setattr(module, "hasher_version", lambda: "another")
    assert place.open().find(kept.sha256, WANTED) is None
    place.keep(kept)
    assert place.open().find(kept.sha256, WANTED) is not None


def test_the_newest_of_an_items_rows_is_matched_again(place, tmp_path):
    """Each item once, whichever segment it stands in, and in whatever order they were begun."""
    early = place.open()
    keep(early, [item("c", 5)], WANTED, {})
    place.clock.later(hours=1)
    place.keep(item("a", 1), item("b", 2))
    place.clock.later(days=1)
    place.keep(item("b", 3), item("d", 4))
    place.clock.later(days=-1, hours=2)
    keep(early, [item("d", 6), item("a", 7)], WANTED, {})
    assert sorted(place.item_ids(tmp_path / "items.parquet")) == ["a", "b", "c", "d"]
    references = place.references(tmp_path / "items.parquet")
    reader = Reader(read_key(place.provider))
    rows, kept = again.rows(references, place.path, reader, NOBODY)
    found = dict(
        zip(
            rows["item_id"].to_pylist(),
            again.parts(kept, [True] * rows.num_rows, place.path, reader),
            strict=True,
        )
    )
    expected = {"a": 7, "b": 3, "c": 5, "d": 4}
    for name, seed in expected.items():
        assert found[name][0][0].content == item(name, seed).sha256, name


def test_what_an_item_is_called_and_looks_like_stands_nowhere_in_the_clear(place):
    """Names, accounts, digests and codes are sealed; folder and file names say a time."""
    kept = item("sentinel-item", 1, account_id="sentinel-account")
    place.keep(kept)
    (path,) = place.segments()
    stored = path.read_bytes()
    code = kept.parts[0].fingerprints.codes.tobytes()
    for secret in (b"sentinel", b"gallery", kept.sha256, kept.sha256[:8], code, code[:8]):
        assert secret not in stored
        assert secret.hex().encode() not in stored
    assert path.parent.name == "2026-06-15"


def test_files_are_their_owners_alone(place):
    """Folders 0700, files 0600, the key too."""
    place.keep(item("a"))
    (path,) = place.segments()
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((place.provider / "ledger.key").stat().st_mode) == 0o600


def test_a_folder_that_others_can_see_or_that_holds_other_things_is_refused(place):
    """A ledger is not put beside something else, nor where others look."""
    place.path.mkdir(mode=0o755)
    place.path.chmod(0o755)
    with pytest.raises(LedgerRefused, match="chmod 700"):
        place.open()
    place.path.chmod(0o700)
    (place.path / "thesis.txt").write_text("years of work")
    with pytest.raises(LedgerRefused, match="other things"):
        place.open()
    with pytest.raises(LedgerRefused, match="no hash ledger"):
        LedgerFolder.found(place.path)


def test_another_key_is_refused(place, tmp_path):
    """Neither reused from nor matched again: the message names the file and what to do."""
    place.keep(item("a"))
    (place.provider / "ledger.key").unlink()
    with pytest.raises(KeysRefused, match="does not exist"):
        place.references(tmp_path / "items.parquet")
    with pytest.raises(KeysRefused, match="does not exist"):
        place.open()
    key_files.write(place.provider / "ledger.key", b"11" * 32)
    with pytest.raises(KeysRefused, match=r"another ledger\.key"):
        place.open().prepare()
    with pytest.raises(KeysRefused, match=r"another ledger\.key"):
        place.references(tmp_path / "items.parquet")


def test_no_key_is_made_in_a_folder_that_is_not_the_providers(tmp_path):
    """A mistyped key folder gets no key."""
    (tmp_path / "desk").mkdir(mode=0o700)
    with pytest.raises(KeysRefused):
        read_or_make_key(tmp_path / "desk")
    assert not list((tmp_path / "desk").iterdir())


@pytest.mark.parametrize("lost", [1, 20, 400])
def test_a_torn_record_at_the_end_is_told_and_hides_nothing_before_it(
    place, tmp_path, caplog, lost
):
    """A killed scan's last write: its batch has no outcome yet, and is scanned again."""
    ledger = place.open()
    keep(ledger, [item("a", 1)], WANTED, {})
    (path,) = place.segments()
    whole = path.stat().st_size
    keep(ledger, [item("b", 2)], WANTED, {})
    ledger.close()
    os.truncate(path, max(path.stat().st_size - lost, whole + 1))
    with caplog.at_level(logging.WARNING):
        assert place.item_ids(tmp_path / "items.parquet") == ["a"]
    assert "never finished" in caplog.text
    assert place.open().find(item("a", 1).sha256, WANTED) is not None
    assert place.open().find(item("b", 2).sha256, WANTED) is None


@pytest.mark.parametrize("size_bytes", [0, 5, 48])
def test_a_segment_without_a_record_is_empty(place, tmp_path, size_bytes):
    """A scan that was killed just after it had made the file."""
    place.keep(item("a", 1))
    (path,) = place.segments()
    os.truncate(path, size_bytes)
    assert (
        again.take(
            LedgerFolder.found(place.path), read_key(place.provider), tmp_path / "i.parquet", 100
        ).rows
        == 0
    )


def read_all(path: Path) -> None:
    """Unseal every section of a segment."""
    segment = Segment(path, KEY)
    for place in segment.places():
        for section in range(3):
            segment.unseal(place, section)


@settings(max_examples=60)
@given(st.data())
def test_no_altered_byte_goes_unnoticed(tmp_path_factory, data):
    """Wherever in a finished segment a bit is turned, it is refused, or at its end told as torn."""
    tmp_path = tmp_path_factory.mktemp("altered")
    path = tmp_path / "one.ledger"
    writer = SegmentWriter(path, KEY)
    sections = [(b"about 1", b"rows 1", b"parts 1"), (b"about 2", b"rows 2", b"parts 2")]
    for one in sections:
        writer.append(one)
    writer.close()
    stored = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(stored)
    with pytest.raises((LedgerDamaged, KeysRefused)):
        read_all(path)


def test_a_damaged_segment_stops_matching_again_and_is_only_not_reused_by_a_scan(
    place, tmp_path, caplog
):
    """What cannot be matched must be known to whoever relies on it; a scan just decodes."""
    place.keep(item("a", 1))
    place.clock.later(days=1)
    place.keep(item("b", 2))
    (first, _) = place.segments()
    stored = bytearray(first.read_bytes())
    stored[80] ^= 1
    first.write_bytes(stored)
    with pytest.raises(LedgerDamaged, match="Move the file away"):
        place.references(tmp_path / "items.parquet")
    ledger = place.open()
    assert ledger.find(item("a", 1).sha256, WANTED) is None
    assert ledger.find(item("b", 2).sha256, WANTED) is not None
    assert str(first) in caplog.text


def test_what_was_kept_for_long_enough_is_deleted(place):
    """By the start of a scan, by the first write of another day, and by nothing else."""
    place.days = 2
    place.keep(item("a"))
    (old,) = place.segments()
    place.clock.later(days=1)
    ledger = place.open()
    keep(ledger, [item("b")], WANTED, {})
    assert old.exists()
    place.clock.later(days=1)
    keep(ledger, [item("c")], WANTED, {})
    assert not old.exists()
    assert not old.parent.exists()
    assert len(place.segments()) == 2
    place.clock.later(days=40)
    place.open()
    assert place.segments() == []


def test_the_days_of_a_ledger_stay_until_they_are_said_anew(place):
    """30 unless told; a later scan that says nothing changes nothing."""
    assert place.open().folder.days == 30
    place.days = 7
    assert place.open().folder.days == 7
    place.days = None
    assert place.open().folder.days == 7


def test_swept_content_is_decoded_again_and_swept_rows_are_skipped_by_name(place, tmp_path):
    """What a running scan or run still refers to may go at any time."""
    place.keep(item("a", 1), item("b", 2))
    references = place.references(tmp_path / "items.parquet")
    ledger = place.open()
    ledger.prepare()
    place.segments()[0].unlink()
    assert ledger.find(item("a", 1).sha256, WANTED) is None
    rows, kept = ledger.rows(references, NOBODY)
    assert kept.skip_reason.to_pylist() == [again.NO_LONGER_KEPT] * 2
    assert rows["item_id"].to_pylist() == [again.NOT_KNOWN] * 2
    assert list(ledger.parts(kept, [True, True])) == [None, None]


def test_nothing_is_kept_of_what_failed_or_of_a_url():
    """Only what could be matched again."""
    digest = bytes(32)
    fingerprints = item("a").parts[0].fingerprints
    assert not record.is_worth_keeping([Part((), None, b"", reason="unrecognised_format")])
    assert not record.is_worth_keeping([Part((), "image", digest, reason="truncated")])
    assert not record.is_worth_keeping([Part((), "url", digest)])
    assert not record.is_worth_keeping([Part((), "image", b"", reason="media_out_of_scope")])
    assert record.is_worth_keeping([Part((), "image", digest)])
    assert record.is_worth_keeping([Part((), "video", digest, {}, fingerprints, "truncated")])


def test_neither_address_nor_url_of_an_item_is_kept():
    """The gate does not ask for them, so nothing else may have them."""
    assert set(record.KEPT.names).isdisjoint({"uri", "url"})


def test_after_a_failed_write_the_next_goes_to_another_segment(place, tmp_path, monkeypatch):
    """A full disk leaves a torn record at the end of one file, never in the midst of one."""
    ledger = place.open()
    keep(ledger, [item("a", 1)], WANTED, {})

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        keep(ledger, [item("b", 2)], WANTED, {})
    monkeypatch.undo()
    keep(ledger, [item("b", 3)], WANTED, {})
    assert len(place.segments()) == 2
    assert sorted(place.item_ids(tmp_path / "items.parquet")) == ["a", "b"]


def test_a_batch_with_very_many_codes_becomes_several_records(place, tmp_path, monkeypatch):
    """No record is larger than a reader may hold; an item that alone is larger is not kept."""
    monkeypatch.setattr(record, "MAX_RECORD_BYTES", 500)
    monkeypatch.setattr(record, "MAX_ITEM_BYTES", 5_000)
    large = item("large", 99)
    many = codes.of_codes(np.zeros((400, 32), np.uint8))
    large = Item(large.row, large.sha256, (Part((), "image", large.sha256, {}, many),))
    place.keep(*(item(f"{n}", n) for n in range(10)), large)
    found = place.item_ids(tmp_path / "items.parquet")
    assert sorted(found) == sorted(map(str, range(10)))
    places = list(Segment(place.segments()[0], read_key(place.provider)).places())
    assert len(places) > 1


def test_a_summary_counts_items_by_day_and_names_the_sets(place):
    """For a person who wants to know how far back the ledger goes."""
    place.keep(item("a"), item("b"))
    place.clock.later(days=1)
    place.keep(item("a"))
    days = by_day(LedgerFolder.found(place.path), read_key(place.provider))
    assert [(day.day, day.items) for day in days] == [("2026-06-15", 2), ("2026-06-16", 1)]
    assert days[0].sets == {("known", 1)}
    assert all(day.size_bytes > 0 for day in days)


def test_held_sections_stay_within_bounds(place, tmp_path, monkeypatch):
    """The oldest goes when there are too many bytes; reading goes on."""
    monkeypatch.setattr("pipeline.ledger.reading.MAX_HELD_BYTES", 3_000)
    monkeypatch.setattr(record, "MAX_RECORD_BYTES", 1)
    kept = [item(f"{n}", n) for n in range(30)]
    place.keep(*kept)
    ledger = place.open()
    for one in kept * 2:
        (part,) = ledger.find(one.sha256, WANTED)
        assert part.content == one.sha256
    assert len(ledger._reader._held) < 30
