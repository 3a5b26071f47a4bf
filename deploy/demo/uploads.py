"""The demo's uploads: photographs, edits of some of them, and everything that goes wrong in life.

Every upload belongs to a class, and for each class the demo states beforehand what must become of
it. Everything is benign: "listed" pictures stand in for what an EU Centre would list.
"""

from __future__ import annotations

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

LISTED = ("cat", "coffee", "pagoda", "rocket", "otters", "dragonfly")
"""Photographs in the known set (perceptual)."""

LISTED_EXACTLY = "clock"
"""Photograph in the SHA-256 set."""

LISTED_NEW = ("osprey", "drum")
"""Photographs in the set of new material: nobody may look before a second distinct hit."""

LISTED_URLS = (
    "https://images.example/listed/one.jpg?size=full",
    "http://b%C3%BCcher.example/listed/two",
)


HELD = "held: nobody can read it"
"""What becomes of a single hit on new material."""


@dataclass(frozen=True)
class Upload:
    """One row of the manifest and what must become of it.

    A container has parts with outcomes of their own: `clear_parts` of them (itself among them)
    resemble nothing.
    """

    name: str
    about: str
    expected: str
    row: dict[str, str]
    clear_parts: int = 0


def make(photos: Path, folder: Path) -> list[Upload]:
    """Write the uploads' files to `folder` and return them with what is expected of each."""
    folder.mkdir(parents=True)
    uploads: list[Upload] = []

    def add(
        about: str,
        expected: str,
        name: str,
        data: bytes | None,
        clear_parts: int = 0,
        **row: str,
    ) -> None:
        if data is not None:
            (folder / name).write_bytes(data)
        place = {} if row.get("kind") == "url" else {"uri": f"{folder.name}/{name}"}
        uploads.append(Upload(name, about, expected, {**place, **row}, clear_parts))

    for photo in sorted(photos.glob("*.jpg")):
        if photo.stem not in (*LISTED, *LISTED_NEW, LISTED_EXACTLY):
            add("other photographs", "clear", photo.name, photo.read_bytes())
    for about, ending, edit in EDITS:
        for name in LISTED:
            data = edit(Image.open(photos / f"{name}.jpg"))
            add(f"listed picture, {about}", "candidate", f"{name}-{about}{ending}", data)
    for about, kind, data, clear_parts in _wrapped(photos):
        name = about.replace(" ", "-")
        add(f"listed picture, {about}", "candidate", name, data, clear_parts, kind=kind)
    exact = (photos / f"{LISTED_EXACTLY}.jpg").read_bytes()
    add("listed by SHA-256, same bytes", "candidate", "same-bytes.jpg", exact)

    one, two = (Image.open(photos / f"{name}.jpg") for name in LISTED_NEW)
    add("new material, an account's only hit", HELD, "new-single.jpg", _recompressed(one),
        account_id="user-with-one")  # fmt: skip
    add("the same picture re-encoded, same account", HELD, "new-single-again.jpg", _resized(one),
        account_id="user-with-one")  # fmt: skip
    add("new material, an account's two hits", "candidate", "new-first.jpg", _watermarked(one),
        account_id="user-with-two")  # fmt: skip
    add("new material, an account's two hits", "candidate", "new-second.jpg", _webp(two),
        account_id="user-with-two")  # fmt: skip

    listed = (photos / f"{LISTED[0]}.jpg").read_bytes()
    for about, expected, name, row in (
        ("listed picture, but end-to-end encrypted", "skipped: e2ee", "e2ee.jpg",
         {"encryption": "e2ee"}),
        ("listed picture, but in a State account", "skipped: state_account", "state.jpg",
         {"account_class": "state"}),
        ("listed picture, but outside the order's part", "skipped: part_not_covered", "part.jpg",
         {"part": "private-messages"}),
        ("listed picture, but without consent", "skipped: consent_missing", "consent.jpg",
         {"consent": "refused"}),
        ("listed picture, but uploaded too early", "skipped: outside_period", "early.jpg",
         {"uploaded_at": "2019-05-01T10:00:00Z"}),
    ):  # fmt: skip
        add(about, expected, name, listed, **row)
    add("a text document", "skipped: media_out_of_scope", "notes.txt", b"Buy bread.\n",
        kind="other")  # fmt: skip
    add("a plain grey picture", "skipped: quality_too_low", "plain.png",
        _png(Image.new("RGB", (400, 300), (128, 128, 128))))  # fmt: skip

    add("a truncated JPEG", "failed: decode: truncated", "truncated.jpg",
        listed[: len(listed) // 2])  # fmt: skip
    add("a text file named .jpg", "failed: decode: unrecognised_format", "misnamed.jpg",
        b"This is no picture.\n")  # fmt: skip
    add("a decompression bomb (60000 x 60000)", "failed: decode: too_many_pixels", "bomb.png",
        _bomb())  # fmt: skip
    add("a file that is gone", "failed: read: not_found", "gone.jpg", None)

    add(
        "listed URL, written differently",
        "candidate",
        "url-1",
        None,
        kind="url",
        url="HTTPS://user:secret@IMAGES.example:443/listed/../listed/one.jpg?size=full#top",
    )
    add("listed URL, in its own script", "candidate", "url-2", None, kind="url",
        url="http://bücher.example/listed/two")  # fmt: skip
    add("other URL on the same host", "clear", "url-3", None, kind="url",
        url="https://images.example/other/one.jpg?size=full")  # fmt: skip
    return uploads


def write_manifest(uploads: list[Upload], path: Path) -> None:
    """Write the manifest that a hosting provider would give."""
    columns = ["item_id", "account_id", "kind", "uri", "url", "part", "uploaded_at", "encryption",
               "account_class", "consent"]  # fmt: skip
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for number, upload in enumerate(uploads):
            usual = {
                "item_id": upload.name,
                "account_id": f"user-{number % 9}",
                "kind": "image",
                "part": "public-gallery",
                "uploaded_at": "2026-03-01T12:00:00Z",
                "encryption": "none",
                "account_class": "ordinary",
                "consent": "given",
            }
            writer.writerow(usual | upload.row)


# --- edits ----------------------------------------------------------------------------------


def _jpeg(image: Image.Image, quality: int = 85, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def _wrapped(photos: Path) -> list[tuple[str, str, bytes, int]]:
    """A listed picture inside something else: what it is, its kind, its bytes, its clear parts."""
    listed = Image.open(photos / f"{LISTED[2]}.jpg")
    others = [
        Image.open(photos / f"{name}.jpg") for name in ("heron", "fig", "canyon-wren", "tea-garden")
    ]
    return [
        ("fifth frame of a GIF", "image", _gif([*others, listed]), 0),
        ("two seconds of a video", "video", _video([others[0], listed, others[1]]), 0),
        ("in a zip in a zip", "container",
         _zip({"inner.zip": _zip({"picture.jpg": _jpeg(listed, 72)})}), 2),
        ("in a zip beside another", "container",
         _zip({"a.jpg": _recompressed(others[2]), "b.jpg": _jpeg(listed, 74)}), 2),
    ]  # fmt: skip


def _gif(frames: list[Image.Image]) -> bytes:
    buffer = io.BytesIO()
    fitted = [ImageOps.fit(frame.convert("RGB"), (320, 240)) for frame in frames[:-1]]
    fitted.append(frames[-1].convert("RGB").resize((320, 240)))
    fitted[0].save(buffer, "GIF", save_all=True, append_images=fitted[1:], duration=200)
    return buffer.getvalue()


def _video(scenes: list[Image.Image], seconds: int = 2, rate: int = 10) -> bytes:
    """Each picture for some seconds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
        stream.bit_rate = 2_000_000
        for scene in scenes:
            image = scene.convert("RGB").resize((480, 360))
            for _ in range(seconds * rate):
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return buffer.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _recompressed(image: Image.Image) -> bytes:
    return _jpeg(image, quality=30)


def _resized(image: Image.Image) -> bytes:
    return _jpeg(image.resize((image.width * 7 // 10, image.height * 7 // 10), Image.LANCZOS))


def _watermarked(image: Image.Image) -> bytes:
    marked = image.convert("RGBA")
    layer = Image.new("RGBA", image.size)
    font = ImageFont.load_default(image.height // 12)
    ImageDraw.Draw(layer).text(
        (image.width // 2, image.height * 4 // 5), "shared by nobody", (255, 255, 255, 110),
        font, anchor="mm",
    )  # fmt: skip
    return _jpeg(Image.alpha_composite(marked, layer).convert("RGB"))


def _greyscale(image: Image.Image) -> bytes:
    return _jpeg(image.convert("L"))


def _exif_rotated(image: Image.Image) -> bytes:
    """Stored sideways, with the tag that says how to turn it upright: as cameras do."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _cmyk(image: Image.Image) -> bytes:
    return _jpeg(image.convert("CMYK"))


def _palette_png(image: Image.Image) -> bytes:
    return _png(image.convert("P", palette=Image.Palette.ADAPTIVE, colors=128))


def _mirrored(image: Image.Image) -> bytes:
    return _jpeg(ImageOps.mirror(image))


def _bordered(image: Image.Image) -> bytes:
    return _jpeg(ImageOps.expand(image, image.width // 12, (20, 24, 90)))


def _cropped(image: Image.Image) -> bytes:
    """Without a fortieth of its width and height at each side: five percent in all."""
    across, down = image.width // 40, image.height // 40
    return _jpeg(image.crop((across, down, image.width - across, image.height - down)))


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.filter(ImageFilter.SHARPEN).save(buffer, "WEBP", quality=70)
    return buffer.getvalue()


def _avif(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", quality=60, speed=10)
    return buffer.getvalue()


EDITS: tuple[tuple[str, str, Callable[[Image.Image], bytes]], ...] = (
    ("recompressed at quality 30", ".jpg", _recompressed),
    ("resized to 70 %", ".jpg", _resized),
    ("watermarked", ".jpg", _watermarked),
    ("in greyscale", ".jpg", _greyscale),
    ("stored sideways (EXIF)", ".jpg", _exif_rotated),
    ("as CMYK for print", ".jpg", _cmyk),
    ("as palette PNG", ".png", _palette_png),
    ("sharpened, as WebP", ".webp", _webp),
    ("as AVIF", ".avif", _avif),
    ("mirrored", ".jpg", _mirrored),
    ("in a coloured border", ".jpg", _bordered),
    ("cropped by 5 %", ".jpg", _cropped),
)


def _bomb() -> bytes:
    """A PNG of 90 bytes whose header claims 3.6 gigapixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data
            + struct.pack(">I", zlib.crc32(name + data))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )
