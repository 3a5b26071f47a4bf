"""Where an indicator set is, if it may be another version's folder tomorrow.

A place is a folder of one set (or a link to one, which may be switched over), or a folder of the
set's versions with a file CURRENT that names the one that holds. CURRENT is replaced whole: written
beside itself, then renamed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matchers.errors import IndicatorSetError

CURRENT: Final = "CURRENT"
_LONGEST_NAME: Final = 255


def resolve(place: Path) -> Path:
    """The folder of the set that holds at a place.

    Raises:
        IndicatorSetError: CURRENT names no folder beside it.
    """
    pointer = place / CURRENT
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return place.resolve()
    except (OSError, ValueError) as error:
        raise IndicatorSetError(f"{pointer} cannot be read: {type(error).__name__}") from error
    if not 0 < len(name) <= _LONGEST_NAME or name in (".", "..") or "/" in name or "\0" in name:
        raise IndicatorSetError(
            f"{pointer} must hold the name of a folder beside it, and nothing else"
        )
    return (place / name).resolve()
