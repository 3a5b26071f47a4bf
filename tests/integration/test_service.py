"""The verification service over mutual TLS: roles, faults, idempotency, the two-hit rule."""

from __future__ import annotations

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from support import world as worlds

from pipeline import keys, vouchers
from pipeline.desk.client import VaultClient, VerdictsClient
from pipeline.emit import Emitter
from pipeline.errors import KeysRefused, VerificationRefused, VerificationUnreachable
from pipeline.rpc import candidates
from pipeline.rpc.server import CannotListen
from pipeline.rpc.sluis.vault.v1 import reidentification_service_pb2
from pipeline.rpc.sluis.vault.v1.reidentification_service_pb2_grpc import (
    ReidentificationServiceStub,
)
from pipeline.rpc.sluis.verification.v1 import (
    candidate_pb2,
    candidate_service_pb2,
    review_service_pb2,
    verdict_service_pb2,
)
from pipeline.rpc.sluis.verification.v1.candidate_service_pb2_grpc import CandidateServiceStub
from pipeline.rpc.sluis.verification.v1.review_service_pb2_grpc import ReviewServiceStub
from pipeline.rpc.sluis.verification.v1.verdict_service_pb2_grpc import VerdictServiceStub
from pipeline.vault import service as vault_service
from pipeline.verdicts import CONFIRMED, Subject, Verdict
from pipeline.verification import checkpoints, service
from pipeline.verification.review import Reviewer

ACCEPTED = candidate_service_pb2.SUBMIT_OUTCOME_ACCEPTED
DUPLICATE = candidate_service_pb2.SUBMIT_OUTCOME_DUPLICATE
REJECTED = candidate_service_pb2.SUBMIT_OUTCOME_REJECTED


def sealed(
    world: worlds.World,
    item: str,
    *,
    at_once: bool = True,
    account: str = "someone",
    indicator: bytes = b"i",
    group_by: str = "account",
) -> candidate_pb2.Candidate:
    """A candidate as the scan seals it."""
    keyring = keys.LocalKeyService(world.keys / "provider", worlds.REFERENCE, group_by)
    hit = keys.Sealable(
        item_id=item, account_id=account, content=item.encode().ljust(32), indicator=indicator,
        hit_day=20_600, released_at_once=at_once,
    )  # fmt: skip
    payload = candidate_pb2.CandidatePayload(
        set_id="known", indicator_id="cat", content_token=keyring.tokens(hit).content
    )
    done = keyring.seal(hit, payload.SerializeToString())
    return candidates.to_message(
        done.candidate_id, done.context, done.hit_day, done.verifier_key_id, done.seal
    )


@pytest.fixture
def verification(world: worlds.World, where: str):
    """A running service with an empty store, on either database; its address."""
    with worlds.verification(world, where) as address:
        yield address


@pytest.fixture
def emitter(world: worlds.World, verification: str):
    """A connection of the scan."""
    made = Emitter(verification, world.keys / "provider")
    yield made
    made.close()


def test_a_candidate_travels_from_seal_to_an_opened_payload(world, verification, emitter):
    """What the scan seals, a reviewer can open, and nothing else is readable on the way."""
    candidate = sealed(world, "holiday.jpg")
    assert [r.outcome for r in emitter.send([candidate])] == [ACCEPTED]
    with worlds.reviewer(world, verification) as reviewer:
        (item,) = list(reviewer.list(review_service_pb2.CANDIDATE_STATE_RELEASED))
        payload = reviewer.open(item.candidate)
    assert payload.set_id == "known"
    assert item.state == review_service_pb2.CANDIDATE_STATE_RELEASED
    for name in (b"holiday", b"someone", b"known", b"cat"):
        assert name not in item.SerializeToString()


def test_a_repeat_is_a_duplicate_and_adds_nothing(world, verification, emitter):
    """The candidate's id makes repeats harmless, also inside one call."""
    candidate = sealed(world, "a")
    again = sealed(world, "a")
    assert candidate.candidate_id == again.candidate_id
    assert candidate.direct.ciphertext != again.direct.ciphertext
    outcomes = [r.outcome for r in emitter.send([candidate, again, sealed(world, "b")])]
    assert outcomes == [ACCEPTED, DUPLICATE, ACCEPTED]
    assert [r.outcome for r in emitter.send([again])] == [DUPLICATE]
    with worlds.reviewer(world, verification) as reviewer:
        items = list(reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED))
    assert len(items) == 2
    assert items[0].candidate == candidate


def test_each_faulty_candidate_is_rejected_by_name_and_the_others_are_kept(world, emitter):
    """A fault of one candidate stands in its result and stops no other."""
    good = sealed(world, "good")
    short_id = sealed(world, "short")
    short_id.candidate_id = b"short"
    no_seal = sealed(world, "none")
    no_seal.ClearField("direct")
    wrong_size = sealed(world, "size")
    wrong_size.direct.ciphertext += b"x"
    other_key = sealed(world, "key")
    other_key.verifier_key_id = "0" * 16
    policy = sealed(world, "policy")
    policy.context.policy_id = b"p" * 16
    results = emitter.send([short_id, no_seal, wrong_size, good, other_key, policy])
    reasons = [
        candidate_service_pb2.RejectReason.Name(r.reject_reason).removeprefix("REJECT_REASON_")
        for r in results
    ]
    assert reasons == [
        "MALFORMED", "MALFORMED", "MALFORMED", "UNSPECIFIED", "KEY_UNKNOWN", "POLICY_MISMATCH",
    ]  # fmt: skip
    assert [r.outcome for r in results] == [REJECTED] * 3 + [ACCEPTED] + [REJECTED] * 2


def test_more_candidates_than_a_call_may_hold_are_refused(world, verification):
    """The service bounds a call; the emitter itself splits long lists."""
    channel = grpc.secure_channel(
        verification, keys.identity(world.keys / "provider").channel_credentials()
    )
    request = candidate_service_pb2.SubmitCandidatesRequest(
        candidates=[candidate_pb2.Candidate()] * 1_001
    )
    with pytest.raises(grpc.RpcError) as refused:
        CandidateServiceStub(channel).SubmitCandidates(request, timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    channel.close()


def test_the_emitter_splits_long_lists_and_keeps_their_order(world, emitter):
    """Results come back in the order of the candidates, whatever the number of calls."""
    many = [sealed(world, f"item-{n % 700}") for n in range(1_100)]
    results = emitter.send(many)
    assert [r.candidate_id for r in results] == [c.candidate_id for c in many]
    assert [r.outcome for r in results] == [ACCEPTED] * 700 + [DUPLICATE] * 400


def call(party: Path, address: str, method: str) -> grpc.StatusCode:
    """The status of a call made with a party's certificate."""
    channel = grpc.secure_channel(address, keys.identity(party).channel_credentials())
    review, verdict = ReviewServiceStub(channel), VerdictServiceStub(channel)
    requests = {
        "submit": lambda: CandidateServiceStub(channel).SubmitCandidates(
            candidate_service_pb2.SubmitCandidatesRequest(), timeout=10
        ),
        "list": lambda: review.ListCandidates(
            review_service_pb2.ListCandidatesRequest(), timeout=10
        ),
        "get": lambda: review.GetCandidate(review_service_pb2.GetCandidateRequest(), timeout=10),
        "decide": lambda: review.RecordDecision(
            review_service_pb2.RecordDecisionRequest(), timeout=10
        ),
        "explain": lambda: review.ExplainCandidate(
            review_service_pb2.ExplainCandidateRequest(), timeout=10
        ),
        "verdicts": lambda: verdict.ListVerdicts(
            verdict_service_pb2.ListVerdictsRequest(), timeout=10
        ),
        "watch": lambda: next(
            verdict.WatchVerdicts(verdict_service_pb2.WatchVerdictsRequest(), timeout=10)
        ),
        "progress": lambda: verdict.RecordProgress(
            verdict_service_pb2.RecordProgressRequest(), timeout=10
        ),
        "reidentify": lambda: ReidentificationServiceStub(channel).Reidentify(
            reidentification_service_pb2.ReidentifyRequest(), timeout=10
        ),
    }
    try:
        requests[method]()
    except grpc.RpcError as error:
        return error.code()
    finally:
        channel.close()
    return grpc.StatusCode.OK


OWN = {
    "submit": "provider", "list": "reviewer-1", "get": "reviewer-1", "decide": "reviewer-1",
    "explain": "reviewer-1", "verdicts": "desk", "watch": "desk", "progress": "desk",
}  # fmt: skip


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("party", ["provider", "reviewer-1", "desk", "vault", "verification"])
def test_a_role_may_call_its_own_methods_and_no_other(world, verification, party, method):
    """Certificates carry a role; the map of roles denies whatever it does not name."""
    status = call(world.keys / party, verification, method)
    denied = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE}
    if OWN[method] == party:
        assert status not in denied
    elif party in {"verification", "vault"}:  # a server certificate is not even good for a client
        assert status in denied
    else:
        assert status == grpc.StatusCode.PERMISSION_DENIED


def test_only_roles_that_can_be_clients_are_let_in():
    """A service's certificate is for servers alone: allowing its role would allow nobody."""
    roles = set().union(*service.ALLOWED.values(), *vault_service.ALLOWED.values())
    assert roles == {"emitter", "reviewer", "report_desk"}


def test_a_method_of_another_service_is_not_served(world, verification):
    """Verification has no vault in it."""
    assert call(world.keys / "desk", verification, "reidentify") == grpc.StatusCode.UNIMPLEMENTED


def test_nobody_gets_in_without_a_certificate_of_this_authority(world, verification, tmp_path):
    """Neither plain text, nor TLS without a certificate, nor one of another authority."""
    keys.make(tmp_path / "others", hosts=["localhost"], reviewers=1, now=worlds.real_now())
    foreign = tmp_path / "others" / "provider"
    shutil.copy(world.keys / "provider" / "ca.pem", foreign / "ca.pem")
    assert call(foreign, verification, "submit") == grpc.StatusCode.UNAVAILABLE
    trusting = grpc.ssl_channel_credentials((world.keys / "provider" / "ca.pem").read_bytes())
    for channel in (
        grpc.secure_channel(verification, trusting),
        grpc.insecure_channel(verification),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            CandidateServiceStub(channel).SubmitCandidates(
                candidate_service_pb2.SubmitCandidatesRequest(), timeout=10
            )
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        channel.close()


class Everything(grpc.GenericRpcHandler):
    """Answers every call with an empty message, and remembers the methods it was called by."""

    def __init__(self) -> None:
        """Nobody has called."""
        self.called: list[str] = []

    def service(self, handler_call_details):
        """Note the method and answer."""
        self.called.append(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


def test_a_party_that_is_not_the_service_gets_nothing_from_its_clients(world):
    """The vault's certificate names the same hosts as verification's, and the other way round.

    A vault that reviewers took for verification would get opened payloads without any verdict.
    """
    handler = Everything()
    servers, address = [], {}
    for party in ("vault", "verification"):
        server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
        credentials = keys.identity(world.keys / party).server_credentials()
        address[party] = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        server.start()
        servers.append(server)

    def clients(verification: str, vault: str):
        emitter = Emitter(verification, world.keys / "provider")
        reviewer = Reviewer(verification, world.keys / "reviewer-1")
        verdicts = VerdictsClient(verification, world.keys / "desk")
        identities = VaultClient(vault, world.keys / "desk")
        verdict = Verdict(
            subject=Subject(vouchers.Context(b"o" * 16, 0, 1, b"p" * 16), 20_600, b"c" * 16),
            sequence=1, value=CONFIRMED, decided_at=0, decisions=(), payload=b"", signature=b"",
        )  # fmt: skip
        yield emitter, lambda: emitter.send([sealed(world, "a")])
        yield reviewer, lambda: reviewer.get(b"c" * 16)
        yield verdicts, lambda: list(verdicts.list(b"o" * 16, 0))
        yield identities, lambda: identities.reidentify(verdict)

    for client, ask in clients(address["vault"], address["verification"]):
        with pytest.raises(VerificationUnreachable, match="not another service's"):
            ask()
        client.close()
    with pytest.raises(VerificationUnreachable):
        checkpoints.fetch(address["vault"], world.keys / "provider")
    assert handler.called == []
    for client, ask in clients(address["verification"], address["vault"]):
        with contextlib.suppress(VerificationRefused):  # an empty answer is not what was asked for
            ask()
        client.close()
    assert len(handler.called) == 4
    for server in servers:
        server.stop(None)


def test_a_seal_for_another_reviewer_key_does_not_open(world, verification, emitter, tmp_path):
    """Whoever lacks the verifier's private key learns nothing from a released candidate."""
    emitter.send([sealed(world, "a")])
    keys.make(tmp_path / "others", hosts=["localhost"], reviewers=1, now=worlds.real_now())
    mixed = tmp_path / "mixed"
    shutil.copytree(world.keys / "reviewer-1", mixed)
    shutil.copy(tmp_path / "others" / "reviewer-1" / "verifier.key", mixed / "verifier.key")
    with worlds.reviewer(world, verification) as right:
        (item,) = list(right.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED))
    from pipeline.errors import SluisError

    wrong = Reviewer(verification, mixed)
    with pytest.raises(SluisError, match="does not open"):
        wrong.open(item.candidate)
    wrong.close()


def test_candidates_outlive_a_restart(world, where):
    """What was acknowledged is there after the service has stopped and started."""
    candidate = sealed(world, "a")
    with worlds.verification(world, where) as address:
        made = Emitter(address, world.keys / "provider")
        made.send([candidate])
        made.close()
    with worlds.verification(world, where) as address:
        with worlds.reviewer(world, address) as reviewer:
            assert reviewer.get(candidate.candidate_id).candidate == candidate
        made = Emitter(address, world.keys / "provider")
        assert [r.outcome for r in made.send([candidate])] == [DUPLICATE]
        made.close()


def test_the_health_check_tells_serving_from_unreachable(world, verification, emitter):
    """A scan asks first whether verification is there, and says what to look at if not."""
    emitter.check()
    nobody = Emitter("127.0.0.1:9", world.keys / "provider")
    with pytest.raises(VerificationUnreachable, match=r"127\.0\.0\.1:9 cannot be reached"):
        nobody.check()
    nobody.close()


def test_a_second_service_on_the_same_port_fails(world, verification, tmp_path):
    """Two services would split the candidates between two stores."""
    with (
        pytest.raises(CannotListen, match="is the port taken"),
        worlds.verification(world, tmp_path / "second.sqlite3", verification),
    ):
        pass


def test_a_key_readable_by_others_is_refused(world, tmp_path):
    """TLS keys are checked like every other key."""
    copy = tmp_path / "loose"
    shutil.copytree(world.keys / "provider", copy)
    (copy / "tls.key").chmod(0o644)
    with pytest.raises(KeysRefused, match="chmod 600"):
        Emitter("127.0.0.1:1", copy)


def test_every_sealed_candidate_has_the_same_size(world):
    """A candidate's size says nothing about item, account or indicator."""
    sizes = {len(sealed(world, item).direct.ciphertext) for item in ("a", "b" * 1_024, "é" * 300)}
    assert sizes == {vouchers.SEALED_BYTES}


# --- the two-hit rule over the wire -----------------------------------------------------------


def waiting(world: worlds.World, content: str, indicator: bytes, account: str = "someone"):
    """A candidate on new material."""
    return sealed(world, content, at_once=False, account=account, indicator=indicator)


def seen(world: worlds.World, address: str) -> list[review_service_pb2.ReviewItem]:
    """All that a reviewer can list."""
    with worlds.reviewer(world, address) as reviewer:
        return list(reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED))


def test_a_single_hit_on_new_material_is_seen_by_nobody(world, verification, emitter):
    """It is kept, and neither listed, nor served by id, nor decided; repeats change nothing."""
    one = waiting(world, "a", b"1")
    outcomes = [r.outcome for r in emitter.send([one, waiting(world, "a", b"1")])]
    assert outcomes == [ACCEPTED, DUPLICATE]
    assert not seen(world, verification)
    with worlds.reviewer(world, verification) as reviewer:
        with pytest.raises(VerificationRefused, match="no such candidate"):
            reviewer.get(one.candidate_id)
        with pytest.raises(VerificationRefused, match="no such candidate"):
            reviewer.decide(one.candidate_id, "confirmed", "")


def test_a_second_distinct_hit_opens_both_and_a_third_joins_them(world, verification, emitter):
    """Released together, under one random reference that is not the group's tag."""
    hits = [waiting(world, "a", b"1"), waiting(world, "b", b"2"), waiting(world, "c", b"1")]
    emitter.send(hits[:1])
    emitter.send(hits[1:2])
    assert len(seen(world, verification)) == 2
    emitter.send(hits[2:])
    items = seen(world, verification)
    assert {item.candidate.candidate_id for item in items} == {h.candidate_id for h in hits}
    (reference,) = {item.group_ref for item in items}
    assert len(reference) == 16
    with worlds.reviewer(world, verification) as reviewer:
        for item in items:
            assert item.state == review_service_pb2.CANDIDATE_STATE_RELEASED
            assert hits[0].threshold.group_tag not in item.SerializeToString()
            assert reviewer.open(item.candidate).indicator_id == "cat"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a", b"1", "x"), ("a", b"2", "x")),
        (("a", b"1", "x"), ("b", b"1", "x")),
        (("a", b"1", "x"), ("b", b"2", "y")),
    ],
    ids=["same content", "same indicator", "another account"],
)
def test_hits_that_are_not_distinct_or_not_of_one_account_open_nothing(
    world, verification, emitter, one, two
):
    """Two hits count only if they differ in content and in indicator, within one account."""
    outcomes = [r.outcome for r in emitter.send([waiting(world, *one), waiting(world, *two)])]
    assert outcomes == [ACCEPTED, ACCEPTED]
    assert not seen(world, verification)


def test_an_account_with_an_open_group_does_not_open_another_accounts_hit(
    world, verification, emitter
):
    """What is open stays within its group."""
    other = waiting(world, "z", b"9", "lonely")
    emitter.send([other, waiting(world, "a", b"1"), waiting(world, "b", b"2")])
    assert other.candidate_id not in {i.candidate.candidate_id for i in seen(world, verification)}


def test_a_share_that_contradicts_another_is_put_aside(world, verification, emitter):
    """Same x, other y: both are quarantined by name, and the honest ones still open."""
    first = waiting(world, "a", b"1")
    forged = waiting(world, "a", b"2")  # same content: same x in that stream
    forged.threshold.shares[0].y = bytes(31) + b"\x07"
    results = emitter.send([first, forged])
    conflict = candidate_service_pb2.REJECT_REASON_SHARE_CONFLICT
    assert [(r.outcome, r.reject_reason) for r in results] == [(REJECTED, conflict)] * 2
    emitter.send([waiting(world, "b", b"2")])
    assert len(seen(world, verification)) == 2


def test_a_damaged_candidate_opens_nothing_and_stops_no_other(world, verification, emitter):
    """One good and one damaged share open nothing; a second good one opens the good ones."""
    damaged = waiting(world, "a", b"1")
    damaged.threshold.shares[1].y = bytes(31) + b"\x07"
    flipped = waiting(world, "d", b"4")
    flipped.threshold.ciphertext = flipped.threshold.ciphertext[:-1] + b"\0"
    emitter.send([damaged, waiting(world, "b", b"2")])
    assert not seen(world, verification)
    emitter.send([waiting(world, "c", b"3"), flipped])
    ids = {item.candidate.candidate_id for item in seen(world, verification)}
    assert ids == {waiting(world, "b", b"2").candidate_id, waiting(world, "c", b"3").candidate_id}


def malformed(  # noqa: C901 - a table of ways
    change: str, candidate: candidate_pb2.Candidate
) -> candidate_pb2.Candidate:
    """One way to break a threshold seal's form."""
    seal = candidate.threshold
    over = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "big")
    match change:
        case "x is zero":
            seal.shares[0].x = bytes(32)
        case "x beyond the field":
            seal.shares[0].x = over
        case "y beyond the field":
            seal.shares[1].y = over
        case "short x":
            seal.shares[0].x = seal.shares[0].x[1:]
        case "a stream twice":
            seal.shares[1].stream = seal.shares[0].stream
        case "a stream missing":
            del seal.shares[1]
        case "a stream unknown":
            seal.shares[0].stream = 0
        case "short tag":
            seal.group_tag = seal.group_tag[1:]
        case "short nonce":
            seal.nonce = seal.nonce[1:]
        case "short ciphertext":
            seal.ciphertext = seal.ciphertext[1:]
    return candidate


@pytest.mark.parametrize(
    "change",
    ["x is zero", "x beyond the field", "y beyond the field", "short x", "a stream twice",
     "a stream missing", "a stream unknown", "short tag", "short nonce", "short ciphertext"],
)  # fmt: skip
def test_a_malformed_threshold_seal_is_refused_by_name(world, emitter, change):
    """Nothing outside the field, of another length or in the wrong streams is kept."""
    (result,) = emitter.send([malformed(change, waiting(world, "a", b"1"))])
    assert result.outcome == REJECTED
    assert result.reject_reason == candidate_service_pb2.REJECT_REASON_MALFORMED


def test_held_candidates_outlive_a_restart_and_open_afterwards(world, where):
    """The first hit may come long before the second."""
    for number, hit in enumerate((waiting(world, "a", b"1"), waiting(world, "b", b"2"))):
        with worlds.verification(world, where) as address:
            made = Emitter(address, world.keys / "provider")
            made.send([hit])
            made.close()
            assert len(seen(world, address)) == 2 * number


def test_grouped_by_material_two_accounts_with_distinct_files_open(world, where):
    """Then the group is the listed material: one account alone, or one file twice, opens nothing."""

    def hit(content: str, account: str, indicator: bytes = b"1") -> candidate_pb2.Candidate:
        return sealed(world, content, at_once=False, account=account, indicator=indicator,
                      group_by="material")  # fmt: skip

    orders = [worlds.make_order(group_hits_by="material")]
    with worlds.verification(world, where, orders=orders) as address:
        emitter = Emitter(address, world.keys / "provider")
        emitter.send([hit("a", "x"), hit("b", "x"), hit("a", "y"), hit("c", "y", b"2")])
        assert len(seen(world, address)) == 3  # b of x and a of y differ in both; a of x joins
        emitter.send([hit("q", "x", b"3"), hit("r", "x", b"3"), hit("q", "y", b"4")])
        assert len(seen(world, address)) == 3
        emitter.close()


def test_a_notice_releases_a_hit_that_was_held_before(world, verification, emitter):
    """A user's notice may come after the first scan; the next scan then releases that hit alone."""
    held, other = waiting(world, "a", b"1"), waiting(world, "z", b"9", "lonely")
    notified = sealed(world, "a", indicator=b"1")
    assert notified.candidate_id == held.candidate_id
    outcomes = [r.outcome for r in emitter.send([held, other])]
    outcomes += [emitter.send([one])[0].outcome for one in (notified, notified, held)]
    assert outcomes == [ACCEPTED, ACCEPTED, ACCEPTED, DUPLICATE, DUPLICATE]
    (item,) = seen(world, verification)
    assert item.candidate == notified


def test_the_sequence_of_released_candidates_betrays_no_held_one(world, verification, emitter):
    """Sequences have no gaps, and a group released late comes after what a reviewer has seen."""
    emitter.send([waiting(world, "a", b"1"), sealed(world, "b"), waiting(world, "q", b"1", "w")])
    emitter.send([sealed(world, "c")])
    assert [item.sequence for item in seen(world, verification)] == [1, 2]
    emitter.send([waiting(world, "d", b"2")])
    items = seen(world, verification)
    assert [item.sequence for item in items] == [1, 2, 3, 4]
    assert all(item.group_ref for item in items[2:])
