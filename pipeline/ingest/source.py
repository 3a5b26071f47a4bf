"""The upload log as Beam reads it: an unbounded source whose records are micro-batches already.

What Beam pickles is a number only; the reader, the sets and the accounts it stands for live in this
process, where the number finds them again. One record makes a bundle, so that Beam says that a
micro-batch is finished before the next is taken: the log then forgets what lies before it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final, Protocol

import apache_beam as beam
from apache_beam import coders
from apache_beam.io.unbounded_source import (
    CheckpointMark,
    ReadFromUnboundedSource,
    UnboundedReader,
    UnboundedSource,
)
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp

from pipeline.ingest.upload_log import Position
from pipeline.scan import Batch


class Feed(Protocol):
    """What a run of the engine takes its micro-batches from."""

    position: Position
    """Where the next one begins."""

    over: bool
    """Whether no more come in this run."""

    def take(self) -> Batch | None:
        """The next micro-batch; None if none has come within a moment, or none is to come."""

    def finished(self, batch: Batch) -> None:
        """The batch has its outcome, durably."""

    def forget(self, before: Position) -> None:
        """Everything before this place has its outcome, and the bundle that made it has ended."""


_feeds: Final[dict[int, Feed]] = {}
_numbers: Final = itertools.count(1)


class Uploads(beam.PTransform):
    """The micro-batches of a feed.

    A run of the engine must end now and then: Beam keeps some 40 KB of each bundle until it does.
    """

    def __init__(self, number: int) -> None:
        """Read the feed that `registered` gave this number."""
        super().__init__()
        self._number = number

    def expand(self, begin: Any) -> Any:
        """One micro-batch a bundle."""
        return begin | ReadFromUnboundedSource(
            _Source(self._number), poll_interval=0, max_records_per_bundle=1
        )


class registered:  # noqa: N801 - used as a context manager, like contextlib's
    """Within the block Beam finds the feed by the number that it yields."""

    def __init__(self, feed: Feed) -> None:
        """Register `feed`."""
        self._feed = feed
        self._number = next(_numbers)

    def __enter__(self) -> int:
        _feeds[self._number] = self._feed
        return self._number

    def __exit__(self, *_: object) -> None:
        del _feeds[self._number]


def feed_of(number: int) -> Feed:
    """The registered feed."""
    return _feeds[number]


@dataclass(frozen=True)
class _Mark(CheckpointMark):
    """A place in the log, as Beam's checkpoint."""

    number: int
    position: Position

    def finalize_checkpoint(self) -> None:
        feed_of(self.number).forget(self.position)


class _Reader(UnboundedReader):
    def __init__(self, number: int) -> None:
        self._number = number
        self._feed = feed_of(number)
        self._batch: Batch | None = None

    def start(self) -> bool:
        return self.advance()

    def advance(self) -> bool:
        self._batch = self._feed.take()
        return self._batch is not None

    def get_current(self) -> Batch | None:
        batch, self._batch = self._batch, None  # held by nobody but the step at work
        return batch

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp.now()

    def get_watermark(self) -> Timestamp:
        return MAX_TIMESTAMP if self._feed.over else Timestamp.now()

    def get_checkpoint_mark(self) -> _Mark:
        return _Mark(self._number, self._feed.position)


class _Source(UnboundedSource):
    def __init__(self, number: int) -> None:
        self._number = number

    def split(self, desired_num_splits: int, options: Any = None) -> list[_Source]:
        del desired_num_splits, options
        return [self]

    def create_reader(self, options: Any, checkpoint_mark: _Mark | None) -> _Reader:
        del options, checkpoint_mark  # the feed knows where it is
        return _Reader(self._number)

    def get_checkpoint_mark_coder(self) -> coders.Coder:
        return coders.PickleCoder()
