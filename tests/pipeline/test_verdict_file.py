"""The file of verdicts: what desk and scan act upon is what service and reviewers have said."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from support import rulings

from pipeline import keys, verdict_file, vouchers
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verdict_file import VerdictFileRefused
from pipeline.verdicts import REJECTED, Verdict, sign_decision

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def pair_id(context: vouchers.Context, candidate: bytes, token: bytes) -> bytes:
    """As the key service of these tests turns a token back."""
    return vouchers.pair_token(rulings.TOKEN_KEY, context, candidate, token)


def suppressed(path: Path) -> set[bytes]:
    """The pairs that a scan given this file does not send."""
    return set(verdict_file.rejected_pairs([path], rulings.SIGNERS, rulings.ORDER_ID, pair_id))


def rejected(number: int = 1, **changes: object) -> Verdict:
    """A rejection by one reviewer, signed by the service."""
    about = rulings.subject(number)
    made = replace(rulings.decision(0, about, rulings.payload(about), REJECTED), **changes)
    return rulings.Ruling(about, (made,), b"", REJECTED, number).sign()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file of verdicts may be."""
    return tmp_path / "verdicts.jsonl"


def test_what_is_written_is_read(path):
    """Confirmed, rejected, and confirmed with its payload erased after retention."""
    erased = replace(rulings.confirmed(3), payload=b"", sequence=3).sign()
    verdicts = [rulings.confirmed(1).sign(), rejected(2), erased]
    verdict_file.append(path, verdicts)
    assert verdict_file.read(path, rulings.SIGNERS) == verdicts


def test_a_payload_that_the_reviewers_have_not_opened_is_refused(path):
    """The service's signature covers it only by its digest: the digest is held here."""
    good = rulings.confirmed().sign()
    payload = candidate_pb2.CandidatePayload.FromString(good.payload)
    payload.indicator_id = "something worse"
    verdict_file.append(path, [replace(good, payload=payload.SerializeToString())])
    with pytest.raises(VerdictFileRefused, match="line 1"):
        verdict_file.read(path, rulings.SIGNERS)


def by_nobody() -> Verdict:
    """Confirmed by the service alone, in the names of two reviewers."""
    good = rulings.confirmed()
    return replace(
        good, decisions=tuple(replace(one, signature=bytes(64)) for one in good.decisions)
    ).sign()


def by_one_for_two() -> Verdict:
    """One reviewer's rejection, twice."""
    good = rejected()
    return rulings.Ruling(good.subject, good.decisions * 2, b"", REJECTED).sign()


ALONE = {
    "confirmed by nobody": by_nobody,
    "confirmed by one": lambda: replace(
        rulings.confirmed(), decisions=rulings.confirmed().decisions[:1]
    ).sign(),
    "rejected by nobody": lambda: rejected(signature=bytes(64)),
    "rejected by a stranger": lambda: rejected(reviewer_id="f" * 16),
    "rejected by one for two": by_one_for_two,
    "confirmed by those who reject": lambda: replace(
        rulings.confirmed(), decisions=rejected().decisions * 2
    ).sign(),
}


@pytest.mark.parametrize("what", ALONE)
def test_what_the_service_alone_has_signed_is_refused(path, what):
    """Neither a report nor a suppression follows from the service's word alone."""
    verdict_file.append(path, [ALONE[what]()])
    with pytest.raises(VerdictFileRefused, match="its reviewers"):
        verdict_file.read(path, rulings.SIGNERS)


def names(number: int) -> bytes:
    """The pair that the payload of a candidate names."""
    return pair_id(rulings.CONTEXT, rulings.subject(number).candidate_id, b"p" * 16)


def test_a_rejection_suppresses_the_pair_of_its_own_candidate(path):
    """In every order of verdicts, and of one order alone."""
    verdict_file.append(path, [rejected(1), rejected(2), rulings.confirmed(3).sign()])
    assert suppressed(path) == {names(1), names(2)}
    other = verdict_file.rejected_pairs([path], rulings.SIGNERS, b"o" * 16, pair_id)
    assert other == frozenset()


def test_a_pair_that_two_people_have_confirmed_is_never_suppressed(path):
    """Also where another candidate with that pair was rejected, before or after."""
    token = pair_id(rulings.CONTEXT, rulings.subject(2).candidate_id, names(1))
    about = rulings.subject(2)
    decision = sign_decision(
        rulings.REVIEWERS[0], about, value=REJECTED, payload=rulings.payload(about),
        pair_id=token, reason="a cat",
    )  # fmt: skip
    rejection = rulings.Ruling(about, (decision,), b"", REJECTED).sign()
    verdict_file.append(path, [rejection])
    assert suppressed(path) == {names(1)}
    verdict_file.append(path, [rulings.confirmed(1).sign()])
    assert suppressed(path) == set()


def test_a_reviewer_cannot_name_anothers_pair(tmp_path):
    """The pair's token of one candidate, on the rejection of another, is no pair."""
    keys.make(tmp_path / "keys", hosts=["localhost"], reviewers=1, now=NOW)
    service = keys.LocalKeyService(tmp_path / "keys" / "provider", "TEST-2026-0001", "account")

    def hit(item: str, content: bytes) -> keys.Sealable:
        return keys.Sealable(
            item_id=item, account_id="alice", content=content, indicator=b"i",
            hit_day=20_600, released_at_once=True,
        )  # fmt: skip

    one, same, other = hit("1", b"a" * 32), hit("2", b"a" * 32), hit("3", b"b" * 32)
    tokens = {item.item_id: service.tokens(item) for item in (one, same, other)}
    sealed = {item.item_id: service.seal(item, b"") for item in (one, same, other)}

    def named(candidate: str, token: str) -> bytes:
        found = sealed[candidate]
        return service.pair_id(found.context, found.candidate_id, tokens[token].pair)

    assert tokens["1"].pair_id == tokens["2"].pair_id != tokens["3"].pair_id
    assert named("1", "1") == tokens["1"].pair_id
    assert named("3", "3") == tokens["3"].pair_id
    assert named("3", "1") not in {one.pair_id for one in tokens.values()}


@pytest.mark.parametrize("left", [1, 100, -1])
def test_a_line_that_a_crash_has_torn_off_stops_nobody_and_is_cut_off(path, left):
    """Reading goes by it, and the next verdict stands on a line of its own."""
    verdicts = [rulings.confirmed(1).sign(), rejected(2)]
    verdict_file.append(path, verdicts)
    one, two = path.read_bytes().splitlines()
    path.write_bytes(one + b"\n" + two[:left])
    assert verdict_file.read(path, rulings.SIGNERS) == verdicts[:1]
    verdict_file.append(path, verdicts[1:])
    assert path.read_bytes().splitlines() == [one, two]


def test_a_last_line_without_an_end_is_kept_where_it_is_whole(path):
    """An editor may leave it out."""
    verdicts = [rulings.confirmed(1).sign(), rejected(2)]
    verdict_file.append(path, verdicts[:1])
    path.write_bytes(path.read_bytes().rstrip())
    assert verdict_file.read(path, rulings.SIGNERS) == verdicts[:1]
    verdict_file.append(path, verdicts[1:])
    assert verdict_file.read(path, rulings.SIGNERS) == verdicts


def test_two_cannot_add_to_one_file_at_once(path):
    """The second would take the same verdicts again."""
    with (
        verdict_file.locked(path),
        pytest.raises(VerdictFileRefused, match="in use"),
        verdict_file.locked(path),
    ):
        pass
    with verdict_file.locked(path):
        pass


def test_a_sweep_takes_the_payload_out_of_an_old_verdict_alone(path):
    """Its number and signatures stay; nothing else is touched."""
    old, young = rulings.confirmed(1), replace(rulings.confirmed(2), sequence=2)
    young = replace(young, decided_at=old.decided_at + 86_400)
    verdicts = [old.sign(), young.sign(), rejected(3)]
    verdict_file.append(path, verdicts)
    now = dt.datetime.fromtimestamp(old.decided_at, dt.UTC) + dt.timedelta(days=366)
    assert verdict_file.sweep(path, rulings.SIGNERS, now) == 1
    assert verdict_file.read(path, rulings.SIGNERS) == [
        replace(verdicts[0], payload=b""), *verdicts[1:],
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600
    assert verdict_file.sweep(path, rulings.SIGNERS, now) == 0
