"""What can be done to a picture: each change draws its parameters from a generator, and is pure.

Most take the least and the most of a share of the side, and give the change; some have their range
in themselves, where the name of the edit states it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Rng = np.random.Generator
Change = Callable[[Image.Image, Rng], Image.Image]
"""RGB picture and generator -> RGB picture."""

_WORDS: Final = (
    "when you see it", "nobody:", "monday again", "look at this", "summer 2024", "true story",
    "wait for it", "my face when", "not today", "caption this", "good morning", "only legends know",
)  # fmt: skip


# --- pieces ---------------------------------------------------------------------------------


def _colour(rng: Rng) -> tuple[int, int, int]:
    """Black, white, or any."""
    kind = rng.integers(3)
    if kind == 2:
        red, green, blue = rng.integers(0, 256, 3)
        return int(red), int(green), int(blue)
    return (0, 0, 0) if kind else (255, 255, 255)


def _cut(picture: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Take shares of the width and the height off the four sides."""
    width, height = picture.size
    return picture.crop(
        (
            round(left * width),
            round(top * height),
            max(round(left * width) + 1, round((1 - right) * width)),
            max(round(top * height) + 1, round((1 - bottom) * height)),
        )
    )


def _on_canvas(
    picture: Image.Image, canvas: Image.Image, left: float = 0.5, top: float = 0.5
) -> Image.Image:
    """Lay a picture on a larger one; 0.5 is the middle."""
    place = (
        round(left * (canvas.width - picture.width)),
        round(top * (canvas.height - picture.height)),
    )
    canvas.paste(picture, place)
    return canvas


def _text(
    picture: Image.Image,
    rng: Rng,
    box: tuple[int, int, int, int],
    fill: tuple[int, int, int],
    stroke: tuple[int, int, int] | None = None,
) -> None:
    """Write a line of words into the middle of a box (left, top, right, bottom) of `picture`."""
    words = _WORDS[int(rng.integers(len(_WORDS)))]
    width, height = box[2] - box[0], box[3] - box[1]
    size = max(6, int(min(0.9 * height, 1.8 * width / len(words))))
    ImageDraw.Draw(picture).text(
        ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
        words,
        fill=fill,
        font=ImageFont.load_default(size),
        anchor="mm",
        stroke_width=max(1, size // 14) if stroke else 0,
        stroke_fill=stroke,
    )


# --- tone and size --------------------------------------------------------------------------


def same(picture: Image.Image, _: Rng) -> Image.Image:
    """Nothing: the edit is in the JPEG."""
    return picture


def resize(least: float, most: float) -> Change:
    """To a share of its size."""

    def change(picture: Image.Image, rng: Rng) -> Image.Image:
        scale = rng.uniform(least, most)
        width, height = (max(32, round(side * scale)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.BICUBIC)

    return change


def stretch(picture: Image.Image, rng: Rng) -> Image.Image:
    """Wider or narrower."""
    width, height = picture.size
    return picture.resize((round(width * rng.uniform(0.6, 1.4)), height), Image.Resampling.BICUBIC)


def tones(picture: Image.Image, rng: Rng) -> Image.Image:
    """Brightness, contrast and colour, each by itself."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(rng.uniform(0.7, 1.3))
    return picture


def gamma(picture: Image.Image, rng: Rng) -> Image.Image:
    """Midtones up or down."""
    exponent = float(np.exp(rng.uniform(np.log(0.6), np.log(1.7))))
    table = [round(255 * (level / 255) ** exponent) for level in range(256)]
    return picture.point(table * 3)


def grey(picture: Image.Image, _: Rng) -> Image.Image:
    """Without colour."""
    return picture.convert("L").convert("RGB")


def tint(picture: Image.Image, rng: Rng) -> Image.Image:
    """A filter's warm or cold cast."""
    layer = Image.new("RGB", picture.size, _colour(rng))
    return Image.blend(picture, layer, rng.uniform(0.05, 0.25))


def noise(picture: Image.Image, rng: Rng) -> Image.Image:
    """Grain on every pixel."""
    pixels = np.asarray(picture, np.float32)
    noisy = pixels + rng.normal(0, rng.uniform(3, 15), pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def blur(picture: Image.Image, rng: Rng) -> Image.Image:
    """Out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))


def sharpen(picture: Image.Image, rng: Rng) -> Image.Image:
    """An unsharp mask."""
    return picture.filter(ImageFilter.UnsharpMask(2, int(rng.integers(50, 200)), 2))


# --- crops ----------------------------------------------------------------------------------


def crop_sides(least: float, most: float) -> Change:
    """Each side loses its own share."""

    def change(picture: Image.Image, rng: Rng) -> Image.Image:
        return _cut(picture, *rng.uniform(least, most, 4))

    return change


def crop_evenly(least: float, most: float) -> Change:
    """All four sides lose the same share."""

    def change(picture: Image.Image, rng: Rng) -> Image.Image:
        return _cut(picture, *[rng.uniform(least, most)] * 4)

    return change


def crop_one(least: float, most: float) -> Change:
    """One side loses a share."""

    def change(picture: Image.Image, rng: Rng) -> Image.Image:
        shares = [0.0] * 4
        shares[int(rng.integers(4))] = rng.uniform(least, most)
        return _cut(picture, *shares)

    return change


# --- borders and frames ---------------------------------------------------------------------


def border(picture: Image.Image, rng: Rng) -> Image.Image:
    """The same width on all sides."""
    share = rng.uniform(0.01, 0.12)
    return ImageOps.expand(picture, round(share * min(picture.size)), _colour(rng))


def _framed_size(picture: Image.Image, rng: Rng, least: float, most: float) -> tuple[int, int]:
    """A canvas around the picture, longer in one direction by a share of it."""
    width, height = picture.size
    more = 1 + rng.uniform(least, most)
    return (width, round(height * more)) if rng.integers(2) else (round(width * more), height)


def letterbox(picture: Image.Image, rng: Rng) -> Image.Image:
    """Black or white bars on two sides."""
    colour = (0, 0, 0) if rng.integers(2) else (255, 255, 255)
    return _on_canvas(picture, Image.new("RGB", _framed_size(picture, rng, 0.15, 1.2), colour))


def blurred_fill(picture: Image.Image, rng: Rng) -> Image.Image:
    """Bars of the picture itself, enlarged and blurred."""
    size = _framed_size(picture, rng, 0.15, 1.2)
    behind = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
    behind = behind.filter(ImageFilter.GaussianBlur(max(size) / rng.uniform(20, 50)))
    return _on_canvas(picture, behind)


def meme_bar(picture: Image.Image, rng: Rng) -> Image.Image:
    """A bar of words above or below."""
    width, height = picture.size
    bar = round(height * rng.uniform(0.1, 0.3))
    is_above = bool(rng.integers(2))
    is_white = bool(rng.integers(2))
    ground, ink = ((255,) * 3, (0,) * 3) if is_white else ((0,) * 3, (255,) * 3)
    canvas = Image.new("RGB", (width, height + bar), ground)
    canvas.paste(picture, (0, bar if is_above else 0))
    top = 0 if is_above else height
    _text(canvas, rng, (0, top, width, top + bar), ink)
    return canvas


def screenshot(picture: Image.Image, rng: Rng) -> Image.Image:
    """A telephone's screen: status line, a name, the picture, buttons, empty ground."""
    is_dark = bool(rng.integers(2))
    ground, ink = ((18, 18, 18), (230, 230, 230)) if is_dark else ((250, 250, 250), (30, 30, 30))
    width = picture.width + 2 * round(picture.width * rng.choice([0, 0.03]))
    height = max(round(width * rng.uniform(1.6, 2.1)), round(1.35 * picture.height))
    screen = Image.new("RGB", (width, height), ground)
    line = round(height * 0.04)
    left = (width - picture.width) // 2
    top = 2 * line + round(rng.uniform(0.12, 0.3) * (height - picture.height))
    top = min(top, height - picture.height - line)
    draw = ImageDraw.Draw(screen)
    draw.text((line // 2, line // 4), "12:45", ink, ImageFont.load_default(max(6, line // 2)))
    draw.rectangle((width - 2 * line, line // 4, width - line // 2, line * 3 // 4), ink)
    draw.ellipse((line // 2, top - round(1.2 * line), line * 3 // 2, top - line // 5), ink)
    _text(screen, rng, (2 * line, top - round(1.2 * line), width // 2, top - line // 5), ink)
    screen.paste(picture, (left, top))
    below = top + picture.height + line // 2
    for place in range(3):
        x = line // 2 + place * 2 * line
        draw.ellipse((x, below, x + line, below + line), outline=ink, width=max(1, line // 10))
    return screen


# --- overlays -------------------------------------------------------------------------------


def caption(picture: Image.Image, rng: Rng) -> Image.Image:
    """Outlined words, anywhere."""
    captioned = picture.copy()
    width, height = picture.size
    tall = rng.uniform(0.08, 0.18) * height
    top = rng.uniform(0, height - tall)
    _text(captioned, rng, (0, round(top), width, round(top + tall)), (255,) * 3, (0,) * 3)
    return captioned


def caption_band(picture: Image.Image, rng: Rng) -> Image.Image:
    """Words on a darkened band, as stories have them."""
    captioned = picture.copy()
    width, height = picture.size
    tall = rng.uniform(0.08, 0.15) * height
    top = rng.uniform(0, height - tall)
    box = (0, round(top), width, round(top + tall))
    band = captioned.crop(box)
    captioned.paste(Image.blend(band, Image.new("RGB", band.size), rng.uniform(0.4, 0.8)), box)
    _text(captioned, rng, box, (255,) * 3)
    return captioned


def logo(picture: Image.Image, rng: Rng) -> Image.Image:
    """A filled box with letters, near a corner."""
    marked = picture.copy()
    side = round(rng.uniform(0.08, 0.18) * min(picture.size))
    x = (0.03, 0.97)[int(rng.integers(2))] * (picture.width - side)
    y = (0.03, 0.97)[int(rng.integers(2))] * (picture.height - side)
    box = round(x), round(y), round(x) + side, round(y) + side
    ImageDraw.Draw(marked).rectangle(box, _colour(rng))
    _text(marked, rng, box, (255,) * 3, (0,) * 3)
    return marked


def watermark(picture: Image.Image, rng: Rng) -> Image.Image:
    """Faint words over everything."""
    over = picture.copy()
    rows = int(rng.integers(2, 6))
    for row in range(rows):
        top = row * picture.height // rows
        _text(over, rng, (0, top, picture.width, top + picture.height // rows), (255,) * 3)
    return Image.blend(picture, over, rng.uniform(0.1, 0.35))


# --- turns ----------------------------------------------------------------------------------


def flip(picture: Image.Image, _: Rng) -> Image.Image:
    """Left to right."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def quarter(picture: Image.Image, rng: Rng) -> Image.Image:
    """By 90, 180 or 270 degrees."""
    turns = Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270
    return picture.transpose(turns[int(rng.integers(3))])


def _degrees(rng: Rng, most: float) -> float:
    return float(rng.uniform(0.5, most) * (1, -1)[int(rng.integers(2))])


def rotate(picture: Image.Image, rng: Rng) -> Image.Image:
    """The canvas stays: corners are lost, others are filled."""
    return picture.rotate(_degrees(rng, 11), Image.Resampling.BICUBIC, fillcolor=_colour(rng))


def rotate_grown(picture: Image.Image, rng: Rng) -> Image.Image:
    """The canvas grows: nothing is lost."""
    return picture.rotate(
        _degrees(rng, 11), Image.Resampling.BICUBIC, expand=True, fillcolor=_colour(rng)
    )


def straighten(picture: Image.Image, rng: Rng) -> Image.Image:
    """Turn, then cut to the largest upright box of the same proportions."""
    degrees = _degrees(rng, 5)
    turned = picture.rotate(degrees, Image.Resampling.BICUBIC)
    angle = np.radians(abs(degrees))
    width, height = picture.size
    longer = max(width / height, height / width)
    share = (1 - 1 / (np.cos(angle) + longer * np.sin(angle))) / 2
    return _cut(turned, *[float(share)] * 4)


# --- beyond the views -----------------------------------------------------------------------


def perspective(picture: Image.Image, rng: Rng) -> Image.Image:
    """Each corner is taken from up to 5 % inside: a photograph of a print, held well."""
    width, height = picture.size
    inside = rng.uniform(0, 0.05, (4, 2)) * (width, height)
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)], np.float64)
    quad = corners + inside * [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    return picture.transform(
        picture.size, Image.Transform.QUAD, quad.ravel().tolist(), Image.Resampling.BICUBIC
    )


def collage(picture: Image.Image, rng: Rng) -> Image.Image:
    """Beside its own blurred mirror image, a stand-in for another picture."""
    width, height = picture.size
    other = flip(picture, rng).filter(ImageFilter.GaussianBlur(min(picture.size) / 20))
    canvas = Image.new("RGB", (2 * width, height))
    places = [0, width] if rng.integers(2) else [width, 0]
    canvas.paste(picture, (places[0], 0))
    canvas.paste(other, (places[1], 0))
    return canvas


def one_by_one(*changes: Change) -> Change:
    """One after the other."""

    def change(picture: Image.Image, rng: Rng) -> Image.Image:
        for one in changes:
            picture = one(picture, rng)
        return picture

    return change
