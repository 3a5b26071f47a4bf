"""`sluis verification …`, the part of reviewers: list, open, decide, explain."""

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
from rich.text import Text

from pipeline.cli.common import Address, AsJson, candidate_id, check_address, err, out
from pipeline.cli.keeping import app
from pipeline.errors import SluisError
from pipeline.places import inner_place, spans_shown
from pipeline.text import counted, shown

if TYPE_CHECKING:
    from google.protobuf import timestamp_pb2

    from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2, verdict_pb2
    from pipeline.verification.review import Reviewer

__all__ = ["app"]


class VerdictWord(StrEnum):
    """A reviewer's decision."""

    confirmed = "confirmed"
    rejected = "rejected"


class StateWord(StrEnum):
    """Candidates to list; todo: what waits for the reviewer's own decision."""

    todo = "todo"
    released = "released"
    confirmed_once = "confirmed_once"
    disputed = "disputed"
    confirmed = "confirmed"
    rejected = "rejected"
    reported = "reported"
    closed = "closed"
    all = "all"


ReviewerKeys = Annotated[
    Path,
    typer.Option(
        "--keys",
        envvar="SLUIS_REVIEWER_KEYS",
        help="Your own key folder: it says who you are, so it is never guessed.",
    ),
]


@app.command("list")
def verification_list(
    verification: Address,
    keys: ReviewerKeys,
    state: Annotated[
        StateWord, typer.Option(help="Which candidates; todo: what waits for your own decision.")
    ] = StateWord.todo,
    as_json: AsJson = False,
) -> None:
    """List candidates in order of release, opened with the reviewer's key.

    Without --state: what waits for your decision. Whether others have decided is not shown before
    you have.
    """
    rows = []
    with _connected(verification, keys) as reviewer:
        count = 0
        for item in _listed(reviewer, state):
            count += 1
            try:
                described = _describe(item, reviewer.open(item.candidate))
            except SluisError:  # one bad candidate must not hide the others
                why = "does not open with this key" if _has_content(item) else "is erased"
                err.print(f"{item.candidate.candidate_id.hex()} {why}")
                continue
            if as_json:
                sys.stdout.write(json.dumps(described) + "\n")
                continue
            rows.append(described)
    if not as_json:
        if rows:
            out.print(listing(rows))
        adjective = "" if state in (StateWord.all, StateWord.todo) else f"{state} "
        waiting = " for your decision" if state is StateWord.todo else ""
        verb = ("" if not waiting else " waits" if count == 1 else " wait") + waiting
        out.print(f"{counted(count, adjective + 'candidate')}{verb}")


@app.command("open")
def verification_open(
    candidate: Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")],
    verification: Address,
    keys: ReviewerKeys,
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
        table.add_row(name.replace("_", " "), shown(text) or "-")
    out.print(table)


@app.command("decide")
def verification_decide(
    candidate: Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")],
    verdict: Annotated[VerdictWord, typer.Argument(help="The decision.")],
    verification: Address,
    keys: ReviewerKeys,
    reason: Annotated[str, typer.Option(help="Why; needed for a rejection.")] = "",
) -> None:
    """Open a candidate, and sign and record your decision on it. It is never changed.

    Two different reviewers confirm. One rejects, unless somebody has confirmed before: then the
    candidate is disputed until two agree.
    """
    if verdict is VerdictWord.rejected and not reason.strip():
        raise typer.BadParameter('a rejection needs a reason: say why with --reason "…"')
    with _connected(verification, keys) as reviewer:
        name = candidate_id(candidate)
        before = reviewer.get(name)
        item = reviewer.decide(name, verdict.value, reason)
        repeated = any(one.reviewer_id == reviewer.reviewer_id for one in before.decisions)
    state = _state(item)
    follows = {
        "confirmed_once": "a second, different reviewer must look",
        "disputed": "reviewers disagree: a further one must look",
    }.get(state, f"a verdict, number {item.verdict.sequence} of its order")
    had = "had decided already: " if repeated else "say "
    out.print(
        f"{candidate}: you, {reviewer.reviewer_id}, {had}{verdict}; now {state} ({follows})",
        soft_wrap=True,
    )


@app.command("explain")
def verification_explain(
    candidate: Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")],
    reference: Annotated[
        str,
        typer.Option(
            help="Number of the complaint this answers: letters, digits, ./_- and no name. It is "
            "entered in the audit."
        ),
    ],
    verification: Address,
    keys: ReviewerKeys,
    as_json: AsJson = False,
) -> None:
    """Answer a complaint: what matched, how closely, who decided what, when. No content, no token.

    Only a reviewer can run it, since only a reviewer can open the seal; the look-up is entered in
    the audit. Reviewers stand there by their pseudonymous ids.
    """
    with _connected(verification, keys) as reviewer:
        item = reviewer.explain(candidate_id(candidate), reference)
        payload = reviewer.open(item.candidate) if _has_content(item) else None
    explained = _explain(item, payload)
    if as_json:
        sys.stdout.write(json.dumps(explained) + "\n")
        return
    table = Table(box=None, show_header=False)
    for name, value in explained.items():
        if name != "decisions":
            table.add_row(name.replace("_", " "), shown(str(value)))
    for number, decision in enumerate(explained["decisions"], start=1):
        said = f"{decision['value']} by {decision['reviewer_id']}, {decision['at']}"
        table.add_row(f"decision {number}", shown(f"{said}. {decision['reason']}".strip()))
    out.print(table)


def _listed(reviewer: Reviewer, state: StateWord) -> Iterator[review_service_pb2.ReviewItem]:
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as pb

    if state is StateWord.all:
        yield from reviewer.list(pb.CANDIDATE_STATE_UNSPECIFIED)
        return
    # To a reviewer, all that others alone have decided on is released.
    word = StateWord.released if state is StateWord.todo else state
    yield from reviewer.list(pb.CandidateState.Value(f"CANDIDATE_STATE_{word.upper()}"))


@contextmanager
def _connected(address: str, key_folder: Path) -> Iterator[Reviewer]:
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
    described = {
        "candidate_id": item.candidate.candidate_id.hex(),
        "received": _moment(item.receive_time),
        "state": _state(item),
        **_matched(payload),
        "content_token": base64.b64encode(payload.content_token).decode(),
        "account_token": base64.b64encode(payload.account_token).decode(),
    }
    if item.group_ref:
        described["opened_with"] = item.group_ref.hex()
    if item.HasField("verdict"):
        described["decided_by"] = ", ".join(one.reviewer_id for one in item.verdict.decisions)
        described["reason"] = "; ".join(one.reason for one in item.verdict.decisions if one.reason)
    elif item.decisions:  # others' are not shown before there is a verdict
        described["own_decision"] = _word(item.decisions[0])
    return described


def listing(rows: list[dict[str, Any]]) -> Table:
    """Opened candidates as a table that fits 80 columns: ids whole, the rest broken at words."""
    table = Table(header_style="bold", box=None)
    for column in ("candidate", "state", "kind"):
        table.add_column(column, no_wrap=True)
    table.add_column("matched, and how", overflow="ellipsis")
    for row in rows:
        what = Text("\n".join(map(shown, _in_short(row))))
        table.add_row(row["candidate_id"], row["state"], row["kind"], what)
    return table


def _in_short(described: dict[str, Any]) -> list[str]:
    """What matched and how, a line for each thing that a reviewer weighs."""
    match described["method"]:
        case "vpdq":
            how = f"{described['share_percent']} % of the video"
        case "pdq_refined":
            how = f"near match, {counted(described['distance_bits'], 'bit')}"
        case method if described["radius_bits"]:
            how = f"{method}, {counted(described['distance_bits'], 'bit')}"
        case method:
            how = method
    lines = [f"{described['set']}/{described['indicator']}", how]
    if described.get("view", "full") != "full":
        lines.append(described["view"])
    if "inside" in described:
        lines.append(f"inside: {described['inside']}")
    if "own_decision" in described:
        lines.append(f"you: {described['own_decision']}")
    return lines


def _explain(
    item: review_service_pb2.ReviewItem, payload: candidate_pb2.CandidatePayload | None
) -> dict[str, Any]:
    """What a complaint is answered with, as plain values; what matched, unless it is erased."""
    explained = {
        "candidate_id": item.candidate.candidate_id.hex(),
        "state": _state(item),
        "received": _moment(item.receive_time),
        **(_matched(payload) if payload else {"matched": "erased: its retention is over"}),
        "released": "by a second, distinct hit" if item.group_ref else "at once",
        "verdict": "none yet",
        "decisions": [],
    }
    if item.HasField("verdict"):
        verdict = item.verdict
        explained["verdict"] = (
            f"{_word(verdict)}, {_moment(verdict.verdict_time)}, number {verdict.sequence} of the "
            "order"
        )
        explained["decisions"] = [
            {
                "value": _word(one),
                "reviewer_id": one.reviewer_id,
                "at": _moment(one.decide_time),
                "reason": one.reason,
            }
            for one in item.decisions
        ]
        if payload and any(one.pair_id not in {b"", payload.pair_id} for one in item.decisions):
            explained["note"] = (
                "a rejection names another pair of indicator and content than was opened: look "
                "into it"
            )
    return explained


def _matched(payload: candidate_pb2.CandidatePayload) -> dict[str, Any]:
    from pipeline.rpc.sluis.verification.v1 import candidate_pb2 as pb

    matched = {
        "kind": pb.IndicatorKind.Name(payload.kind).removeprefix("INDICATOR_KIND_").lower(),
        "set": payload.set_id,
        "set_version": payload.set_version,
        "indicator": payload.indicator_id,
        "method": payload.method,
        "distance_bits": payload.distance_bits,
        "radius_bits": payload.radius_bits,
        "quality": payload.quality,
        "user_notified": payload.user_notified,
    }
    if payload.view:
        matched["view"] = payload.view
    if payload.share_percent:
        matched["share_percent"] = payload.share_percent
    if payload.inner_path:
        matched["inside"] = inner_place(payload.inner_path)
    if payload.spans:
        matched["shown"] = spans_shown(payload.spans, payload.spans_total)
    return matched


def _has_content(item: review_service_pb2.ReviewItem) -> bool:
    """Whether the seal is still kept."""
    return bool(item.candidate.direct.ciphertext)


def _state(item: review_service_pb2.ReviewItem) -> str:
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as pb

    return pb.CandidateState.Name(item.state).removeprefix("CANDIDATE_STATE_").lower()


def _word(decided: verdict_pb2.Decision | verdict_pb2.Verdict) -> str:
    from pipeline.rpc.sluis.verification.v1 import verdict_pb2 as pb

    return pb.VerdictValue.Name(decided.value).removeprefix("VERDICT_VALUE_").lower()


def _moment(time: timestamp_pb2.Timestamp) -> str:
    return time.ToDatetime(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
