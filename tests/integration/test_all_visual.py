"""A listed picture is found in whatever form it is uploaded: format, film, archive, edit."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from support import world as worlds
from support.pictures import store

from matchers import pdq
from matchers.indicators.manifest import schema
from pipeline import keys, vouchers
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2
from pipeline.vouchers import Context, Policy
from tests.conformance import judge
from tests.conformance.ways import WAYS

sys.path.insert(0, str(worlds.REPOSITORY / "deploy" / "demo"))
import uploads as demo

LISTED = Image.open(worlds.PHOTOS / "pagoda.jpg").convert("RGB")
OTHERS = [
    Image.open(worlds.PHOTOS / f"{name}.jpg").convert("RGB")
    for name in ("heron", "fig", "canyon-wren", "tea-garden")
]

FORMATS = {
    f"{n:02}-{m}": stored
    for n, way in enumerate(WAYS)
    for m, stored in enumerate(judge.written(way, "cat"))
}
"""A photograph in every way in which it can be stored."""


@pytest.fixture(scope="module")
def listed(world: worlds.World) -> worlds.World:
    """Sets of profile thorough: the photograph; and what the files of the conformance set show."""
    shown = {pdq.hash_pixels(stored.shows["as_shown"])[0].tobytes() for stored in FORMATS.values()}
    for name, codes in (
        ("visual", [pdq.hash_pixels(np.asarray(LISTED))[0].tobytes()]),
        ("formats", sorted(shown)),
    ):
        rows = {"indicator_id": [f"{name}-{n}" for n in range(len(codes))], "value": codes}
        world.add_set(name, "known", pa.table(rows, schema=schema("pdq")), profile="thorough")
    return world


def scanned(
    world: worlds.World, address: str, folder: Path, files: dict[str, bytes], *sets: str
) -> tuple[dict, dict[tuple[str, tuple[int, ...]], candidate_pb2.CandidatePayload]]:
    """Scan these files; the report's counts, and every candidate by item and inner path."""
    source = folder / "uploads"
    source.mkdir()
    for name, data in files.items():
        (source / name).write_bytes(data)
    order = worlds.make_order(indicator_sets=list(sets), media=["image", "video"], kinds=["known"])
    report = world.scan(source, world.config(address, *sets, order=order), folder / "run")
    context = Context(vouchers.order_id(worlds.REFERENCE), 0, 1, Policy().policy_id)
    token_key = keys.token_key(world.keys / "provider")
    found = {}
    with worlds.reviewer(world, address) as reviewer:
        for item in reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED):
            payload = reviewer.open(item.candidate)
            name = vouchers.open_token(
                token_key, "content", context, item.candidate.candidate_id, payload.content_token
            )
            found[name, tuple(payload.inner_path)] = payload
    return report["tally"], found


def test_a_folder_with_every_format_gives_a_candidate_for_each_file(listed, verification, tmp_path):
    """Every format and pixel mode of the conformance set, through the whole scan."""
    files = {name: stored.blob for name, stored in FORMATS.items()}
    tally, found = scanned(listed, verification, tmp_path, files, "formats")
    assert {name for name, _ in found} == set(files)
    assert tally["candidate"] == tally["rows"] == len(files)


def test_a_picture_is_found_in_a_film_a_gif_and_an_archive_in_an_archive(
    listed, verification, tmp_path
):
    """Each candidate says where in the item it lies."""
    picture = store(LISTED, "JPEG", quality=60)
    other = store(OTHERS[0], "JPEG")
    files = {
        "film.mp4": demo._video([OTHERS[0], LISTED, OTHERS[1]]),
        "fifth.gif": demo._gif([*OTHERS, LISTED]),
        "nested.zip": demo._zip({"inner.zip": demo._zip({"a.jpg": other, "b.jpg": picture})}),
    }
    tally, found = scanned(listed, verification, tmp_path, files, "visual")
    assert set(found) == {("film.mp4", ()), ("fifth.gif", ()), ("nested.zip", (1, 2))}
    [span] = found["film.mp4", ()].spans
    assert 1_000 <= span.start_milliseconds <= 2_500
    assert 3_000 <= span.end_milliseconds <= 4_500
    assert found["fifth.gif", ()].spans_total == 1
    assert (tally["rows"], tally["inner"], tally["candidate"], tally["clear"]) == (3, 3, 3, 3)


def test_a_run_says_how_its_sets_match_and_counts_what_is_inside(listed, verification, tmp_path):
    """A video set is told in videos, with its least share; an archive's parts count in the rate."""
    rng = np.random.default_rng(3)
    rows = {
        "indicator_id": ["one.mp4"] * 5 + ["two.mp4"] * 6,
        "value": [rng.bytes(32) for _ in range(11)],
    }
    films = pa.table(rows, schema=schema("vpdq"))
    listed.add_set("films", "known", films, algorithm="vpdq", min_share_percent=85)
    source = tmp_path / "uploads"
    source.mkdir()
    (source / "two.zip").write_bytes(demo._zip({"a.txt": b"Buy bread.", "b.txt": b"And milk."}))
    order = worlds.make_order(indicator_sets=["films"], media=["image", "video"], kinds=["known"])
    config = listed.config(verification, "films", order=order)
    seen: list[tuple[int, float, float]] = []
    report = listed.scan(
        source, config, tmp_path / "run",
        listener=lambda p: seen.append((p.tally.inner, p.rows_per_second, p.counted_per_second)),
    )  # fmt: skip
    (told,) = report["indicator_sets"]
    assert (told["profile"], told["min_share_percent"]) == ("plain", 85)
    assert (told["indicators"], told["videos"]) == (11, 2)
    assert (report["tally"]["rows"], report["tally"]["inner"]) == (1, 2)
    assert sum(done for _, done, _ in report["finished"]) == 3
    inner, items, all_of_it = seen[-1]
    assert inner == 2
    assert all_of_it > items > 0


def test_mirrored_bordered_and_cropped_copies_are_found_by_a_view_that_is_named(
    listed, verification, tmp_path
):
    """PDQ alone finds none of the three."""
    across, down = LISTED.width // 40, LISTED.height // 40
    box = (across, down, LISTED.width - across, LISTED.height - down)
    files = {
        "mirrored.jpg": store(ImageOps.mirror(LISTED), "JPEG"),
        "bordered.jpg": store(ImageOps.expand(LISTED, 40, (20, 24, 90)), "JPEG"),
        "cropped.jpg": store(LISTED.crop(box), "JPEG"),
    }
    _, found = scanned(listed, verification, tmp_path, files, "visual")
    assert {name for name, _ in found} == set(files)
    views = {name: payload.view for (name, _), payload in found.items()}
    assert views["mirrored.jpg"].startswith(("full, flipped left to right", "full, mirrored"))
    assert "cut" in views["bordered.jpg"]
    assert "cropped" in views["cropped.jpg"]
    assert {payload.method for payload in found.values()} == {"pdq"}


def test_what_is_inside_a_container_fails_and_is_skipped_under_its_own_number(
    listed, verification, tmp_path
):
    """A damaged picture and a text in an archive stop nothing, and the damaged one is named."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("notes.txt", "words")
        archive.writestr("half.jpg", store(LISTED, "JPEG")[:5_000])
        archive.writestr("whole.jpg", store(LISTED, "JPEG"))
    tally, found = scanned(
        listed, verification, tmp_path, {"three.zip": buffer.getvalue()}, "visual"
    )
    assert set(found) == {("three.zip", (3,))}
    assert tally["skipped"] == {"not_visual": 1}
    assert tally["failed"] == {"decode: truncated": 1}
    assert (tally["rows"], tally["inner"], tally["clear"]) == (1, 3, 1)
    [row] = pq.read_table(tmp_path / "run" / "failed.parquet").to_pylist()
    assert (row["item_id"], row["inner"], row["reason"]) == ("three.zip", "2", "truncated")


def test_an_archive_of_copies_gives_some_candidates_and_counts_the_others(
    listed, verification, tmp_path
):
    """A thousand copies of one picture are one thing to look at."""
    copies = {f"{n}.jpg": store(LISTED, "JPEG", quality=50 + n) for n in range(14)}
    tally, found = scanned(
        listed, verification, tmp_path, {"copies.zip": demo._zip(copies)}, "visual"
    )
    assert len(found) == 10
    assert tally["skipped"] == {"same_indicator_again": 4}
    assert (tally["rows"], tally["inner"], tally["candidate"]) == (1, 14, 10)
