"""A reference -> its bytes: local files directly, everything else through Beam's FileSystems.

The bytes go straight into sealed memory (`sandbox.memory`), which the process that decodes them can
be shown without another copy.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
import urllib.parse
import weakref
from collections.abc import Callable
from typing import BinaryIO, Final

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from matchers import limits, media
from matchers.room import Budget
from pipeline.errors import ItemError
from pipeline.sandbox import memory

_LOCAL_SCHEME = "file://"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # RFC 3986 section 3.1
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR)
_HEAD_BYTES: Final = 1024  # enough for `media.claimed`
_PIECE_BYTES: Final = 1024 * 1024

_large: Final = Budget(limits.MAX_LARGE_BYTES_AT_ONCE)
os.register_at_fork(after_in_child=_large.count_anew)


def read_item(uri: str) -> memoryview:
    """Read one hosted object, once nobody holds too much of the memory that large ones share.

    Args:
        uri: a local path, a file:// URL, or an object-store URI that Beam knows (s3://, gs://, …).

    Returns:
        Its bytes. Of a video or container at most `limits.MAX_LARGE_BYTES`, of anything else
        `limits.MAX_ENCODED_BYTES`. They are gone when nobody refers to them any more.

    Raises:
        ItemError: stage read; reason `not_found`, `not_permitted`, `not_a_file`, `too_many_bytes`
            or `unreadable`.
    """
    try:
        if uri.startswith(_LOCAL_SCHEME):
            return _read_local(
                urllib.parse.unquote_to_bytes(uri[len(_LOCAL_SCHEME) :].removeprefix("localhost"))
            )
        if _SCHEME.match(uri):
            # As it is: Beam would unpack what is named .gz, and a digest is of the stored bytes.
            with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                return _read(file, lambda: FileSystems.get_filesystem(uri).size(uri))
        return _read_local(os.fsencode(uri))
    except FileNotFoundError:
        raise ItemError("read", "not_found") from None
    except PermissionError:
        raise ItemError("read", "not_permitted") from None
    except ItemError:
        raise
    except Exception:  # noqa: BLE001 - stores raise anything; the text may name the object
        raise ItemError("read", "unreadable") from None


def can_read(uri: str) -> bool:
    """Whether this installation knows the URI's store."""
    match = _SCHEME.match(uri)
    return match is None or _knows(match.group())


@functools.cache
def _knows(scheme: str) -> bool:
    if scheme == _LOCAL_SCHEME:
        return True
    try:
        FileSystems.get_filesystem(scheme + "any")
    except ValueError:
        return False
    return True


def _read_local(path: bytes) -> memoryview:
    """A regular file only: a device or a pipe could hang the run, a link could lead elsewhere."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise ItemError("read", "not_a_file") from None
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ItemError("read", "not_a_file")
    with os.fdopen(handle, "rb", buffering=0) as file:
        return _read(file, lambda: status.st_size)


def _read(file: BinaryIO, size: Callable[[], int]) -> memoryview:
    """All of an open object; `size` is only asked of one that is large."""
    small = limits.MAX_ENCODED_BYTES
    held = contextlib.ExitStack()

    def fill(descriptor: int) -> int:
        head = _up_to(file, min(_HEAD_BYTES, small + 1))
        _write_all(descriptor, head)
        length = len(head) + _copy(file, descriptor, small + 1 - len(head))
        if length <= small:
            return length
        whole = size()
        if media.claimed(head) not in ("video", "container") or whole > limits.MAX_LARGE_BYTES:
            raise ItemError("read", "too_many_bytes")
        held.enter_context(_large.hold(whole))
        length += _copy(file, descriptor, whole + 1 - length)
        if length > whole:
            raise ItemError("read", "unreadable")  # it grows while it is read
        return length

    try:
        sealed = memory.write(fill)
    except BaseException:
        held.close()
        raise
    if isinstance(sealed, memory.Sealed):
        weakref.finalize(sealed, held.close)
    return memoryview(sealed)


def _copy(file: BinaryIO, descriptor: int, most: int) -> int:
    """Copy at most so many bytes; returns how many there were."""
    copied = 0
    while piece := _up_to(file, min(_PIECE_BYTES, most - copied)):
        _write_all(descriptor, piece)
        copied += len(piece)
    return copied


def _up_to(file: BinaryIO, most: int) -> bytes:
    """So many bytes, or all that are left: stores may give fewer at a time."""
    pieces = []
    while most > 0 and (piece := file.read(most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _write_all(descriptor: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
