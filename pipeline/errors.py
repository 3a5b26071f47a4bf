"""The one error tree of `pipeline`: what happened, to which input, what to do.

Messages never hold content, a hash, a URL, a name or a pseudonym of an item; they may name files
that the operator passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class SluisError(Exception):
    """Base. `exit_status` is what the command line ends with."""

    exit_status: ClassVar[int] = 1


@dataclass(frozen=True)
class Problem:
    """One defect of an order file: the field, what is wrong, what to do.

    Attributes:
        category: `insufficient_information` (absent) or `manifest_error` (wrong), the two answers
            the proposal lets a provider give an authority.
    """

    field: str
    category: str
    message: str
    remedy: str


class OrderRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """The order file is absent, defective, not in force, or does not cover the run."""

    exit_status = 2

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        lines = [message]
        lines += [f"  {p.field}: {p.message} [{p.category}]. {p.remedy}" for p in problems]
        if problems:
            lines.append("In brackets: what the provider may answer (docs/legal-profiles.md).")
        super().__init__("\n".join(lines))
        self.problems = problems


class SourceRefused(SluisError):  # noqa: N818
    """The source cannot be scanned as it is; nothing of it was opened."""

    exit_status = 2


class KeysRefused(SluisError):  # noqa: N818
    """Keys or certificates are missing, unreadable, or readable by others."""

    exit_status = 2


class RunRefused(SluisError):  # noqa: N818
    """The run folder cannot be used for this run."""

    exit_status = 2


class LedgerRefused(SluisError):  # noqa: N818
    """The hash ledger cannot be used as it is."""

    exit_status = 2


class LedgerDamaged(LedgerRefused):
    """Something in a hash ledger is not as it was written."""


class SandboxRefused(SluisError):  # noqa: N818
    """Decoders cannot be kept apart as they must be; nothing is decoded."""

    exit_status = 2


class LoadTestRefused(SluisError):  # noqa: N818
    """The load test cannot be made with what it was given."""

    exit_status = 2


class LoadTestFailed(SluisError):  # noqa: N818
    """What was measured is not what must be: uploads were lost, or planted pictures not found."""


class RunInterrupted(SluisError):  # noqa: N818
    """The run stopped before its end; started again with the same folder, it goes on."""

    exit_status = 3


class SandboxLost(SluisError):  # noqa: N818
    """Decoders could be kept apart, and their processes cannot be started any more.

    The run stopped before its end; started again with the same folder, it goes on.
    """

    exit_status = 3


class VerificationUnreachable(SluisError):  # noqa: N818
    """The verification service (or the vault) did not answer, after bounded retries."""

    exit_status = 3


class VerificationRefused(SluisError):  # noqa: N818
    """The verification service (or the vault) answered, and said no."""

    exit_status = 4


class AccountingError(SluisError):
    """in = clear + candidate + skipped + failed does not hold: a defect of this program."""

    exit_status = 70


class ItemError(SluisError):
    """A fault of one item: becomes `failed(stage, reason)`; it never stops a run.

    Attributes:
        stage: the step it happened in: read, decode, seal, emit.
        reason: a stable word that is safe to count and report.
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason
