"""Every way to store a picture that is tried: what is written, what it shows, how close a code is."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from tests.conformance import writers as w
from tests.support.pictures import png, smooth, store
from tests.support.places import PHOTOS

# Bounds, in bits. 0 where every pixel survives; 2 where samples are rounded (grey, inks, blending);
# 10, the reference's own tolerance, for lossy coding; 12 for 256 colours; for 16 colours or fewer,
# where a dithered picture is all that is left, just within radius 31.
LOSSLESS, ROUNDED, LOSSY, PALETTE, FEW_COLOURS = 0, 2, 10, 12, 30


@dataclass(frozen=True)
class Stored:
    """A file and what it holds.

    Attributes:
        blob: the file.
        shows: by rendering, the RGB pixels whose code it is to have.
    """

    blob: bytes
    shows: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Way:
    """One way to store a picture, or some that are alike.

    Attributes:
        bits: the most bits a code may be away from that of the RGB pixels.
        write: RGB pixels -> files.
        channels: of the decoded pixels: 1 where the file itself is grey.
    """

    bits: int
    write: Callable[[np.ndarray], Iterable[Stored]]
    channels: int = 3


@functools.cache
def originals() -> dict[str, np.ndarray]:
    """The pictures: one made from a seed, two of the demo's photographs, at most 256 a side."""
    return {"generated": smooth(180, 240), "cat": _photo("cat.jpg"), "coffee": _photo("coffee.jpg")}


def _photo(name: str) -> np.ndarray:
    with Image.open(PHOTOS / name) as image:
        image.thumbnail((256, 256))
        return np.asarray(image.convert("RGB"))


def _plain(bits: int, encode: Callable[[np.ndarray], bytes], channels: int = 3) -> Way:
    """A way that keeps the picture as it is: one rendering."""
    return Way(bits, lambda rgb: [Stored(encode(rgb), {"as_shown": rgb})], channels)


# --- turned ---------------------------------------------------------------------------------------

EXIF_SIDES: Final = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""EXIF 2.3 section 4.6.4: the side of the scene that row 0 and column 0 of the file hold."""


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels a camera would write for a scene, by the definition in `EXIF_SIDES`."""
    row_0, column_0 = EXIF_SIDES[orientation]
    pixels = upright if row_0 in ("top", "bottom") else upright.swapaxes(0, 1)
    if row_0 in ("bottom", "right"):
        pixels = pixels[::-1]
    if column_0 in ("bottom", "right"):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def exif(orientation: int) -> bytes:
    """EXIF that holds an orientation and nothing else."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def _turned(bits: int, encode: Callable[[np.ndarray, bytes], bytes], channels: int = 3) -> Way:
    """All eight ways to hold a camera; `encode` takes the stored pixels and the EXIF."""

    def write(rgb: np.ndarray) -> Iterable[Stored]:
        for orientation in EXIF_SIDES:
            stored = as_stored(rgb, orientation)
            shows = {"as_shown": rgb} | ({"as_stored": stored} if orientation != 1 else {})
            yield Stored(encode(stored, exif(orientation)), shows)

    return Way(bits, write, channels)


# --- see-through ----------------------------------------------------------------------------------


def laid_on(rgb: np.ndarray, alpha: np.ndarray, level: int) -> np.ndarray:
    """What is seen of a picture on a page of one grey level."""
    share = alpha[..., None] / 255
    return np.rint(rgb * share + level * (1 - share)).astype(np.uint8)


def soft_alpha(rgb: np.ndarray) -> np.ndarray:
    """From see-through on the left to opaque on the right."""
    height, width = rgb.shape[:2]
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def cut_out(rgb: np.ndarray) -> np.ndarray:
    """Opaque inside an ellipse, see-through outside."""
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.where(x**2 + y**2 < 0.9, 255, 0).astype(np.uint8)


def _on_both(blob: bytes, rgb: np.ndarray, alpha: np.ndarray) -> list[Stored]:
    shows = {"as_shown": laid_on(rgb, alpha, 255), "on_black": laid_on(rgb, alpha, 0)}
    return [Stored(blob, shows)]


def _layered(
    bits: int,
    encode: Callable[[np.ndarray], bytes],
    alpha_of: Callable[[np.ndarray], np.ndarray] = soft_alpha,
) -> Way:
    """A way that keeps alpha; `encode` takes RGBA."""

    def write(rgb: np.ndarray) -> list[Stored]:
        alpha = alpha_of(rgb)
        return _on_both(encode(w.with_alpha(rgb, alpha)), rgb, alpha)

    return Way(bits, write)


def _clear_grey(bits: int) -> Way:
    """A grey PNG whose most frequent level is see-through."""

    def write(rgb: np.ndarray) -> list[Stored]:
        samples = (w.grey(rgb) >> (8 - bits)).astype(np.uint16) if bits < 16 else w.grey_16(rgb)
        clear = int(np.bincount(samples.ravel()).argmax())
        chunk = (b"tRNS", struct.pack(">H", clear))
        blob = png(samples, bit_depth=bits, colour_type=0, chunks=(chunk,))
        white = 2 ** min(bits, 8) - 1
        levels = (samples >> 8 if bits == 16 else samples * (255 // white)).astype(np.uint8)
        alpha = np.where(samples == clear, 0, 255).astype(np.uint8)
        return _on_both(blob, np.repeat(levels[..., None], 3, axis=2), alpha)

    return Way(LOSSLESS, write, 1 if bits == 16 else 3)


def _clear_colour(rgb: np.ndarray) -> list[Stored]:
    """An RGB PNG of 8 and one of 16 bits whose colour of the top left pixel is see-through."""
    is_clear = (rgb == rgb[0, 0]).all(axis=2)
    alpha = np.where(is_clear, 0, 255).astype(np.uint8)
    stored = []
    for bits, samples in ((8, rgb), (16, w.rgb_16(rgb))):
        chunk = (b"tRNS", struct.pack(">HHH", *samples[0, 0].tolist()))
        blob = png(samples, bit_depth=bits, colour_type=2, chunks=(chunk,))
        stored += _on_both(blob, rgb, alpha)
    return stored


def _palette_alphas(rgb: np.ndarray) -> list[Stored]:
    """A palette PNG whose entries have alpha of their own."""
    image = w.palette(rgb, 64)
    indices, colours = np.asarray(image), w.colours_of(image, 64)
    alphas = np.linspace(0, 255, 64).astype(np.uint8)
    chunks = ((b"PLTE", colours.tobytes()), (b"tRNS", alphas.tobytes()))
    blob = png(indices, bit_depth=8, colour_type=3, chunks=chunks)
    return _on_both(blob, colours[indices], alphas[indices])


def _clear_gif(rgb: np.ndarray) -> list[Stored]:
    """A GIF whose most frequent palette entry is see-through."""
    image = w.palette(rgb, 64)
    indices, colours = np.asarray(image), w.colours_of(image, 64)
    clear = int(np.bincount(indices.ravel()).argmax())
    alpha = np.where(indices == clear, 0, 255).astype(np.uint8)
    return _on_both(store(image, "GIF", transparency=clear), colours[indices], alpha)


def _grey_and_alpha(rgb: np.ndarray) -> list[Stored]:
    plane, alpha = w.grey(rgb), soft_alpha(rgb)
    blob = store(np.dstack([plane, alpha]), "PNG")
    return _on_both(blob, np.repeat(plane[..., None], 3, axis=2), alpha)


def _deep_alpha(rgb: np.ndarray) -> list[Stored]:
    """A PNG of 16 bits, alpha too."""
    alpha = soft_alpha(rgb)
    samples = w.with_alpha(rgb, alpha).astype(np.uint16) * 257
    return _on_both(png(samples, bit_depth=16, colour_type=6), rgb, alpha)


def _multiplied(rgb: np.ndarray) -> list[Stored]:
    """A TIFF whose colours were multiplied by their alpha."""
    alpha = soft_alpha(rgb)
    samples = np.dstack([laid_on(rgb, alpha, 0), alpha])
    return _on_both(w.raw_tiff(samples, photometric=2, extra=1), rgb, alpha)


def _icon(*, is_deep: bool) -> Way:
    """An icon of one bare bitmap: with alpha, or with a mask."""

    def write(rgb: np.ndarray) -> list[Stored]:
        alpha = soft_alpha(rgb) if is_deep else cut_out(rgb)
        picture = w.icon_bitmap(rgb, alpha=alpha if is_deep else None, hidden=alpha == 0)
        return _on_both(w.icon(picture), rgb, alpha)

    return Way(ROUNDED, write)


def _old_icon(rgb: np.ndarray) -> bytes:
    """32 bits a pixel of which alpha was never set, and a mask that hides nothing."""
    hidden = np.zeros(rgb.shape[:2], bool)
    return w.icon(w.icon_bitmap(rgb, alpha=np.zeros_like(rgb[..., 0]), hidden=hidden))


def _icon_of_sizes(rgb: np.ndarray) -> bytes:
    """The picture as the second of three PNG files; the others are smaller and of another one."""
    small = store((255 - rgb)[::4, ::4], "PNG")
    return w.icon(small, store(rgb, "PNG"), small)


def _few_greys_png(bits: int, *, interlaced: bool = False) -> Callable[[np.ndarray], bytes]:
    def encode(rgb: np.ndarray) -> bytes:
        samples = w.few_greys(rgb, bits)
        return png(samples, bit_depth=bits, colour_type=0, interlaced=interlaced)

    return encode


def _grey_with_alpha(rgb: np.ndarray) -> np.ndarray:
    return np.dstack([w.grey(rgb), np.full_like(w.grey(rgb), 255)])


def _deep_grey_with_alpha(rgb: np.ndarray) -> np.ndarray:
    return np.dstack([w.grey_16(rgb), np.full_like(w.grey_16(rgb), 65_535)])


# --- the table ------------------------------------------------------------------------------------

WAYS: Final[dict[str, Way]] = {
    "JPEG, baseline": _plain(LOSSY, lambda p: store(p, "JPEG", quality=90)),
    "JPEG, quality 50": _plain(LOSSY, lambda p: store(p, "JPEG", quality=50)),
    "JPEG, progressive": _plain(LOSSY, lambda p: store(p, "JPEG", quality=90, progressive=True)),
    "JPEG, 4:4:4": _plain(LOSSY, lambda p: store(p, "JPEG", quality=95, subsampling=0)),
    "JPEG, stored as RGB": _plain(LOSSY, lambda p: store(p, "JPEG", quality=95, keep_rgb=True)),
    "JPEG, grey": _plain(LOSSY, lambda p: store(w.grey(p), "JPEG", quality=95), 1),
    "JPEG, CMYK": _plain(LOSSY, lambda p: store(w.cmyk(p), "JPEG", quality=95)),
    "JPEG, YCCK": _plain(LOSSY, w.ycck),
    "JPEG, several pictures (MPO)": _plain(LOSSY, lambda p: w.animated(p, "MPO", quality=90)),
    "JPEG, EXIF 1 to 8": _turned(LOSSY, lambda p, e: store(p, "JPEG", quality=90, exif=e)),
    "JPEG, grey, EXIF 1 to 8": _turned(
        LOSSY, lambda p, e: store(w.grey(p), "JPEG", quality=90, exif=e), 1
    ),
    "JPEG, CMYK, EXIF 1 to 8": _turned(
        LOSSY, lambda p, e: store(w.cmyk(p), "JPEG", quality=95, exif=e)
    ),
    "PNG, RGB": _plain(LOSSLESS, lambda p: store(p, "PNG")),
    "PNG, RGB, interlaced": _plain(
        LOSSLESS, lambda p: png(p, bit_depth=8, colour_type=2, interlaced=True)
    ),
    "PNG, RGB, unused transparent colour": _plain(
        LOSSLESS,
        lambda p: png(p, bit_depth=8, colour_type=2, chunks=((b"tRNS", w.unused_colour(p)),)),
    ),
    "PNG, RGB, 16-bit": _plain(LOSSLESS, lambda p: png(w.rgb_16(p), bit_depth=16, colour_type=2)),
    "PNG, RGB, 16-bit, interlaced": _plain(
        LOSSLESS, lambda p: png(w.rgb_16(p), bit_depth=16, colour_type=2, interlaced=True)
    ),
    "PNG, RGBA, opaque": _plain(LOSSLESS, lambda p: store(w.with_alpha(p, 255), "PNG")),
    "PNG, RGBA, opaque, 16-bit": _plain(
        LOSSLESS,
        lambda p: png(w.with_alpha(p, 255).astype(np.uint16) * 257, bit_depth=16, colour_type=6),
    ),
    "PNG, grey": _plain(ROUNDED, lambda p: store(w.grey(p), "PNG"), 1),
    "PNG, grey, interlaced": _plain(
        ROUNDED, lambda p: png(w.grey(p), bit_depth=8, colour_type=0, interlaced=True), 1
    ),
    "PNG, grey, 16-bit": _plain(ROUNDED, lambda p: store(w.grey_16(p), "PNG"), 1),
    "PNG, grey, 4-bit": _plain(FEW_COLOURS, _few_greys_png(4), 1),
    "PNG, grey, 2-bit": _plain(FEW_COLOURS, _few_greys_png(2), 1),
    "PNG, black and white": _plain(FEW_COLOURS, _few_greys_png(1)),
    "PNG, black and white, interlaced": _plain(FEW_COLOURS, _few_greys_png(1, interlaced=True)),
    "PNG, grey, opaque alpha": _plain(ROUNDED, lambda p: store(_grey_with_alpha(p), "PNG")),
    "PNG, grey, opaque alpha, 16-bit": _plain(
        ROUNDED, lambda p: png(_deep_grey_with_alpha(p), bit_depth=16, colour_type=4)
    ),
    "PNG, palette": _plain(PALETTE, lambda p: store(w.palette(p), "PNG")),
    "PNG, palette, interlaced": _plain(PALETTE, lambda p: w.palette_png(p, 8, interlaced=True)),
    "PNG, palette of 16": _plain(FEW_COLOURS, lambda p: w.palette_png(p, 4)),
    "PNG, palette, unused transparent entry": _plain(
        PALETTE, lambda p: store(w.palette(p, 255), "PNG", transparency=255)
    ),
    "PNG, RGBA": _layered(ROUNDED, lambda p: store(p, "PNG")),
    "PNG, RGBA, cut out": _layered(LOSSLESS, lambda p: store(p, "PNG"), cut_out),
    "PNG, RGBA, 16-bit": Way(ROUNDED, _deep_alpha),
    "PNG, grey and alpha": Way(ROUNDED, _grey_and_alpha),
    "PNG, RGB, transparent colour": Way(LOSSLESS, _clear_colour),
    "PNG, palette with alphas": Way(ROUNDED, _palette_alphas),
    "PNG, grey, transparent level, 16-bit": _clear_grey(16),
    "PNG, grey, transparent level, 8-bit": _clear_grey(8),
    "PNG, grey, transparent level, 4-bit": _clear_grey(4),
    "PNG, grey, transparent level, 2-bit": _clear_grey(2),
    "PNG, EXIF 1 to 8": _turned(LOSSLESS, lambda p, e: store(p, "PNG", exif=e)),
    "APNG, first frame": _plain(LOSSLESS, lambda p: w.animated(p, "PNG")),
    "APNG, picture beside the frames": _plain(
        LOSSLESS, lambda p: w.animated(p, "PNG", default_image=True)
    ),
    "GIF": _plain(PALETTE, lambda p: store(w.palette(p), "GIF")),
    "GIF, not interlaced": _plain(PALETTE, lambda p: store(w.palette(p), "GIF", interlace=0)),
    "GIF, grey": _plain(ROUNDED, lambda p: store(w.grey(p), "GIF")),
    "GIF, first frame": _plain(PALETTE, lambda p: w.animated(p, "GIF")),
    "GIF, transparent entry": Way(ROUNDED, _clear_gif),
    "WebP, lossy": _plain(LOSSY, lambda p: store(p, "WEBP", quality=85)),
    "WebP, lossless": _plain(LOSSLESS, lambda p: store(p, "WEBP", lossless=True)),
    "WebP, opaque alpha": _plain(
        LOSSLESS, lambda p: store(w.with_alpha(p, 255), "WEBP", lossless=True, exact=True)
    ),
    "WebP, first frame": _plain(LOSSLESS, lambda p: w.animated(p, "WEBP", lossless=True)),
    "WebP, lossless, alpha": _layered(
        ROUNDED, lambda p: store(p, "WEBP", lossless=True, exact=True)
    ),
    "WebP, lossy, alpha": _layered(LOSSY, lambda p: store(p, "WEBP", quality=85, exact=True)),
    "WebP, EXIF 1 to 8": _turned(LOSSLESS, lambda p, e: store(p, "WEBP", lossless=True, exif=e)),
    "TIFF, RGB": _plain(LOSSLESS, lambda p: store(p, "TIFF")),
    "TIFF, RGB, LZW": _plain(LOSSLESS, lambda p: store(p, "TIFF", compression="tiff_lzw")),
    "TIFF, RGB, Deflate": _plain(
        LOSSLESS, lambda p: store(p, "TIFF", compression="tiff_adobe_deflate")
    ),
    "TIFF, RGB, PackBits": _plain(LOSSLESS, lambda p: store(p, "TIFF", compression="packbits")),
    "TIFF, RGB, Zstandard": _plain(LOSSLESS, lambda p: store(p, "TIFF", compression="zstd")),
    "TIFF, RGB, LZMA": _plain(LOSSLESS, lambda p: store(p, "TIFF", compression="lzma")),
    "TIFF, RGB, JPEG": _plain(LOSSY, lambda p: store(p, "TIFF", compression="jpeg", quality=90)),
    "TIFF, RGB, BigTIFF": _plain(LOSSLESS, lambda p: store(p, "TIFF", big_tiff=True)),
    "TIFF, RGB, big-endian": _plain(LOSSLESS, lambda p: w.raw_tiff(p, photometric=2, order=">")),
    "TIFF, RGB, planes apart": _plain(
        LOSSLESS, lambda p: w.raw_tiff(p, photometric=2, planes_apart=True)
    ),
    "TIFF, RGB, tiled": _plain(LOSSLESS, lambda p: w.raw_tiff(p, photometric=2, tile=64)),
    "TIFF, RGB, 16-bit": _plain(LOSSLESS, lambda p: w.raw_tiff(w.rgb_16(p), photometric=2)),
    "TIFF, RGB, 16-bit, big-endian": _plain(
        LOSSLESS, lambda p: w.raw_tiff(w.rgb_16(p), photometric=2, order=">")
    ),
    "TIFF, CMYK": _plain(ROUNDED, lambda p: store(w.cmyk(p), "TIFF")),
    "TIFF, LAB": _plain(LOSSY, lambda p: store(w.lab(p), "TIFF")),
    "TIFF, YCbCr": _plain(
        LOSSY, lambda p: store(Image.fromarray(p).convert("YCbCr"), "TIFF", compression="tiff_lzw")
    ),
    "TIFF, grey": _plain(ROUNDED, lambda p: store(w.grey(p), "TIFF"), 1),
    "TIFF, grey, white is zero": _plain(
        ROUNDED, lambda p: w.raw_tiff(255 - w.grey(p), photometric=0), 1
    ),
    "TIFF, grey, 16-bit": _plain(ROUNDED, lambda p: store(w.grey_16(p), "TIFF"), 1),
    "TIFF, grey, 16-bit, big-endian": _plain(
        ROUNDED, lambda p: w.raw_tiff(w.grey_16(p), photometric=1, order=">"), 1
    ),
    "TIFF, grey, 16-bit, white is zero": _plain(
        ROUNDED, lambda p: w.raw_tiff(65_535 - w.grey_16(p), photometric=0), 1
    ),
    "TIFF, grey, 32-bit": _plain(
        ROUNDED, lambda p: store(w.grey_16(p).astype(np.int32), "TIFF"), 1
    ),
    "TIFF, grey, floats 0 to 1": _plain(
        ROUNDED, lambda p: store(w.grey(p).astype(np.float32) / 255, "TIFF"), 1
    ),
    "TIFF, grey, floats 0 to 255": _plain(
        ROUNDED, lambda p: store(w.grey(p).astype(np.float32), "TIFF"), 1
    ),
    "TIFF, black and white": _plain(
        FEW_COLOURS, lambda p: store(Image.fromarray(p).convert("1"), "TIFF")
    ),
    "TIFF, black and white, fax group 3": _plain(
        FEW_COLOURS, lambda p: store(Image.fromarray(p).convert("1"), "TIFF", compression="group3")
    ),
    "TIFF, black and white, fax group 4": _plain(
        FEW_COLOURS, lambda p: store(Image.fromarray(p).convert("1"), "TIFF", compression="group4")
    ),
    "TIFF, palette": _plain(PALETTE, lambda p: store(w.palette(p), "TIFF")),
    "TIFF, RGBA, opaque": _plain(LOSSLESS, lambda p: store(w.with_alpha(p, 255), "TIFF")),
    "TIFF, RGBA": _layered(ROUNDED, lambda p: store(p, "TIFF")),
    "TIFF, RGBA, multiplied": Way(ROUNDED, _multiplied),
    "TIFF, first page": _plain(LOSSLESS, lambda p: w.animated(p, "TIFF")),
    "TIFF, orientation 1 to 8": _turned(LOSSLESS, lambda p, e: store(p, "TIFF", exif=e)),
    "BMP, RGB": _plain(LOSSLESS, lambda p: store(p, "BMP")),
    "BMP, RGB, first row on top": _plain(LOSSLESS, lambda p: w.bmp(p, bits=24)),
    "BMP, RGB, 16-bit (5, 6, 5)": _plain(LOSSY, lambda p: w.bmp(p, bits=16)),
    "BMP, palette": _plain(PALETTE, lambda p: store(w.palette(p), "BMP")),
    "BMP, grey": _plain(ROUNDED, lambda p: store(w.grey(p), "BMP"), 1),
    "BMP, black and white": _plain(
        FEW_COLOURS, lambda p: store(Image.fromarray(p).convert("1"), "BMP")
    ),
    "AVIF": _plain(LOSSY, lambda p: store(p, "AVIF", quality=80, speed=10)),
    "AVIF, 4:4:4": _plain(
        LOSSY, lambda p: store(p, "AVIF", quality=80, speed=10, subsampling="4:4:4")
    ),
    "AVIF, 10-bit": _plain(LOSSY, w.deep_avif),
    "AVIF, own brand mif1": _plain(
        LOSSY, lambda p: w.with_first_brand(store(p, "AVIF", quality=80, speed=10), b"mif1")
    ),
    "AVIF, first frame": _plain(LOSSY, lambda p: w.animated(p, "AVIF", quality=80, speed=10)),
    "AVIF, opaque alpha": _plain(
        LOSSY, lambda p: store(w.with_alpha(p, 255), "AVIF", quality=80, speed=10)
    ),
    "AVIF, alpha": _layered(LOSSY, lambda p: store(p, "AVIF", quality=80, speed=10)),
    "AVIF, orientation 1 to 8": _turned(
        LOSSY, lambda p, e: store(p, "AVIF", quality=80, speed=10, exif=e)
    ),
    "HEIC": _plain(LOSSY, lambda p: w.heic(p, quality=80)),
    "HEIC, 4:4:4": _plain(LOSSY, lambda p: w.heic(p, quality=80, chroma=444)),
    "HEIC, lossless RGB": _plain(
        LOSSLESS, lambda p: w.heic(p, quality=-1, chroma=444, matrix_coefficients=0)
    ),
    "HEIC, 10-bit": _plain(LOSSY, lambda p: w.deep_heic(p, quality=80)),
    "HEIC, tiles": _plain(LOSSY, lambda p: w.heic(p, quality=80, tile_size=128)),
    "HEIC, own brand mif1": _plain(
        LOSSY, lambda p: w.with_first_brand(w.heic(p, quality=80), b"mif1")
    ),
    "HEIC, grey": _plain(LOSSY, lambda p: w.heic(w.grey(p), quality=80), 1),
    "HEIC, opaque alpha": _plain(LOSSY, lambda p: w.heic(w.with_alpha(p, 255), quality=80)),
    "HEIC, alpha": _layered(LOSSY, lambda p: w.heic(p, quality=80)),
    "HEIC, orientation 1 to 8": _turned(LOSSY, w.turned_heic),
    "ICO, largest of three PNG files": _plain(LOSSLESS, _icon_of_sizes),
    "ICO, 32-bit, alpha never set": _plain(LOSSLESS, _old_icon),
    "ICO, 32-bit, alpha": _icon(is_deep=True),
    "ICO, 24-bit and mask": _icon(is_deep=False),
}
"""By name: format first, then what is particular."""
