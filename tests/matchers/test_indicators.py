"""Indicator sets: built from folders and lists, signed, verified, loaded, never rolled back."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.pictures import reference, smooth, store
from support.sets import CENTRE, STRANGER, TODAY, URL_KEY, manifest, rows, signed_set

from matchers import limits, pdq, urls
from matchers.digests import DIGEST_BYTES, digest
from matchers.errors import (
    IndicatorSetError,
    RollbackRefused,
    SetAltered,
    SetExpired,
    SignatureRefused,
)
from matchers.files import write_json
from matchers.hamming import HammingIndex, mih
from matchers.indicators import IndicatorSet, Manifest, VersionLedger, build, load
from matchers.indicators.manifest import (
    EFFECTIVE,
    KINDS,
    VALUE_BYTES,
    key_id,
    read,
    read_data,
    schema,
    sha256_file,
    write,
)

TRUSTED = [CENTRE.public_key()]


def values(algorithm: str, n: int = 5, seed: int = 1) -> list[bytes]:
    """Random values of an algorithm's length."""
    random = np.random.default_rng(seed)
    return [random.bytes(VALUE_BYTES[algorithm]) for _ in range(n)]


def dated(table: pa.Table, *days: dt.date | None) -> pa.Table:
    """The rows with their effective days, as a set's data has them; by default all the set's."""
    column = list(days) or [dt.date(2025, 1, 1)] * table.num_rows
    return table.append_column(EFFECTIVE, pa.array(column, pa.date32()))


def contents(table: pa.Table) -> list[tuple[str, bytes]]:
    """(indicator id, value) of each row."""
    return list(zip(table["indicator_id"].to_pylist(), table["value"].to_pylist(), strict=True))


# --- built from pictures ----------------------------------------------------------------------


@pytest.fixture
def picture_folder(tmp_path) -> Path:
    """Two good pictures at different depths, a flat one, a text and an empty file."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "b.png").write_bytes(store(smooth(90, 120, seed=1), "PNG"))
    (folder / "deep" / "er" / "a.jpg").write_bytes(store(smooth(90, 120, seed=2), "JPEG"))
    (folder / "deep" / "flat.png").write_bytes(store(np.full((90, 120, 3), 77, np.uint8), "PNG"))
    (folder / "notes.txt").write_text("not a picture")
    (folder / "empty.jpg").touch()
    return folder


def test_pictures_become_indicators_named_after_their_path(picture_folder):
    """Every usable picture at any depth is a row; each other file is named with its reason."""
    table, left = build.from_images(picture_folder, min_quality=50)
    assert table.schema == schema("pdq")
    assert contents(table) == [
        ("b.png", reference(smooth(90, 120, seed=1))[0].tobytes()),
        (
            "deep/er/a.jpg",
            pdq.hash_images([(picture_folder / "deep/er/a.jpg").read_bytes()]).codes[0].tobytes(),
        ),
    ]
    assert {(one.name, one.reason) for one in left} == {
        ("deep/flat.png", "quality 0 is below 50"),
        ("empty.jpg", "empty"),
        ("notes.txt", "unrecognised_format"),
    }


def test_the_minimum_quality_is_inclusive(picture_folder):
    """A picture of exactly the minimum is an indicator; at a minimum of 0 even a flat one is."""
    quality = reference(smooth(90, 120, seed=1))[1]
    assert 0 < quality <= 100
    taken, _ = build.from_images(picture_folder, min_quality=quality)
    assert "b.png" in taken["indicator_id"].to_pylist()
    everything, left = build.from_images(picture_folder, min_quality=0)
    assert "deep/flat.png" in everything["indicator_id"].to_pylist()
    assert {one.name for one in left} == {"empty.jpg", "notes.txt"}


def test_progress_counts_every_file_once(picture_folder, monkeypatch):
    """Progress ends at all files of all, in steps of a batch."""
    monkeypatch.setattr(build, "_HASHING_BATCH", 2)
    seen: list[tuple[int, int]] = []
    build.from_images(picture_folder, 50, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_batches_do_not_change_what_is_built(picture_folder, monkeypatch):
    """One file at a time gives the rows that all at once give."""
    whole, _ = build.from_images(picture_folder, 50)
    monkeypatch.setattr(build, "_HASHING_BATCH", 1)
    assert build.from_images(picture_folder, 50)[0].equals(whole)


@pytest.mark.parametrize("content", [None, b"not a picture"])
def test_a_folder_without_a_usable_picture_is_refused(tmp_path, content):
    """A set of nothing would find nothing: building it is an error that names the folder."""
    if content:
        (tmp_path / "file.jpg").write_bytes(content)
    with pytest.raises(IndicatorSetError, match=f"{tmp_path} gave no indicator"):
        build.from_images(tmp_path, 50)


# --- built from lists -------------------------------------------------------------------------

HEX_ALGORITHMS = ("pdq", *DIGEST_BYTES)


@pytest.mark.parametrize("algorithm", HEX_ALGORITHMS)
def test_a_text_file_has_one_hex_value_a_line(tmp_path, algorithm):
    """Comments and empty lines are passed over, both cases of hex are read, ids are the lines."""
    one, two = values(algorithm, 2)
    path = tmp_path / "list.txt"
    path.write_text(f"# made by hand\n\n{one.hex()}\n   \n  {two.hex().upper()}  \n")
    table = build.from_list(path, algorithm)
    assert table.schema == schema(algorithm)
    assert contents(table) == [("line-3", one), ("line-5", two)]


@pytest.mark.parametrize("algorithm", HEX_ALGORITHMS)
@pytest.mark.parametrize("column", ["value", "hash", "the algorithm", "indicator", " Value "])
def test_a_csv_file_has_its_values_in_a_named_column(tmp_path, algorithm, column):
    """The value stands under any of the documented names, the id beside it, the rest is ignored."""
    column = algorithm if column == "the algorithm" else column
    one, two = values(algorithm, 2)
    path = tmp_path / "list.CSV"
    path.write_text(
        f'indicator_id,note,{column}\nfirst,"a, b",{one.hex()}\nsecond,,{two.hex().upper()}\n'
    )
    assert contents(build.from_list(path, algorithm)) == [("first", one), ("second", two)]


def test_a_csv_column_named_after_the_algorithm_comes_first(tmp_path):
    """A list with several digests of each file gives those of the algorithm asked for."""
    path = tmp_path / "list.csv"
    md5, sha1 = values("md5", 1)[0], values("sha1", 1)[0]
    path.write_text(f"hash,md5,sha1\nsomething,{md5.hex()},{sha1.hex()}\n")
    assert contents(build.from_list(path, "md5")) == [("line-2", md5)]
    assert contents(build.from_list(path, "sha1")) == [("line-2", sha1)]


@pytest.mark.parametrize("algorithm", VALUE_BYTES)
@pytest.mark.parametrize("column", VALUE_BYTES)
def test_a_csv_column_named_after_another_algorithm_is_refused(tmp_path, algorithm, column):
    """A PDQ code and a SHA-256 digest look the same: the name tells them apart, and is heeded."""
    path = tmp_path / "list.csv"
    path.write_text(f"id,{column}\na,{'00' * 32}\n")
    assert build.named_algorithms(path) == [column]
    if column != algorithm:
        with pytest.raises(IndicatorSetError, match=f"values are {column}, not {algorithm}"):
            build.from_list(path, algorithm, URL_KEY)


def test_a_list_names_its_algorithms_or_none(tmp_path):
    """Columns of several digests name several; text names none."""
    (tmp_path / "two.csv").write_text("id, SHA256 ,md5,value\n")
    (tmp_path / "list.txt").write_text("sha256\n")
    assert build.named_algorithms(tmp_path / "two.csv") == ["md5", "sha256"]
    assert build.named_algorithms(tmp_path / "list.txt") == []


@pytest.mark.parametrize(
    ("value", "remedy"),
    [("00" * 16, "--algorithm md5"), ("00" * 20, "--algorithm sha1"),
     ("https://example.org/a", "--kind url")],
)  # fmt: skip
def test_the_value_of_another_algorithm_says_how_to_build_the_list(tmp_path, value, remedy):
    """Whoever forgot to name the algorithm is told which one fits."""
    path = tmp_path / "list.txt"
    path.write_text(value)
    with pytest.raises(IndicatorSetError, match=f"hex digits; .*build the list with {remedy}"):
        build.from_list(path, "pdq")


def test_a_byte_order_mark_is_no_part_of_the_first_value(tmp_path):
    """Lists saved by spreadsheets start with one."""
    value = values("md5", 1)[0]
    text, table = tmp_path / "list.txt", tmp_path / "list.csv"
    text.write_text(value.hex(), encoding="utf-8-sig")
    table.write_text(f"md5\n{value.hex()}\n", encoding="utf-8-sig")
    assert contents(build.from_list(text, "md5")) == [("line-1", value)]
    assert contents(build.from_list(table, "md5")) == [("line-2", value)]


def test_a_url_list_becomes_keyed_digests_of_canonical_urls(tmp_path):
    """What is stored is the digest of the canonical form under the set's key, not the URL."""
    path = tmp_path / "list.txt"
    path.write_text("HTTP://Example.com:80/a#b\nhttps://example.org/?q=1\n")
    table = build.from_list(path, "url", URL_KEY)
    assert contents(table) == [
        ("line-1", urls.keyed_digest("http://example.com/a", URL_KEY)),
        ("line-2", urls.keyed_digest("https://example.org/?q=1", URL_KEY)),
    ]


def test_a_url_csv_is_read_like_any_other(tmp_path):
    """Quoted URLs with commas in them are values."""
    path = tmp_path / "list.csv"
    path.write_text('id,url\nx,"http://example.com/a,b"\n')
    digest_of_it = urls.keyed_digest("http://example.com/a,b", URL_KEY)
    assert contents(build.from_list(path, "url", URL_KEY)) == [("x", digest_of_it)]


@pytest.mark.parametrize("algorithm", HEX_ALGORITHMS)
@pytest.mark.parametrize(
    "bad", ["", "00", "zz" * 32, "not hex", "0x00", "é" * 64], ids=lambda text: text[:8] or "empty"
)
def test_a_bad_value_is_named_with_its_line(tmp_path, algorithm, bad):
    """The message says which file, which line and what a value looks like."""
    good = values(algorithm, 1)[0].hex()
    path = tmp_path / "list.csv"
    path.write_text(f"id,value\na,{good}\nb,{bad}\nc,{good}\n", encoding="utf-8")
    hex_digits = 2 * VALUE_BYTES[algorithm]
    with pytest.raises(
        IndicatorSetError, match=rf"list\.csv line 3: a {algorithm} \w+ is {hex_digits} hex digits"
    ):
        build.from_list(path, algorithm)
    if bad:
        text = tmp_path / "list.txt"
        text.write_text(f"# comment\n{good}\n{bad}\n", encoding="utf-8")
        with pytest.raises(IndicatorSetError, match=r"list\.txt line 3: a"):
            build.from_list(text, algorithm)


@pytest.mark.parametrize("short_or_long", [-1, 1])
@pytest.mark.parametrize("algorithm", HEX_ALGORITHMS)
def test_a_value_of_another_length_is_refused(tmp_path, algorithm, short_or_long):
    """One byte more or less is another algorithm's value or none."""
    path = tmp_path / "list.txt"
    path.write_text("00" * (VALUE_BYTES[algorithm] + short_or_long))
    with pytest.raises(IndicatorSetError, match="line 1: "):
        build.from_list(path, algorithm)


@pytest.mark.parametrize(
    ("reason", "url"),
    [
        ("not_http", "ftp://example.com/"),
        ("not_a_url", "example.com/a"),
        ("too_long", "http://example.com/" + "a" * limits.MAX_URL_BYTES),
    ],
)
def test_a_bad_url_is_named_with_its_line_and_reason_but_not_repeated(tmp_path, reason, url):
    """The URL itself stays out of the message."""
    path = tmp_path / "list.txt"
    path.write_text(f"http://example.com/\n{url}\n")
    with pytest.raises(IndicatorSetError, match=rf"line 2: not usable \({reason}\)$") as refused:
        build.from_list(path, "url", URL_KEY)
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,value\na,{v}\nb,{v}\na,{v}\n", r"line 4: indicator_id 'a' already stands in line 2"),
        ("id,value\na,{v}\n ,{v}\n", r"line 3: id is empty"),
        ("indicator_id,value\n,{v}\n", r"line 2: indicator_id is empty"),
        ("id,colour\na,red\n", r"line 1: no column named value, hash or md5; it has id, colour"),
        ("", r"line 1: no column .* it has none"),
        ("id,value\n", "holds no indicator"),
        ("id,value\na\n", r"line 2: a md5 digest is 32 hex digits"),
        ('id,value\n"a\nb",{v}\nb,short\n', r"line 4: a md5 digest"),
    ],
)
def test_a_bad_csv_file_is_refused_with_line_and_remedy(tmp_path, text, message):
    """Repeated or empty ids, missing columns and short rows are each named."""
    path = tmp_path / "list.csv"
    path.write_text(text.format(v="00" * 16))
    with pytest.raises(IndicatorSetError, match=message):
        build.from_list(path, "md5")


def test_comment_lines_of_a_csv_file_are_passed_over(tmp_path):
    """`from_list` promises it for lists of either kind."""
    path = tmp_path / "list.csv"
    path.write_text(f"id,md5\na,{'00' * 16}\n# withdrawn: b\nc,{'11' * 16}\n")
    names = [name for name, _ in contents(build.from_list(path, "md5"))]
    assert names == ["a", "c"]


def test_a_csv_field_beyond_the_parsers_limit_is_refused_with_its_line(tmp_path):
    """The csv module's own error does not escape."""
    path = tmp_path / "list.csv"
    path.write_text(f"id,note,md5\na,,{'00' * 16}\nb,{'x' * 200_000},{'11' * 16}\n")
    with pytest.raises(IndicatorSetError, match="line 3"):
        build.from_list(path, "md5")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_a_list_without_a_value_is_refused(tmp_path, text):
    """A set of nothing would find nothing."""
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(IndicatorSetError, match="holds no indicator"):
        build.from_list(path, "md5")


def test_a_list_that_is_not_there_or_not_text_is_refused(tmp_path):
    """Missing files and other encodings are an `IndicatorSetError` that says what was expected."""
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    for name in ("missing.txt", "latin.txt"):
        with pytest.raises(IndicatorSetError, match=rf"{name} cannot be read as UTF-8 text"):
            build.from_list(tmp_path / name, "md5")


# --- written, read, loaded --------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", VALUE_BYTES)
def test_a_set_that_was_written_is_loaded_as_it_was(tmp_path, algorithm):
    """Manifest, ids and values survive the disk; size and digest are filled in."""
    held = values(algorithm)
    loaded = signed_set(tmp_path / "set", held, algorithm)
    data_file = tmp_path / "set" / "indicators.arrow"
    assert loaded.manifest == manifest(
        algorithm, rows=5, data_sha256=hashlib.sha256(data_file.read_bytes()).hexdigest()
    )
    assert loaded.indicator_ids.to_pylist() == [f"row-{n}" for n in range(5)]
    assert contents(read_data(tmp_path / "set", loaded.manifest)) == list(
        zip(loaded.indicator_ids.to_pylist(), held, strict=True)
    )


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "url"])
def test_a_set_of_digests_has_an_exact_index_only(tmp_path, algorithm):
    """Each value is found at its row, another is not."""
    held = values(algorithm)
    loaded = signed_set(tmp_path / "set", held, algorithm)
    assert loaded.perceptual is None
    assert [loaded.exact.find(value) for value in held] == list(range(5))
    assert loaded.exact.find(values(algorithm, 1, seed=2)[0]) is None


def test_a_pdq_set_has_a_radius_index_only(tmp_path):
    """Each code is found at its row."""
    held = values("pdq")
    loaded = signed_set(tmp_path / "set", held)
    assert loaded.exact is None
    queries = np.frombuffer(b"".join(held), np.uint8).reshape(5, 32)
    found = loaded.perceptual.search(queries, 0)
    assert found.indicator.tolist() == found.query.tolist() == list(range(5))


def test_a_url_set_hands_out_its_key(tmp_path):
    """The key in the manifest is the one the digests were made with."""
    loaded = signed_set(tmp_path / "set", values("url"), "url")
    assert loaded.url_key == URL_KEY


@pytest.mark.parametrize("algorithm", ["pdq", "md5", "url"])
def test_a_set_may_hold_no_row(tmp_path, algorithm):
    """A Centre that withdraws its last indicator issues an empty version, which matches nothing."""
    loaded = signed_set(tmp_path / "set", [], algorithm)
    assert len(loaded.indicator_ids) == 0
    if algorithm == "pdq":
        assert len(loaded.perceptual) == 0
    else:
        assert loaded.exact.find(bytes(VALUE_BYTES[algorithm])) is None


def test_a_set_of_several_arrow_batches_is_loaded_whole(tmp_path):
    """The data file may be in batches: rows keep their numbers across them."""
    held = values("sha1", 7)
    table = rows("sha1", held)
    table = pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3)])
    write(tmp_path / "set", manifest("sha1"), dated(table), CENTRE)
    loaded = load(tmp_path / "set", TRUSTED, today=TODAY)
    assert [loaded.exact.find(value) for value in held] == list(range(7))
    assert loaded.indicator_ids.to_pylist() == [f"row-{n}" for n in range(7)]


def test_a_set_is_never_written_over(tmp_path):
    """A change is a new version in a new folder."""
    signed_set(tmp_path / "set", values("md5"), "md5")
    before = {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()}
    with pytest.raises(IndicatorSetError, match="exists: a set is never changed in place"):
        signed_set(tmp_path / "set", values("md5", seed=9), "md5")
    assert {p.name: p.read_bytes() for p in (tmp_path / "set").iterdir()} == before


def test_the_same_set_is_written_as_the_same_bytes(tmp_path):
    """Ed25519 is deterministic and so is everything else: sets can be reproduced."""
    for name in ("one", "two"):
        signed_set(tmp_path / name, values("pdq"))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


# --- from version to version -------------------------------------------------------------------


def code(*ones: int) -> bytes:
    """A PDQ code with that many bits set from the left, or those from one bit to another."""
    bits = np.zeros(256, np.uint8)
    bits[slice(*ones)] = 1
    return np.packbits(bits).tobytes()


def test_an_indicator_between_two_clusters_is_refused_until_the_next_order(tmp_path):
    """A picture near both would be two hits: the next version must leave such an indicator out."""
    apart = [code(0), code(100)]
    first = signed_set(tmp_path / "v1", apart, kind="new")
    assert first.cluster(0) != first.cluster(1)
    with pytest.raises(IndicatorSetError, match=r"new indicator\(s\) 'row-2' link"):
        signed_set(tmp_path / "v2", [*apart, code(50)], previous=tmp_path / "v1")
    assert not (tmp_path / "v2").exists()
    one_set = signed_set(tmp_path / "other", [*apart, code(50)], kind="new")
    assert len({one_set.cluster(row) for row in range(3)}) == 1


def test_clusters_hold_when_the_lines_of_a_list_move(tmp_path):
    """A new first line moves every line-N; what is near the same picture stays one cluster."""
    first = signed_set(tmp_path / "v1", [code(0), code(100)], kind="new")
    moved = [code(200), code(0), code(100), code(20)]
    second = signed_set(tmp_path / "v2", moved, previous=tmp_path / "v1")
    names = [second.cluster(row) for row in range(4)]
    assert names[1:] == [first.cluster(0), first.cluster(1), first.cluster(0)]
    assert names[0] not in names[1:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set_id": "other"}, "set_id is not that of the version before"),
        ({"kind": "known"}, "kind is not that of the version before"),
        ({"version": 3, "lineage": ("0" * 64,)}, "does not follow version 1"),
        ({"radius_bits": 30}, "radius_bits is 30, less than 31 of version 1"),
    ],
)
def test_a_version_that_does_not_follow_the_one_before_is_refused(tmp_path, changes, message):
    """Clusters of another set, or of a version out of line, mean nothing."""
    signed_set(tmp_path / "v1", values("pdq"), kind="new")
    with pytest.raises(IndicatorSetError, match=message):
        signed_set(tmp_path / "v2", values("pdq"), previous=tmp_path / "v1", **changes)


def test_a_later_version_without_the_one_before_is_refused():
    """Its clusters would be made afresh."""
    with pytest.raises(IndicatorSetError, match="without the version before"):
        build.as_version(rows("pdq", values("pdq")), at(2), None)


def days_of(one: IndicatorSet) -> list[dt.date]:
    """The effective day of each row."""
    return [one.effective_day(row) for row in range(len(one.indicator_ids))]


@pytest.mark.parametrize("algorithm", ["pdq", "sha256", "url"])
def test_an_indicator_keeps_its_first_effective_day(tmp_path, algorithm):
    """What version 1 lists is not new again in version 3; what is added is effective from then."""
    held = values(algorithm)
    days = [dt.date(2025, month, 1) for month in (1, 3, 6)]
    first = signed_set(tmp_path / "v1", held[:2], algorithm, effective=days[0])
    assert days_of(first) == days[:1] * 2
    signed_set(tmp_path / "v2", held[:3][::-1], algorithm, tmp_path / "v1", effective=days[1])
    third = signed_set(tmp_path / "v3", held[1:4], algorithm, tmp_path / "v2", effective=days[2])
    assert days_of(third) == days
    assert third.manifest.effective == days[2]


def test_what_joins_a_cluster_is_effective_from_the_clusters_first_day(tmp_path):
    """Else a near-duplicate of an old indicator, listed later, would bring expired hits back."""
    days = dt.date(2025, 1, 1), dt.date(2025, 6, 1)
    signed_set(tmp_path / "v1", [code(0)], kind="new", effective=days[0])
    signed_set(tmp_path / "v2", [code(30), code(0), code(200)], previous=tmp_path / "v1",
               effective=days[1])  # fmt: skip
    third = signed_set(tmp_path / "v3", [code(20), code(30), code(200)], previous=tmp_path / "v2",
                       effective=days[1])  # fmt: skip
    assert days_of(third) == [days[0], days[0], days[1]]


def test_a_version_that_takes_effect_before_the_one_before_is_refused(tmp_path):
    """What it carries on would be effective after the set itself."""
    signed_set(tmp_path / "v1", values("md5"), "md5", effective=dt.date(2025, 2, 1))
    with pytest.raises(IndicatorSetError, match="effective is 2025-01-31, before 2025-02-01"):
        signed_set(tmp_path / "v2", values("md5"), "md5", previous=tmp_path / "v1",
                   effective=dt.date(2025, 1, 31))  # fmt: skip


def test_signed_data_with_a_day_after_the_sets_own_is_refused(tmp_path):
    """An indicator cannot be effective from a day on which its set was not yet."""
    late = dated(rows("md5", values("md5", 2)), dt.date(2025, 1, 1), dt.date(2025, 1, 2))
    write(tmp_path / "set", manifest("md5"), late, CENTRE)
    with pytest.raises(IndicatorSetError, match="effective from 2025-01-02, after the set's own"):
        load(tmp_path / "set", TRUSTED, today=TODAY)


@pytest.mark.parametrize("table", [
    rows("md5", [bytes(16)]),
    dated(rows("md5", [bytes(16)]), None),
], ids=["no column", "a gap"])  # fmt: skip
def test_signed_data_without_a_day_is_refused(tmp_path, table):
    """Arrow does not hold a file to its own promise that a column has no gaps."""
    write(tmp_path / "set", manifest("md5"), table, CENTRE)
    with pytest.raises(SetAltered, match=r"does not hold what manifest\.json says"):
        load(tmp_path / "set", TRUSTED, today=TODAY)


# --- what must not be used --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """A signed set of five codes."""
    signed_set(tmp_path / "set", values("pdq"))
    return tmp_path / "set"


def test_a_folder_that_is_no_set_is_refused(tmp_path):
    """No manifest, no set."""
    with pytest.raises(IndicatorSetError, match=r"not an indicator set: manifest\.json cannot"):
        load(tmp_path, TRUSTED, today=TODAY)


@pytest.mark.parametrize(
    "signatures",
    [None, b"", b"{", b"null", b"5", b"{}", b"[1]", b'[{"key_id": "a"}]', b"\xff", b"[]"],
    ids=repr,
)
def test_an_unsigned_set_is_refused(folder, signatures):
    """A missing, unreadable or empty signature file is no signature."""
    path = folder / "signatures.json"
    path.unlink()
    if signatures is not None:
        path.write_bytes(signatures)
    with pytest.raises(SignatureRefused):
        load(folder, TRUSTED, today=TODAY)


@pytest.mark.parametrize("trusted", [[], [STRANGER.public_key()]], ids=["nobody", "a_stranger"])
def test_a_set_signed_by_a_key_that_is_not_trusted_is_refused(folder, trusted):
    """The message names the signing key and what to do."""
    name = key_id(CENTRE.public_key())
    with pytest.raises(SignatureRefused, match=rf"signed by key\(s\) {name}, none of which"):
        load(folder, trusted, today=TODAY)


def test_a_signature_under_a_trusted_name_by_another_key_is_refused(folder):
    """The key's name in the file proves nothing."""
    signed = b"sluis/v1/indicator-set\n" + (folder / "manifest.json").read_bytes()
    entry = {
        "key_id": key_id(CENTRE.public_key()),
        "ed25519": base64.b64encode(STRANGER.sign(signed)).decode(),
    }
    (folder / "signatures.json").write_text(json.dumps([entry]))
    with pytest.raises(SetAltered, match="is not what was signed"):
        load(folder, TRUSTED, today=TODAY)


def test_a_signature_made_for_another_purpose_is_refused(folder):
    """The signed bytes start with their purpose: a bare signature of the manifest is not enough."""
    entry = {
        "key_id": key_id(CENTRE.public_key()),
        "ed25519": base64.b64encode(CENTRE.sign((folder / "manifest.json").read_bytes())).decode(),
    }
    (folder / "signatures.json").write_text(json.dumps([entry]))
    with pytest.raises(SetAltered):
        load(folder, TRUSTED, today=TODAY)


def test_one_good_signature_among_others_is_enough(folder):
    """During a change of keys a set carries several; a strange or bad one does no harm."""
    path = folder / "signatures.json"
    good = json.loads(path.read_text())
    strange = {"key_id": key_id(STRANGER.public_key()), "ed25519": good[0]["ed25519"]}
    bad = {**good[0], "ed25519": base64.b64encode(bytes(64)).decode()}
    path.write_text(json.dumps([strange, bad, *good]))
    trusted = [STRANGER.public_key(), *TRUSTED]
    assert load(folder, trusted, today=TODAY).manifest.set_id == "test-pdq"


@pytest.mark.parametrize(
    "change",
    [
        (b'"kind": "known"', b'"kind": "new"'),
        (b'"radius_bits": 31', b'"radius_bits": 0'),
        (b'"version": 1', b'"version": 2'),
        (b'"not_after": "2025-12-31"', b'"not_after": "2026-12-31"'),
        (b"\n}", b"\n} "),
    ],
    ids=lambda c: c[1].decode().strip(),
)
def test_an_altered_manifest_is_refused(folder, change):
    """Any change of the signed bytes, even a space, breaks the signature."""
    path = folder / "manifest.json"
    altered = path.read_bytes().replace(*change)
    assert altered != path.read_bytes()
    path.write_bytes(altered)
    with pytest.raises(SetAltered, match=r"manifest\.json is not what was signed"):
        load(folder, TRUSTED, today=TODAY)


@pytest.mark.parametrize("place", [0, 0.3, 0.6, -1])
def test_one_flipped_bit_in_the_data_is_refused(folder, place):
    """Arrow would load it silently: the file is hashed before it is mapped."""
    path = folder / "indicators.arrow"
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if place >= 0 else -1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SetAltered, match=r"indicators\.arrow is not the file that was signed"):
        load(folder, TRUSTED, today=TODAY)


def test_data_of_another_set_is_refused(folder, tmp_path):
    """A file that is good in itself but not this set's is no better."""
    signed_set(tmp_path / "other", values("pdq", seed=2))
    (folder / "indicators.arrow").write_bytes((tmp_path / "other/indicators.arrow").read_bytes())
    with pytest.raises(SetAltered, match="is not the file that was signed"):
        load(folder, TRUSTED, today=TODAY)


def test_missing_data_is_refused(folder):
    """A manifest without its data is not a set."""
    (folder / "indicators.arrow").unlink()
    with pytest.raises(SetAltered, match=r"indicators\.arrow cannot be read"):
        load(folder, TRUSTED, today=TODAY)


def sign_as_it_is(folder: Path, signed: bytes, data: bytes) -> None:
    """Write a set of these very bytes with a good signature: what a careless Centre could send."""
    folder.mkdir()
    (folder / "manifest.json").write_bytes(signed)
    (folder / "indicators.arrow").write_bytes(data)
    entry = {
        "key_id": key_id(CENTRE.public_key()),
        "ed25519": base64.b64encode(CENTRE.sign(b"sluis/v1/indicator-set\n" + signed)).decode(),
    }
    (folder / "signatures.json").write_text(json.dumps([entry]))


def test_signed_data_of_another_schema_is_refused(tmp_path):
    """A file whose columns are not those of the manifest's algorithm is refused, though signed."""
    write(tmp_path / "set", manifest("pdq"), dated(rows("sha1", values("sha1"))), CENTRE)
    with pytest.raises(SetAltered, match=r"does not hold what manifest\.json says"):
        load(tmp_path / "set", TRUSTED, today=TODAY)


def test_signed_data_with_another_number_of_rows_is_refused(folder, tmp_path):
    """A manifest that promises more rows than the file has is refused, though signed."""
    data = (folder / "indicators.arrow").read_bytes()
    promised = manifest("pdq", rows=6, data_sha256=hashlib.sha256(data).hexdigest())
    sign_as_it_is(tmp_path / "careless", promised.to_bytes(), data)
    with pytest.raises(SetAltered, match=r"does not hold what manifest\.json says"):
        load(tmp_path / "careless", TRUSTED, today=TODAY)


def test_signed_data_that_is_no_arrow_file_is_refused(tmp_path):
    """Arrow's own exception does not escape: the set is altered or badly made, and is named."""
    data = b"id,value\n"
    signed = manifest("pdq", rows=0, data_sha256=hashlib.sha256(data).hexdigest()).to_bytes()
    sign_as_it_is(tmp_path / "careless", signed, data)
    with pytest.raises(IndicatorSetError, match="careless"):
        load(tmp_path / "careless", TRUSTED, today=TODAY)


@pytest.mark.parametrize(
    "signed",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        manifest().to_bytes().replace(b'"version": 1', b'"version": "1"'),
        manifest().to_bytes().replace(b'"version": 1', b'"version": null'),
        manifest().to_bytes().replace(b"2025-12-31", b"31-12-2025"),
        manifest().to_bytes().replace(b'"provenance"', b'"origin"'),
        manifest().to_bytes().replace(b'"kind"', b'"more": 1, "kind"'),
        manifest().to_bytes().replace(b'"pdq"', b'["pdq"]'),
    ],
    ids=[
        "empty",
        "list",
        "null",
        "no_field",
        "not_utf8",
        "text_version",
        "null_version",
        "bad_date",
        "missing_field",
        "unknown_field",
        "list_algorithm",
    ],
)
def test_a_signed_manifest_of_another_form_is_refused(tmp_path, signed):
    """A good signature does not make a manifest: fields must be ours, all there, and of their type."""
    sign_as_it_is(tmp_path / "careless", signed, b"")
    with pytest.raises(IndicatorSetError, match="is not a manifest of format"):
        load(tmp_path / "careless", TRUSTED, today=TODAY)


# --- in force ---------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [dt.date(2025, 1, 1), dt.date(2025, 12, 31)])
def test_a_set_is_in_force_on_its_first_and_last_day(folder, day):
    """Both ends of the period are inclusive."""
    assert load(folder, TRUSTED, today=day).manifest.set_id == "test-pdq"


def test_an_expired_set_is_refused(folder):
    """A day past its end it must be destroyed, and the message says so."""
    with pytest.raises(SetExpired, match="expired after 2025-12-31; destroy it"):
        load(folder, TRUSTED, today=dt.date(2026, 1, 1))


def test_a_set_that_is_not_yet_in_force_is_refused(folder):
    """A day before its beginning it may not be asked."""
    with pytest.raises(SetExpired, match="not in force before 2025-01-01"):
        load(folder, TRUSTED, today=dt.date(2024, 12, 31))


def test_an_altered_set_is_altered_whatever_the_day(folder):
    """The signature comes before the period: an unsigned date proves nothing."""
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"2025-12-31", b"2027-12-31"))
    with pytest.raises(SetAltered):
        load(folder, TRUSTED, today=dt.date(2026, 1, 1))


# --- manifests that contradict themselves -----------------------------------------------------

REFUSED = [
    ("format", "pdq", {"format": "sluis-indicator-set/1"}),
    ("set_id", "pdq", {"set_id": ""}),
    ("set_id", "pdq", {"set_id": "Upper"}),
    ("set_id", "pdq", {"set_id": "../escape"}),
    ("set_id", "pdq", {"set_id": "a" * 64}),
    ("set_id", "pdq", {"set_id": "name\n"}),
    ("kind", "pdq", {"kind": "suspect"}),
    ("kind", "pdq", {"kind": "url"}),
    ("kind", "url", {"kind": "known"}),
    ("kind", "sha256", {"kind": "url"}),
    ("algorithm", "pdq", {"algorithm": "phash"}),
    ("profile", "pdq", {"profile": "wide"}),
    ("profile", "sha256", {"profile": "standard"}),
    ("profile", "pdq", {"kind": "new", "profile": "refine"}),
    ("version", "pdq", {"version": 0}),
    ("version", "pdq", {"version": -1}),
    ("lineage", "pdq", {"version": 2}),
    ("lineage", "pdq", {"lineage": ("0" * 64,)}),
    ("lineage", "pdq", {"version": 2, "lineage": ("0" * 64, "1" * 64)}),
    ("radius_bits", "pdq", {"radius_bits": -1}),
    ("radius_bits", "pdq", {"radius_bits": limits.MAX_RADIUS_BITS + 1}),
    ("radius_bits", "md5", {"radius_bits": 1}),
    ("radius_bits", "url", {"radius_bits": 31}),
    ("min_quality", "pdq", {"min_quality": -1}),
    ("min_quality", "pdq", {"min_quality": 101}),
    ("min_quality", "sha1", {"min_quality": 50}),
    ("not_after", "pdq", {"not_after": dt.date(2024, 12, 31)}),
    ("order_ids", "pdq", {"order_ids": ()}),
    ("url_rules", "url", {"url_rules": "sluis-url-0"}),
    ("url_rules", "url", {"url_rules": ""}),
    ("url_rules", "pdq", {"url_rules": urls.RULES}),
    ("url_key", "url", {"url_key": ""}),
    ("url_key", "md5", {"url_key": base64.b64encode(bytes(32)).decode()}),
]


@pytest.mark.parametrize(("field", "algorithm", "changes"), REFUSED)
def test_a_manifest_that_contradicts_itself_is_refused_by_field(field, algorithm, changes):
    """The message names the field, what it is and what it must be."""
    with pytest.raises(IndicatorSetError, match=rf": {field} is "):
        manifest(algorithm, **changes)


@pytest.mark.parametrize("url_key", ["not base64!", base64.b64encode(bytes(16)).decode()])
def test_a_url_set_whose_key_is_no_key_is_refused_by_field(url_key):
    """A key of another length would only fail at the first URL, and take the batch with it."""
    with pytest.raises(IndicatorSetError, match=": url_key is "):
        manifest("url", url_key=url_key)


@pytest.mark.parametrize("algorithm", VALUE_BYTES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_survives_its_bytes(tmp_path, algorithm, kind):
    """`from_bytes` reads what `to_bytes` wrote, for every kind and algorithm that go together."""
    if (kind == "url") != (algorithm == "url"):
        with pytest.raises(IndicatorSetError):
            manifest(algorithm, kind=kind)
        return
    one = manifest(algorithm, kind=kind, provenance="from “é” and\nmore", order_ids=("a", "b"))
    assert Manifest.from_bytes(one.to_bytes(), tmp_path) == one


def test_a_key_is_named_after_its_digest():
    """The name is the first 16 hex digits of the key's SHA-256."""
    key = CENTRE.public_key()
    assert key_id(key) == hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


# --- versions ---------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path) -> VersionLedger:
    """A ledger in a folder that does not exist yet."""
    return VersionLedger(tmp_path / "state" / "versions.json")


def at(version: int, data: str = "", set_id: str = "test-pdq") -> Manifest:
    """A manifest of that version with contents of their own, after all those before it."""
    return manifest(
        set_id=set_id,
        version=version,
        data_sha256=data or f"{version:064x}",
        lineage=at(version - 1, set_id=set_id).next_lineage if version > 1 else (),
    )


def test_versions_that_stay_or_grow_are_accepted(ledger, tmp_path):
    """The same version again and any later one are fine, also over a restart."""
    for version in (1, 1, 2, 5):
        ledger.accept([at(version)])
    VersionLedger(tmp_path / "state" / "versions.json").accept([at(5), at(1, set_id="other")])


def test_a_version_that_does_not_carry_on_the_one_used_is_refused(ledger):
    """Its clusters may be others: what was used here must be among its earlier versions."""
    ledger.accept([at(2)])
    foreign = manifest(version=4, lineage=at(2, data="e" * 64).next_lineage)
    with pytest.raises(IndicatorSetError, match="version 4 does not carry on version 2"):
        ledger.accept([foreign])
    ledger.accept([at(4)])  # a version in between may be passed over


def test_an_older_version_is_refused(ledger):
    """Once version 3 was used here, version 2 is a rollback; the message names both."""
    ledger.accept([at(3)])
    with pytest.raises(RollbackRefused, match=r"version 2 is older than version 3"):
        ledger.accept([at(2)])


def test_the_same_version_with_other_contents_is_refused(ledger):
    """A change needs a new version."""
    ledger.accept([at(3)])
    with pytest.raises(SetAltered, match="version 3 was used here before with other contents"):
        ledger.accept([at(3, data="f" * 64)])


def test_sets_do_not_share_their_versions(ledger):
    """Each set counts for itself."""
    ledger.accept([at(9, set_id="one"), at(2, set_id="two")])
    ledger.accept([at(9, set_id="one"), at(3, set_id="two")])
    with pytest.raises(RollbackRefused, match="'two'"):
        ledger.accept([at(2, set_id="two")])


def test_a_refusal_records_nothing(ledger):
    """All of a run's sets are accepted, or none is recorded."""
    ledger.accept([at(2, set_id="old")])
    with pytest.raises(RollbackRefused):
        ledger.accept([at(7, set_id="fresh"), at(1, set_id="old")])
    ledger.accept([at(1, set_id="fresh")])


@pytest.mark.parametrize("order", [(2, 1), (1, 2)])
def test_two_versions_of_a_set_in_one_run_never_lower_the_record(ledger, order):
    """Whether or not the run is refused, version 1 cannot come back after version 2 was used."""
    try:
        ledger.accept([at(version) for version in order])
    except IndicatorSetError:
        return
    with pytest.raises(RollbackRefused):
        ledger.accept([at(1)])


def test_two_contents_of_a_version_in_one_run_are_refused(ledger):
    """Within one run, too, a version has one content."""
    with pytest.raises(SetAltered):
        ledger.accept([at(1), at(1, data="f" * 64)])


@pytest.mark.parametrize(
    "content", ["", "{", "\ud83d", "[]", "null", "5", '{"test-pdq": 3}', '{"test-pdq": {}}']
)
def test_a_damaged_ledger_stops_everything(ledger, tmp_path, content):
    """Without the record rollbacks cannot be refused: nothing is accepted, and the remedy is told."""
    ledger.accept([at(3)])
    path = tmp_path / "state" / "versions.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(IndicatorSetError, match=r"versions\.json is damaged: restore it"):
        ledger.accept([at(3)])
    assert path.read_bytes() == content.encode("utf-8", "surrogatepass")


def test_the_ledger_is_in_a_folder_of_its_owner_only(ledger, tmp_path):
    """Others on the machine can neither read nor replace it."""
    ledger.accept([at(1)])
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_write_json_replaces_the_whole_file(tmp_path):
    """The old content is there until the new one is whole, and nothing else is left."""
    path = tmp_path / "state.json"
    write_json(path, {"b": 1, "a": [2]})
    write_json(path, {"a": 3})
    assert json.loads(path.read_text()) == {"a": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


# --- index folder -----------------------------------------------------------------------------


@pytest.fixture
def no_building(monkeypatch):
    """Make building an index an error, once called."""

    def forbid() -> None:
        def refuse(codes: np.ndarray, _: str) -> HammingIndex:
            raise AssertionError(f"built an index of {len(codes)} codes again")

        monkeypatch.setattr(HammingIndex, "build", refuse)

    return forbid


@pytest.fixture(params=["codes only", "tables"])
def sizes(request, monkeypatch):
    """A radius index without tables, and one with."""
    monkeypatch.setattr(mih, "TABLES_FROM_CODES", 100 if request.param == "codes only" else 2)


def test_a_saved_index_is_opened_by_the_next_load(folder, tmp_path, no_building, sizes):
    """The first load builds and saves under the data's digest, the second maps what it finds."""
    indexes = tmp_path / "indexes"
    first = load(folder, TRUSTED, today=TODAY, index_folder=indexes)
    assert [p.name for p in indexes.iterdir()] == [first.manifest.data_sha256]
    no_building()
    second = load(folder, TRUSTED, today=TODAY, index_folder=indexes)
    assert isinstance(second.perceptual._backend.arrays["blocks"], np.memmap)
    assert len(second.perceptual) == 5


def test_each_backend_keeps_an_index_of_its_own(folder, tmp_path):
    """Whichever looks codes up, it finds the same; one's saved index is not taken for another's."""
    indexes = tmp_path / "indexes"
    held = np.frombuffer(b"".join(values("pdq")), np.uint8).reshape(5, 32)
    for backend, kept_as in (("auto", "mih"), ("faiss", "faiss"), ("mih", "mih")):
        loaded = load(folder, TRUSTED, today=TODAY, index_folder=indexes, backend=backend)
        assert loaded.perceptual.backend == kept_as
        assert loaded.perceptual.search(held, 0).indicator.tolist() == list(range(5))
    assert len(list(indexes.iterdir())) == 2


def test_sets_with_other_data_have_indexes_of_their_own(folder, tmp_path):
    """A new version of a set never meets the old one's index."""
    indexes = tmp_path / "indexes"
    load(folder, TRUSTED, today=TODAY, index_folder=indexes)
    signed_set(tmp_path / "next", values("pdq", 6, seed=3), previous=folder)
    newer = load(tmp_path / "next", TRUSTED, today=TODAY, index_folder=indexes)
    assert len(newer.perceptual) == 6
    assert len(list(indexes.iterdir())) == 2


def test_a_damaged_saved_index_is_not_used(folder, tmp_path, sizes):
    """An altered index is built again from the verified data."""
    indexes = tmp_path / "indexes"
    first = load(folder, TRUSTED, today=TODAY, index_folder=indexes)
    path = indexes / first.manifest.data_sha256 / "blocks.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = load(folder, TRUSTED, today=TODAY, index_folder=indexes)
    np.testing.assert_array_equal(again.perceptual.codes(), first.perceptual.codes())
    held = np.frombuffer(b"".join(values("pdq")), np.uint8).reshape(5, 32)
    assert HammingIndex.open(path.parent).holds(held)  # and put in the damaged one's place
    assert again.perceptual.search(held, 0).indicator.tolist() == list(range(5))


def test_a_saved_index_of_other_codes_is_not_used(folder, tmp_path):
    """The signature covers what is searched: an index put in the place of the set's is not asked."""
    indexes = tmp_path / "indexes"
    place = indexes / read(folder, TRUSTED).data_sha256
    other = np.frombuffer(b"".join(values("pdq", seed=8)), np.uint8).reshape(5, 32)
    HammingIndex.build(other).save(place)
    loaded = load(folder, TRUSTED, today=TODAY, index_folder=indexes)
    held = np.frombuffer(b"".join(values("pdq")), np.uint8).reshape(5, 32)
    assert loaded.perceptual.search(held, 0).indicator.tolist() == list(range(5))


def test_exact_sets_leave_the_index_folder_alone(tmp_path):
    """Only radius indexes are kept on disk."""
    signed_set(tmp_path / "set", values("md5"), "md5")
    load(tmp_path / "set", TRUSTED, today=TODAY, index_folder=tmp_path / "indexes")
    assert not (tmp_path / "indexes").exists()


def test_a_file_digest_is_that_of_its_bytes(tmp_path):
    """`sha256_file` reads the whole file."""
    content = b"x" * 3_000_001
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == digest(content, "sha256").hex()


def test_an_indicator_id_too_long_for_a_seal_is_refused(tmp_path):
    """A candidate has one size: an id that would not fit is refused when the set is built."""
    path = tmp_path / "list.csv"
    path.write_text("indicator_id,md5\n" + "x" * 201 + "," + "0" * 32 + "\n")
    with pytest.raises(IndicatorSetError, match="line 2: indicator_id exceeds 200 bytes"):
        build.from_list(path, "md5")
    path.write_text("indicator_id,md5\n" + "x" * 200 + "," + "0" * 32 + "\n")
    assert build.from_list(path, "md5").num_rows == 1
