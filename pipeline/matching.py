"""Examined items -> outcomes: looked up together, sealed one by one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from matchers.examine import SKIP_REASONS, Part
from matchers.indicators import IndicatorSet
from matchers.scanner import QUALITY_TOO_LOW, Hit, Result, Scanner
from pipeline import keys, order, vouchers
from pipeline.epoch_keys import EpochKeyDestroyed
from pipeline.errors import ItemError
from pipeline.items import CANDIDATE, CLEAR, FAILURE, OUTCOMES, SKIPPED
from pipeline.opening import Matched, Opened, parts_of
from pipeline.resources import Resources
from pipeline.rpc import candidates
from pipeline.rpc.sluis.verification.v1 import candidate_pb2

REJECTED_BEFORE: Final = "rejected_before"
"""Why an item is skipped whose pair of indicator and content people have rejected."""

SAME_INDICATOR_AGAIN: Final = "same_indicator_again"
"""Why a part of an item is skipped that resembles what enough other parts of it do."""

_MOST_OF_ONE_INDICATOR: Final = 10
"""Candidates of one item and indicator: a zip of a thousand copies would bury the reviewers."""

_MOST_PARTS_AT_ONCE: Final = 4_096
"""Parts that are looked up together; beyond that the index gains nothing, and memory is bounded."""

_MOST_MILLISECONDS: Final = 2**32 - 1  # what the field holds: 49 days
_MOST_SPANS: Final = 20
"""Showings that a candidate names, of all that it counts: it has a constant size."""

_KINDS: Final = {
    "known": candidate_pb2.INDICATOR_KIND_KNOWN,
    "new": candidate_pb2.INDICATOR_KIND_NEW,
    "url": candidate_pb2.INDICATOR_KIND_URL,
}


class Matching:
    """Examined items in, outcomes out: asked about many at once, but never about too many.

    Attributes:
        distances: as in `Batch`.
        match_seconds: spent on looking up.
        seal_seconds: spent on sealing.
    """

    def __init__(self, scanner: Scanner, resources: Resources, under: order.Order) -> None:
        self._scanner, self._resources, self._under = scanner, resources, under
        self._waiting: list[tuple[dict[str, Any], Opened]] = []
        self._parts = 0
        self._done: list[pa.RecordBatch] = []
        self.distances: Counter[str] = Counter()
        self.match_seconds = self.seal_seconds = 0.0

    @property
    def outcomes(self) -> pa.RecordBatch:
        """Of schema `OUTCOMES`, in the order of the items."""
        whole = pa.Table.from_batches(self._done, OUTCOMES).combine_chunks().to_batches()
        return whole[0] if whole else pa.RecordBatch.from_pylist([], OUTCOMES)

    def add(self, row: dict[str, Any], parts: Opened) -> None:
        """The next item; an archive may have thousands of parts."""
        self._waiting.append((row, parts))
        self._parts += 1 if isinstance(parts, ItemError) else len(parts_of(parts))
        if self._parts >= _MOST_PARTS_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Look up and seal what waits."""
        started = time.perf_counter()
        readable = [one for _, parts in self._waiting if isinstance(parts, tuple) for one in parts]
        results = iter(self._scanner.match(readable))
        matched = time.perf_counter()
        outcomes: list[dict[str, Any]] = []
        for row, parts in self._waiting:
            if row["skip_reason"] is not None:
                outcomes.append(_outcome(row, SKIPPED, reason=row["skip_reason"]))
            elif isinstance(parts, ItemError):
                outcomes.append(_outcome(row, FAILURE, stage=parts.stage, reason=parts.reason))
            elif isinstance(parts, Matched):
                outcomes += self._of_item(row, parts.parts)
            else:
                outcomes += self._of_item(row, [(one.part, next(results)) for one in parts])
        self._done.append(pa.RecordBatch.from_pylist(outcomes, OUTCOMES))
        self._waiting, self._parts = [], 0
        self.match_seconds += matched - started
        self.seal_seconds += time.perf_counter() - matched

    def _of_item(
        self, row: dict[str, Any], found: Sequence[tuple[Part, Result]]
    ) -> Iterator[dict[str, Any]]:
        """The outcome of each part of an item.

        An archive full of copies is one thing to look at: of many parts that resemble the same
        indicator the nearest few become candidates.
        """
        hits = [(n, result) for n, (_, result) in enumerate(found) if isinstance(result, Hit)]
        told: Counter[tuple[int, int]] = Counter()
        too_many = set()
        for number, hit in sorted(hits, key=lambda one: one[1].distance_bits):
            told[hit.set_number, hit.indicator] += 1
            if told[hit.set_number, hit.indicator] > _MOST_OF_ONE_INDICATOR:
                too_many.add(number)
        for number, (part, result) in enumerate(found):
            if not isinstance(result, Hit):
                yield _outcome_of(row, part, result)
            elif number in too_many:
                yield _outcome(row, SKIPPED, part, reason=SAME_INDICATOR_AGAIN)
            else:
                yield self._sealed(row, part, result)

    def _sealed(self, row: dict[str, Any], part: Part, best: Hit) -> dict[str, Any]:
        """The outcome of a part with hits: the best that people have not rejected."""
        outcome: dict[str, Any] = {}
        for hit in (best, *best.others):
            found = self._scanner.sets[hit.set_number]
            outcome = _sealed(row, part, hit, found, self._resources, self._under)
            if outcome["outcome"] == CANDIDATE:
                self.distances[f"{found.manifest.set_id}: {hit.distance_bits}"] += 1
            if outcome.get("reason") != REJECTED_BEFORE:
                break
        return outcome


def _outcome_of(row: dict[str, Any], part: Part, result: Result) -> dict[str, Any]:
    """The one outcome of what resembles nothing: what hid it comes before clear."""
    if part.reason in SKIP_REASONS:
        return _outcome(row, SKIPPED, part, reason=part.reason)
    if part.reason is not None:
        return _outcome(row, FAILURE, part, stage="decode", reason=part.reason)
    if result == QUALITY_TOO_LOW:
        return _outcome(row, SKIPPED, part, reason=QUALITY_TOO_LOW)
    return _outcome(row, CLEAR, part)


def _outcome(
    row: dict[str, Any], outcome: str, part: Part | None = None, **details: Any
) -> dict[str, Any]:
    inner = "/".join(map(str, part.locator)) if part else ""
    return {"item_id": row["item_id"], "inner": inner or None, "outcome": outcome, **details}


def _sealed(
    row: dict[str, Any],
    part: Part,
    hit: Hit,
    found: IndicatorSet,
    resources: Resources,
    under: order.Order,
) -> dict[str, Any]:
    """What becomes of an item with a hit."""
    try:
        candidate = _seal(row, part, hit, found, resources, under)
    except EpochKeyDestroyed as error:
        return _outcome(row, SKIPPED, part, reason=error.reason)
    except ItemError as error:
        return _outcome(row, FAILURE, part, stage=error.stage, reason=error.reason)
    if candidate is None:
        return _outcome(row, SKIPPED, part, reason=REJECTED_BEFORE)
    return _outcome(row, CANDIDATE, part, candidate=candidate.SerializeToString())


def _seal(
    row: dict[str, Any],
    part: Part,
    hit: Hit,
    found: IndicatorSet,
    resources: Resources,
    under: order.Order,
) -> candidate_pb2.Candidate | None:
    """A hit -> a candidate nobody on the way can read or name; None if people have rejected it."""
    manifest = found.manifest
    indicator_id = found.indicator_ids[hit.indicator].as_py()
    uploaded = row["uploaded_at"].date() if row["uploaded_at"] else None
    sealable = keys.Sealable(
        item_id=row["item_id"],
        account_id=row["account_id"],
        content=hit.content,
        indicator=vouchers.enc(manifest.set_id.encode(), found.cluster(hit.indicator).encode()),
        hit_day=vouchers.hit_day(uploaded, under.valid_from, found.effective_day(hit.indicator)),
        released_at_once=manifest.kind != "new" or row["user_notice"] == "yes",
    )
    tokens = resources.keys.tokens(sealable)
    if tokens.pair_id in resources.suppressed and row["user_notice"] != "yes":
        return None
    payload = candidate_pb2.CandidatePayload(
        content_token=tokens.content,
        account_token=tokens.account,
        set_id=manifest.set_id,
        set_version=manifest.version,
        kind=_KINDS[manifest.kind],
        indicator_id=indicator_id,
        method=hit.method,
        distance_bits=hit.distance_bits,
        radius_bits=manifest.radius_bits,
        quality=hit.quality or 0,
        pair_id=tokens.pair,
        user_notified=row["user_notice"] == "yes",
        view=hit.view,
        inner_path=part.locator,
        spans=[
            candidate_pb2.TimeSpan(start_milliseconds=_ms(start), end_milliseconds=_ms(end))
            for start, end in hit.spans_seconds[:_MOST_SPANS]
        ],
        spans_total=len(hit.spans_seconds),
        share_percent=hit.share_percent or 0,
    )
    sealed = resources.keys.seal(sealable, payload.SerializeToString())
    return candidates.to_message(
        sealed.candidate_id, sealed.context, sealed.hit_day, sealed.verifier_key_id, sealed.seal
    )


def _ms(seconds: float) -> int:
    return min(max(0, round(seconds * 1000)), _MOST_MILLISECONDS)
