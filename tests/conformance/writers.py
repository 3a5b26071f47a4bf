"""Files that Pillow cannot write, or not in that kind: RGB pixels -> bytes."""

from __future__ import annotations

import io
import os
import struct

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from tests.support.pictures import png, store, tiff

# --- the same picture in other numbers ------------------------------------------------------------


def grey(rgb: np.ndarray) -> np.ndarray:
    """Luma as whole numbers, by Pillow."""
    return np.asarray(Image.fromarray(rgb).convert("L"))


def grey_16(rgb: np.ndarray) -> np.ndarray:
    """Grey of 16 bits that uses the low byte too."""
    return (grey(rgb).astype(np.uint16) << 8) | 0x5A


def rgb_16(rgb: np.ndarray) -> np.ndarray:
    """RGB of 16 bits that uses the low byte too."""
    return (rgb.astype(np.uint16) << 8) | 0x5A


def few_greys(rgb: np.ndarray, bits: int) -> np.ndarray:
    """Grey of 1, 2 or 4 bits, errors spread to the neighbours as editors do."""
    levels = np.linspace(0, 255, 2**bits).round().astype(np.uint8)
    swatch = Image.new("P", (1, 1))
    swatch.putpalette(np.repeat(levels, 3).tobytes())
    plane = Image.fromarray(grey(rgb)).convert("RGB")
    return np.asarray(plane.quantize(palette=swatch, dither=Image.Dither.FLOYDSTEINBERG))


def palette(rgb: np.ndarray, colours: int = 256) -> Image.Image:
    """The picture in colours of its own."""
    return Image.fromarray(rgb).quantize(colours)


def colours_of(image: Image.Image, count: int) -> np.ndarray:
    """The palette, uint8 [count, 3]."""
    flat = np.array(image.getpalette(), np.uint8)[: 3 * count]
    return np.pad(flat, (0, 3 * count - len(flat))).reshape(count, 3)


def with_alpha(rgb: np.ndarray, alpha: np.ndarray | int) -> np.ndarray:
    """RGBA."""
    plane = np.broadcast_to(np.uint8(alpha) if isinstance(alpha, int) else alpha, rgb.shape[:2])
    return np.dstack([rgb, plane])


def cmyk(rgb: np.ndarray) -> Image.Image:
    """Four inks, black taken out of the other three as a printer would."""
    light = np.maximum(rgb.max(axis=2), 1)[..., None].astype(np.float64)
    inks = np.rint(255 * (1 - rgb / light))
    planes = np.dstack([inks, 255 - light]).astype(np.uint8)
    return Image.merge("CMYK", [Image.fromarray(planes[..., k]) for k in range(4)])


def lab(rgb: np.ndarray) -> Image.Image:
    """CIE L*a*b* by Little CMS."""
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return ImageCms.applyTransform(Image.fromarray(rgb), to_lab)


# --- PNG, GIF, animations -------------------------------------------------------------------------


def palette_png(rgb: np.ndarray, bits: int, *, interlaced: bool = False) -> bytes:
    """A palette PNG of 2**bits colours and packed pixels."""
    image = palette(rgb, 2**bits)
    chunk = (b"PLTE", colours_of(image, 2**bits).tobytes())
    indices = np.asarray(image)
    return png(indices, bit_depth=bits, colour_type=3, chunks=(chunk,), interlaced=interlaced)


def unused_colour(rgb: np.ndarray) -> bytes:
    """A tRNS colour that no pixel has, so that nothing is see-through."""
    packed = (rgb.astype(np.int64) @ [65_536, 256, 1]).ravel()
    free = int(np.setdiff1d(np.arange(packed.size + 1), packed)[0])
    return struct.pack(">HHH", free >> 16, free >> 8 & 255, free & 255)


def animated(rgb: np.ndarray, file_format: str, **options: object) -> bytes:
    """The picture as the first frame of three; the others are something else."""
    frames = [Image.fromarray(255 - rgb), Image.fromarray(rgb[::-1])]
    return store(rgb, file_format, save_all=True, append_images=frames, duration=40, **options)


# --- JPEG -----------------------------------------------------------------------------------------


def ycck(rgb: np.ndarray) -> bytes:
    """A JPEG of four inks, three of them turned into luma and chroma: Photoshop's kind.

    Pillow writes any four planes, inverted, and says "not turned" in Adobe's segment (APP14, its
    last byte); here they are turned beforehand and the byte says so (2).
    """
    inks = np.asarray(cmyk(rgb))
    turned = np.asarray(Image.fromarray(inks[..., :3]).convert("YCbCr"))
    planes = [Image.fromarray(255 - turned[..., k]) for k in range(3)]
    black = Image.fromarray(inks[..., 3])
    blob = bytearray(store(Image.merge("CMYK", [*planes, black]), "JPEG", quality=95))
    blob[blob.index(b"Adobe") + 11] = 2
    return bytes(blob)


# --- BMP and ICO ----------------------------------------------------------------------------------


def bitmap(pixels: bytes, width: int, height: int, bits: int, *, head: bytes = b"") -> bytes:
    """BITMAPINFOHEADER, what follows it (`head`: masks or colours), and rows of pixels."""
    coding = 3 if bits == 16 else 0
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, coding, 0, 2835, 2835, 0, 0)
    return info + head + pixels


def bmp(rgb: np.ndarray, *, bits: int) -> bytes:
    """A BMP of 16 bits (5, 6 and 5, by masks), or of 24 with its first row on top."""
    height, width = rgb.shape[:2]
    masks = b""
    if bits == 16:
        red, green, blue = (rgb[..., k].astype(np.uint16) for k in range(3))
        rows = ((red >> 3) << 11 | (green >> 2) << 5 | blue >> 3)[::-1].astype("<u2")
        masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    else:
        rows, height = rgb[..., ::-1], -height
    pixels = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in rows)
    body = bitmap(pixels, width, height, bits, head=masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 54 + len(masks)) + body


def icon_bitmap(rgb: np.ndarray, *, alpha: np.ndarray | None, hidden: np.ndarray) -> bytes:
    """A bare bitmap as icons hold it: rows upwards, then a mask of what is not shown.

    Args:
        rgb: the picture.
        alpha: of each pixel, for 32 bits a pixel; None for 24.
        hidden: bool, the pixels that the mask leaves out.
    """
    height, width = rgb.shape[:2]
    planes = rgb[..., ::-1] if alpha is None else np.dstack([rgb[..., ::-1], alpha])
    rows = [row.tobytes() for row in planes[::-1]]
    masks = [np.packbits(row).tobytes() for row in hidden[::-1]]
    filled = [row + bytes(-len(row) % 4) for row in (*rows, *masks)]
    return bitmap(b"".join(filled), width, 2 * height, 24 if alpha is None else 32)


def icon(*pictures: bytes) -> bytes:
    """An ICO file of PNG files and bare bitmaps, with an honest directory; 0 there is 256 or more."""
    place = 6 + 16 * len(pictures)
    directory = b"\0\0\1\0" + struct.pack("<H", len(pictures))
    for picture in pictures:
        width, height, bits = 0, 0, 32
        if picture.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", picture, 16)
        elif len(picture) >= 40:
            width, doubled, _, bits = struct.unpack_from("<iiHH", picture, 4)
            height = abs(doubled) // 2
        sides = [side if 0 < side < 256 else 0 for side in (width, height)]
        directory += struct.pack("<BBBBHHII", *sides, 0, 0, 1, bits, len(picture), place)
        place += len(picture)
    return directory + b"".join(pictures)


# --- TIFF -----------------------------------------------------------------------------------------


def raw_tiff(
    samples: np.ndarray,
    *,
    photometric: int,
    order: str = "<",
    extra: int | None = None,
    planes_apart: bool = False,
    tile: int = 0,
) -> bytes:
    """A TIFF without compression (TIFF 6.0, sections 8, 15 and 18).

    Args:
        samples: [height, width] or [height, width, channels], uint8 or uint16.
        photometric: 0 and 1 grey, 2 RGB.
        order: byte order.
        extra: what the last channel is: 1 alpha that the others were multiplied by, 2 plain alpha.
        planes_apart: one plane after the other.
        tile: side of tiles, a multiple of 16; 0 for one strip.
    """
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    kind = order + "u" + str(samples.itemsize)
    size = samples.nbytes // (channels if planes_apart else 1)
    entries: dict[int, tuple[int, int | tuple[int, ...]]] = {
        256: (4, width),
        257: (4, height),
        258: (3, (8 * samples.itemsize,) * channels),
        259: (3, 1),
        262: (3, photometric),
        277: (3, channels),
        284: (3, 2 if planes_apart else 1),
    }
    if extra is not None:
        entries[338] = (3, extra)
    if tile:
        padding = [(0, -height % tile), (0, -width % tile), *[(0, 0)] * (samples.ndim - 2)]
        filled = np.pad(samples, padding)
        parts = [
            filled[y : y + tile, x : x + tile]
            for y in range(0, filled.shape[0], tile)
            for x in range(0, filled.shape[1], tile)
        ]
        size = parts[0].nbytes
        places = tuple(8 + size * number for number in range(len(parts)))
        entries |= {322: (4, tile), 323: (4, tile), 324: (4, places)}
        entries[325] = (4, (size,) * len(parts))
        return tiff(entries, b"".join(part.astype(kind).tobytes() for part in parts), order=order)
    count = channels if planes_apart else 1
    places = tuple(8 + size * number for number in range(count))
    entries |= {273: (4, places), 278: (4, height), 279: (4, (size,) * count)}
    ordered = np.moveaxis(samples, 2, 0) if planes_apart else samples
    return tiff(entries, ordered.astype(kind).tobytes(), order=order)


# --- HEIC and AVIF --------------------------------------------------------------------------------


def heic(pixels: np.ndarray | Image.Image, **options: object) -> bytes:
    """Encode with libheif and x265."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    return _saved(pillow_heif.from_pillow(image), **options)


def turned_heic(rgb: np.ndarray, exif: bytes) -> bytes:
    """A HEIC that says in its boxes (irot, imir) what the EXIF says, and keeps the EXIF."""
    height, width = rgb.shape[:2]
    file = pillow_heif.from_bytes("RGB", (width, height), rgb.tobytes())
    return _saved(file, quality=90, exif=exif)


def deep_heic(rgb: np.ndarray, **options: object) -> bytes:
    """A HEIC of 10 bits."""
    height, width = rgb.shape[:2]
    samples = (rgb.astype(np.uint16) * 257).tobytes()
    return _saved(pillow_heif.from_bytes("RGB;16", (width, height), samples), **options)


def _saved(file: pillow_heif.HeifFile, **options: object) -> bytes:
    written = io.BytesIO()
    file.save(written, **options)
    return written.getvalue()


def with_first_brand(blob: bytes, brand: bytes) -> bytes:
    """A HEIF file whose own brand is another; those it is compatible with stay."""
    return blob[:8] + brand + blob[12:]


def deep_avif(rgb: np.ndarray) -> bytes:
    """An AVIF of 10 bits, by FFmpeg."""
    os.environ.setdefault("SVT_LOG", "1")  # else the encoder tells of itself
    av.logging.set_level(None)
    written = io.BytesIO()
    with av.open(written, "w", format="avif") as file:
        stream = file.add_stream("libsvtav1", rate=1)
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = "yuv420p10le"
        stream.options = {"crf": "10", "preset": "8"}
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
        for packet in (*stream.encode(frame), *stream.encode()):
            file.mux(packet)
    return written.getvalue()
