"""The detection order: complete, free of contradictions, in force, and covering its sets."""

from __future__ import annotations

import datetime as dt
import pickle

import pytest
from pydantic import BaseModel
from support.orders import example_values, make_order, with_value, without
from support.sets import manifest

from pipeline import order
from pipeline.errors import OrderRefused, Problem
from pipeline.order import Order

REQUIRED = (
    "format",
    "reference",
    "legal_profile",
    "authority",
    "authority.name",
    "authority.country",
    "issued_on",
    "provider",
    "service",
    "service.name",
    "service.parts",
    "service.risk_category",
    "service.risk_decided_by",
    "service.risk_decided_on",
    "service.risk_methodology",
    "kinds",
    "media",
    "indicator_sets",
    "accounts",
    "valid_from",
    "valid_until",
    "safeguards",
    "reasons",
    "reporting",
    "redress",
    "signature",
    "signature.signed_by",
    "signature.signed_on",
    "signature.reference",
)

WRONG = (
    ("format", "sluis-detection-order/2", "format"),
    ("format", 1, "format"),
    ("reference", "", "reference"),
    ("reference", "x" * 201, "reference"),
    ("reference", 2026, "reference"),
    ("legal_profile", "", "legal_profile"),
    ("legal_profile", "be2031", "legal_profile"),
    ("legal_profile", ["be2024"], "legal_profile"),
    ("authority", "Example Court", "authority"),
    ("authority.name", "   ", "authority.name"),
    ("authority.country", "Belgium", "authority.country"),
    ("authority.country", "be", "authority.country"),
    ("authority.country", "BE ", "authority.country"),
    ("issued_on", "yesterday", "issued_on"),
    ("issued_on", None, "issued_on"),
    ("provider", "", "provider"),
    ("service", ["Example Photos"], "service"),
    ("service.name", "", "service.name"),
    ("service.parts", [], "service.parts"),
    ("service.parts", "public-gallery", "service.parts"),
    ("service.parts", ["public-gallery", " "], "service.parts.1"),
    ("service.risk_category", "severe", "service.risk_category"),
    ("service.risk_category", None, "service.risk_category"),
    ("service.risk_decided_by", "", "service.risk_decided_by"),
    ("service.risk_decided_on", "2025-13-01", "service.risk_decided_on"),
    ("service.risk_methodology", "", "service.risk_methodology"),
    ("kinds", [], "kinds"),
    ("kinds", "known", "kinds"),
    ("kinds", ["known", "audio", "url"], "kinds.1"),
    ("media", [], "media"),
    ("media", ["image", "text", "url"], "media.1"),
    ("media", ["audio", "image", "url"], "media.0"),
    ("indicator_sets", [], "indicator_sets"),
    ("indicator_sets", ["", "example-urls"], "indicator_sets.0"),
    ("valid_from", "soon", "valid_from"),
    ("valid_from", dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC), "valid_from"),
    ("valid_until", "", "valid_until"),
    ("valid_until", "31/12/2027", "valid_until"),
    ("uploaded_from", "last year", "uploaded_from"),
    ("prior_known_order", "  ", "prior_known_order"),
    ("group_hits_by", "device", "group_hits_by"),
    ("safeguards", "", "safeguards"),
    ("reasons", "", "reasons"),
    ("reporting", "", "reporting"),
    ("redress", "", "redress"),
    ("signature", None, "signature"),
    ("signature.signed_by", "", "signature.signed_by"),
    ("signature.signed_on", "2026-02-30", "signature.signed_on"),
    ("signature.reference", "", "signature.reference"),
)


def refusal(values: object) -> OrderRefused:
    """The error that parsing these values ends in."""
    with pytest.raises(OrderRefused) as caught:
        order.parse(values, "order.yaml")
    return caught.value


def problems(values: object) -> tuple[Problem, ...]:
    """The problems that parsing these values finds."""
    return refusal(values).problems


# --- complete and well formed -----------------------------------------------------------------


def test_the_example_is_a_valid_order(tmp_path):
    """What `sluis order example` prints is accepted as it stands."""
    path = tmp_path / "order.yaml"
    path.write_text(order.example(), encoding="utf-8")
    loaded = order.load(path)
    assert loaded.reference == "EXAMPLE-2026-0001"
    assert loaded.service.parts == ("public-gallery",)
    assert loaded.accounts == "all"
    assert (loaded.valid_from, loaded.valid_until) == (dt.date(2026, 1, 10), dt.date(2027, 12, 31))
    assert (loaded.uploaded_from, loaded.prior_known_order) == (None, None)
    assert loaded.group_hits_by == "account"


def test_the_list_of_required_fields_is_complete():
    """Every field that the model requires stands in this file's list, so that each is tested."""

    def required(model: type[BaseModel], prefix: str = "") -> set[str]:
        found = set()
        for name, info in model.model_fields.items():
            if info.is_required():
                found.add(prefix + name)
            if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
                found |= required(info.annotation, f"{prefix}{name}.")
        return found

    assert required(Order) == set(REQUIRED)


@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_field_is_insufficient_information(path):
    """An absent field is named, as insufficient information, with what to write there."""
    error = refusal(without(path))
    assert [(p.field, p.category) for p in error.problems] == [(path, "insufficient_information")]
    assert error.problems[0].remedy.strip()
    for text in ("order.yaml", path, "insufficient_information", error.problems[0].remedy):
        assert text in str(error)


@pytest.mark.parametrize(("path", "value", "field"), WRONG)
def test_a_wrong_value_is_a_manifest_error(path, value, field):
    """A value that a field cannot hold is named, as a manifest error, with what to write there."""
    found = problems(with_value(path, value))
    assert [(p.field, p.category) for p in found] == [(field, "manifest_error")]
    assert found[0].message.strip()
    assert found[0].remedy.strip()


@pytest.mark.parametrize("value", ["account-1", [], [""], 7, None])
def test_wrong_accounts_are_named_as_the_field_they_stand_in(value):
    """Accounts that are neither `all` nor a list are one problem of the field accounts."""
    found = problems(with_value("accounts", value))
    assert {p.field for p in found} <= {"accounts", "accounts.0"}
    assert {p.category for p in found} == {"manifest_error"}


def test_a_blank_reference_is_refused():
    """A reference of spaces names no order."""
    assert [p.field for p in problems(with_value("reference", "   "))] == ["reference"]


def test_a_number_is_not_a_day():
    """A day is written YYYY-MM-DD; a bare number is not read as seconds since 1970."""
    assert [p.field for p in problems(with_value("issued_on", 0))] == ["issued_on"]


def test_every_missing_and_wrong_field_is_named_at_once():
    """Several defects in one file are all reported, so that it is corrected once."""
    values = without("redress")
    del values["service"]["parts"]
    values["authority"]["country"] = "Belgium"
    assert {(p.field, p.category) for p in problems(values)} == {
        ("redress", "insufficient_information"),
        ("service.parts", "insufficient_information"),
        ("authority.country", "manifest_error"),
    }


def test_every_contradiction_is_named_at_once():
    """Two contradictions between fields are both reported, as other defects are."""
    values = with_value("service.risk_category", "low")
    values["valid_until"] = dt.date(2025, 1, 1)
    assert {p.field for p in problems(values)} == {"service.risk_category", "valid_until"}


def test_the_message_says_when_contradictions_are_still_to_be_looked_for():
    """A field that is missing hides those that contradict each other; nobody is told otherwise."""
    values = with_value("valid_until", dt.date(2025, 1, 1))
    assert "once each is right by itself" not in str(refusal(values))
    del values["redress"]
    assert "once each is right by itself" in str(refusal(values))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("decryption_key", "c2VjcmV0"),
        ("e2ee_keys", ["c2VjcmV0"]),
        ("service.decryption_keys", {"public-gallery": "c2VjcmV0"}),
        ("signature.private_key", "c2VjcmV0"),
        ("scan_encrypted", True),
        ("authority.email", "court@example.org"),
        ("valid_form", "2026-01-10"),
    ],
)
def test_a_field_that_no_order_has_is_refused(path, value):
    """Unknown fields, above all keys to encrypted content, are refused wherever they stand."""
    found = problems(with_value(path, value))
    assert [(p.field, p.category) for p in found] == [(path, "manifest_error")]
    assert found[0].remedy.strip()


@pytest.mark.parametrize("kinds", [["solicitation"], ["known", "solicitation"], "solicitation"])
def test_solicitation_is_refused(kinds):
    """An order to detect grooming is refused with its own reason: text is not scanned."""
    error = refusal(with_value("kinds", kinds))
    assert "solicitation" in str(error)
    assert "text" in str(error)


@pytest.mark.parametrize("kinds", [5, True, dt.date(2026, 1, 1)])
def test_kinds_that_are_no_list_are_refused(kinds):
    """A number or day in place of the list of kinds is a manifest error of kinds."""
    assert [p.field for p in problems(with_value("kinds", kinds))] == ["kinds"]


# --- the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [None, "an order", 5, ["format"], []])
def test_a_file_that_holds_no_mapping_is_refused(values):
    """Anything but a mapping is no order, and the message says how to get one."""
    assert "sluis order example" in str(refusal(values))


def load_refusal(path) -> str:
    """The message that loading this file ends in."""
    with pytest.raises(OrderRefused) as caught:
        order.load(path)
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    """Without an order nothing may be opened, and the message says how to get one."""
    path = tmp_path / "order.yaml"
    message = load_refusal(path)
    assert str(path) in message
    assert "sluis order example" in message


def test_a_folder_is_no_order(tmp_path):
    """A folder in place of the file is refused by name."""
    assert str(tmp_path) in load_refusal(tmp_path)


@pytest.mark.parametrize(
    "content", [b"kinds: [known", b"a: b: c", b"\xff\xfe\x00", b"\tformat: x", b"x: !!python/none"]
)
def test_a_file_that_is_no_yaml_is_refused(tmp_path, content):
    """Broken YAML, YAML with tags that make objects, and bytes that are no text are refused."""
    path = tmp_path / "order.yaml"
    path.write_bytes(content)
    assert str(path) in load_refusal(path)


def test_an_empty_file_is_refused(tmp_path):
    """An empty file is no order."""
    path = tmp_path / "order.yaml"
    path.touch()
    assert str(path) in load_refusal(path)


def test_a_day_that_does_not_exist_is_refused(tmp_path):
    """An unquoted impossible day, which YAML itself stumbles over, is refused as any other."""
    path = tmp_path / "order.yaml"
    path.write_text(order.example().replace("2026-01-10", "2026-02-30"), encoding="utf-8")
    assert str(path) in load_refusal(path)


def test_a_field_that_stands_twice_is_refused(tmp_path):
    """An order that names two groups of accounts contradicts itself; the last must not win."""
    path = tmp_path / "order.yaml"
    path.write_text(
        order.example().replace("accounts: all", "accounts: [account-1]\naccounts: all", 1),
        encoding="utf-8",
    )
    assert str(path) in load_refusal(path)


# --- contradictions ---------------------------------------------------------------------------


def test_an_order_ends_after_it_begins():
    """An order whose last day comes before its first is refused at valid_until."""
    values = with_value("valid_until", dt.date(2026, 1, 9))
    assert [(p.field, p.category) for p in problems(values)] == [("valid_until", "manifest_error")]


def test_an_order_of_one_day_is_valid():
    """First and last day may be the same."""
    made = make_order(valid_until=dt.date(2026, 1, 10))
    assert made.valid_from == made.valid_until


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (dt.date(2026, 1, 10), dt.date(2028, 1, 9)),
        (dt.date(2027, 3, 1), dt.date(2029, 2, 28)),
        (dt.date(2024, 2, 29), dt.date(2026, 2, 28)),
    ],
)
def test_a_period_of_24_months_is_valid(first, last):
    """Exactly 24 months, both days included, may be ordered, with a leap day in it or not."""
    made = make_order(valid_from=first, valid_until=last)
    assert (made.valid_from, made.valid_until) == (first, last)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (dt.date(2026, 1, 10), dt.date(2028, 1, 11)),
        (dt.date(2024, 2, 29), dt.date(2026, 3, 2)),
        (dt.date(2027, 3, 1), dt.date(2029, 3, 2)),
        (dt.date(2026, 1, 10), dt.date(2028, 1, 12)),
        (dt.date(2026, 1, 10), dt.date(2030, 1, 1)),
    ],
)
def test_a_period_of_more_than_24_months_is_refused(first, last):
    """A last day beyond the same day two years on is refused, whether a leap day falls in it."""
    values = with_value("valid_from", first)
    found = problems(with_value("valid_until", last, values))
    assert [(p.field, p.category) for p in found] == [("valid_until", "manifest_error")]
    assert "24 months" in found[0].remedy


@pytest.mark.parametrize("prior", [None, "left out"])
def test_new_material_needs_a_prior_order(prior):
    """An order on new material without an earlier order on known material lacks information."""
    values = with_value("kinds", ["known", "new", "url"])
    if prior is None:
        values["prior_known_order"] = None
    assert [(p.field, p.category) for p in problems(values)] == [
        ("prior_known_order", "insufficient_information")
    ]


def test_new_material_after_a_prior_order_is_valid():
    """With the earlier order's reference, new material may be ordered."""
    made = make_order(kinds=["new"], media=["image"], prior_known_order="EXAMPLE-2025-0007")
    assert made.kinds == ("new",)


@pytest.mark.parametrize(
    ("kinds", "media"), [(["known"], ["image", "url"]), (["known", "url"], ["image"])]
)
def test_urls_stand_in_both_kinds_and_media(kinds, media):
    """An order that names url in only one of kinds and media contradicts itself."""
    values = with_value("media", media, with_value("kinds", kinds))
    assert [(p.field, p.category) for p in problems(values)] == [("kinds", "manifest_error")]


def test_an_order_without_urls_is_valid():
    """Kinds and media may both leave url out."""
    assert make_order(kinds=["known"], media=["image", "video"]).media == ("image", "video")


@pytest.mark.parametrize("category", ["low", "medium"])
def test_only_high_risk_services_are_ordered_under_be2024(category):
    """The profile be2024 refuses services of low and medium risk."""
    found = problems(with_value("service.risk_category", category))
    assert [(p.field, p.category) for p in found] == [("service.risk_category", "manifest_error")]
    assert "high" in found[0].remedy


@pytest.mark.parametrize("category", ["low", "medium", "high"])
def test_every_risk_category_may_be_ordered_under_com2022(category):
    """The profile com2022 leaves the risk category open."""
    made = make_order(legal_profile="com2022", service__risk_category=category)
    assert made.service.risk_category == category


def test_an_unknown_profile_is_refused_with_the_known_ones():
    """A legal basis that is not described is refused, and the message lists those that are."""
    (found,) = problems(with_value("legal_profile", "be2031"))
    assert "be2031" in found.message
    assert "be2024" in found.remedy
    assert "com2022" in found.remedy


@pytest.mark.parametrize(("profile", "required"), [("be2024", True), ("com2022", False)])
def test_the_profile_says_whether_consent_is_required(profile, required):
    """Upload moderation asks for consent under be2024 and not under com2022."""
    assert make_order(legal_profile=profile).consent_required is required


# --- as a value -------------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", ["all", ["account-1", "account-2"]])
def test_an_order_can_be_hashed_and_pickled(accounts):
    """Beam carries an order to its workers, where it must be equal to what was sent."""
    made = make_order(accounts=accounts)
    sent = pickle.loads(pickle.dumps(made))
    assert sent == made
    assert hash(sent) == hash(made)
    assert {sent: 1}[made] == 1


def test_an_order_cannot_be_changed():
    """Nothing widens an order while it runs."""
    made = make_order()
    with pytest.raises(ValueError, match="frozen"):
        made.accounts = ("account-1",)
    with pytest.raises(ValueError, match="frozen"):
        made.service.parts = ("private-messages",)
    assert made == order.parse(example_values(), "order.yaml")


# --- in force ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "today", [dt.date(2026, 1, 10), dt.date(2026, 7, 1), dt.date(2027, 12, 31)]
)
def test_an_order_is_in_force_from_its_first_to_its_last_day(today):
    """Both days of the period are in it."""
    assert order.check_in_force(make_order(), today) is None


@pytest.mark.parametrize(
    ("today", "named"),
    [
        (dt.date(2026, 1, 9), "2026-01-10"),
        (dt.date(2020, 1, 1), "2026-01-10"),
        (dt.date(2028, 1, 1), "2027-12-31"),
        (dt.date(2040, 1, 1), "2027-12-31"),
    ],
)
def test_an_order_is_not_in_force_outside_its_period(today, named):
    """On any other day the order is refused with the day that bounds it."""
    with pytest.raises(OrderRefused) as caught:
        order.check_in_force(make_order(), today)
    assert named in str(caught.value)
    assert "EXAMPLE-2026-0001" in str(caught.value)


# --- covers its sets --------------------------------------------------------------------------


def known_set(**changes: object):
    """A manifest that the example order covers."""
    return manifest(
        "pdq", **({"set_id": "example-known", "order_ids": ("EXAMPLE-2026-0001",)} | changes)
    )


def test_a_set_that_the_order_names_is_covered():
    """A set of an ordered kind, named by the order and issued for it, may be used."""
    urls = manifest("url", set_id="example-urls", order_ids=("X", "EXAMPLE-2026-0001"))
    assert order.check_covers(make_order(), known_set()) is None
    assert order.check_covers(make_order(), urls) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"set_id": "example-known-2"}, "indicator_sets"),
        ({"kind": "new"}, "kinds"),
        ({"order_ids": ("EXAMPLE-2026-0002",)}, "EXAMPLE-2026-0001"),
        ({"order_ids": ("EXAMPLE-2026-00012", "EXAMPLE-2026-000")}, "EXAMPLE-2026-0001"),
    ],
)
def test_a_set_that_the_order_does_not_cover_is_refused(changes, said):
    """A set that is not named, of another kind or issued for another order is refused by name."""
    indicators = known_set(**changes)
    with pytest.raises(OrderRefused) as caught:
        order.check_covers(make_order(), indicators)
    assert indicators.set_id in str(caught.value)
    assert said in str(caught.value)
