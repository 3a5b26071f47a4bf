"""An index that changes: what it finds is always what is in it, whenever it is built anew."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from oracles import hamming_naive
from support.settings import SEEDED

from matchers import limits
from matchers.hamming import HammingIndex, LiveIndex, live, mih


def codes(n: int, seed: int) -> np.ndarray:
    """Random codes, uint8 [n, 32]."""
    return np.random.default_rng(seed).integers(0, 256, (n, limits.PDQ_BYTES), dtype=np.uint8)


def found(index: LiveIndex, queries: np.ndarray, radius: int) -> list[tuple[int, int, int]]:
    """(query, number, distance) in the order given."""
    matches = index.search(queries, radius)
    parts = (matches.query, matches.indicator, matches.distance)
    return list(zip(*(part.tolist() for part in parts), strict=True))


class Changing(RuleBasedStateMachine):
    """Against a plain list of codes, searched by brute force."""

    @initialize(n=st.integers(0, 30), seed=st.integers(0, 99))
    def start(self, n: int, seed: int) -> None:
        """Any number of codes, none too."""
        self.codes = codes(n, seed)
        self.present = [True] * n
        self.index = LiveIndex(self.codes)

    @rule(n=st.integers(0, 5), seed=st.integers(0, 99))
    def add(self, n: int, seed: int) -> None:
        """Numbers go on where they ended."""
        more = codes(n, seed)
        numbers = self.index.add(more)
        assert numbers.tolist() == list(range(len(self.codes), len(self.codes) + n))
        self.codes = np.concatenate([self.codes, more])
        self.present += [True] * n

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """Some of all numbers, gone ones again."""
        if self.present:
            gone = data.draw(st.lists(st.integers(0, len(self.present) - 1), max_size=5))
            self.index.withdraw(gone)
            for number in gone:
                self.present[number] = False

    @rule()
    def rebuild(self) -> None:
        """Everything into one."""
        self.index.rebuild().result()

    @rule(wait=st.booleans())
    def rebuild_while_it_changes(self, wait: bool) -> None:
        """Additions before and after the swap."""
        building = self.index.rebuild()
        self.add(2, 7)
        if wait:
            building.result()
        self.add(1, 8)

    @invariant()
    def finds_what_is_in_it(self) -> None:
        """No more, no less."""
        queries = np.concatenate([self.codes[::3], codes(2, 100)])
        expected = [
            hit for hit in hamming_naive.search(self.codes, queries, 64) if self.present[hit[1]]
        ]
        assert found(self.index, queries, 64) == expected
        assert len(self.index) == sum(self.present)

    def teardown(self) -> None:
        """Leave no thread."""
        if hasattr(self, "index"):
            self.index.close()


TestChanging = Changing.TestCase
TestChanging.settings = settings(SEEDED, max_examples=25, stateful_step_count=12)


def test_many_additions_are_built_in_by_themselves(monkeypatch):
    """Beyond the limit the large index takes them in, without a call."""
    monkeypatch.setattr(live, "REBUILD_FROM_ADDITIONS", 10)
    index = LiveIndex(codes(50, 1))
    index.add(codes(10, 2))
    assert len(index._state.added.numbers) == 10
    index.add(codes(1, 3))
    index._rebuilding.result()
    assert len(index._state.added.numbers) == 0
    assert len(index._state.large.numbers) == 61
    index.close()


def test_a_rebuild_leaves_withdrawn_codes_out(monkeypatch):
    """They cost nothing from then on, and their numbers are not given again."""
    index = LiveIndex(codes(20, 4))
    index.withdraw([3, 4])
    index.rebuild().result()
    assert len(index._state.large.index) == 18
    assert index.add(codes(1, 5)).tolist() == [20]
    assert found(index, codes(20, 4)[[2, 3]], 0) == [(0, 2, 0)]
    index.close()


def test_searches_go_on_while_it_is_rebuilt(monkeypatch):
    """Nothing waits for the building, and what was added meanwhile is not lost."""
    held = codes(30, 6)
    index = LiveIndex(held)
    building, go_on = threading.Event(), threading.Event()
    build = HammingIndex.build

    def slow(*arguments: object, **named: object) -> HammingIndex:
        if named.get("threads") == 1:
            building.set()
            assert go_on.wait(60)
        return build(*arguments, **named)

    monkeypatch.setattr(HammingIndex, "build", slow)
    done = index.rebuild()
    assert building.wait(60)
    assert index.rebuild() is done
    added = codes(2, 7)
    assert index.add(added).tolist() == [30, 31]
    index.withdraw([1, 30])
    expected = [(0, 0, 0), (3, 31, 0)]
    queries = np.concatenate([held[:2], added])
    assert found(index, queries, 0) == expected
    go_on.set()
    done.result()
    assert found(index, queries, 0) == expected
    index.close()


def test_a_rebuild_that_fails_fails_the_next_change(monkeypatch):
    """What went wrong in the background is not lost; the index still answers."""
    held = codes(10, 8)
    index = LiveIndex(held)

    def fail(*_: object, **__: object) -> HammingIndex:
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(HammingIndex, "build", fail)
        with pytest.raises(MemoryError):
            index.rebuild().result()
    assert found(index, held[:1], 0) == [(0, 0, 0)]
    with pytest.raises(MemoryError, match="no room"):
        index.withdraw([0])
    index.withdraw([0])
    assert found(index, held[:1], 0) == []
    index.close()


def test_numbers_that_no_code_has_are_refused():
    """And nothing is withdrawn."""
    index = LiveIndex(codes(3, 9))
    for wrong in ([3], [-1], [0, 99]):
        with pytest.raises(ValueError, match="3 codes were ever added, numbered from 0"):
            index.withdraw(wrong)
    for wrong in ([True, False, False], [1.0], ["1"]):
        with pytest.raises(ValueError, match="give whole ones"):
            index.withdraw(wrong)
    index.withdraw([])
    assert len(index) == 3
    with pytest.raises(ValueError, match=r"give uint8 \[n, 32\]"):
        index.add(np.zeros((1, 31), np.uint8))
    assert len(index) == 3


def test_additions_beyond_the_tables_own_limit_have_tables(monkeypatch):
    """The small index is an index like the large one."""
    monkeypatch.setattr(mih, "TABLES_FROM_CODES", 100)
    index = LiveIndex(codes(10, 10))
    more = codes(300, 11)
    index.add(more)
    assert found(index, more[:5], 0) == [(k, 10 + k, 0) for k in range(5)]
    index.close()


def test_a_closed_index_answers_and_takes_no_changes(monkeypatch):
    """Nothing is added whose number is then lost."""
    monkeypatch.setattr(live, "REBUILD_FROM_ADDITIONS", 1)
    held = codes(5, 12)
    index = LiveIndex(held)
    index.close()
    for change in (lambda: index.add(codes(3, 13)), lambda: index.withdraw([0]), index.rebuild):
        with pytest.raises(RuntimeError, match="it takes no more changes"):
            change()
    assert len(index) == 5
    assert found(index, held, 0) == [(k, k, 0) for k in range(5)]
