"""Arrow schemas of everything that crosses a step, and the counts that every row ends in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from pipeline.errors import AccountingError

ITEMS: Final = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("account_id", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("url", pa.string()),
        pa.field("part", pa.string()),
        pa.field("uploaded_at", pa.timestamp("us", tz="UTC")),
        pa.field("encryption", pa.string()),
        pa.field("account_class", pa.string()),
        pa.field("consent", pa.string()),
        pa.field("user_notice", pa.string()),
    ]
)
"""A reference to something hosted, and what the gate must know of it. No content."""

MAX_ID_BYTES: Final = 1024
"""Longest item or account id: an S3 key's limit, and what fits a sealed candidate."""

ITEM_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("image", "video", "container", "url", "other"),
    "encryption": ("none", "e2ee", "unknown"),
    "account_class": ("ordinary", "state", "unknown"),
    "consent": ("given", "refused", "unknown"),
    "user_notice": ("yes", "no"),
}
"""What the closed columns of `ITEMS` may hold besides null."""

GATED: Final = ITEMS.append(pa.field("skip_reason", pa.string()))
"""`ITEMS` after the gate: a null `skip_reason` means that the item may be opened."""

OUTCOMES: Final = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("inner", pa.string()),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("candidate", pa.binary()),
    ]
)
"""The one outcome of an item, or of something inside it. `inner` is null for the item itself, else
the numbers of the entries that lead there ("3/1": the first entry of the third). `candidate` is the
sealed message of a hit, unreadable on the way."""

FAILED: Final = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("inner", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""What the provider is told about items that could not be examined."""

CLEAR, CANDIDATE, SKIPPED, FAILURE = "clear", "candidate", "skipped", "failed"


@dataclass
class Tally:
    """Counts of a batch, a chunk or a run. They travel as data, so that any runner can add them.

    Attributes:
        rows: items in.
        inner: what was found inside containers, each with an outcome of its own.
        clear: items examined that resemble nothing.
        candidate: items sealed and accepted by verification (or already there).
        skipped: unopened or unusable items, by reason.
        failed: items that could not be examined, by "stage: reason".
        distances: candidates by "set_id: distance in bits".
        duplicates: candidates that verification already had.
        reused: items that were not decoded, as the ledger knew their content.
    """

    rows: int = 0
    inner: int = 0
    clear: int = 0
    candidate: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    distances: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    reused: int = 0

    @property
    def skipped_total(self) -> int:
        """Items skipped for any reason."""
        return self.skipped.total()

    @property
    def failed_total(self) -> int:
        """Items failed at any stage."""
        return self.failed.total()

    @property
    def counted(self) -> int:
        """Everything that must have an outcome."""
        return self.rows + self.inner

    def add(self, other: Tally) -> None:
        """Count `other` in."""
        self.rows += other.rows
        self.inner += other.inner
        self.clear += other.clear
        self.candidate += other.candidate
        self.duplicates += other.duplicates
        self.reused += other.reused
        self.skipped += other.skipped
        self.failed += other.failed
        self.distances += other.distances

    def check(self, where: str) -> None:
        """Hold in (items and what is inside them) = clear + candidate + skipped + failed.

        Raises:
            AccountingError: it does not hold.
        """
        out = self.clear + self.candidate + self.skipped_total + self.failed_total
        if out != self.counted:
            raise AccountingError(
                f"{where}: {self.rows} items in, {self.inner} inside them, but clear "
                f"{self.clear} + candidate {self.candidate} + skipped {self.skipped_total} + "
                f"failed {self.failed_total} = {out}. This is a defect of Sluis: keep the "
                "run folder and report it"
            )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "rows": self.rows,
            "inner": self.inner,
            "clear": self.clear,
            "candidate": self.candidate,
            "skipped": dict(self.skipped),
            "failed": dict(self.failed),
            "distances": dict(self.distances),
            "duplicates": self.duplicates,
            "reused": self.reused,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Tally:
        """What `to_json` gave."""
        return cls(
            rows=values["rows"],
            inner=values.get("inner", 0),  # reports of runs that knew no containers have none
            clear=values["clear"],
            candidate=values["candidate"],
            skipped=Counter(values["skipped"]),
            failed=Counter(values["failed"]),
            distances=Counter(values["distances"]),
            duplicates=values["duplicates"],
            reused=values.get("reused", 0),  # nor of reuse
        )
