"""Report files: a draft from a verdict, a check of what a person has filled in, a page to read."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from pydantic import BaseModel, ValidationError

from pipeline import vouchers
from pipeline.desk import annex3
from pipeline.errors import SluisError
from pipeline.identity import RETENTION_DAYS, Identity
from pipeline.order import Order
from pipeline.places import inner_place, spans_shown
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verdicts import CONFIRMED, Verdict

_EPOCH_DAY = dt.date(1970, 1, 1)
_KINDS = {
    candidate_pb2.INDICATOR_KIND_KNOWN: "known",
    candidate_pb2.INDICATOR_KIND_NEW: "new",
    candidate_pb2.INDICATOR_KIND_URL: "url",
}
_NO_ACCOUNT = "none: the item has no account"


class ReportRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """A report that cannot be drafted, or a file that is none."""

    exit_status = 2


def find(verdicts: Sequence[Verdict], candidate_id: bytes, order: Order) -> Verdict:
    """A candidate's confirmed verdict under an order.

    Raises:
        ReportRefused: there is none, it rejects, or it is another order's.
    """
    for verdict in verdicts:
        if verdict.subject.candidate_id == candidate_id:
            break
    else:
        raise ReportRefused(
            f"there is no verdict on candidate {candidate_id.hex()} in the file: fetch it with "
            "`sluis verdicts fetch`, or wait for the reviewers"
        )
    if verdict.value != CONFIRMED:
        raise ReportRefused(
            f"candidate {candidate_id.hex()} was {verdict.value}: only a confirmed one is reported"
        )
    if verdict.subject.context.order_id != vouchers.order_id(order.reference):
        raise ReportRefused(
            f"candidate {candidate_id.hex()} belongs to another order than {order.reference}: "
            "give that one"
        )
    return verdict


def draft(verdict: Verdict, order: Order, identity: Identity | None) -> annex3.Report:
    """A report with all that the program knows; the rest is for a person.

    Args:
        verdict: confirmed, its signature checked.
        order: the detection order it was found under.
        identity: as the vault has handed it over, if it has.

    Raises:
        ReportRefused: the identity was handed over on another verdict, or the verdict no longer
            says what matched.
    """
    candidate_id = verdict.subject.candidate_id.hex()
    if identity is not None and identity.verdict_digest != verdict.digest.hex():
        raise ReportRefused(
            f"candidate {candidate_id}: the vault's file is about another verdict; look into it"
        )
    payload = candidate_pb2.CandidatePayload.FromString(verdict.payload)
    kind: Any = _KINDS.get(payload.kind)
    if kind is None:
        raise ReportRefused(
            f"candidate {candidate_id}: its verdict does not say what matched: it was fetched "
            "after retention had ended"
        )
    decided_at = dt.datetime.fromtimestamp(verdict.decided_at, dt.UTC)
    account = None
    if identity is not None:
        account = identity.account_id or _NO_ACCOUNT
    return annex3.Report(
        candidate_id=candidate_id,
        legal_basis=order.reporting_basis,
        delete_after=decided_at.date() + dt.timedelta(days=RETENTION_DAYS),
        provider=annex3.Provider(name=order.provider),
        content=annex3.Content(kind=kind, item_id=identity.item_id if identity else None),
        other_data=annex3.OtherData(
            earliest_day=_EPOCH_DAY + dt.timedelta(days=verdict.subject.hit_day)
        ),
        user=annex3.User(account_id=account),
        service=annex3.Service(name=order.service.name, parts=order.service.parts),
        awareness=annex3.Awareness(
            through="notification by a user" if payload.user_notified else "detection order",
            order_reference=order.reference,
            authority=order.authority.name,
            authority_country=order.authority.country,
            two_hits_rule=kind == "new" and not payload.user_notified,
            match=annex3.Match(
                set_id=payload.set_id,
                set_version=payload.set_version,
                indicator_id=payload.indicator_id,
                method=payload.method,
                distance_bits=payload.distance_bits,
                radius_bits=payload.radius_bits,
                view=payload.view,
                inside=inner_place(payload.inner_path),
                shown=spans_shown(payload.spans, payload.spans_total),
                share_percent=payload.share_percent,
            ),
        ),
        verification=annex3.Verification(
            verdict_sequence=verdict.sequence,
            decided_at=decided_at,
            reviewers=tuple(decision.reviewer_id for decision in verdict.decisions),
            signature=verdict.signature.hex(),
        ),
    )


def write(report: annex3.Report, folder: Path) -> Path:
    """Write FOLDER/CANDIDATE.json and its page; never over a report that is there.

    Raises:
        ReportRefused: the report exists.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{report.candidate_id}.json"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ReportRefused(
            f"{path} exists and may be filled in: go on with it, or move it away first"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(report.model_dump_json(indent=2) + "\n")
    write_page(report, path)
    return path


def read(path: Path) -> annex3.Report:
    """A report as a person has filled it in.

    Raises:
        ReportRefused: absent, or a field does not hold what the schema says; each is named.
    """
    try:
        return annex3.Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReportRefused(f"{path}: {error.strerror}: `sluis reports draft` makes one") from error
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(str(part) for part in fault['loc']) or 'the file'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise ReportRefused(f"{path} is no report:\n{faults}") from None


def sweep(folder: Path, today: dt.date) -> list[str]:
    """Delete the reports whose last day is over, with their pages; say whose they were.

    Files that are no reports are left alone.
    """
    deleted = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(ReportRefused):
            report = read(path)
            if report.delete_after < today:
                path.with_suffix(".html").unlink(missing_ok=True)
                path.unlink()
                deleted.append(report.candidate_id)
    return deleted


def write_page(report: annex3.Report, path: Path) -> Path:
    """Write the page beside the report's file; it needs nothing from outside itself."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(
        (resources.files("pipeline.desk") / "report.html.j2").read_text(encoding="utf-8")
    )
    missing = {gap.field: gap for gap in annex3.gaps(report)}
    page = path.with_suffix(".html")
    page.unlink(missing_ok=True)
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(template.render(report=report, sections=_sections(report), missing=missing))
    return page


_TITLES = {
    "provider": "Reporting provider",
    "urgency": "Urgent action",
    "content": "What is reported",
    "other_data": "Times and other data",
    "location": "Location",
    "user": "User",
    "service": "Service",
    "awareness": "How the provider became aware",
    "verification": "Verification",
    "elsewhere": "Reports to third countries",
    "measures": "Measures taken",
    "signature": "Signature",
}


def _sections(report: annex3.Report) -> list[dict[str, Any]]:
    """The report's sections for the page: title, and rows of label, field and value."""
    return [
        {"title": title, "rows": _rows(name, getattr(report, name))}
        for name, title in _TITLES.items()
    ]


def _rows(path: str, section: BaseModel) -> list[tuple[str, str, str]]:
    rows = []
    for field, info in type(section).model_fields.items():
        value = getattr(section, field)
        if isinstance(value, BaseModel):
            rows += _rows(f"{path}.{field}", value)
        elif value or info.is_required() or info.json_schema_extra:
            rows.append((_label(field), f"{path}.{field}", _shown(value)))
        # else: it does not apply, as the time in a video does not to a picture
    return rows


def _label(field: str) -> str:
    words = (
        field.replace("_bits", " (bits)")
        .replace("_percent", " (%)")
        .replace("ip_", "IP_")
        .replace("_", " ")
    )
    return words[0].upper() + words[1:]


def _shown(value: object) -> str:
    """A value as a reader expects it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(str(one) for one in value)
        case dt.datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            return str(value)
