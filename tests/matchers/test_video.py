"""Video: what is seen of it, as what luma, and what is refused or reported of hostile files."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image
from support.pictures import bits_apart, reference, smooth, store
from support.videos import clip, encode, with_matrix

from matchers import limits, patience, pdq, video
from matchers.errors import DecodeError
from matchers.fingerprints import of_pictures
from matchers.pictures import Picture, pictures

ONE, TWO, THREE = (smooth(96, 128, seed) for seed in (1, 2, 3))


def seen(blob: bytes) -> tuple[list[Picture], str | None]:
    """Every picture, and the reason for which reading ended early."""
    found: list[Picture] = []
    try:
        for picture in video.frames(blob):
            found.append(picture)  # noqa: PERF402 - what came before an error counts
    except DecodeError as error:
        return found, error.reason
    return found, None


def shows(blob: bytes, picture: np.ndarray, most_bits: int = 20) -> bool:
    """Whether a frame that is looked at closely resembles `picture`."""
    code, _ = reference(picture)
    return any(
        bits_apart(pdq.hash_pixels(one.pixels)[0], code) <= most_bits
        for one in seen(blob)[0]
        if one.glance is None
    )


# --- what is seen -----------------------------------------------------------------------------

KINDS = [
    ("libx264", "mp4"),
    ("libx264", "mov"),
    ("libx264", "matroska"),
    ("libx264", "mpegts"),
    ("libx265", "mp4"),
    ("libvpx-vp9", "webm"),
    ("mpeg4", "avi"),
    ("flv", "flv"),
    ("wmv2", "asf"),
    ("mpeg1video", "mpeg"),
    ("mjpeg", "mov"),
]


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_every_common_kind_of_video_is_seen(codec, container):
    """Each scene is looked at closely, whatever holds it; nothing is reported as damaged."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    blob = encode(
        clip((ONE, 6), (TWO, 6)),
        codec=codec,
        container=container,
        per_second=25,
        pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
        colour_range=2 if codec == "mjpeg" else 1,
        codec_options=options,
    )
    assert seen(blob)[1] is None
    assert shows(blob, ONE)
    assert shows(blob, TWO)


def test_frames_have_their_time_and_cuts_are_looked_at_closely():
    """The first frame, each cut, what has stood still for half a second, and the last."""
    found, _ = seen(encode(clip((ONE, 8), (TWO, 8), (THREE, 8))))
    times = [one.time_seconds for one in found]
    np.testing.assert_allclose(times, [0, 0.5, 0.8, 1.3, 1.6, 2.1, 2.3], atol=0.11)
    assert all(one.glance is None for one in found)


def test_what_stands_still_is_looked_at_again_from_time_to_time():
    """Seldom, for it is the same picture; often enough for a border that comes or goes."""
    found, _ = seen(encode(clip((ONE, 300))))
    times = [one.time_seconds for one in found]
    np.testing.assert_allclose(times, [0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5, 29.9], atol=0.5)


@pytest.mark.parametrize("first", [0.1, 3.0])
def test_a_picture_whose_border_calms_down_is_found(first):
    """The noisy border hides it, and the plain code of both is the same."""
    inner = smooth(120, 160, seed=9)
    border = np.full((160, 200, 3), 90, np.uint8)
    border[20:-20, 20:-20] = inner
    noisy = border.astype(int)
    noise = np.random.default_rng(4).integers(-35, 36, border.shape)
    noise[20:-20, 20:-20] = 0
    noisy = np.clip(noisy + noise, 0, 255).astype(np.uint8)
    scenes = clip((noisy, int(first * 10)), (border, 100))
    found, _ = of_pictures(
        pictures(encode(scenes, codec_options={"crf": "12"}), "video"), "standard"
    )
    code, _ = reference(inner)
    assert min(bits_apart(one, code) for one in found.codes) <= 20


def test_a_picture_shown_for_a_single_frame_is_looked_at_closely():
    """The shortest showing there is: one frame of 30 a second, between two other scenes."""
    blob = encode(
        clip((ONE, 40), (TWO, 1), (THREE, 40)), per_second=30, codec_options={"crf": "18"}
    )
    assert shows(blob, TWO)


def test_the_first_and_the_last_frame_are_seen():
    """A span of time ends where the video does."""
    found, _ = of_pictures(video.frames(encode(clip((ONE, 30)))), "plain")
    np.testing.assert_allclose(found.frames, [[0, 2.9]], atol=1e-4)


def test_spans_follow_the_scenes():
    """Each scene stands until the next one takes its place."""
    found, _ = of_pictures(video.frames(encode(clip((ONE, 8), (TWO, 8), (ONE, 8)))), "plain")
    np.testing.assert_allclose(found.frames, [[0, 0.8], [0.8, 1.6], [1.6, 2.3]], atol=1e-4)


def test_every_video_track_is_seen():
    """The second track shows the same in reverse; both begin at second 0."""
    found, _ = seen(encode(clip((ONE, 5), (TWO, 5)), tracks=2))
    assert [round(one.time_seconds, 3) for one in found] == [0, 0.5, 0.9] * 2
    first, second = found[0].pixels, found[3].pixels
    assert bits_apart(pdq.hash_pixels(first)[0], reference(ONE)[0]) <= 20
    assert bits_apart(pdq.hash_pixels(second)[0], reference(TWO)[0]) <= 20


def test_a_cover_picture_is_seen_as_a_still():
    """What a player shows before it plays is shown to people too."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        cover = out.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 96, 128, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(ONE, "rgb24").reformat(format="yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        packet = av.Packet(store(TWO, "JPEG"))
        packet.stream, packet.pts, packet.dts = cover, 0, 0
        packet.is_keyframe = True
        out.mux(packet)
    found, reason = seen(file.getvalue())
    assert reason is None
    assert found[0].time_seconds is None
    assert bits_apart(pdq.hash_pixels(found[0].pixels)[0], reference(TWO)[0]) <= 10
    assert found[1].time_seconds == 0


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
    ],
    ids=["90", "180", "270", "mirrored", "flipped"],
)
def test_a_turned_video_is_seen_as_shown_and_as_stored(matrix, turned):
    """Phones store sideways and say so; some players and most tools do not heed it."""
    blob = with_matrix(encode(clip((ONE, 4), (TWO, 4))), *matrix)
    found = list(video.frames(blob))
    assert [one.rendering for one in found] == ["as_shown", "as_stored"] * 2 + ["as_shown"]
    shown, stored = found[0].pixels, found[1].pixels
    np.testing.assert_array_equal(shown, turned(stored))
    assert bits_apart(pdq.hash_pixels(shown)[0], reference(turned(ONE))[0]) <= 20
    last, _ = pdq.hash_pixels(np.ascontiguousarray(found[-1].pixels))
    assert bits_apart(last, pdq.hash_pixels(turned(found[3].pixels))[0]) <= 4


@pytest.mark.parametrize("degrees", [-90, 0, 90, 180])
def test_side_data_that_pyav_does_not_know_hides_no_turn(degrees):
    """PyAV refuses to list side data of a kind newer than itself, and hostile files have any."""

    class Frame:
        rotation = degrees

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    matrix = {-90: (0, 1, -1, 0), 0: (1, 0, 0, 1), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1)}[degrees]
    turned = next(video.decoded(with_matrix(encode(clip((ONE, 2))), *matrix)))
    assert video._turn(Frame()) == turned.turn


def test_a_still_of_a_video_is_found_in_the_file(tmp_path):
    """`pictures` of the medium video are its frames."""
    assert [one.time_seconds for one in pictures(encode(clip((ONE, 3))), "video")] == [
        0.0,
        pytest.approx(0.2),
    ]


# --- luma -------------------------------------------------------------------------------------


def grey_of(picture: np.ndarray) -> np.ndarray:
    """Luma of BT.601, what FFmpeg makes of RGB unless it is told otherwise."""
    return np.rint(picture @ np.array([0.299, 0.587, 0.114]))


LUMA = [
    ("ffv1", "yuv420p", 1, 1.5),
    ("ffv1", "yuv420p", 2, 1.5),
    ("ffv1", "yuv444p", 1, 1.5),
    ("ffv1", "yuv420p10le", 1, 1.5),
    ("ffv1", "yuv422p16le", 1, 1.5),
    ("ffv1", "gray", 2, 1.0),
    ("ffv1", "gray10le", 2, 1.5),
    ("ffv1", "bgr0", 2, 1.5),
    ("png", "rgb24", 2, 1.5),
    ("qtrle", "rgb24", 2, 1.5),
]


@pytest.mark.parametrize(("codec", "pixel_format", "colour_range", "most"), LUMA)
def test_luma_is_full_range_and_exact_whatever_the_pixel_format(
    codec, pixel_format, colour_range, most
):
    """Lossless codecs give back the luma that went in, within rounding."""
    container = "matroska" if codec == "ffv1" else "mov"
    picture = grey_of(ONE).astype(np.uint8) if pixel_format == "gray" else ONE
    blob = encode(
        [picture] * 2,
        codec=codec,
        container=container,
        pixel_format=pixel_format,
        colour_range=colour_range,
    )
    pixels = next(video.frames(blob)).pixels
    assert pixels.shape == (96, 128)
    assert np.abs(pixels.astype(int) - grey_of(ONE)).max() <= most


def test_odd_sizes_are_seen_whole():
    """The decoder's rows are padded; the padding is no part of the picture."""
    odd = smooth(53, 77, seed=4)
    blob = encode([odd] * 2, codec="ffv1", container="matroska", pixel_format="yuv444p")
    pixels = next(video.frames(blob)).pixels
    assert np.abs(pixels.astype(int) - grey_of(odd)).max() <= 1.5


# --- only the video track is read ---------------------------------------------------------------


def test_sound_is_not_read(monkeypatch):
    """A file of mostly sound: its bytes are passed over, and frames come as without it."""
    scenes = clip((ONE, 25), (TWO, 25))
    alone = encode(scenes, container="mov", per_second=10)
    blob = encode(scenes, container="mov", per_second=10, sound=True)
    read = []
    original = video._Bytes.read

    def counted(self: video._Bytes, size: int) -> bytes:
        part = original(self, size)
        read.append(len(part))
        return part

    with video._opened(blob) as container:
        track = video._only(container, container.streams.video[0].index)
        monkeypatch.setattr(video._Bytes, "read", counted)
        assert {packet.stream.type for packet in container.demux(track)} == {"video"}
    assert len(blob) > 10 * len(alone)
    assert sum(read) < len(blob) / 2
    assert [one.time_seconds for one in seen(blob)[0]] == [
        one.time_seconds for one in seen(alone)[0]
    ]


def test_neither_sound_nor_words_come_out_of_the_demuxer():
    """Every other stream is discarded, and no decoder that is allowed could read it."""
    blob = encode(clip((ONE, 5)), container="matroska", sound=True, words=True)
    with video._opened(blob) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio", "subtitle"}
        track = container.streams.video[0]
        video._only(container, track.index)
        assert {stream.type for stream in container.streams if stream.discard < 48} == {"video"}
        assert {packet.stream.type for packet in container.demux(track)} == {"video"}
    assert seen(blob)[1] is None
    alone = encode(clip((ONE, 5)), container="matroska")
    np.testing.assert_array_equal(seen(blob)[0][0].pixels, seen(alone)[0][0].pixels)
    there = [codec for codec in video.CODECS if codec in av.codecs_available]
    assert {av.codec.Codec(codec, "r").type for codec in there} == {"video"}


# --- nothing else is opened -----------------------------------------------------------------------


def test_a_playlist_opens_no_file(tmp_path):
    """Lists of other files are no video here, and what they name is never opened."""
    target = tmp_path / "target.ts"
    target.write_bytes(encode(clip((ONE, 4)), container="mpegts"))
    assert seen(target.read_bytes())[1] is None
    hostile = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{target}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{target}'\n",
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 4 RTP/AVP 96\n",
    }
    for text in hostile.values():
        assert seen(text.encode()) == ([], "corrupt")


def test_a_reference_to_another_file_is_refused(monkeypatch):
    """Whatever FFmpeg would open beside the bytes goes through a door that is shut."""
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nx.ts\n#EXT-X-ENDLIST\n"
    monkeypatch.setitem(video._OPTIONS, "format_whitelist", "hls")  # even if it were allowed
    assert seen(playlist)[0] == []
    assert seen(playlist)[1] in ("refers_elsewhere", "corrupt")


# --- damaged and refused --------------------------------------------------------------------------

FRAGMENTED = {"movflags": "empty_moov+frag_keyframe"}  # playable from the start, as streams are


def test_a_video_that_was_cut_off_shows_what_it_has():
    """Its frames come first, then the reason."""
    blob = encode(clip((ONE, 8), (TWO, 8)), container_options=FRAGMENTED, codec_options={"g": "4"})
    found, reason = seen(blob[: len(blob) * 3 // 4])
    assert reason == "truncated"
    assert bits_apart(pdq.hash_pixels(found[0].pixels)[0], reference(ONE)[0]) <= 20
    _, told = of_pictures(video.frames(blob[: len(blob) * 3 // 4]), "plain")
    assert told == "truncated"


@pytest.mark.parametrize(("container", "codec"), [("matroska", "libx264"), ("avi", "mpeg4")])
def test_a_cut_off_file_of_another_kind_says_so(container, codec):
    """Each kind of file declares how long it is."""
    blob = encode(clip((ONE, 8), (TWO, 8)), codec=codec, container=container)
    found, reason = seen(blob[:-1500])
    assert found
    assert reason == "truncated"


def test_a_video_with_a_hole_shows_the_rest():
    """Packets that cannot be decoded are passed over, as players do, and reported."""
    blob = bytearray(encode(clip((ONE, 8), (TWO, 8)), codec="mpeg4", codec_options={"g": "4"}))
    middle = len(blob) // 2
    blob[middle : middle + 600] = bytes(600)
    found, reason = seen(bytes(blob))
    assert reason == "corrupt"
    assert bits_apart(pdq.hash_pixels(found[0].pixels)[0], reference(ONE)[0]) <= 20


REFUSED = {
    "empty": b"",
    "corrupt": b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\x08free" * 50,
    "truncated": encode(clip((ONE, 4)))[:-100],  # an MP4 whose index stood at its end
    "no_video_track": encode(clip((ONE, 4)), container="mov", sound=True, show=False),
    "encrypted": encode(
        clip((ONE, 4)),
        container_options={
            "encryption_scheme": "cenc-aes-ctr",
            "encryption_key": "00" * 16,
            "encryption_kid": "11" * 16,
        },
    ),
    "unknown_codec": encode(clip((ONE, 4))).replace(b"avc1", b"xyz1"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_seen_has_a_named_reason(reason):
    """Each reason is one that can be counted and acted on."""
    assert seen(REFUSED[reason]) == ([], reason)


def test_too_large_a_frame_is_refused_by_its_header(monkeypatch):
    """No frame is decoded; the decoder refuses a size that changes midway as well."""
    monkeypatch.setattr(limits, "MAX_VIDEO_PIXELS", 96 * 128 - 1)
    assert seen(encode(clip((ONE, 4)))) == ([], "too_many_pixels")


def test_too_small_a_frame_is_refused():
    """PDQ says nothing of a side below 5."""
    tiny = encode([ONE[:4, :64]] * 2, codec="ffv1", container="matroska", pixel_format="yuv444p")
    assert seen(tiny) == ([], "too_few_pixels")


def test_a_long_video_is_seen_up_to_the_limit(monkeypatch):
    """Beyond it the part fails, and says why; what came before counts."""
    monkeypatch.setattr(limits, "MAX_VIDEO_SECONDS", 0.5)
    found, reason = seen(encode(clip((ONE, 4), (TWO, 20))))
    assert reason == "too_long"
    assert [round(one.time_seconds, 3) for one in found] == [0, 0.4, 0.5]


def test_a_video_of_too_many_frames_is_seen_up_to_the_limit(monkeypatch):
    """A file may claim any time for its frames: they are counted as well."""
    monkeypatch.setattr(limits, "MAX_VIDEO_FRAMES", 6)
    found, reason = seen(encode(clip((ONE, 4), (TWO, 20)), codec="mpeg4"))
    assert reason == "too_many_frames"
    assert len(found) >= 2


def test_too_many_tracks_are_seen_up_to_the_limit(monkeypatch):
    """The first ones are looked at, and the file is reported."""
    monkeypatch.setattr(limits, "MAX_VIDEO_TRACKS", 1)
    found, reason = seen(encode(clip((ONE, 3)), tracks=2))
    assert reason == "too_many_tracks"
    assert [round(one.time_seconds, 3) for one in found] == [0, 0.2]


def test_no_byte_flipped_ends_otherwise_than_in_frames_or_a_reason():
    """Hostile bytes raise nothing but `DecodeError`."""
    blob = encode(clip((ONE, 3), (TWO, 3)))
    random = np.random.default_rng(11)
    for _ in range(40):
        spoiled = bytearray(blob)
        for place in random.integers(0, len(blob), 12).tolist():
            spoiled[place] = int(random.integers(256))
        seen(bytes(spoiled))


def test_a_frame_with_metadata_that_nobody_knows_is_seen():
    """FFmpeg hands out a JPEG frame's EXIF as a kind of side data that PyAV has no name for."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for number in range(3):
            packet = av.Packet(store(smooth(48, 64, number), "JPEG", exif=exif))
            packet.stream, packet.pts, packet.dts = stream, number, number
            out.mux(packet)
    assert len(list(video.decoded(file.getvalue()))) == 3


@pytest.mark.parametrize("jump", [-5 * 3600.0, 5 * 3600.0])
def test_recordings_that_were_joined_are_seen_to_their_end(jump):
    """The second one's clock goes on from elsewhere; players play it through, and so do we."""
    clock = video._Clock(0.1)
    times = [n * 0.1 for n in range(5)] + [jump + n * 0.1 for n in range(5)]
    assert [clock.at(time) for time in times] == pytest.approx([n * 0.1 for n in range(10)])


def test_a_slide_is_shown_for_as_long_as_it_says():
    """A minute between two frames is no jump."""
    clock = video._Clock(0.1)
    assert [clock.at(time) for time in (7.0, 7.1, 66.0)] == pytest.approx([0, 0.1, 59.0])


def test_a_picture_that_fades_in_is_not_judged_by_its_palest_frame():
    """The pale frame has the same code and too little quality to be looked up."""
    scene = smooth(120, 160, seed=3)
    pale = np.rint(128 + 0.04 * (scene.astype(float) - 128)).astype(np.uint8)
    found, _ = of_pictures(pictures(encode([pale] + [scene] * 20), "video"), "plain")
    code, _ = reference(scene)
    good = found.quality >= limits.PDQ_MIN_QUALITY
    assert min(bits_apart(one, code) for one in found.codes[good]) <= 10


def test_when_time_is_over_what_was_seen_stays():
    """Whoever runs the matchers says when; the frames until then are examined."""
    asked = iter([False] * 12 + [True] * 1_000)
    patience.allow(lambda: next(asked))
    try:
        found, reason = of_pictures(pictures(encode([smooth(60, 80)] * 30), "video"), "plain")
    finally:
        patience.allow(lambda: False)
    assert reason == "timed_out"
    assert found is not None


def test_a_film_of_too_many_codes_keeps_the_first_of_them(monkeypatch):
    """Memory is bounded, and what is beyond is said to be unseen."""
    monkeypatch.setattr(limits, "MAX_CODES", 40)
    scenes = [smooth(60, 80, seed=seed) for seed in range(12) for _ in range(3)]
    found, reason = of_pictures(pictures(encode(scenes), "video"), "standard")
    assert reason == "too_many_frames"
    assert 0 < len(found.codes) <= 40


def test_only_so_many_frames_can_be_fitted_to(monkeypatch):
    """Their planes are large; the codes of later frames are looked up all the same."""
    monkeypatch.setattr(limits, "MAX_PLANES", 2)
    scenes = [smooth(60, 80, seed=seed) for seed in range(4) for _ in range(3)]
    found, reason = of_pictures(pictures(encode(scenes), "video"), "refine")
    assert reason is None
    assert len(found.planes) <= 2
    assert found.plane.max() < len(found.planes)
    assert (found.plane[found.frame == found.frame.max()] == -1).all()
