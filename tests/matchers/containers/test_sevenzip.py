"""7z archives: methods, solid blocks, encryption, damage, and headers that lie."""

from __future__ import annotations

import io
import struct
import zlib

import py7zr
import pytest
from support.archives import JPEG, PNG, TEXT, deflate, found, found_before, noise

from matchers import limits
from matchers.errors import DecodeError

FILES = {"a.jpg": JPEG, "b.txt": TEXT, "../c": PNG, "d": b""}


def packed(files=FILES, **settings: object) -> bytes:
    """A 7z of files by name."""
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w", **settings) as archive:
        for name, content in files.items():
            archive._writestr(content, name)
    return file.getvalue()


def made(
    method: bytes, data: bytes, size_bytes: int, properties: bytes = b"", *, placed: bool = True
) -> bytes:
    """A 7z of one file, written by hand: its method and its compressed bytes (7zFormat.txt)."""

    def number(value: int) -> bytes:
        return b"\xff" + struct.pack("<Q", value)

    flags = len(method) | (0x20 if properties else 0)
    coder = b"\x01" + bytes([flags]) + method
    if properties:
        coder += number(len(properties)) + properties
    header = b"\x01"
    header += b"\x04"
    if placed:
        header += b"\x06" + number(0) + b"\x01\x09" + number(len(data)) + b"\0"
    header += b"\x07\x0b\x01\0" + coder + b"\x0c" + number(size_bytes) + b"\0"
    header += b"\x08\0"
    header += b"\0"
    header += b"\x05\x01\x11\x05\0a\0\0\0" + b"\0"
    header += b"\0"
    return start(header, len(data)) + data + header


def start(header: bytes, place: int) -> bytes:
    """The signature header, for a header at `place` behind it."""
    rest = struct.pack("<QQI", place, len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<I", zlib.crc32(rest)) + rest


def test_pictures_come_out_of_a_solid_block() -> None:
    """In order, whatever their names; the rest is passed over."""
    assert found(packed()) == [JPEG, "not_visual", PNG, "not_visual"]


@pytest.mark.parametrize(
    "filters",
    [
        [{"id": py7zr.FILTER_COPY}],
        [{"id": py7zr.FILTER_LZMA, "preset": 1}],
        [{"id": py7zr.FILTER_LZMA2, "preset": 1}],
        [{"id": py7zr.FILTER_BZIP2}],
        [{"id": py7zr.FILTER_DEFLATE}],
        [{"id": py7zr.FILTER_ZSTD, "level": 3}],
        [{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
        [{"id": py7zr.FILTER_DELTA}, {"id": py7zr.FILTER_LZMA2, "preset": 1}],
        [{"id": py7zr.FILTER_ARM}, {"id": py7zr.FILTER_LZMA, "preset": 1}],
    ],
)
def test_every_supported_method(filters) -> None:
    """Those of py7zr that keep to bounds, and two of our own."""
    files = FILES | {"e": JPEG + noise(300_000), "f": PNG}
    assert found(packed(files, filters=filters)) == [
        JPEG,
        "not_visual",
        PNG,
        "not_visual",
        JPEG + noise(300_000),
        PNG,
    ]


@pytest.mark.parametrize(
    "filters",
    [
        [{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 24}],
        [{"id": py7zr.FILTER_BROTLI, "level": 3}],
    ],
)
def test_other_methods_are_unsupported(filters) -> None:
    """For each file behind them."""
    assert found(packed(filters=filters)) == ["unsupported_compression"] * 4


def test_encrypted_files_stay_shut() -> None:
    """Their names are to be seen, and so is their number."""
    blob = packed(password="secret", header_encryption=False)
    assert found(blob) == ["encrypted"] * 4


def test_an_encrypted_header_hides_how_many_there_are() -> None:
    """So the archive itself has the outcome."""
    with pytest.raises(DecodeError, match="encrypted"):
        found(packed(password="secret", header_encryption=True))


def test_damage_ends_a_block_where_it_is() -> None:
    """What lies before it stays."""
    blob = bytearray(packed({"a": JPEG, "b": JPEG + noise(300_000), "c": PNG}))
    blob[100_000:100_100] = bytes(100)
    walked = found(bytes(blob))
    assert walked[0] == JPEG
    assert walked[2] in ("corrupt", "truncated", PNG)


def test_a_cut_archive_is_corrupt() -> None:
    """The header is at the end."""
    blob = packed()
    for length in (6, 31, 40, len(blob) - 1):
        with pytest.raises(DecodeError, match="corrupt"):
            found(blob[:length])


def test_an_archive_written_by_hand() -> None:
    """So that headers can be made to lie."""
    assert found(made(b"\0", JPEG, len(JPEG))) == [JPEG]
    assert found(made(b"\x04\x01\x08", deflate(JPEG), len(JPEG))) == [JPEG]


@pytest.mark.parametrize("size_bytes", [len(JPEG) + 1, 10**6, 2**62])
def test_a_size_beyond_the_end(size_bytes: int) -> None:
    """A length that is only declared makes nothing."""
    outcome = "too_many_bytes" if size_bytes > limits.MAX_ENTRY_BYTES else "truncated"
    assert found(made(b"\0", JPEG, size_bytes)) == [outcome]


def test_a_header_that_says_nothing_of_places_is_corrupt() -> None:
    """The files are listed, their bytes are nowhere."""
    with pytest.raises(DecodeError, match="corrupt"):
        found(made(b"\0", JPEG, len(JPEG), placed=False))


def test_a_dictionary_that_asks_for_gigabytes_is_refused() -> None:
    """LZMA and LZMA2 state it in their properties."""
    lzma1 = bytes([93]) + struct.pack("<I", 2**32 - 1)
    assert found(made(b"\x03\x01\x01", noise(100), 100, lzma1)) == ["too_much_memory"]
    assert found(made(b"\x21", noise(100), 100, b"\x28")) == ["too_much_memory"]


@pytest.mark.parametrize("count", [2**20, 2**32, 2**60])
def test_a_header_of_too_many_files(count: int) -> None:
    """A number that the header cannot back makes no list."""
    header = b"\x01\x05\xff" + struct.pack("<Q", count) + b"\0\0"
    with pytest.raises(DecodeError, match=r"too_many_entries|corrupt"):
        found(start(header, 0) + header)


def test_too_many_entries(monkeypatch) -> None:
    """Counted as they come."""
    monkeypatch.setattr(limits, "MAX_ENTRIES", 3)
    walked, reason = found_before(packed(dict.fromkeys("abcd", JPEG)), DecodeError)
    assert (walked, reason) == ([JPEG] * 3, "too_many_entries")


def test_an_empty_archive() -> None:
    """Nothing inside, and nothing wrong."""
    assert found(start(b"", 0)) == []
