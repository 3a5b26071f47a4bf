"""What people decide on released candidates, kept for good, and the verdicts it adds up to.

A verdict is made, numbered and signed in the transaction of the decision that completes it, so that
there is never one without the other and numbers have no gaps. Decisions and verdicts outlive the
candidate; the opened payload is erased with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.errors import SluisError
from pipeline.rpc import verdicts as wire
from pipeline.rpc.sluis.verification.v1 import verdict_pb2
from pipeline.verdicts import (
    CONFIRMED,
    CONFIRMED_ONCE,
    DISPUTED,
    REJECTED,
    RELEASED,
    Decision,
    Subject,
    Verdict,
    sign_verdict,
    state_after,
)
from pipeline.verification import audit
from pipeline.verification.database import Transaction, marks
from pipeline.verification.store import Store, Stored, one_released

REPORTED: Final = "reported"
CLOSED: Final = "closed"

_OPEN: Final = (RELEASED, CONFIRMED_ONCE, DISPUTED)
_FOLLOWS: Final = {REPORTED: (CONFIRMED,), CLOSED: (REPORTED, REJECTED)}
"""The states after which a step of progress may be recorded."""


class AlreadyDecided(SluisError):  # noqa: N818
    """This reviewer has decided otherwise, or a verdict stands."""


class AlreadyRecorded(SluisError):  # noqa: N818
    """That step is recorded, with another note."""


class OutOfTurn(SluisError):  # noqa: N818
    """That step does not follow from where the candidate stands."""


@dataclass(frozen=True)
class Case:
    """A released candidate and what people have decided on it.

    Attributes:
        stored: the candidate.
        decisions: in order.
        verdict: what they add up to, if they do.
    """

    stored: Stored
    decisions: tuple[Decision, ...]
    verdict: Verdict | None


class Decisions:
    """People's decisions, over a store."""

    def __init__(self, store: Store, verdict_key: Ed25519PrivateKey) -> None:
        """Keep them in `store`; sign verdicts with `verdict_key`."""
        self._store = store
        self._verdict_key = verdict_key

    def get(self, candidate_id: bytes) -> Case:
        """One released candidate.

        Raises:
            NotFound: there is none.
        """
        with self._store.read() as connection:
            return _case(connection, one_released(connection, candidate_id))

    def page(
        self, after: int, size: int, state: str | None, seen_by: str
    ) -> tuple[list[Case], int]:
        """See `Store.page`."""
        stored, total = self._store.page(after, size, state, seen_by)
        with self._store.read() as connection:
            return _cases(connection, stored), total

    def decide(self, subject: Subject, decision: Decision, payload: bytes) -> Future[Case]:
        """Keep a reviewer's decision, and the verdict if it completes one.

        Args:
            subject: the candidate, as the caller has checked the signature against.
            decision: signed by the reviewer.
            payload: as opened, with a confirmation; its digest is the decision's.

        Returns:
            The case as it then stands, resolved once durable. The future fails with `NotFound` or
            `AlreadyDecided`; the very same decision again changes nothing.
        """

        def work(transaction: Transaction) -> Case:
            candidate_id = subject.candidate_id
            stored = one_released(transaction, candidate_id)
            before = _case(transaction, stored).decisions
            for earlier in before:
                if earlier.reviewer_id == decision.reviewer_id:
                    if earlier.signature == decision.signature:
                        return _case(transaction, stored)
                    raise AlreadyDecided(
                        f"you have already decided: {earlier.value}; a decision is never changed"
                    )
            if stored.state not in _OPEN:
                raise AlreadyDecided(f"a verdict stands: {stored.state}; it is never changed")
            kept = replace(decision, decided_at=self._store.now())
            self._keep(transaction, candidate_id, kept, payload, len(before) + 1)
            state, agreeing = state_after([*before, kept])
            if agreeing:
                self._conclude(transaction, subject, agreeing)
            _move(transaction, candidate_id, state)
            return _case(transaction, one_released(transaction, candidate_id))

        return self._store.submit(work)

    def explain(self, candidate_id: bytes, reviewer_id: str, reference: str) -> Future[Case]:
        """One released candidate, with the look-up entered in the audit.

        Returns:
            Resolved once the entry is durable; the future fails with `NotFound`.
        """

        def work(transaction: Transaction) -> Case:
            case = _case(transaction, one_released(transaction, candidate_id))
            facts = {
                "candidate": candidate_id.hex(),
                "reviewer_id": reviewer_id,
                "reference": reference,
            }
            audit.append(transaction, "explain", facts, self._store.now())
            return case

        return self._store.submit(work)

    def record(self, candidate_id: bytes, state: str, note: str, actor: str) -> Future[int]:
        """Record what became of a candidate after its verdict.

        Args:
            candidate_id: of the candidate.
            state: `REPORTED` or `CLOSED`.
            note: under which number, or why.
            actor: certified URI.

        Returns:
            When it was recorded (the first time, if it is repeated), in seconds since 1970. The
            future fails with `NotFound`, `OutOfTurn` or `AlreadyRecorded`.
        """

        def work(transaction: Transaction) -> int:
            stored = one_released(transaction, candidate_id)
            row = transaction.execute(
                "SELECT at, note FROM progress WHERE candidate_id = ? AND state = ?",
                (candidate_id, state),
            ).fetchone()
            if row is not None:
                if row[1] != note:
                    raise AlreadyRecorded(
                        f"{state} is recorded already, with another note; it is never changed"
                    )
                return int(row[0])
            if stored.state not in _FOLLOWS[state]:
                raise OutOfTurn(
                    f"the candidate is {stored.state}: {state} follows "
                    f"{' or '.join(_FOLLOWS[state])} only"
                )
            now = self._store.now()
            transaction.execute(
                "INSERT INTO progress (candidate_id, state, actor, note, at) "
                "VALUES (?, ?, ?, ?, ?)",
                (candidate_id, state, actor, note, now),
            )
            _move(transaction, candidate_id, state)
            facts = {"candidate": candidate_id.hex(), "state": state}
            audit.append(transaction, "progress", facts, now)
            return now

        return self._store.submit(work)

    def verdicts(
        self, order_id: bytes, after: int, size: int
    ) -> tuple[list[verdict_pb2.Verdict], int]:
        """Up to `size` of an order's verdicts after a sequence, and its last sequence."""
        with self._store.read() as connection:
            (head,) = connection.execute(
                "SELECT max(sequence) FROM verdict WHERE order_id = ?", (order_id,)
            ).fetchone()
            rows = connection.execute(
                "SELECT message FROM verdict WHERE order_id = ? AND sequence > ? "
                "ORDER BY sequence LIMIT ?",
                (order_id, after, size),
            ).fetchall()
            return _with_payloads(connection, [message for (message,) in rows]), head or 0

    def _keep(
        self,
        transaction: Transaction,
        candidate_id: bytes,
        decision: Decision,
        payload: bytes,
        number: int,
    ) -> None:
        transaction.execute(
            "INSERT INTO decision (candidate_id, reviewer_id, number, message) VALUES (?, ?, ?, ?)",
            (
                candidate_id,
                decision.reviewer_id,
                number,
                wire.decision_message(decision).SerializeToString(),
            ),
        )
        if payload:
            transaction.execute(
                "INSERT INTO opened (candidate_id, digest, payload) VALUES (?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (candidate_id, decision.payload_digest, payload),
            )
        facts = {
            "candidate": candidate_id.hex(),
            "reviewer_id": decision.reviewer_id,
            "value": decision.value,
        }
        audit.append(transaction, "decision", facts, decision.decided_at)

    def _conclude(
        self, transaction: Transaction, subject: Subject, agreeing: Sequence[Decision]
    ) -> None:
        """Number and sign the verdict; nobody else writes meanwhile: no gap and no double."""
        order_id = subject.context.order_id
        (last,) = transaction.execute(
            "SELECT max(sequence) FROM verdict WHERE order_id = ?", (order_id,)
        ).fetchone()
        signed = sign_verdict(
            self._verdict_key,
            Verdict(
                subject=subject,
                sequence=(last or 0) + 1,
                value=agreeing[0].value,
                decided_at=self._store.now(),
                decisions=tuple(agreeing),
                payload=b"",
            ),
        )
        transaction.execute(
            "INSERT INTO verdict (candidate_id, order_id, sequence, message) VALUES (?, ?, ?, ?)",
            (
                subject.candidate_id,
                order_id,
                signed.sequence,
                wire.to_message(signed).SerializeToString(),
            ),
        )
        facts: dict[str, audit.Fact] = {
            "candidate": subject.candidate_id.hex(),
            "order_id": order_id.hex(),
            "sequence": signed.sequence,
            "value": signed.value,
        }
        audit.append(transaction, "verdict", facts, signed.decided_at)


def _move(transaction: Transaction, candidate_id: bytes, state: str) -> None:
    transaction.execute(
        "UPDATE candidate SET state = ? WHERE candidate_id = ?", (state, candidate_id)
    )


def _case(transaction: Transaction, stored: Stored) -> Case:
    return _cases(transaction, [stored])[0]


def _cases(transaction: Transaction, stored: Sequence[Stored]) -> list[Case]:
    """Candidates with what people have decided on them, in a few statements for all."""
    ids = [one.candidate_id for one in stored]
    if not ids:
        return []
    decisions: dict[bytes, list[Decision]] = {}
    for candidate_id, message in transaction.execute(
        "SELECT candidate_id, message FROM decision "
        f"WHERE candidate_id IN ({marks(len(ids))}) ORDER BY candidate_id, number",
        ids,
    ).fetchall():
        decision = wire.decision_of(verdict_pb2.Decision.FromString(message))
        decisions.setdefault(candidate_id, []).append(decision)
    messages = transaction.execute(
        f"SELECT message FROM verdict WHERE candidate_id IN ({marks(len(ids))})",
        ids,
    ).fetchall()
    verdicts = {
        message.candidate_id: wire.from_message(message)
        for message in _with_payloads(transaction, [message for (message,) in messages])
    }
    return [
        Case(one, tuple(decisions.get(one.candidate_id, ())), verdicts.get(one.candidate_id))
        for one in stored
    ]


def _with_payloads(
    transaction: Transaction, messages: Sequence[bytes]
) -> list[verdict_pb2.Verdict]:
    """Kept verdicts as they go out: with the payload their decisions name, while it is kept."""
    verdicts = [verdict_pb2.Verdict.FromString(message) for message in messages]
    confirmed = [v for v in verdicts if v.value == verdict_pb2.VERDICT_VALUE_CONFIRMED]
    if not confirmed:
        return verdicts
    payloads = {
        (candidate_id, digest): payload
        for candidate_id, digest, payload in transaction.execute(
            "SELECT candidate_id, digest, payload FROM opened "
            f"WHERE candidate_id IN ({marks(len(confirmed))})",
            [verdict.candidate_id for verdict in confirmed],
        ).fetchall()
    }
    for verdict in confirmed:
        name = (verdict.candidate_id, verdict.decisions[0].payload_digest)
        verdict.payload = payloads.get(name, b"")
    return verdicts
