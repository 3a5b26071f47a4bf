"""Signed indicator sets made for a test, on disk, with throw-away keys."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from matchers import urls
from matchers.indicators import IndicatorSet, Manifest, load
from matchers.indicators.build import Previous, as_version
from matchers.indicators.manifest import PERCEPTUAL, VALUE_BYTES, read, read_data, schema, write

CENTRE = Ed25519PrivateKey.from_private_bytes(bytes(32))
"""The signing key of the EU Centre in tests: a fixed one, so that sets are the same every run."""

STRANGER = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
"""A key that nobody trusts."""

TODAY = dt.date(2025, 6, 15)
URL_KEY = bytes(range(32))


def manifest(algorithm: str = "pdq", /, **changes: object) -> Manifest:
    """A valid manifest of that algorithm, with some fields changed."""
    values = {
        "set_id": f"test-{algorithm}",
        "kind": "url" if algorithm == "url" else "known",
        "version": 1,
        "algorithm": algorithm,
        "radius_bits": 31 if algorithm in PERCEPTUAL else 0,
        "min_quality": 50 if algorithm in PERCEPTUAL else 0,
        "min_share_percent": 80 if algorithm == "vpdq" else 0,
        "profile": "standard" if algorithm == "pdq" else "plain",
        "effective": dt.date(2025, 1, 1),
        "not_after": dt.date(2025, 12, 31),
        "order_ids": ("order-1",),
        "provenance": "made for a test",
        "url_rules": urls.RULES if algorithm == "url" else "",
        "url_key": base64.b64encode(URL_KEY).decode() if algorithm == "url" else "",
    }
    return Manifest(**(values | changes))


def rows(algorithm: str, values: Sequence[bytes]) -> pa.Table:
    """A list's rows: each value under the name `row-N`."""
    names = [f"row-{number}" for number in range(len(values))]
    return pa.table(
        {
            "indicator_id": pa.array(names, pa.string()),
            "value": pa.array(list(values), pa.binary(VALUE_BYTES[algorithm])),
        },
        schema=schema(algorithm),
    )


def signed_set(
    folder: Path,
    values: Sequence[bytes],
    algorithm: str = "pdq",
    previous: Path | None = None,
    **changes: object,
) -> IndicatorSet:
    """Write a set of `values` as `folder`, signed by `CENTRE`, and load it."""
    before = None
    if previous is not None:
        earlier = read(previous, [CENTRE.public_key()])
        before = Previous(earlier, read_data(previous, earlier))
        changes = {
            "version": earlier.version + 1,
            "lineage": earlier.next_lineage,
            "kind": earlier.kind,
        } | changes
    made = manifest(algorithm, **changes)
    write(folder, made, as_version(rows(algorithm, values), made, before), CENTRE)
    return load(folder, [CENTRE.public_key()], today=TODAY)
