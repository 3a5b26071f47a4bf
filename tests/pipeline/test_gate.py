"""The gate: default deny, in a fixed order of reasons, and nothing read."""

from __future__ import annotations

import ast
import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gate_oracle import reason_not_to_open
from support.orders import make_order
from support.settings import SEEDED

import pipeline.gate
from pipeline.gate import REASONS, gate
from pipeline.items import GATED, ITEMS
from pipeline.order import Order

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
MEDIA = frozenset({"image", "video", "container", "url"})

OPEN = {
    "item_id": "item-1",
    "account_id": "account-1",
    "kind": "image",
    "uri": "/somewhere/item-1.jpg",
    "url": None,
    "part": "public-gallery",
    "uploaded_at": dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
    "encryption": "none",
    "account_class": "ordinary",
    "consent": "given",
}
"""A row that the example order lets be opened."""


def batch(*rows: dict) -> pa.RecordBatch:
    """Rows as the gate takes them."""
    return pa.RecordBatch.from_pylist(list(rows), ITEMS)


def reason(order: Order, *, now: dt.datetime = NOW, media=MEDIA, **changes: object) -> str | None:
    """What the gate says of the open row with some columns changed."""
    return gate(batch(OPEN | changes), order, media, now)["skip_reason"][0].as_py()


# --- against the oracle -----------------------------------------------------------------------

INSTANTS = st.one_of(
    st.none(),
    st.integers(0, 7 * 366 * 86_400 * 1_000_000).map(
        lambda us: dt.datetime(2023, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)
    ),
    st.sampled_from(
        [
            dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2024, 12, 31, 23, 59, 59, 999_999, dt.UTC),
            dt.datetime(2028, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2027, 12, 31, 23, 59, 59, 999_999, dt.UTC),
        ]
    ),
)


def mostly(good: str, *others: str | None) -> st.SearchStrategy[str | None]:
    """The good value more often than not, so that rows get past the first questions."""
    return st.sampled_from([*[good] * (6 * len(others)), *others])


ROWS = st.fixed_dictionaries(
    {
        "item_id": st.sampled_from(["item-1", "item-2"]),
        "account_id": mostly("account-1", None, "", "account-2", "all"),
        "kind": mostly("image", None, "", "video", "container", "url", "other", "Image", "audio"),
        "part": mostly("public-gallery", None, "", "albums", "messages"),
        "uploaded_at": INSTANTS,
        "encryption": mostly("none", None, "", "e2ee", "unknown", "None"),
        "account_class": mostly("ordinary", None, "", "state", "unknown"),
        "consent": st.sampled_from(["given", None, "", "refused", "unknown", "Given"]),
    }
)

MOMENTS = st.one_of(
    st.just(NOW),
    st.just(NOW),
    st.sampled_from(
        [
            dt.datetime(2026, 1, 9, 23, 59, 59, 999_999, dt.UTC),
            dt.datetime(2026, 1, 10, tzinfo=dt.UTC),
            dt.datetime(2027, 12, 31, 23, 59, 59, 999_999, dt.UTC),
            dt.datetime(2028, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2028, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            dt.datetime(2026, 1, 9, 23, tzinfo=dt.timezone(dt.timedelta(hours=-2))),
        ]
    ),
)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Valid orders that differ in all that the gate looks at."""
    urls = draw(st.booleans())
    still_and_moving = draw(st.sampled_from([["image"], ["image", "video"], ["video"]]))
    return make_order(
        legal_profile=draw(st.sampled_from(["be2024", "com2022"])),
        kinds=["known", "url"] if urls else ["known"],
        media=[*still_and_moving, "url"] if urls else still_and_moving,
        service__parts=draw(st.sampled_from([["public-gallery"], ["albums", "public-gallery"]])),
        accounts=draw(st.sampled_from(["all", ["account-1"], ["account-2", "account-1"], ["all"]])),
        uploaded_from=draw(st.sampled_from([None, dt.date(2025, 1, 1)])),
    )


@settings(SEEDED, max_examples=250)
@given(
    rows=st.lists(ROWS, max_size=12),
    order=orders(),
    scannable=st.sampled_from(
        [MEDIA, {"image", "video", "container"}, {"url"}, {"image"}, frozenset()]
    ),
    now=MOMENTS,
    first=st.integers(0, 3),
)
def test_gate_says_what_the_oracle_says(rows, order, scannable, now, first):
    """Whatever the rows, the order and the day, the gate gives the oracle's reason row by row."""
    given_rows = batch(*rows)
    found = gate(given_rows, order, scannable, now)
    assert found.schema == GATED
    assert found["skip_reason"].to_pylist() == [
        reason_not_to_open(row, order, scannable, now) for row in rows
    ]
    assert pa.RecordBatch.from_arrays(found.columns[:-1], schema=ITEMS).equals(given_rows)
    later = gate(given_rows.slice(first), order, scannable, now)  # Arrow then starts at an offset
    assert later["skip_reason"].to_pylist() == found["skip_reason"].to_pylist()[first:]


def test_the_examples_of_the_oracle_reach_every_reason():
    """The oracle itself can give each reason and none, so agreeing with it says something."""
    order = make_order(
        kinds=["known"], media=["image", "video"], accounts=["account-1"], legal_profile="be2024"
    )
    changes = [
        {"account_class": "state"},
        {"account_class": None},
        {"encryption": "e2ee"},
        {"encryption": None},
        {"part": None},
        {"account_id": None},
        {"uploaded_at": dt.datetime(2029, 1, 1, tzinfo=dt.UTC)},
        {"kind": "other"},
        {"kind": "video"},
        {"consent": None},
    ]
    found = [reason_not_to_open(OPEN | change, order, {"image"}, NOW) for change in changes]
    assert tuple(found) == REASONS
    assert reason_not_to_open(OPEN, order, {"image"}, NOW) is None


# --- default deny -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "video", "url"])
def test_a_row_with_every_answer_is_opened(kind):
    """A row that meets the order in every column may be opened."""
    order = make_order(media=["image", "video", "url"])
    assert reason(order, kind=kind) is None


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("account_class", None, "account_class_unknown"),
        ("account_class", "unknown", "account_class_unknown"),
        ("account_class", "Ordinary", "account_class_unknown"),
        ("account_class", "state", "state_account"),
        ("encryption", None, "encryption_unknown"),
        ("encryption", "unknown", "encryption_unknown"),
        ("encryption", "NONE", "encryption_unknown"),
        ("encryption", "e2ee", "e2ee"),
        ("part", None, "part_not_covered"),
        ("part", "", "part_not_covered"),
        ("part", "public-gallery-2", "part_not_covered"),
        ("account_id", None, "account_not_targeted"),
        ("account_id", "account-10", "account_not_targeted"),
        ("uploaded_at", None, "outside_period"),
        ("kind", "other", "media_out_of_scope"),
        ("kind", "audio", "media_out_of_scope"),
        ("kind", "video", "media_out_of_scope"),
        ("consent", None, "consent_missing"),
        ("consent", "unknown", "consent_missing"),
        ("consent", "refused", "consent_missing"),
    ],
)
def test_a_missing_or_unknown_answer_keeps_a_row_shut(column, value, expected):
    """Any one column without the answer that lets the row pass is enough not to open it."""
    order = make_order(
        accounts=["account-1"], uploaded_from=dt.date(2026, 1, 1), media=["image", "url"]
    )
    assert reason(order) is None
    assert reason(order, **{column: value}) == expected


def test_a_row_that_says_nothing_is_not_opened():
    """A row with nothing but its id is shut for the first reason there is."""
    only_id = dict.fromkeys(ITEMS.names) | {"item_id": "item-1"}
    assert reason(make_order(), **only_id) == "account_class_unknown"


@pytest.mark.parametrize("kind", [None, "container"])
def test_an_open_kind_and_a_container_may_hold_anything_visual(kind):
    """They are read only where the order covers something visual and indicators for it exist."""
    assert reason(make_order(), kind=kind) is None
    assert reason(make_order(kinds=["known"], media=["video"]), kind=kind) is None
    addresses = make_order(kinds=["url"], media=["url"])
    assert reason(addresses, kind=kind) == "media_out_of_scope"
    assert reason(make_order(), kind=kind, media={"url"}) == "no_indicators"


def test_consent_is_asked_for_only_where_the_profile_does():
    """Under com2022 a row without consent may be opened, under be2024 it may not."""
    assert reason(make_order(legal_profile="com2022"), consent=None) is None
    assert reason(make_order(legal_profile="com2022"), consent="refused") is None
    assert reason(make_order(legal_profile="be2024"), consent=None) == "consent_missing"


def test_all_accounts_include_rows_without_one():
    """An order on all accounts covers items that have no account; one on some does not."""
    assert reason(make_order(accounts="all"), account_id=None) is None
    assert reason(make_order(accounts=["account-2"]), account_id=None) == "account_not_targeted"


def test_an_account_named_all_targets_nobody_else():
    """A list that holds the word all names one account, not every account."""
    order = make_order(accounts=["all"])
    assert reason(order, account_id="account-1") == "account_not_targeted"
    assert reason(order, account_id="all") is None


@pytest.mark.parametrize("media", [frozenset(), frozenset({"url"})])
def test_nothing_is_opened_that_no_indicator_could_match(media):
    """A medium without indicators is not opened: opening it could find nothing."""
    assert reason(make_order(), media=media) == "no_indicators"


# --- precedence -------------------------------------------------------------------------------


def test_the_first_question_that_fails_gives_the_reason():
    """A row that fails everything is counted as a State account, then as what is left, in turn."""
    order = make_order(accounts=["account-1"], kinds=["known"], media=["image"])
    row = OPEN | {
        "account_class": "state",
        "encryption": "e2ee",
        "part": "messages",
        "account_id": "account-9",
        "uploaded_at": dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
        "kind": "video",
        "consent": None,
    }
    found = []
    for repaired in (
        {},
        {"account_class": "unknown"},
        {"account_class": "ordinary"},
        {"encryption": "unknown"},
        {"encryption": "none"},
        {"part": "public-gallery"},
        {"account_id": "account-1"},
        {"uploaded_at": None},
        {"kind": "image"},
    ):
        row |= repaired
        found.append(reason(order, media=set(), **row))
    found.append(reason(order, **row))
    row["consent"] = "given"
    assert tuple(found) == REASONS
    assert reason(order, **row) is None


@pytest.mark.parametrize("encryption", ["e2ee", "unknown", None, "none"])
def test_a_state_account_is_counted_as_one_whatever_else_it_is(encryption):
    """The State exclusion comes first, so that its count is complete."""
    assert reason(make_order(), account_class="state", encryption=encryption) == "state_account"


# --- period -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uploaded", "expected"),
    [
        (dt.datetime(2027, 12, 31, 23, 59, 59, 999_999, dt.UTC), None),
        (dt.datetime(2028, 1, 1, tzinfo=dt.UTC), "outside_period"),
        (dt.datetime(2009, 5, 1, tzinfo=dt.UTC), None),
        (None, None),
    ],
)
def test_an_upload_after_the_last_day_is_outside(uploaded, expected):
    """The last day counts to its last microsecond; hosted content of any age is covered."""
    assert reason(make_order(), uploaded_at=uploaded) == expected


@pytest.mark.parametrize(
    ("uploaded", "expected"),
    [
        (dt.datetime(2025, 1, 1, tzinfo=dt.UTC), None),
        (dt.datetime(2024, 12, 31, 23, 59, 59, 999_999, dt.UTC), "outside_period"),
        (
            dt.datetime(2025, 1, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            "outside_period",
        ),
        (None, "outside_period"),
    ],
)
def test_an_order_may_say_from_which_upload_day_on_it_covers(uploaded, expected):
    """With uploaded_from, earlier uploads are not opened, nor any whose time is unknown."""
    order = make_order(uploaded_from=dt.date(2025, 1, 1))
    assert reason(order, uploaded_at=uploaded) == expected


@pytest.mark.parametrize(
    "now",
    [
        dt.datetime(2026, 1, 9, 23, 59, 59, tzinfo=dt.UTC),
        dt.datetime(2028, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2027, 12, 31, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-1))),
    ],
)
def test_outside_its_period_an_order_opens_nothing(now):
    """Before the first day and after the last, every row without an earlier reason is outside."""
    rows = batch(
        OPEN,
        OPEN | {"account_class": "state"},
        OPEN | {"encryption": "e2ee"},
        OPEN | {"part": None},
        OPEN | {"kind": "other"},
        OPEN | {"consent": None},
        OPEN | {"uploaded_at": None},
    )
    assert gate(rows, make_order(), MEDIA, now)["skip_reason"].to_pylist() == [
        "outside_period",
        "state_account",
        "e2ee",
        "part_not_covered",
        "outside_period",
        "outside_period",
        "outside_period",
    ]


@pytest.mark.parametrize(
    "now",
    [
        dt.datetime(2026, 1, 10, tzinfo=dt.UTC),
        dt.datetime(2027, 12, 31, 23, 59, 59, 999_999, dt.UTC),
        dt.datetime(2028, 1, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    ],
)
def test_the_first_and_last_day_are_in_the_period(now):
    """Both days of the period are in it, counted in UTC."""
    assert reason(make_order(), now=now) is None


# --- the function itself ----------------------------------------------------------------------


def test_an_empty_batch_stays_empty():
    """No rows in, no rows out, of the gated schema."""
    found = gate(batch(), make_order(), MEDIA, NOW)
    assert (found.num_rows, found.schema) == (0, GATED)


@pytest.mark.parametrize(
    "rows",
    [
        batch(OPEN).select(["item_id"]),
        pa.RecordBatch.from_pylist([OPEN], GATED),
        batch(OPEN).rename_columns([*ITEMS.names[:-1], "agreed"]),
        pa.RecordBatch.from_pylist(
            [OPEN], ITEMS.set(6, pa.field("uploaded_at", pa.timestamp("ms", tz="UTC")))
        ),
    ],
    ids=["too few columns", "already gated", "another name", "another type"],
)
def test_another_schema_is_refused(rows):
    """Rows of another shape are refused, never guessed at."""
    with pytest.raises(ValueError, match="schema"):
        gate(rows, make_order(), MEDIA, NOW)


def test_a_moment_without_a_time_zone_is_refused():
    """A naive moment could mean another day, so it is refused."""
    with pytest.raises(ValueError, match="time zone"):
        gate(batch(OPEN), make_order(), MEDIA, dt.datetime(2026, 6, 1))  # noqa: DTZ001


def test_the_gate_imports_nothing_that_reads():
    """The gate decides before any byte is read: it imports no engine, reader, source or network."""
    tree = ast.parse(Path(pipeline.gate.__file__).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {str(node.module), *(f"{node.module}.{a.name}" for a in node.names)}
    assert imported  # the walk found something to judge
    forbidden = {
        "apache_beam",
        "pipeline.read",
        "pipeline.sources",
        "os",
        "io",
        "pathlib",
        "grpc",
        "socket",
        "pyarrow.fs",
        "pyarrow.parquet",
    }
    assert not {name for name in imported if name in forbidden or name.startswith("apache_beam.")}
