"""Video bytes -> the frames that matter, as luma: one video track after another.

FFmpeg (through PyAV) reads from the bytes in memory and from nothing else: formats and codecs are
those listed here, and a file that refers to another one or to an address is refused by it. Only the
video track that is looked at is demuxed; sound and subtitles are passed over and never decoded.

A frame is the decoder's luma plane, expanded to full range; colour is never converted. What is no
plain 8-bit luma (10 bits, RGB, palette) goes through FFmpeg's own conversion to grey. The sample
aspect ratio is not applied: PDQ stretches every picture to a square anyway.

A damaged file shows what it has: the frames come, and `DecodeError` after the last one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import av
import av.container
import av.error
import av.packet
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideData
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from matchers import images, lengths, limits, patience
from matchers.errors import DecodeError
from matchers.pdq.luma import BLACK, WHITE, Glance, LumaHasher
from matchers.pictures import Picture
from matchers.sampling import Look, Sampler

FORMATS: Final = ("mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "ogg", "asf")
"""FFmpeg's demuxers that may open a file: those of `media.claimed`. None reads a playlist."""

CODECS: Final = (
    "h264", "hevc", "vvc", "av1", "libdav1d", "vp9", "vp8", "mpeg4", "mpeg2video", "mpeg1video",
    "mjpeg", "theora", "h263", "flv", "vp6", "vp6f", "msmpeg4v1", "msmpeg4", "msmpeg4v2", "wmv1",
    "wmv2", "wmv3", "vc1", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo",
    "qtrle", "rpza", "svq1", "svq3", "cinepak", "dvvideo", "cfhd", "png", "gif", "msvideo1",
)  # fmt: skip
"""FFmpeg's decoders that may be used. No sound or subtitle decoder is among them."""

_PLAIN_LUMA: Final = frozenset(
    {"yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuva420p", "yuva422p",
     "yuva444p", "nv12", "nv16", "nv21", "nv24", "gray"}
)  # fmt: skip
_FULL_RANGE_LUMA: Final = frozenset(
    {"yuvj411p", "yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p", "gray"}
)
FULL_RANGE: Final = 2
"""`color_range` of a frame whose black is 0 and white 255 (AVCOL_RANGE_JPEG)."""

_ENCRYPTED_TAG: Final = "drmi"  # FairPlay; common encryption shows in the packets
_EXPANDED: Final = (
    np.clip(np.rint((np.arange(256) - BLACK) * (255 / (WHITE - BLACK))), 0, 255)
    .astype(np.uint8)
    .tobytes()
)
_UPRIGHT: Final = (False, False, False)
_TURNS: Final = {
    -90: (True, False, True),
    90: (False, True, True),
    180: (True, True, False),
    -180: (True, True, False),
}
"""By `rotation` of a frame, in degrees counterclockwise; it does not tell mirrored frames."""

_OPTIONS: Final = {
    "format_whitelist": ",".join(FORMATS),
    "codec_whitelist": ",".join(CODECS),
    "protocol_whitelist": "none",  # there is no such protocol
    "max_streams": str(limits.MAX_STREAMS),
    "max_pixels": str(limits.MAX_VIDEO_PIXELS),
    "threads": "1",  # the caller has a process for each core
}


@dataclass(frozen=True)
class Luma:
    """One decoded frame.

    Attributes:
        pixels: uint8 [height, width], as stored; valid until the next frame is asked for.
        limited_range: black is 16 and white is 235.
        turn: how the shown frame comes from it, as in `images.TURNS`.
        time_seconds: when it is shown.
    """

    pixels: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    limited_range: bool
    turn: tuple[bool, bool, bool]
    time_seconds: float


def frames(blob: bytes | memoryview) -> Iterator[Picture]:
    """The frames of a video that are worth looking at: see `sampling`.

    Each video track begins at its own second 0. A cover picture comes first, as a still. A turned
    frame that is looked at closely also comes as it is stored.

    Raises:
        DecodeError: also after the last frame, for a file that is damaged: `empty`, `truncated`,
            `corrupt`, `encrypted`, `no_video_track`, `unknown_codec`, `refers_elsewhere`,
            `too_many_pixels`, `too_few_pixels`, `too_many_tracks`, `too_long`, `too_many_frames`,
            `out_of_memory`.
    """
    with _opened(blob) as container:
        covers, numbers, damage = _tracks(container)
    for cover in covers:
        try:
            with images.decoded(cover) as pixels:
                yield Picture(pixels)
        except DecodeError as error:
            damage = damage or error.reason
    for number in numbers:
        try:
            yield from _worth_looking_at(decoded(blob, number))
        except DecodeError as error:
            damage = damage or error.reason
    if damage in (None, "corrupt") and lengths.is_cut_short(blob):
        damage = "truncated"
    if damage:
        raise DecodeError(damage)


def decoded(blob: bytes | memoryview, number: int | None = None) -> Iterator[Luma]:
    """Every frame of one video track.

    Args:
        blob: the encoded bytes.
        number: of the track among the file's streams; None: the first video track.

    Raises:
        DecodeError: also after the last frame; see `frames`.
    """
    with _opened(blob) as container:
        if number is None:
            number = next(iter(_tracks(container)[1]), None)
        if number is None:
            raise DecodeError("no_video_track")
        track = _only(container, number)
        yield from _decoded(container, track)


@contextlib.contextmanager
def _opened(blob: bytes | memoryview) -> Iterator[av.container.InputContainer]:
    if not blob:
        raise DecodeError("empty")
    try:
        container = av.open(
            _Bytes(blob),
            "r",
            options=_OPTIONS,
            metadata_errors="ignore",
            io_open=_refuse,
        )
    except MemoryError:  # FFmpeg's too
        raise DecodeError("out_of_memory") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(_reason_not_opened(blob, error)) from None
    with container:
        yield container


class _Bytes:
    """A file of bytes in memory, which are not copied."""

    def __init__(self, blob: bytes | memoryview) -> None:
        self._blob = memoryview(blob)
        self._place = 0

    def read(self, size: int) -> bytes:
        part = bytes(self._blob[self._place : self._place + size])
        self._place += len(part)
        return part

    def seek(self, offset: int, whence: int) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._blob)}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place


def _refuse(*_: object) -> Any:
    raise PermissionError("a video may not open other files")


def _reason_not_opened(blob: bytes | memoryview, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "refers_elsewhere"
    return "truncated" if lengths.is_cut_short(blob) else "corrupt"


def _tracks(container: av.container.InputContainer) -> tuple[list[bytes], list[int], str | None]:
    """Cover pictures, the numbers of the video tracks, and why a track cannot be looked at."""
    numbers: list[int] = []
    covers: list[int] = []
    reason: str | None = None
    for stream in container.streams:
        if stream.type != "video":
            continue
        if Disposition.attached_pic in stream.disposition:
            covers.append(stream.index)
            continue
        try:
            _check(stream)
        except DecodeError as error:
            reason = error.reason
            continue
        numbers.append(stream.index)
    if len(numbers) + len(covers) > limits.MAX_VIDEO_TRACKS:
        numbers, covers = numbers[: limits.MAX_VIDEO_TRACKS], []
        reason = "too_many_tracks"
    if not numbers and reason is None and not covers:
        reason = "no_video_track"
    return _cover_pictures(container, covers), numbers, reason


def _check(stream: Any) -> None:
    """Refuse a track by what its header tells."""
    context = stream.codec_context
    if context is not None and context.codec_tag == _ENCRYPTED_TAG:
        raise DecodeError("encrypted")
    if context is None or context.codec.name not in CODECS:
        raise DecodeError("unknown_codec")
    pixels = context.width * context.height
    if pixels > limits.MAX_VIDEO_PIXELS:
        raise DecodeError("too_many_pixels")
    if pixels * limits.VIDEO_FRAMES_HELD > images.held_pixels.pixels:
        raise DecodeError("out_of_memory")


def _cover_pictures(container: av.container.InputContainer, numbers: list[int]) -> list[bytes]:
    """The encoded still in each of these streams: FFmpeg gives it as the stream's one packet."""
    if not numbers:
        return []
    found: list[bytes] = []
    _discard_all_but(container, numbers)
    with contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux([container.streams[number] for number in numbers]):
            if packet.size:
                found.append(bytes(packet))
            if len(found) == len(numbers):
                break
    return found


def _discard_all_but(container: av.container.InputContainer, numbers: list[int]) -> None:
    """Let the demuxer pass over every other stream without reading it (AVDISCARD_ALL)."""
    for stream in container.streams:
        stream.discard = Discard.default if stream.index in numbers else Discard.all


def _only(container: av.container.InputContainer, number: int) -> VideoStream:
    """The track to decode, alone."""
    track = container.streams[number]
    if not isinstance(track, VideoStream):
        raise DecodeError("no_video_track")
    _check(track)
    _discard_all_but(container, [number])
    track.codec_context.options = {"max_pixels": str(limits.MAX_VIDEO_PIXELS)}
    track.codec_context.thread_count = 1
    return track


def _decoded(container: av.container.InputContainer, track: VideoStream) -> Iterator[Luma]:
    """Every frame that can be decoded, with its time and turn.

    Raises:
        DecodeError: `too_long`, or what `_frames` says.
    """
    clock = _Clock(1 / float(track.average_rate or 25))
    turn = _UPRIGHT
    for frame in _frames(container, track):
        if frame.key_frame:
            turn = _turn(frame)
        second = clock.at(frame.time)
        if second > limits.MAX_VIDEO_SECONDS:
            raise DecodeError("too_long")
        yield _luma(frame, turn, second)


def _frames(container: av.container.InputContainer, track: VideoStream) -> Iterator[VideoFrame]:
    """Decode until the end; a packet that cannot be decoded is passed over, as players do.

    Raises:
        DecodeError: after the last frame, `corrupt` if something was passed over or nothing was
            there; `encrypted`; `too_many_frames`; `out_of_memory`.
    """
    packets = container.demux(track)
    is_damaged, is_empty = False, True
    for _ in range(limits.MAX_VIDEO_FRAMES):
        patience.check()
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if packet.has_sidedata("encryption_info"):  # ISO/IEC 23001-7
                raise DecodeError("encrypted")
            shown = packet.decode()
        except MemoryError:
            raise DecodeError("out_of_memory") from None
        except av.error.FFmpegError:
            is_damaged = True
            continue
        is_damaged |= packet.is_corrupt
        for frame in shown:
            is_damaged |= frame.is_corrupt
            is_empty = False
            yield frame
    else:
        raise DecodeError("too_many_frames")
    if is_damaged or is_empty:
        raise DecodeError("corrupt")


class _Clock:
    """Seconds from the first frame on. Frames follow on where there is no time, or it jumps.

    Recordings that were joined have jumps, forward or back; players play them through.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._first: float | None = None
        self._last = 0.0

    def at(self, time: float | None) -> float:
        if self._first is None:
            self._first = time or 0.0
            return 0.0
        followed = self._last + self._interval
        if time is None:
            self._last = followed
            return self._last
        if not -limits.SHUFFLE_SECONDS <= time - self._first - self._last <= limits.JUMP_SECONDS:
            self._first = time - followed
        self._last = max(self._last, time - self._first)
        return self._last


def _luma(frame: VideoFrame, turn: tuple[bool, bool, bool], second: float) -> Luma:
    if frame.width * frame.height > limits.MAX_VIDEO_PIXELS:
        raise DecodeError("too_many_pixels")
    if min(frame.width, frame.height) < limits.PDQ_MIN_SIDE_PIXELS:
        raise DecodeError("too_few_pixels")
    name = frame.format.name
    full = name in _FULL_RANGE_LUMA or frame.color_range == FULL_RANGE
    if name not in _PLAIN_LUMA and name not in _FULL_RANGE_LUMA:
        frame, full = frame.reformat(format="gray", threads=1), True
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return Luma(rows[: frame.height, : frame.width], not full, turn, second)


def _turn(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How the frame is to be turned, by its display matrix (ISO/IEC 14496-12 section 8.5.2).

    The matrix sends the stored place (x, y) to (a x + c y, b x + d y); only quarter turns and
    mirrorings are applied, as players do.
    """
    try:
        beside: Any = frame.side_data
        matrix = beside[SideData.DISPLAYMATRIX]
    except KeyError:
        return _UPRIGHT
    except ValueError:  # FFmpeg gave a kind of side data that PyAV does not know
        return _TURNS.get(frame.rotation, _UPRIGHT)
    a, b, _, c, d, *_ = np.frombuffer(memoryview(matrix), np.int32).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (d < 0, a < 0, False)
    return (c < 0, b < 0, True)


def _worth_looking_at(track: Iterator[Luma]) -> Iterator[Picture]:
    """The frames that `sampling` picks, what was on show for long, and the last once more."""
    sampler = Sampler()
    hasher: LumaHasher | None = None
    made_for: object = None
    last: Luma | None = None
    is_close = False
    damage: str | None = None
    before = 0.0
    try:
        for frame in track:
            if hasher is None or made_for != (frame.pixels.shape, frame.turn):
                made_for = (frame.pixels.shape, frame.turn)
                hasher = LumaHasher(frame.pixels.shape, frame.turn)
            glance = hasher.glance(frame.pixels, limited_range=frame.limited_range)
            shown_for = frame.time_seconds - before
            if last is not None and not is_close and shown_for >= limits.STEADY_SECONDS:
                yield _picture(last, None)  # only glanced at when it came
            look = sampler.look(glance, shown_for)
            last, is_close, before = frame, look is Look.KEY, frame.time_seconds
            if look is Look.MOVING:
                yield _picture(frame, glance)
            elif look is Look.KEY:
                yield _picture(frame, None)
                if any(frame.turn):
                    yield Picture(_full_range(frame), "as_stored", frame.time_seconds)
    except DecodeError as error:
        damage = error.reason
    if last is not None:
        yield _picture(last, None)
    if damage:
        raise DecodeError(damage)


def _picture(frame: Luma, glance: Glance | None) -> Picture:
    pixels = frame.pixels if glance else _full_range(frame)
    rows_mirrored, columns_mirrored, exchanged = frame.turn
    turned = pixels[:: -1 if rows_mirrored else 1, :: -1 if columns_mirrored else 1]
    shown = turned.swapaxes(0, 1) if exchanged else turned
    return Picture(shown, "as_shown", frame.time_seconds, glance)


def _full_range(frame: Luma) -> npt.NDArray[np.uint8]:
    if not frame.limited_range:
        return np.ascontiguousarray(frame.pixels)
    expanded = np.frombuffer(frame.pixels.tobytes().translate(_EXPANDED), np.uint8)
    return expanded.reshape(frame.pixels.shape)
