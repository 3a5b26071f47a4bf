"""PDQ: encoded images or pixels -> 256-bit codes and quality, single, batched, and all views."""

from matchers.pdq.hasher import (
    DIHEDRAL_VIEWS,
    Mode,
    PdqBatch,
    check_mode,
    dihedral,
    hash_blob,
    hash_images,
    hash_pixels,
)

__all__ = [
    "DIHEDRAL_VIEWS",
    "Mode",
    "PdqBatch",
    "check_mode",
    "dihedral",
    "hash_blob",
    "hash_images",
    "hash_pixels",
]
