"""Pictures -> fingerprints: all that is left of visual content once its pixels are gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from matchers import images, pdq
from matchers.errors import DecodeError
from matchers.grey import StoredGrey, grey_as_stored
from matchers.pictures import RENDERINGS, Picture, Rendering
from matchers.views import Profile, ViewCodes, view_codes, view_codes_of_grey


@dataclass(frozen=True)
class Fingerprints:
    """The codes of one visual item; n codes of f pictures.

    Attributes:
        codes: uint8 [n, 32].
        quality: uint8 [n].
        views: uint16 [n], see `views.view_name`.
        frame: int32 [n], row of `frames`.
        frames: float32 [f, 2], first and last second that the picture stands for; NaN for a still.
        renderings: uint8 [f], row of `pictures.RENDERINGS`.
        planes: float32 [r, 64, 64], see `views.ViewCodes`.
        plane: int32 [n], row of `planes`, or -1.
    """

    codes: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.uint8]
    views: npt.NDArray[np.uint16]
    frame: npt.NDArray[np.int32]
    frames: npt.NDArray[np.float32]
    renderings: npt.NDArray[np.uint8]
    planes: npt.NDArray[np.float32]
    plane: npt.NDArray[np.int32]

    def rendering(self, row: int) -> Rendering:
        """How the picture of a code comes from what is stored."""
        return RENDERINGS[int(self.renderings[self.frame[row]])]

    def spans_seconds(self, rows: npt.NDArray[np.int64]) -> tuple[tuple[float, float], ...]:
        """First and last second of each showing that these codes belong to; none for a still."""
        frames = np.unique(self.frame[rows])
        if self.is_still or not len(frames):
            return ()
        runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
        return tuple(
            (float(self.frames[run[0], 0]), float(self.frames[run[-1], 1])) for run in runs
        )

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
    seen: list[tuple[ViewCodes, float, Rendering]] = []
    damage = None
    try:
        for picture in shown:
            second = np.nan if picture.time_seconds is None else picture.time_seconds
            seen.append((view_codes(picture.pixels, profile), second, picture.rendering))
    except DecodeError as error:
        damage = error.reason
    return (_joined(seen) if seen else None), damage


def of_image(
    blob: bytes, shown: Iterator[Picture], profile: Profile, mode: pdq.Mode
) -> tuple[Fingerprints | None, str | None]:
    """Fingerprints of a still, from its grey picture alone where `mode` allows."""
    if mode == "fast":
        try:
            with grey_as_stored(blob) as grey:
                seen = _of_grey(grey, profile)
        except DecodeError as error:
            return None, error.reason
        if seen:
            return _joined(seen), None
    return of_pictures(shown, profile)


def _of_grey(grey: StoredGrey | None, profile: Profile) -> list[tuple[ViewCodes, float, Rendering]]:
    """Both ways to look at a JPEG that asks to be turned; nothing where fast will not do."""
    if grey is None:
        return []
    ways: list[tuple[StoredGrey, Rendering]] = [(grey, "as_shown")]
    if any(grey.turn):
        ways.append((replace(grey, turn=images.TURNS[1]), "as_stored"))
    seen = [(view_codes_of_grey(one, profile), rendering) for one, rendering in ways]
    return [(codes, np.nan, way) for codes, way in seen if codes] if seen[0][0] else []


def _joined(seen: list[tuple[ViewCodes, float, Rendering]]) -> Fingerprints:
    views = [one for one, _, _ in seen]
    sizes = [len(one.codes) for one in views]
    before = np.cumsum([0, *(len(one.planes) for one in views)])
    return Fingerprints(
        codes=np.concatenate([one.codes for one in views]),
        quality=np.concatenate([one.quality for one in views]),
        views=np.concatenate([one.views for one in views]),
        frame=np.repeat(np.arange(len(views), dtype=np.int32), sizes),
        frames=np.array([[second, second] for _, second, _ in seen], np.float32),
        renderings=np.array([RENDERINGS.index(name) for _, _, name in seen], np.uint8),
        planes=np.concatenate([one.planes for one in views]),
        plane=np.concatenate(
            [
                np.where(one.plane < 0, -1, one.plane + first)
                for one, first in zip(views, before[:-1], strict=True)
            ]
        ).astype(np.int32),
    )
