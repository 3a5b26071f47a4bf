"""The upload log: what was acknowledged is there once, whatever happens to the files meanwhile."""

from __future__ import annotations

import datetime as dt
import errno
import logging
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from support import doors
from support.doors import drain, item_ids, rows

from pipeline.ingest.upload_log import (
    UPLOADS,
    LogClosed,
    LogDamaged,
    LogFault,
    LogFull,
    LogRefused,
    Position,
    UploadLog,
    UploadLogReader,
    folder,
    open_segment,
    segments,
)

NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a log may be made."""
    return tmp_path / "log"


def opened(place: Path, **changes) -> UploadLog:
    """A writer with small segments and a clock that stands."""
    settings = {"segment_bytes": 64 * 1024, "quota_bytes": 2**30, "clock": lambda: NOON}
    return UploadLog(place, **(settings | changes))


def crashed(log: UploadLog) -> None:
    """Leave the files as a killed process does: nothing is closed or tidied, the lock is free."""
    os.close(log._lock)
    log._lock = os.open(os.devnull, os.O_RDONLY)


def newest(place: Path) -> Path:
    """The segment that is written to."""
    return folder.segment_path(place, folder.segment_numbers(place)[-1])


def test_what_is_appended_is_read_in_order_with_all_it_says_and_when_it_came(place):
    """Rows come back as they were given, stamped by the log's clock where they had no time."""
    log = opened(place)
    given = rows(["a", "b", "c"])
    assert log.append(given) == Position(1, 3)
    log.close()
    (taken,) = drain(place)
    assert taken.next == Position(1, 3)
    assert taken.lost_rows == 0
    assert taken.batch.schema == UPLOADS
    assert taken.batch["received_at"].to_pylist() == [NOON] * 3
    without_time = UPLOADS.names[:-1]
    assert taken.batch.select(without_time) == given.select(without_time)


def test_another_schema_is_refused(place):
    """The log holds what its readers expect, and nothing else."""
    log = opened(place)
    with pytest.raises(ValueError, match="schema UPLOADS"):
        log.append(pa.record_batch({"item_id": ["a"]}))
    log.close()


def test_many_callers_share_writes_and_each_row_is_there_once(place):
    """Concurrent appends are all durable, in one order, across many segments."""
    log = opened(place)
    names = [f"item-{n}" for n in range(300)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: log.append(rows([name], 2000)), names))
    log.close()
    assert len(folder.segment_numbers(place)) > 3
    assert sorted(item_ids(drain(place))) == sorted(names)


def test_a_row_that_is_the_same_in_all_it_says_is_kept_once(place):
    """Also within one append, beside another that waits, and after the log was opened again."""
    log = opened(place)
    both = rows(["a", "b"])
    assert log.submit(both).result().is_repeat == [False, False]
    assert log.submit(rows(["b", "c", "c"])).result().is_repeat == [True, False, True]
    log.close()
    log = opened(place)
    assert log.submit(both).result().is_repeat == [True, True]
    other_content = rows(["a"], seed="other")
    assert log.submit(other_content).result().is_repeat == [False]
    log.close()
    assert item_ids(drain(place)) == ["a", "b", "c", "a"]


def test_a_repeat_is_known_although_its_rows_are_consumed_and_gone(place):
    """Whoever missed the acknowledgement while the scan was quick: no second outcome."""
    log = opened(place)
    log.append(rows(["a", "b"]))
    assert item_ids(drain(place, advance=True)) == ["a", "b"]
    crashed(log)
    again = opened(place)
    assert again.submit(rows(["a", "b"])).result().is_repeat == [True, True]
    again.close()
    log.close()
    assert drain(place) == []


def test_consumed_contents_are_gone_from_the_disk_at_once(place):
    """Also from the segment that is still written to; what is not consumed stays readable."""
    log = opened(place)
    log.append(rows(["a"], 20_000))
    log.append(rows(["b"], 20_000))
    reader = UploadLogReader(place)
    first = reader.read(reader.position, 1, 2**20, 0)
    secret = doors.content("a", 20_000)
    assert secret in newest(place).read_bytes()
    reader.advance(first.next)
    held = newest(place).read_bytes()
    assert secret not in held
    assert secret[:50] not in held
    assert secret[-50:] not in held
    assert item_ids([reader.read(first.next, 9, 2**20, 0)]) == ["b"]
    reader.close()
    log.close()


def test_where_holes_cannot_be_punched_zeros_are_written_and_that_is_said(
    place, monkeypatch, caplog
):
    """The content is gone all the same; only its space comes back later."""

    class NoPunching:
        def __init__(self, *_args, **_options):
            self.fallocate64 = self

        def __call__(self, *_args):
            return -1

    monkeypatch.setattr(folder.ctypes, "CDLL", NoPunching)
    monkeypatch.setattr(folder.ctypes, "get_errno", lambda: errno.EOPNOTSUPP)
    log = opened(place)
    log.append(rows(["a"], 20_000))
    drain(place, advance=True)
    log.close()
    assert doors.content("a", 20_000)[:50] not in newest(place).read_bytes()
    assert "cannot punch holes" in caplog.text


def test_consumed_segments_go_and_the_log_does_not_grow(place):
    """Whatever passes through, the folder keeps two segments, and those without contents."""
    log = opened(place)
    reader = UploadLogReader(place)
    at = reader.position
    for number in range(40):
        log.append(rows([f"{number}"], 20_000))
        at = reader.read(at, 10, 2**20, 0).next
        reader.advance(at)
    assert at.segment > 5
    assert len(folder.segment_numbers(place)) == 2
    assert folder.bytes_on_disk(place) < 200_000
    reader.close()
    log.close()


def test_a_reader_goes_on_where_it_advanced_to_and_never_goes_back(place):
    """The consumer's place survives its process; an older place changes nothing."""
    log = opened(place)
    log.append(rows(["a", "b", "c", "d"]))
    reader = UploadLogReader(place)
    first = reader.read(reader.position, 1, 2**20, 0)
    second = reader.read(first.next, 2, 2**20, 0)
    assert item_ids([first, second]) == ["a", "b", "c"]
    reader.advance(second.next)
    reader.advance(first.next)
    reader.advance(second.next)
    assert reader.position == second.next
    with pytest.raises(ValueError, match="consumed"):
        reader.read(first.next, 1, 1, 0)
    reader.close()
    assert item_ids(drain(place)) == ["d"]
    log.close()


def test_reads_are_bounded_by_bytes_but_a_large_row_comes_by_itself(place):
    """Memory of the scan stays bounded, and nothing is stuck."""
    log = opened(place)
    log.append(rows(["a", "b", "c"], 1000))
    log.append(rows(["large"], 50_000))
    reader = UploadLogReader(place)
    at, sizes = reader.position, []
    while (taken := reader.read(at, 100, 2500, 0)) is not None:
        sizes.append(taken.batch.num_rows)
        at = taken.next
    assert sizes == [2, 1, 1]
    reader.close()
    log.close()


def test_a_read_waits_for_the_first_row_and_no_longer_than_asked(place):
    """A reader that was there first sees what a writer appends later."""
    reader = UploadLogReader(place)
    assert reader.read(reader.position, 1, 1, 0.02) is None
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(reader.read, reader.position, 1, 1, 30)
        log = opened(place)
        log.append(rows(["a"]))
        assert item_ids([coming.result()]) == ["a"]
    reader.close()
    log.close()


def test_the_backlog_counts_what_waits_across_segments(place):
    """Rows exactly; the oldest is the first that has no outcome."""
    log = opened(place)
    reader = UploadLogReader(place)
    assert reader.backlog().rows == 0
    for number in range(10):
        log.append(rows([f"{number}"], 20_000))
    assert reader.backlog().rows == 10
    assert reader.backlog().bytes > 200_000
    assert reader.backlog().oldest_received_at == NOON
    taken = reader.read(reader.position, 7, 2**20, 0)
    reader.advance(taken.next)
    assert reader.backlog().rows == 3
    reader.advance(reader.read(taken.next, 7, 2**20, 0).next)
    assert (reader.backlog().rows, reader.backlog().oldest_received_at) == (0, None)
    reader.close()
    log.close()


def test_a_clock_that_steps_back_changes_no_order_and_loses_nothing(place):
    """Times are told as they were; the order is that of the log."""
    times = iter([NOON, NOON - dt.timedelta(days=2), NOON + dt.timedelta(days=1)])
    log = opened(place, clock=lambda: next(times))
    for name in "abc":
        log.append(rows([name]))
    log.close()
    taken = drain(place)
    assert item_ids(taken) == ["a", "b", "c"]
    assert [t.day for t in taken[0].batch["received_at"].to_pylist()] == [15, 13, 16]


def test_a_second_writer_and_a_second_reader_are_refused(place):
    """Two would write over one another, or count twice."""
    log = opened(place)
    reader = UploadLogReader(place)
    with pytest.raises(LogRefused, match="has a writer already"):
        opened(place)
    with pytest.raises(LogRefused, match="has a reader already"):
        UploadLogReader(place)
    reader.close()
    log.close()
    opened(place).close()


def test_a_folder_of_something_else_is_refused(tmp_path):
    """A mistyped --log never fills another folder."""
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(LogRefused, match="holds something else"):
        opened(tmp_path)
    (tmp_path / "letter.txt").unlink()
    (tmp_path / "log.json").write_text('{"format": "sluis-upload-log/9"}')
    with pytest.raises(LogRefused, match="no upload log that this version reads"):
        opened(tmp_path)


def test_after_closing_nothing_is_taken(place):
    """A closed log says so, and what was submitted before is written."""
    log = opened(place)
    before = log.submit(rows(["a"]))
    log.close()
    assert before.result().next == Position(1, 1)
    with pytest.raises(LogClosed):
        log.append(rows(["b"]))


# --- crashes and damage ---------------------------------------------------------------------


@pytest.mark.parametrize("torn", [1, 20, 50, 300])
def test_a_torn_tail_is_cut_off_and_that_is_said(place, caplog, torn):
    """A frame that a crash has cut was never acknowledged; all before it stays."""
    log = opened(place)
    log.append(rows(["a"]))
    whole = newest(place).stat().st_size
    log.append(rows(["b"], 1000))
    crashed(log)
    with open(newest(place), "r+b") as file:
        file.truncate(whole + torn)
    with caplog.at_level(logging.WARNING):
        again = opened(place)
    assert again.recovered.torn_bytes == torn
    assert f"{torn} bytes at its end" in caplog.text
    again.append(rows(["c"]))
    again.close()
    log.close()
    taken = drain(place)
    assert item_ids(taken) == ["a", "c"]
    assert sum(one.lost_rows for one in taken) == 0


def test_a_torn_tail_in_which_later_blocks_came_first_is_cut_off_whole(place):
    """Disks write blocks in any order: what follows the hole was not acknowledged either."""
    log = opened(place)
    log.append(rows(["a"]))
    start = newest(place).stat().st_size
    log.append(rows(["b"], 100))
    middle = newest(place).stat().st_size
    log.append(rows(["c"], 100))
    crashed(log)
    with open(newest(place), "r+b") as file:  # c as if of b's own write, of which b never arrived
        data = file.read()
        header = segments.read_header(file.fileno())
        c = next(
            f for f in segments.frames(file.fileno(), header, middle, len(data), 2)
        )  # fmt: skip
        fresh = segments.frame_header(
            header, c.end - c.body, c.body_crc, c.first_row, start, list(c.digests)
        )
        file.seek(start)
        file.write(bytes(middle - start) + fresh)
    again = opened(place)
    assert again.recovered.torn_bytes == len(data) - start
    again.close()
    log.close()
    assert item_ids(drain(place)) == ["a"]


@pytest.mark.parametrize("consumed", [512, 600])
def test_a_hole_that_lost_its_header_costs_nothing_of_what_was_not_consumed(place, consumed):
    """The hole came to the disk before the power went, what was written over it did not."""
    log = opened(place)
    names = [f"item-{number}" for number in range(600)]
    log.append(rows(names, 10))  # one write of three frames
    reader = UploadLogReader(place)
    reader.advance(Position(1, consumed))
    reader.close()
    crashed(log)
    with open(newest(place), "r+b") as file:
        file.seek(segments.read_header(file.fileno()).length)
        file.write(bytes(512 * 16 + 32))
    again = opened(place)
    assert not again.recovered.damaged_segments
    again.append(rows(["new"]))
    again.close()
    log.close()
    taken = drain(place)
    assert item_ids(taken) == [*names[consumed:], "new"]
    assert sum(one.lost_rows for one in taken) == 0
    reader = UploadLogReader(place)
    assert reader.backlog().rows == 600 - consumed + 1
    reader.close()


@pytest.mark.parametrize("where", ["body", "header"])
def test_damage_in_the_middle_loses_only_what_it_hit_and_is_counted_and_set_aside(
    place, caplog, where
):
    """Acknowledged rows around it are read; the lost ones are numbers that need an outcome."""
    log = opened(place)
    log.append(rows(["a"], 500))
    start = newest(place).stat().st_size
    log.append(rows(["b", "c"], 500))
    log.append(rows(["d"], 500))
    log.close()
    damaged = newest(place)
    with open(damaged, "r+b") as file:
        file.seek(start + (10 if where == "header" else 700))
        file.write(b"\xff" * 20)
    again = opened(place)
    assert again.recovered.damaged_segments == (1,)
    assert again.recovered.torn_bytes == 0
    again.append(rows(["e"]))
    reader = UploadLogReader(place)
    taken = reader.read(reader.position, 100, 2**20, 0)
    assert item_ids([taken]) == ["a", "d", "e"]
    assert taken.lost_rows == 2
    assert reader.backlog().rows == 5
    assert "2 acknowledged uploads are lost" in caplog.text
    for name in ("f", "g", "h"):
        again.append(rows([name], 70_000))
    reader.advance(reader.read(taken.next, 100, 2**20, 0).next)
    assert not damaged.exists()
    assert damaged.with_suffix(".damaged").exists()
    assert reader.backlog().rows == 0
    reader.close()
    again.close()


def test_a_segment_whose_header_is_damaged_is_lost_whole_and_counted(place):
    """The numbers of its neighbours say how many rows it had."""
    log = opened(place, segment_bytes=1)
    for name in "abc":
        log.append(rows([name, name + "2"]))
    log.close()
    with open(folder.segment_path(place, 2), "r+b") as file:
        file.write(b"\xff" * 30)
    taken = drain(place)
    assert item_ids(taken) == ["a", "a2", "c", "c2"]
    assert sum(one.lost_rows for one in taken) == 2


def test_a_segment_that_somebody_removed_is_counted_as_lost(place):
    """Missing is not empty."""
    log = opened(place, segment_bytes=1)
    for name in "abc":
        log.append(rows([name]))
    log.close()
    folder.segment_path(place, 2).unlink()
    taken = drain(place)
    assert item_ids(taken) == ["a", "c"]
    assert sum(one.lost_rows for one in taken) == 1


def test_a_content_that_looks_like_a_frame_is_never_taken_for_one(place):
    """An uploader knows the format, but not the segment's marker."""
    log = opened(place)
    log.append(rows(["a"]))
    log.close()
    old = newest(place).read_bytes()
    again = opened(place)
    start = newest(place).stat().st_size
    hostile = rows(["b"]).set_column(
        UPLOADS.get_field_index("content"),
        UPLOADS.field("content"),
        pa.array([old], pa.large_binary()),
    )
    again.append(hostile)
    again.append(rows(["c"]))
    again.close()
    with open(newest(place), "r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 8)
    taken = drain(place)
    assert item_ids(taken) == ["a", "c"]
    assert sum(one.lost_rows for one in taken) == 1


def test_a_damaged_note_of_the_readers_place_is_an_error_and_never_a_guess(place):
    """To begin anew would scan twice, to go on would skip."""
    opened(place).close()
    (place / "consumed").write_bytes(b"\xff" * 1024)
    with pytest.raises(LogDamaged, match="is damaged"):
        UploadLogReader(place)


def test_a_reader_without_a_place_begins_with_what_the_log_still_has(place):
    """What is long gone is not lost: it was consumed."""
    log = opened(place, segment_bytes=1)
    for name in "abcd":
        log.append(rows([name]))
    drain(place, advance=True)
    log.append(rows(["e"]))
    (place / "consumed").unlink()
    reader = UploadLogReader(place)
    assert reader.position.segment > 1
    reader.close()
    log.close()


def test_half_a_note_of_the_readers_place_leaves_the_one_before(place):
    """The two slots are written in turn."""
    log = opened(place)
    log.append(rows(["a", "b", "c"]))
    reader = UploadLogReader(place)
    for record in (1, 2):
        reader.advance(Position(1, record))
    reader.close()
    with open(place / "consumed", "r+b") as file:  # the second note is in the first slot
        file.write(b"\xff" * 10)
    again = UploadLogReader(place)
    assert again.position == Position(1, 1)
    again.close()
    log.close()


# --- no room --------------------------------------------------------------------------------


def test_beyond_the_quota_appends_are_refused_whole_until_the_reader_makes_room(place):
    """A refusal keeps nothing of the append and says what to do; nothing else is lost."""
    log = opened(place, quota_bytes=300_000)
    kept = [f"{number}" for number in range(10)]
    for name in kept:
        log.append(rows([name], 20_000))
    refused = rows(["refused"], 100_000)
    with pytest.raises(LogFull, match="sluis ingest scan"):
        log.append(refused)
    log.append(rows(["small"]))
    assert item_ids(drain(place, advance=True)) == [*kept, "small"]
    assert log.submit(refused).result().is_repeat == [False]
    log.close()
    assert item_ids(drain(place)) == ["refused"]


def test_a_disk_that_is_nearly_full_is_left_alone(place):
    """The scan needs some of it to say what is done."""
    log = opened(place, spare_bytes=2**62)
    with pytest.raises(LogFull, match="full but for"):
        log.append(rows(["a"]))
    assert log.is_well
    log.close()


_FULL_DISK = """
import datetime as dt, resource, sys
from pathlib import Path
import pyarrow as pa
from pipeline.ingest.upload_log import UPLOADS, LogFull, UploadLog
def rows(names, size):
    row = [{"item_id": names[0], "content": names[0].encode() * size}]
    return pa.RecordBatch.from_pylist(row, UPLOADS)
log = UploadLog(Path(sys.argv[1]), quota_bytes=2**30, clock=lambda: dt.datetime.now(dt.UTC))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
kept = 0
try:
    while True:
        log.append(rows([str(kept)], 20_000))
        kept += 1
except LogFull as error:
    assert "takes nothing more" in str(error), error
assert log.is_well
log.append(rows(["small"], 10))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append(rows([str(kept)], 20_000))
print(kept)
log.close()
"""


def test_a_disk_that_takes_no_more_refuses_clearly_and_goes_on_once_it_does(place):
    """The kernel stops a write in its middle; what was begun is cut off again."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(place)],
        capture_output=True, text=True, check=False, cwd=doors.worlds.REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = int(done.stdout)
    names = [str(number) for number in range(kept)]
    assert item_ids(drain(place)) == [*names, "small", str(kept)]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_what_an_fsync_failed_for_is_cut_off_and_not_acknowledged(place, monkeypatch):
    """Nobody knows what of it is on disk; sent again, it is kept."""
    log = opened(place)
    log.append(rows(["a"]))
    real = os.fdatasync

    def failing(_handle):
        monkeypatch.setattr(open_segment.os, "fdatasync", real)
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(open_segment.os, "fdatasync", failing)
    with pytest.raises(LogFault, match="has failed"):
        log.append(rows(["b"]))
    assert log.submit(rows(["b"])).result().is_repeat == [False]
    log.close()
    assert item_ids(drain(place)) == ["a", "b"]


def test_a_log_that_cannot_be_cut_back_takes_nothing_more(place, monkeypatch):
    """It says so to everyone, and is not well: its service then says that it does not serve."""
    log = opened(place)

    def failing(*_args):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(open_segment.os, "fdatasync", failing)
    monkeypatch.setattr(open_segment.os, "ftruncate", failing)
    for _ in range(2):
        with pytest.raises(LogFault):
            log.append(rows(["a"]))
    assert not log.is_well
    log.close()


def test_copies_of_a_log_at_any_moment_of_its_life_recover(place, tmp_path):
    """A copy is what a crash leaves; each has all that was acknowledged before it was made."""
    log = opened(place)
    acknowledged = []
    for number in range(12):
        log.append(rows([f"{number}"], 9_000))
        acknowledged.append(f"{number}")
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(place, copy)
        opened(copy).close()
        assert item_ids(drain(copy)) == acknowledged
    log.close()
