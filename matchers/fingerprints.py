"""Pictures -> fingerprints: all that is left of visual content once its pixels are gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from matchers import animation, images, limits, pdq
from matchers.errors import DecodeError
from matchers.grey import StoredGrey, grey_as_stored
from matchers.pdq.luma import Glance
from matchers.pictures import RENDERINGS, Picture, Rendering
from matchers.sampling import clearer
from matchers.views import Profile, ViewCodes, view_codes, view_codes_of_grey


@dataclass(frozen=True)
class Fingerprints:
    """The codes of one visual item; n codes of f pictures.

    Of an animation or video, near-equal neighbours are one picture with a span of time.

    Attributes:
        codes: uint8 [n, 32].
        quality: uint8 [n].
        views: uint16 [n], see `views.view_name`.
        frame: int32 [n], row of `frames`.
        frames: float32 [f, 2], first second that the picture stands for and the second at which
            the next one takes its place; NaN for a still.
        renderings: uint8 [f], row of `pictures.RENDERINGS`.
        planes: float32 [r, 64, 64], see `views.ViewCodes`.
        plane: int32 [n], row of `planes`, or -1.
        too_low: frames of a moving scene that were left out for their low quality.
    """

    codes: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.uint8]
    views: npt.NDArray[np.uint16]
    frame: npt.NDArray[np.int32]
    frames: npt.NDArray[np.float32]
    renderings: npt.NDArray[np.uint8]
    planes: npt.NDArray[np.float32]
    plane: npt.NDArray[np.int32]
    too_low: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        arrays = (self.codes, self.quality, self.views, self.frame, self.frames)
        return sum(array.nbytes for array in (*arrays, self.renderings, self.planes, self.plane))

    def rendering(self, row: int) -> Rendering:
        """How the picture of a code comes from what is stored."""
        return RENDERINGS[int(self.renderings[self.frame[row]])]

    def spans_seconds(self, rows: npt.NDArray[np.int64]) -> tuple[tuple[float, float], ...]:
        """First and last second of each showing that these codes belong to; none for a still.

        Showings with no more than `limits.SPAN_GAP_SECONDS` between them are one.
        """
        shown = self.frames[np.unique(self.frame[rows])].astype(np.float64)
        shown = shown[~np.isnan(shown[:, 0])]
        spans: list[tuple[float, float]] = []
        for start, end in shown[np.argsort(shown[:, 0], kind="stable")].tolist():
            if spans and start - spans[-1][1] <= limits.SPAN_GAP_SECONDS:
                spans[-1] = (spans[-1][0], max(spans[-1][1], end))
            else:
                spans.append((start, end))
        return tuple(spans)

    @property
    def is_still(self) -> bool:
        """Whether no picture has a place in time."""
        return bool(np.isnan(self.frames).all())


def of_pictures(
    shown: Iterator[Picture], profile: Profile
) -> tuple[Fingerprints | None, str | None]:
    """Fingerprints of a file's pictures.

    Args:
        shown: its pictures; each is let go of before the next is asked for.
        profile: the views to look at.

    Returns:
        The fingerprints, None if there was no picture at all; and the reason for which reading
        ended early, None if all was read.
    """
    seen = _Seen()
    damage = None
    try:
        for picture in shown:
            if picture.glance is None:
                seen.add(view_codes(picture.pixels, profile), picture)
            else:
                seen.add_glance(picture.glance, picture, profile)
    except DecodeError as error:
        damage = error.reason
    return seen.joined(), damage


def of_image(
    blob: bytes, shown: Iterator[Picture], profile: Profile, mode: pdq.Mode
) -> tuple[Fingerprints | None, str | None]:
    """Fingerprints of a still, from its grey picture alone where `mode` allows."""
    if mode == "fast":
        try:
            seen = []
            if not animation.has_more(blob):
                with grey_as_stored(blob) as grey:
                    seen = _of_grey(grey, profile)
        except DecodeError as error:
            return None, error.reason
        if seen:
            return _joined(seen), None
    return of_pictures(shown, profile)


def _of_grey(grey: StoredGrey | None, profile: Profile) -> list[_Entry]:
    """Both ways to look at a JPEG that asks to be turned; nothing where fast will not do."""
    if grey is None:
        return []
    ways: list[tuple[StoredGrey, Rendering]] = [(grey, "as_shown")]
    if any(grey.turn):
        ways.append((replace(grey, turn=images.TURNS[1]), "as_stored"))
    seen = [(view_codes_of_grey(one, profile), rendering) for one, rendering in ways]
    return (
        [_Entry(codes, way, np.nan, np.nan) for codes, way in seen if codes] if seen[0][0] else []
    )


@dataclass
class _Entry:
    """A picture and, in an animation or video, the span of time it stands for."""

    views: ViewCodes
    rendering: Rendering
    start_seconds: float
    end_seconds: float


class _Seen:
    """The pictures of an item so far; near-equal neighbours are one."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._codes = self._planes = 0
        self._on_show: list[_Entry] = []  # the last picture's renderings
        self._too_low = 0

    def add(self, views: ViewCodes, picture: Picture) -> None:
        """A picture that was looked at closely.

        Raises:
            DecodeError: reason `too_many_frames`.
        """
        second = np.nan if picture.time_seconds is None else picture.time_seconds
        if any(_is_same(views, picture, entry) for entry in self._on_show):
            self._end_show(second)
            return
        self._codes += len(views.codes)
        if self._codes > limits.MAX_CODES:
            raise DecodeError("too_many_frames")
        self._planes += len(views.planes)
        if self._planes > limits.MAX_PLANES:
            views = replace(views, planes=views.planes[:0], plane=np.full_like(views.plane, -1))
        if picture.rendering == "as_shown":
            self._end_show(second)
            self._on_show = []
        entry = _Entry(views, picture.rendering, second, second)
        self._entries.append(entry)
        self._on_show.append(entry)

    def add_glance(self, glance: Glance, picture: Picture, profile: Profile) -> None:
        """A frame of a moving scene: turned and mirrored too, if any view but the plain is."""
        self._end_show(picture.time_seconds or 0.0)
        if self._on_show:
            shown = self._on_show[0].views
            distance = np.bitwise_count(shown.codes[0] ^ glance.code).sum()
            is_same = distance <= limits.NEAR_EQUAL_BITS
            if is_same and not clearer(glance.quality, int(shown.quality[0])):
                return
        if glance.quality < limits.PDQ_MIN_QUALITY:
            self._too_low += 1
            return
        codes = glance.code[None] if profile == "plain" else glance.dihedral()
        self.add(_full_views(codes, glance.quality), picture)

    def _end_show(self, second: float) -> None:
        """What was on show stays until then; a still does not, nor what another track showed."""
        for entry in self._on_show:
            if entry.start_seconds <= second:
                entry.end_seconds = second

    def joined(self) -> Fingerprints | None:
        """All of them; None if there was no picture."""
        return replace(_joined(self._entries), too_low=self._too_low) if self._entries else None


def _is_same(views: ViewCodes, picture: Picture, entry: _Entry) -> bool:
    """Whether a picture is what is on show already, in every view."""
    before = entry.views
    return (
        picture.time_seconds is not None
        and picture.rendering == entry.rendering
        and np.array_equal(views.views, before.views)
        and int(np.bitwise_count(views.codes ^ before.codes).sum(axis=1).max())
        <= limits.NEAR_EQUAL_BITS
        and not clearer(int(views.quality.max()), int(before.quality.max()))
    )


def _full_views(codes: npt.NDArray[np.uint8], quality: int) -> ViewCodes:
    """The full frame, in as many of the eight dihedral views as there are codes."""
    count = len(codes)
    return ViewCodes(
        codes,
        np.full(count, quality, np.uint8),
        np.arange(count, dtype=np.uint16),
        np.zeros((0, 64, 64), np.float32),
        np.full(count, -1, np.int16),
    )


def _joined(entries: list[_Entry]) -> Fingerprints:
    views = [one.views for one in entries]
    sizes = [len(one.codes) for one in views]
    before = np.cumsum([0, *(len(one.planes) for one in views)])
    return Fingerprints(
        codes=np.concatenate([one.codes for one in views]),
        quality=np.concatenate([one.quality for one in views]),
        views=np.concatenate([one.views for one in views]),
        frame=np.repeat(np.arange(len(views), dtype=np.int32), sizes),
        frames=np.array([[one.start_seconds, one.end_seconds] for one in entries], np.float32),
        renderings=np.array([RENDERINGS.index(one.rendering) for one in entries], np.uint8),
        planes=np.concatenate([one.planes for one in views]),
        plane=np.concatenate(
            [
                np.where(one.plane < 0, -1, one.plane + first)
                for one, first in zip(views, before[:-1], strict=True)
            ]
        ).astype(np.int32),
    )
