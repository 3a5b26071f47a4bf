"""The file of verdicts: what desk and scan act upon is what service and reviewers have said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import rulings

from pipeline import verdict_file
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verdict_file import VerdictFileRefused
from pipeline.verdicts import REJECTED, Verdict


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
