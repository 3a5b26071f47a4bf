"""Any colour model that Pillow decodes to -> 8-bit RGB or grey, as a screen shows it.

Palette, 1-bit, 16-bit, CMYK, LAB and float become RGB or grey; transparency is laid on white, and
on black too where it makes a difference: pages of both colours are about, and a list holds what its
maker saw. Peers skip these steps and land 64-256 bits away on the same picture. Colour profiles are
not applied: the reference does not, and lists hold what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, TiffImagePlugin

Pixels = npt.NDArray[np.uint8]

Ground = Literal["white", "black"]

_LEVELS: Final[dict[Ground, int]] = {"white": 255, "black": 0}
_TIFF_PHOTOMETRIC: Final = 262
_BAND_SAMPLES: Final = 1 << 18  # work is done in bands of rows, which stay in the cache


def canonical(image: Image.Image) -> Pixels:
    """The picture as a white page shows it.

    Args:
        image: of any mode; it is loaded if it is not yet.

    Returns:
        uint8 [height, width, 3] RGB, or [height, width] where the file itself is grey.
    """
    return next(pixels for _, pixels in on_grounds(image))


def on_grounds(image: Image.Image) -> Iterator[tuple[Ground, Pixels]]:
    """The picture on white and, if any of it is see-through, on black.

    Args:
        image: of any mode; it is loaded if it is not yet.

    Yields:
        The ground and the pixels, as from `canonical`. White comes first, and always.
    """
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        yield from _deep_grey(image)
    elif image.has_transparency_data:
        yield "white", _laid_on(image, "white")
        if _is_see_through(image):
            yield "black", _laid_on(image, "black")
    elif image.mode == "L":
        yield "white", np.asarray(image)
    else:
        yield "white", _opaque(image)


def _laid_on(image: Image.Image, ground: Ground) -> Pixels:
    page = (*[_LEVELS[ground]] * 3, 255)

    def shown(band: Image.Image) -> Image.Image:
        on_page = Image.new("RGBA", band.size, page)
        on_page.alpha_composite(band.convert("RGBA"))
        return on_page.convert("RGB")

    return _in_bands(image, shown)


def _is_see_through(image: Image.Image) -> bool:
    """Whether any pixel is: an alpha plane or a transparent colour may stand for nothing."""
    alphas = (band.convert("RGBA").getchannel("A").getextrema() for band in _bands(image))
    return any(alpha != (255, 255) for alpha in alphas)


def _opaque(image: Image.Image) -> Pixels:
    if image.mode == "LAB":
        lab_to_rgb = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        return _in_bands(image, lab_to_rgb.apply)
    return _in_bands(image, lambda band: band.convert("RGB"))


def _in_bands(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Pixels:
    """Convert few rows at once: whole, a picture would be held three or four times over."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    top = 0
    for band in _bands(image):
        pixels[top : top + band.height] = np.asarray(to_rgb(band))
        top += band.height
    return pixels


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    rows = max(1, _BAND_SAMPLES // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(image.height, top + rows)))


def _deep_grey(image: Image.Image) -> Iterator[tuple[Ground, Pixels]]:
    """Grey of more than 8 bits; Pillow leaves "white is zero" and transparency to us."""
    samples = np.asarray(image)
    grey = _scale_to_8_bits(samples)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
            np.subtract(255, grey, out=grey)
        yield "white", grey
        return
    transparent = image.info.get("transparency")
    clear = samples == transparent if isinstance(transparent, int) else np.zeros(0, bool)
    if not clear.any():
        yield "white", grey
        return
    grounds: tuple[Ground, ...] = ("white", "black")
    for ground in grounds:
        grey[clear] = _LEVELS[ground]
        yield ground, grey


def _scale_to_8_bits(samples: npt.NDArray[np.generic]) -> Pixels:
    """Samples -> 8 bits, by the range their kind of number implies.

    16-bit integers keep their high byte, as libpng's png_set_strip_16 does for colour. Wider
    integers and floats carry no range of their own: 0..1 and 0..255 floats, 0..255 and 0..65535
    integers are what files hold in practice; beyond that the picture's own maximum is white.
    """
    grey = np.empty(samples.shape, np.uint8)
    rows = max(1, _BAND_SAMPLES // max(1, samples.shape[1]))
    bands = [slice(row, row + rows) for row in range(0, len(samples), rows)]
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        for band in bands:
            grey[band] = samples[band].astype(np.uint16) >> 8
        return grey
    peak = max((float(_finite(samples[band]).max(initial=0.0)) for band in bands), default=0.0)
    for band in bands:
        grey[band] = _by_peak(_finite(samples[band]), samples.dtype, peak)
    return grey


def _finite(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Samples as numbers to reckon with; what is none is black."""
    return np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _by_peak(
    values: npt.NDArray[np.float64], dtype: np.dtype[np.generic], peak: float
) -> npt.NDArray[np.float64]:
    """Values -> 0..255, by the kind of number they were and the picture's own maximum."""
    if np.issubdtype(dtype, np.integer):
        is_narrow = dtype.itemsize > 2 and peak <= 255
        white = 255.0 if is_narrow else max(peak, 65_535.0)
        return np.clip(np.floor(values * 256 / (white + 1)), 0, 255)
    white = 1.0 if peak <= 1 else max(peak, 255.0)
    return np.clip(np.rint(values * (255 / white)), 0, 255)
