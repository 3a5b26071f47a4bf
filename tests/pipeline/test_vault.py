"""The vault: opens for a confirmed verdict and nothing else, once, and enters every act."""

from __future__ import annotations

import datetime as dt
import json
import os
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from support import rulings
from support.settings import SEEDED

from pipeline import identity, vouchers
from pipeline.errors import KeysRefused
from pipeline.rpc import verdicts as wire
from pipeline.rpc.candidates import Malformed
from pipeline.rpc.sluis.vault.v1 import reidentification_service_pb2 as vault_pb2
from pipeline.rpc.sluis.verification.v1 import verdict_pb2
from pipeline.vault.opening import Trust
from pipeline.vault.register import Act, Register, RegisterRefused
from pipeline.vault.service import Vault
from pipeline.verdicts import REJECTED, Verdict, sign_verdict

CALLER = "spiffe://sluis/report_desk/desk"
HANDED_OVER = vault_pb2.REIDENTIFY_OUTCOME_HANDED_OVER
REPEATED = vault_pb2.REIDENTIFY_OUTCOME_REPEATED
REFUSED = vault_pb2.REIDENTIFY_OUTCOME_REFUSED
TRUST = Trust(rulings.SERVICE.public_key(), rulings.PUBLIC, {rulings.ORDER_ID: rulings.POLICY_ID})


@dataclass
class Opened:
    """A vault with its folders."""

    folder: Path
    register: Register
    vault: Vault

    def ask(self, verdict: Verdict | verdict_pb2.Verdict) -> tuple[int, str]:
        """Ask the vault: the outcome, and the refusal's name."""
        message = verdict if isinstance(verdict, verdict_pb2.Verdict) else wire.to_message(verdict)
        answer = self.vault.reidentify(message, CALLER)
        return answer.outcome, vault_pb2.Refusal.Name(answer.refusal).removeprefix("REFUSAL_")

    @property
    def files(self) -> list[str]:
        """What lies in the report desk's folder."""
        return sorted(path.name for path in (self.folder / "desk").iterdir())

    @property
    def acts(self) -> list[str]:
        """What the register holds, in order."""
        return [
            f"{act}: {refusal}".rstrip(": ") for _, _, _, act, refusal, *_ in self.register.acts()
        ]


def opened(
    folder: Path, trust: Trust = TRUST, clock: Callable[[], float] = lambda: 1_800_000_200
) -> Opened:
    """A vault in a folder."""
    (folder / "desk").mkdir()
    register = Register(folder / "register.sqlite3")
    made = Vault(trust, rulings.TOKEN_KEY, register, folder / "desk", clock)
    return Opened(folder, register, made)


@pytest.fixture
def vault(tmp_path):
    """A vault that serves one order."""
    made = opened(tmp_path)
    yield made
    made.register.close()


def test_a_confirmed_verdict_puts_the_identity_into_the_desks_folder(vault):
    """The caller learns one word; item and account lie in a file only its owner can read."""
    verdict = rulings.confirmed().sign()
    assert vault.ask(verdict) == (HANDED_OVER, "UNSPECIFIED")
    (name,) = vault.files
    path = vault.folder / "desk" / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = identity.read(path.parent, verdict.subject.candidate_id.hex())
    assert (found.item_id, found.account_id) == ("item-1", "account-1")
    assert found.verdict_sequence == 1
    assert found.handed_over_at == dt.datetime.fromtimestamp(1_800_000_200, dt.UTC)
    assert vault.acts == ["opening", "handed_over"]


@pytest.mark.parametrize(("days", "refusal"), [(365, "UNSPECIFIED"), (366, "EXPIRED")])
def test_a_verdict_is_acted_upon_for_twelve_months(vault, days, refusal):
    """What verification has erased by then is not opened from a copy of the report desk's."""
    old = replace(rulings.confirmed(), decided_at=1_800_000_200 - days * 86_400).sign()
    assert vault.ask(old)[1] == refusal
    assert len(vault.files) == (refusal == "UNSPECIFIED")
    assert vault.acts[-1] == ("refused: expired" if refusal == "EXPIRED" else "handed_over")


def test_an_item_without_an_account_has_an_identity_without_one(vault):
    """Then only the item is named."""
    vault.ask(rulings.confirmed(account=None).sign())
    assert json.loads((vault.folder / "desk" / vault.files[0]).read_text())["account_id"] is None


def test_the_same_verdict_again_writes_nothing(vault):
    """A lost answer may be asked for again; a second file must not come of it."""
    verdict = rulings.confirmed().sign()
    vault.ask(verdict)
    path = vault.folder / "desk" / vault.files[0]
    path.unlink()  # the desk has taken it
    assert vault.ask(verdict) == (REPEATED, "UNSPECIFIED")
    assert vault.files == []
    assert vault.acts == ["opening", "handed_over", "repeated"]


def test_a_second_verdict_on_a_candidate_is_refused(vault):
    """There is one verdict on a candidate; another one, however well signed, is looked into."""
    vault.ask(rulings.confirmed().sign())
    again = replace(rulings.confirmed(), sequence=2).sign()
    assert vault.ask(again) == (REFUSED, "SECOND_VERDICT")
    assert len(vault.files) == 1


def test_after_a_crash_between_file_and_entry_another_verdict_is_refused(vault, monkeypatch):
    """The file may have been read by then. The same verdict goes on where it ended."""
    verdict = rulings.confirmed().sign()
    append = vault.register.append

    def until_full(act: Act, **values: Any) -> None:
        if act == Act.HANDED_OVER:
            raise OSError("disk full")
        append(act, **values)

    monkeypatch.setattr(vault.register, "append", until_full)
    with pytest.raises(OSError, match="disk full"):
        vault.ask(verdict)
    monkeypatch.undo()
    assert len(vault.files) == 1
    again = replace(rulings.confirmed(), sequence=2).sign()
    assert vault.ask(again) == (REFUSED, "SECOND_VERDICT")
    assert vault.ask(verdict)[0] == HANDED_OVER
    assert vault.acts == ["opening", "refused: second_verdict", "opening", "handed_over"]


def rejected() -> Verdict:
    """A signed rejection."""
    about = rulings.subject()
    ruling = rulings.decision(0, about, rulings.payload(about), REJECTED)
    return rulings.Ruling(about, (ruling,), b"", REJECTED).sign()


def of_context(context: vouchers.Context) -> Verdict:
    """A verdict under another order or policy, right in itself."""
    about = rulings.subject(1, context)
    paper = rulings.payload(about)
    decisions = tuple(rulings.decision(n, about, paper) for n in (0, 1))
    return rulings.Ruling(about, decisions, paper).sign()


def with_tokens_of_another() -> Verdict:
    """Two reviewers and the service conspire: a verdict on one candidate with another's tokens."""
    about = rulings.subject(1)
    paper = rulings.payload(rulings.subject(2))
    decisions = tuple(rulings.decision(n, about, paper) for n in (0, 1))
    return rulings.Ruling(about, decisions, paper).sign()


def no_payload() -> Verdict:
    """Two reviewers commit to what is no payload."""
    about, paper = rulings.subject(1), b"\xff\xff"
    decisions = tuple(rulings.decision(n, about, paper) for n in (0, 1))
    return rulings.Ruling(about, decisions, paper).sign()


BAD: dict[str, tuple[Callable[[], Verdict], str]] = {
    "rejected": (rejected, "NOT_CONFIRMED"),
    "single-reviewer": (
        lambda: replace(
            rulings.confirmed(), decisions=rulings.confirmed().decisions[:1]
        ).sign(),
        "REVIEWERS",
    ),
    "one reviewer twice": (
        lambda: replace(
            rulings.confirmed(), decisions=(rulings.confirmed().decisions[0],) * 2
        ).sign(),
        "REVIEWERS",
    ),
    "signed by a stranger": (
        lambda: rulings.confirmed().sign(Ed25519PrivateKey.generate()), "SIGNATURE",
    ),
    "another order": (
        lambda: of_context(replace(rulings.CONTEXT, order_id=b"o" * 16)), "ORDER",
    ),
    "a weaker policy": (
        lambda: of_context(replace(rulings.CONTEXT, policy_id=vouchers.Policy(k=1).policy_id)),
        "ORDER",
    ),
    "the payload of another candidate": (
        lambda: replace(rulings.confirmed(), payload=rulings.confirmed(2).payload).sign(),
        "PAYLOAD",
    ),
    "tokens of another candidate": (with_tokens_of_another, "TOKEN"),
    "no payload at all": (no_payload, "PAYLOAD"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_a_valid_verdict_opens_nothing_and_is_refused_by_name(vault, what):
    """Each has its name, leaves the desk's folder empty, and is entered."""
    make, refusal = BAD[what]
    assert vault.ask(make()) == (REFUSED, refusal)
    assert vault.files == []
    assert vault.acts[-1] == f"refused: {refusal.lower()}"
    assert vault.ask(rulings.confirmed().sign())[0] == HANDED_OVER


def test_tokens_of_another_order_do_not_open(tmp_path):
    """Also in a vault that serves both orders: a token is bound to its own."""
    other = replace(rulings.CONTEXT, order_id=b"o" * 16)
    policies = {rulings.ORDER_ID: rulings.POLICY_ID, other.order_id: rulings.POLICY_ID}
    made = opened(tmp_path, Trust(TRUST.verdict_key, TRUST.reviewers, policies))
    about = rulings.subject(1, other)
    paper = rulings.payload(rulings.subject(1))
    decisions = tuple(rulings.decision(n, about, paper) for n in (0, 1))
    assert made.ask(rulings.Ruling(about, decisions, paper).sign()) == (REFUSED, "TOKEN")
    made.register.close()


# --- property 14: any single field changed is refused -----------------------------------------

Change = Callable[[verdict_pb2.Verdict], None]


def changes(message: Message, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every place in a message where something can be changed, with its value there."""
    places: list[tuple[tuple[Any, ...], Any]] = []
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            for number, one in enumerate(value):
                places += changes(one, (*path, field.name, number))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            places += changes(value, (*path, field.name))
        else:
            places.append(((*path, field.name), value))
    return places


def changed(message: verdict_pb2.Verdict, path: tuple[Any, ...], value: Any) -> verdict_pb2.Verdict:
    """A copy with another value at a place."""
    copy = verdict_pb2.Verdict()
    copy.CopyFrom(message)
    inner: Any = copy
    for step in path[:-1]:
        inner = inner[step] if isinstance(step, int) else getattr(inner, step)
    setattr(inner, path[-1], value)
    return copy


GOOD = wire.to_message(rulings.confirmed().sign())
PLACES = changes(GOOD)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """One vault for many questions."""
    made = opened(tmp_path_factory.mktemp("asked"))
    yield made
    made.register.close()


def another(draw: st.DrawFn, value: Any) -> Any:
    """A value of the same type that is not this one: a flipped bit, or anything else."""
    match value:
        case bytes() if value and draw(st.booleans()):
            bit = draw(st.integers(0, 8 * len(value) - 1))
            flipped = bytearray(value)
            flipped[bit // 8] ^= 1 << bit % 8
            return bytes(flipped)
        case bytes():
            return draw(st.binary(max_size=80).filter(lambda other: other != value))
        case str():
            return draw(st.text(max_size=40).filter(lambda other: other != value))
        case _:
            return draw(st.integers(0, 2**31 - 1).filter(lambda other: other != value))


@SEEDED.__class__(parent=SEEDED, max_examples=400)
@given(st.data())
def test_any_single_field_changed_is_refused(asked, data):
    """Property 14: whatever is changed, the vault refuses and nothing comes into the folder."""
    path, value = data.draw(st.sampled_from(PLACES))
    altered = changed(GOOD, path, data.draw(st.composite(another)(value)))
    outcome, refusal = asked.ask(altered)
    assert outcome == REFUSED
    assert refusal != "UNSPECIFIED"
    assert asked.files == []


OF_THE_SERVICE = {"sequence", "verdict_time", "decide_time"}
"""What the service itself says in a verdict; everything else is the reviewers' or the provider's."""


@SEEDED.__class__(parent=SEEDED, max_examples=300)
@given(st.data())
def test_what_the_service_alone_changes_and_signs_again_is_refused(asked, data):
    """With its own key the service still cannot put words into two reviewers' mouths."""
    places = [
        (path, value)
        for path, value in PLACES
        if path != ("signature",) and not OF_THE_SERVICE.intersection(path)
    ]
    path, value = data.draw(st.sampled_from(places))
    altered = changed(GOOD, path, data.draw(st.composite(another)(value)))
    try:
        signed = sign_verdict(rulings.SERVICE, wire.from_message(altered))
    except Malformed:
        return  # then there is nothing to sign
    assert asked.ask(signed)[0] == REFUSED
    assert asked.files == []


def test_every_field_of_a_verdict_is_among_those_changed():
    """The property above leaves no field out: 6 of a decision, the context, and the rest."""
    names = {"/".join(str(step) for step in path) for path, _ in PLACES}
    for number in (0, 1):
        for field in ("value", "reviewer_id", "payload_digest", "pair_id", "reason", "signature"):
            assert f"decisions/{number}/{field}" in names
        assert f"decisions/{number}/decide_time/seconds" in names
    for field in ("order_id", "epoch", "key_version", "policy_id", "hit_day"):
        assert f"context/{field}" in names
    for field in ("sequence", "candidate_id", "value", "payload", "signature"):
        assert field in names


def test_parts_of_a_verdict_left_out_swapped_or_doubled_are_refused(asked):
    """Decisions dropped, repeated or in another order, messages cleared."""
    for field in GOOD.DESCRIPTOR.fields:
        copy = verdict_pb2.Verdict()
        copy.CopyFrom(GOOD)
        copy.ClearField(field.name)
        assert asked.ask(copy)[0] == REFUSED
    for picked in ((0,), (1,), (1, 0), (0, 0), (0, 1, 0)):
        copy = verdict_pb2.Verdict()
        copy.CopyFrom(GOOD)
        del copy.decisions[:]
        copy.decisions.extend(GOOD.decisions[n] for n in picked)
        assert asked.ask(copy)[0] == REFUSED
    assert asked.ask(verdict_pb2.Verdict())[0] == REFUSED
    assert asked.files == []


# --- the register -----------------------------------------------------------------------------


def test_no_identity_stands_in_the_register(vault):
    """Item and account are in the desk's file alone."""
    vault.ask(rulings.confirmed(account="sentinel-account").sign())
    vault.ask(rejected())
    raw = b"".join(path.read_bytes() for path in vault.folder.glob("register*"))
    assert b"sentinel-account" not in raw
    assert b"item-1" not in raw
    assert b"handed_over" in raw


def test_the_opening_is_entered_before_the_token_is_opened(vault, monkeypatch):
    """A vault that dies while it opens has said that it would."""

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.vault.service.identify", dies)
    with pytest.raises(KeyboardInterrupt):
        vault.ask(rulings.confirmed().sign())
    assert vault.acts == ["opening"]
    assert vault.files == []


def test_a_crash_before_the_hand_over_is_entered_loses_nothing(vault, monkeypatch):
    """The same verdict again writes the same file again."""
    verdict = rulings.confirmed().sign()
    with monkeypatch.context() as patched:
        entered = vault.register.append
        patched.setattr(
            vault.register,
            "append",
            lambda act, **rest: (_ for _ in ()).throw(OSError) if act == "handed_over" else entered(act, **rest),
        )  # fmt: skip
        with pytest.raises(OSError):  # noqa: PT011
            vault.ask(verdict)
    assert vault.ask(verdict)[0] == HANDED_OVER
    assert len(vault.files) == 1
    assert vault.acts == ["opening", "opening", "handed_over"]


def test_the_register_outlives_a_restart(tmp_path):
    """A verdict that was acted upon stays so."""
    first = opened(tmp_path)
    verdict = rulings.confirmed().sign()
    first.ask(verdict)
    first.register.close()
    register = Register(tmp_path / "register.sqlite3")
    again = Vault(TRUST, rulings.TOKEN_KEY, register, tmp_path / "desk")
    assert again.reidentify(wire.to_message(verdict), CALLER).outcome == REPEATED
    register.close()


def test_the_register_is_private_and_append_only(vault):
    """The file is its owner's, and the database refuses to change or remove an act."""
    vault.ask(rulings.confirmed().sign())
    path = vault.folder / "register.sqlite3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = sqlite3.connect(path)
    for statement in ("UPDATE act SET caller = 'x'", "DELETE FROM act"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            other.execute(statement)
    other.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE act SET caller = 'x' WHERE sequence = 2",
        "DELETE FROM act WHERE sequence = 2",
        "UPDATE act SET hash = zeroblob(32) WHERE sequence = 2",
    ],
)
def test_a_register_that_was_altered_is_refused(vault, statement):
    """Whoever goes around the triggers breaks the chain, and the vault does not start."""
    vault.ask(rulings.confirmed().sign())
    vault.ask(rejected())
    path = vault.folder / "register.sqlite3"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DROP TRIGGER act_stands")
    other.execute("DROP TRIGGER act_stays")
    other.execute(statement)
    other.close()
    assert vault.register.first_broken() == 2
    with pytest.raises(RegisterRefused, match="act 2"):
        Register(path)


def test_a_file_that_is_no_register_is_refused(tmp_path):
    """Neither another program's database nor any other file."""
    (tmp_path / "text").write_text("no database, but long enough to be taken for one" * 40)
    with pytest.raises(RegisterRefused, match="not a register"):
        Register(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(RegisterRefused, match="something else"):
        Register(tmp_path / "other")


def test_an_identity_is_deleted_when_its_retention_is_over(tmp_path):
    """Twelve months after it was written, entered in the register; other files are left alone."""
    today = [1_800_000_200]
    made = opened(tmp_path, clock=lambda: today[0])
    verdict = rulings.confirmed().sign()
    made.ask(verdict)
    (tmp_path / "desk" / "notes.json").write_text("{}")
    (tmp_path / "desk" / "cut-off.unfinished").write_text("of a vault that was killed")
    found = identity.read(tmp_path / "desk", rulings.subject().candidate_id.hex())
    assert found.purpose == "report of a confirmed candidate"
    assert (found.delete_after - found.handed_over_at.date()).days == identity.RETENTION_DAYS
    today[0] += identity.RETENTION_DAYS * 86_400
    assert made.vault.sweep() == 0
    assert len(made.files) == 2
    today[0] += 86_400
    assert made.vault.sweep() == 1
    assert made.files == ["notes.json"]
    assert made.acts == ["opening", "handed_over", "deleted"]
    assert made.ask(verdict) == (REFUSED, "EXPIRED")  # and it does not come back
    assert made.files == ["notes.json"]
    made.register.close()


# --- identity files ---------------------------------------------------------------------------


def test_an_identity_file_that_was_damaged_or_renamed_is_refused(vault):
    """The report desk must not report one person in another's place."""
    verdict = rulings.confirmed().sign()
    vault.ask(verdict)
    folder, name = vault.folder / "desk", vault.files[0]
    assert identity.read(folder, "0" * 32) is None
    (folder / name).rename(folder / f"{'0' * 32}.json")
    with pytest.raises(identity.IdentityRefused, match="another candidate"):
        identity.read(folder, "0" * 32)
    (folder / name).write_text("{}")
    with pytest.raises(identity.IdentityRefused, match="damaged"):
        identity.read(folder, verdict.subject.candidate_id.hex())


def test_acts_cut_off_the_end_show_in_the_last_hash_alone(vault):
    """The chain before them holds: number and hash must have been kept elsewhere."""
    vault.ask(rulings.confirmed().sign())
    kept = vault.register.last_hash()
    with sqlite3.connect(vault.folder / "register.sqlite3") as connection:
        connection.execute("DROP TRIGGER act_stays")
        connection.execute("DELETE FROM act WHERE act = 'handed_over'")
    connection.close()
    assert vault.register.first_broken() is None
    assert vault.register.last_hash() != kept


def test_a_report_desk_of_its_own_user_reads_by_its_group(vault):
    """With mode 2750 the folder's group may read each file, whatever the umask; nobody else may."""
    desk = vault.folder / "desk"
    group = next(iter(os.getgroups()), os.getgid())
    os.chown(desk, -1, group)
    desk.chmod(0o2750)
    identity.prepare(desk)
    before = os.umask(0o077)
    try:
        vault.ask(rulings.confirmed().sign())
    finally:
        os.umask(before)
    (file,) = desk.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.stat().st_gid == group


@pytest.mark.parametrize("mode", [0o750, 0o755, 0o770, 0o2770, 0o2755, 0o2710])
def test_a_desks_folder_that_is_open_to_more_is_refused(tmp_path, mode):
    """To others, to a group that may write, or to one that files are not handed to."""
    tmp_path.chmod(mode)
    with pytest.raises(KeysRefused, match="chmod 2750"):
        identity.prepare(tmp_path)
