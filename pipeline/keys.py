"""Keys behind one interface, local folders first: each party's folder holds what that party may.

    KEYS/ca/             ca.pem ca.key            issues certificates; keep it offline
    KEYS/centre/         signing.key signing.pub  stands in for the EU Centre in trials
    KEYS/provider/       tls, token.key, receipt.key, verifier.pub, verdict.pub, audit.pub,
                         centre/*.pub, reviewers/*.pub, epochs/ (see epoch_keys.py)
    KEYS/vault/          tls, token.key, verdict.pub, reviewers/*.pub
    KEYS/desk/           tls, verdict.pub, reviewers/*.pub    the provider's report desk
    KEYS/ingest/         tls, centre/*.pub            the front door for uploads
    KEYS/uploader/       tls                          the provider's own upload code
    KEYS/verification/   tls, verdict.key, audit.key, receipt.pub, verifier.pub, reviewers/*.pub
    KEYS/reviewer-N/     tls, verifier.key, decision.key

The scan gets a `KeyService`: it can seal, and has no method that opens.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from pipeline import key_files, threshold, verdicts, vouchers
from pipeline.epoch_keys import EpochKeys
from pipeline.errors import KeysRefused
from pipeline.rpc.tls import CertificateAuthority, Identity, Issued
from pipeline.vouchers import Context, Epochs

WITHOUT_END: Final = Epochs.of(dt.date(1970, 1, 1), dt.date.max, 0)
"""One epoch for all days."""


@dataclass(frozen=True, kw_only=True)
class Sealable:
    """A hit, ready to be sealed.

    Attributes:
        item_id: the provider's name of the item.
        account_id: the provider's name of its account, if it has one.
        content: SHA-256 of the content (the content unit).
        indicator: the indicator unit: set, and cluster of near-duplicates in it.
        hit_day: see `vouchers.hit_day`.
        released_at_once: known material, listed URLs, and what a user has notified; else the hit
            stays shut until a second distinct one.
    """

    item_id: str
    account_id: str | None
    content: bytes
    indicator: bytes
    hit_day: int
    released_at_once: bool


@dataclass(frozen=True)
class Tokens:
    """Opaque names of an item, its account, and its pair of indicator and content.

    Attributes:
        content: names the item, for this candidate alone.
        account: names its account, likewise; empty without one.
        pair: names its pair, likewise.
        pair_id: the pair itself, whoever uploads it; it stays with the provider.
    """

    content: bytes
    account: bytes
    pair: bytes
    pair_id: bytes


@dataclass(frozen=True)
class Sealed:
    """A sealed hit: all that leaves the scan."""

    candidate_id: bytes
    context: Context
    hit_day: int
    verifier_key_id: str
    seal: bytes | threshold.Record


class KeyService(Protocol):
    """What the scan may ask of whoever holds the keys: tokens and seals, never to open one."""

    def tokens(self, hit: Sealable) -> Tokens:
        """Pseudonymise the hit's item and account."""

    def pair_id(self, context: Context, candidate_id: bytes, token: bytes) -> bytes:
        """The pair that a token names in a candidate; with another's token, none there is."""

    def seal(self, hit: Sealable, payload: bytes) -> Sealed:
        """Seal a payload for the verifier."""


class LocalKeyService:
    """Keys in a protected folder of this machine."""

    def __init__(
        self,
        folder: Path,
        order_reference: str,
        group_hits_by: str,
        epochs: Epochs = WITHOUT_END,
    ) -> None:
        """Read the provider's keys.

        Args:
            folder: the provider's.
            order_reference: of the order that is scanned under.
            group_hits_by: account or material.
            epochs: the order's; by default one, without end.

        Raises:
            KeysRefused: missing, damaged, or readable by others.
        """
        self._order_id = vouchers.order_id(order_reference)
        self._epoch_keys = EpochKeys(folder, self._order_id, epochs)
        self._token_key = key_files.secret(folder / "token.key", vouchers.TOKEN_KEY_BYTES)
        self._verifier = verifier_public_key(folder)
        self._verifier_key_id = key_id(self._verifier)
        self._policy = vouchers.release_policy(group_hits_by, epochs.epoch_days)
        self._policy_id = self._policy.policy_id  # derived once, not for every hit

    def tokens(self, hit: Sealable) -> Tokens:
        """See `KeyService`."""
        context, epoch_key = self._epoch(hit)
        _, _, candidate = self._units(hit, context, epoch_key)

        def token(label: str, name: str) -> bytes:
            return vouchers.make_token(self._token_key, label, context, candidate, name)

        pair = vouchers.pair_id(epoch_key, context, hit.indicator, hit.content)
        return Tokens(
            token("content", hit.item_id),
            token("account", hit.account_id) if hit.account_id else b"",
            vouchers.pair_token(self._token_key, context, candidate, pair),
            pair,
        )

    def pair_id(self, context: Context, candidate_id: bytes, token: bytes) -> bytes:
        """See `KeyService`."""
        return vouchers.pair_token(self._token_key, context, candidate_id, token)

    def seal(self, hit: Sealable, payload: bytes) -> Sealed:
        """See `KeyService`."""
        context, epoch_key = self._epoch(hit)
        unit, units, candidate = self._units(hit, context, epoch_key)
        direct = vouchers.seal_direct(self._verifier, context, hit.hit_day, candidate, payload)
        sealed: bytes | threshold.Record = direct
        if not hit.released_at_once:
            account = vouchers.account_secret(epoch_key, context, unit)
            sealed = threshold.seal(
                account, self._policy, context, hit.hit_day, candidate, units, direct
            )
        return Sealed(candidate, context, hit.hit_day, self._verifier_key_id, sealed)

    def _epoch(self, hit: Sealable) -> tuple[Context, bytes]:
        """The hit's context and its epoch's key, asked for each time: it may be destroyed."""
        epoch = self._epoch_keys.epoch(hit.hit_day)
        version, key = self._epoch_keys.key(epoch)
        return Context(self._order_id, epoch, version, self._policy_id), key

    def _units(
        self, hit: Sealable, context: Context, epoch_key: bytes
    ) -> tuple[bytes, dict[str, bytes], bytes]:
        """The hit's group unit, its unit in each stream, and its candidate id."""
        # No account id holds control characters, so none can be taken for "nobody" or an item.
        if self._policy.group_by == "material":
            # Two items without an account may well be one person's: together they are one account.
            account = (hit.account_id or "\0nobody").encode()
            unit, units = hit.indicator, {"content": hit.content, "account": account}
        else:
            # An item without an account is a group of its own: nothing else can open it.
            unit = (hit.account_id or f"\0item\0{hit.item_id}").encode()
            units = {"content": hit.content, "indicator": hit.indicator}
        return unit, units, vouchers.candidate_id(epoch_key, context, unit, units)


def make(folder: Path, *, hosts: Sequence[str], reviewers: int, now: dt.datetime) -> list[Path]:
    """Make a working set of keys and certificates for one deployment.

    Args:
        folder: a new folder.
        hosts: names and addresses by which the services (verification, vault, front door) are
            reached.
        reviewers: how many reviewers get a folder.
        now: start of the certificates' validity.

    Returns:
        The parties' folders.

    Raises:
        KeysRefused: if the folder exists, as keys are never overwritten; a host that says a role.
    """
    if folder.exists():
        raise KeysRefused(f"{folder} exists: keys are never overwritten; name a new folder")
    folder.mkdir(mode=0o700, parents=True)
    authority = CertificateAuthority(now)
    verifier = X25519PrivateKey.generate()
    centre = Ed25519PrivateKey.generate()

    ca = _party(folder / "ca")
    key_files.write(ca / "ca.pem", authority.issued.certificate)
    key_files.write(ca / "ca.key", authority.issued.key)

    centre_folder = _party(folder / "centre")
    key_files.write(centre_folder / "signing.key", _private_pem(centre))
    key_files.write(centre_folder / "signing.pub", _public_pem(centre.public_key()))

    verdict, receipt, audit = (Ed25519PrivateKey.generate() for _ in range(3))
    deciders = {f"reviewer-{n}": Ed25519PrivateKey.generate() for n in range(1, reviewers + 1)}
    token = secrets.token_hex(vouchers.TOKEN_KEY_BYTES).encode()

    provider = _party(folder / "provider")
    _write_tls(provider, authority, authority.issue("emitter", "scan"))
    key_files.write(provider / "receipt.key", _private_pem(receipt))
    key_files.write(provider / "token.key", token)
    key_files.write(provider / "verifier.pub", _public_pem(verifier.public_key()))
    key_files.write(provider / "verdict.pub", _public_pem(verdict.public_key()))
    key_files.write(provider / "audit.pub", _public_pem(audit.public_key()))
    _write_centre(provider, centre)
    _write_reviewers(provider, deciders)

    vault = _party(folder / "vault")
    _write_tls(vault, authority, authority.issue("vault", "vault", hosts))
    key_files.write(vault / "token.key", token)
    key_files.write(vault / "verdict.pub", _public_pem(verdict.public_key()))
    _write_reviewers(vault, deciders)

    desk = _party(folder / "desk")
    _write_tls(desk, authority, authority.issue("report_desk", "desk"))
    key_files.write(desk / "verdict.pub", _public_pem(verdict.public_key()))
    _write_reviewers(desk, deciders)

    door = _make_ingest(folder, authority, centre, hosts)

    verification = _party(folder / "verification")
    _write_tls(verification, authority, authority.issue("verification", "service", hosts))
    key_files.write(verification / "verifier.pub", _public_pem(verifier.public_key()))
    key_files.write(verification / "verdict.key", _private_pem(verdict))
    key_files.write(verification / "audit.key", _private_pem(audit))
    key_files.write(verification / "receipt.pub", _public_pem(receipt.public_key()))
    _write_reviewers(verification, deciders)

    people = []
    for name, decider in deciders.items():
        person = _party(folder / name)
        _write_tls(person, authority, authority.issue("reviewer", name))
        key_files.write(person / "verifier.key", _private_pem(verifier))
        key_files.write(person / "decision.key", _private_pem(decider))
        people.append(person)
    for place in (folder.parent, folder, *(p for p in folder.rglob("*") if p.is_dir())):
        key_files.sync_folder(place)
    return [ca, centre_folder, provider, vault, desk, *door, verification, *people]


def _make_ingest(
    folder: Path, authority: CertificateAuthority, centre: Ed25519PrivateKey, hosts: Sequence[str]
) -> list[Path]:
    """The front door's folder, and that of whoever uploads."""
    ingest, uploader = _party(folder / "ingest"), _party(folder / "uploader")
    _write_tls(ingest, authority, authority.issue("ingest", "door", hosts))
    _write_centre(ingest, centre)
    _write_tls(uploader, authority, authority.issue("uploader", "uploads"))
    return [ingest, uploader]


def identity(folder: Path) -> Identity:
    """The TLS identity of the party whose folder this is.

    Raises:
        KeysRefused: not a key folder, damaged, its key is readable by others, or others can change
            whom it trusts.
    """
    key_files.check_private(folder / "tls.key")
    certificates = [_certificate(folder / name) for name in ("ca.pem", "tls.pem")]
    key = _private(folder / "tls.key")
    public = getattr(key, "public_key", None)
    if public is None or public() != certificates[1].public_key():
        raise KeysRefused(f"{folder}: tls.key is not the key of tls.pem; copy both from one set")
    return Identity(folder)


def trusted_centre_keys(folder: Path) -> list[Ed25519PublicKey]:
    """The EU Centre's public keys that the provider trusts: FOLDER/centre/*.pub.

    Raises:
        KeysRefused: there is none, or one is damaged.
    """
    keys = [_ed25519_public(path) for path in sorted((folder / "centre").glob("*.pub"))]
    if not keys:
        raise KeysRefused(
            f"{folder}/centre holds no *.pub: either {folder} is another party's folder (give the "
            "provider's), or the EU Centre's public key is still to be put there"
        )
    return keys


def signing_key(path: Path) -> Ed25519PrivateKey:
    """A key that signs: indicator sets, decisions or verdicts.

    Raises:
        KeysRefused: missing, damaged, or readable by others.
    """
    key = _private(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysRefused(f"{path} is not an Ed25519 private key")
    return key


def receipt_public_key(folder: Path) -> Ed25519PublicKey:
    """The key that the provider signs receipts of key destruction with: FOLDER/receipt.pub.

    Raises:
        KeysRefused: missing or damaged.
    """
    return _ed25519_public(folder / "receipt.pub")


def audit_public_key(folder: Path) -> Ed25519PublicKey:
    """The key that the verification service signs checkpoints with: FOLDER/audit.pub.

    Raises:
        KeysRefused: missing or damaged.
    """
    return _ed25519_public(folder / "audit.pub")


def verdict_public_key(folder: Path) -> Ed25519PublicKey:
    """The key that the verification service signs verdicts with: FOLDER/verdict.pub.

    Raises:
        KeysRefused: missing or damaged.
    """
    return _ed25519_public(folder / "verdict.pub")


def reviewer_keys(folder: Path) -> dict[str, Ed25519PublicKey]:
    """Reviewers' public keys by name, as on their certificates: FOLDER/reviewers/NAME.pub.

    Raises:
        KeysRefused: there is none, one is damaged, or one stands under two names: two decisions
            by one key must never look like two people's.
    """
    found = {path.stem: _ed25519_public(path) for path in (folder / "reviewers").glob("*.pub")}
    if not found:
        raise KeysRefused(
            f"{folder}/reviewers holds no *.pub: put every reviewer's public decision key there"
        )
    if len({key.public_bytes_raw() for key in found.values()}) != len(found):
        raise KeysRefused(
            f"{folder}/reviewers holds one key under two names: every reviewer needs their own"
        )
    return found


def by_reviewer_id(reviewers: Mapping[str, Ed25519PublicKey]) -> dict[str, Ed25519PublicKey]:
    """The same keys by the pseudonymous id that stands in a decision."""
    return {verdicts.reviewer_id(key): key for key in reviewers.values()}


def signers(folder: Path) -> verdicts.Signers:
    """Whose signatures a verdict needs: FOLDER/verdict.pub and FOLDER/reviewers/*.pub.

    Raises:
        KeysRefused: as `verdict_public_key` and `reviewer_keys`.
    """
    return verdicts.Signers(verdict_public_key(folder), by_reviewer_id(reviewer_keys(folder)))


def verifier_public_key(folder: Path) -> X25519PublicKey:
    """The verifier's public key: FOLDER/verifier.pub.

    Raises:
        KeysRefused: missing or damaged.
    """
    path = folder / "verifier.pub"
    key = _public(path)
    if not isinstance(key, X25519PublicKey):
        raise KeysRefused(f"{path} is not an X25519 public key")
    return key


def verifier_private_key(folder: Path) -> X25519PrivateKey:
    """The verifier's private key, held by reviewers: FOLDER/verifier.key.

    Raises:
        KeysRefused: missing, damaged, or readable by others.
    """
    path = folder / "verifier.key"
    key = _private(path)
    if not isinstance(key, X25519PrivateKey):
        raise KeysRefused(f"{path} is not an X25519 private key")
    return key


def key_id(key: X25519PublicKey) -> str:
    """Short name of a verifier's key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def token_key(folder: Path) -> bytes:
    """The key of the provider's tokens; to open one is the vault's part, after a verdict.

    Raises:
        KeysRefused: missing, damaged, or readable by others.
    """
    return key_files.secret(folder / "token.key", vouchers.TOKEN_KEY_BYTES)


# --- files ----------------------------------------------------------------------------------


def _party(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _write_tls(folder: Path, authority: CertificateAuthority, issued: Issued) -> None:
    key_files.write(folder / "ca.pem", authority.issued.certificate)
    key_files.write(folder / "tls.pem", issued.certificate)
    key_files.write(folder / "tls.key", issued.key)


def _write_centre(folder: Path, centre: Ed25519PrivateKey) -> None:
    key_files.write(_party(folder / "centre") / "signing.pub", _public_pem(centre.public_key()))


def _write_reviewers(folder: Path, deciders: Mapping[str, Ed25519PrivateKey]) -> None:
    place = _party(folder / "reviewers")
    for name, key in deciders.items():
        key_files.write(place / f"{name}.pub", _public_pem(key.public_key()))


def _private(path: Path) -> object:
    key_files.check_private(path)
    try:
        return serialization.load_pem_private_key(key_files.read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeysRefused(f"{path} is not a private key in PEM: {error}") from error


def _public(path: Path) -> object:
    try:
        return serialization.load_pem_public_key(key_files.read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeysRefused(f"{path} is not a public key in PEM") from error


def _ed25519_public(path: Path) -> Ed25519PublicKey:
    key = _public(path)
    if not isinstance(key, Ed25519PublicKey):
        raise KeysRefused(f"{path} is not an Ed25519 public key")
    return key


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(key_files.read(path))
    except ValueError as error:
        raise KeysRefused(f"{path} is not a certificate in PEM") from error


def _private_pem(key: X25519PrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public_pem(key: X25519PublicKey | Ed25519PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
