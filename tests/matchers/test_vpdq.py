"""Sets of videos: built from videos and published lists, matched on the indicator's share."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.vpdq_naive import shares
from support.pictures import smooth, store
from support.places import SHARED_DATA
from support.sets import CENTRE, TODAY, manifest, signed_set
from support.settings import SEEDED
from support.videos import clip, encode

from matchers import limits, pdq
from matchers.errors import IndicatorSetError
from matchers.hamming import HammingIndex
from matchers.indicators import IndicatorSet, load
from matchers.indicators.build import Left, Previous, as_version, from_images, table
from matchers.indicators.clusters import joined
from matchers.indicators.manifest import read, read_data, write
from matchers.indicators.videos import from_videos
from matchers.scanner import Hit, Scanner
from matchers.vpdq import Videos, covered

SCENES = [smooth(96, 128, seed) for seed in range(40, 60)]


def film(scenes: list[np.ndarray], **settings: object) -> bytes:
    """Each scene for a third of a second, at 12 frames a second."""
    return encode(clip(*((scene, 4) for scene in scenes)), per_second=12, **settings)


def video_set(
    folder: Path, data: pa.Table, previous: Path | None = None, **changes: object
) -> IndicatorSet:
    """Sign rows as a set of videos, and load it."""
    before = None
    if previous is not None:
        earlier = read(previous, [CENTRE.public_key()])
        before = Previous(earlier, read_data(previous, earlier))
        changes = {
            "version": 2, "lineage": earlier.next_lineage, "kind": earlier.kind
        } | changes  # fmt: skip
    made = manifest("vpdq", **changes)
    write(folder, made, as_version(data, made, before), CENTRE)
    return load(folder, [CENTRE.public_key()], today=TODAY)


def frames_of(*names_and_codes: tuple[str, bytes]) -> pa.Table:
    """Rows of a set of videos."""
    return table("vpdq", [n for n, _ in names_and_codes], [c for _, c in names_and_codes])


def only(scanner: Scanner, blob: bytes) -> Hit | str | None:
    """The result of an item that holds nothing else."""
    ((_, result),) = scanner.scan([blob])[0]
    return result


# --- shares -------------------------------------------------------------------------------------


@settings(SEEDED, max_examples=60)
@given(seed=st.integers(0, 9_999), least=st.sampled_from([1, 20, 50, 80, 100]))
def test_shares_are_those_of_the_slow_twin(seed, least):
    """Covered share, least distance and the codes that matched, for any mix of frames."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (6, 32), np.uint8)

    def near(count: int) -> list[bytes]:
        chosen = pool[rng.integers(len(pool), size=count)].copy()
        chosen[:, rng.integers(32)] ^= rng.integers(0, 256, count, np.uint8)
        return [code.tobytes() for code in chosen]

    videos = {f"v{n}": near(int(rng.integers(1, 6))) for n in range(int(rng.integers(1, 5)))}
    shown = near(int(rng.integers(1, 8)))
    names = [name for name, frames in videos.items() for _ in frames]
    codes = np.frombuffer(
        b"".join(b"".join(frames) for frames in videos.values()), np.uint8
    ).reshape(-1, 32)
    queries = np.frombuffer(b"".join(shown), np.uint8).reshape(-1, 32)
    radius = 5
    pairs = HammingIndex.build(codes).search(queries, radius)
    grouped = Videos.named(pa.array(names))
    found = covered(grouped, pairs.query, pairs.indicator, pairs.distance, least)
    expected = {
        name: (count * 100 // len(videos[name]), distance)
        for name, (count, distance) in shares(videos, shown, radius).items()
        if count * 100 >= least * len(videos[name])
    }
    assert {
        names[grouped.first_row[one.video]]: (one.share_percent, one.distance_bits) for one in found
    } == expected
    assert [-one.share_percent for one in found] == sorted(-one.share_percent for one in found)
    for one in found:
        mine = grouped.of_row[pairs.indicator] == one.video
        assert one.queries.tolist() == sorted(set(pairs.query[mine].tolist()))
        assert one.query in one.queries


def test_rows_of_a_video_need_not_lie_together():
    """A video is its id, wherever its rows stand."""
    videos = Videos.named(pa.array(["b", "a", "b", "b", "a"]))
    assert videos.of_row.tolist() == [0, 1, 0, 0, 1]
    assert videos.frames.tolist() == [3, 2]
    assert videos.first_row.tolist() == [0, 1]


# --- found and not found --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> IndicatorSet:
    """A set with one video of six scenes, and one of five."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    (folder / "deep" / "six.mp4").write_bytes(film(SCENES[:6]))
    (folder / "five.mkv").write_bytes(film(SCENES[6:11], container="matroska"))
    data, left = from_videos(folder, 50)
    assert left == []
    return video_set(tmp_path_factory.mktemp("sets") / "set", data)


def test_a_known_clip_inside_a_long_harmless_upload_is_found(known):
    """The share is the indicator's: what else the upload shows does not count against it."""
    upload = film(SCENES[10:15] + SCENES[:6] + SCENES[15:20], codec_options={"crf": "30"})
    hit = only(Scanner([known]), upload)
    assert known.indicator_ids[hit.indicator].as_py() == "deep/six.mp4"
    assert hit.method == "vpdq"
    assert hit.share_percent == 100
    assert hit.distance_bits <= 31
    np.testing.assert_allclose(hit.spans_seconds, [(5 / 3, 11 / 3)], atol=0.1)


def test_a_mirrored_clip_is_found(known):
    """Frames of a moving scene are looked up turned and mirrored as well (profile standard)."""
    mirrored = film([np.fliplr(scene) for scene in SCENES[:6]])
    assert only(Scanner([known]), mirrored) is None
    wider = IndicatorSet(
        **{
            **{name: getattr(known, name) for name in known.__dataclass_fields__},
            "manifest": manifest("vpdq", profile="standard"),
        }
    )
    hit = only(Scanner([wider]), mirrored)
    assert hit.share_percent == 100
    assert "flipped left to right" in hit.view


def test_a_few_shared_scenes_are_no_match(known):
    """Half of the indicator is less than 80 % of it."""
    assert only(Scanner([known]), film(SCENES[10:15] + SCENES[:3])) is None


def test_a_still_of_a_known_clip_is_no_match_of_the_clip(known):
    """Sets of pictures answer for stills."""
    assert only(Scanner([known]), store(SCENES[0], "PNG")) is None


def test_the_least_share_is_inclusive(tmp_path, known):
    """Five of six scenes are 83 %: found at 83, not at 84."""
    data = frames_of(
        *zip(known.indicator_ids.to_pylist(), map(bytes, known.perceptual.codes()), strict=True)
    )
    upload = film(SCENES[:5])
    for least, is_found in ((83, True), (84, False)):
        loaded = video_set(tmp_path / str(least), data, min_share_percent=least)
        frames = loaded.videos.frames.max()
        hit = only(Scanner([loaded]), upload)
        if frames == 6:
            assert (hit is not None) == is_found
        else:
            pytest.fail(f"the film of six scenes has {frames} frames")


def test_frames_are_matched_against_picture_sets_too(tmp_path):
    """A video is found by a picture that it shows, with the time of the showing."""
    picture = signed_set(tmp_path / "set", [pdq.hash_pixels(SCENES[3])[0].tobytes()])
    hit = only(Scanner([picture]), film(SCENES[:6]))
    assert hit.method == "pdq"
    assert hit.share_percent is None
    np.testing.assert_allclose(hit.spans_seconds, [(1, 4 / 3)], atol=0.1)


# --- built --------------------------------------------------------------------------------------


def test_a_published_list_is_one_indicator(tmp_path):
    """`frame,quality,hash[,second]`: frames below the least quality and repeated codes are left out."""
    codes = [f"{number}f" * 32 for number in range(limits.MIN_VPDQ_FRAMES)]
    lines = [f"{number},50,{code.upper()},0.1\n" for number, code in enumerate(codes)]
    (tmp_path / "clip.txt").write_text(
        f"0,100,{codes[0]},0.000\n1,49,{'aa' * 32},0.033\n" + "".join(lines)
    )
    data, left = from_videos(tmp_path / "clip.txt", 50)
    assert left == []
    assert data["indicator_id"].to_pylist() == ["clip.txt"] * len(codes)
    assert [value.hex() for value in data["value"].to_pylist()] == codes


def test_a_video_of_too_few_frames_is_left_out_by_name(tmp_path):
    """Whoever showed its one picture would have shown the video."""
    enough = [f"{number},100,{number}f{'00' * 31}\n" for number in range(limits.MIN_VPDQ_FRAMES)]
    (tmp_path / "enough.txt").write_text("".join(enough))
    (tmp_path / "short.txt").write_text("".join(enough[1:] + enough[1:]))
    data, left = from_videos(tmp_path, 50)
    assert set(data["indicator_id"].to_pylist()) == {"enough.txt"}
    (one,) = left
    assert one.name == "short.txt"
    assert one.reason.startswith("too few frames: 4 that differ, of at least 5")


def test_pictures_and_videos_in_each_others_folder_are_called_what_they_are(tmp_path):
    """Neither is corrupt; a folder that has only videos says how it is built."""
    (tmp_path / "clip.mp4").write_bytes(film(SCENES[:6]))
    with pytest.raises(IndicatorSetError, match=r"these are videos, .* --algorithm vpdq"):
        from_images(tmp_path, 50)
    (tmp_path / "still.png").write_bytes(store(SCENES[0], "PNG"))
    assert from_images(tmp_path, 0)[1] == [Left("clip.mp4", "a video, not a picture")]
    assert from_videos(tmp_path, 0)[1] == [Left("still.png", "a picture, not a video")]


@pytest.mark.parametrize("line", ["0,100", "0,101," + "00" * 32, "0,x," + "00" * 32, "0,9,00"])
def test_a_line_of_another_form_is_refused_by_number(tmp_path, line):
    """A list that is not one must not become an indicator of whatever could be read."""
    (tmp_path / "clip.txt").write_text(f"0,100,{'00' * 32}\n{line}\n")
    with pytest.raises(IndicatorSetError, match=r"clip\.txt line 2: a frame is"):
        from_videos(tmp_path, 50)


def test_what_gives_no_indicator_is_named_with_its_reason(tmp_path):
    """Damaged, empty and flat files are left out; the rest is built."""
    whole = film(SCENES[:6], container_options={"movflags": "empty_moov+frag_keyframe"})
    (tmp_path / "good.mp4").write_bytes(whole)
    (tmp_path / "cut.mp4").write_bytes(whole[:-500])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "flat.mp4").write_bytes(film([np.full((96, 128, 3), 90, np.uint8)]))
    (tmp_path / "flat.txt").write_text(f"0,3,{'00' * 32}\n")
    seen: list[tuple[int, int]] = []
    data, left = from_videos(tmp_path, 50, progress=lambda done, of: seen.append((done, of)))
    assert set(data["indicator_id"].to_pylist()) == {"good.mp4"}
    assert left == [
        Left("cut.mp4", "truncated"),
        Left("empty.mp4", "empty"),
        Left("flat.mp4", "no frame of quality 50 or more"),
        Left("flat.txt", "no frame of quality 50 or more"),
    ]
    assert seen == [(n, 5) for n in range(1, 6)]


def test_a_folder_without_a_usable_video_is_refused(tmp_path):
    """A set of nothing would find nothing."""
    (tmp_path / "notes.mp4").write_text("not a video")
    with pytest.raises(IndicatorSetError, match="gave no indicator"):
        from_videos(tmp_path, 50)


# --- versions and clusters ------------------------------------------------------------------------

RNG = np.random.default_rng(77)
A, B, C, D, E = (bytes(RNG.integers(0, 256, 32, np.uint8)) for _ in range(5))


def test_videos_that_share_a_frame_are_one_cluster(tmp_path):
    """In a set of kind new they count as one hit, on whatever frames they are found."""
    data = frames_of(("one", A), ("one", B), ("two", B), ("two", C), ("three", D))
    loaded = video_set(tmp_path / "set", data, kind="new")
    clusters = [loaded.cluster(row) for row in range(5)]
    assert clusters[0] == clusters[1] == clusters[2] == clusters[3] == A.hex()
    assert clusters[4] == D.hex()


def test_joined_clusters_are_those_of_a_slow_twin():
    """All rows of an indicator are in one cluster, and so is whatever they are linked to."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        n = int(rng.integers(1, 12))
        kinds = rng.integers(0, n, n)
        roots = np.array([np.flatnonzero(kinds == kind)[0] for kind in kinds])
        ids = [f"i{rng.integers(4)}" for _ in range(n)]
        slow = list(range(n))
        for _ in range(n):
            for one in range(n):
                for two in range(n):
                    if roots[one] == roots[two] or ids[one] == ids[two]:
                        slow[one] = slow[two] = min(slow[one], slow[two])
        assert joined(roots, ids).tolist() == slow


def test_a_video_keeps_its_first_day_when_frames_are_added(tmp_path):
    """A later version makes no old hit new again, on whatever frame it is hit."""
    video_set(tmp_path / "one", frames_of(("a", A), ("b", B)))
    day = dt.date(2025, 3, 1)
    second = video_set(
        tmp_path / "two",
        frames_of(("a", A), ("a", C), ("b", B), ("c", D)),
        previous=tmp_path / "one",
        effective=day,
    )
    first = dt.date(2025, 1, 1)
    assert [second.effective_day(row) for row in range(4)] == [first, first, first, day]


def test_a_video_that_bridges_two_clusters_is_refused_by_name(tmp_path):
    """Its name stands in the message once, not once for each frame."""
    video_set(tmp_path / "one", frames_of(("a", A), ("b", B)), kind="new")
    with pytest.raises(IndicatorSetError, match=r"new indicator\(s\) 'c' link"):
        video_set(
            tmp_path / "two",
            frames_of(("a", A), ("b", B), ("c", A), ("c", B), ("c", E), ("c", D)),
            previous=tmp_path / "one",
        )


@pytest.mark.parametrize(
    ("algorithm", "share"), [("vpdq", 0), ("vpdq", 101), ("vpdq", -1), ("pdq", 80), ("md5", 80)]
)
def test_a_least_share_belongs_to_videos(algorithm, share):
    """1 to 100 for vpdq, 0 for everything else."""
    with pytest.raises(IndicatorSetError, match="min_share_percent is"):
        manifest(algorithm, min_share_percent=share)


def test_near_matches_are_not_for_videos():
    """Fitting a crop box to each of a thousand frames adds up to nothing."""
    with pytest.raises(IndicatorSetError, match="profile is 'refine'; is not for vpdq"):
        manifest("vpdq", profile="refine")


# --- the reference's own samples --------------------------------------------------------------

SAMPLES = SHARED_DATA / "vpdq-reference"


@pytest.mark.skipif(not SAMPLES.exists(), reason="the reference's sample videos are not here")
@pytest.mark.parametrize("name", ["chair-22-sd-grey-bar", "chair-orig-22-sd-bar"])
def test_the_published_hashes_of_a_clip_find_it_and_its_sibling(tmp_path, name):
    """Two versions of one clip, one with bars in grey: each is found by its own published list."""
    data, _ = from_videos(SAMPLES / f"{name}.txt", 50)
    loaded = video_set(tmp_path / "set", data)
    hit = only(Scanner([loaded]), (SAMPLES / f"{name}.mp4").read_bytes())
    assert hit.share_percent >= 95
    assert len(hit.spans_seconds) == 1
