"""Schemas between steps, and the counts that every row ends in."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings import SEEDED

from pipeline.errors import AccountingError
from pipeline.items import FAILED, GATED, ITEM_VALUES, ITEMS, OUTCOMES, Tally

COUNTS = st.integers(0, 10**12)
COUNTERS = st.dictionaries(st.text(max_size=12), st.integers(1, 10**12), max_size=4).map(Counter)
TALLIES = st.builds(
    Tally,
    rows=COUNTS,
    inner=COUNTS,
    clear=COUNTS,
    candidate=COUNTS,
    skipped=COUNTERS,
    failed=COUNTERS,
    distances=COUNTERS,
    duplicates=COUNTS,
)
BALANCED = TALLIES.map(
    lambda t: Tally(
        t.clear + t.candidate + t.skipped_total + t.failed_total - min(t.inner, t.clear),
        min(t.inner, t.clear),
        t.clear,
        t.candidate,
        t.skipped,
        t.failed,
        t.distances,
        t.duplicates,
    )
)


def total(*tallies: Tally) -> Tally:
    """Their sum."""
    into = Tally()
    for one in tallies:
        into.add(one)
    return into


# --- schemas ----------------------------------------------------------------------------------


def test_gated_rows_are_items_with_a_reason():
    """The gate adds one column and changes none."""
    assert list(GATED)[:-1] == list(ITEMS)
    assert GATED.field(len(ITEMS)) == pa.field("skip_reason", pa.string())


def test_every_closed_column_is_a_text_column_of_items():
    """The closed lists speak of columns that exist."""
    for name, values in ITEM_VALUES.items():
        assert ITEMS.field(name).type == pa.string()
        assert len(set(values)) == len(values) > 1


def test_items_carry_references_and_no_content():
    """No column of a reference could hold the bytes of what it refers to."""
    assert not [field.name for field in ITEMS if pa.types.is_binary(field.type)]
    assert [field.name for field in ITEMS if not field.nullable] == ["item_id"]


def test_outcomes_name_an_item_and_carry_nothing_readable():
    """What follows the gate holds an item's id, its one outcome and a sealed message, no more."""
    assert OUTCOMES.names == ["item_id", "inner", "outcome", "stage", "reason", "candidate"]
    assert FAILED.names == ["item_id", "inner", "stage", "reason"]
    assert [field.name for field in FAILED if field.nullable] == ["inner"]


# --- tallies ----------------------------------------------------------------------------------


@SEEDED
@given(TALLIES)
def test_a_tally_survives_json(tally):
    """Written as JSON and read again, every count is the same."""
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally


@SEEDED
@given(TALLIES, TALLIES, TALLIES)
def test_tallies_add_up_in_any_order(one, two, three):
    """Batches may be counted in any order and grouping, as they end on any worker."""
    expected = total(one, two, three)
    assert total(three, one, two) == expected
    assert total(total(three, two), one) == expected
    assert expected.rows == one.rows + two.rows + three.rows
    assert expected.inner == one.inner + two.inner + three.inner
    assert expected.duplicates == one.duplicates + two.duplicates + three.duplicates
    for name in ("skipped", "failed", "distances"):
        parts = [getattr(t, name) for t in (one, two, three)]
        for key in set().union(*parts):
            assert getattr(expected, name)[key] == sum(part[key] for part in parts)


@SEEDED
@given(TALLIES, TALLIES)
def test_adding_leaves_the_added_tally_alone(one, two):
    """A batch's own counts stay as they were when a run counts them in."""
    before = two.to_json()
    one.add(two)
    one.skipped["later"] += 1
    assert two.to_json() == before


@SEEDED
@given(st.lists(BALANCED, max_size=4))
def test_sums_of_balanced_tallies_are_balanced(tallies):
    """Counts that each add up, add up together."""
    total(*tallies).check("run")


@SEEDED
@given(
    BALANCED,
    st.sampled_from(["rows", "inner", "clear", "candidate", "skipped", "failed"]),
    st.integers(1, 1000),
)
def test_a_count_that_is_off_is_found(tally, column, error):
    """A row lost or counted twice, under any outcome, is an accounting error that says where."""
    if column in ("skipped", "failed"):
        getattr(tally, column)["some reason"] += error
    else:
        setattr(tally, column, getattr(tally, column) + error)
    with pytest.raises(AccountingError, match="batch 7") as caught:
        tally.check("batch 7")
    assert f"{tally.rows} items in, {tally.inner} inside them" in str(caught.value)


def test_an_empty_tally_is_balanced():
    """Nothing in, nothing out."""
    Tally().check("run")
    assert Tally() == total() == Tally.from_json(Tally().to_json())


def test_distances_and_duplicates_do_not_count_as_rows():
    """They describe candidates that are counted already."""
    Tally(rows=1, candidate=1, distances=Counter({"set: 3": 1}), duplicates=1).check("run")
