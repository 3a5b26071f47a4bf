"""Zips: methods, encryption, damage, headers that lie, and bombs."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zipfile

import pytest
import zstandard
from support.archives import (
    JPEG,
    PNG,
    TEXT,
    deflate,
    found,
    found_before,
    noise,
    zipped,
)

from matchers import limits, media
from matchers.containers import zip as zip_module
from matchers.errors import DecodeError

MIB = 1024 * 1024
FLAGS_PLACE, METHOD_PLACE = 8, 10  # in a central header; 2 less in a local one


def made(
    *entries: tuple[bytes, int, bytes], flags: int = 0, size_bytes: int | None = None
) -> bytes:
    """A zip written by hand: name, method and compressed bytes of each entry."""
    body, directory = b"", b""
    for name, method, data in entries:
        declared = len(data) if size_bytes is None else size_bytes
        middle = struct.pack(
            "<HHHHIIIHH", flags, method, 0, 0, 0, len(data), declared, len(name), 0
        )
        directory += b"PK\x01\x02" + struct.pack("<HH", 63, 63) + middle
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name
        body += b"PK\x03\x04" + struct.pack("<H", 63) + middle + name + data
    end = struct.pack("<HHHHIIH", 0, 0, *[len(entries)] * 2, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def zip_lzma(content: bytes, dictionary_bytes: int = 1 << 20) -> bytes:
    """LZMA as a zip holds it."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 20}]
    raw = lzma.compress(content, lzma.FORMAT_RAW, filters=filters)
    return b"\x09\x14\x05\0" + bytes([93]) + struct.pack("<I", dictionary_bytes) + raw


def test_pictures_come_out_and_the_rest_is_named() -> None:
    """Directories are no entries; empty files are."""
    assert found(zipped({"a.jpg": JPEG, "b/": b"", "b/c.txt": TEXT, "d": PNG, "e": b""})) == [
        JPEG,
        "not_visual",
        PNG,
        "not_visual",
    ]


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (zipfile.ZIP_STORED, JPEG),
        (zipfile.ZIP_DEFLATED, deflate(JPEG)),
        (zipfile.ZIP_BZIP2, bz2.compress(JPEG)),
        (zipfile.ZIP_LZMA, zip_lzma(JPEG)),
        (20, zstandard.compress(JPEG)),
        (93, zstandard.compress(JPEG)),
        (95, lzma.compress(JPEG)),
    ],
)
def test_every_supported_method(method: int, data: bytes) -> None:
    """The numbers of APPNOTE 4.4.5."""
    assert found(made((b"a", method, data), size_bytes=len(JPEG))) == [JPEG]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_writes_by_the_other_methods(method: int) -> None:
    """The standard library's own archives."""
    assert found(zipped({"a": JPEG, "b": PNG}, method)) == [JPEG, PNG]


@pytest.mark.parametrize("method", [1, 6, 9, 97, 98])
def test_other_methods_are_unsupported_and_the_next_entry_is_opened(method: int) -> None:
    """Shrunk, imploded, Deflate64, WavPack, PPMd."""
    blob = made((b"a", method, JPEG), (b"b", 0, PNG))
    assert found(blob) == ["unsupported_compression", PNG]


def test_names_may_repeat_or_climb_or_be_missing() -> None:
    """Names are not used, so no name is bad."""
    blob = made(
        (b"../../a", 0, JPEG), (b"../../a", 0, PNG), (b"/etc/passwd", 0, JPEG), (b"", 0, PNG)
    )
    assert found(blob) == [JPEG, PNG, JPEG, PNG]


def test_a_directory_that_has_bytes_is_an_entry() -> None:
    """Something may be hidden there."""
    assert found(made((b"a/", 0, JPEG))) == [JPEG]


@pytest.mark.parametrize(("flags", "method"), [(1, 8), (1 | 1 << 6, 8), (1 << 13, 8), (1, 99)])
def test_encrypted_entries_stay_shut(flags: int, method: int) -> None:
    """Traditional, strong and AES encryption, and masked headers."""
    assert found(made((b"a", method, noise(100)), flags=flags)) == ["encrypted"]


def test_encryption_is_of_the_entry() -> None:
    """The directory says so, as for every reader; a lie in a local header shuts nothing."""
    blob = bytearray(zipped({"a": JPEG, "b": PNG}))
    blob[6] |= 1
    assert found(bytes(blob)) == [JPEG, PNG]
    blob[blob.index(b"PK\x01\x02") + 8] |= 1
    assert found(bytes(blob)) == ["encrypted", PNG]


def test_an_open_document_under_a_password_is_encrypted() -> None:
    """Its entries are plain to a zip; what is visual all the same is not hidden by the claim."""
    manifest = b"<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    sealed = {"content.xml": noise(200), "a.jpg": JPEG, "META-INF/manifest.xml": manifest}
    assert found(zipped(sealed)) == ["encrypted", JPEG, "encrypted"]
    plain = sealed | {"META-INF/manifest.xml": b"<manifest:file-entry/>"}
    assert found(zipped(plain)) == ["not_visual", JPEG, "not_visual"]


def test_sizes_from_a_data_descriptor() -> None:
    """A zip written to a pipe has sizes only behind the data."""

    class Pipe(io.BytesIO):
        def tell(self) -> int:
            raise OSError

    file = Pipe()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", JPEG)
        archive.writestr("b", PNG)
    assert file.getvalue()[6] & 8
    assert found(file.getvalue()) == [JPEG, PNG]


def test_zip64() -> None:
    """Sizes in the extra field."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w") as archive,
        archive.open("a", "w", force_zip64=True) as entry,
    ):
        entry.write(JPEG)
    assert found(file.getvalue()) == [JPEG]


def test_bytes_before_the_archive() -> None:
    """A self-extracting archive is a program to `claimed`; a zip behind one is still read."""
    blob = b"MZ" + noise(1000) + zipped({"a": JPEG})
    assert media.claimed(blob) is None
    budget = zip_module.Budget(len(blob))
    assert [entry.content for entry in zip_module.entries(memoryview(blob), budget)] == [JPEG]


def test_a_picture_with_a_zip_behind_it_is_a_picture() -> None:
    """What viewers show decides; the zip stays unopened."""
    assert media.claimed(JPEG + zipped({"a": PNG})) == "image"


@pytest.mark.parametrize("size_bytes", [0, 1, 10, 2**31])
def test_a_size_that_lies_low_or_high_for_a_small_entry(size_bytes: int) -> None:
    """Too small is not believed; too large is taken at its word, and the rest goes on."""
    blob = made((b"a", 8, deflate(JPEG)), size_bytes=size_bytes)
    assert found(blob) == ["too_many_bytes" if size_bytes > limits.MAX_ENTRY_BYTES else JPEG]


def test_a_wrong_checksum_is_passed_over() -> None:
    """A picture behind it is a picture all the same."""
    blob = made((b"a", 8, deflate(JPEG)))  # the checksum is written as 0
    assert found(blob) == [JPEG]


def test_a_damaged_entry_and_a_cut_one() -> None:
    """Each has its own outcome."""
    no_block = b"\xff" * 50
    assert found(made((b"a", 8, no_block), (b"b", 8, deflate(JPEG)[:-200]), (b"c", 0, PNG))) == [
        "corrupt",
        "truncated",
        PNG,
    ]


def test_a_cut_archive_is_corrupt() -> None:
    """The central directory is at the end."""
    with pytest.raises(DecodeError, match="corrupt"):
        found(zipped({"a": JPEG})[:-30])


def test_a_part_of_a_split_archive() -> None:
    """The first part is not read; of the last, what begins elsewhere is not."""
    with pytest.raises(DecodeError, match="multi_volume"):
        found(b"PK\x07\x08" + zipped({"a": JPEG})[:500])
    blob = bytearray(zipped({"a": JPEG, "b": PNG}))
    blob[blob.index(b"PK\x01\x02") + 34] = 1
    assert found(bytes(blob)) == ["multi_volume", PNG]


def test_an_offset_outside_the_file() -> None:
    """The entry is corrupt, not the archive."""
    blob = bytearray(made((b"a", 0, JPEG), (b"b", 0, PNG)))
    place = blob.index(b"PK\x01\x02") + 42
    blob[place : place + 4] = struct.pack("<I", 2**31 - 1)
    assert "corrupt" in found(bytes(blob))


def test_entries_that_share_bytes_are_paid_for_one_by_one() -> None:
    """A bomb without nesting (a thousand entries of the directory, one kernel) ends by its budget."""
    kernel = deflate(b"\xff\xd8\xff" + bytes(MIB))
    single = made((b"a", 8, kernel))
    start = single.index(b"PK\x01\x02")
    record = single[start : single.index(b"PK\x05\x06")]
    end = struct.pack("<HHHHIIH", 0, 0, 1000, 1000, 1000 * len(record), start, 0)
    bomb = single[:start] + 1000 * record + b"PK\x05\x06" + end
    came, why = found_before(bomb, DecodeError)
    assert why == "expands_too_much"
    assert 1 < len(came) <= limits.FREE_EXPANDED_BYTES // MIB + 1


def test_an_entry_inside_the_bytes_of_another_comes_too() -> None:
    """A decoy that claims the whole file for itself hides nothing."""
    inner = made((b"b", 0, PNG))
    local = inner[: inner.index(b"PK\x01\x02")]
    blob = made((b"a", 0, JPEG + local), (b"c", 0, PNG))
    start = blob.index(b"PK\x01\x02")
    listed = inner[inner.index(b"PK\x01\x02") : inner.index(b"PK\x05\x06")]
    listed = listed[:42] + struct.pack("<I", blob.index(local)) + listed[46:]
    directory = blob[start : blob.index(b"PK\x05\x06")] + listed
    end = struct.pack("<HHHHIIH", 0, 0, 3, 3, len(directory), start, 0)
    assert found(blob[:start] + directory + b"PK\x05\x06" + end) == [JPEG + local, PNG, PNG]


def test_a_dictionary_that_asks_for_gigabytes_is_refused() -> None:
    """LZMA by its header, zstd by its frame."""
    huge = zip_lzma(JPEG, dictionary_bytes=2**32 - 1)
    assert found(made((b"a", zipfile.ZIP_LZMA, huge))) == ["too_much_memory"]
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    long_window = compressor.compress(JPEG) + compressor.flush()
    assert found(made((b"a", 93, long_window))) == ["too_much_memory"]


def test_a_directory_of_too_many_entries_is_refused_before_it_is_read(monkeypatch) -> None:
    """Each would become an object."""
    monkeypatch.setattr(limits, "MAX_ENTRIES", 10)
    assert len(found(made(*[(b"a", 0, JPEG)] * 10))) == 10
    with pytest.raises(DecodeError, match="too_many_entries"):
        found(made(*[(b"a", 0, JPEG)] * 11))


def test_what_came_before_a_bomb_stays() -> None:
    """The bomb has its own outcome, and so has the archive."""
    bomb = deflate(b"\xff\xd8\xff" + bytes(100 * MIB))
    walked, reason = found_before(made((b"a", 0, PNG), (b"b", 8, bomb)), DecodeError)
    assert (walked, reason) == ([PNG, "expands_too_much"], "expands_too_much")
