"""`sluis verification …`, the part of reviewers: list, open, decide."""

from __future__ import annotations

import base64
import datetime as dt
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pipeline.cli.common import Address, AsJson, candidate_id, check_address, err, out
from pipeline.cli.serving import app
from pipeline.errors import SluisError

if TYPE_CHECKING:
    from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2

__all__ = ["app"]


class VerdictWord(StrEnum):
    """A reviewer's decision."""

    confirmed = "confirmed"
    rejected = "rejected"


class StateWord(StrEnum):
    """Candidates to list."""

    released = "released"
    confirmed = "confirmed"
    rejected = "rejected"
    all = "all"


ReviewerKeys = Annotated[
    Path,
    typer.Option("--keys", envvar="SLUIS_REVIEWER_KEYS", help="The reviewer's key folder."),
]


@app.command("list")
def verification_list(
    verification: Address,
    keys: ReviewerKeys = Path("keys/reviewer-1"),
    state: Annotated[StateWord, typer.Option(help="Which candidates.")] = StateWord.released,
    as_json: AsJson = False,
) -> None:
    """List candidates in order of arrival, opened with the reviewer's key."""
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as pb

    value = (
        pb.CANDIDATE_STATE_UNSPECIFIED
        if state is StateWord.all
        else pb.CandidateState.Value(f"CANDIDATE_STATE_{state.upper()}")
    )
    table = Table(header_style="bold", box=None)
    for column in ("candidate", "state", "kind", "matched", "how"):
        table.add_column(column, no_wrap=column != "matched", overflow="fold")
    with _connected(verification, keys) as reviewer:
        count = 0
        for item in reviewer.list(value):
            count += 1
            try:
                described = _describe(item, reviewer.open(item.candidate))
            except SluisError:  # one bad candidate must not hide the others
                err.print(f"{item.candidate.candidate_id.hex()} does not open with this key")
                continue
            if as_json:
                sys.stdout.write(json.dumps(described) + "\n")
                continue
            how = described["method"]
            if how == "pdq":
                how += f" {described['distance_bits']} bits"
            table.add_row(
                described["candidate_id"],
                described["state"],
                described["kind"],
                f"{described['set']}/{described['indicator']}",
                how,
            )
    if not as_json:
        if count:
            out.print(table)
        out.print(f"{count:,} {'' if state is StateWord.all else state + ' '}candidates")


@app.command("open")
def verification_open(
    candidate: Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")],
    verification: Address,
    keys: ReviewerKeys = Path("keys/reviewer-1"),
    as_json: AsJson = False,
) -> None:
    """Show what a candidate's seal holds: what matched, how closely. No name stands in it."""
    with _connected(verification, keys) as reviewer:
        item = reviewer.get(candidate_id(candidate))
        described = _describe(item, reviewer.open(item.candidate))
    if as_json:
        sys.stdout.write(json.dumps(described) + "\n")
        return
    table = Table(box=None, show_header=False)
    for name, value in described.items():
        text = str(value)
        if name.endswith("_token") and text:
            text = f"{text[:24]}… opaque; only the provider's vault can read it"
        table.add_row(name.replace("_", " "), text or "-")
    out.print(table)


@app.command("decide")
def verification_decide(
    candidate: Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")],
    verdict: Annotated[VerdictWord, typer.Argument(help="The decision.")],
    verification: Address,
    keys: ReviewerKeys = Path("keys/reviewer-1"),
    reason: Annotated[str, typer.Option(help="Why; needed for a rejection.")] = "",
) -> None:
    """Record a person's verdict. It is signed with the certificate's name and never changed."""
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as pb

    value = pb.VerdictValue.Value(f"VERDICT_VALUE_{verdict.upper()}")
    with _connected(verification, keys) as reviewer:
        item = reviewer.decide(candidate_id(candidate), value, reason)
    out.print(f"{candidate}: {verdict} by {item.verdict.reviewer}")


@contextmanager
def _connected(address: str, key_folder: Path) -> Iterator[Any]:
    from pipeline.verification.review import Reviewer

    check_address(address)
    reviewer = Reviewer(address, key_folder)
    try:
        yield reviewer
    finally:
        reviewer.close()


def _describe(
    item: review_service_pb2.ReviewItem, payload: candidate_pb2.CandidatePayload
) -> dict[str, Any]:
    """A candidate and its opened payload, as plain values."""
    from pipeline.rpc.sluis.verification.v1 import candidate_pb2 as pb
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as review

    described = {
        "candidate_id": item.candidate.candidate_id.hex(),
        "received": item.receive_time.ToDatetime(dt.UTC).strftime("%Y-%m-%d %H:%M"),
        "state": review.CandidateState.Name(item.state).removeprefix("CANDIDATE_STATE_").lower(),
        "kind": pb.IndicatorKind.Name(payload.kind).removeprefix("INDICATOR_KIND_").lower(),
        "set": payload.set_id,
        "set_version": payload.set_version,
        "indicator": payload.indicator_id,
        "method": payload.method,
        "distance_bits": payload.distance_bits,
        "radius_bits": payload.radius_bits,
        "quality": payload.quality,
        "content_token": base64.b64encode(payload.content_token).decode(),
        "account_token": base64.b64encode(payload.account_token).decode(),
    }
    if item.group_ref:
        described["opened_with"] = item.group_ref.hex()
    if item.HasField("verdict"):
        described["decided_by"] = item.verdict.reviewer
        described["reason"] = item.verdict.reason
    return described
