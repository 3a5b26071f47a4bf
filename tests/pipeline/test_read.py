"""Reading one hosted object: bounded, regular files only, and no name in any message."""

from __future__ import annotations

import errno
import gzip
import io
import os
import threading
from pathlib import Path

import pytest
from apache_beam.io.filesystem import CompressedFile, CompressionTypes, FileSystem
from apache_beam.io.filesystems import FileSystems

from matchers import limits
from matchers.room import Budget
from pipeline import read
from pipeline.errors import ItemError

OBJECTS: dict[str, bytes | Exception] = {}
"""What the store below holds: contents, or what opening raises."""


def _unused(self, *arguments, **options):
    """Reading needs none of a store's other methods."""
    raise NotImplementedError


class MemoryStore(FileSystem):
    """An object store in memory, found by Beam under the scheme mem, as s3 and gs are."""

    join = split = mkdirs = has_dirs = _list = create = copy = rename = _unused
    exists = last_updated = checksum = metadata = delete = _unused

    def size(self, path):
        """Length in bytes."""
        return len(OBJECTS[path])

    @classmethod
    def scheme(cls):
        """What stands before ://."""
        return "mem"

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO):
        """As Beam's own stores do it (s3filesystem.py, gcsfilesystem.py: _path_open)."""
        if path not in OBJECTS:
            raise FileNotFoundError(path)
        content = OBJECTS[path]
        if isinstance(content, Exception):
            raise content
        kind = FileSystem._get_compression_type(path, compression_type)
        raw = io.BytesIO(content)
        if kind == CompressionTypes.UNCOMPRESSED:
            return raw
        return CompressedFile(raw, compression_type=kind)


@pytest.fixture
def store():
    """The objects of the memory store, emptied afterwards."""
    yield OBJECTS
    OBJECTS.clear()


def reason(uri: str) -> str:
    """Why an item cannot be read; neither it nor its cause may show in a trace."""
    with pytest.raises(ItemError) as caught:
        read.read_item(uri)
    error = caught.value
    assert error.stage == "read"
    assert str(error) == f"read: {error.reason}"
    assert error.__suppress_context__ or error.__context__ is None
    assert error.__cause__ is None
    return error.reason


# --- local files ------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 999])
def test_a_file_is_read_whole(tmp_path, content):
    """A local path gives all bytes of its file."""
    path = tmp_path / "item.jpg"
    path.write_bytes(content)
    assert read.read_item(str(path)) == content


def test_a_compressed_file_is_read_as_it_is(tmp_path):
    """The bytes that are hosted are hashed, not what they unpack to."""
    path = tmp_path / "item.gz"
    path.write_bytes(gzip.compress(b"content", mtime=0))
    assert read.read_item(str(path)) == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "escaped"), [("item.jpg", "item.jpg"), ("a b%é.jpg", "a%20b%25%C3%A9.jpg")]
)
def test_a_file_url_is_read(tmp_path, name, escaped):
    """A file:// URL names a local file, with its escapes undone."""
    (tmp_path / name).write_bytes(b"content")
    assert read.read_item(f"file://{tmp_path}/{escaped}") == b"content"


def test_escapes_in_a_plain_path_are_part_of_its_name(tmp_path):
    """Only URLs are unescaped."""
    (tmp_path / "a%20b.jpg").write_bytes(b"content")
    assert read.read_item(str(tmp_path / "a%20b.jpg")) == b"content"


def test_a_missing_file_is_not_found(tmp_path):
    """A file that is gone by the time it is read is said to be."""
    assert reason(str(tmp_path / "sentinel.jpg")) == "not_found"
    assert reason(f"file://{tmp_path}/sentinel.jpg") == "not_found"
    assert reason(str(tmp_path / "nowhere" / "sentinel.jpg")) == "not_found"
    assert reason("") == "not_found"


def test_a_file_that_may_not_be_read_is_not_permitted(tmp_path, monkeypatch):
    """A file whose permissions forbid reading is said to be one."""
    path = tmp_path / "sentinel.jpg"
    path.write_bytes(b"content")

    def forbidden(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", forbidden)
    assert reason(str(path)) == "not_permitted"


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE])
def test_a_fault_of_the_machine_is_no_fault_of_the_file(tmp_path, monkeypatch, code):
    """A disk error, or too many open files, makes an item unreadable; it still is a file."""
    path = tmp_path / "sentinel.jpg"
    path.write_bytes(b"content")

    def failing(*_arguments, **_options):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "open", failing)
    assert reason(str(path)) == "unreadable"


def test_a_folder_is_not_a_file(tmp_path):
    """A folder in place of an item is said to be none."""
    assert reason(str(tmp_path)) == "not_a_file"
    assert reason(f"file://{tmp_path}") == "not_a_file"


@pytest.mark.parametrize("target", ["item.jpg", "nowhere", "."])
def test_a_link_is_not_followed(tmp_path, target):
    """A link could lead out of what is covered, so it is refused wherever it points."""
    (tmp_path / "item.jpg").write_bytes(b"content")
    (tmp_path / "link.jpg").symlink_to(tmp_path / target)
    assert reason(str(tmp_path / "link.jpg")) == "not_a_file"


def test_a_link_is_not_followed_by_way_of_a_scheme_that_is_none(tmp_path):
    """A local path with :// in it is a local path, and held to the same rules."""
    place = tmp_path / "a:"
    place.mkdir()
    (tmp_path / "item.jpg").write_bytes(b"content")
    (place / "link.jpg").symlink_to(tmp_path / "item.jpg")
    assert reason(f"{place}//link.jpg") == "not_a_file"


def test_a_pipe_does_not_hang_the_scan(tmp_path):
    """A named pipe that nobody writes to is refused at once."""
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    found = []
    thread = threading.Thread(target=lambda: found.append(reason(str(path))), daemon=True)
    thread.start()
    thread.join(10)
    assert found == ["not_a_file"]


def test_a_device_is_not_a_file():
    """A device that never ends is refused before a byte of it is read."""
    assert reason("/dev/zero") == "not_a_file"
    assert reason("/dev/null") == "not_a_file"


def test_a_path_that_no_system_call_takes_is_an_outcome():
    """A NUL in a path, or a path longer than the system takes, fails the item and not the run."""
    assert reason("/tmp/a\0b") == "unreadable"
    assert reason("/" + "x" * 5000) in {"not_found", "not_a_file", "unreadable"}


@pytest.mark.parametrize("kind", ["file", "folder", "missing", "link", "pipe"])
def test_nothing_stays_open(tmp_path, kind):
    """Reading leaves no file handle behind, whatever it met: a run reads millions."""
    path = tmp_path / "item.jpg"
    if kind == "file":
        path.write_bytes(b"content")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path)
    elif kind == "pipe":
        os.mkfifo(path)

    def attempt() -> None:
        try:
            read.read_item(str(path))
        except ItemError:
            assert kind != "file"

    def handles() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    attempt()
    before = handles()
    for _ in range(5):
        attempt()
    assert handles() == before


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "fits"), [(9, True), (10, True), (11, False), (5000, False)])
def test_a_file_beyond_the_limit_is_too_many_bytes(tmp_path, monkeypatch, length, fits):
    """The limit itself is still read, one byte more is not."""
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 10)
    path = tmp_path / "item.jpg"
    path.write_bytes(bytes(length))
    if fits:
        assert read.read_item(str(path)) == bytes(length)
    else:
        assert reason(str(path)) == "too_many_bytes"


@pytest.mark.parametrize(("length", "fits"), [(10, True), (11, False)])
def test_the_limit_holds_for_stores_too(store, monkeypatch, length, fits):
    """An object is bounded as a file is."""
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 10)
    store["mem://bucket/item.jpg"] = bytes(length)
    if fits:
        assert read.read_item("mem://bucket/item.jpg") == bytes(length)
    else:
        assert reason("mem://bucket/item.jpg") == "too_many_bytes"


LARGE = b"\0\0\0\x18ftypisom" + bytes(range(256)) * 12
"""What claims to be a video, of 3,084 bytes."""


@pytest.fixture
def small_limits(monkeypatch):
    """Stills of 1,100 bytes, videos of 4,000, and as much of large ones at once."""
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", 1_100)
    monkeypatch.setattr(limits, "MAX_LARGE_BYTES", 4_000)
    budget = Budget(4_000)
    monkeypatch.setattr(read, "_large", budget)
    return budget


@pytest.mark.usefixtures("small_limits")
def test_a_video_may_be_larger_than_a_still(tmp_path, store):
    """What it claims to be decides, wherever it lies."""
    path = tmp_path / "item"
    path.write_bytes(LARGE)
    store["mem://bucket/item"] = LARGE
    assert read.read_item(str(path)) == LARGE
    assert read.read_item("mem://bucket/item") == LARGE
    path.write_bytes(b"\xff\xd8\xff" + LARGE)
    assert reason(str(path)) == "too_many_bytes"


@pytest.mark.usefixtures("small_limits")
def test_a_video_beyond_its_own_limit_is_too_many_bytes(tmp_path, store):
    """And takes nothing of what large items share."""
    path = tmp_path / "item"
    for blob in (LARGE * 2, LARGE):
        path.write_bytes(blob)
        store["mem://bucket/item"] = blob
        for uri in (str(path), "mem://bucket/item"):
            if blob is LARGE:
                assert read.read_item(uri) == LARGE
            else:
                assert reason(uri) == "too_many_bytes"


def test_large_items_share_a_bounded_memory(tmp_path, small_limits):
    """One more is read once another is let go; small ones do not wait."""
    path, small = tmp_path / "item", tmp_path / "small"
    path.write_bytes(LARGE)
    small.write_bytes(b"content")
    first = read.read_item(str(path))
    second = []
    thread = threading.Thread(target=lambda: second.append(read.read_item(str(path))), daemon=True)
    thread.start()
    thread.join(0.2)
    assert not second
    assert read.read_item(str(small)) == b"content"
    assert first == LARGE
    del first
    thread.join(10)
    assert second == [LARGE]


def test_what_cannot_be_read_to_its_end_holds_nothing(tmp_path, small_limits, monkeypatch):
    """The next large item finds all of the memory free."""
    path = tmp_path / "item"
    path.write_bytes(LARGE)
    with monkeypatch.context() as patch:
        patch.setattr(read, "_copy", _failing_at_the_second(read._copy))
        assert reason(str(path)) == "unreadable"
    assert read.read_item(str(path)) == LARGE


def _failing_at_the_second(really):
    calls = []

    def copy(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.EIO, "sentinel")
        return really(*arguments)

    return copy


def test_an_object_that_grows_while_it_is_read_is_unreadable(store, small_limits, monkeypatch):
    """Memory was asked for what it said it is."""
    store["mem://bucket/item"] = LARGE
    monkeypatch.setattr(MemoryStore, "size", lambda _self, path: len(OBJECTS[path]) - 9)
    assert reason("mem://bucket/item") == "unreadable"


# --- object stores ----------------------------------------------------------------------------


def test_an_object_is_read_through_beam(store):
    """A URI with a scheme that Beam knows is read with Beam's own file system."""
    store["mem://bucket/a b%20.jpg"] = b"content"
    assert isinstance(FileSystems.get_filesystem("mem://bucket/a"), MemoryStore)
    assert read.read_item("mem://bucket/a b%20.jpg") == b"content"


def test_a_missing_object_is_not_found(store):
    """An object that is gone is said to be."""
    assert reason("mem://bucket/sentinel.jpg") == "not_found"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError("sentinel"), "not_permitted"),
        (FileNotFoundError("sentinel"), "not_found"),
        (OSError("sentinel"), "unreadable"),
        (RuntimeError("sentinel"), "unreadable"),
        (KeyError("sentinel"), "unreadable"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_whatever_a_store_raises_is_an_outcome(store, error, expected):
    """A store's own errors, whose text may name the object, become one safe word."""
    store["mem://bucket/sentinel.jpg"] = error
    assert reason("mem://bucket/sentinel.jpg") == expected


@pytest.mark.parametrize("uri", ["nosuchscheme://bucket/sentinel.jpg", "FILE:///etc/hostname"])
def test_a_scheme_that_nobody_knows_is_unreadable(uri):
    """A URI of an unknown scheme fails the item, not the run."""
    assert reason(uri) == "unreadable"


@pytest.mark.parametrize("name", ["item.gz", "item.jpg.gz", "item.bz2"])
def test_an_object_is_read_as_it_is(store, name):
    """The bytes that are hosted are hashed, not what they unpack to: as with local files."""
    packed = gzip.compress(b"content" * 100, mtime=0)
    store[f"mem://bucket/{name}"] = packed
    assert read.read_item(f"mem://bucket/{name}") == packed


# --- messages ---------------------------------------------------------------------------------


def test_messages_hold_no_path(tmp_path, store):
    """An error of an item says what happened, and neither where nor to what."""
    (tmp_path / "sentinel-folder").mkdir()
    (tmp_path / "sentinel-link").symlink_to(tmp_path)
    store["mem://sentinel/raising"] = ValueError("sentinel")
    for uri in (
        str(tmp_path / "sentinel-missing"),
        str(tmp_path / "sentinel-folder"),
        str(tmp_path / "sentinel-link"),
        "mem://sentinel/missing",
        "mem://sentinel/raising",
        "nosuchscheme://sentinel",
    ):
        with pytest.raises(ItemError) as caught:
            read.read_item(uri)
        for text in (str(caught.value), repr(caught.value), caught.value.reason):
            assert "sentinel" not in text
            assert str(tmp_path) not in text
