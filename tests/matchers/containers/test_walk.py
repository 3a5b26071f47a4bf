"""Containers inside containers, kinds that stay shut, and what everything may cost together."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import struct
import zipfile
from pathlib import Path

import py7zr
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.archives import (
    JPEG,
    PNG,
    TEXT,
    found,
    found_before,
    found_within,
    tarred,
    zeros_zipped,
    zipped,
)
from support.settings import SEEDED

from matchers import containers, limits, media
from matchers.containers import Budget, Entry
from matchers.errors import DecodeError

MIB = 1024 * 1024
HEAD = b"\xff\xd8\xff"


def walk(blob: bytes) -> dict[tuple[int, ...], Entry]:
    """What `walk` finds, by locator."""
    return dict(containers.walk(blob, Budget(len(blob))))


def nested(blob: bytes, times: int) -> bytes:
    """A zip in a zip in a zip."""
    for _ in range(times):
        blob = zipped({"a": blob}, zipfile.ZIP_STORED)
    return blob


def test_locators_lead_to_the_entry_and_an_inner_container_follows_its_own() -> None:
    """Depth first, each container after what is inside it."""
    inner = tarred({"x": TEXT, "y": PNG}, "gz")
    blob = zipped({"a": JPEG, "b": inner, "c": PNG})
    assert list(containers.walk(blob, Budget(len(blob)))) == [
        ((1,), Entry(1, JPEG)),
        ((2, 1), Entry(1, None, "not_visual")),
        ((2, 2), Entry(2, PNG)),
        ((2,), Entry(2, inner)),
        ((3,), Entry(3, PNG)),
    ]


def test_depth_is_bounded() -> None:
    """The deepest one that is opened is the fourth; one more is `too_deep`."""
    assert limits.MAX_CONTAINER_DEPTH == 4
    deepest = walk(nested(JPEG, 4))
    assert deepest[1, 1, 1, 1] == Entry(1, JPEG)
    refused = walk(nested(JPEG, 5))
    assert refused[1, 1, 1, 1].reason == "too_deep"
    assert max(map(len, refused)) == 4


def test_an_inner_container_fails_by_itself() -> None:
    """What came before inside it stays, and so does what follows it."""
    cut = tarred({"x": JPEG, "y": PNG})[: 512 * 5]
    blob = zipped({"a": cut, "b": b"PK\x03\x04" + TEXT, "c": PNG})
    walked = walk(blob)
    assert [(place, entry.reason) for place, entry in walked.items()] == [
        ((1, 1), None),
        ((1, 2), "truncated"),
        ((1,), "truncated"),
        ((2,), "corrupt"),
        ((3,), None),
    ]


def test_an_inner_bomb_ends_by_itself_and_many_end_the_item(monkeypatch) -> None:
    """Each container has a budget by its size, and spends of those around it."""
    monkeypatch.setattr(limits, "FREE_EXPANDED_BYTES", 2 * MIB)
    bomb = zeros_zipped(4 * MIB, HEAD)
    assert found(zipped({"a": bomb, "b": JPEG + bytes(20_000)}, zipfile.ZIP_STORED)) == [
        "expands_too_much",
        "expands_too_much",
        JPEG + bytes(20_000),
    ]
    many = zipped({str(k): bomb for k in range(100)}, zipfile.ZIP_STORED)
    monkeypatch.setattr(limits, "MAX_EXPANDED_BYTES", 8 * MIB)
    walked, reason = found_before(many, DecodeError)
    assert reason == "expands_too_much"
    assert len(walked) < 20


def test_entries_are_counted_over_all_levels(monkeypatch) -> None:
    """So many containers of few entries are no way around."""
    monkeypatch.setattr(limits, "MAX_ENTRIES", 10)
    inner = tarred(dict.fromkeys("abcd", JPEG))
    walked, reason = found_before(tarred(dict.fromkeys("abcd", inner)), DecodeError)
    assert reason == "too_many_entries"
    assert walked.count(JPEG) <= 10


def test_bytes_that_are_nested_by_themselves_end() -> None:
    """Each level of a droste file costs a level; copies of it cost the budget."""
    blob = nested(zipped({str(k): nested(JPEG, 2) for k in range(10)}), 1)
    assert found(blob).count("too_deep") == 0
    assert "too_deep" in found(nested(blob, 1))


@pytest.mark.parametrize(
    "blob",
    [b"Rar!\x1a\x07\x01\0" + TEXT, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + TEXT, b"MSCF" + bytes(40)],
)
def test_kinds_that_are_not_opened_say_so(blob: bytes) -> None:
    """A RAR, an office document of before 2007 or a cabinet is never taken for clear."""
    assert media.claimed(blob) == "container"
    with pytest.raises(DecodeError, match="unsupported_container"):
        found(blob)
    assert found(zipped({"a": blob})) == ["unsupported_container"]


def test_an_office_document_under_a_password_is_encrypted() -> None:
    """It is an OLE file with one stream of that name."""
    blob = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(DecodeError, match="encrypted"):
        found(blob)


def test_an_office_document_is_its_pictures() -> None:
    """Metafiles (WMF, EMF) are pictures that nothing here draws: their examination will say so."""
    wmf, emf = b"\xd7\xcd\xc6\x9a" + bytes(50), b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(50)
    blob = zipped(
        {
            "[Content_Types].xml": TEXT,
            "word/media/image1.jpeg": JPEG,
            "word/media/image2.wmf": wmf,
            "word/media/image3.emf": emf,
            "word/embeddings/book.xlsx": zipped({"xl/media/image1.png": PNG}),
        }
    )
    assert [entry.reason for entry in walk(blob).values()] == [
        "not_visual",
        None,
        None,
        None,
        None,
        None,
    ]


def test_a_memoryview_is_a_container_too() -> None:
    """Items may lie in shared memory."""
    blob = zipped({"a": JPEG})
    assert walk(memoryview(blob)) == walk(blob)  # type: ignore[arg-type]


def seven(content: bytes, filters: list[dict[str, int]]) -> bytes:
    """A 7z of one file."""
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w", filters=filters) as archive:
        archive.writestr(content, "a")
    return file.getvalue()


def test_no_bomb_takes_more_memory_than_its_budget(tmp_path: Path) -> None:
    """40 MiB come out of each of these; 4 MiB may, within 32 MiB of address space.

    The dictionaries of xz and 7z at their usual settings take 8 MiB of that, a zip's log of 100 MiB
    is passed over by its first kilobyte.
    """
    plain = HEAD + bytes(40 * MIB)
    lzma2 = [{"id": py7zr.FILTER_LZMA2, "preset": 1}]
    bombs = {
        "zip": zeros_zipped(40 * MIB, HEAD),
        "zip_bzip2": zipped({"a": plain}, zipfile.ZIP_BZIP2),
        "gzip": gzip.compress(plain),
        "bzip2": bz2.compress(plain),
        "xz": lzma.compress(plain, preset=1),
        "zstd": zstandard.compress(plain),
        "tar": tarred({"a": plain, "b": JPEG}, "gz"),
        "7z_lzma2": seven(plain, lzma2),
        "7z_bzip2": seven(plain, [{"id": py7zr.FILTER_BZIP2}]),
        "7z_deflate": seven(plain, [{"id": py7zr.FILTER_DEFLATE}]),
        "7z_zstd": seven(plain, [{"id": py7zr.FILTER_ZSTD, "level": 1}]),
    }
    log = {"log": zeros_zipped(100 * MIB)}
    outcomes = found_within(bombs | log, 32 * MIB, tmp_path, free_bytes=4 * MIB)
    assert outcomes.pop("log") == "not_visual"
    single = {name: outcomes.pop(name) for name in ("gzip", "bzip2", "xz", "zstd")}
    assert set(single.values()) == {"expands_too_much"}
    assert set(outcomes.values()) == {"expands_too_much expands_too_much"}


def test_many_empty_members_take_no_longer_than_their_bytes() -> None:
    """Were each to copy all of the input that is left, it would take minutes."""
    blob = gzip.compress(b"", mtime=0) * 20_000
    assert found(blob) == ["not_visual"]


SEEDS = {
    "zip": zipped({"a": JPEG[:600], "b": TEXT, "c": PNG[:300]}),
    "zip_bzip2": zipped({"a": JPEG[:600]}, zipfile.ZIP_BZIP2),
    "zip_lzma": zipped({"a": JPEG[:600]}, zipfile.ZIP_LZMA),
    "tar": tarred({"a": JPEG[:600], "b" * 120: TEXT})[:6144],
    "tar.gz": tarred({"a": JPEG[:600], "b": PNG[:300]}, "gz"),
    "tar.bz2": tarred({"a": JPEG[:600]}, "bz2"),
    "tar.xz": tarred({"a": JPEG[:600]}, "xz"),
    "zstd": zstandard.compress(JPEG[:600]),
    "7z": seven(JPEG[:600], [{"id": py7zr.FILTER_LZMA2, "preset": 0}]),
    "7z_copy": seven(JPEG[:600], [{"id": py7zr.FILTER_COPY}]),
    "nested": zipped({"a": tarred({"a": JPEG[:600]}, "xz")}, zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("name", SEEDS)
@SEEDED
@given(data=st.data())
def test_damage_is_an_outcome_never_another_error(name: str, data: st.DataObject) -> None:
    """Bytes altered, cut out or doubled anywhere, mostly where headers are."""
    blob = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(blob) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                blob[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case 1:
                blob[place] ^= 1 << data.draw(st.integers(0, 7))
            case 2:
                blob[place : place + 4] = struct.pack("<I", data.draw(st.integers(0, 2**32 - 1)))
            case _:
                del blob[place : place + data.draw(st.integers(1, 20))]
        if not blob:
            return
    with contextlib.suppress(DecodeError):
        for locator, entry in containers.walk(bytes(blob), Budget(len(blob))):
            assert locator
            assert entry.content is not None or entry.reason is not None
