"""Which frames of a video are kept, and how closely they are looked at. Pure.

Every frame is glanced at: its plain PDQ code costs a sixth of its decoding. That is needed, since a
moving camera changes the code by 25 to 53 bits from one frame to the next: of frames taken once a
second, only a fifth of the others lie within 31 bits. A frame is then one of three:

    SAME     near-equal to the last one kept: that one stands for it.
    MOVING   another code: it is kept, and its turned and mirrored ones, but no other view.
    KEY      looked at in every view: the first, the last, one after each cut, and one every
             half second of what moves.

Cuts and moving frames have an allowance that fills with the video's time; the half-second rate
does not depend on it. So hostile flicker costs no more than film, and is thinned evenly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from matchers import limits
from matchers.pdq.luma import Glance


class Look(Enum):
    """How closely a frame is looked at."""

    SAME = "same"
    MOVING = "moving"
    KEY = "key"


@dataclass
class _Allowance:
    """So many at once, and so many a second in the long run."""

    at_once: float
    per_second: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.at_once

    def wait(self, seconds: float) -> None:
        self.left = min(self.at_once, self.left + seconds * self.per_second)

    def take(self) -> bool:
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Sampler:
    """Judges the frames of one track, in the order in which they are shown."""

    def __init__(self) -> None:
        self._before: Glance | None = None
        self._kept: Glance | None = None
        self._key: Glance | None = None
        self._now = 0.0
        self._key_seconds = 0.0
        self._cuts = _Allowance(limits.CUTS_AT_ONCE, limits.CUTS_PER_SECOND)
        self._moving = _Allowance(limits.MOVING_AT_ONCE, limits.MOVING_PER_SECOND)

    def look(self, frame: Glance, seconds: float) -> Look:
        """How closely to look at the next frame.

        Args:
            frame: what it looks like.
            seconds: for how long the frame before was shown.
        """
        waited = max(seconds, limits.FRAME_LASTS_SECONDS)
        self._now += waited
        self._cuts.wait(waited)
        self._moving.wait(waited)
        look = self._judge(frame)
        self._before = frame
        if look is not Look.SAME:
            self._kept = frame
        if look is Look.KEY:
            self._key, self._key_seconds = frame, self._now
        return look

    def _judge(self, frame: Glance) -> Look:
        if self._before is None or self._kept is None or self._key is None:
            return Look.KEY
        is_cut = differ(frame, self._before, limits.CUT_BITS)
        if is_cut and differ(frame, self._key, limits.NEAR_EQUAL_BITS) and self._cuts.take():
            return Look.KEY
        is_due = self._now - self._key_seconds >= limits.STEADY_SECONDS
        if is_due and differ(frame, self._key, limits.NEAR_EQUAL_BITS):
            return Look.KEY
        if differ(frame, self._kept, limits.NEAR_EQUAL_BITS) and self._moving.take():
            return Look.MOVING
        return Look.SAME


def differ(one: Glance, other: Glance, bits: int) -> bool:
    """Whether two frames are further apart than `bits`, and by more than a coder's noise."""
    if int(np.bitwise_count(one.code ^ other.code).sum()) <= bits:
        return False
    if min(one.quality, other.quality) >= limits.PDQ_MIN_QUALITY:
        return True
    return float(np.abs(one.plane - other.plane).mean()) > limits.LEAST_CHANGE
