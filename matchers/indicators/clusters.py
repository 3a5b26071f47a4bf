"""Near-duplicates of a set: single linkage over its codes.

Two hits on new material count only if they differ in content *and* indicator. One picture may lie
within the radius of two listed codes; these are then at most twice the radius apart. Indicators
linked by steps of at most twice the radius are therefore one cluster, and count as one. A picture
is looked up turned and mirrored too, so a step may go by way of a turn. Videos that share frames
within that distance are linked in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from matchers.errors import IndicatorSetError
from matchers.hamming import HammingIndex

_BATCH = 1024  # queries at once: bounds the pairs held
_NAMED = 10  # indicators that a message names

_ROW, _COLUMN = 15 - np.arange(256) // 16, 15 - np.arange(256) % 16  # coefficient of each bit
_I, _J = np.indices((16, 16))
_NOTHING = np.zeros((16, 16), np.bool_)
_TURNS = (
    (_NOTHING, False),
    (_J % 2 == 0, True),
    ((_I + _J) % 2 == 1, False),
    (_I % 2 == 0, True),
    (_I % 2 == 0, False),
    (_J % 2 == 0, False),
    (_NOTHING, True),
    ((_I + _J) % 2 == 1, True),
)
"""For each of `pdq.DIHEDRAL_VIEWS` which coefficients change their sign, and whether rows and
columns are exchanged."""


def turned(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The codes of pictures' eight turns and reflections, as well as their codes alone tell.

    A coefficient that changes its sign changes its bit, if the median is zero. It nearly is: on
    photographs 7 bits are off on average.

    Args:
        codes: uint8 [n, 32].

    Returns:
        uint8 [8, n, 32], in the order of `pdq.DIHEDRAL_VIEWS`.
    """
    grid = np.zeros((len(codes), 16, 16), np.bool_)
    grid[:, _ROW, _COLUMN] = np.unpackbits(codes, axis=1)
    views = ((grid ^ signs, exchanged) for signs, exchanged in _TURNS)
    bits = [
        (view.swapaxes(1, 2) if exchanged else view)[:, _ROW, _COLUMN] for view, exchanged in views
    ]
    return np.packbits(np.array(bits).reshape(len(_TURNS), len(codes), 256), axis=2)


def single_linkage(codes: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.int64]:
    """The lowest row that each row is linked to, by steps of at most `radius` bits.

    A step may turn or mirror the picture.

    Args:
        codes: uint8 [n, 32].
        radius: in bits, inclusive.

    Returns:
        int64 [n]: equal for two rows if and only if they are in one cluster.
    """
    index = HammingIndex.build(codes)
    parent = np.arange(len(codes), dtype=np.int64)

    for first in range(0, len(codes), _BATCH):
        batch = codes[first : first + _BATCH]
        pairs = index.search(turned(batch).reshape(-1, codes.shape[1]), radius)
        rows = first + pairs.query % len(batch)
        for row, other in zip(rows.tolist(), pairs.indicator.tolist(), strict=True):
            one, two = _root(parent, row), _root(parent, other)
            parent[max(one, two)] = min(one, two)
    return np.array([_root(parent, row) for row in range(len(codes))], np.int64)


def joined(roots: npt.NDArray[np.int64], indicator_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Clusters of videos: those of all frames of one indicator become one.

    Args:
        roots: of the frames, from `single_linkage`.
        indicator_ids: of the frames.

    Returns:
        int64 [n], as from `single_linkage`.
    """
    parent = np.arange(len(roots), dtype=np.int64)
    first: dict[str, int] = {}
    for row, name in zip(roots.tolist(), indicator_ids, strict=True):
        one, two = _root(parent, row), _root(parent, first.setdefault(name, row))
        parent[max(one, two)] = min(one, two)
    return np.array([_root(parent, row) for row in roots.tolist()], np.int64)


def _root(parent: npt.NDArray[np.int64], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]  # halve the path
        row = int(parent[row])
    return row


def names(
    indicator_ids: Sequence[str],
    values: Sequence[bytes],
    roots: npt.NDArray[np.int64],
    before: Mapping[bytes, str],
) -> list[str]:
    """Each indicator's cluster, by name, stable from version to version.

    What an indicator is, is its value: the ids of a plain list are line numbers, which move.

    Args:
        indicator_ids: of the rows.
        values: of the rows.
        roots: from `single_linkage`.
        before: value -> cluster in the version before. An indicator keeps its cluster and a new
            one joins the cluster it is linked to; a new cluster is named after its root's value.

    Raises:
        IndicatorSetError: clusters that were apart are linked now. Apart, one picture could be near
            both and count twice; merged, a hit on one from before and a hit on the other would.
    """
    kept: dict[int, str] = {}
    bridged = set()
    for root, value in zip(roots.tolist(), values, strict=True):
        if value in before and kept.setdefault(root, before[value]) != before[value]:
            bridged.add(root)
    if bridged:
        rows = zip(indicator_ids, values, roots.tolist(), strict=True)
        new = (name for name, value, root in rows if root in bridged and value not in before)
        raise _bridging(list(dict.fromkeys(new)))  # a video's frames have its name
    return [kept.get(root, values[root].hex()) for root in roots.tolist()]


def _bridging(new: Sequence[str]) -> IndicatorSetError:
    if not new:
        return IndicatorSetError(
            "the larger radius links near-duplicates that the version before holds apart: one "
            "picture could count as two hits. Keep the radius of the version before"
        )
    shown = ", ".join(repr(name) for name in new[:_NAMED])
    more = f" and {len(new) - _NAMED:,} more" if len(new) > _NAMED else ""
    return IndicatorSetError(
        f"new indicator(s) {shown}{more} link near-duplicates that the version before holds apart: "
        "one picture could count as two hits. Leave them out of this set; the first version of a "
        "set for the next order may list them"
    )
