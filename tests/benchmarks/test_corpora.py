"""Corpora: the same for the same seed, natural, apart from their queries, matches where planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings import SEEDED

from benchmarks import corpora
from benchmarks.corpora import BLOCK_CODES, Corpora, describe, planted
from matchers.hamming import HammingIndex

PHOTOS = Path(__file__).parents[2] / "deploy" / "demo" / "photos"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """A block of indicators and some queries, of the demo's photographs."""
    corpus = Corpora(PHOTOS, tmp_path_factory.mktemp("corpora"), seed=7)
    return corpus.indicators(BLOCK_CODES, workers=1), corpus.queries(512, workers=1)


def test_codes_are_codes(made: tuple[np.ndarray, np.ndarray]) -> None:
    """Right shape, and nearly half of each code's bits are set: what PDQ's median gives."""
    for codes in made:
        assert codes.dtype == np.uint8
        assert codes.shape[1] == 32
        ones = np.bitwise_count(codes).sum(axis=1)
        assert ones.min() >= 120
        assert ones.max() <= 128


def test_codes_are_natural(made: tuple[np.ndarray, np.ndarray]) -> None:
    """Bits lean and go together as those of photographs do; random ones would not."""
    found = describe(made[0])
    random = describe(np.random.default_rng(0).integers(0, 256, made[0].shape, np.uint8))
    assert found["greatest_correlation"] > 2 * random["greatest_correlation"]
    assert 0.40 < found["least_mean"] < 0.49
    assert 0.51 < found["greatest_mean"] < 0.60
    assert found["neighbours"] < 1
    assert random["neighbours"] == 0


def test_the_seed_decides(made: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """The same seed gives the same codes, another seed others."""
    again = Corpora(PHOTOS, tmp_path / "again", seed=7).indicators(1_000, workers=1)
    other = Corpora(PHOTOS, tmp_path / "other", seed=8).indicators(1_000, workers=1)
    assert np.array_equal(again, made[0][:1_000])
    assert not np.array_equal(other, made[0][:1_000])


def test_workers_and_sizes_do_not_matter(
    made: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Two processes make what one makes, and a larger corpus begins with the smaller."""
    corpus = Corpora(PHOTOS, tmp_path, seed=7)
    told: list[int] = []
    larger = corpus.indicators(
        BLOCK_CODES + 100, workers=2, progress=lambda _, done, count: told.append(done)
    )
    assert np.array_equal(larger[:BLOCK_CODES], made[0])
    assert told == [BLOCK_CODES, BLOCK_CODES + 100]


def test_a_corpus_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once, and serves smaller sizes too."""
    corpus = Corpora(PHOTOS, tmp_path, seed=7)
    corpus.indicators(500, workers=1)
    monkeypatch.setattr(corpora, "_generate", lambda *_: pytest.fail("made again"))
    assert len(corpus.indicators(500)) == 500
    assert len(corpus.indicators(100)) == 100
    assert len(list(tmp_path.iterdir())) == 1


def test_queries_match_no_indicator(made: tuple[np.ndarray, np.ndarray]) -> None:
    """They are of other photographs."""
    assert len(HammingIndex.build(np.array(made[0])).search(np.array(made[1]))) == 0


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "note.txt").write_text("none here")
    with pytest.raises(ValueError, match=r"0 JPEG files.*give a folder"):
        Corpora(tmp_path, tmp_path / "cache")
    (tmp_path / "broken.jpg").write_text("none either")
    with pytest.raises(ValueError, match=r"broken.jpg cannot be read"):
        Corpora(tmp_path, tmp_path / "cache")


@SEEDED
@given(st.lists(st.integers(0, 256), max_size=20))
def test_planted_distances_are_exact(distances: list[int]) -> None:
    """A planted query is as many bits from its indicator as asked for; the others are untouched."""
    rng = np.random.default_rng(1)
    indicators = rng.integers(0, 256, (50, 32), np.uint8)
    queries = rng.integers(0, 256, (41, 32), np.uint8)
    rows = range(0, 2 * len(distances), 2)
    made, sources = planted(indicators, queries, rows, distances)
    found = np.bitwise_count(made[list(rows)] ^ indicators[sources]).sum(axis=1)
    assert found.tolist() == distances
    others = [row for row in range(41) if row not in rows]
    assert np.array_equal(made[others], queries[others])
