"""The detection order: what may be opened, when, of whom, and against which indicator sets.

A file (`order.yaml`) with the fields of the proposal's Annex I. Default deny: what the order does
not name is not covered. Whether an order is valid or proportionate is decided by people; this
module only refuses one that is incomplete, contradicts itself or is not in force.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from matchers.indicators import Manifest
from pipeline.errors import OrderRefused, Problem

FORMAT: Final = "sluis-detection-order/1"


def _day(value: object) -> object:
    """A day is written as YYYY-MM-DD (YAML makes it a date); a number is none."""
    if isinstance(value, str | dt.date) and not isinstance(value, dt.datetime):
        return value
    raise PydanticCustomError("day", "is not a day")


Day = Annotated[dt.date, BeforeValidator(_day)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Authority(_Part):
    """Who issued the order."""

    name: Text = Field(description="Name the court or authority that issued the order.")
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = Field(
        description="Give its country as two capital letters, such as BE."
    )


class Service(_Part):
    """The hosting service the order names, and its risk category, as decided by people."""

    name: Text = Field(description="Name the hosting service as the order does.")
    parts: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="List the parts or components of the service that the order covers; an item "
        "of any other part is not opened."
    )
    risk_category: Literal["high", "medium", "low"] = Field(
        description="Give the category the coordinating authority decided: high, medium or low."
    )
    risk_decided_by: Text = Field(description="Name who decided the risk category.")
    risk_decided_on: Day = Field(description="Give the day of that decision as YYYY-MM-DD.")
    risk_methodology: Text = Field(description="Name the methodology and its version.")


class Signature(_Part):
    """The authority's signature. Sluis records it; checking an eIDAS seal is left to people."""

    signed_by: Text = Field(description="Name who signed the order.")
    signed_on: Day = Field(description="Give the day of signature as YYYY-MM-DD.")
    reference: Text = Field(description="Give the electronic seal's or document's reference.")


class Order(_Part):
    """A valid order. Frozen: nothing changes it while it runs."""

    format: Literal["sluis-detection-order/1"] = Field(description=f"Write {FORMAT}.")
    reference: Annotated[Text, StringConstraints(max_length=200)] = Field(
        description="Give the order's reference as printed on it."
    )
    legal_profile: Text = Field(description="Name the legal basis; see docs/legal-profiles.md.")
    authority: Authority = Field(description="Add the section authority: name, country.")
    issued_on: Day = Field(description="Give the day of issue as YYYY-MM-DD.")
    provider: Text = Field(description="Name the provider the order is addressed to.")
    service: Service = Field(description="Add the section service: name, parts, risk_category, ….")
    kinds: Annotated[tuple[Literal["known", "new", "url"], ...], Field(min_length=1)] = Field(
        description="List what is to be detected: known, new, url."
    )
    media: Annotated[tuple[Literal["image", "video", "url"], ...], Field(min_length=1)] = Field(
        description="List the media to be scanned: image, video, url. Audio and text are never."
    )
    indicator_sets: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="List the ids of the EU Centre's indicator sets that the order allows."
    )
    accounts: Literal["all"] | Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="Write all, or list the accounts that the order targets."
    )
    valid_from: Day = Field(description="Give the first day of the order as YYYY-MM-DD.")
    valid_until: Day = Field(description="Give the last day of the order as YYYY-MM-DD.")
    uploaded_from: Day | None = Field(
        default=None,
        description="Give the first upload day covered as YYYY-MM-DD, or leave it out.",
    )
    prior_known_order: Text | None = Field(
        default=None, description="Give the reference of the earlier order on known material."
    )
    group_hits_by: Literal["account", "material"] = Field(
        default="account", description="Two hits on new material count together by this."
    )
    epoch_days: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Give the days within which two hits count together, after which their key is "
        "destroyed; 0 for the whole order.",
    )
    safeguards: Text = Field(description="State the safeguards the order imposes.")
    reasons: Text = Field(description="State the order's reasons, or where they stand.")
    reporting: Text = Field(description="State to whom and how often the provider reports.")
    redress: Text = Field(description="State how users and the provider can seek redress.")
    signature: Signature = Field(description="Add the section signature: signed_by, signed_on, ….")

    def is_in_force(self, today: dt.date) -> bool:
        """Whether anything may be opened under the order today."""
        return self.valid_from <= today <= self.valid_until

    @property
    def consent_required(self) -> bool:
        """Whether only items whose uploader has consented may be opened."""
        return bool(_profiles()[self.legal_profile]["consent_required"])

    @property
    def reporting_basis(self) -> str:
        """The legal basis that a report under this order refers to."""
        return str(_profiles()[self.legal_profile]["reporting"])

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        problems = tuple(self._contradictions())
        if problems:
            raise PydanticCustomError("order", "contradicts itself", {"problems": problems})
        return self

    def _contradictions(self) -> Iterator[Problem]:
        """What is wrong between fields that are each right by themselves."""
        wrong = "manifest_error"
        profile = _profiles().get(self.legal_profile)
        if profile is None:
            yield Problem(
                "legal_profile",
                wrong,
                f"{self.legal_profile!r} is not known",
                f"Use one of {', '.join(_profiles())}.",
            )
        elif self.service.risk_category not in profile["risk_categories"]:
            yield Problem(
                "service.risk_category",
                wrong,
                f"{self.service.risk_category!r} may not be put under an order by "
                f"{self.legal_profile}",
                f"The profile allows {', '.join(profile['risk_categories'])}; ask the authority.",
            )
        if self.valid_until < self.valid_from:
            yield Problem(
                "valid_until",
                wrong,
                "is before valid_from",
                "Ask the authority which dates hold.",
            )
        elif profile and self.valid_until > _months_later(self.valid_from, profile["most_months"]):
            yield Problem(
                "valid_until",
                wrong,
                f"is more than {profile['most_months']} months after valid_from",
                f"Ask the authority for an order of at most {profile['most_months']} months.",
            )
        if "new" in self.kinds and not self.prior_known_order:
            yield Problem(
                "prior_known_order",
                "insufficient_information",
                "is missing: an order on new material needs an earlier one on known material",
                "Give that order's reference.",
            )
        if ("url" in self.kinds) != ("url" in self.media):
            yield Problem(
                "kinds",
                wrong,
                "url stands in only one of kinds and media",
                "Name it in both or in none.",
            )


def load(path: Path) -> Order:
    """Read and validate an order file.

    Raises:
        OrderRefused: naming every defective field and what to do about it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.load(file, _UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise OrderRefused(
            f"{path} cannot be read ({error.strerror}): without an order nothing may be opened. "
            "`sluis order example` prints one to fill in"
        ) from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # a mapping as a key
        raise OrderRefused(f"{path} is not YAML: {error}") from error
    return parse(values, str(path))


def parse(values: object, where: str) -> Order:
    """Validate the values of an order file.

    Args:
        values: what YAML gave.
        where: the file, for messages.

    Raises:
        OrderRefused: as `load`.
    """
    if not isinstance(values, dict):
        raise OrderRefused(f"{where} is not an order: `sluis order example` prints one to fill in")
    kinds = values.get("kinds")
    if isinstance(kinds, str | list) and "solicitation" in kinds:
        raise OrderRefused(
            f"{where} asks to detect solicitation, which is text: only visual content and URLs "
            "are scanned. Ask the authority"
        )
    try:
        return Order.model_validate(values)
    except ValidationError as error:
        problems = [problem for fault in error.errors() for problem in _problems(fault)]
        named = {problem.field: problem for problem in reversed(problems)}
        problems = [problem for problem in problems if named[problem.field] is problem]
        then = ""
        if any(fault["type"] != "order" for fault in error.errors()):
            then = " (that its fields fit together is checked once each is right by itself)"
        raise OrderRefused(f"{where} is not a usable order{then}:", tuple(problems)) from None


def check_in_force(order: Order, today: dt.date) -> None:
    """Hard stop outside the order's period.

    Raises:
        OrderRefused: not yet in force, or expired.
    """
    if today < order.valid_from:
        raise OrderRefused(f"order {order.reference} is not in force before {order.valid_from}")
    if today > order.valid_until:
        raise OrderRefused(
            f"order {order.reference} expired after {order.valid_until}: nothing may be opened "
            "under it any more"
        )


def out_of_force(order: Order) -> Order:
    """The order, in force on no day: what the gate goes by while the order's file is gone."""
    return order.model_copy(update={"valid_until": order.valid_from - dt.timedelta(days=1)})


def check_covers(order: Order, indicators: Manifest) -> None:
    """Refuse an indicator set that the order does not allow.

    Raises:
        OrderRefused: naming the set and the field that does not cover it.
    """
    name = f"indicator set {indicators.set_id!r}"
    if indicators.set_id not in order.indicator_sets:
        raise OrderRefused(
            f"{name} is not among the order's indicator_sets "
            f"({', '.join(order.indicator_sets)}): scan with the sets that the order names"
        )
    if indicators.kind not in order.kinds:
        raise OrderRefused(
            f"{name} is of kind {indicators.kind}, but the order's kinds are "
            f"{', '.join(order.kinds)}: leave the set out"
        )
    if order.reference not in indicators.order_ids:
        raise OrderRefused(
            f"{name} was not issued for order {order.reference} (but for "
            f"{', '.join(indicators.order_ids)}): get the set issued for this order"
        )


def example() -> str:
    """An order file to fill in, with a comment for each field."""
    return (resources.files("pipeline") / "order_example.yaml").read_text(encoding="utf-8")


@functools.cache
def _profiles() -> dict[str, dict[str, Any]]:
    text = (resources.files("pipeline") / "legal_profiles.yaml").read_text(encoding="utf-8")
    profiles: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return profiles


def _months_later(day: dt.date, months: int) -> dt.date:
    """The same day some months on; the first of the next month where there is no such day."""
    years, month = divmod(day.month - 1 + months, 12)
    try:
        return day.replace(year=day.year + years, month=month + 1)
    except ValueError:
        return dt.date(day.year + years, month + 2, 1)


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets a key stand twice and the last one win; an order must not hide a field so."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _problems(fault: Any) -> Iterator[Problem]:
    """One pydantic fault -> field, message and remedy."""
    if fault["type"] == "order":
        yield from fault["ctx"]["problems"]
        return
    # The alternatives of a union are no fields: `accounts.literal['all']`.
    loc = [part for part in fault["loc"] if not (isinstance(part, str) and "[" in part)]
    path = [part for part in loc if isinstance(part, str)]
    field = ".".join(str(part) for part in loc)
    if fault["type"] == "missing":
        yield Problem(field, "insufficient_information", "is missing", _remedy(path))
    elif fault["type"] == "extra_forbidden":
        yield Problem(
            field, "manifest_error", "is not a field of an order", "Remove it or correct its name."
        )
    else:
        yield Problem(field, "manifest_error", fault["msg"], _remedy(path))


def _remedy(path: list[str]) -> str:
    """The description of the field at `path`: every one says what to write."""
    model: type[BaseModel] = Order
    remedy = ""
    for name in path:
        info = model.model_fields.get(name)
        if info is None:
            break
        remedy = info.description or remedy
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            model = info.annotation
    return remedy
