"""Tars: their dialects, what is no file, damage, and what stands in front of them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tarfile
import zlib

import pytest
import zstandard
from support.archives import JPEG, PNG, TEXT, found, found_before, noise, tarred

from matchers import limits
from matchers.errors import DecodeError

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def header(**fields: object) -> bytes:
    """A header alone."""
    info = tarfile.TarInfo("a")
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def filled(content: bytes) -> bytes:
    """Content to the end of its last block."""
    return content + bytes(-len(content) % 512)


def extended(*records: bytes) -> bytes:
    """An extended header of records, which must know their length."""
    content = b"".join(records)
    return header(type=tarfile.XHDTYPE, size=len(content)) + filled(content)


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("tar_format", FORMATS)
def test_every_dialect_and_compression(tar_format: int, compression: str) -> None:
    """Also names that need a header of their own."""
    files = {"a.jpg": JPEG, "b.txt": TEXT, "c" * 90 + "/" + "\u00e9" * 30: PNG, "e": b""}
    blob = tarred(files, compression, tar_format)
    assert found(blob) == [JPEG, "not_visual", PNG, "not_visual"]


def test_zstd() -> None:
    """Of any number of frames."""
    blob = tarred({"a": JPEG, "b": PNG})
    frames = zstandard.compress(blob[:1000]) + zstandard.compress(blob[1000:])
    assert found(frames) == [JPEG, PNG]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_members_follow_one_another_with_padding_behind(compress) -> None:
    """Tools that compress in parallel write many; tapes are filled up."""
    blob = tarred({"a": JPEG, "b": PNG})
    members = compress(blob[:1000]) + compress(b"") + compress(blob[1000:])
    assert found(members + bytes(512)) == [JPEG, PNG]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_single_file_behind_a_compression(compress) -> None:
    """It is the one entry, whatever it is."""
    assert found(compress(JPEG)) == [JPEG]
    assert found(compress(TEXT)) == ["not_visual"]
    assert found(compress(b"")) == ["not_visual"]


@pytest.mark.parametrize("cut", [10, 100, 1000])
@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress]
)
def test_a_cut_file_behind_a_compression(compress, cut: int) -> None:
    """There is nothing to hand out."""
    with pytest.raises(DecodeError, match="truncated"):
        found(compress(JPEG + noise(2000))[:-cut])


def test_what_is_no_file() -> None:
    """Links, devices and pipes have no content of their own; directories are no entries."""
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    blob = b"".join(header(type=kind, linkname="/etc/passwd") for kind in kinds)
    blob += header(type=tarfile.DIRTYPE) + header(size=len(JPEG)) + filled(JPEG)
    assert found(blob) == ["not_a_file"] * 5 + [JPEG]


def test_an_old_sparse_file_is_passed_over_with_its_map() -> None:
    """GNU's first way: places in the header, and in blocks behind it."""
    block = bytearray(header(type=tarfile.GNUTYPE_SPARSE, size=len(PNG)))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    more, last = bytearray(512), bytes(512)
    more[504] = 1
    blob = bytes(block) + more + last + filled(PNG) + header(size=len(JPEG)) + filled(JPEG)
    assert found(blob) == ["sparse_file", JPEG]


def test_a_sparse_file_by_extended_header() -> None:
    """Each later way has one of these keywords."""
    blob = extended(b"22 GNU.sparse.major=1\n", b"22 GNU.sparse.minor=0\n")
    blob += header(size=len(PNG)) + filled(PNG) + header(size=len(JPEG)) + filled(JPEG)
    assert found(blob) == ["sparse_file", JPEG]


def test_a_size_in_an_extended_header_goes_before_the_header() -> None:
    """So files larger than 8 GiB are written; it holds for one entry only."""
    blob = extended(b"13 size=%d\n" % len(JPEG)) + header(size=0) + filled(JPEG)
    assert len(b"13 size=%d\n" % len(JPEG)) == 13
    assert found(blob + header(size=len(PNG)) + filled(PNG)) == [JPEG, PNG]


def test_a_size_in_256s() -> None:
    """GNU's way for large sizes; one below zero is damage."""
    for size, outcome in ((len(JPEG), [JPEG]), (-1024, None)):
        block = bytearray(header())
        block[124:136] = struct.pack(">q", size).rjust(12, b"\xff" if size < 0 else b"\0")
        block[124] = 0xFF if size < 0 else 0x80
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        blob = bytes(block) + filled(JPEG)
        if outcome is None:
            with pytest.raises(DecodeError, match="corrupt"):
                found(blob)
        else:
            assert found(blob) == outcome


@pytest.mark.parametrize("size_bytes", [2**33 - 1, 10**6])
def test_a_size_beyond_the_end(size_bytes: int) -> None:
    """What came before stays; nothing is made by a length that is only declared."""
    whole = header(size=len(PNG)) + filled(PNG)
    lying = header(size=size_bytes) + filled(JPEG)
    walked, reason = found_before(whole + lying, DecodeError)
    outcome = "too_many_bytes" if size_bytes > limits.MAX_ENTRY_BYTES else "truncated"
    assert (walked, reason) == ([PNG, outcome], "truncated")


def test_a_broken_header_ends_it() -> None:
    """Behind it no place is sure."""
    blob = header(size=len(PNG)) + filled(PNG) + noise(512) + header(size=len(JPEG)) + filled(JPEG)
    assert found_before(blob, DecodeError) == ([PNG], "corrupt")
    assert found_before(blob[: 512 + 512 * 11 + 100], DecodeError)[1] in ("truncated", "corrupt")


def test_damage_in_a_compression_ends_it_midway() -> None:
    """What came before stays."""
    blob = gzip.compress(tarred({"a": JPEG, "b": noise(2_000_000), "c": PNG}))
    damaged = blob[:1_000_000] + b"\xff" * 1000 + blob[1_001_000:]
    walked, reason = found_before(damaged, DecodeError)
    assert walked[0] == JPEG
    assert reason in ("corrupt", "truncated")


def test_an_extended_header_of_megabytes_is_not_read() -> None:
    """They hold names and times; the standard library would hold all of it."""
    size_bytes = limits.MAX_TAR_RECORD_BYTES + 1
    with pytest.raises(DecodeError, match="too_much_metadata"):
        found(header(type=tarfile.XHDTYPE, size=size_bytes) + filled(bytes(size_bytes)))
    long_name = header(type=tarfile.GNUTYPE_LONGNAME, size=size_bytes) + filled(bytes(size_bytes))
    assert found(long_name + header(size=len(JPEG)) + filled(JPEG)) == [JPEG]


def test_records_that_lead_nowhere() -> None:
    """Lengths of zero, past the end, or no numbers."""
    for record in (b"0 a=b\n", b"1 a=b\n", b"999999 a=b\n", b"x a=b\n", b"\xff" * 50):
        assert found(extended(record) + header(size=len(JPEG)) + filled(JPEG)) == [JPEG]


def test_too_many_entries(monkeypatch) -> None:
    """Counted as they come."""
    monkeypatch.setattr(limits, "MAX_ENTRIES", 3)
    walked, reason = found_before(tarred(dict.fromkeys("abcd", JPEG)), DecodeError)
    assert (walked, reason) == ([JPEG] * 3, "too_many_entries")


def test_a_dictionary_that_asks_for_gigabytes_is_refused() -> None:
    """Xz states it in the header of each block, zstd in that of each frame."""
    block = bytearray(lzma.compress(JPEG, preset=1, check=lzma.CHECK_NONE))
    assert block[14:16] == b"\x21\x01"  # LZMA2 and one byte of properties
    block[16] = 40  # 4 GiB
    block[20:24] = struct.pack("<I", zlib.crc32(block[12:20]))
    with pytest.raises(DecodeError, match="too_much_memory"):
        found(bytes(block))
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(DecodeError, match="too_much_memory"):
        found(compressor.compress(JPEG) + compressor.flush())
