"""Sources become snapshots: whole and in order, or refused by row and column with nothing left."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.manifests import SUFFIXES, item, without, write
from support.settings import SEEDED

from pipeline import read, sources
from pipeline.errors import SourceRefused
from pipeline.items import ITEM_VALUES, ITEMS
from pipeline.sources import Declared, Snapshot, fingerprint, take

DECLARED = Declared(part="public-gallery", consent="given")
SENTINEL = "sentinel-7f3a"
"""A text put where a person's name or address would stand; no message may repeat it."""

PER_FORMAT = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture
def run(tmp_path) -> Path:
    """An empty run folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def snapshot(source: Path, run: Path, chunk_rows: int = 100, declared=None) -> Snapshot:
    """Take a snapshot of `source` in the run folder."""
    return take(source, run / "items.parquet", chunk_rows=chunk_rows, declared=declared)


def rows_of(taken: Snapshot) -> list[dict[str, Any]]:
    """All rows of a snapshot."""
    return pq.read_table(taken.path).to_pylist()


def listing(folder: Path, run: Path) -> list[dict[str, Any]]:
    """The rows of a directory's snapshot."""
    return rows_of(snapshot(folder, run, declared=DECLARED))


def refusal(source: Path, run: Path, chunk_rows: int = 100, declared=None) -> str:
    """The message that a source is refused with; no snapshot may be left then."""
    with pytest.raises(SourceRefused) as caught:
        snapshot(source, run, chunk_rows, declared)
    assert not (run / "items.parquet").exists()
    message = str(caught.value)
    assert str(source) in message
    assert SENTINEL not in message
    return message


def files(root: Path, *names: str | bytes) -> Path:
    """A folder with these files in it; each holds its own name."""
    for name in names:
        encoded = os.fsencode(name)
        path = root / os.fsdecode(encoded)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    return root


# --- directories ------------------------------------------------------------------------------


def test_a_directory_is_listed_to_its_depths(tmp_path, run):
    """Every file at any depth is one row, named by its path inside the directory."""
    root = files(tmp_path / "in", "b.jpg", "a.jpg", "deep/er/c.png", "deep/d.gif")
    rows = listing(root, run)
    assert {row["item_id"] for row in rows} == {"a.jpg", "b.jpg", "deep/d.gif", "deep/er/c.png"}
    assert len(rows) == 4
    for row in rows:
        assert row["uri"] == str(root / row["item_id"])
        assert read.read_item(row["uri"]) == row["item_id"].encode()


def test_the_order_of_a_directory_does_not_depend_on_the_disk(tmp_path, run):
    """Files made in any order are listed in the same one, by name within each folder."""
    names = ["c.jpg", "a.jpg", "x/2.jpg", "x/1.jpg", "b/2.jpg", "b/10.jpg", "b/y/0.jpg"]
    orders = []
    for number, some in enumerate((names, names[::-1], sorted(names))):
        root = files(tmp_path / f"in-{number}", *some)
        place = tmp_path / f"run-{number}"
        place.mkdir()
        orders.append([row["item_id"] for row in listing(root, place)])
    assert orders[0] == orders[1] == orders[2]
    for _, group in itertools.groupby(orders[0], os.path.dirname):
        inside = list(group)
        assert inside == sorted(inside)


def test_a_directory_is_listed_in_order_of_the_paths(tmp_path, run):
    """Rows come in the order of their paths, as the listing promises."""
    root = files(tmp_path / "in", "c.jpg", "b/1.jpg", "a.jpg")
    assert [row["item_id"] for row in listing(root, run)] == ["a.jpg", "b/1.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image"),
        ("a.JPEG", "image"),
        ("a.png", "image"),
        ("a.gif", "image"),
        ("a.webp", "image"),
        ("a.avif", "image"),
        ("a.heic", "image"),
        ("a.jfif", "image"),
        ("a.mp4", "video"),
        ("a.MOV", "video"),
        ("a.mkv", "video"),
        ("a.webm", "video"),
        ("a.txt", "other"),
        ("a.pdf", "container"),
        ("a.mp3", "other"),
        ("a.html", "other"),
        ("a", None),
        ("a.unheardof", None),
        ("a.jpg.unheardof", None),
        ("jpg", None),
        (".jpg", None),
        ("a.b.jpg", "image"),
        ("a b.jpg", "image"),
        ("photo 12:30.jpg", "image"),
        ("a#b?c.jpg", "image"),
        ("a;type=x.jpg", "image"),
        ("é.jpg", "image"),
    ],
)
def test_the_name_of_a_file_claims_its_kind(tmp_path, run, name, kind):
    """The suffix claims image, video or something else; without a known one the kind stays open."""
    (row,) = listing(files(tmp_path / "in", name), run)
    assert (row["item_id"], row["kind"]) == (name, kind)


@pytest.mark.parametrize("name", ["data:,a.jpg", "data:text;a.jpg"])
def test_a_name_that_looks_like_a_data_url_is_still_a_name(tmp_path, run, name):
    """A file's name is its name: its suffix counts, whatever stands before it."""
    (row,) = listing(files(tmp_path / "in", name), run)
    assert (row["item_id"], row["kind"]) == (name, "image")


def test_hidden_files_are_listed(tmp_path, run):
    """A leading dot hides neither a file nor what is in a folder."""
    root = files(tmp_path / "in", ".hidden.jpg", ".folder/a.jpg")
    assert {row["item_id"] for row in listing(root, run)} == {".hidden.jpg", ".folder/a.jpg"}


def test_what_the_operator_states_holds_for_every_file(tmp_path, run):
    """Part, encryption, account class and consent of a directory are those declared."""
    root = files(tmp_path / "in", "a.jpg", "b/c.jpg")
    declared = Declared(part="albums", encryption="e2ee", account_class="state", consent="refused")
    for row in rows_of(snapshot(root, run, declared=declared)):
        assert row["part"] == "albums"
        assert row["encryption"] == "e2ee"
        assert row["account_class"] == "state"
        assert row["consent"] == "refused"
        assert (row["account_id"], row["url"], row["uploaded_at"]) == (None, None, None)


def test_consent_that_is_not_stated_stays_unknown(tmp_path, run):
    """Nobody consents by default."""
    root = files(tmp_path / "in", "a.jpg")
    (row,) = rows_of(snapshot(root, run, declared=Declared(part="albums")))
    assert row["consent"] is None


@pytest.mark.parametrize(
    "declared",
    [
        Declared(part="albums", encryption="off"),
        Declared(part="albums", account_class="private"),
        Declared(part="albums", consent="yes"),
    ],
)
def test_a_declared_value_outside_its_list_is_refused(tmp_path, run, declared):
    """What is stated for a directory is held to the same lists as a manifest."""
    refusal(files(tmp_path / "in", "a.jpg"), run, declared=declared)


def test_a_directory_needs_its_part_stated(tmp_path, run):
    """A directory cannot say which part of the service it is."""
    assert "part" in refusal(files(tmp_path / "in", "a.jpg"), run)


@pytest.mark.parametrize("folders", [[], ["a", "b/c"]])
def test_an_empty_directory_is_refused(tmp_path, run, folders):
    """A directory without a file, whatever folders it has, holds nothing to scan."""
    root = tmp_path / "in"
    root.mkdir()
    for folder in folders:
        (root / folder).mkdir(parents=True)
    assert "empty" in refusal(root, run, declared=DECLARED)


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xff\xfe/\x80.png", b"100%\xff.jpg"])
def test_a_name_that_is_no_utf_8_is_read_all_the_same(tmp_path, run, name):
    """A file with any bytes for a name gets a digest as its id and can be read by its URI."""
    (row,) = listing(files(tmp_path / "in", name), run)
    assert row["item_id"] == "path-sha256:" + hashlib.sha256(name).hexdigest()
    assert row["kind"] == "image"
    assert read.read_item(row["uri"]) == name


def test_a_path_too_long_for_an_id_is_read_all_the_same(tmp_path, run):
    """A path of more bytes than an id may have gets a digest as its id; one that fits is kept."""
    long = "/".join(["d" * 200] * 5 + ["f" * 30 + ".jpg"])
    fits = "/".join(["d" * 200] * 5 + ["f" * 15 + ".jpg"])
    assert len(long) > sources.MAX_ID_BYTES == len(fits)
    rows = listing(files(tmp_path / "in", long, fits), run)
    digest = "path-sha256:" + hashlib.sha256(long.encode()).hexdigest()
    assert {row["item_id"] for row in rows} == {digest, fits}
    assert sorted(bytes(read.read_item(row["uri"])) for row in rows) == sorted(
        [long.encode(), fits.encode()]
    )


@pytest.mark.parametrize(
    "name", ["a\nb.jpg", "a\x7f.jpg", "\x01.jpg", "a\u2028b.jpg", "a\u202eb.jpg"]
)
def test_control_characters_in_a_name_do_not_get_into_an_id(tmp_path, run, name):
    """A name that would garble a listing gets a digest as its id and can still be read."""
    (row,) = listing(files(tmp_path / "in", name), run)
    assert row["item_id"] == "path-sha256:" + hashlib.sha256(name.encode()).hexdigest()
    assert read.read_item(row["uri"]) == name.encode()


def test_a_directory_given_by_a_relative_path_has_absolute_uris(tmp_path, run, monkeypatch):
    """Workers may have another working folder, so references are absolute."""
    files(tmp_path / "in", "a.jpg")
    monkeypatch.chdir(tmp_path)
    (row,) = listing(Path("in"), run)
    assert row["uri"] == str(tmp_path / "in" / "a.jpg")


def test_a_link_to_a_file_is_listed(tmp_path, run):
    """A link is a row, which is refused when it is read: it does not vanish from the count."""
    root = files(tmp_path / "in", "a.jpg")
    (root / "link.jpg").symlink_to(root / "a.jpg")
    (root / "broken.jpg").symlink_to(root / "nowhere")
    assert {row["item_id"] for row in listing(root, run)} == {"a.jpg", "link.jpg", "broken.jpg"}


def test_a_link_to_a_folder_is_listed(tmp_path, run):
    """A link to a folder is not followed, but does not vanish from the count either."""
    root = files(tmp_path / "in", "a.jpg")
    outside = files(tmp_path / "outside", "b.jpg")
    (root / "albums").symlink_to(outside)
    assert {row["item_id"] for row in listing(root, run)} == {"a.jpg", "albums"}


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, run, monkeypatch):
    """Files below a closed folder would be missed in silence, so the source is refused."""
    root = files(tmp_path / "in", "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def closed_scandir(path):
        if os.fsencode(path).endswith(b"/closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed_scandir)
    refusal(root, run, declared=DECLARED)


def test_a_large_directory_is_listed_whole(tmp_path, run):
    """More files than one batch holds are all listed, each once."""
    root = tmp_path / "in"
    names = [f"{number % 3}/{number}.jpg" for number in range(8_200)]
    for folder in range(3):
        (root / str(folder)).mkdir(parents=True)
    for name in names:
        os.close(os.open(root / name, os.O_CREAT | os.O_WRONLY, 0o600))
    taken = snapshot(root, run, chunk_rows=3_000, declared=DECLARED)
    assert (taken.rows, taken.chunks) == (8_200, 3)
    assert sorted(row["item_id"] for row in rows_of(taken)) == sorted(names)


# --- manifests: accepted ----------------------------------------------------------------------

MIXED = [
    item(1),
    item(2, kind="video", uri="/abroad/2.mp4", consent=None, account_id=None),
    item(3, kind=None, uri="s3://bucket/3", uploaded_at=None),
    item(4, kind="url", uri=None, url="https://example.org/a?b=1,2"),
    item(5, kind="other", uri="notes, and more.txt", encryption="e2ee"),
    item(6, encryption=None, account_class=None, part=None),
    item(7, item_id='é "quoted"', encryption="unknown", account_class="unknown", consent="unknown"),
    item(8, account_class="state", consent="refused"),
]


def test_the_same_rows_give_the_same_snapshot_in_every_format(tmp_path):
    """Parquet, CSV and JSON lines are three ways to say the same."""
    tables = {}
    for suffix in (*SUFFIXES, ".ndjson", ".CSV"):
        place = tmp_path / suffix
        place.mkdir()
        source = write(tmp_path / f"items{suffix}", MIXED)
        taken = snapshot(source, place, chunk_rows=3)
        assert (taken.rows, taken.chunk_rows, taken.chunks) == (8, 3, 3)
        tables[suffix] = pq.read_table(taken.path)
        assert tables[suffix].schema == ITEMS
    for table in tables.values():
        assert table.to_pylist() == tables[".parquet"].to_pylist()
    expected = [dict(row) for row in MIXED]
    for row in expected:
        if row["uri"] and "://" not in row["uri"]:
            row["uri"] = str(tmp_path / row["uri"])
    assert tables[".parquet"].to_pylist() == expected


@PER_FORMAT
def test_uris_are_made_absolute_beside_the_manifest(tmp_path, run, monkeypatch, suffix):
    """A relative URI starts at the manifest's folder; paths from the root and schemes are kept."""
    uris = ["a.jpg", "b/../c.jpg", "/abroad/d.jpg", "s3://bucket/e.jpg", "file:///f%20.jpg"]
    folder = tmp_path / "given"
    folder.mkdir()
    write(folder / f"items{suffix}", [item(n, uri=uri) for n, uri in enumerate(uris)])
    monkeypatch.chdir(tmp_path)
    taken = snapshot(Path("given") / f"items{suffix}", run)
    assert [row["uri"] for row in rows_of(taken)] == [
        str(folder / "a.jpg"),
        str(folder / "b/../c.jpg"),
        *uris[2:],
    ]


@PER_FORMAT
def test_columns_that_may_be_left_out_are_null(tmp_path, run, suffix):
    """Account, kind, upload time and consent may be absent; the gate then knows nothing of them."""
    row = without(item(), "account_id", "kind", "url", "uploaded_at", "consent")
    (found,) = rows_of(snapshot(write(tmp_path / f"items{suffix}", [row]), run))
    for name in ("account_id", "kind", "url", "uploaded_at", "consent"):
        assert found[name] is None
    assert found["item_id"] == "item-1"


@PER_FORMAT
def test_a_manifest_of_urls_needs_no_uri_column(tmp_path, run, suffix):
    """Where every row is a URL, the column uri may be absent."""
    row = without(item(kind="url", url="https://example.org/"), "uri")
    (found,) = rows_of(snapshot(write(tmp_path / f"items{suffix}", [row]), run))
    assert (found["uri"], found["url"]) == (None, "https://example.org/")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-01T12:00:00Z", dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)),
        ("2026-03-01T12:00:00+02:00", dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)),
        ("2026-03-01 12:00:00.123456Z", dt.datetime(2026, 3, 1, 12, 0, 0, 123456, dt.UTC)),
        ("2025-12-31T23:30:00-01:00", dt.datetime(2026, 1, 1, 0, 30, tzinfo=dt.UTC)),
        ("", None),
    ],
)
def test_upload_times_are_kept_in_utc(tmp_path, run, suffix, text, instant):
    """ISO 8601 with any offset names an instant; an empty cell names none."""
    source = write(tmp_path / f"items{suffix}", [item(uploaded_at=text)])
    (row,) = rows_of(snapshot(source, run))
    assert row["uploaded_at"] == instant


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "+02:00"])
def test_parquet_timestamps_of_any_unit_are_taken(tmp_path, run, unit, zone):
    """A Parquet column of timestamps with a zone is an upload time, whatever its unit."""
    instant = dt.datetime(2026, 3, 1, 12, 0, 5, tzinfo=dt.UTC)
    table = pa.table(without({name: [value] for name, value in item().items()}, "uploaded_at"))
    column = pa.array([instant], pa.timestamp(unit, tz=zone))
    pq.write_table(table.append_column("uploaded_at", column), tmp_path / "items.parquet")
    (row,) = rows_of(snapshot(tmp_path / "items.parquet", run))
    assert row["uploaded_at"] == instant


def test_parquet_timestamps_finer_than_a_microsecond_are_taken(tmp_path, run):
    """A nanosecond part, as other tools write it, is dropped: a day is all the gate looks at."""
    column = pa.array([1_772_366_405_000_000_001], pa.timestamp("ns", tz="UTC"))
    table = pa.table(without({name: [value] for name, value in item().items()}, "uploaded_at"))
    pq.write_table(table.append_column("uploaded_at", column), tmp_path / "items.parquet")
    (row,) = rows_of(snapshot(tmp_path / "items.parquet", run))
    assert row["uploaded_at"] == dt.datetime(2026, 3, 1, 12, 0, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_parquet_text_of_any_layout_is_taken(tmp_path, run, kind):
    """Dictionary-encoded and large text is text."""
    table = pa.table({name: [value] for name, value in item().items()})
    column = pa.array(["none"], pa.string()).cast(kind)
    table = table.set_column(table.column_names.index("encryption"), "encryption", column)
    pq.write_table(table, tmp_path / "items.parquet")
    (row,) = rows_of(snapshot(tmp_path / "items.parquet", run))
    assert row["encryption"] == "none"


def test_csv_as_spreadsheets_write_it_is_taken(tmp_path, run):
    """A byte order mark, CRLF line ends, quoted commas and line breaks, and blank lines are CSV."""
    path = tmp_path / "items.csv"
    path.write_bytes(
        b"\xef\xbb\xbfitem_id,part,encryption,account_class,uri\r\n"
        b'"a,1","public\ngallery",none,ordinary,"a ""b"".jpg"\r\n'
        b"\r\n"
        b"b,,none,ordinary,b.jpg\r\n"
    )
    one, two = rows_of(snapshot(path, run))
    assert (one["item_id"], one["part"]) == ("a,1", "public\ngallery")
    assert one["uri"] == str(tmp_path / 'a "b".jpg')
    assert (two["item_id"], two["part"]) == ("b", None)


def test_blank_lines_of_json_are_passed_over(tmp_path, run):
    """Empty lines between JSON objects, and a missing last line end, mean nothing."""
    path = write(tmp_path / "items.jsonl", [item(1), item(2)])
    path.write_text("\n" + path.read_text().replace("\n", "\n\n").rstrip(), encoding="utf-8")
    assert [row["item_id"] for row in rows_of(snapshot(path, run))] == ["item-1", "item-2"]


@PER_FORMAT
def test_ids_may_be_as_long_as_an_object_key(tmp_path, run, suffix):
    """1,024 bytes of UTF-8 are an id, in as many characters as they are."""
    row = item(item_id="é" * 512, account_id="a" * 1024)
    (found,) = rows_of(snapshot(write(tmp_path / f"items{suffix}", [row]), run))
    assert (found["item_id"], found["account_id"]) == ("é" * 512, "a" * 1024)


# --- manifests: refused -----------------------------------------------------------------------


def secret_row(**changes: object) -> dict[str, Any]:
    """A second row whose cells must not show up in a message."""
    return (
        item(
            2,
            item_id=f"{SENTINEL}-item",
            account_id=f"{SENTINEL}-account",
            uri=f"{SENTINEL}.jpg",
        )
        | changes
    )


DEFECTS = (
    ("item_id", {"item_id": None}),
    ("item_id", {"item_id": "x" * 1025}),
    ("item_id", {"item_id": "é" * 512 + "x"}),
    ("item_id", {"item_id": f"{SENTINEL}\nx"}),
    ("item_id", {"item_id": f"{SENTINEL}\x1f"}),
    ("item_id", {"item_id": f"\x7f{SENTINEL}"}),
    ("account_id", {"account_id": "x" * 1025}),
    ("account_id", {"account_id": f"{SENTINEL}\tx"}),
    ("kind", {"kind": f"{SENTINEL}"}),
    ("kind", {"kind": "Image"}),
    ("kind", {"kind": "audio"}),
    ("encryption", {"encryption": f"{SENTINEL}"}),
    ("encryption", {"encryption": "E2EE"}),
    ("account_class", {"account_class": f"{SENTINEL}"}),
    ("account_class", {"account_class": " ordinary"}),
    ("consent", {"consent": f"{SENTINEL}"}),
    ("consent", {"consent": "yes"}),
    ("url", {"kind": "url", "uri": None, "url": None}),
    ("url", {"kind": "url", "url": None}),
    ("url", {"kind": "image", "url": f"https://{SENTINEL}.example/"}),
    ("url", {"kind": None, "url": f"https://{SENTINEL}.example/"}),
    ("url", {"kind": "video", "url": f"https://{SENTINEL}.example/"}),
    ("uri", {"kind": "image", "uri": None}),
    ("uri", {"kind": None, "uri": None}),
    ("uri", {"kind": "other", "uri": None}),
)


@PER_FORMAT
@pytest.mark.parametrize(("column", "changes"), DEFECTS)
def test_a_defective_row_is_named_with_its_column(tmp_path, run, suffix, column, changes):
    """The message names file, row and column, never what stands there; no snapshot is left."""
    rows = [item(1), secret_row(**changes), item(3)]
    message = refusal(write(tmp_path / f"items{suffix}", rows), run)
    assert f"row 2, column {column}:" in message


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00",
        "2026-03-01",
        f"{SENTINEL}",
        "2026-02-30T12:00:00Z",
        "1772366400",
        "2026-03-01T25:00:00Z",
    ],
)
def test_an_upload_time_that_names_no_instant_is_refused(tmp_path, run, suffix, text):
    """Times without a zone, days that do not exist and other text are refused by row."""
    times = [item(1)["uploaded_at"].isoformat(), text]
    rows = [item(1, uploaded_at=times[0]), secret_row(uploaded_at=times[1])]
    message = refusal(write(tmp_path / f"items{suffix}", rows), run)
    assert "row 2, column uploaded_at:" in message


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_an_upload_time_beyond_the_calendar_is_refused(tmp_path, run, suffix, text):
    """A time that has no counterpart in UTC is refused by row, as any other defect."""
    rows = [item(1), secret_row(uploaded_at=text)]
    message = refusal(write(tmp_path / f"items{suffix}", rows), run)
    assert "row 2, column uploaded_at:" in message


@pytest.mark.parametrize("naive", [pa.timestamp("us"), pa.date32()], ids=str)
def test_parquet_times_without_a_zone_are_refused(tmp_path, run, naive):
    """A column of naive timestamps or days could mean another day, so it is refused."""
    table = pa.table(without({name: [value] for name, value in item().items()}, "uploaded_at"))
    column = pa.array([dt.datetime(2026, 3, 1)], naive)  # noqa: DTZ001
    pq.write_table(table.append_column("uploaded_at", column), tmp_path / "items.parquet")
    assert "row 1, column uploaded_at:" in refusal(tmp_path / "items.parquet", run)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("name", [name for name in ITEMS.names if name != "uploaded_at"])
@pytest.mark.parametrize("value", [7, True, 1.5, ["x"], {"x": "y"}], ids=str)
def test_a_value_that_is_no_text_is_refused(tmp_path, run, suffix, name, value):
    """Numbers, lists and objects in place of text are refused, not turned into text."""
    message = refusal(write(tmp_path / f"items{suffix}", [item(1, **{name: value})]), run)
    assert f"row 1, column {name}:" in message


@pytest.mark.parametrize("value", [7, 1772366400.5, True, ["x"]], ids=str)
def test_a_json_upload_time_that_is_no_text_is_refused(tmp_path, run, value):
    """A number is no instant: it could be seconds or milliseconds."""
    message = refusal(write(tmp_path / "items.jsonl", [item(1, uploaded_at=value)]), run)
    assert "row 1, column uploaded_at:" in message


def test_binary_parquet_columns_are_refused(tmp_path, run):
    """Bytes are no text, even where they would decode."""
    source = write(tmp_path / "items.parquet", [item(1, part=b"public-gallery")])
    assert "row 1, column part:" in refusal(source, run)


@PER_FORMAT
@pytest.mark.parametrize("name", sources.REQUIRED)
def test_a_missing_required_column_is_named(tmp_path, run, suffix, name):
    """A manifest that cannot say what the gate must know is refused by column."""
    message = refusal(write(tmp_path / f"items{suffix}", [without(item(), name)]), run)
    assert f"column {name} is missing" in message


@PER_FORMAT
def test_a_manifest_without_uri_and_url_is_refused(tmp_path, run, suffix):
    """One of the two references must be there."""
    message = refusal(write(tmp_path / f"items{suffix}", [without(item(), "uri", "url")]), run)
    assert "column uri is missing" in message


@PER_FORMAT
@pytest.mark.parametrize("name", ["decryption_key", "Part", "content", "skip_reason"])
def test_an_unknown_column_is_named(tmp_path, run, suffix, name):
    """A column that no scan reads is refused: it may be a misspelt one, or a key."""
    message = refusal(write(tmp_path / f"items{suffix}", [item(1, **{name: SENTINEL})]), run)
    assert f"column {name} is not known" in message


def test_every_json_row_is_held_to_the_columns(tmp_path, run):
    """In JSON lines each row names its own columns, so each is checked."""
    for bad in (without(secret_row(), "part"), secret_row() | {"note": SENTINEL}):
        assert " row 2:" in refusal(write(tmp_path / "items.jsonl", [item(1), bad]), run)


@pytest.mark.parametrize("header", ["item_id,item_id", "item_id,part,part"])
def test_a_csv_column_that_stands_twice_is_refused(tmp_path, run, header):
    """Two columns of one name could disagree; neither may win in silence."""
    names = ["part", "encryption", "account_class", "uri"]
    columns = header.split(",") + [name for name in names if name not in header]
    path = tmp_path / "items.csv"
    cells = ["ordinary" if name == "account_class" else "none" for name in columns]
    path.write_text(",".join(columns) + "\n" + ",".join(cells) + "\n")
    refusal(path, run)


@PER_FORMAT
def test_an_empty_text_means_the_same_in_every_format(tmp_path, run, suffix):
    """An empty uri refers to nothing, whether the cell is empty or holds an empty text."""
    rows = [item(1), secret_row(uri="")]
    assert "row 2, column uri:" in refusal(write(tmp_path / f"items{suffix}", rows), run)


@PER_FORMAT
def test_an_empty_url_is_no_url(tmp_path, run, suffix):
    """An empty url refers to nothing, whether the cell is empty or holds an empty text."""
    rows = [item(1), secret_row(kind="url", uri=None, url="")]
    assert "row 2, column url:" in refusal(write(tmp_path / f"items{suffix}", rows), run)


@PER_FORMAT
@pytest.mark.parametrize("name", list(ITEM_VALUES))
def test_a_closed_column_may_be_empty(tmp_path, run, suffix, name):
    """An empty text in a closed column is an absent answer, as the message about it says."""
    (row,) = rows_of(snapshot(write(tmp_path / f"items{suffix}", [item(1, **{name: ""})]), run))
    assert row[name] is None


@PER_FORMAT
def test_a_defect_far_down_is_named_by_its_row(tmp_path, run, suffix):
    """Rows are counted over the whole file, across batches and chunks."""
    rows = [item(number) for number in range(8_300)]
    rows[8_250]["consent"] = SENTINEL
    message = refusal(write(tmp_path / f"items{suffix}", rows), run, chunk_rows=1_000)
    assert "row 8251, column consent:" in message


def test_a_wrong_type_far_down_is_named_by_its_row(tmp_path, run):
    """The check of types counts rows the same way."""
    rows = [item(number) for number in range(8_300)]
    rows[8_250]["consent"] = 7
    message = refusal(write(tmp_path / "items.jsonl", rows), run, chunk_rows=1_000)
    assert "row 8251, column consent:" in message


@PER_FORMAT
@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_an_id_that_stands_twice_is_named_with_both_rows(tmp_path, run, suffix, chunk_rows):
    """Ids are unique over the whole source, also where a chunk holds only one of the two."""
    rows = [item(1), item(2, item_id=SENTINEL), item(3), item(4, item_id=SENTINEL)]
    message = refusal(write(tmp_path / f"items{suffix}", rows), run, chunk_rows)
    assert "row 4, column item_id:" in message
    assert "row 2" in message


def test_an_id_that_stands_twice_far_apart_is_named_with_both_rows(tmp_path, run):
    """The second may come thousands of rows later, in another batch and chunk."""
    rows = [item(number) for number in range(9_000)]
    rows[8_990]["item_id"] = rows[3]["item_id"]
    message = refusal(write(tmp_path / "items.csv", rows), run, chunk_rows=500)
    assert "row 8991, column item_id:" in message
    assert "row 4" in message


def test_ids_that_differ_only_in_case_or_form_are_different(tmp_path, run):
    """Ids are the provider's own names, compared byte by byte."""
    names = ["a", "A", "é", "e\u0301", "a ", " a"]
    taken = snapshot(write(tmp_path / "items.jsonl", [item(item_id=n) for n in names]), run)
    assert [row["item_id"] for row in rows_of(taken)] == names


@pytest.mark.parametrize(
    ("line", "where"),
    [
        (f'{{"item_id": "{SENTINEL}"', "row 2"),
        (f'["{SENTINEL}"]', "row 2"),
        (f'"{SENTINEL}"', "row 2"),
        ("null", "row 2"),
        ("7", "row 2"),
        (f"{SENTINEL}", "row 2"),
        ('{"item_id": "\t"}', "row 2"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(tmp_path, run, line, where):
    """A broken line, or one that holds something else, is refused by its row."""
    path = write(tmp_path / "items.jsonl", [item(1)])
    path.write_text(path.read_text() + line + "\n", encoding="utf-8")
    assert where in refusal(path, run)


def test_json_nested_without_end_is_refused(tmp_path, run):
    """A line nested too deeply to be read is refused by its row."""
    path = write(tmp_path / "items.jsonl", [item(1)])
    path.write_text(path.read_text() + "[" * 100_000 + "\n", encoding="utf-8")
    assert "row 2" in refusal(path, run)


@pytest.mark.parametrize("name", ["item_id", "account_id", "uri"])
def test_json_text_that_is_no_unicode_is_refused(tmp_path, run, name):
    """Half a surrogate pair, which JSON can write, is refused by its row."""
    path = write(tmp_path / "items.jsonl", [item(1), secret_row(**{name: f"{SENTINEL}\ud800"})])
    assert "row 2" in refusal(path, run)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_manifest_that_is_no_utf_8_is_refused(tmp_path, run, suffix):
    """Bytes in another encoding would name other items, so the file is refused."""
    path = write(tmp_path / f"items{suffix}", [item(1), item(2, part="gallery")])
    path.write_bytes(path.read_bytes().replace(b"gallery", b"gal\xe9rie"))
    refusal(path, run)


def test_parquet_text_that_is_no_utf_8_is_refused(tmp_path, run):
    """Parquet does not check its text, so the snapshot does."""
    broken = pa.array([SENTINEL.encode() + b"\xff"], pa.binary()).view(pa.string())
    table = pa.table({name: [value] for name, value in item().items()})
    pq.write_table(table.set_column(0, "item_id", broken), tmp_path / "items.parquet")
    refusal(tmp_path / "items.parquet", run)


@pytest.mark.parametrize("cells", ["", ",given,given"])
def test_a_ragged_csv_row_is_named(tmp_path, run, cells):
    """A row with more or fewer fields than the header may have shifted cells, and is refused."""
    path = tmp_path / "items.csv"
    path.write_text(
        "item_id,part,encryption,account_class,uri,consent\n"
        "item-1,public-gallery,none,ordinary,a.jpg,given\n"
        f"{SENTINEL},public-gallery,none,ordinary,b.jpg{cells}\n"
    )
    message = refusal(path, run)
    assert "row 2" in message
    assert "fields" in message


@pytest.mark.parametrize("text", ['a,"b,none,ordinary,x\n', 'a,"b"c,none,ordinary,x\n'])
def test_broken_quotes_in_csv_are_refused(tmp_path, run, text):
    """A quote that never ends, or ends within a field, is refused."""
    path = tmp_path / "items.csv"
    path.write_text("item_id,part,encryption,account_class,uri\n" + text)
    refusal(path, run)


@pytest.mark.parametrize("kept", [0, 3, 40, -1])
def test_broken_parquet_is_refused(tmp_path, run, kept):
    """A Parquet file cut short is refused."""
    path = write(tmp_path / "items.parquet", [item(1)])
    path.write_bytes(path.read_bytes()[:kept])
    refusal(path, run)


def test_text_named_parquet_is_refused(tmp_path, run):
    """A file that is no Parquet is refused, whatever its name says."""
    path = tmp_path / "items.parquet"
    path.write_text("item_id,part\n" * 100)
    refusal(path, run)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.csv", b""),
        ("items.csv", b"item_id,part,encryption,account_class,uri\n"),
        ("items.jsonl", b""),
        ("items.jsonl", b"\n\n"),
    ],
)
def test_an_empty_manifest_is_refused(tmp_path, run, name, content):
    """A manifest without rows, with or without a header, holds nothing to scan."""
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name, run)


def test_an_empty_parquet_manifest_is_refused(tmp_path, run):
    """A Parquet file of no rows holds nothing to scan."""
    pq.write_table(ITEMS.empty_table(), tmp_path / "items.parquet")
    assert "empty" in refusal(tmp_path / "items.parquet", run)


@pytest.mark.parametrize("name", ["items.xlsx", "items.json", "items", "photo.jpg", "items.csv.gz"])
def test_another_kind_of_file_is_refused(tmp_path, run, name):
    """A file of another suffix is no manifest, and the message lists those that are."""
    (tmp_path / name).write_bytes(b"item_id\n")
    message = refusal(tmp_path / name, run)
    for suffix in sources.MANIFEST_SUFFIXES:
        assert suffix in message


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv", "nowhere/items.parquet"])
def test_a_source_that_does_not_exist_is_refused(tmp_path, run, name):
    """A mistyped path is said to be one."""
    assert "does not exist" in refusal(tmp_path / name, run)


@pytest.mark.parametrize(
    "rows",
    [
        [item(1), secret_row(consent="maybe")],
        [item(1), secret_row(uploaded_at="yesterday")],
        [item(1), item(1)],
        [],
    ],
    ids=["bad value", "bad time", "duplicate", "empty"],
)
def test_a_refused_manifest_leaves_nothing_behind(tmp_path, run, rows):
    """Ids of items that are not scanned are not kept in the run folder either."""
    source = tmp_path / "items.jsonl"
    source.touch()
    if rows:
        write(source, rows)
    refusal(source, run)
    assert list(run.iterdir()) == []


# --- chunks -----------------------------------------------------------------------------------


@settings(SEEDED, max_examples=40)
@given(
    rows=st.integers(1, 40),
    chunk_rows=st.integers(1, 45),
    suffix=st.sampled_from([".csv", ".jsonl"]),
)
def test_every_chunk_but_the_last_is_full(tmp_path, rows, chunk_rows, suffix):
    """Row groups hold chunk_rows rows but for the last, which holds the rest, in the given order."""
    source = write(tmp_path / f"items{suffix}", [item(number) for number in range(rows)])
    taken = take(source, tmp_path / "items.out", chunk_rows=chunk_rows, declared=None)
    file = pq.ParquetFile(taken.path)
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    full, rest = divmod(rows, chunk_rows)
    assert sizes == [chunk_rows] * full + ([rest] if rest else [])
    assert (taken.rows, taken.chunk_rows, taken.chunks) == (rows, chunk_rows, len(sizes))
    assert [row["item_id"] for row in rows_of(taken)] == [f"item-{n}" for n in range(rows)]


@pytest.mark.parametrize("chunk_rows", [4_096, 5_000, 8_192, 8_193, 16_384, 20_000])
def test_chunks_are_full_across_the_batches_they_are_read_in(tmp_path, run, chunk_rows):
    """A chunk may end within a batch, at its end, or hold several, and stays full."""
    columns = {
        "item_id": [f"item-{number}" for number in range(16_500)],
        **{
            name: pa.array([value] * 16_500, pa.string())
            for name, value in without(item(), "item_id", "uploaded_at", "url").items()
        },
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet", row_group_size=7_000)
    taken = snapshot(tmp_path / "items.parquet", run, chunk_rows)
    file = pq.ParquetFile(taken.path)
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    full, rest = divmod(16_500, chunk_rows)
    assert sizes == [chunk_rows] * full + ([rest] if rest else [])
    assert pq.read_table(taken.path)["item_id"].to_pylist() == columns["item_id"]


# --- fingerprints -----------------------------------------------------------------------------


def test_a_changed_manifest_has_another_fingerprint(tmp_path):
    """A manifest is known by its bytes, a directory by nothing."""
    path = tmp_path / "items.csv"
    path.write_bytes(b"one")
    assert fingerprint(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    assert fingerprint(path) == hashlib.sha256(b"two").hexdigest()
    assert fingerprint(tmp_path) is None
