"""A segment: one file of sealed records, written by one process from its start to its end.

    header   magic (8), salt (32), id of the ledger's key (8)
    record   lengths of its three sections (4 each), CRC-32 of these (4), the sections
    section  AES-256-GCM under the segment's own key; nonce: number of the record (8), of the
             section (4); bound to the header

Numbers are unsigned and little-endian. A segment is never opened for writing again, so no nonce
comes twice. A writer that was killed leaves a torn record at the end, of a batch that has no
outcome yet and is scanned again; a record that is whole and does not open was altered.
"""

from __future__ import annotations

import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from matchers.files import sync_folder
from pipeline.errors import KeysRefused, LedgerDamaged
from pipeline.ledger.key import LedgerKey

MAGIC: Final = b"sluisLG1"
_HEADER: Final = struct.Struct("<8s32s8s")
_LENGTHS: Final = struct.Struct("<III")
_PREFIX_BYTES: Final = _LENGTHS.size + 4
_NONCE: Final = struct.Struct("<QI")

Sections = tuple[bytes, bytes, bytes]


@dataclass(frozen=True)
class Place:
    """Where a record stands: its number, the byte it begins at, and its sections' lengths."""

    number: int
    offset: int
    lengths: tuple[int, int, int]

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.offset + _PREFIX_BYTES + sum(self.lengths)


class SegmentWriter:
    """A new segment."""

    def __init__(self, path: Path, key: LedgerKey) -> None:
        """Make the file, for its owner alone."""
        salt = secrets.token_bytes(32)
        self._header = _HEADER.pack(MAGIC, salt, key.key_id)
        self._cipher = AESGCM(key.of_segment(salt))
        self._number = 0
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._file.write(self._header)
        self._file.flush()
        sync_folder(path.parent)
        self.path = path

    def append(self, sections: Sections) -> Place:
        """Seal and write a record; it is durable when this returns.

        Raises:
            OSError: it is not; append nothing further.
        """
        sealed = [
            self._cipher.encrypt(_NONCE.pack(self._number, place), section, self._header)
            for place, section in enumerate(sections)
        ]
        first, second, third = map(len, sealed)
        lengths = _LENGTHS.pack(first, second, third)
        place = Place(self._number, self._file.tell(), (first, second, third))
        self._file.write(b"".join([lengths, zlib.crc32(lengths).to_bytes(4, "little"), *sealed]))
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._number += 1
        return place

    def close(self) -> None:
        """Nothing more is appended."""
        self._file.close()


class Segment:
    """A segment that is read; perhaps one that is still being written."""

    def __init__(self, path: Path, key: LedgerKey) -> None:
        """Open it.

        Raises:
            FileNotFoundError: it is no longer there.
            KeysRefused: it was sealed with another key.
            LedgerDamaged: it is no segment.
        """
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._header = self._file.read(_HEADER.size)
        self.is_begun = len(self._header) == _HEADER.size  # else killed before its first record
        if not self.is_begun:
            return
        magic, salt, key_id = _HEADER.unpack(self._header)
        if magic != MAGIC:
            self.close()
            raise LedgerDamaged(f"{path} is no segment of a hash ledger: move it away")
        if key_id != key.key_id:
            self.close()
            raise KeysRefused(
                f"{path} was sealed with another ledger.key: give the key folder that the ledger "
                "was made with. If that key is gone, so is the ledger: remove its folder"
            )
        self._cipher = AESGCM(key.of_segment(salt))

    def places(self) -> Iterator[Place]:
        """Where its whole records stand; see `torn_bytes` after the last one.

        Raises:
            LedgerDamaged: a record's lengths were altered: what follows cannot be found.
        """
        size = os.fstat(self._file.fileno()).st_size
        offset, number = len(self._header), 0
        while offset + _PREFIX_BYTES <= size:
            self._file.seek(offset)
            prefix = self._file.read(_PREFIX_BYTES)
            lengths = prefix[: _LENGTHS.size]
            if zlib.crc32(lengths).to_bytes(4, "little") != prefix[_LENGTHS.size :]:
                raise self._damaged(offset)
            place = Place(number, offset, _LENGTHS.unpack(lengths))
            if place.end > size:
                break
            yield place
            offset, number = place.end, number + 1
        self.torn_bytes = size - offset

    def unseal(self, place: Place, section: int) -> bytes:
        """One section of a record.

        Raises:
            LedgerDamaged: it was altered.
        """
        before = place.lengths[:section]
        self._file.seek(place.offset + _PREFIX_BYTES + sum(before))
        sealed = self._file.read(place.lengths[section])
        try:
            return self._cipher.decrypt(_NONCE.pack(place.number, section), sealed, self._header)
        except InvalidTag:
            raise self._damaged(place.offset) from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _damaged(self, offset: int) -> LedgerDamaged:
        return LedgerDamaged(
            f"{self.path}: the record at byte {offset} is not as it was written. Move the file "
            "away: what it held must be scanned again to be matched"
        )
