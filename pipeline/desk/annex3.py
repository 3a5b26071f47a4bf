"""The report on a confirmed candidate: the fields of the proposal's Annex III, as a file.

What the program knows it fills in; everything else is null until a person fills it in, and
`gaps` names each with the article that asks for it. The schema of the file is committed as
docs/report.schema.json.

Source: COM(2022) 209, Article 13(1)(a)-(k) and the template in Annex III; the words are ours. The
legal basis that a report names is the order's (legal_profiles.yaml).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

FORMAT: Final = "sluis-report/1"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Moment = Annotated[
    str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$")
]
"""A date, a time and its zone, such as 2026-03-01T12:00:00+01:00."""


def _asked(article: str, write: str, *, of: Literal["person", "vault"] = "person") -> Any:
    """A field that is null until a person (or the vault) fills it in."""
    return Field(
        default=None,
        description=write,
        json_schema_extra={"article": article, "filled_in_by": of},
    )


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Provider(_Section):
    """Who reports."""

    name: Text
    legal_representative: Text | None = _asked(
        "13(1)(a)", "Name the legal representative in the Union, or write none."
    )
    contact_point: Text | None = _asked(
        "13(1)(a)", "Give the provider's point of contact: name, e-mail, telephone."
    )


class Urgency(_Section):
    """Whether the report calls for urgent action. Never set by the program."""

    urgent_action_required: bool | None = _asked(
        "13(1)(j)",
        "Write true if there is an imminent threat to a child's life or safety, else false.",
    )
    grounds: Text | None = _asked("13(1)(j)", "State the grounds of the urgency.")


class Content(_Section):
    """What is reported."""

    kind: Literal["known", "new", "url"]
    item_id: Text | None = _asked("13(1)(c)", "Ask the vault: `sluis vault identify`.", of="vault")
    content_data: Text | None = _asked(
        "13(1)(c)", "Say how the content itself is handed over, under which file name or address."
    )


class OtherData(_Section):
    """Times and other data that are not content."""

    earliest_day: dt.date = Field(
        description="The latest of upload, order start and the indicator's first effective day."
    )
    uploaded_at: Moment | None = _asked(
        "13(1)(d)", "Give date, time and zone of the upload, as in 2026-03-01T12:00:00+01:00."
    )
    metadata: Text | None = _asked(
        "13(1)(d)", "Give file name, size, title and other data kept with the item, or write none."
    )


class Location(_Section):
    """Where it came from."""

    ip_address: Text | None = _asked(
        "13(1)(f)", "Give the IP address of the upload, or write unknown."
    )
    port: Text | None = _asked("13(1)(f)", "Give the port number, or write unknown.")
    seen_at: Text | None = _asked(
        "13(1)(f)", "Give date, time and zone at which that address was seen, or write unknown."
    )


class User(_Section):
    """Who uploaded it."""

    account_id: Text | None = _asked(
        "13(1)(g)", "Ask the vault: `sluis vault identify`.", of="vault"
    )
    identifiers: Text | None = _asked(
        "13(1)(g)", "Give user name, e-mail, telephone and what else is known, or write none."
    )


class Service(_Section):
    """Where it was found."""

    name: Text
    parts: tuple[Text, ...]
    kind: Literal["hosting service"] = "hosting service"


class Match(_Section):
    """What resembled what, and how closely."""

    set_id: Text
    set_version: int
    indicator_id: Text
    method: Text
    distance_bits: int
    radius_bits: int
    view: str = Field(default="", description="Which view of the picture matched, in words.")
    inside: str = Field(
        default="", description="Inside a container: the numbers of the entries that lead there."
    )
    shown: str = Field(default="", description="When an animation or video shows it.")
    share_percent: int = Field(
        default=0, description="Of a listed video: how much of it was found; 0 for other methods."
    )


class Awareness(_Section):
    """How the provider became aware."""

    through: Literal["detection order", "notification by a user"]
    order_reference: Text
    authority: Text
    authority_country: Text
    two_hits_rule: bool = Field(
        description="Whether the hit stayed unreadable until a second, distinct one."
    )
    match: Match


class Verification(_Section):
    """Who has verified it, by pseudonymous ids."""

    verdict_sequence: int
    decided_at: dt.datetime
    reviewers: tuple[Text, ...]
    signature: Text = Field(description="Ed25519 of the verification service, in hex.")


class Elsewhere(_Section):
    """Reports to third countries."""

    reported_to: Text | None = _asked(
        "13(1)(h)",
        "Name authorities of third countries it is or will be reported to, or write none.",
    )


class Measures(_Section):
    """What the provider has done."""

    access: Literal["removed", "disabled", "neither"] | None = _asked(
        "13(1)(i)", "Write removed, disabled or neither, for the access to the material."
    )
    access_at: Text | None = _asked(
        "13(1)(i)", "Give date, time and zone of that measure, or write none."
    )
    account: Text | None = _asked(
        "Annex III", "State what was decided on the account (blocked, suspended, …), or write none."
    )


class Signature(_Section):
    """Who signs the report, when. The electronic signature itself is put on by the sender."""

    signed_by: Text | None = _asked("13(1)(b)", "Name the person who signs for the provider.")
    signed_at: Moment | None = _asked("13(1)(b)", "Give date, time and zone of signing.")


class Report(_Section):
    """A report, as a person completes and sends it. Sluis never sends one."""

    format: Literal["sluis-report/1"] = FORMAT
    candidate_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    legal_basis: Text
    delete_after: dt.date = Field(description="The last day this file is kept.")
    provider: Provider
    urgency: Urgency = Urgency()
    content: Content
    other_data: OtherData
    location: Location = Location()
    user: User = User()
    service: Service
    awareness: Awareness
    verification: Verification
    elsewhere: Elsewhere = Elsewhere()
    measures: Measures = Measures()
    signature: Signature = Signature()


@dataclass(frozen=True)
class Gap:
    """A field that is still to be filled in.

    Attributes:
        field: section.name, as in the file.
        article: what asks for it.
        write: what to write.
        filled_in_by: person or vault.
    """

    field: str
    article: str
    write: str
    filled_in_by: str


def gaps(report: Report) -> Iterator[Gap]:
    """Every field that is still to be filled in, in the order of the report."""
    for name in Report.model_fields:
        section = getattr(report, name)
        if not isinstance(section, _Section):
            continue
        for field, info in type(section).model_fields.items():
            extra = info.json_schema_extra
            if not isinstance(extra, dict) or getattr(section, field) is not None:
                continue
            if field == "grounds" and report.urgency.urgent_action_required is not True:
                continue
            yield Gap(
                f"{name}.{field}",
                str(extra["article"]),
                info.description or "",
                str(extra["filled_in_by"]),
            )


def schema() -> str:
    """The report's JSON schema (draft 2020-12), as committed in docs/report.schema.json."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Report.model_json_schema()
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"
