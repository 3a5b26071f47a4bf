"""Key folders: each party has what it may have, and unsafe or broken keys are refused."""

from __future__ import annotations

import datetime as dt
import io
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pipeline import keys, threshold, vouchers
from pipeline.errors import KeysRefused
from pipeline.keys import KeyService, LocalKeyService, Sealable
from pipeline.vouchers import Context, Policy

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
REFERENCE = "EXAMPLE-2026-0001"

FILES = {
    "ca": {"ca.pem", "ca.key"},
    "centre": {"signing.key", "signing.pub"},
    "provider": {
        "ca.pem",
        "tls.pem",
        "tls.key",
        "receipt.key",
        "audit.pub",
        "token.key",
        "verifier.pub",
        "verdict.pub",
        "centre/signing.pub",
        "reviewers/reviewer-1.pub",
        "reviewers/reviewer-2.pub",
    },
    "vault": {
        "ca.pem",
        "tls.pem",
        "tls.key",
        "token.key",
        "verdict.pub",
        "reviewers/reviewer-1.pub",
        "reviewers/reviewer-2.pub",
    },
    "desk": {
        "ca.pem",
        "tls.pem",
        "tls.key",
        "verdict.pub",
        "reviewers/reviewer-1.pub",
        "reviewers/reviewer-2.pub",
    },
    "verification": {
        "ca.pem",
        "tls.pem",
        "tls.key",
        "verifier.pub",
        "audit.key",
        "receipt.pub",
        "verdict.key",
        "reviewers/reviewer-1.pub",
        "reviewers/reviewer-2.pub",
    },
    "ingest": {"ca.pem", "tls.pem", "tls.key", "centre/signing.pub"},
    "uploader": {"ca.pem", "tls.pem", "tls.key"},
    "reviewer-1": {"ca.pem", "tls.pem", "tls.key", "verifier.key", "decision.key"},
    "reviewer-2": {"ca.pem", "tls.pem", "tls.key", "verifier.key", "decision.key"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A set of key folders that tests only read."""
    folder = tmp_path_factory.mktemp("made") / "keys"
    keys.make(folder, hosts=["localhost"], reviewers=2, now=NOW)
    return folder


@pytest.fixture(scope="module")
def with_one_reviewer(tmp_path_factory) -> Path:
    """A set of key folders with one reviewer, to copy."""
    folder = tmp_path_factory.mktemp("one") / "keys"
    keys.make(folder, hosts=["localhost"], reviewers=1, now=NOW)
    return folder


@pytest.fixture
def own(with_one_reviewer, tmp_path) -> Path:
    """A set of key folders that a test may break."""
    return shutil.copytree(with_one_reviewer, tmp_path / "keys")


def hit(**changes: object) -> Sealable:
    """A hit ready to be sealed."""
    values = {
        "released_at_once": True,
        "item_id": "item-1",
        "account_id": "account-1",
        "content": b"\x11" * 32,
        "indicator": b"set/row-1",
        "hit_day": 20_600,
    }
    return Sealable(**(values | changes))


# --- what make() writes -----------------------------------------------------------------------


def test_each_party_holds_its_own_files_and_no_other(made):
    """The folders and files are the documented ones: whoever may not open holds nothing to."""
    assert {path.name for path in made.iterdir()} == set(FILES)
    for party, names in FILES.items():
        folder = made / party
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert found == names


def test_make_returns_the_parties_folders(tmp_path):
    """The caller is told every folder that was made, in a fixed order."""
    folder = tmp_path / "keys"
    made = keys.make(folder, hosts=["localhost"], reviewers=3, now=NOW)
    parties = ["ca", "centre", "provider", "vault", "desk", "ingest", "uploader", "verification"]
    names = [*parties, "reviewer-1", "reviewer-2", "reviewer-3"]
    assert made == [folder / name for name in names]


def test_private_files_are_private(made):
    """Folders are 0700 and private files 0600, so that no other user of the machine can read."""
    for party in FILES:
        assert stat.S_IMODE((made / party).stat().st_mode) == 0o700
        for path in (made / party).rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            if path.is_dir():
                assert mode == 0o700
            elif path.suffix == ".key":
                assert mode == 0o600
            else:
                assert (
                    not mode & 0o133
                )  # certificates and public keys: not executable, not writable


def test_the_verifiers_private_key_is_with_the_reviewers_alone(made):
    """No file of any other party holds the key that opens seals, under whatever name."""
    private = keys.verifier_private_key(made / "reviewer-1")
    raw = private.private_bytes_raw()
    pem = (made / "reviewer-1" / "verifier.key").read_bytes().splitlines()[1]
    assert keys.verifier_private_key(made / "reviewer-2").private_bytes_raw() == raw
    for party in set(FILES) - {"reviewer-1", "reviewer-2"}:
        for path in (made / party).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert raw not in content
                assert pem not in content
                assert raw.hex().encode() not in content


def holders(made: Path, path: Path) -> set[str]:
    """The parties in one of whose files a file's content stands."""
    content = path.read_bytes()
    if path.suffix == ".key" and content.startswith(b"-----"):
        content = content.splitlines()[1]
    return {
        party
        for party in FILES
        for file in (made / party).rglob("*")
        if file.is_file() and content in file.read_bytes()
    }


def test_every_secret_is_with_the_parties_that_need_it_alone(made):
    """Pseudonyms, tokens, decisions and verdicts: each key has the holders the documents name."""
    assert len(bytes.fromhex((made / "provider/token.key").read_text())) == vouchers.TOKEN_KEY_BYTES
    assert holders(made, made / "provider/receipt.key") == {"provider"}
    assert holders(made, made / "verification/audit.key") == {"verification"}
    assert holders(made, made / "provider/token.key") == {"provider", "vault"}
    assert holders(made, made / "verification/verdict.key") == {"verification"}
    assert holders(made, made / "centre/signing.key") == {"centre"}
    for number in (1, 2):
        key = made / f"reviewer-{number}/decision.key"
        assert holders(made, key) == {f"reviewer-{number}"}


def test_every_party_trusts_the_right_keys(made):
    """Verdicts verify under the service's key, decisions under each reviewer's own."""
    verdict = keys.signing_key(made / "verification/verdict.key").public_key()
    assert all(keys.verdict_public_key(made / p) == verdict for p in ("provider", "vault", "desk"))
    for party in ("vault", "verification"):
        found = keys.reviewer_keys(made / party)
        assert found == {
            name: keys.signing_key(made / name / "decision.key").public_key()
            for name in ("reviewer-1", "reviewer-2")
        }
        assert len(keys.by_reviewer_id(found)) == 2


def test_one_key_under_two_names_is_refused(own):
    """Else one person's two decisions would look like two people's."""
    folder = own / "vault" / "reviewers"
    (folder / "reviewer-2.pub").write_bytes((folder / "reviewer-1.pub").read_bytes())
    assert "two names" in refusal(keys.reviewer_keys, own / "vault")


def test_a_vault_without_reviewers_is_refused(own):
    """Nobody could confirm; the message says what belongs there."""
    (own / "vault" / "reviewers" / "reviewer-1.pub").unlink()
    assert "public decision key there" in refusal(keys.reviewer_keys, own / "vault")


def test_no_two_parties_share_a_tls_key(made):
    """Every party has a certificate of its own, from one authority."""
    parties = ["provider", "vault", "desk", "verification", "reviewer-1", "reviewer-2"]
    assert len({(made / party / "tls.key").read_bytes() for party in parties}) == 6
    assert len({(made / party / "ca.pem").read_bytes() for party in [*parties, "ca"]}) == 1
    assert (made / "ca" / "ca.key").read_bytes() not in {
        (made / party / "tls.key").read_bytes() for party in parties
    }


def test_the_public_keys_belong_to_the_private_ones(made):
    """What the provider seals, the reviewers can open; what the Centre signs, the provider trusts."""
    public = keys.verifier_private_key(made / "reviewer-1").public_key()
    assert keys.verifier_public_key(made / "provider") == public
    assert keys.verifier_public_key(made / "verification") == public
    centre = keys.signing_key(made / "centre" / "signing.key").public_key()
    assert keys.trusted_centre_keys(made / "provider") == [centre]


def test_two_sets_of_keys_have_nothing_in_common(made, own):
    """Keys are fresh every time."""
    for path in own.rglob("*"):
        if path.is_file():
            assert path.read_bytes() != (made / path.relative_to(own)).read_bytes()


@pytest.mark.parametrize("kind", ["empty folder", "keys", "file"])
def test_an_existing_folder_is_refused(tmp_path, kind):
    """Keys are never overwritten: a second call changes nothing."""
    folder = tmp_path / "keys"
    if kind == "empty folder":
        folder.mkdir()
    elif kind == "file":
        folder.write_bytes(b"precious")
    else:
        keys.make(folder, hosts=["localhost"], reviewers=1, now=NOW)
    before = {p: p.read_bytes() for p in [folder, *folder.rglob("*")] if p.is_file()}
    with pytest.raises(KeysRefused, match="never overwritten") as caught:
        keys.make(folder, hosts=["localhost"], reviewers=1, now=NOW)
    assert str(folder) in str(caught.value)
    assert before == {p: p.read_bytes() for p in [folder, *folder.rglob("*")] if p.is_file()}


# --- the key service --------------------------------------------------------------------------


def service(folder: Path, reference: str = REFERENCE, group_by: str = "account") -> LocalKeyService:
    """The key service over a set of key folders."""
    return LocalKeyService(folder / "provider", reference, group_by)


def test_the_key_service_can_seal_and_never_open():
    """Its whole public surface is three methods: none opens a seal, or says a name."""
    for kind in (KeyService, LocalKeyService):
        public = {name for name in vars(kind) if not name.startswith("_")}
        assert public == {"tokens", "pair_id", "seal"}


def test_its_instances_show_nothing_in_public(made):
    """Neither do its objects: keys are not attributes for anyone to pick up."""
    assert {name for name in dir(service(made)) if not name.startswith("_")} == {
        "tokens",
        "pair_id",
        "seal",
    }


def test_equal_hits_have_equal_ids(made):
    """Repeats, and two workers with the same folder, give the same candidate."""
    one, two = service(made), service(made)
    first = one.seal(hit(), b"payload")
    again = one.seal(hit(), b"another payload")
    other_worker = two.seal(hit(), b"payload")
    assert first.candidate_id == again.candidate_id == other_worker.candidate_id
    assert first.context == other_worker.context
    assert first.seal != other_worker.seal


def test_the_item_id_of_an_accounts_hit_does_not_count(made):
    """The same content in one account is one hit, under however many item ids."""
    ids = {service(made).seal(hit(item_id=f"item-{n}"), b"").candidate_id for n in range(3)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": "account-2"},
        {"account_id": None},
        {"content": b"\x12" * 32},
        {"indicator": b"set/row-2"},
    ],
)
def test_different_hits_have_different_ids(made, change):
    """Another account, content or indicator is another candidate."""
    sealing = service(made)
    assert sealing.seal(hit(**change), b"").candidate_id != sealing.seal(hit(), b"").candidate_id


def test_other_keys_orders_and_policies_have_other_ids(made, own):
    """Nothing links candidates across providers, orders or policies."""
    services = [
        service(made),
        service(own),
        service(made, reference="EXAMPLE-2026-0002"),
        service(made, group_by="material"),
    ]
    assert len({one.seal(hit(), b"").candidate_id for one in services}) == 4


@pytest.mark.parametrize("nobody", [None, ""])
def test_items_without_an_account_are_groups_of_their_own(made, nobody):
    """Two items of no account are two candidates; one scanned twice is one."""
    sealing = service(made)
    one = sealing.seal(hit(account_id=nobody, item_id="item-1"), b"").candidate_id
    again = sealing.seal(hit(account_id=nobody, item_id="item-1"), b"").candidate_id
    other = sealing.seal(hit(account_id=nobody, item_id="item-2"), b"").candidate_id
    assert one == again
    assert one != other


@pytest.mark.parametrize("nobody", [None, ""])
def test_grouped_by_material_items_without_an_account_are_one_account(made, nobody):
    """Two uploads of whoever it was are not two accounts; one of somebody beside them is."""
    sealing = service(made, group_by="material")

    def held(account: str | None, number: int) -> threshold.Record:
        seal = sealing.seal(
            hit(account_id=account, item_id=f"item-{number}", content=bytes([number]) * 32,
                released_at_once=False), b"",
        ).seal  # fmt: skip
        assert isinstance(seal, threshold.Record)
        return seal

    policy = vouchers.release_policy("material")
    context = Context(vouchers.order_id(REFERENCE), 0, 1, policy.policy_id)
    with pytest.raises(threshold.NotOpen):
        threshold.open_group(policy, context, [held(nobody, 1), held(nobody, 2), held(None, 3)])
    assert threshold.open_group(policy, context, [held(nobody, 1), held("somebody", 2)])


@pytest.mark.parametrize("account", ["item-1", "item\0item-1", "itemitem-1"])
def test_an_item_without_an_account_meets_no_account(made, account):
    """An account that is called as an item is does not share its candidates."""
    sealing = service(made)
    alone = sealing.seal(hit(account_id=None, item_id="item-1"), b"").candidate_id
    assert alone != sealing.seal(hit(account_id=account, item_id="item-1"), b"").candidate_id


def test_a_reviewer_opens_what_the_service_seals(made):
    """The seal, the context and the day that leave the scan are what a reviewer needs."""
    sealed = service(made).seal(hit(), b"payload")
    verifier = keys.verifier_private_key(made / "reviewer-1")
    opened = vouchers.open_direct(
        verifier, sealed.context, sealed.hit_day, sealed.candidate_id, sealed.seal
    )
    assert opened == b"payload"
    assert sealed.hit_day == 20_600
    assert sealed.context == Context(vouchers.order_id(REFERENCE), 0, 1, Policy().policy_id)
    assert sealed.verifier_key_id == keys.key_id(verifier.public_key())


def test_nothing_that_leaves_the_service_names_anybody(made):
    """No account, item, digest or indicator stands in the clear in a sealed hit or its tokens."""
    named = hit(item_id="sentinel-item", account_id="sentinel-account", indicator=b"sentinel-row")
    sealed, tokens = service(made).seal(named, b"sentinel-payload"), service(made).tokens(named)
    for data in (sealed.candidate_id, sealed.seal, tokens.content, tokens.account):
        assert b"sentinel" not in data
        assert named.content not in data


def test_tokens_open_with_the_vaults_key_alone(made):
    """The vault reads item and account back, each under its own label."""
    tokens = service(made).tokens(hit())
    candidate = service(made).seal(hit(), b"").candidate_id
    key = keys.token_key(made / "provider")
    context = Context(vouchers.order_id(REFERENCE), 0, 1, Policy().policy_id)
    assert vouchers.open_token(key, "content", context, candidate, tokens.content) == "item-1"
    assert vouchers.open_token(key, "account", context, candidate, tokens.account) == "account-1"
    with pytest.raises(vouchers.Unsealable):
        vouchers.open_token(key, "content", context, candidate, tokens.account)


@pytest.mark.parametrize("nobody", [None, ""])
def test_an_item_without_an_account_has_no_account_token(made, nobody):
    """An absent account is an empty token, not the token of an empty name."""
    assert service(made).tokens(hit(account_id=nobody)).account == b""


def test_key_ids_name_keys():
    """A verifier's key is named by its digest: the same key alike, another otherwise."""
    key = X25519PrivateKey.from_private_bytes(bytes(range(1, 33))).public_key()
    assert keys.key_id(key) == "aaa8fff703b50b22"
    assert keys.key_id(X25519PrivateKey.generate().public_key()) != keys.key_id(key)


# --- loaders ----------------------------------------------------------------------------------

PRIVATE = {
    "receipt.key": ("provider", lambda f: keys.signing_key(f / "receipt.key")),
    "audit.key": ("verification", lambda f: keys.signing_key(f / "audit.key")),
    "token.key by the service": ("provider", lambda f: LocalKeyService(f, REFERENCE, "account")),
    "token.key": ("provider", keys.token_key),
    "tls.key": ("provider", lambda f: keys.identity(f).channel_credentials()),
    "tls.key by the server": ("verification", lambda f: keys.identity(f).server_credentials()),
    "signing.key": ("centre", lambda f: keys.signing_key(f / "signing.key")),
    "verifier.key": ("reviewer-1", keys.verifier_private_key),
    "decision.key": ("reviewer-1", lambda f: keys.signing_key(f / "decision.key")),
    "verdict.key": ("verification", lambda f: keys.signing_key(f / "verdict.key")),
}
PUBLIC = {
    "verifier.pub": ("provider", keys.verifier_public_key),
    "verifier.pub by the service": ("provider", lambda f: LocalKeyService(f, REFERENCE, "account")),
    "centre/signing.pub": ("provider", keys.trusted_centre_keys),
    "verdict.pub": ("desk", keys.verdict_public_key),
    "receipt.pub": ("verification", keys.receipt_public_key),
    "audit.pub": ("provider", keys.audit_public_key),
    "reviewers/reviewer-1.pub": ("vault", keys.reviewer_keys),
}
CERTIFICATES = {
    "ca.pem": ("provider", lambda f: keys.identity(f).channel_credentials()),
    "tls.pem": ("provider", lambda f: keys.identity(f).channel_credentials()),
    "tls.pem by the server": ("verification", lambda f: keys.identity(f).server_credentials()),
}
LOADERS = PRIVATE | PUBLIC | CERTIFICATES


def place(folder: Path, name: str) -> tuple[Path, Path, object]:
    """Of a loader: the party's folder, the file in it, and how to load it."""
    party, load = LOADERS[name]
    return folder / party, folder / party / name.partition(" ")[0], load


def refusal(load, folder: Path) -> str:
    """The message that a loader ends in."""
    with pytest.raises(KeysRefused) as caught:
        load(folder)
    return str(caught.value)


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_takes_what_make_writes(made, name):
    """A fresh folder satisfies every loader."""
    folder, _, load = place(made, name)
    assert load(folder) is not None


@pytest.mark.parametrize("name", [*PRIVATE, *CERTIFICATES])
def test_a_missing_file_is_refused_with_a_way_out(own, name):
    """A folder without a key names the file and the command that makes one."""
    folder, path, load = place(own, name)
    path.unlink()
    message = refusal(load, folder)
    assert str(path) in message
    assert "sluis keys new" in message


@pytest.mark.parametrize("name", ["verifier.pub", "verifier.pub by the service"])
def test_a_missing_public_key_is_refused_with_a_way_out(own, name):
    """A folder without the verifier's public key names the file and says what to do."""
    folder, path, load = place(own, name)
    path.unlink()
    message = refusal(load, folder)
    assert str(path) in message
    assert "sluis keys new" in message


def test_a_folder_without_trusted_keys_is_refused_with_a_way_out(own):
    """Without a key of the EU Centre no set can be trusted; the message says where it goes."""
    (own / "provider" / "centre" / "signing.pub").unlink()
    message = refusal(keys.trusted_centre_keys, own / "provider")
    assert str(own / "provider") in message
    assert "another party's folder" in message
    assert "the EU Centre's public key is still to be put there" in message


@pytest.mark.parametrize("name", LOADERS)
def test_a_folder_that_does_not_exist_is_refused(tmp_path, name):
    """A mistyped key folder is refused by name."""
    folder, _, load = place(tmp_path, name)
    assert str(folder) in refusal(load, folder)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610])
@pytest.mark.parametrize("name", PRIVATE)
def test_a_key_that_others_can_read_is_refused_with_the_command_to_run(own, name, mode):
    """A private key open to group or others is refused, and the message says how to close it."""
    folder, path, load = place(own, name)
    path.chmod(mode)
    assert f"chmod 600 {path}" in refusal(load, folder)
    path.chmod(0o400)
    assert load(folder) is not None


DAMAGES = {
    "empty": b"",
    "text": b"sentinel",
    "half": None,
    "bytes": b"\xff\xfe\x00",
    "PEM of nothing": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [n for n in LOADERS if "tls" not in n and "ca.pem" not in n])
def test_a_damaged_key_is_refused(own, name, damage):
    """A key cut short or overwritten is refused by file, without a word of what it holds."""
    folder, path, load = place(own, name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "half" else DAMAGES[damage])
    message = refusal(load, folder)
    assert str(path) in message
    assert "sentinel" not in message


@pytest.mark.parametrize("name", [n for n in LOADERS if "tls" in n or "ca.pem" in n])
def test_a_damaged_certificate_or_tls_key_is_refused(own, name):
    """A broken TLS file is found when it is read, not as an unreachable peer or a taken port."""
    folder, path, load = place(own, name)
    path.write_bytes(path.read_bytes()[:100])
    assert str(path) in refusal(load, folder)


@pytest.mark.parametrize("name", LOADERS)
def test_a_folder_in_place_of_a_key_is_refused(own, name):
    """A folder under a key's name is refused as any other thing that is no key."""
    folder, path, load = place(own, name)
    path.unlink()
    path.mkdir(mode=0o700)
    assert str(path) in refusal(load, folder)


@pytest.mark.parametrize("name", [n for n in LOADERS if n != "tls.key" and "tls" not in n])
def test_a_key_that_may_not_be_read_is_refused_as_such(own, name, monkeypatch):
    """A key file of another user is said to be one, not to be damaged."""
    folder, path, load = place(own, name)
    opening = io.open

    def forbidden(file, *arguments, **options):
        if file == path or file == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opening(file, *arguments, **options)

    monkeypatch.setattr("io.open", forbidden)
    monkeypatch.setattr("builtins.open", forbidden)
    message = refusal(load, folder)
    assert str(path) in message
    assert "Permission denied" in message


@pytest.mark.parametrize("digits", [63, 62, 66, 128])
def test_a_secret_of_another_length_is_refused(own, digits):
    """A key with digits missing or too many is refused with the length it must have."""
    service(own).seal(hit(), b"")
    (path,) = (own / "provider" / "epochs").glob("*/0-v1.key")
    path.write_text("a" * digits)
    message = refusal(lambda _: service(own).seal(hit(), b""), own / "provider")
    assert str(path) in message
    assert "64 hex digits" in message


def test_a_line_end_after_a_secret_is_no_damage(own):
    """A key that an editor has saved with a line end is the same key."""
    before = keys.token_key(own / "provider")
    path = own / "provider" / "token.key"
    path.write_text(path.read_text() + "\n")
    assert keys.token_key(own / "provider") == before


def private_pem(key) -> bytes:
    """A private key as `make` writes it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [("signing.key", X25519PrivateKey), ("verifier.key", Ed25519PrivateKey)],
)
def test_a_private_key_of_another_kind_is_refused(own, name, other):
    """A signing key cannot open seals, nor the other way round."""
    folder, path, load = place(own, name)
    path.write_bytes(private_pem(other.generate()))
    assert str(path) in refusal(load, folder)


@pytest.mark.parametrize(
    ("name", "other"),
    [("centre/signing.pub", X25519PrivateKey), ("verifier.pub", Ed25519PrivateKey)],
)
def test_a_public_key_of_another_kind_is_refused(own, name, other):
    """A key to seal for cannot verify a signature, nor the other way round."""
    folder, path, load = place(own, name)
    path.write_bytes(
        other.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert str(path) in refusal(load, folder)


@pytest.mark.parametrize("name", ["signing.key", "verifier.key"])
def test_a_key_behind_a_password_is_refused(own, name):
    """Nobody is there to type a password, so an encrypted key is refused."""
    folder, path, load = place(own, name)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sentinel"),
        )
    )
    assert str(path) in refusal(load, folder)


def test_a_private_key_does_not_pass_for_a_public_one(own):
    """The verifier's private key under the public key's name is refused, not used."""
    private = (own / "reviewer-1" / "verifier.key").read_bytes()
    path = own / "provider" / "verifier.pub"
    path.write_bytes(private)
    assert str(path) in refusal(keys.verifier_public_key, own / "provider")


def test_several_centre_keys_are_trusted_in_order_of_their_names(own):
    """Keys are added and retired one file at a time; other files beside them mean nothing."""
    folder = own / "provider" / "centre"
    new = Ed25519PrivateKey.generate().public_key()
    (folder / "a-new.pub").write_bytes(
        new.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    (folder / "README").write_text("not a key")
    old = keys.signing_key(own / "centre" / "signing.key").public_key()
    assert keys.trusted_centre_keys(own / "provider") == [new, old]


def test_one_damaged_centre_key_is_not_passed_over(own):
    """A trusted key that cannot be read is an error: it might be the one that was meant."""
    path = own / "provider" / "centre" / "zzz.pub"
    path.write_text("damaged")
    assert str(path) in refusal(keys.trusted_centre_keys, own / "provider")


TRUSTED = {
    "ca.pem": keys.identity,
    "verdict.pub": keys.verdict_public_key,
    "reviewers/reviewer-1.pub": keys.reviewer_keys,
}


@pytest.mark.parametrize("name", TRUSTED)
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_whom_a_party_trusts_nobody_else_may_change(own, name, mode):
    """Neither the file, nor the folder in which another can take its place."""
    path = own / "vault" / name
    for place in (path, path.parent):
        right = place.stat().st_mode
        place.chmod(right | mode)
        assert f"chmod go-w {place}" in refusal(TRUSTED[name], own / "vault")
        place.chmod(right)
        TRUSTED[name](own / "vault")
