"""Exact radius search: the tables against FAISS and against brute force, and the saved form."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import hamming_naive
from support.settings import SEEDED

from matchers import limits
from matchers.errors import IndexFormatError
from matchers.hamming import HammingIndex, Matches
from matchers.hamming import index as index_module
from matchers.hamming.flat import FlatIndex

RADII = (0, 1, 15, 16, 30, 31, 32, 47, 48, 63, 64)


def codes(n: int, seed: int) -> np.ndarray:
    """Random codes, uint8 [n, 32]."""
    return np.random.default_rng(seed).integers(0, 256, (n, limits.PDQ_BYTES), dtype=np.uint8)


def flipped(code: np.ndarray, bits: int, random: np.random.Generator) -> np.ndarray:
    """A code exactly `bits` away."""
    mask = np.zeros(limits.PDQ_BITS, np.uint8)
    mask[random.choice(limits.PDQ_BITS, bits, replace=False)] = 1
    return code ^ np.packbits(mask)


def triples(matches: Matches) -> list[tuple[int, int, int]]:
    """(query, row, distance) in the order given."""
    return list(
        zip(
            matches.query.tolist(),
            matches.indicator.tolist(),
            matches.distance.tolist(),
            strict=True,
        )
    )


@pytest.fixture
def tables_only(monkeypatch):
    """Serve every set, however small, from the tables."""
    monkeypatch.setattr(limits, "FLAT_INDEX_MAX_CODES", -1)


@pytest.fixture(params=["flat", "tables"])
def each_path(request, monkeypatch):
    """Run once through FAISS and once through the tables."""
    most = 10**9 if request.param == "flat" else -1
    monkeypatch.setattr(limits, "FLAT_INDEX_MAX_CODES", most)
    return request.param


# --- search -----------------------------------------------------------------------------------


def _clustered(centres: int, seed: int, spread: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and queries around a few centres, with repeats, so that every radius has hits."""
    random = np.random.default_rng(seed)
    middle = random.integers(0, 256, (centres, limits.PDQ_BYTES), dtype=np.uint8)

    def around(n: int) -> np.ndarray:
        return np.array(
            [
                flipped(middle[random.integers(centres)], int(random.integers(spread + 1)), random)
                for _ in range(n)
            ]
        )

    held = around(int(random.integers(1, 60)))
    held = np.concatenate([held, held[: len(held) // 3]])
    return held, around(int(random.integers(1, 8)))


clustered = st.builds(
    _clustered, st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from([1, 8, 20, 40, 90])
)


@settings(SEEDED, max_examples=150)
@given(clustered, st.sampled_from(RADII))
def test_tables_and_flat_index_both_equal_brute_force(monkeypatch, data, radius):
    """Either path gives exactly the pairs that XOR and counting give, in the same order."""
    held, queries = data
    expected = hamming_naive.search(held, queries, radius)
    for most in (-1, 10**9):
        monkeypatch.setattr(limits, "FLAT_INDEX_MAX_CODES", most)
        assert triples(HammingIndex.build(held).search(queries, radius)) == expected


@settings(SEEDED, max_examples=100)
@given(clustered, st.sampled_from(RADII))
def test_the_flat_index_alone_equals_brute_force(data, radius):
    """FAISS's strict comparison is made inclusive: a pair at the radius itself is reported."""
    held, queries = data
    found = FlatIndex(held).search(queries, radius)
    assert sorted(zip(*(a.tolist() for a in found), strict=True)) == sorted(
        (query, row, distance)
        for query, row, distance in hamming_naive.search(held, queries, radius)
    )


@pytest.fixture(scope="module")
def large_set() -> tuple[np.ndarray, np.ndarray]:
    """20,000 codes with duplicates and, for 12 queries, planted neighbours at 0 to 70 bits."""
    random = np.random.default_rng(20_240_501)
    held = codes(20_000, seed=1)
    held[19_000:] = held[:1000]
    queries = np.concatenate([held[:6], codes(6, seed=2)])
    places = random.permutation(np.arange(2000, 18_000))[: 12 * 71].reshape(12, 71)
    for query, rows in zip(queries, places, strict=True):
        for bits, row in enumerate(rows):
            held[row] = flipped(query, bits, random)
    return held, queries


@pytest.mark.parametrize("radius", RADII)
def test_a_large_set_with_planted_neighbours_gives_every_one_of_them(large_set, radius):
    """At each radius all planted codes up to it are found, no others, no duplicate twice over."""
    held, queries = large_set
    index = HammingIndex.build(held)
    assert len(index) == 20_000 > limits.FLAT_INDEX_MAX_CODES
    found = triples(index.search(queries, radius))
    assert found == hamming_naive.search(held, queries, radius)
    own_copies = 6 * 2  # the first six queries stand in the set twice themselves
    assert len(found) == 12 * (radius + 1) + own_copies


def test_a_neighbour_is_found_whichever_bits_differ(tables_only):
    """The adversarial spreads of the pigeonhole: as many bits as possible in every word."""
    query = codes(1, seed=3)
    for radius in RADII:
        every_word = np.zeros(16, np.uint16)
        for bit in range(radius):
            every_word[bit % 16] |= np.uint16(1 << (bit // 16))
        held = query ^ every_word.view(np.uint8)
        assert triples(HammingIndex.build(held).search(query, radius)) == [(0, 0, radius)]
        if radius:
            assert len(HammingIndex.build(held).search(query, radius - 1)) == 0


def test_matches_come_by_query_then_distance_then_row(each_path):
    """The first match of a query is the nearest, and of equally near ones the lowest row."""
    random = np.random.default_rng(4)
    query = codes(2, seed=5)
    held = np.array(
        [
            flipped(query[1], 9, random),
            flipped(query[0], 20, random),
            flipped(query[0], 3, random),
            query[1],
            flipped(query[0], 20, random),
            flipped(query[0], 3, random),
        ]
    )
    assert triples(HammingIndex.build(held).search(query, 31)) == [
        (0, 2, 3),
        (0, 5, 3),
        (0, 1, 20),
        (0, 4, 20),
        (1, 3, 0),
        (1, 0, 9),
    ]


def test_identical_codes_are_indicators_of_their_own(each_path):
    """A set may hold a code many times: each row is reported."""
    held = np.repeat(codes(1, seed=6), 5, axis=0)
    assert triples(HammingIndex.build(held).search(held[:1], 0)) == [(0, r, 0) for r in range(5)]


def test_an_empty_index_matches_nothing(each_path):
    """No codes, no matches, and no error."""
    index = HammingIndex.build(codes(0, seed=0))
    assert len(index) == 0
    found = index.search(codes(3, seed=7), 64)
    assert len(found) == 0
    assert found.query.dtype == found.indicator.dtype == found.distance.dtype == np.int64


def test_no_queries_give_no_matches(each_path):
    """An empty batch is a batch."""
    found = HammingIndex.build(codes(10, seed=8)).search(codes(0, seed=0))
    assert len(found) == 0
    assert found.query.dtype == np.int64


def test_the_default_radius_is_the_references():
    """Without a radius, 31 bits match and 32 do not."""
    random = np.random.default_rng(9)
    query = codes(1, seed=9)
    held = np.array([flipped(query[0], 32, random), flipped(query[0], 31, random)])
    assert triples(HammingIndex.build(held).search(query)) == [(0, 1, 31)]


@pytest.mark.parametrize("neighbours", [4095, 4096, 4097, 20_000])
def test_a_query_with_more_hits_than_the_first_buffer_gets_them_all(tables_only, neighbours):
    """A crowd of near-duplicates overflows the buffer: it grows and nothing is lost or doubled."""
    random = np.random.default_rng(10)
    centre = codes(1, seed=10)
    masks = np.zeros((neighbours, limits.PDQ_BITS), np.uint8)
    for column in random.integers(0, limits.PDQ_BITS, (5, neighbours)):
        masks[np.arange(neighbours), column] ^= 1
    crowd = centre ^ np.packbits(masks, axis=1)
    lone = codes(1, seed=11)
    held = np.concatenate([crowd, lone])
    found = HammingIndex.build(held).search(np.concatenate([lone, centre, lone]), 31)
    assert triples(found) == hamming_naive.search(held, np.concatenate([lone, centre, lone]), 31)
    assert len(found) == neighbours + 2
    assert index_module._FIRST_CAPACITY == 4096


def test_many_queries_share_a_buffer_without_losing_any(tables_only):
    """Hits of a batch that together fill several buffers all arrive, query by query."""
    random = np.random.default_rng(12)
    centres = codes(40, seed=12)
    held = np.concatenate([[flipped(c, int(b) % 32, random) for b in range(300)] for c in centres])
    found = HammingIndex.build(held).search(centres, 31)
    assert len(found) == 40 * 300
    assert triples(found) == hamming_naive.search(held, centres, 31)


@pytest.mark.parametrize("size", [99, 100, 101])
def test_either_side_of_the_boundary_between_the_paths_gives_the_same(monkeypatch, size):
    """Sets of exactly the limit are flat, larger ones have tables; the answers do not differ."""
    monkeypatch.setattr(limits, "FLAT_INDEX_MAX_CODES", 100)
    held, queries = codes(size, seed=13), codes(size, seed=13)[::10]
    index = HammingIndex.build(held)
    assert (index._flat is not None) == (size <= 100)
    assert triples(index.search(queries, 31)) == hamming_naive.search(held, queries, 31)


def test_the_input_may_be_strided_and_is_left_alone(each_path):
    """Views of larger arrays are searched as their copies, and nothing is written to them."""
    wide = codes(60, seed=14)
    held, queries = wide[::2], np.asfortranarray(wide[:8])
    before = wide.copy()
    found = HammingIndex.build(held).search(queries, 31)
    assert triples(found) == hamming_naive.search(held.copy(), queries.copy(), 31)
    np.testing.assert_array_equal(wide, before)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 31), np.uint8),
        np.zeros((3, 33), np.uint8),
        np.zeros(32, np.uint8),
        np.zeros((3, 32), np.int64),
        np.zeros((3, 32), bool),
        np.zeros((1, 3, 32), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_other_shapes_and_dtypes_are_refused_with_what_to_give(bad):
    """Codes and queries are uint8 [n, 32]; the error names which it was."""
    with pytest.raises(ValueError, match=r"codes are .*: give uint8 \[n, 32\]"):
        HammingIndex.build(bad)
    with pytest.raises(ValueError, match=r"queries are .*: give uint8 \[n, 32\]"):
        HammingIndex.build(codes(3, seed=15)).search(bad)


@pytest.mark.parametrize("radius", [-1, 65, 256])
def test_a_radius_outside_the_limits_is_refused(radius):
    """Beyond 64 bits nothing is a match, and the error says what is allowed."""
    with pytest.raises(ValueError, match=rf"radius is {radius} bits: give 0 to 64"):
        HammingIndex.build(codes(3, seed=16)).search(codes(1, seed=17), radius)


# --- saved ------------------------------------------------------------------------------------


@pytest.fixture(params=["flat", "tables"])
def saved(request, tmp_path, monkeypatch) -> tuple[Path, HammingIndex]:
    """A saved index of 200 codes, of each kind."""
    monkeypatch.setattr(limits, "FLAT_INDEX_MAX_CODES", 1000 if request.param == "flat" else 10)
    index = HammingIndex.build(codes(200, seed=20))
    folder = tmp_path / "deep" / "index"
    index.save(folder)
    return folder, index


def test_an_opened_index_answers_as_the_one_that_was_saved(saved):
    """Round trip through the disk: same size, same matches."""
    folder, index = saved
    queries = codes(200, seed=20)[::7]
    opened = HammingIndex.open(folder)
    assert len(opened) == len(index) == 200
    assert triples(opened.search(queries, 64)) == triples(index.search(queries, 64))


def test_an_empty_index_is_saved_and_opened(tmp_path, each_path):
    """No codes is a set like any other."""
    HammingIndex.build(codes(0, seed=0)).save(tmp_path / "index")
    opened = HammingIndex.open(tmp_path / "index")
    assert len(opened) == 0
    assert len(opened.search(codes(2, seed=21), 31)) == 0


def test_an_opened_index_is_memory_mapped_read_only(saved):
    """Workers of a machine share the file's pages, and none can change them."""
    folder, _ = saved
    opened = HammingIndex.open(folder)
    for array in (opened._codes, opened._starts, opened._postings):
        assert isinstance(array, np.memmap)
        assert array.mode == "r"
        assert not array.flags.writeable


def test_saving_leaves_only_the_whole_folder(saved):
    """What was in the making is gone, and the folder holds the arrays and the header."""
    folder, _ = saved
    assert [p.name for p in folder.parent.iterdir()] == ["index"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "codes.npy",
        "header.json",
        "postings.npy",
        "starts.npy",
    ]


def test_saving_over_a_folder_is_refused(saved):
    """A saved index is never changed in place, not even an empty folder is taken over."""
    folder, index = saved
    with pytest.raises(FileExistsError, match="exists: remove it or choose another"):
        index.save(folder)
    assert len(HammingIndex.open(folder)) == 200


@pytest.mark.parametrize("name", ["codes", "starts", "postings"])
def test_one_flipped_bit_in_an_array_is_refused(saved, name):
    """Each array's digest is checked before it is used."""
    folder, _ = saved
    path = folder / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexFormatError, match=rf"{name}\.npy is not what was saved"):
        HammingIndex.open(folder)


def change_header(folder: Path, **changes: object) -> None:
    """Rewrite some fields of a saved index's header."""
    path = folder / "header.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"codes": 199},
        {"codes": "200"},
        {"codes": None},
        {"sha256": {}},
        {"sha256": None},
        {"sha256": {"codes": "0" * 64, "starts": "0" * 64, "postings": "0" * 64}},
    ],
    ids=str,
)
def test_an_altered_header_is_refused(saved, changes):
    """A header that does not describe the arrays is an `IndexFormatError`, whatever is wrong."""
    folder, _ = saved
    change_header(folder, **changes)
    with pytest.raises(IndexFormatError, match=str(folder)):
        HammingIndex.open(folder)


@pytest.mark.parametrize("other", ["sluis-hamming-index/2", None, 1, "faiss"])
def test_another_format_version_is_refused_with_the_remedy(saved, other):
    """The message names both versions and says to build again."""
    folder, _ = saved
    change_header(folder, format=other)
    with pytest.raises(IndexFormatError, match=r"this version reads.*build the index again"):
        HammingIndex.open(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\ud83d", '"text"'])
def test_a_header_that_is_no_header_is_refused(saved, content):
    """Broken JSON and JSON of another shape are no index."""
    folder, _ = saved
    (folder / "header.json").write_bytes(content.encode("utf-16", "surrogatepass"))
    with pytest.raises(IndexFormatError, match="is not a saved index"):
        HammingIndex.open(folder)
    (folder / "header.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(IndexFormatError, match="is not a saved index"):
        HammingIndex.open(folder)


@pytest.mark.parametrize("missing", ["header.json", "codes.npy", "starts.npy", "postings.npy"])
def test_a_missing_file_is_refused(saved, missing):
    """Part of an index is no index, whether or not the digests are to be checked."""
    folder, _ = saved
    (folder / missing).unlink()
    for verify in (True, False):
        with pytest.raises(IndexFormatError, match="is not a saved index"):
            HammingIndex.open(folder, verify=verify)


def test_a_folder_that_is_not_there_or_not_a_folder_is_refused(tmp_path):
    """Nothing, an empty folder and a file are no index."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    for name in ("nothing", "file", "empty"):
        with pytest.raises(IndexFormatError, match="is not a saved index"):
            HammingIndex.open(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("codes", np.zeros((200, 31), np.uint8)),
        ("codes", np.zeros((199, 32), np.uint8)),
        ("codes", np.zeros((200, 32), np.int8)),
        ("starts", np.zeros((3, 65_537), np.uint32)),
        ("starts", np.zeros((16, 65_536), np.uint32)),
        ("postings", np.zeros((16, 201), np.uint32)),
        ("postings", np.zeros((16, 200), np.int32)),
    ],
)
def test_arrays_of_another_shape_are_refused_even_unverified(saved, name, array):
    """Shape and dtype are checked always: the kernels trust them."""
    folder, _ = saved
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(IndexFormatError, match=str(folder)):
        HammingIndex.open(folder, verify=False)


@pytest.mark.parametrize("form", ["array", "bare"])
def test_an_index_never_unpickles(saved, form):
    """An array of Python objects or a pickle, which would run code on loading, is refused."""
    folder, _ = saved

    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(folder / "sprung"),)

    if form == "array":
        np.save(folder / "codes.npy", np.array([Trap()], object), allow_pickle=True)
    else:
        (folder / "codes.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(IndexFormatError, match="is not a saved index"):
        HammingIndex.open(folder, verify=False)
    assert not (folder / "sprung").exists()


def test_unverified_opening_does_not_read_the_arrays(saved):
    """`verify=False` trusts the folder: a flipped bit in the codes is not noticed."""
    folder, _ = saved
    content = bytearray((folder / "codes.npy").read_bytes())
    content[-1] ^= 1
    (folder / "codes.npy").write_bytes(content)
    assert len(HammingIndex.open(folder, verify=False)) == 200
