"""Report drafts: what the program fills in, what it leaves to a person, and the file's schema."""

from __future__ import annotations

import datetime as dt
import json
import stat
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from support import orders, rulings

from pipeline import order, vouchers
from pipeline.desk import annex3, reports
from pipeline.identity import Identity
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verdicts import REJECTED, Verdict

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"
ORDER = order.parse(orders.with_value("reference", "TEST-2026-0001"), "test order")
VERDICT = rulings.confirmed().sign()
NAME = VERDICT.subject.candidate_id

PERSON = {
    "provider.legal_representative", "provider.contact_point", "urgency.urgent_action_required",
    "content.content_data", "other_data.uploaded_at", "other_data.metadata",
    "location.ip_address", "location.port", "location.seen_at", "user.identifiers",
    "elsewhere.reported_to", "measures.access", "measures.access_at", "measures.account",
    "signature.signed_by", "signature.signed_at",
}  # fmt: skip
VAULT = {"content.item_id", "user.account_id"}


def identity(account: str | None = "account-1", on: Verdict = VERDICT) -> Identity:
    """What the vault has written."""
    return Identity(
        candidate_id=NAME.hex(),
        order_id=rulings.ORDER_ID.hex(),
        item_id="item-1",
        account_id=account,
        verdict_sequence=on.sequence,
        verdict_digest=on.digest.hex(),
        handed_over_at=dt.datetime(2026, 6, 15, tzinfo=dt.UTC),
        delete_after=dt.date(2027, 6, 15),
    )


def gaps(report: annex3.Report) -> dict[str, annex3.Gap]:
    """What is missing, by field."""
    return {gap.field: gap for gap in annex3.gaps(report)}


def filled(report: annex3.Report) -> annex3.Report:
    """As a person completes it."""
    values = {
        "urgent_action_required": False,
        "uploaded_at": "2026-03-01T12:00:00+01:00",
        "signed_at": "2026-03-02T09:00Z",
        "access": "removed",
    }
    for field in gaps(report):
        section, _, name = field.partition(".")
        setattr(getattr(report, section), name, values.get(name, "none"))
    return report


def test_a_draft_holds_what_is_known_and_leaves_the_rest_to_a_person():
    """Everything a person must judge or look up is missing and named; nothing else is."""
    report = reports.draft(VERDICT, ORDER, identity())
    assert set(gaps(report)) == PERSON
    assert {gap.filled_in_by for gap in gaps(report).values()} == {"person"}
    assert (report.content.item_id, report.user.account_id) == ("item-1", "account-1")
    assert report.content.kind == "new"
    assert report.awareness.two_hits_rule
    assert report.awareness.through == "detection order"
    assert report.awareness.match.model_dump() == {
        "set_id": "demo", "set_version": 3, "indicator_id": "cat", "method": "pdq",
        "distance_bits": 12, "radius_bits": 31, "view": "", "inside": "", "shown": "",
        "share_percent": 0,
    }  # fmt: skip
    assert report.verification.reviewers == tuple(d.reviewer_id for d in VERDICT.decisions)
    assert report.other_data.earliest_day == dt.date(2024, 10, 4)
    assert report.provider.name == ORDER.provider
    assert report.legal_basis == ORDER.reporting_basis


def test_without_the_vaults_file_the_identity_is_missing_and_named():
    """The draft says to ask the vault."""
    missing = gaps(reports.draft(VERDICT, ORDER, None))
    assert set(missing) == PERSON | VAULT
    assert {missing[field].filled_in_by for field in VAULT} == {"vault"}


def test_an_item_without_an_account_is_no_gap():
    """The vault has said that there is none."""
    report = reports.draft(VERDICT, ORDER, identity(account=None))
    assert report.user.account_id == "none: the item has no account"


def test_what_a_user_has_notified_is_reported_as_that():
    """The text asks how the provider became aware."""
    payload = candidate_pb2.CandidatePayload.FromString(VERDICT.payload)
    payload.user_notified = True
    notified = replace(VERDICT, payload=payload.SerializeToString())
    awareness = reports.draft(notified, ORDER, None).awareness
    assert awareness.through == "notification by a user"
    assert not awareness.two_hits_rule


def test_urgency_is_never_set_by_the_program_and_asks_for_its_grounds():
    """Once a person says that it is urgent, the grounds are missing too."""
    report = reports.draft(VERDICT, ORDER, identity())
    assert report.urgency.urgent_action_required is None
    assert "urgency.grounds" not in gaps(report)
    report.urgency.urgent_action_required = True
    assert "urgency.grounds" in gaps(report)
    report.urgency.urgent_action_required = False
    assert "urgency.grounds" not in gaps(report)


def test_every_gap_says_which_article_asks_for_it_and_what_to_write():
    """The list is what a person works through."""
    for gap in gaps(reports.draft(VERDICT, ORDER, None)).values():
        assert gap.article.startswith(("13(1)(", "Annex III"))
        assert len(gap.write) > 10


def test_a_filled_in_report_is_complete(tmp_path):
    """Nothing is missing any more, and the page says so."""
    report = filled(reports.draft(VERDICT, ORDER, identity()))
    path = reports.write(report, tmp_path / "reports")
    assert gaps(reports.read(path)) == {}
    page = path.with_suffix(".html").read_text()
    assert "Complete" in page
    assert "to be filled in" not in page


# --- files ------------------------------------------------------------------------------------


def test_a_report_and_its_page_are_its_owners_alone(tmp_path):
    """Names stand in them."""
    path = reports.write(reports.draft(VERDICT, ORDER, identity()), tmp_path / "reports")
    for file in (path, path.with_suffix(".html")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_report_is_never_written_over(tmp_path):
    """A person may have filled it in."""
    report = reports.draft(VERDICT, ORDER, identity())
    path = reports.write(report, tmp_path)
    path.write_text("filled in")
    with pytest.raises(reports.ReportRefused, match="exists"):
        reports.write(report, tmp_path)
    assert path.read_text() == "filled in"


def test_the_page_shows_every_gap_and_every_value(tmp_path):
    """What is missing stands out; what a file holds is shown as text, never as markup."""
    report = reports.draft(VERDICT, ORDER, identity())
    report.content.item_id = "<script>alert(1)</script>"
    page = reports.write(report, tmp_path).with_suffix(".html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("to be filled in") == len(PERSON) + 1
    for gap in gaps(report).values():
        assert gap.write.replace("'", "&#39;") in page
    assert "http" not in page.split("</style>")[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: r["urgency"].update(urgent_action_required="perhaps"), "urgent_action_required"),
        (lambda r: r["other_data"].update(uploaded_at="yesterday"), "uploaded_at"),
        (lambda r: r["measures"].update(access="gone"), "access"),
        (lambda r: r["user"].update(identifiers="  "), "identifiers"),
        (lambda r: r.update(more=1), "more"),
        (lambda r: r.pop("verification"), "verification"),
        (lambda r: r.update(format="sluis-report/2"), "format"),
    ],
)
def test_a_report_with_a_wrong_field_is_refused_by_name(tmp_path, change, named):
    """The message names the field and does not repeat what stands in it."""
    path = reports.write(reports.draft(VERDICT, ORDER, identity()), tmp_path)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(reports.ReportRefused, match=named) as refused:
        reports.read(path)
    assert "account-1" not in str(refused.value)


def test_what_is_no_report_is_refused(tmp_path):
    """Absent, or not JSON."""
    with pytest.raises(reports.ReportRefused, match="reports draft"):
        reports.read(tmp_path / "absent.json")
    (tmp_path / "x.json").write_text("no JSON")
    with pytest.raises(reports.ReportRefused, match="is no report"):
        reports.read(tmp_path / "x.json")


def test_reports_past_their_last_day_are_deleted_with_their_pages(tmp_path):
    """Twelve months after the verdict, however far they were filled in; other files stay."""
    report = reports.draft(VERDICT, ORDER, identity())
    path = reports.write(report, tmp_path)
    (tmp_path / "notes.json").write_text("{}")
    assert (report.delete_after - report.verification.decided_at.date()).days == 365
    assert reports.sweep(tmp_path, report.delete_after) == []
    assert path.exists()
    assert reports.sweep(tmp_path, report.delete_after + dt.timedelta(days=1)) == [NAME.hex()]
    assert [file.name for file in tmp_path.iterdir()] == ["notes.json"]


# --- which verdict ----------------------------------------------------------------------------


def test_only_a_confirmed_candidate_of_the_order_is_reported():
    """None, a rejection, another order: each is refused with what to do."""
    assert reports.find([VERDICT], NAME, ORDER) == VERDICT
    with pytest.raises(reports.ReportRefused, match="no verdict"):
        reports.find([], NAME, ORDER)
    with pytest.raises(reports.ReportRefused, match="was rejected"):
        reports.find([replace(VERDICT, value=REJECTED)], NAME, ORDER)
    other = order.parse(orders.with_value("reference", "OTHER-1"), "other")
    with pytest.raises(reports.ReportRefused, match="another order"):
        reports.find([VERDICT], NAME, other)


def test_an_identity_handed_over_on_another_verdict_is_refused():
    """One person must not be reported on another's verdict."""
    with pytest.raises(reports.ReportRefused, match="another verdict"):
        reports.draft(VERDICT, ORDER, identity(on=replace(VERDICT, decided_at=1)))


def test_a_verdict_fetched_after_retention_is_refused():
    """What the reviewers opened is erased then; nothing is made up in its place."""
    with pytest.raises(reports.ReportRefused, match="retention"):
        reports.draft(replace(VERDICT, payload=b""), ORDER, None)


def test_the_page_names_what_a_match_has_and_nothing_else(tmp_path):
    """A picture has no showings and no share; only urgency is a matter of urgency."""
    page = reports.write(reports.draft(VERDICT, ORDER, identity()), tmp_path / "picture")
    text = page.with_suffix(".html").read_text()
    for label in ("Inside", "Shown", "Share (%)"):
        assert f"<dt>{label}</dt>" not in text
    assert text.count("only where action is urgent") == 1

    payload = candidate_pb2.CandidatePayload.FromString(VERDICT.payload)
    payload.method, payload.share_percent, payload.view = "vpdq", 85, "full, rotated 90"
    payload.inner_path.extend([3, 1])
    payload.spans.add(start_milliseconds=3_000, end_milliseconds=5_500)
    payload.spans_total = 1
    video = replace(VERDICT, payload=payload.SerializeToString())
    match = reports.draft(video, ORDER, None).awareness.match
    assert match.share_percent == 85
    text = reports.write(reports.draft(video, ORDER, None), tmp_path / "video")
    text = text.with_suffix(".html").read_text()
    for label, value in (
        ("View", "full, rotated 90"),
        ("Inside", "entry 3, in it entry 1"),
        ("Shown", "0:03.0 to 0:05.5"),
        ("Share (%)", "85"),
    ):
        assert f"<dt>{label}</dt>" in text
        assert f"<dd>{value}</dd>" in text


# --- the schema -------------------------------------------------------------------------------


def test_the_committed_schema_is_the_reports_own():
    """`sluis reports schema > docs/report.schema.json` after a change."""
    assert SCHEMA.read_text() == annex3.schema()


def test_drafts_and_filled_in_reports_hold_the_committed_schema():
    """By a validator that knows nothing of how the schema was made."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.check_schema(validator.schema)
    for report in (
        reports.draft(VERDICT, ORDER, None),
        filled(reports.draft(VERDICT, ORDER, identity())),
    ):
        values = json.loads(report.model_dump_json())
        validator.validate(values)
        for wrong in ({"more": 1}, {"format": "x"}, {"candidate_id": "x"}, {"urgency": None}):
            assert not validator.is_valid(values | wrong)


def test_the_verdicts_payload_is_bound_to_the_order_by_its_context():
    """The order's reference gives the order id that the verdict holds."""
    assert vouchers.order_id(ORDER.reference) == VERDICT.subject.context.order_id
