"""Epoch keys: one for each epoch, never changed within it, destroyed for good with a receipt."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline import keys, signed, vouchers
from pipeline.epoch_keys import RECEIPT, EpochKeyDestroyed, EpochKeys, OutsideOrder
from pipeline.errors import KeysRefused
from pipeline.keys import LocalKeyService, Sealable
from pipeline.signed import StatementRefused
from pipeline.vouchers import Epochs

ORDER = b"o" * 16
FIRST = dt.date(2026, 1, 1)
LAST = dt.date(2026, 4, 10)
TENS = Epochs.of(FIRST, LAST, 10)  # ten epochs of ten days
WHOLE = Epochs.of(FIRST, LAST, 0)
START = vouchers.day_number(FIRST)
AFTER = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def provider(tmp_path):
    """A provider's key folder."""
    keys.make(tmp_path / "keys", hosts=["localhost"], reviewers=2, now=AFTER)
    return tmp_path / "keys" / "provider"


def hit(day: int) -> Sealable:
    """A hit on new material."""
    return Sealable(
        item_id="i", account_id="a", content=b"c" * 32, indicator=b"i", hit_day=day,
        released_at_once=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("epochs", "day", "epoch"),
    [
        (TENS, 0, 0), (TENS, 9, 0), (TENS, 10, 1), (TENS, 99, 9), (TENS, 100, None), (TENS, -1, None),
        (WHOLE, 0, 0), (WHOLE, 99, 0), (WHOLE, 100, None),
        (Epochs.of(FIRST, LAST, 30), 99, 3),
    ],
)  # fmt: skip
def test_a_day_lies_in_one_epoch_or_in_none(epochs, day, epoch):
    """Epochs tumble from the order's first day; the last one ends with the order."""
    assert epochs.epoch(START + day) == epoch
    if epoch is not None:
        first, last = epochs.days(epoch)
        assert first <= START + day <= last <= vouchers.day_number(LAST)


def test_every_epoch_has_a_key_of_its_own_that_stays(provider):
    """Made on first use, the same ever after, different for each epoch and order, and private."""
    one, two = EpochKeys(provider, ORDER, TENS), EpochKeys(provider, b"p" * 16, TENS)
    found = {one.key(0)[1], one.key(1)[1], two.key(0)[1]}
    assert len(found) == 3
    assert EpochKeys(provider, ORDER, TENS).key(0) == one.key(0)
    assert one.key(0)[0] == 1
    for path in (provider / "epochs").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_workers_that_start_together_get_one_key(provider):
    """Whoever is first makes it; nobody reads a half-written one."""
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: EpochKeys(provider, ORDER, WHOLE).key(0), range(64)))
    assert len(set(made)) == 1
    assert [p.name for p in (provider / "epochs" / ORDER.hex()).iterdir()] == ["0-v1.key"]


def test_a_key_is_durable_before_anything_is_sealed_with_it(provider, monkeypatch):
    """Its bytes, its name and every new folder's name are synchronised when it is handed out."""
    synchronised = set()

    def fsync(descriptor: int, real=os.fsync) -> None:
        synchronised.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    EpochKeys(provider, ORDER, TENS).key(0)
    key = provider / "epochs" / ORDER.hex() / "0-v1.key"
    for path in (key, key.parent, provider / "epochs", provider):
        assert path.stat().st_ino in synchronised, path
    synchronised.clear()
    EpochKeys(provider, ORDER, TENS).key(0)  # another process has made it, perhaps just now
    assert key.parent.stat().st_ino in synchronised


def test_hits_of_two_epochs_never_meet(provider):
    """Another epoch is another context, group and id: property 5 of the vouchers."""
    service = LocalKeyService(provider, "R", "account", TENS)
    one, same, other = (service.seal(hit(START + day), b"") for day in (3, 3, 13))
    assert (one.context.epoch, other.context.epoch) == (0, 1)
    assert one.candidate_id == same.candidate_id != other.candidate_id
    assert one.seal.tag == same.seal.tag != other.seal.tag


def test_a_day_outside_the_order_is_refused_by_name(provider):
    """Nothing is sealed under an epoch that does not exist."""
    service = LocalKeyService(provider, "R", "account", TENS)
    for day in (START - 1, START + 100):
        with pytest.raises(OutsideOrder) as refused:
            service.seal(hit(day), b"")
        assert (refused.value.stage, refused.value.reason) == ("seal", "outside_order_period")


def test_a_destroyed_key_seals_nothing_and_is_nowhere(provider):
    """Sealing is refused by name, also in a service that has used the key; others go on."""
    epochs = Epochs.of(FIRST, LAST, 10)
    service = LocalKeyService(provider, "R", "account", epochs)
    service.seal(hit(START), b"")
    service.seal(hit(START + 10), b"")
    order = vouchers.order_id("R")
    folder = provider / "epochs" / order.hex()
    secret = (folder / "0-v1.key").read_bytes()
    EpochKeys(provider, order, epochs).destroy(0, AFTER, SIGNER, even_if_current=False)
    for one in (service, LocalKeyService(provider, "R", "account", epochs)):
        for ask in (lambda s=one: s.seal(hit(START), b""), lambda s=one: s.tokens(hit(START))):
            with pytest.raises(EpochKeyDestroyed) as refused:
                ask()
            assert (refused.value.stage, refused.value.reason) == ("seal", "epoch_key_destroyed")
        one.seal(hit(START + 10), b"")
    for path in provider.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()
    # A backup that is put back revives nothing.
    (folder / "0-v1.key").write_bytes(secret)
    (folder / "0-v1.key").chmod(0o600)
    with pytest.raises(EpochKeyDestroyed):
        service.seal(hit(START), b"")


def test_the_receipt_says_what_was_destroyed_and_is_signed(provider):
    """The other party can check it, and an altered one is refused."""
    epoch_keys = EpochKeys(provider, ORDER, TENS)
    epoch_keys.key(2)
    path = epoch_keys.destroy(2, AFTER, SIGNER, even_if_current=False)
    receipt = json.loads(path.read_text())
    facts = signed.check(receipt, RECEIPT, [SIGNER.public_key()])
    assert (facts["order_id"], facts["epoch"], facts["key_version"]) == (ORDER.hex(), 2, 1)
    assert (facts["first_day"], facts["last_day"]) == ("2026-01-21", "2026-01-30")
    assert facts["destroyed_at"] == "2026-05-01T00:00:00+00:00"
    for change in ({"epoch": 3}, {"signature": ""}, {"kind": "sluis/v1/other"}, {"more": 1}):
        with pytest.raises(StatementRefused):
            signed.check(receipt | change, RECEIPT, [SIGNER.public_key()])
    with pytest.raises(StatementRefused):
        signed.check(receipt, RECEIPT, [Ed25519PrivateKey.generate().public_key()])


def test_destroying_again_finishes_what_was_interrupted(provider):
    """A crash between receipt and erasure leaves a key that nobody can use; the same call ends it."""
    epoch_keys = EpochKeys(provider, ORDER, TENS)
    epoch_keys.key(0)
    path = epoch_keys.destroy(0, AFTER, SIGNER, even_if_current=False)
    before = path.read_bytes()
    left = path.with_name("0-v1.key")
    left.write_bytes(b"a" * 64)
    left.chmod(0o600)
    assert epoch_keys.destroy(0, AFTER, SIGNER, even_if_current=False) == path
    assert path.read_bytes() == before
    assert not left.exists()


def test_no_key_is_made_behind_a_receipt(provider, monkeypatch):
    """A key that is destroyed between the look for its receipt and the making of a new one."""
    keeper, scan = EpochKeys(provider, ORDER, TENS), EpochKeys(provider, ORDER, TENS)
    keeper.key(0)
    (provider / "epochs" / ORDER.hex() / "0-v1.key").unlink()
    make = EpochKeys._make

    def late(self, path):
        """Another process is quicker."""
        monkeypatch.setattr(EpochKeys, "_make", make)
        make(self, path)
        keeper.destroy(0, AFTER, SIGNER, even_if_current=False)
        make(self, path)

    monkeypatch.setattr(EpochKeys, "_make", late)
    with pytest.raises(EpochKeyDestroyed):
        scan.key(0)
    left = {path.name for path in (provider / "epochs" / ORDER.hex()).iterdir()}
    assert left == {"0-v1.receipt.json"}


def test_only_a_key_that_is_there_and_over_is_destroyed(provider):
    """Neither an unknown key nor, unless it is said, that of an epoch that goes on."""
    epoch_keys = EpochKeys(provider, ORDER, TENS)
    with pytest.raises(KeysRefused, match="no key here"):
        epoch_keys.destroy(0, AFTER, SIGNER, even_if_current=True)
    epoch_keys.key(0)
    during = dt.datetime(2026, 1, 10, 23, tzinfo=dt.UTC)
    with pytest.raises(KeysRefused, match="until 2026-01-10"):
        epoch_keys.destroy(0, during, SIGNER, even_if_current=False)
    assert epoch_keys.key(0)[0] == 1
    epoch_keys.destroy(0, during, SIGNER, even_if_current=True)
    assert [one.is_destroyed for one in epoch_keys.all()] == [True]


def test_a_rotation_takes_effect_where_an_epoch_ends(provider):
    """The current epoch keeps its key; the next one and those after have the new version."""
    epoch_keys = EpochKeys(provider, ORDER, TENS)
    before = epoch_keys.key(3)
    assert epoch_keys.rotate(START + 35) == (2, 4)
    fresh = EpochKeys(provider, ORDER, TENS)
    assert fresh.key(3) == before
    assert [fresh.key(epoch)[0] for epoch in (2, 4, 9)] == [1, 2, 2]
    assert [(one.epoch, one.version) for one in fresh.all()] == [(2, 1), (3, 1), (4, 2), (9, 2)]
    service = LocalKeyService(provider, "R", "account", TENS)
    assert service.seal(hit(START + 45), b"").context.key_version == 1  # another order


@pytest.mark.parametrize(
    ("epochs", "day"), [(WHOLE, 5), (TENS, 95), (TENS, 200)], ids=["whole order", "last", "over"]
)
def test_no_key_changes_within_an_epoch(provider, epochs, day):
    """Where no epoch follows there is nothing to rotate to."""
    with pytest.raises(KeysRefused, match="only where an epoch ends"):
        EpochKeys(provider, ORDER, epochs).rotate(START + day)


def test_an_epoch_that_is_under_way_is_not_rotated(provider):
    """If hits of the next epoch are already sealed, its key stays."""
    epoch_keys = EpochKeys(provider, ORDER, TENS)
    epoch_keys.key(4)
    with pytest.raises(KeysRefused, match="already has a key"):
        epoch_keys.rotate(START + 35)


def test_a_damaged_list_of_versions_is_refused(provider):
    """It is not guessed which key an epoch has."""
    folder = provider / "epochs" / ORDER.hex()
    folder.mkdir(parents=True)
    (folder / "versions.json").write_text("[")
    with pytest.raises(KeysRefused, match="damaged"):
        EpochKeys(provider, ORDER, TENS).key(0)


def test_a_folder_of_an_earlier_version_is_refused_with_what_to_do(provider):
    """One key for every order cannot be destroyed for one; moved in place, it goes on."""
    old = provider / "epoch.key"
    old.write_text("ab" * 32)
    old.chmod(0o600)
    with pytest.raises(KeysRefused) as refused:
        LocalKeyService(provider, "R", "account", TENS)
    place = provider / "epochs" / vouchers.order_id("R").hex() / "0-v1.key"
    assert str(place) in str(refused.value)
    place.parent.mkdir(parents=True, mode=0o700)
    old.rename(place)
    assert EpochKeys(provider, vouchers.order_id("R"), TENS).key(0) == (1, b"\xab" * 32)
