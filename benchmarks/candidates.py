"""Candidates: how many are sealed in a second, and how many a verification service stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import timing
from benchmarks.party import REFERENCE, Parties
from benchmarks.scales import Scale
from pipeline import keys, vouchers
from pipeline.emit import Emitter
from pipeline.rpc import candidates as messages
from pipeline.rpc.sluis.verification.v1 import candidate_pb2


def sealing(parties: Parties, scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds a seal: id, two tokens, HPKE; one thread on one core."""
    service = keys.LocalKeyService(parties.provider, REFERENCE, "account")
    count = scale.candidates // 5

    def seal(*, at_once: bool) -> None:
        for number in range(count):
            hit = _hit(parties, number, at_once=at_once)
            service.seal(hit, service.tokens(hit).content)

    say(f"{count:,} seals in a round")
    with timing.one_core() as pinned:
        spent = timing.interleaved(
            {
                "two hits needed": lambda: seal(at_once=False),
                "released at once": lambda: seal(at_once=True),
            },
            scale.rounds,
        )
    return {
        "pinned": pinned,
        "ways": [
            {"way": way, "seconds_per_candidate": [second / count for second in seconds]}
            for way, seconds in spent.items()
        ],
    }


def storing(parties: Parties, scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds a candidate, new and sent again, into SQLite (WAL, FULL) over mutual TLS.

    Client and server share one process, and so its interpreter lock.
    """
    emitter = Emitter(parties.address, parties.provider)
    spent: dict[str, list[float]] = {"new": [], "sent again": []}
    emitter.send(_candidates(parties, 100, 0))  # warm up
    for number in range(1, scale.rounds + 1):
        say(f"{scale.candidates:,} candidates into the store, round {number}")
        fresh = _candidates(parties, scale.candidates, number)
        for seconds in spent.values():  # the second time they are known
            seconds.append(timing.once(lambda sent=fresh: emitter.send(sent)))  # type: ignore[misc]
    emitter.close()
    return {
        "ways": [
            {"way": way, "seconds_per_candidate": [second / scale.candidates for second in seconds]}
            for way, seconds in spent.items()
        ]
    }


def _hit(parties: Parties, number: int, *, at_once: bool) -> keys.Sealable:
    return keys.Sealable(
        item_id=f"item-{number}",
        account_id="account",
        content=b"c" * 32,
        indicator=b"i",
        hit_day=vouchers.day_number(parties.order.valid_from),
        released_at_once=at_once,
    )


def _candidates(parties: Parties, count: int, batch: int) -> list[candidate_pb2.Candidate]:
    """Sealed candidates with distinct ids (one seal, reused: its bytes do not matter here)."""
    service = keys.LocalKeyService(parties.provider, REFERENCE, "account")
    sealed = service.seal(_hit(parties, 0, at_once=True), b"payload")
    template = messages.to_message(
        sealed.candidate_id, sealed.context, sealed.hit_day, sealed.verifier_key_id, sealed.seal
    )
    many = []
    for number in range(count):
        one = candidate_pb2.Candidate()
        one.CopyFrom(template)
        one.candidate_id = f"{batch:04d}{number:012d}".encode()
        many.append(one)
    return many
