"""The conformance set through ours and what is used today: the table of docs/formats.md.

Every file of `tests/conformance` is hashed as each way does it from bytes, and compared with the
reference core's code of the RGB pixels that a person sees. Ours has to hold for every rendering.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from matchers import limits
from tests.conformance import judge
from tests.conformance.ways import WAYS, Stored, originals

OURS: Final = "Sluis"
THREATEXCHANGE: Final = "threatexchange"
REFERENCE: Final = "pdqhash + Pillow"
START, END = "<!-- table: make bench-formats -->", "<!-- end of table -->"

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One way to store pictures.

    Attributes:
        way: its name.
        bound_bits: what is stated, and tested, of ours.
        worst_bits: by hasher, the most bits off over all pictures; None if it refuses one.
    """

    way: str
    bound_bits: int
    worst_bits: dict[str, int | None]


def measure(say: Callable[[str], None]) -> list[Row]:
    """Hash the whole set, way by way."""
    say(f"{len(WAYS)} ways to store {len(originals())} pictures")
    peers = {THREATEXCHANGE: _threatexchange, REFERENCE: _reference}
    rows = []
    for name, way in WAYS.items():
        stored = [one for original in originals() for one in judge.written(name, original)]
        worst: dict[str, int | None] = {
            OURS: max(bits for one in stored for bits in judge.ours(one).values())
        }
        worst |= {peer: _worst(stored, code_of) for peer, code_of in peers.items()}
        rows.append(Row(name, way.bits, worst))
    return rows


def _worst(stored: Sequence[Stored], code_of: Callable[[bytes], Codes]) -> int | None:
    """The most bits that a peer is off what is shown; None if it refuses a file."""
    bits = []
    for one in stored:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                code = code_of(one.blob)
        except Exception:  # noqa: BLE001 - whatever a peer raises, the file has no code
            return None
        bits.append(int(np.bitwise_count(code ^ judge.shown_code(one)).sum()))
    return max(bits)


def _threatexchange(blob: bytes) -> Codes:
    from threatexchange.signal_type.pdq.signal import PdqSignal

    code = PdqSignal.hash_from_bytes(blob)
    if not code:  # its word for "none could be made"
        raise ValueError("no code")
    return np.frombuffer(bytes.fromhex(code), np.uint8)


def _reference(blob: bytes) -> Codes:
    """Pillow to RGB, then the reference core: what one writes first."""
    import pdqhash

    bits, _ = pdqhash.compute(np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")))
    return np.packbits(bits.astype(np.uint8))


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, and how many of them each hasher would find."""
    hashers = (OURS, THREATEXCHANGE, REFERENCE)
    lines = [
        f"| stored as | bound | {' | '.join(hashers)} |",
        f"|---|---:|{'---:|' * len(hashers)}",
    ]
    for row in rows:
        cells = (_cell(row.worst_bits[hasher]) for hasher in hashers)
        lines.append(f"| {row.way} | {row.bound_bits} | {' | '.join(cells)} |")
    found = (sum(_is_found(row.worst_bits[hasher]) for row in rows) for hasher in hashers)
    counts = " | ".join(f"**{count} of {len(rows)}**" for count in found)
    lines.append(f"| **found within {limits.PDQ_RADIUS_BITS} bits** | | {counts} |")
    return "\n".join(lines) + "\n"


def _is_found(bits: int | None) -> bool:
    return bits is not None and bits <= limits.PDQ_RADIUS_BITS


def _cell(bits: int | None) -> str:
    if bits is None:
        return "refused"
    return str(bits) if _is_found(bits) else f"**{bits}**"


def write(rows: Sequence[Row], page: Path) -> None:
    """Put the table into the page, in the place of the one before.

    Raises:
        ValueError: the page has no place for it.
    """
    text = page.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise ValueError(f"{page} has no {START!r} and {END!r}: put them where the table belongs")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    page.write_text(f"{before}{START}\n\n{table(rows)}\n{END}{after}", encoding="utf-8")
