"""The steps of the query views in plain numpy: the readable oracle, slow on purpose.

It shares no code with `matchers.views`. Where a kernel works in float32 and in another order, the
tests allow for the rounding; where it counts, as in finding borders, they allow for nothing.
"""

from __future__ import annotations

import math

import numpy as np

SIDE = 64
FADE = 0.07
SHIFT = 0.08


def shrunk(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Mean luma of every factor x factor pixels, float64, not rounded."""
    luma = pixels.astype(np.float64)
    if pixels.ndim == 3:
        luma = luma @ (np.array([77, 150, 29]) / 256)
    rows = [luma[y : y + factor] for y in range(0, luma.shape[0], factor)]
    return np.array(
        [[row[:, x : x + factor].mean() for x in range(0, luma.shape[1], factor)] for row in rows]
    )


def clean_plane(grey: np.ndarray) -> np.ndarray:
    """Means over 64 x 64 equal cells, less their own mean: shares of pixels written out."""
    down, across = (_shares(length) for length in grey.shape)
    plane = down @ grey.astype(np.float64) @ across.T
    return plane - plane.mean()


def _shares(length: int) -> np.ndarray:
    """How much of each cell each sample makes up, float64 [64, length]; rows sum to one."""
    shares = np.zeros((SIDE, length))
    for cell in range(SIDE):
        start, end = cell * length / SIDE, (cell + 1) * length / SIDE
        for sample in range(length):
            shares[cell, sample] = max(0.0, min(end, sample + 1) - max(start, sample))
    return shares / shares.sum(axis=1, keepdims=True)


def sample(plane: np.ndarray, y: float, x: float) -> float:
    """The plane at a place, 0 to 1 inside: linear between cells, fading beyond the edge."""
    inside = [min(max(place, 0.0), 1.0) for place in (y, x)]
    beyond = abs(y - inside[0]) + abs(x - inside[1])
    cells = [min(max(place * SIDE - 0.5, 0.0), SIDE - 1.0) for place in inside]
    top, left = (min(int(cell), SIDE - 2) for cell in cells)
    down, across = cells[0] - top, cells[1] - left
    level = sum(
        plane[top + i, left + j] * (down if i else 1 - down) * (across if j else 1 - across)
        for i in (0, 1)
        for j in (0, 1)
    )
    return level * math.exp(-beyond / FADE)


def original_of_crop(plane: np.ndarray, missing: tuple[float, float, float, float]) -> np.ndarray:
    """The plane of a picture of which the upload misses so much at top, bottom, left and right."""
    top, bottom, left, right = missing
    return np.array(
        [
            [
                sample(
                    plane,
                    ((i + 0.5 + SHIFT) / SIDE - top) / (1 - top - bottom),
                    ((j + 0.5 + SHIFT) / SIDE - left) / (1 - left - right),
                )
                for j in range(SIDE)
            ]
            for i in range(SIDE)
        ]
    )


def original_of_turn(
    plane: np.ndarray, degrees: float, height: float, width: float, *, straightened: bool
) -> np.ndarray:
    """The plane of a picture that was turned about its middle and became the upload.

    A place of the original, in pixels from its middle, is turned; that is where the upload has it.
    """
    angle = math.radians(degrees)
    grown = 1.0
    if straightened:
        grown = math.cos(angle) + max(width / height, height / width) * abs(math.sin(angle))
    original = np.empty((SIDE, SIDE))
    for i in range(SIDE):
        for j in range(SIDE):
            down = ((i + 0.5 + SHIFT) / SIDE - 0.5) * height * grown
            right = ((j + 0.5 + SHIFT) / SIDE - 0.5) * width * grown
            x = math.cos(angle) * right + math.sin(angle) * down
            y = -math.sin(angle) * right + math.cos(angle) * down
            original[i, j] = sample(plane, y / height + 0.5, x / width + 0.5)
    return original


# --- borders --------------------------------------------------------------------------------------

PLAIN = {"share": 0.96, "gap": 0.012, "deepest": 0.45, "clear_lines": 0}
CAPTIONED = {"share": 0.55, "gap": 0.02, "deepest": 0.60, "clear_lines": 4}


def boxes(grey: np.ndarray) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(kind, (top, bottom, left, right)) of every cut, kinds as numbered in the kernel."""
    height, width = grey.shape
    whole = (0, height, 0, width)
    found: list[tuple[int, tuple[int, int, int, int]]] = []

    def note(kind: int, box: tuple[int, int, int, int]) -> None:
        tall, wide = box[1] - box[0], box[3] - box[2]
        is_picture = min(tall, wide) >= 64 and 5 * tall >= height and 5 * wide >= width
        is_new = all(np.abs(np.subtract(box, other)).sum() >= 3 for _, other in found)
        is_new = is_new and box != whole
        if is_picture and is_new:
            found.append((kind, box))

    if min(height, width) < 64:
        return found

    def inner(down: int, across: int) -> tuple[int, int, int, int]:
        return down, height - down, across, width - across

    for kind, tolerance in ((0, 4), (3, 14)):
        box = _without_bars(grey, tolerance, PLAIN)
        if box is not None and _is_stepped(grey, box, 0.15):
            note(kind, box)
            down, across = min(box[0], height - box[1]), min(box[2], width - box[3])
            note(kind + 1, inner(down, across))
            note(kind + 2, inner(min(down, across), min(down, across)))
    for kind, tolerance in ((6, 4), (7, 10)):
        box = _without_bars(grey, tolerance, CAPTIONED)
        if box is not None and _is_stepped(grey, box, 0.60):
            note(kind, box)
    levels = grey.astype(int)
    across, down = _fill(levels.T), _fill(levels)
    note(8, inner(down, across))
    return found


def _without_bars(grey: np.ndarray, tolerance: int, bar: dict) -> tuple[int, int, int, int] | None:
    """The box within the bars, None where there are none."""
    box = [0, grey.shape[0], 0, grey.shape[1]]
    for _ in range(3):
        cut = False
        for side in range(4):
            top, bottom, left, right = box
            inside = grey[top:bottom, left:right].astype(int)
            lines = (inside, inside[::-1], inside.T, inside[:, ::-1].T)[side]  # from this side in
            depth = _bar_depth(lines, tolerance, **bar) if len(lines) >= 48 else 0
            if depth:
                box[side] += depth if side in (0, 2) else -depth
                cut = True
        if not cut:
            break
    top, bottom, left, right = box
    is_whole = (top, bottom, left, right) == (0, grey.shape[0], 0, grey.shape[1])
    return None if is_whole else (top, bottom, left, right)


def _bar_depth(
    lines: np.ndarray, tolerance: int, share: float, gap: float, deepest: float, clear_lines: int
) -> int:
    """Lines of a bar, the first line being the outermost."""
    counts = np.bincount(lines[0] >> 3, minlength=32)
    fullest = int(np.argmax(counts[:-1] + counts[1:]))
    commonest = lines[0][(lines[0] >> 3 == fullest) | (lines[0] >> 3 == fullest + 1)]
    colour = int(commonest.sum() // len(commonest))
    shares = (np.abs(lines - colour) <= tolerance).mean(axis=1)
    if (shares[:clear_lines] < 0.97).any():
        return 0
    depth, missed = 0, 0
    for k in range(int(deepest * len(lines))):
        if shares[k] >= share:
            depth, missed = k + 1, 0
        else:
            missed += 1
            if missed > int(gap * len(lines)):
                break
    else:
        return 0
    if not depth:
        return 0
    places = range(max(1, depth - 2), min(depth + 6, len(lines) - 2))
    return max(places, key=lambda k: np.abs(lines[k] - lines[k - 1]).mean())


def _is_stepped(grey: np.ndarray, box: tuple[int, int, int, int], share: float) -> bool:
    """Whether every side that was cut shows a step of more than 8 levels along enough of it."""
    top, bottom, left, right = box
    levels = grey.astype(int)
    sides = (
        (levels[:, left:right], top),
        (levels[::-1, left:right], grey.shape[0] - bottom),
        (levels[top:bottom].T, left),
        (levels[top:bottom, ::-1].T, grey.shape[1] - right),
    )
    return all(
        (np.abs(lines[max(0, depth - 2)] - lines[min(len(lines) - 1, depth + 1)]) > 8).mean()
        >= share
        for lines, depth in sides
        if depth
    )


def _fill(levels: np.ndarray) -> int:
    """Rows of a blurred fill above and below."""
    count, length = levels.shape
    steps, details = np.zeros(count), np.zeros(count)
    # The last row and column have no neighbour; the means are over whole lines all the same.
    steps[:-1] = np.abs(np.diff(levels, axis=0))[:, :-1].sum(axis=1) / length
    details[:-1] = np.abs(np.diff(levels, axis=1))[:-1].sum(axis=1) / length
    usual = np.median(details[count // 3 : count - count // 3])
    above = _fill_end(details, steps, usual, count)
    below = _fill_end(details[-2::-1], steps[-2::-1], usual, count)  # the last line has no figures
    ends = [end for end in (above, below) if end]
    if not ends:
        return 0
    places = range(max(1, min(ends) - 3), min(min(ends) + 4, count * 46 // 100))
    return max(places, key=lambda k: steps[k - 1] + steps[count - 1 - k], default=min(ends))


def _fill_end(details: np.ndarray, steps: np.ndarray, usual: float, count: int) -> int:
    """The first line at which a step stands out from calm and dull ones before it; 0 for none."""
    for k in range(1, count * 46 // 100):
        largest = 0.0
        for passed in steps[2 : k - 1]:
            largest = max(0.995 * largest, passed)
        before = details[: k - 1].mean() if k > 1 else 0.0
        if k > count // 40 and steps[k - 1] > 3.0 * largest + 1.5 and before < 0.5 * usual:
            return k
    return 0
