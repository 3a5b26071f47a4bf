"""Exact radius search: every way, backend and radius against brute force; the saved form."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import hamming_naive
from support.settings import SEEDED

from matchers import limits
from matchers.errors import IndexFormatError
from matchers.hamming import HammingIndex, Matches, mih
from matchers.hamming import index as index_module
from matchers.hamming._kernels import permute
from matchers.hamming.mih import MultiIndex

RADII = (0, 1, 14, 15, 16, 24, 30, 31, 32, 40, 47, 48, 63, 64)
WAYS = ("probe", "sweep", "brute")
BACKENDS = ("mih", "faiss")


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


def search(
    held: np.ndarray, queries: np.ndarray, radius: int, way: str, threads: int = 1
) -> list[tuple[int, int, int]]:
    """What one way through the tables finds, in order."""
    index = MultiIndex.build(held, threads=2)
    return triples(Matches.of(index.search(queries, radius, threads, way)))


@pytest.fixture(autouse=True)
def _tables(monkeypatch):
    """Sets of every size have tables here."""
    monkeypatch.setattr(mih, "TABLES_FROM_CODES", 0)


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Run once with each backend."""
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


@pytest.mark.kernels
@settings(SEEDED, max_examples=40)
@given(clustered, st.sampled_from(RADII), st.sampled_from(WAYS))
def test_every_way_equals_brute_force(data, radius, way):
    """Exactly the pairs that XOR and counting give, each once, with their distances."""
    held, queries = data
    assert search(held, queries, radius, way) == hamming_naive.search(held, queries, radius)


@settings(SEEDED, max_examples=300)
@given(clustered, st.integers(0, 64), st.sampled_from(WAYS), st.integers(8, 16), st.booleans())
def test_every_way_equals_brute_force_whatever_the_key(
    monkeypatch, data, radius, way, key_bits, permuted
):
    """Any radius and any length of key, with the order of bits and without."""
    held, queries = data
    monkeypatch.setattr(mih, "key_bits", lambda _: key_bits)
    if not permuted:
        straight = permute.spread_table(np.arange(256))
        monkeypatch.setattr(mih, "_spread_table", lambda _: straight)
    assert search(held, queries, radius, way) == hamming_naive.search(held, queries, radius)


@settings(SEEDED, max_examples=100)
@given(clustered, st.sampled_from(RADII), st.integers(8, 14))
def test_a_sweep_with_a_coarser_key_equals_brute_force(monkeypatch, data, radius, sweep_bits):
    """Neighbouring buckets taken as one lose nothing and report nothing twice."""
    held, queries = data
    monkeypatch.setattr(mih, "key_bits", lambda _: 14)
    monkeypatch.setattr(mih, "cheapest", lambda *_: mih.Way("sweep", sweep_bits))
    assert search(held, queries, radius, "sweep") == hamming_naive.search(held, queries, radius)


@settings(SEEDED, max_examples=100)
@given(clustered, st.sampled_from(RADII))
def test_the_faiss_backend_equals_brute_force(data, radius):
    """FAISS's strict comparison is made inclusive: a pair at the radius itself is reported."""
    held, queries = data
    found = HammingIndex.build(held, "faiss").search(queries, radius)
    assert triples(found) == hamming_naive.search(held, queries, radius)


@pytest.mark.kernels
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33])
def test_sizes_around_the_width_of_a_vector(way, size):
    """A last block or lane that is not full neither hides a code nor invents one."""
    held = codes(size, seed=30)
    queries = np.concatenate([held, codes(3, seed=31), np.zeros((1, 32), np.uint8)])
    for radius in (0, 31, 64):
        assert search(held, queries, radius, way) == hamming_naive.search(held, queries, radius)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("queries", [1, 3, 4, 7, 8, 9, 63, 64, 65, 1000])
def test_batches_around_the_width_of_a_group(way, queries):
    """A group of queries that is not full answers for its own queries only."""
    held = codes(500, seed=32)
    asked = np.concatenate([held[:2] ^ 1, codes(queries, seed=33)])[:queries]
    assert search(held, asked, 64, way) == hamming_naive.search(held, asked, 64)


@pytest.mark.kernels
@pytest.mark.parametrize("way", WAYS)
def test_all_zero_and_all_one_codes(way):
    """The rows that fill the last block are zero, and are no indicators."""
    held = np.array([[0] * 32, [255] * 32, [0] * 32], np.uint8)
    queries = np.array([[0] * 32, [255] * 32, [1] + [0] * 31], np.uint8)
    assert search(held, queries, 1, way) == [
        (0, 0, 0), (0, 2, 0), (1, 1, 0), (2, 0, 1), (2, 2, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("radius", [0, 31, 40])
def test_a_skewed_set_is_searched_as_any_other(monkeypatch, way, radius):
    """Codes that share most words crowd a few buckets; without the order of bits even more so."""
    monkeypatch.setattr(mih, "_spread_table", lambda _: permute.spread_table(np.arange(256)))
    random = np.random.default_rng(34)
    held = codes(3000, seed=34)
    held[:, 4:] = held[0, 4:]  # two words of sixteen differ
    queries = np.array([flipped(held[row], int(row) % 45, random) for row in range(12)])
    assert search(held, queries, radius, way) == hamming_naive.search(held, queries, radius)


@pytest.mark.parametrize("way", ["probe", "sweep"])
@pytest.mark.parametrize("limit", ["_MOST_POSTINGS_PER_CODE", "_CODES_PER_SURVIVOR"])
def test_a_query_that_would_cost_more_than_every_code_is_left_to_brute_force(
    monkeypatch, way, limit
):
    """Its hits are whole and not doubled; the other queries of the batch go on as before."""
    random = np.random.default_rng(35)
    centre = codes(1, seed=35)[0]
    crowd = np.array([flipped(centre, int(bits), random) for bits in random.integers(0, 9, 600)])
    held = np.concatenate([crowd, codes(400, seed=36)])
    queries = np.array([held[700], centre, flipped(centre, 12, random), held[800], held[5]])
    given_up = []
    brute = MultiIndex._brute

    def watched(index: MultiIndex, codes: np.ndarray, radius: int, threads: int, asked) -> object:
        given_up.extend(asked.tolist())
        return brute(index, codes, radius, threads, asked)

    monkeypatch.setattr(MultiIndex, "_brute", watched)
    strict = {"_MOST_POSTINGS_PER_CODE": 1, "_CODES_PER_SURVIVOR": 2048}[limit]
    monkeypatch.setattr(mih, "_MOST_POSTINGS_PER_CODE", 10**6)
    monkeypatch.setattr(mih, "_CODES_PER_SURVIVOR", 0.01)
    monkeypatch.setattr(mih, limit, strict)
    mih._plan.cache_clear()
    for threads in (1, 3):
        given_up.clear()
        found = search(held, queries, 31, way, threads)
        assert found == hamming_naive.search(held, queries, 31)
        assert given_up == [1, 2, 4]
    mih._plan.cache_clear()


def test_no_query_is_left_to_brute_force_without_need(monkeypatch):
    """Ordinary queries never take the way out."""
    monkeypatch.setattr(MultiIndex, "_brute", None)
    held = codes(20_000, seed=37)
    assert len(search(held, held[:300], 31, "probe")) == 300
    assert len(search(held, held[:300], 31, "sweep")) == 300


@pytest.mark.parametrize("way", WAYS)
def test_threads_share_the_work_without_changing_the_answer(way):
    """One thread or more than there are tables, and many callers at once."""
    random = np.random.default_rng(38)
    held = codes(3000, seed=38)
    queries = np.array([flipped(held[k], int(k) % 50, random) for k in range(200)])
    expected = hamming_naive.search(held, queries, 31)
    for threads in (1, 2, 5, 16, 40):
        assert search(held, queries, 31, way, threads) == expected
    index = MultiIndex.build(held)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(
            lambda _: triples(Matches.of(index.search(queries, 31, 2, way))), range(32)
        )
        assert all(one == expected for one in found)


def test_the_backend_is_chosen_by_name(backend):
    """Both are there to choose and to compare; what they find is the same."""
    held, queries = codes(300, seed=39), codes(300, seed=39)[::7]
    index = HammingIndex.build(held, backend)
    assert index.backend == backend
    assert triples(index.search(queries, 64)) == hamming_naive.search(held, queries, 64)
    assert index.holds(held)
    assert not index.holds(held[:-1])
    assert not index.holds(held ^ 1)
    np.testing.assert_array_equal(index.codes(), held)
    rows = np.array([299, 0, 7, 8, 7])
    np.testing.assert_array_equal(index.codes(rows), held[rows])


def test_an_unknown_backend_is_refused_with_the_known_ones():
    """The error says what can be given."""
    with pytest.raises(ValueError, match="backend is 'hnsw': give one of auto, faiss, mih"):
        HammingIndex.build(codes(1, seed=40), "hnsw")


@pytest.mark.parametrize("size", [8191, 8192])
def test_small_sets_have_no_tables(monkeypatch, size):
    """Either side of the boundary the answers are those of brute force."""
    monkeypatch.setattr(mih, "TABLES_FROM_CODES", 8192)
    held = codes(size, seed=41)
    index = HammingIndex.build(held)
    assert (index.nbytes < 40 * size) == (size < 8192)
    assert triples(index.search(held[:70], 31)) == hamming_naive.search(held, held[:70], 31)


def test_a_batch_larger_than_a_hit_can_number_is_searched_in_parts(monkeypatch):
    """A hit's query has 23 bits; longer batches are cut and their numbers go on."""
    monkeypatch.setattr(index_module, "MAX_QUERIES", 7)
    held = codes(50, seed=42)
    found = HammingIndex.build(held).search(held, 0)
    assert triples(found) == [(row, row, 0) for row in range(50)]


def test_the_way_is_chosen_by_size_radius_and_batch():
    """Few queries probe, many sweep, small sets and wide radii are compared code by code."""
    million = mih.key_bits(10**6)
    assert mih.cheapest(10**6, million, 31, 1).name == "probe"
    assert mih.cheapest(10**6, million, 31, 64).name == "probe"
    assert mih.cheapest(10**6, million, 31, 65_536) == mih.Way("sweep", 15)
    assert mih.cheapest(10**6, million, 64, 8).name == "brute"
    assert mih.cheapest(1000, 0, 31, 10**6).name == "brute"


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
    assert len(index) == 20_000
    found = triples(index.search(queries, radius))
    assert found == hamming_naive.search(held, queries, radius)
    own_copies = 6 * 2  # the first six queries stand in the set twice themselves
    assert len(found) == 12 * (radius + 1) + own_copies


@pytest.mark.parametrize("way", WAYS)
def test_a_neighbour_is_found_whichever_bits_differ(way):
    """The adversarial spreads of the pigeonhole: as many bits as possible in every word."""
    query = codes(1, seed=3)
    for radius in RADII:
        every_word = np.zeros(16, np.uint16)
        for bit in range(radius):
            every_word[bit % 16] |= np.uint16(1 << (bit // 16))
        held = query ^ every_word.view(np.uint8)
        assert search(held, query, radius, way) == [(0, 0, radius)]
        if radius:
            assert search(held, query, radius - 1, way) == []


def test_matches_come_by_query_then_distance_then_row(backend):
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
    assert triples(HammingIndex.build(held, backend).search(query, 31)) == [
        (0, 2, 3),
        (0, 5, 3),
        (0, 1, 20),
        (0, 4, 20),
        (1, 3, 0),
        (1, 0, 9),
    ]


def test_identical_codes_are_indicators_of_their_own(backend):
    """A set may hold a code many times: each row is reported."""
    held = np.repeat(codes(1, seed=6), 5, axis=0)
    assert triples(HammingIndex.build(held, backend).search(held[:1], 0)) == [
        (0, r, 0) for r in range(5)
    ]


def test_an_empty_index_matches_nothing(backend):
    """No codes, no matches, and no error."""
    index = HammingIndex.build(codes(0, seed=0), backend)
    assert len(index) == 0
    found = index.search(codes(3, seed=7), 64)
    assert len(found) == 0
    assert found.query.dtype == found.indicator.dtype == found.distance.dtype == np.int64


def test_no_queries_give_no_matches(backend):
    """An empty batch is a batch."""
    found = HammingIndex.build(codes(10, seed=8), backend).search(codes(0, seed=0))
    assert len(found) == 0
    assert found.query.dtype == np.int64


def test_the_default_radius_is_the_references():
    """Without a radius, 31 bits match and 32 do not."""
    random = np.random.default_rng(9)
    query = codes(1, seed=9)
    held = np.array([flipped(query[0], 32, random), flipped(query[0], 31, random)])
    assert triples(HammingIndex.build(held).search(query)) == [(0, 1, 31)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("neighbours", [1023, 1024, 1025, 20_000])
def test_a_query_with_more_hits_than_the_first_buffer_gets_them_all(way, neighbours):
    """A crowd of near-duplicates overflows the buffer: it grows and nothing is lost or doubled."""
    random = np.random.default_rng(10)
    centre = codes(1, seed=10)
    masks = np.zeros((neighbours, limits.PDQ_BITS), np.uint8)
    for column in random.integers(0, limits.PDQ_BITS, (5, neighbours)):
        masks[np.arange(neighbours), column] ^= 1
    crowd = centre ^ np.packbits(masks, axis=1)
    lone = codes(1, seed=11)
    held = np.concatenate([crowd, lone])
    queries = np.concatenate([lone, centre, lone])
    assert mih._FIRST_CAPACITY == 1024
    found = search(held, queries, 31, way)
    assert found == hamming_naive.search(held, queries, 31)
    assert len(found) == neighbours + 2


@pytest.mark.parametrize("way", WAYS)
def test_many_queries_share_a_buffer_without_losing_any(way):
    """Hits of a batch that together fill several buffers all arrive, query by query."""
    random = np.random.default_rng(12)
    centres = codes(40, seed=12)
    held = np.concatenate([[flipped(c, int(b) % 32, random) for b in range(300)] for c in centres])
    found = search(held, centres, 31, way)
    assert len(found) == 40 * 300
    assert found == hamming_naive.search(held, centres, 31)


def test_the_input_may_be_strided_and_is_left_alone(backend):
    """Views of larger arrays are searched as their copies, and nothing is written to them."""
    wide = codes(60, seed=14)
    held, queries = wide[::2], np.asfortranarray(wide[:8])
    before = wide.copy()
    found = HammingIndex.build(held, backend).search(queries, 31)
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


def test_a_radius_is_a_whole_number(backend):
    """A fraction would mean another thing to each backend; numpy's integers are as good as any."""
    held = codes(3, seed=16)
    index = HammingIndex.build(held, backend)
    for radius in (31.5, "31", None):
        with pytest.raises(TypeError):
            index.search(held, radius)
    assert len(index.search(held, np.uint8(10))) == 3


def test_what_was_indexed_stays_what_it_was(tmp_path, backend):
    """The caller's array may change afterwards; what is handed out cannot be written through."""
    held = codes(30, seed=44)
    index = HammingIndex.build(held, backend)
    kept = held.copy()
    held[:] = 0
    index.save(tmp_path / "index")
    for one in (index, HammingIndex.open(tmp_path / "index")):
        assert one.holds(kept)
        assert triples(one.search(kept, 0)) == [(row, row, 0) for row in range(30)]


@pytest.mark.parametrize("radius", [-1, 65, 256])
def test_a_radius_outside_the_limits_is_refused(radius):
    """Beyond 64 bits nothing is a match, and the error says what is allowed."""
    with pytest.raises(ValueError, match=rf"radius is {radius} bits: give 0 to 64"):
        HammingIndex.build(codes(3, seed=16)).search(codes(1, seed=17), radius)


# --- saved ------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, backend) -> tuple[Path, HammingIndex]:
    """A saved index of 200 codes, of each backend."""
    index = HammingIndex.build(codes(200, seed=20), backend)
    folder = tmp_path / "deep" / "index"
    index.save(folder)
    return folder, index


def test_an_opened_index_answers_as_the_one_that_was_saved(saved):
    """Round trip through the disk: same size, same matches."""
    folder, index = saved
    queries = codes(200, seed=20)[::7]
    for prefault in (False, True):
        opened = HammingIndex.open(folder, prefault=prefault)
        assert len(opened) == len(index) == 200
        assert opened.backend == index.backend
        assert opened.holds(codes(200, seed=20))
        assert opened.nbytes == index.nbytes
        assert triples(opened.search(queries, 64)) == triples(index.search(queries, 64))


def test_an_empty_index_is_saved_and_opened(tmp_path, backend):
    """No codes is a set like any other."""
    HammingIndex.build(codes(0, seed=0), backend).save(tmp_path / "index")
    opened = HammingIndex.open(tmp_path / "index")
    assert len(opened) == 0
    assert len(opened.search(codes(2, seed=21), 31)) == 0


def test_an_opened_index_is_memory_mapped_and_private(saved):
    """Workers of a machine share the file's pages, and none can change the file through them."""
    folder, _ = saved
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for name, array in HammingIndex.open(folder)._backend.arrays.items():
        assert isinstance(array, np.memmap), name
        array.reshape(-1)[:1] ^= 1
        array.flush()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_saving_leaves_only_the_whole_folder(saved):
    """What was in the making is gone, and the folder holds the arrays and the header."""
    folder, index = saved
    assert [p.name for p in folder.parent.iterdir()] == ["index"]
    expected = [f"{name}.npy" for name in index._backend.arrays]
    assert sorted(p.name for p in folder.iterdir()) == sorted([*expected, "header.json"])


def test_saving_over_a_folder_is_refused(saved):
    """A saved index is never changed in place, not even an empty folder is taken over."""
    folder, index = saved
    with pytest.raises(FileExistsError, match="exists: remove it or choose another"):
        index.save(folder)
    assert len(HammingIndex.open(folder)) == 200


def test_one_flipped_bit_in_an_array_is_refused(saved):
    """Each array's digest is checked before it is used."""
    folder, index = saved
    for name in index._backend.arrays:
        path = folder / f"{name}.npy"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(IndexFormatError, match=rf"{name}\.npy is not what was saved"):
            HammingIndex.open(folder)
        path.write_bytes(whole)
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
        {"sha256": dict.fromkeys(("codes", *mih.ARRAYS), "0" * 64)},
        {"backend": "hnsw"},
        {"backend": None},
        {"codes": True},
        {"codes": -1},
    ],
    ids=str,
)
def test_an_altered_header_is_refused(saved, changes):
    """A header that does not describe the arrays is an `IndexFormatError`, whatever is wrong."""
    folder, _ = saved
    change_header(folder, **changes)
    with pytest.raises(IndexFormatError, match=str(folder)):
        HammingIndex.open(folder)


@pytest.mark.parametrize(
    "other", ["sluis-hamming-index/1", "sluis-hamming-index/3", None, 1, "faiss"]
)
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


def test_a_missing_file_is_refused(saved):
    """Part of an index is no index, whether or not the digests are to be checked."""
    folder, _ = saved
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.unlink()
        for verify in (True, False):
            with pytest.raises(IndexFormatError, match="is not a saved index"):
                HammingIndex.open(folder, verify=verify)
        path.write_bytes(content)
    HammingIndex.open(folder)


def test_a_folder_that_is_not_there_or_not_a_folder_is_refused(tmp_path):
    """Nothing, an empty folder and a file are no index."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    for name in ("nothing", "file", "empty"):
        with pytest.raises(IndexFormatError, match="is not a saved index"):
            HammingIndex.open(tmp_path / name)


@pytest.mark.parametrize("backend", ["faiss"], indirect=True)
@pytest.mark.parametrize(
    "array",
    [np.zeros((200, 31), np.uint8), np.zeros((199, 32), np.uint8), np.zeros((200, 32), np.int8)],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_codes_of_another_shape_are_refused_even_unverified(saved, array):
    """Shape and dtype are checked always."""
    folder, _ = saved
    np.save(folder / "codes.npy", array)
    with pytest.raises(IndexFormatError, match=str(folder)):
        HammingIndex.open(folder, verify=False)


def _unsorted(starts: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(starts)) == 100, np.uint32(4_000_000), starts)


@pytest.mark.parametrize("backend", ["mih"], indirect=True)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blocks", lambda a: a[:-1]),
        ("blocks", lambda a: a.astype(np.int64)),
        ("blocks", np.asfortranarray),
        ("blocks", lambda a: a.reshape(-1)),
        ("starts", lambda a: a[:-1]),
        ("starts", lambda a: a[:0]),
        ("starts", lambda a: a.astype(np.uint64)),
        ("starts", lambda a: a[:4000]),
        ("starts", lambda a: a.reshape(16, -1)),
        ("starts", _unsorted),
        ("starts", lambda a: a + np.uint32(1)),
        ("fingerprints", lambda a: a[:-1]),
        ("fingerprints", lambda a: a.astype(np.uint64)),
        ("rows", lambda a: a[:-1]),
        ("rows", lambda a: a.astype(np.int64)),
    ],
)
def test_arrays_that_would_lead_a_kernel_astray_are_refused_even_unverified(saved, name, change):
    """Shapes, types and bucket bounds are checked always: the kernels trust them."""
    folder, _ = saved
    path = folder / f"{name}.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(IndexFormatError, match=str(folder)):
        HammingIndex.open(folder, verify=False)


@pytest.mark.parametrize("backend", ["mih"], indirect=True)
@pytest.mark.parametrize("seed", ["1", None, 1.5])
def test_a_seed_that_is_no_number_is_refused(saved, seed):
    """The order of bits is part of the format."""
    folder, _ = saved
    change_header(folder, seed=seed)
    with pytest.raises(IndexFormatError, match="is not a saved index"):
        HammingIndex.open(folder, verify=False)


@pytest.mark.parametrize("backend", ["mih"], indirect=True)
@pytest.mark.parametrize("name", ["starts", "fingerprints", "rows"])
def test_tables_of_other_codes_are_not_those_of_these(saved, monkeypatch, name):
    """Whoever can write the folder can make its digests anew: `holds` builds a table again."""
    folder, _ = saved
    other = folder.parent / "other"
    HammingIndex.build(codes(200, seed=45)).save(other)
    (folder / f"{name}.npy").write_bytes((other / f"{name}.npy").read_bytes())
    opened = HammingIndex.open(folder, verify=False)
    for table in (0, 7, 15):
        monkeypatch.setattr(mih.secrets, "randbelow", lambda _, table=table: table)
        assert not opened.holds(codes(200, seed=20))


@pytest.mark.parametrize("backend", ["mih"], indirect=True)
def test_a_header_changed_in_any_field_is_refused(saved):
    """The order of bits and the number of codes decide what is found."""
    folder, _ = saved
    for changes in ({"seed": mih.PERMUTATION_SEED + 1}, {"codes": 199}):
        before = (folder / "header.json").read_text()
        change_header(folder, **changes)
        with pytest.raises(IndexFormatError, match=r"header\.json is not what was saved"):
            HammingIndex.open(folder)
        (folder / "header.json").write_text(before)
    HammingIndex.open(folder)


def test_an_index_with_another_order_of_bits_is_read_with_its_own(tmp_path):
    """The seed is the index's, not the version's."""
    held = codes(100, seed=46)
    HammingIndex(MultiIndex.build(held, seed=5)).save(tmp_path / "index")
    opened = HammingIndex.open(tmp_path / "index")
    assert opened.holds(held)
    np.testing.assert_array_equal(opened.codes(), held)
    assert triples(opened.search(held, 0)) == [(row, row, 0) for row in range(100)]


@pytest.mark.parametrize("backend", ["mih"], indirect=True)
@pytest.mark.parametrize("way", ["probe", "sweep"])
def test_rows_beyond_the_codes_are_passed_over(saved, way):
    """A damaged file opened unverified may miss a match; it never reads beyond the codes."""
    folder, _ = saved
    path = folder / "rows.npy"
    np.save(path, np.full_like(np.load(path), 2**64 - 1))
    opened = HammingIndex.open(folder, verify=False)
    assert len(opened._backend.search(codes(200, seed=20), 31, 1, way)) == 0


def test_the_order_of_bits_is_the_formats():
    """Saved indexes depend on it: it may never change with a library's or machine's version."""
    places = permute.permutation(mih.PERMUTATION_SEED)
    assert sorted(places) == list(range(256))
    assert places[:8].tolist() == [36, 96, 161, 240, 25, 61, 45, 103]
    table = permute.spread_table(places)
    held = codes(50, seed=43)
    moved = np.empty((50, 4), np.uint64)
    permute.permute(held.view(np.uint64), table, moved)
    bits = np.unpackbits(held, axis=1, bitorder="little")
    np.testing.assert_array_equal(
        np.unpackbits(moved.view(np.uint8), axis=1, bitorder="little")[:, places], bits
    )


@pytest.mark.parametrize("form", ["array", "bare"])
def test_an_index_never_unpickles(saved, form):
    """An array of Python objects or a pickle, which would run code on loading, is refused."""
    folder, index = saved

    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(folder / "sprung"),)

    name = next(iter(index._backend.arrays))
    if form == "array":
        np.save(folder / f"{name}.npy", np.array([Trap()], object), allow_pickle=True)
    else:
        (folder / f"{name}.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(IndexFormatError, match="is not a saved index"):
        HammingIndex.open(folder, verify=False)
    assert not (folder / "sprung").exists()


def test_unverified_opening_does_not_hash_the_arrays(saved):
    """`verify=False` trusts the folder: a flipped bit at the end of an array is not noticed."""
    folder, index = saved
    path = folder / f"{list(index._backend.arrays)[-1]}.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert len(HammingIndex.open(folder, verify=False)) == 200
