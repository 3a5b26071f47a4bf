"""Archives made for a test, and what comes out of them."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
import textwrap
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from matchers import containers, limits
from tests.support.pictures import smooth, store

JPEG = store(smooth(48, 64, 1), "JPEG", quality=80)
PNG = store(smooth(48, 64, 2), "PNG")
TEXT = b"Nothing to see here. " * 100


def found(blob: bytes) -> list[bytes | str | None]:
    """What `walk` finds: the content of what is opened, else the reason."""
    walked = containers.walk(blob, containers.Budget(len(blob)))
    return [entry.reason or entry.content for _, entry in walked]


def found_before(blob: bytes, error: type[Exception]) -> tuple[list[bytes | str | None], str]:
    """The same of a container that is not opened to its end, and why it is not."""
    before: list[bytes | str | None] = []
    try:
        for _, entry in containers.walk(blob, containers.Budget(len(blob))):
            before.append(entry.reason or entry.content)
    except error as caught:
        return before, caught.reason  # type: ignore[attr-defined]
    raise AssertionError("it was opened to its end")


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of files by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(
    files: Mapping[str, bytes], compression: str = "", tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar of files by name, `compression` is "", "gz", "bz2" or "xz"."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}", format=tar_format) as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return file.getvalue()


def zeros_zipped(size_bytes: int, head: bytes = b"") -> bytes:
    """A zip of one file of zeros behind a head, made without holding it."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a", "w", force_zip64=True) as entry,
    ):
        entry.write(head)
        for _ in range(size_bytes >> 20):
            entry.write(bytes(1 << 20))
    return file.getvalue()


def noise(size_bytes: int, seed: int = 3) -> bytes:
    """Bytes that cannot be compressed."""
    return random.Random(seed).randbytes(size_bytes)


def deflate(content: bytes) -> bytes:
    """A bare deflate stream."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(content) + compressor.flush()


def found_within(
    blobs: Mapping[str, bytes],
    most_bytes: int,
    place: Path,
    *,
    free_bytes: int,
    entry_bytes: int = limits.MAX_ENTRY_BYTES,
) -> dict[str, str]:
    """What `walk` finds in a process that may take `most_bytes` more than it begins with.

    Args:
        blobs: containers by name.
        most_bytes: of address space, beyond what is taken once all is imported and read.
        place: a directory for them.
        free_bytes: what may come out of a container however small.
        entry_bytes: the largest entry.

    Returns:
        The reasons by name, with "content" for what is opened and the container's own at the end.
    """
    for name, blob in blobs.items():
        (place / name).write_bytes(blob)
    program = f"""
        import pathlib, resource, sys
        from matchers import limits
        limits.FREE_EXPANDED_BYTES, limits.MAX_ENTRY_BYTES = {free_bytes}, {entry_bytes}
        from matchers import containers
        from matchers.errors import DecodeError
        blobs = [pathlib.Path(path).read_bytes() for path in sys.argv[1:]]
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {most_bytes},) * 2)
        for blob in blobs:
            found = []
            try:
                for _, entry in containers.walk(blob, containers.Budget(len(blob))):
                    found.append(entry.reason or "content")
            except DecodeError as error:
                found.append(error.reason)
            except MemoryError:
                found.append("out of memory")
            print(" ".join(found))
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *(place / name for name in blobs)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert not process.stderr
    return dict(zip(blobs, process.stdout.splitlines(), strict=True))
