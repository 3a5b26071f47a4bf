"""Where the picture proper lies inside an upload: bars, frames and blurred fills found, as kernels.

Three kinds of surroundings are known, each with its own scan:

* plain bars: lines from a side inwards that are one colour all along;
* captioned bars: the outermost lines are one colour, those further in mostly (text, buttons);
* a blurred fill: on two opposite sides, lines without detail, then a step.

Every cut of the first two must then show a step along its length (`_cuts_show_steps`). A pasted
picture has one; an object on a plain ground has none, and cutting it in half once made a false
match (docs/views.md). A picture without borders is left whole, as a rule after a few lines.

A box is (top, bottom, left, right) in pixels, bottom and right excluded. Sides are numbered in the
same order.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

TOP, BOTTOM, LEFT, RIGHT = 0, 1, 2, 3

PLAIN, PLAIN_EVEN, PLAIN_FRAME = 0, 1, 2
SOFT, SOFT_EVEN, SOFT_FRAME = 3, 4, 5
CAPTIONED, CAPTIONED_SOFT, BLURRED = 6, 7, 8
KINDS = 9
"""What was cut. Even: as much from opposite sides. Frame: as much from all four. Soft: bars whose
colour wavers, as JPEG makes it."""

_PLAIN_SHARE = 0.96  # of a line that has the bar's colour
_PLAIN_GAP = 0.012  # of the side: lines that may be something else, such as a hairline
_PLAIN_DEEPEST = 0.45  # of the side
_PLAIN_STEP_SHARE = 0.15  # of a cut that must show a step
_CAPTION_SHARE = 0.55
_CAPTION_GAP = 0.02
_CAPTION_DEEPEST = 0.60
_CAPTION_STEP_SHARE = 0.60
_CAPTION_CLEAR_LINES = 4  # outermost lines that must be plain
_CAPTION_CLEAR_SHARE = 0.97
_SCANS = ((PLAIN, 4), (SOFT, 14), (CAPTIONED, 4), (CAPTIONED_SOFT, 10))
"""Kinds of bars in the order they are looked for, each with the grey levels a pixel may be off."""

_STEP = 8  # grey levels across a cut
_ROUNDS = 3  # bars inside bars: a letterboxed picture in an app's frame
_LEAST_SIDE = 48  # pixels; a shorter side is not scanned
_LEAST_BOX_SIDE = 64  # pixels; PDQ's plane has 64 cells a side
_LEAST_BOX_SHARE = 5  # a box keeps at least one fifth of each side

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _line(grey: U8, box: I64, side: int, depth: int, line: U8) -> int:
    """Copy one line of a box, `depth` lines in from a side, to `line`.

    Returns:
        How many pixels it has.
    """
    if side in (TOP, BOTTOM):
        y = box[0] + depth if side == TOP else box[1] - 1 - depth
        length = box[3] - box[2]
        for k in range(length):
            line[k] = grey[y, box[2] + k]
    else:
        x = box[2] + depth if side == LEFT else box[3] - 1 - depth
        length = box[1] - box[0]
        for k in range(length):
            line[k] = grey[box[0] + k, x]
    return length


@_njit
def _lines(box: I64, side: int) -> int:
    """How many lines a box has from one side to the opposite one."""
    return box[1] - box[0] if side in (TOP, BOTTOM) else box[3] - box[2]


@_njit
def _colour_of(line: U8, length: int) -> int:
    """The commonest grey of a line: the mean of the fullest 16 neighbouring levels."""
    count = np.zeros(32, np.int64)
    total = np.zeros(32, np.int64)
    for k in range(length):
        count[line[k] >> 3] += 1
        total[line[k] >> 3] += line[k]
    fullest = 0
    for level in range(31):
        if count[level] + count[level + 1] > count[fullest] + count[fullest + 1]:
            fullest = level
    return (total[fullest] + total[fullest + 1]) // (count[fullest] + count[fullest + 1])


@_njit
def _share_of_colour(line: U8, length: int, colour: int, tolerance: int) -> float:
    """Share of a line's pixels within `tolerance` of a colour."""
    lowest, highest = np.int32(colour - tolerance), np.int32(colour + tolerance)
    near = np.int32(0)
    for k in range(length):
        level = np.int32(line[k])
        near += np.int32(level >= lowest) & np.int32(level <= highest)
    return near / length


@_njit
def _mean_step(one: U8, other: U8, length: int) -> float:
    """Mean difference between two lines, pixel by pixel."""
    total = np.int64(0)
    for k in range(length):
        total += abs(np.int32(one[k]) - np.int32(other[k]))
    return total / length


@_njit
def _share_of_steps(one: U8, other: U8, length: int) -> float:
    """Share of the places at which two lines differ by more than a step."""
    steps = 0
    for k in range(length):
        steps += abs(np.int32(one[k]) - np.int32(other[k])) > _STEP
    return steps / length


@_njit
def _bar_depth(grey: U8, box: I64, side: int, tolerance: int, captioned: bool, lines: U8) -> int:
    """How many lines the bar at one side of a box has; 0 for none, or one that never ends.

    Args:
        grey: uint8 [h, w].
        box: where to look.
        side: from which the bar is followed.
        tolerance: grey levels a bar's pixel may be off its colour.
        captioned: whether the bar may carry text.
        lines: uint8 [2, longest side], scratch.
    """
    count = _lines(box, side)
    share = _CAPTION_SHARE if captioned else _PLAIN_SHARE
    gap = int((_CAPTION_GAP if captioned else _PLAIN_GAP) * count)
    deepest = int((_CAPTION_DEEPEST if captioned else _PLAIN_DEEPEST) * count)
    line = lines[0]
    length = _line(grey, box, side, 0, line)
    colour = _colour_of(line, length)
    depth = 0
    missed = 0
    ended = False
    for k in range(deepest):
        length = _line(grey, box, side, k, line)
        found = _share_of_colour(line, length, colour, tolerance)
        if captioned and k < _CAPTION_CLEAR_LINES and found < _CAPTION_CLEAR_SHARE:
            return 0
        if found >= share:
            depth = k + 1
            missed = 0
        else:
            missed += 1
            if missed > gap:
                ended = True
                break
    if depth == 0 or not ended:
        return 0
    # The last line of a bar is often blurred into the picture: the cut is the strongest step near.
    best = -1.0
    cut = depth
    for k in range(max(1, depth - 2), min(depth + 6, count - 2)):
        _line(grey, box, side, k - 1, lines[0])
        _line(grey, box, side, k, lines[1])
        step = _mean_step(lines[0], lines[1], length)
        if step > best:
            best = step
            cut = k
    return cut


@_njit
def _without_bars(grey: U8, tolerance: int, captioned: bool, lines: U8, box: I64) -> bool:
    """Cut the bars of all four sides, bars inside bars too; whether anything was cut.

    Args:
        grey: uint8 [h, w].
        tolerance: as for `_bar_depth`.
        captioned: as for `_bar_depth`.
        lines: uint8 [2, longest side], scratch.
        box: int64 [4], filled.
    """
    box[0], box[1], box[2], box[3] = 0, grey.shape[0], 0, grey.shape[1]
    is_cut = False
    for _ in range(_ROUNDS):
        is_cut_now = False
        for side in range(4):
            if _lines(box, side) < _LEAST_SIDE:
                continue
            depth = _bar_depth(grey, box, side, tolerance, captioned, lines)
            if depth > 0:
                box[side] += depth if side in (TOP, LEFT) else -depth
                is_cut_now = True
        is_cut = is_cut or is_cut_now
        if not is_cut_now:
            break
    return is_cut


@_njit
def _cuts_show_steps(grey: U8, box: I64, share: float, lines: U8) -> bool:
    """Whether every side that was cut shows a step along at least `share` of its length.

    Compared are the line two before the cut and the second one behind it, since the lines at the
    cut may be blends of both.
    """
    height, width = grey.shape
    along = np.empty(4, np.int64)  # the lines of the whole picture, but only as long as the cut
    for side in range(4):
        if side in (TOP, BOTTOM):
            along[0], along[1], along[2], along[3] = 0, height, box[2], box[3]
        else:
            along[0], along[1], along[2], along[3] = box[0], box[1], 0, width
        depth = abs(box[side] - along[side])
        if depth == 0:
            continue
        outside = max(0, depth - 2)
        inside = min(_lines(along, side) - 1, depth + 1)
        length = _line(grey, along, side, outside, lines[0])
        _line(grey, along, side, inside, lines[1])
        if _share_of_steps(lines[0], lines[1], length) < share:
            return False
    return True


@_njit
def _profile(
    grey: U8, row_detail: F64, row_step: F64, column_detail: F64, column_step: F64
) -> None:
    """How much happens along each line, and how far each differs from the next: one pass.

    Detail is the mean difference between neighbours on the same line; step that between a line
    and the next one.

    Args:
        grey: uint8 [h, w].
        row_detail: float64 [h], filled.
        row_step: float64 [h], filled; zero for the last row.
        column_detail: float64 [w], filled.
        column_step: float64 [w], filled; zero for the last column.
    """
    height, width = grey.shape
    down = np.zeros(width, np.int32)
    across = np.zeros(width, np.int32)
    row_detail[:] = 0.0
    row_step[:] = 0.0
    for y in range(height - 1):
        row, below = grey[y], grey[y + 1]
        detail = np.int32(0)
        step = np.int32(0)
        for x in range(width - 1):
            level = np.int32(row[x])
            to_below = abs(np.int32(below[x]) - level)
            to_right = abs(np.int32(row[x + 1]) - level)
            down[x] += to_below
            across[x] += to_right
            step += to_below
            detail += to_right
        row_detail[y] = detail / width
        row_step[y] = step / width
    for x in range(width):
        column_detail[x] = down[x] / height
        column_step[x] = across[x] / height


@_njit
def _fill_end(detail: F64, step: F64, usual: float, from_end: bool) -> int:
    """The first line from one end at which a blurred fill may stop; 0 for none.

    There the step stands out from all before it, and the lines passed had less than half of the
    detail usual in the middle.
    """
    count = len(detail)
    largest = 0.0
    mean = 0.0
    for k in range(1, count * 46 // 100):
        place = count - 1 - k if from_end else k - 1
        if k > count // 40 and step[place] > 3.0 * largest + 1.5 and mean < 0.5 * usual:
            return k
        if k > 2:
            largest = max(0.995 * largest, step[place])
        mean += (detail[place] - mean) / k
    return 0


@_njit
def _fill_depth(detail: F64, step: F64) -> int:
    """How many lines of blurred fill lie on either side of one axis; 0 for none.

    The fill of an upright picture is as wide on both sides, so the place is where both steps
    together are strongest.
    """
    count = len(detail)
    usual = np.median(detail[count // 3 : count - count // 3])
    first = _fill_end(detail, step, usual, False)
    last = _fill_end(detail, step, usual, True)
    near = max(first, last) if first == 0 or last == 0 else min(first, last)
    if near == 0:
        return 0
    best = -1.0
    depth = near
    for k in range(max(1, near - 3), min(near + 4, count * 46 // 100)):
        both = step[k - 1] + step[count - 1 - k]
        if both > best:
            best = both
            depth = k
    return depth


@_njit
def _without_fill(grey: U8, box: I64) -> bool:
    """Cut a blurred fill; whether there was one. `box`, int64 [4], is filled."""
    height, width = grey.shape
    rows, row_steps = np.empty(height), np.empty(height)
    columns, column_steps = np.empty(width), np.empty(width)
    _profile(grey, rows, row_steps, columns, column_steps)
    across = _fill_depth(columns, column_steps)
    down = _fill_depth(rows, row_steps)
    box[0], box[1], box[2], box[3] = down, height - down, across, width - across
    return across > 0 or down > 0


@_njit
def _note(grey: U8, box: I64, kind: int, found: int, boxes: I64, kinds: I64) -> int:
    """Add a box unless it is too small to be a picture, or nearly one that is there.

    Returns:
        How many there are now.
    """
    height, width = box[1] - box[0], box[3] - box[2]
    if height < _LEAST_BOX_SIDE or width < _LEAST_BOX_SIDE:
        return found
    if height * _LEAST_BOX_SHARE < grey.shape[0] or width * _LEAST_BOX_SHARE < grey.shape[1]:
        return found
    for k in range(found):
        apart = 0
        for side in range(4):
            apart += abs(boxes[k, side] - box[side])
        if apart < 3:
            return found
    for side in range(4):  # numba compiles an array assignment for seconds
        boxes[found, side] = box[side]
    kinds[found] = kind
    return found + 1


@_njit
def find_boxes(grey: U8, boxes: I64, kinds: I64) -> int:
    """Where the picture proper may lie, other than in the whole.

    Args:
        grey: uint8 [h, w].
        boxes: int64 [KINDS, 4], its first rows filled.
        kinds: int64 [KINDS], what was cut for each; no kind comes twice.

    Returns:
        How many there are; as a rule none.
    """
    height, width = grey.shape
    if min(height, width) < _LEAST_BOX_SIDE:
        return 0
    lines = np.empty((2, max(height, width)), np.uint8)
    box = np.empty(4, np.int64)
    found = 0
    for scan in range(len(_SCANS)):
        kind, tolerance = _SCANS[scan]
        captioned = kind >= CAPTIONED
        share = _CAPTION_STEP_SHARE if captioned else _PLAIN_STEP_SHARE
        if not _without_bars(grey, tolerance, captioned, lines, box):
            continue
        if not _cuts_show_steps(grey, box, share, lines):
            continue
        found = _note(grey, box, kind, found, boxes, kinds)
        if captioned:
            continue
        down = min(box[0], height - box[1])
        across = min(box[2], width - box[3])
        for narrower in range(1, 3):  # even bars, then a frame
            if narrower == 2:
                down = across = min(down, across)
            if down + across > 0:
                box[0], box[1], box[2], box[3] = down, height - down, across, width - across
                found = _note(grey, box, kind + narrower, found, boxes, kinds)
    if _without_fill(grey, box):
        found = _note(grey, box, BLURRED, found, boxes, kinds)
    return found
