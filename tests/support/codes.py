"""Fingerprints made of ready codes, as if pictures had been hashed to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matchers.fingerprints import Fingerprints


def of_codes(
    codes: Sequence[bytes],
    quality: int = 100,
    times: Sequence[tuple[float, float]] | None = None,
    views: Sequence[int] | None = None,
) -> Fingerprints:
    """One picture for each code: pictures of a film if they have `times`, else a still's."""
    n = len(codes)
    spans = times if times is not None else [(np.nan, np.nan)] * n
    return Fingerprints(
        codes=np.frombuffer(b"".join(codes), np.uint8).reshape(n, 32),
        quality=np.full(n, quality, np.uint8),
        views=np.array(views if views is not None else [0] * n, np.uint16),
        frame=np.arange(n, dtype=np.int32),
        frames=np.array(spans, np.float32).reshape(n, 2),
        renderings=np.zeros(n, np.uint8),
        planes=np.zeros((0, 64, 64), np.float32),
        plane=np.full(n, -1, np.int32),
    )
