"""Files of a key folder: private ones are readable by their owner alone, and never overwritten.

Public ones are what a party trusts: nobody but their owner may change them.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import KeysRefused


def write(path: Path, data: bytes) -> None:
    """Write a new file of a key folder; a secret one for its owner alone.

    Its bytes are durable when this returns; its name is after `sync_folder`.
    """
    mode = 0o644 if path.suffix in (".pem", ".pub") else 0o600
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a new file's own must outlive a power cut."""
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def check_private(path: Path) -> None:
    """Refuse a file that others can read.

    Raises:
        KeysRefused: they can, or there is none.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise absent(path, error) from error
    if mode & 0o077:
        raise KeysRefused(f"{path} can be read by others: chmod 600 {path}")


def check_trusted(path: Path) -> None:
    """Refuse a file that others can change, or put another in place of.

    Raises:
        KeysRefused: they can, or there is none.
    """
    for place in (path, path.parent):
        try:
            mode = place.stat().st_mode
        except OSError as error:
            raise absent(path, error) from error
        if mode & 0o022:
            raise KeysRefused(
                f"{place} can be changed by others, and with it whom this party trusts: "
                f"chmod go-w {place}"
            )


def absent(path: Path, error: OSError) -> KeysRefused:
    """The refusal of a file that cannot be read."""
    return KeysRefused(
        f"{path}: {error.strerror}. Give the key folder of this party; `sluis keys new` makes a "
        "working set"
    )


def read(path: Path) -> bytes:
    """A file of a key folder.

    Raises:
        KeysRefused: it cannot be read, or others can change it.
    """
    check_trusted(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise absent(path, error) from error


def secret(path: Path, length: int) -> bytes:
    """A secret key of `length` bytes, kept as hex digits.

    Raises:
        KeysRefused: missing, damaged, or readable by others.
    """
    check_private(path)
    try:
        value = bytes.fromhex(read(path).decode().strip())
    except ValueError:
        value = b""
    if len(value) != length:
        raise KeysRefused(f"{path} is damaged: it must hold {2 * length} hex digits")
    return value
