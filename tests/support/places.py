"""Where committed and local test material lies."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PHOTOS = REPOSITORY / "deploy" / "demo" / "photos"
VECTORS = REPOSITORY / "tests" / "vectors"
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
"""Pictures for local measurement only, never committed: a checkout elsewhere does not have them."""


def demo_photos() -> list[Path]:
    """The committed photographs, in name order."""
    return sorted(PHOTOS.glob("*.jpg"))
