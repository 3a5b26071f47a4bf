"""What is uploaded, and when: all from one seed, before the first upload is due. Pure.

A load test that makes its files while it runs measures itself. So contents are made beforehand, and
an upload is a draw from them. What shall be new gets some bytes after its end, as cameras and
messengers leave them: nobody has seen that file before, and every decoder passes over them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipeline.loadtest.edits import EDITS, Kind, encoded, filmed, zipped
from pipeline.loadtest.pictures import PLANTED

Role = Literal["fresh", "popular", "planted", "corrupt", "not covered", "sent again"]

SHARES: Final[dict[Role, float]] = {
    "fresh": 0.74,  # a file that nobody has seen
    "popular": 0.10,  # one of a few files that many upload
    "planted": 0.06,  # an edit of a picture that the indicator set holds
    "corrupt": 0.03,  # cut off, or no picture at all
    "not covered": 0.04,  # end-to-end encrypted: answered and counted, never opened
    "sent again": 0.03,  # an earlier upload unchanged, as a client does that has lost the answer
}
"""Of uploads. Far more hits than any provider has, so that there is something to measure."""

_SIDES: Final = ((480, 360, 0.30), (1024, 768, 0.40), (1600, 1200, 0.25), (4000, 3000, 0.05))
_FORMATS: Final = (("JPEG", 0.80), ("PNG", 0.06), ("WEBP", 0.10), ("GIF", 0.04))

FRESH, POPULAR = 60, 10
PICTURES: Final = PLANTED + FRESH + POPULAR
BURST_EVERY_SECONDS, BURST_SECONDS = 10.0, 1.0
MOST_BURST: Final = BURST_EVERY_SECONDS / BURST_SECONDS
_SENT_AGAIN_WITHIN: Final = 50  # uploads


@dataclass(frozen=True, eq=False)
class Content:
    """The bytes of an upload.

    Attributes:
        kind: as its row says.
        edit: of a planted picture; empty for everything else.
    """

    kind: Kind
    data: bytes
    edit: str = ""


@dataclass(frozen=True)
class Contents:
    """All that uploads are drawn from.

    Attributes:
        indicators: the planted pictures themselves, as the list-maker has them: name -> file.
    """

    indicators: dict[str, bytes]
    planted: tuple[Content, ...]
    fresh: tuple[Content, ...]
    popular: tuple[Content, ...]
    corrupt: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload.

    Attributes:
        due_seconds: when it is due, from the start.
        item_id: the same twice only where an upload is sent again.
        mark: what follows the content's bytes.
        is_covered: whether the order covers it, by what its row says.
    """

    due_seconds: float
    item_id: str
    role: Role
    content: Content
    mark: bytes
    is_covered: bool


def contents(
    pictures: Iterator[Image.Image], seed: int, planted: dict[str, Image.Image] | None = None
) -> Contents:
    """Make every content.

    Args:
        pictures: `PICTURES` of them.
        seed: of sizes and formats.
        planted: pictures that are indicators already; None: the first `PLANTED` pictures are.
    """
    random = np.random.default_rng([seed, 1])
    first = {f"planted-{n:02}": _sized(next(pictures), 1024, 768) for n in range(PLANTED)}
    if planted is None:  # else the first are left out all the same: the list may hold just those
        planted = first
    fresh = [_stored(next(pictures), random) for _ in range(FRESH)]
    popular = [_stored(next(pictures), random) for _ in range(POPULAR - 2)]
    popular.append(Content("container", zipped(encoded(next(pictures), "JPEG", quality=85))))
    popular.append(Content("video", filmed(next(pictures))))
    edited = [
        Content(kind, edit(image), name)
        for image in planted.values()
        for name, (kind, edit) in EDITS.items()
    ]
    return Contents(
        {name: encoded(image, "PNG", compress_level=1) for name, image in planted.items()},
        tuple(edited),
        tuple(fresh),
        tuple(popular),
        tuple(_spoilt(fresh, random)),
    )


def plan(
    drawn_from: Contents,
    *,
    seed: Sequence[int],
    prefix: str,
    rate: float,
    seconds: float,
    burst: float = 1.0,
) -> list[Upload]:
    """Draw the uploads of a stretch of time, in the order they are due.

    Args:
        drawn_from: the contents.
        seed: of the draw.
        prefix: of the items' names: another one for each plan that is sent to a front door.
        rate: uploads a second, on average.
        seconds: its length.
        burst: how many times the rate for one second in ten; the others have so much less.
    """
    random = np.random.default_rng(seed)
    due = due_times(random, rate, seconds, burst)
    roles: list[Role] = list(SHARES)
    drawn = random.choice(len(roles), len(due), p=list(SHARES.values()))
    planted = itertools.cycle(drawn_from.planted)  # in turn: every edit comes early, and as often
    uploads: list[Upload] = []
    for number, (at, draw) in enumerate(zip(due.tolist(), drawn.tolist(), strict=True)):
        role: Role = roles[draw] if uploads else "fresh"
        if role == "sent again":
            before = uploads[-int(random.integers(1, min(len(uploads), _SENT_AGAIN_WITHIN) + 1))]
            uploads.append(replace(before, due_seconds=at, role=role))
            continue
        content = next(planted) if role == "planted" else _draw(drawn_from, role, random)
        mark = b"" if role in {"popular", "planted", "corrupt"} else random.bytes(8)
        item_id = f"{prefix}-{number:07}"
        uploads.append(Upload(at, item_id, role, content, mark, role != "not covered"))
    return uploads


def due_times(
    random: np.random.Generator, rate: float, seconds: float, burst: float
) -> npt.NDArray[np.float64]:
    """Arrivals by chance (Poisson) at a rate that is `burst` times as high at times.

    Arrivals at rate one are stretched by the inverse of the sum of the rate over time.
    """
    calm = rate * (MOST_BURST - burst) / (MOST_BURST - 1)
    edges, expected = [0.0], [0.0]
    while edges[-1] < seconds:
        for length, of_it in (
            (BURST_EVERY_SECONDS - BURST_SECONDS, calm),
            (BURST_SECONDS, burst * rate),
        ):
            edges.append(edges[-1] + length)
            expected.append(expected[-1] + length * of_it)
    enough = int(expected[-1] + 10 * np.sqrt(expected[-1]) + 10)
    arrivals = random.exponential(1.0, enough).cumsum()
    due: npt.NDArray[np.float64] = np.interp(arrivals[arrivals < expected[-1]], expected, edges)
    return due[: np.searchsorted(due, seconds)]


def _draw(drawn_from: Contents, role: Role, random: np.random.Generator) -> Content:
    pools = {"popular": drawn_from.popular, "corrupt": drawn_from.corrupt}
    pool = pools.get(role, drawn_from.fresh)
    return pool[int(random.integers(len(pool)))]


def _stored(image: Image.Image, random: np.random.Generator) -> Content:
    """A picture of a size and format drawn by their shares."""
    width, height, _ = _SIDES[random.choice(len(_SIDES), p=[share for *_, share in _SIDES])]
    names = [name for name, _ in _FORMATS]
    file_format = names[random.choice(len(names), p=[share for _, share in _FORMATS])]
    if file_format in {"PNG", "GIF"}:  # nobody uploads such at twelve megapixels
        width, height = min(width, 1024), min(height, 768)
    sized = _sized(image, width, height)
    if file_format == "JPEG":
        quality = int(random.integers(70, 93))
        progressive = bool(random.random() < 0.3)
        data = encoded(sized, "JPEG", quality=quality, progressive=progressive)
    elif file_format == "WEBP":
        data = encoded(sized, "WEBP", quality=80, method=2)
    else:
        data = encoded(sized, file_format)
    return Content("image", data)


def _sized(image: Image.Image, width: int, height: int) -> Image.Image:
    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def _spoilt(whole: list[Content], random: np.random.Generator) -> Iterator[Content]:
    """Files cut off, files with bytes changed, and bytes that are no file at all."""
    for content in whole[:4]:
        yield Content("image", content.data[: len(content.data) // 3])
        changed = np.frombuffer(content.data, np.uint8).copy()
        changed[random.integers(0, len(changed), 40)] = random.integers(0, 256, 40, np.uint8)
        yield Content("image", changed.tobytes())
    yield Content("image", random.bytes(4_000))
    yield Content("container", b"PK\x03\x04" + random.bytes(2_000))
    yield Content("video", b"\x00\x00\x00\x18ftypmp42" + random.bytes(2_000))
