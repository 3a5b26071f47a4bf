"""PDQ in plain numpy: the readable oracle, slow on purpose.

Source: Meta's reference core, facebook/ThreatExchange `pdq/cpp/hashing/pdqhashing.cpp`,
`pdq/cpp/downscaling/downscaling.cpp` and `hashing/hashing.pdf`, re-expressed from a description of
what they do, one function a step:

    luma -> 2 x (box along rows, box down columns) -> 64 x 64 -> DCT -> lower median -> bits

The *authority* is the compiled reference itself, package `pdqhash`; this file is here to be read,
and to say which step differs when the two disagree. It shares no code with `matchers`.
"""

from __future__ import annotations

import math

import numpy as np

SIDE = 64  # of the plane that the DCT sees
FREQUENCIES = 16  # 1..16: the mean (frequency 0) is left out
TOO_SMALL = 5  # sides below this are not hashed
VIEWS = ("original", "r90", "r180", "r270", "flip_x", "flip_y", "flip_plus_1", "flip_minus_1")


def hash_pixels(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Code (uint8 [32], in hex order) and quality of uint8 [h, w, 3] RGB or [h, w] grey."""
    if min(pixels.shape[:2]) < TOO_SMALL:
        return np.zeros(32, np.uint8), 0
    plane = plane_64(luma(pixels))
    return code_of(coefficients(plane)), quality_of(plane)


def dihedral(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes of the eight views (uint8 [8, 32], in the order of `VIEWS`) and the quality."""
    if min(pixels.shape[:2]) < TOO_SMALL:
        return np.zeros((8, 32), np.uint8), 0
    plane = blurred_64(luma(pixels))  # the reference's dihedral function takes no short cut
    return np.array([code_of(view) for view in views(coefficients(plane))]), quality_of(plane)


def luma(pixels: np.ndarray) -> np.ndarray:
    """0.299 r + 0.587 g + 0.114 b in float64, rounded once to float32; grey is its own luma.

    The float64 expression is the one in pdqhash's bindings.pyx.
    """
    if pixels.ndim == 2:
        return pixels.astype(np.float32)
    red, green, blue = (pixels[:, :, channel] for channel in range(3))
    return (red * 0.299 + green * 0.587 + blue * 0.114).astype(np.float32)


def plane_64(plane: np.ndarray) -> np.ndarray:
    """The plane that a single code is made from: 64 x 64 is taken as it is, all else blurred."""
    return plane if plane.shape == (SIDE, SIDE) else blurred_64(plane)


def blurred_64(plane: np.ndarray) -> np.ndarray:
    """Blur, then take the sample nearest each cell's centre."""
    height, width = plane.shape
    for _ in range(2):
        plane = box(plane.T, window_of(width)).T  # along each row
        plane = box(plane, window_of(height))  # down each column
    rows = [int((i + 0.5) * height / SIDE) for i in range(SIDE)]
    columns = [int((j + 0.5) * width / SIDE) for j in range(SIDE)]
    return plane[np.ix_(rows, columns)]


def window_of(samples: int) -> int:
    """Width of the box: one hundred-and-twenty-eighth of the side, rounded up."""
    return (samples + 127) // 128


def box(plane: np.ndarray, window: int) -> np.ndarray:
    """Running mean of `window` samples down axis 0; the window shrinks at both ends.

    The sum runs on from sample to sample in float32, adding before subtracting, so that its
    rounding errors are the reference's own. The window is centred for odd widths; for even ones
    it reaches one sample further ahead than behind (box1DFloat).
    """
    samples = len(plane)
    ahead = (window + 2) // 2 - 1  # samples after the centre
    behind = window - ahead - 1  # samples before it
    out = np.empty_like(plane, np.float32)
    total = np.zeros(plane.shape[1:], np.float32)
    for arriving in range(ahead):
        total = total + plane[arriving]
    for centre in range(samples):
        arriving, leaving = centre + ahead, centre - behind - 1
        if arriving < samples:
            total = total + plane[arriving]
        if leaving >= 0:
            total = total - plane[leaving]
        width = min(arriving, samples - 1) - max(leaving, -1)
        out[centre] = total / np.float32(width)
    return out


def quality_of(plane: np.ndarray) -> int:
    """Sum of the gradients in both directions, each cut to a whole percentage, / 90, at most 100."""
    gradients = 0
    for axis in (0, 1):
        steps = -np.diff(plane, axis=axis) * np.float32(100) / np.float32(255)
        gradients += int(np.abs(np.trunc(steps)).sum())
    return min(gradients // 90, 100)


def coefficients(plane: np.ndarray) -> np.ndarray:
    """B = D A D^T for frequencies 1..16 both ways, each sum taken in order in float32."""
    scale = float(np.float32(math.sqrt(2 / SIDE)))  # a float in the reference; cosine a double
    basis = np.array(
        [
            [scale * math.cos(math.pi / 2 / SIDE * (i + 1) * (2 * j + 1)) for j in range(SIDE)]
            for i in range(FREQUENCIES)
        ]
    ).astype(np.float32)
    half = np.zeros((FREQUENCIES, SIDE), np.float32)
    for k in range(SIDE):
        half = half + basis[:, k, None] * plane[None, k, :]
    out = np.zeros((FREQUENCIES, FREQUENCIES), np.float32)
    for k in range(SIDE):
        out = out + half[:, k, None] * basis[None, :, k]
    return out


def views(original: np.ndarray) -> list[np.ndarray]:
    """The eight rotations and reflections, from the coefficients of the first.

    Mirroring the picture left to right turns the sign of every odd horizontal frequency (column
    j holds frequency j + 1), top to bottom of every odd vertical one; a transposition of the
    picture transposes the coefficients.
    """
    odd = np.where(np.arange(FREQUENCIES) % 2 == 0, np.float32(-1), np.float32(1))
    left_right = original * odd[None, :]
    top_bottom = original * odd[:, None]
    both = left_right * odd[:, None]
    return [
        original,
        left_right.T,
        both,
        top_bottom.T,
        top_bottom,
        left_right,
        original.T,
        both.T,
    ]


def code_of(matrix: np.ndarray) -> np.ndarray:
    """Bit 16 i + j is set where the coefficient is above the lower median (128th of 256).

    The reference keeps bit k in bit k % 16 of 16-bit word k // 16 and prints the last word first,
    four hex digits each.
    """
    median = np.sort(matrix, axis=None)[127]
    words = [sum(1 << j for j in range(FREQUENCIES) if row[j] > median) for row in matrix]
    return np.frombuffer(bytes.fromhex("".join(f"{word:04x}" for word in words[::-1])), np.uint8)
