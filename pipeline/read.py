"""A reference -> its bytes: local files directly, everything else through Beam's FileSystems."""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
import urllib.parse

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from matchers import limits
from pipeline.errors import ItemError

_LOCAL_SCHEME = "file://"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # RFC 3986 section 3.1
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR)


def read_item(uri: str) -> bytes:
    """Read one hosted object, at most `limits.MAX_ENCODED_BYTES` of it.

    Args:
        uri: a local path, a file:// URL, or an object-store URI that Beam knows (s3://, gs://, …).

    Raises:
        ItemError: stage read; reason `not_found`, `not_permitted`, `not_a_file`, `too_many_bytes`
            or `unreadable`.
    """
    try:
        if uri.startswith(_LOCAL_SCHEME):
            blob = _read_local(
                urllib.parse.unquote_to_bytes(uri[len(_LOCAL_SCHEME) :].removeprefix("localhost"))
            )
        elif _SCHEME.match(uri):
            # As it is: Beam would unpack what is named .gz, and a digest is of the stored bytes.
            with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                blob = file.read(limits.MAX_ENCODED_BYTES + 1)
        else:
            blob = _read_local(os.fsencode(uri))
    except FileNotFoundError:
        raise ItemError("read", "not_found") from None
    except PermissionError:
        raise ItemError("read", "not_permitted") from None
    except ItemError:
        raise
    except Exception:  # noqa: BLE001 - stores raise anything; the text may name the object
        raise ItemError("read", "unreadable") from None
    if len(blob) > limits.MAX_ENCODED_BYTES:
        raise ItemError("read", "too_many_bytes")
    return blob


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


def _read_local(path: bytes) -> bytes:
    """A regular file only: a device or a pipe could hang the run, a link could lead elsewhere."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise ItemError("read", "not_a_file") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ItemError("read", "not_a_file")
    with os.fdopen(handle, "rb") as file:
        return file.read(limits.MAX_ENCODED_BYTES + 1)
