"""An indicator set on disk: a signed manifest beside its data.

    SET/manifest.json        what the set is; the exact bytes that were signed
    SET/signatures.json      Ed25519 signatures (RFC 8032) over them, each with its key's id
    SET/indicators.arrow     Arrow IPC file: indicator_id, value, effective (new: cluster)

The manifest holds the SHA-256 of the data file, so one signature covers both. The file is hashed
before it is parsed: Arrow loads a flipped bit silently.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from matchers import digests, limits, urls
from matchers.errors import IndicatorSetError, SetAltered, SignatureRefused
from matchers.files import sha256_file
from matchers.views import PROFILES, Profile

FORMAT: Final = "sluis-indicator-set/3"

Kind = Literal["known", "new", "url"]
KINDS: Final = ("known", "new", "url")

Algorithm = Literal["pdq", "vpdq", "md5", "sha1", "sha256", "url"]
VALUE_BYTES: Final = {
    "pdq": limits.PDQ_BYTES,
    "vpdq": limits.PDQ_BYTES,
    **digests.DIGEST_BYTES,
    "url": 32,
}
"""Algorithms a set can be of, with the length of one value. One set has one algorithm. A vpdq
indicator is a video: it has a row, with its id, for each of its frames' PDQ codes."""

PERCEPTUAL: Final = frozenset({"pdq", "vpdq"})
"""Algorithms whose values are looked up within a radius."""

_MANIFEST, _SIGNATURES, _DATA = "manifest.json", "signatures.json", "indicators.arrow"
SIGNED_FILES: Final = (_MANIFEST, _SIGNATURES)
"""What `read` reads of a set: whoever follows a set looks whether these have changed."""

_SIGNED_AS: Final = b"sluis/v1/indicator-set\n"
_SET_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a set is.

    Attributes:
        set_id: its name at the EU Centre: lower-case letters, digits, `.`, `_`, `-`.
        kind: the database it came from: known, new or url. Decides the route of every match.
        version: 1, 2, 3, ...; an older one than already used is refused.
        algorithm: of all its values.
        radius_bits: Hamming radius, inclusive (pdq and vpdq only, else 0).
        min_quality: lowest PDQ quality that is looked up (pdq and vpdq only, else 0); frames of an
            indicator below it were left out when the set was built.
        min_share_percent: least share of an indicator's frames that must be found (vpdq only,
            else 0).
        effective: first day it may be used.
        not_after: last day it may be used.
        order_ids: detection orders it was issued for.
        provenance: who made it, from what, in words.
        profile: which views of a picture are looked up (pdq and vpdq only, else plain): see
            `views`.
        url_rules: rule set of `matchers.urls` (url only, else "").
        url_key: base64 key of the digests (url only, else "").
        lineage: `sha256` of every earlier version's manifest, oldest first; empty for version 1.
        rows: how many values: indicators, or frames of them (vpdq).
        data_sha256: hex SHA-256 of indicators.arrow.
        format: `FORMAT`.
    """

    set_id: str
    kind: Kind
    version: int
    algorithm: Algorithm
    radius_bits: int
    min_quality: int
    effective: dt.date
    not_after: dt.date
    order_ids: tuple[str, ...]
    provenance: str
    profile: Profile = "plain"
    min_share_percent: int = 0
    url_rules: str = ""
    url_key: str = ""
    lineage: tuple[str, ...] = ()
    rows: int = 0
    data_sha256: str = ""
    format: str = field(default=FORMAT)

    def __post_init__(self) -> None:
        """Refuse a manifest that contradicts itself.

        Raises:
            IndicatorSetError: naming the field and what it must be.
        """
        is_perceptual = self.algorithm in PERCEPTUAL
        is_video = self.algorithm == "vpdq"
        is_url = self.algorithm == "url"
        rules: tuple[tuple[bool, str, str], ...] = (
            (
                self.format == FORMAT,
                "format",
                f"must be {FORMAT!r}: get the set in this format (docs/indicator-sets.md)",
            ),
            (bool(_SET_ID.fullmatch(self.set_id)), "set_id", "must be a lower-case name"),
            (self.kind in KINDS, "kind", f"must be one of {', '.join(KINDS)}"),
            (self.algorithm in VALUE_BYTES, "algorithm", f"is one of {', '.join(VALUE_BYTES)}"),
            ((self.kind == "url") == is_url, "kind", "url goes with algorithm url, and only so"),
            (self.version >= 1, "version", "counts from 1"),
            (
                bool(self.lineage) == (self.version > 1) and len(self.lineage) < self.version,
                "lineage",
                "names the manifest of each earlier version, and is empty for version 1 only",
            ),
            (
                0 <= self.radius_bits <= (limits.MAX_RADIUS_BITS if is_perceptual else 0),
                "radius_bits",
                f"is 0 to {limits.MAX_RADIUS_BITS} for pdq and vpdq, else 0",
            ),
            (
                0 <= self.min_quality <= (100 if is_perceptual else 0),
                "min_quality",
                "is 0 to 100 for pdq and vpdq, else 0",
            ),
            (
                is_video <= self.min_share_percent <= 100 * is_video,
                "min_share_percent",
                "is 1 to 100 for vpdq, else 0",
            ),
            (
                self.profile in PROFILES if is_perceptual else self.profile == "plain",
                "profile",
                f"is one of {', '.join(PROFILES)} for pdq and vpdq, else plain",
            ),
            (
                self.profile != "refine" or not is_video,
                "profile",
                "is not for vpdq: near matches of frames add up to nothing",
            ),
            (
                self.kind != "new" or self.profile != "refine",
                "profile",
                "may not be refine for a set of kind new: a near match is too weak to open others",
            ),
            (
                self.kind != "new" or 2 * self.radius_bits <= limits.MAX_RADIUS_BITS,
                "radius_bits",
                f"is at most {limits.MAX_RADIUS_BITS // 2} for a set of kind new (clusters)",
            ),
            (self.effective <= self.not_after, "not_after", "must not be before effective"),
            (bool(self.order_ids), "order_ids", "must name at least one detection order"),
            (self.url_rules == (urls.RULES if is_url else ""), "url_rules", f"is {urls.RULES!r}"),
            (
                _is_key(self.url_key) if is_url else not self.url_key,
                "url_key",
                f"is base64 of {urls.KEY_BYTES} bytes for a url set, else empty",
            ),
        )
        for holds, name, remedy in rules:
            if not holds:
                value = getattr(self, name)
                shown = str(value) if isinstance(value, dt.date) else repr(value)
                raise IndicatorSetError(
                    f"indicator set {self.set_id!r}: {name} is {shown}; {remedy}"
                )

    @property
    def cluster_radius_bits(self) -> int:
        """Indicators linked by steps of at most this many bits are one cluster: see `clusters`."""
        return 2 * self.radius_bits

    @property
    def next_lineage(self) -> tuple[str, ...]:
        """`lineage` of the version that follows this one."""
        return (*self.lineage, self.sha256)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the signed manifest: it names this version's contents and terms."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The bytes that are signed and stored: JSON with sorted keys."""
        values = asdict(self)
        values["effective"] = self.effective.isoformat()
        values["not_after"] = self.not_after.isoformat()
        return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> Manifest:
        """Read what `to_bytes` wrote.

        Raises:
            IndicatorSetError: not such a manifest.
        """
        try:
            values = json.loads(data)
            values["effective"] = dt.date.fromisoformat(values["effective"])
            values["not_after"] = dt.date.fromisoformat(values["not_after"])
            values["order_ids"] = tuple(values["order_ids"])
            values["lineage"] = tuple(values.get("lineage", ()))
            return cls(**values)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IndicatorSetError(
                f"{where} is not a manifest of format {FORMAT!r} ({error}): get the set again"
            ) from error


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == urls.KEY_BYTES
    except ValueError:
        return False


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a signing key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def write(
    folder: Path, manifest: Manifest, data: pa.Table, signing_key: Ed25519PrivateKey
) -> Manifest:
    """Write a new set and sign it; `rows` and `data_sha256` are filled in here.

    Raises:
        IndicatorSetError: if `folder` already exists: a set is never changed in place.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise IndicatorSetError(
            f"{folder} exists: a set is never changed in place; name a new folder"
        ) from None
    with pa.OSFile(str(folder / _DATA), "wb") as sink, pa.ipc.new_file(sink, data.schema) as file:
        file.write_table(data)
    finished = Manifest(
        **{
            **{name: getattr(manifest, name) for name in manifest.__dataclass_fields__},
            "rows": data.num_rows,
            "data_sha256": sha256_file(folder / _DATA),
        }
    )
    signed = finished.to_bytes()
    (folder / _MANIFEST).write_bytes(signed)
    signature = base64.b64encode(signing_key.sign(_SIGNED_AS + signed)).decode()
    entry = {"key_id": key_id(signing_key.public_key()), "ed25519": signature}
    (folder / _SIGNATURES).write_text(json.dumps([entry], indent=2) + "\n")
    return finished


def read(folder: Path, trusted: Sequence[Ed25519PublicKey]) -> Manifest:
    """Read a set's manifest and check its signature.

    Raises:
        SignatureRefused: unsigned, or signed by no key in `trusted`.
        SetAltered: the manifest is not what was signed.
        IndicatorSetError: not an indicator set.
    """
    try:
        signed = (folder / _MANIFEST).read_bytes()
    except OSError as error:
        raise IndicatorSetError(
            f"{folder} is not an indicator set: {_MANIFEST} cannot be read ({error.strerror})"
        ) from error
    _check_signature(folder, signed, trusted)
    return Manifest.from_bytes(signed, folder / _MANIFEST)


def read_data(folder: Path, manifest: Manifest) -> pa.Table:
    """Read the data of a set whose manifest `read` has accepted.

    Read once and hashed in memory, so that nobody can change the file in between.

    Raises:
        SetAltered: not the file that was signed, or not of the shape its manifest promises.
        IndicatorSetError: an indicator's effective day is later than the set's.
    """
    try:
        with pa.OSFile(str(folder / _DATA), "rb") as file:
            data = file.read_buffer()
    except OSError as error:
        raise SetAltered(f"{folder}/{_DATA} cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != manifest.data_sha256:
        raise SetAltered(
            f"{folder}/{_DATA} is not the file that was signed: get the set again from its source"
        )
    try:
        table = pa.ipc.open_file(data).read_all()
    except (pa.ArrowException, OSError):
        table = None
    if (
        table is None
        or table.schema != _expected_schema(manifest)
        or table.num_rows != manifest.rows
        or any(column.null_count for column in table.columns)
        or (pc.max(pc.binary_length(table["indicator_id"])).as_py() or 0)
        > limits.MAX_INDICATOR_ID_BYTES
    ):
        raise SetAltered(f"{folder}/{_DATA} does not hold what {_MANIFEST} says: build it again")
    latest = pc.max(table["effective"]).as_py() or manifest.effective
    if latest > manifest.effective:
        raise IndicatorSetError(
            f"{folder}/{_DATA} holds an indicator that is effective from {latest}, after the set's "
            f"own {manifest.effective}: get the set again from its source"
        )
    return table


def _expected_schema(manifest: Manifest) -> pa.Schema:
    dated = schema(manifest.algorithm).append(EFFECTIVE)
    return dated.append(CLUSTER) if manifest.kind == "new" else dated


EFFECTIVE: Final = pa.field("effective", pa.date32(), nullable=False)
"""First day of the indicator, or its cluster, in any version of the set; not after the set's."""

CLUSTER: Final = pa.field("cluster", pa.string(), nullable=False)
"""Name of the indicator's cluster: the value of one of its members, in hex."""


def schema(algorithm: Algorithm) -> pa.Schema:
    """Arrow schema of a list's rows; indicators.arrow adds `EFFECTIVE`, and `CLUSTER` for new."""
    return pa.schema(
        [
            pa.field("indicator_id", pa.string(), nullable=False),
            pa.field("value", pa.binary(VALUE_BYTES[algorithm]), nullable=False),
        ]
    )


def _check_signature(folder: Path, signed: bytes, trusted: Sequence[Ed25519PublicKey]) -> None:
    by_id = {key_id(key): key for key in trusted}
    try:
        entries = json.loads((folder / _SIGNATURES).read_bytes())
        offered = [(str(e["key_id"]), base64.b64decode(e["ed25519"])) for e in entries]
    except (OSError, ValueError, KeyError, TypeError):
        raise SignatureRefused(
            f"{folder} is unsigned: {_SIGNATURES} is missing or unreadable. Only sets signed by "
            "the EU Centre may be used"
        ) from None
    known = [(by_id[name], signature) for name, signature in offered if name in by_id]
    if not known:
        names = ", ".join(name for name, _ in offered) or "none"
        raise SignatureRefused(
            f"{folder} is signed by key(s) {names}, none of which is trusted here: put the EU "
            "Centre's public key among the trusted keys, or get the set from the Centre"
        )
    for key, signature in known:
        try:
            key.verify(signature, _SIGNED_AS + signed)
        except InvalidSignature:
            continue
        return
    raise SetAltered(f"{folder}/{_MANIFEST} is not what was signed: get the set again")
