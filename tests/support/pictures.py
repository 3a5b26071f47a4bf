"""Pictures made from a seed, and the ways to compare and store them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pdqhash
from PIL import Image

CONTENT_KINDS = (
    "noise",
    "smooth",
    "gradient",
    "flat",
    "saturated",
    "near_ties",
    "stripes",
    "symmetric",
    "two_colours",
)


def picture(kind: str, height: int, width: int, seed: int) -> np.ndarray:
    """A uint8 [height, width, 3] picture of a kind in `CONTENT_KINDS`."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    if kind == "noise":
        pixels = random.integers(0, 256, (height, width, 3))
    elif kind == "smooth":
        pixels = smooth(height, width, seed)
    elif kind == "gradient":
        slopes = random.uniform(-255, 255, (2, 3))
        plane = y[..., None] / height * slopes[0] + x[..., None] / width * slopes[1]
        pixels = np.clip(plane + random.uniform(0, 255), 0, 255)
    elif kind == "flat":
        pixels = np.tile(random.integers(0, 256, 3), (height, width, 1))
    elif kind == "saturated":
        pixels = random.integers(0, 2, (height, width, 3)) * 255
    elif kind == "near_ties":  # flat but for single steps: coefficients crowd around the median
        pixels = random.integers(1, 255, 3) + random.integers(-1, 2, (height, width, 3))
    elif kind == "stripes":
        plane = ((x if seed % 2 else y) // random.integers(1, 40)) % 2 * 255
        pixels = np.repeat(plane[..., None], 3, axis=2)
    elif kind == "symmetric":  # whole rows and columns of coefficients are zero, but for rounding
        half = smooth(height, width, seed).astype(np.int64)
        pixels = (half + half[::-1] + half[:, ::-1] + half[::-1, ::-1]) // 4
    elif kind == "two_colours":
        is_one = smooth(height, width, seed)[:, :, :1] > 128
        pixels = np.where(is_one, *random.integers(0, 256, (2, 3)))
    else:
        raise ValueError(kind)
    return pixels.astype(np.uint8)


def smooth(height: int = 240, width: int = 320, seed: int = 7) -> np.ndarray:
    """A soft random field with a few hard-edged shapes on it: texture at every scale."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = y / height, x / width
    field = np.zeros((height, width, 3))
    for _ in range(24):
        fy, fx = random.uniform(-6, 6, 2)
        phase = random.uniform(0, 2 * np.pi, 3)
        weight = random.uniform(0.2, 1, 3) / (0.5 + np.hypot(fy, fx))
        wave = 2 * np.pi * (fy * y + fx * x)
        field += weight * np.cos(wave[..., None] + phase)
    field = 128 + 110 * field / np.abs(field).max()
    for _ in range(5):
        cy, cx, radius = (
            random.uniform(0.1, 0.9),
            random.uniform(0.1, 0.9),
            random.uniform(0.04, 0.2),
        )
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        field[inside] = random.uniform(0, 255, 3)
    return np.clip(np.rint(field), 0, 255).astype(np.uint8)


def store(pixels: np.ndarray | Image.Image, file_format: str, **options: object) -> bytes:
    """Encode with Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def reference(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Code (uint8 [32]) and quality as `pdqhash`, the reference core, computes them."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    bits, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    return np.packbits(bits.astype(np.uint8)), quality


def bits_apart(one: np.ndarray, other: np.ndarray) -> int:
    """Hamming distance of two codes."""
    return int(np.unpackbits(one ^ other).sum())


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What a viewer shows of a picture with transparency on a white page."""
    share = alpha[..., None] / 255
    return np.rint(rgb * share + 255 * (1 - share)).astype(np.uint8)


def png(
    samples: np.ndarray,
    *,
    bit_depth: int,
    colour_type: int,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    size: tuple[int, int] | None = None,
    interlaced: bool = False,
) -> bytes:
    """Write a PNG by hand: the kinds Pillow cannot write (W3C PNG, sections 8, 9.2 and 11.2).

    Args:
        samples: [height, width] or [height, width, channels], one number a sample.
        bit_depth: 1, 2, 4, 8 or 16.
        colour_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        chunks: further chunks, between IHDR and IDAT.
        size: (width, height) to claim in place of the true one.
        interlaced: in the seven passes of Adam7.
    """
    height, width = samples.shape[:2]
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in _ADAM7] if interlaced else [samples]
    rows = [row for part in passes if part.size for row in _packed_rows(part, bit_depth)]
    sides = size or (width, height)
    header = struct.pack(">IIBBBBB", *sides, bit_depth, colour_type, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )


_ADAM7 = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
)  # fmt: skip
"""First row, first column, and the steps between rows and columns of each pass."""


def _packed_rows(samples: np.ndarray, bit_depth: int) -> list[bytes]:
    flat = samples.reshape(len(samples), -1)
    if bit_depth >= 8:
        return [row.astype(">u2" if bit_depth == 16 else np.uint8).tobytes() for row in flat]
    shifts = np.arange(bit_depth)[::-1]
    bits = (flat[..., None].astype(np.uint8) >> shifts) & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in bits]


def tiff(
    entries: dict[int, tuple[int, int | tuple[int, ...]]], strip: bytes, *, order: str = "<"
) -> bytes:
    """Write a TIFF by hand (TIFF 6.0, section 2).

    Args:
        entries: tag -> (field type, value or values); 3 is a short, 4 a long.
        strip: the pixel data, which lies at offset 8.
        order: "<" little-endian or ">" big-endian.
    """
    strip += b"\0" * (len(strip) % 2)
    values = b""
    directory = struct.pack(order + "H", len(entries))
    for tag, (kind, value) in sorted(entries.items()):
        several = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(order + str(len(several)) + {3: "H", 4: "L"}[kind], *several)
        if len(packed) > 4:
            place = 8 + len(strip) + len(values)
            values += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(order + "L", place)
        directory += struct.pack(order + "HHL", tag, kind, len(several)) + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(order + "L", 8 + len(strip) + len(values))
    return magic + start + strip + values + directory + b"\0\0\0\0"


def with_scan_of(blob: bytes, other: bytes) -> bytes:
    """A progressive JPEG with the first scan of `other` behind its own last one."""
    first = other.index(b"\xff\xda")
    second = other.index(b"\xff\xda", first + 2)
    return blob[:-2] + other[first:second] + blob[-2:]


def with_means_bit_by_bit(means: np.ndarray, missing_bits: int) -> bytes:
    """A grey progressive JPEG, 8 times as large, whose blocks have these means.

    Its first scan leaves their lowest `missing_bits` out (Al); scans of one bit each follow, and
    one for all other frequencies, which are zero (ITU-T T.81, annex G).
    """
    height, width = means.shape
    values = means.astype(int).ravel() - 128  # with quantiser 8, the coefficient is the mean
    high = values >> missing_bits
    words = []
    for step in np.diff(high, prepend=0).tolist():
        length = abs(step).bit_length()
        tail = step if step > 0 else step + (1 << length) - 1
        words.append(f"{length:04b}" + (f"{tail:0{length}b}" if length else ""))
    blob = b"\xff\xd8" + _segment(0xDB, b"\0" + bytes([8]) * 64)
    blob += _segment(0xC2, struct.pack(">BHHB", 8, height * 8, width * 8, 1) + b"\1\x11\0")
    blob += _segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12)))
    bits = np.frombuffer("".join(words).encode(), np.uint8) - ord("0")
    blob += _scan(bytes([0, 0, missing_bits]), bits)
    for bit in reversed(range(missing_bits)):
        blob += _scan(bytes([0, 0, (bit + 1) << 4 | bit]), values >> bit & 1)
    blob += _segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")  # one code: end of block
    return blob + _scan(bytes([1, 63, 0]), np.zeros(values.size, int)) + b"\xff\xd9"


def _segment(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data


def _scan(header: bytes, bits: np.ndarray) -> bytes:
    filled = np.concatenate([bits, np.ones(-bits.size % 8, int)])
    data = np.packbits(filled.astype(np.uint8)).tobytes().replace(b"\xff", b"\xff\0")
    return _segment(0xDA, b"\1\1\0" + header) + data
