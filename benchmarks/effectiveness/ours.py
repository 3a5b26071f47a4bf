"""A picture listed as it is and uploaded in every way: how near each profile brings the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from benchmarks.effectiveness import kept
from benchmarks.effectiveness.pictures import Picture
from benchmarks.effectiveness.uploads import FAR, UPLOADS, Codes, blobs, nearest
from matchers import images, limits, pdq
from matchers.views import ViewCodes, refine, view_codes

PROFILES: Final = ("plain", "standard", "thorough", "refine")
"""From the fewest views to the most; each looks at all that the one before it looks at."""
LEVELS: Final = PROFILES[:3]
"""Those that differ in their views; "refine" has thorough's, and fits a box to what they find."""
CODE: Final = (
    "matchers/grey.py", "matchers/images.py", "matchers/jpeg.py", "matchers/limits.py",
    "matchers/pdq", "matchers/views", "benchmarks/effectiveness/changes.py",
    "benchmarks/effectiveness/edits.py", "benchmarks/effectiveness/ours.py",
    "benchmarks/effectiveness/uploads.py",
)  # fmt: skip


@dataclass(frozen=True)
class Upload:
    """What an upload is looked up by.

    Attributes:
        seen: the views of the widest profile.
        level: uint8 [n], the first of `LEVELS` that looks at each.
        rows: int64, the views that have a quality at which codes are looked up.
    """

    seen: ViewCodes
    level: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, blob: bytes) -> Self:
        """Decode, and take all views."""
        with images.decoded(blob) as pixels:
            standard = view_codes(pixels, "standard")
            seen = view_codes(pixels, "refine")
        level = np.where(np.isin(seen.views, standard.views), 1, 2).astype(np.uint8)
        level[0] = 0
        return cls(seen, level, np.flatnonzero(seen.quality >= limits.PDQ_MIN_QUALITY))

    def distances(self, indicator: Codes) -> list[int]:
        """Bits to an indicator (uint8 [32]), for each of `PROFILES`."""
        found = []
        for level in range(len(LEVELS)):
            rows = self.rows[self.level[self.rows] <= level]
            found.append(nearest(self.seen.codes[rows], indicator))
        return [*found, min(found[-1], self.fitted(indicator))]

    def fitted(self, indicator: Codes) -> int:
        """Bits to an indicator after the fit; `FAR` where no view comes near enough for one.

        As the scan does: of the views within `limits.REFINE_RADIUS_BITS`, the nearest that can be
        fitted is.
        """
        bits = np.bitwise_count(self.seen.codes[self.rows] ^ indicator).sum(axis=1)
        for place in np.argsort(bits, kind="stable"):
            if bits[place] > limits.REFINE_RADIUS_BITS:
                break
            row = self.rows[place]
            if self.seen.plane[row] >= 0:
                plane = self.seen.planes[self.seen.plane[row]]
                found = refine(plane, int(self.seen.views[row]), indicator)
                if found is not None:
                    return found.distance_bits
        return FAR


def measure(picture: Picture) -> kept.Arrays:
    """List a picture and look at every upload of it.

    Returns:
        indicator: uint8 [32], its plain PDQ code.
        quality: uint8 [], of that code.
        distances: int16 [uploads, profiles], bits to the own indicator.
        codes: uint8 [n, 32], of all views of all uploads that are looked up.
        upload: int16 [n], the row of `UPLOADS` that each code belongs to.
        level: uint8 [n], as in `Upload`.
    """
    indicator, quality = pdq.hash_blob(picture.blob)
    distances = np.empty((len(UPLOADS), len(PROFILES)), np.int16)
    codes, uploads, levels = [], [], []
    for row, blob in enumerate(blobs(picture)):
        upload = Upload.of(blob)
        distances[row] = upload.distances(indicator)
        codes.append(upload.seen.codes[upload.rows])
        levels.append(upload.level[upload.rows])
        uploads.append(np.full(len(upload.rows), row, np.int16))
    return {
        "indicator": indicator,
        "quality": np.array(quality, np.uint8),
        "distances": distances,
        "codes": np.concatenate(codes),
        "upload": np.concatenate(uploads),
        "level": np.concatenate(levels),
    }
