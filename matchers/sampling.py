"""Which frames of a video are kept, and how closely they are looked at. Pure.

Every frame is glanced at: its plain PDQ code costs a sixth of its decoding. That is needed, since a
moving camera changes the code by 25 to 53 bits from one frame to the next: of frames taken once a
second, only a fifth of the others lie within 31 bits. A frame is then one of three:

    SAME     near-equal to the last one kept: that one stands for it.
    MOVING   another code: it is kept, and its turned and mirrored ones, but no other view.
    KEY      looked at in every view: the first, the last, one after each cut, one every half
             second of what changes; of what stands still one after 0.5, 1, 2, 4, 8, 8 … seconds.

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
        self._again_seconds = limits.STEADY_SECONDS
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
            self._again_seconds = limits.STEADY_SECONDS
            return Look.KEY
        waited = self._now - self._key_seconds
        if waited >= limits.STEADY_SECONDS:
            # Views of what lies within a border do not hang on the plain code, so the plane is
            # compared too, and what stands still is looked at again now and then.
            is_new = differ(frame, self._key, limits.NEAR_EQUAL_BITS) or has_changed(
                frame, self._key
            )
            if is_new or is_clearer(frame, self._key) or waited >= self._again_seconds:
                again = limits.STEADY_SECONDS if is_new else 2 * self._again_seconds
                self._again_seconds = min(again, limits.STILL_SECONDS)
                return Look.KEY
        is_new = differ(frame, self._kept, limits.NEAR_EQUAL_BITS) or is_clearer(frame, self._kept)
        if is_new and self._moving.take():
            return Look.MOVING
        return Look.SAME


def is_clearer(one: Glance, other: Glance) -> bool:
    """Whether a frame shows more than another, though its code be the same."""
    return clearer(one.quality, other.quality)


def clearer(quality: int, before: int) -> bool:
    """Whether one PDQ quality is so much better than another that the frames are two."""
    crosses = before < limits.PDQ_MIN_QUALITY <= quality
    return crosses or quality >= before + limits.CLEARER_QUALITY


def differ(one: Glance, other: Glance, bits: int) -> bool:
    """Whether two frames are further apart than `bits`, and by more than a coder's noise."""
    if int(np.bitwise_count(one.code ^ other.code).sum()) <= bits:
        return False
    if min(one.quality, other.quality) >= limits.PDQ_MIN_QUALITY:
        return True
    return has_changed(one, other)


def has_changed(one: Glance, other: Glance) -> bool:
    """Whether two frames differ by more than a coder's noise."""
    return float(np.abs(one.plane - other.plane).mean()) > limits.LEAST_CHANGE
