"""Motion photos: a phone's still with a short video behind it, which viewers play.

The video is a whole MP4 file, appended to a JPEG (Android, Samsung) or in a box of a HEIF file.
It is known by its first box, wherever that stands.
"""

from __future__ import annotations

import re
from typing import Final

_FIRST_BOX: Final = re.compile(rb"\0\0[\0-\x10].ftyp[0-9A-Za-z ]{4}", re.DOTALL)
"""Length (some kilobytes at most) and type of an `ftyp` box, and its brand (ISO/IEC 14496-12)."""


def clip_behind(still: bytes | memoryview) -> memoryview | None:
    """The video behind a still, to the file's end; None where there is none."""
    found = _FIRST_BOX.search(still, 8)  # a HEIF file begins with such a box itself
    return memoryview(still)[found.start() :] if found else None
