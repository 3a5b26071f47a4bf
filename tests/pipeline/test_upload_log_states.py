"""Any sequence of appends, reads and crashes, against a list: nothing lost, nothing twice."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.doors import item_ids, rows

from pipeline.ingest.upload_log import UploadLog, UploadLogReader, folder, segments

NOON = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)


class Log(RuleBasedStateMachine):
    """The log, and beside it what it must hold: names in order, and how many are consumed."""

    def __init__(self) -> None:
        """An empty folder."""
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="sluis-log-")) / "log"
        self.held: list[str] = []
        self.consumed = 0
        self.made = 0

    @initialize()
    def begin(self) -> None:
        """A writer and a reader."""
        self.open_writer()
        self.reader = UploadLogReader(self.place)
        self.at = self.reader.position
        self.taken = 0

    def open_writer(self) -> None:
        """With segments of a few rows."""
        self.log = UploadLog(self.place, segment_bytes=6_000, quota_bytes=2**30, clock=lambda: NOON)

    def new_names(self, count: int) -> list[str]:
        """That no row has had."""
        self.made += count
        return [f"item-{number}" for number in range(self.made - count, self.made)]

    @rule(count=st.integers(1, 5), size=st.integers(0, 3_000))
    def append(self, count: int, size: int) -> None:
        """What is acknowledged counts."""
        names = self.new_names(count)
        assert not any(self.log.submit(rows(names, size)).result().is_repeat)
        self.held += names

    @rule(count=st.integers(1, 4))
    def read(self, count: int) -> None:
        """The next rows, as far as bounds allow."""
        taken = self.reader.read(self.at, count, 4_000, 0)
        left = self.held[self.consumed + self.taken :]
        if taken is None:
            assert left == []
            return
        names = item_ids([taken])
        assert taken.lost_rows == 0
        assert 1 <= len(names) <= count
        assert names == left[: len(names)]
        self.at = taken.next
        self.taken += len(names)

    @rule()
    def advance(self) -> None:
        """All that was read has its outcome."""
        self.reader.advance(self.at)
        self.consumed += self.taken
        self.taken = 0

    @rule(is_killed=st.booleans())
    def reader_ends(self, is_killed: bool) -> None:
        """What it had not advanced over comes again."""
        if is_killed:
            os.close(self.reader._lock)
        else:
            self.reader.close()
        self.reader = UploadLogReader(self.place)
        self.at = self.reader.position
        self.taken = 0

    @rule()
    def writer_is_closed_and_opened(self) -> None:
        """As for an upgrade."""
        self.log.close()
        self.open_writer()

    @rule(size=st.integers(0, 3_000), kept=st.floats(0, 1))
    def writer_is_killed_in_a_write(self, size: int, kept: float) -> None:
        """Any number of a frame's bytes may have come to the disk; its client sends again."""
        names = self.new_names(2)
        before = self.newest()
        start = before.stat().st_size
        self.log.append(rows(names, size))
        written = self.newest()
        if written != before:
            start = self.header_length(written)
        whole = written.stat().st_size
        os.close(self.log._lock)  # nothing else is closed or tidied
        self.log._lock = os.open(os.devnull, os.O_RDONLY)
        with open(written, "r+b") as file:
            file.truncate(start + round(kept * (whole - start)))
        is_whole = written.stat().st_size == whole
        self.open_writer()
        again = self.log.submit(rows(names, size)).result()
        assert again.is_repeat == [is_whole] * 2
        self.held += names

    @invariant()
    def backlog_is_what_is_not_consumed(self) -> None:
        """At any moment."""
        if hasattr(self, "reader"):
            assert self.reader.backlog().rows == len(self.held) - self.consumed

    def newest(self) -> Path:
        """The segment that is written to."""
        return folder.segment_path(self.place, folder.segment_numbers(self.place)[-1])

    def header_length(self, path: Path) -> int:
        """Where a segment's frames begin."""
        with open(path, "rb") as file:
            return segments.read_header(file.fileno()).length

    def teardown(self) -> None:
        """In the end all that is not consumed is there."""
        if hasattr(self, "reader"):
            names = []
            at = self.reader.position
            while (taken := self.reader.read(at, 100, 2**20, 0)) is not None:
                at = taken.next
                names += item_ids([taken])
            assert names == self.held[self.consumed :]
            self.reader.close()
            self.log.close()
        shutil.rmtree(self.place.parent)


TestLog = Log.TestCase
TestLog.settings = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=15,
    stateful_step_count=20,
    suppress_health_check=list(HealthCheck),
)
