"""Pictures in PDF files and the files attached to them; qpdf (pikepdf) reads the structure.

All objects are looked at, not only what pages refer to: a picture that a later revision took off
its page is still in the file. Each object comes once, however many pages show it.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from typing import Any, Final

import pikepdf
from PIL import Image, ImageChops

from matchers import images, limits, media
from matchers.containers.budget import Budget
from matchers.containers.entry import Entry
from matchers.containers.reading import Lent
from matchers.errors import DecodeError

# Settings of the process: qpdf knows no others. They hold for object streams too.
pikepdf.settings.set_qpdf_limits(
    flate_max_memory=limits.MAX_ENTRY_BYTES,
    png_max_memory=limits.MAX_ENTRY_BYTES,
    tiff_max_memory=limits.MAX_ENTRY_BYTES,
    run_length_max_memory=limits.MAX_ENTRY_BYTES,
    dct_max_memory=limits.MAX_ENTRY_BYTES,
    dct_max_progressive_scans=limits.MAX_JPEG_SCANS,
    doc_max_warnings=limits.MAX_PDF_WARNINGS,
)
pikepdf.PdfImage.MAX_IMAGE_PIXELS = limits.MAX_PIXELS

_JPEG: Final = "/DCTDecode"
_COPIED: Final = (_JPEG, "/CCITTFaxDecode", "/JPXDecode")
"""Filters whose data goes into a file of its own as it is."""

_JBIG2: Final = "/JBIG2Decode"  # pikepdf would start a program for it
_LZW: Final = "/LZWDecode"
_INLINE: Final = tuple(re.compile(rb"\b%s\b" % word) for word in (b"BI", b"ID", b"EI"))
_INLINE_OPERATORS: Final = "BI ID EI"

_DAMAGE: Final = (
    pikepdf.PikepdfError,
    struct.error,
    # What pikepdf and Pillow let through where a file is damaged or a kind of picture unknown.
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def entries(blob: memoryview, budget: Budget) -> Iterator[Entry]:
    """The pictures and attached files of a PDF, in the order of its objects.

    A JPEG comes as it was put in. Other pictures come as PNG or TIFF, with their mask.

    Raises:
        DecodeError: reason `encrypted`, `corrupt`, `too_many_entries` or `expands_too_much`.
    """
    number = 0
    with _opened(blob) as document:
        for found in _found(document, budget):
            number += 1
            budget.count_entry()
            try:
                content = _content(found, budget)
                budget.spend(len(content))
            except DecodeError as error:
                yield Entry(number, None, error.reason)
                if error.reason == "expands_too_much":
                    raise
            else:
                visual = media.claimed(content) is not None
                yield Entry(number, content if visual else None, None if visual else "not_visual")


def _opened(blob: memoryview) -> pikepdf.Pdf:
    """The document; one that its reader opens without asking for a password counts as open."""
    try:
        return pikepdf.Pdf.open(io.BufferedReader(Lent(blob)), suppress_warnings=True)
    except pikepdf.PasswordError:
        raise DecodeError("encrypted") from None
    except _DAMAGE as error:
        unknown_handler = "encrypt" in str(error).lower()
        raise DecodeError("encrypted" if unknown_handler else "corrupt") from None


_Found = pikepdf.PdfImage | pikepdf.PdfInlineImage | pikepdf.Stream | DecodeError
"""A picture, an attached file, or why there may be more."""


def _found(document: pikepdf.Pdf, budget: Budget) -> Iterator[_Found]:
    """All that is to be handed out, before it is decoded."""
    attached = set[tuple[int, int]]()
    for item in document.objects:
        try:
            attached.update(_attached(item))
        except _DAMAGE:
            continue
    for item in document.objects:
        try:
            if isinstance(item, pikepdf.Stream):
                if _is_picture(item):
                    yield pikepdf.PdfImage(item)
                elif item.objgen in attached or item.get("/Type") == "/EmbeddedFile":
                    yield item
            yield from _inline(item, budget)
        except DecodeError as error:
            yield error
        except _DAMAGE as error:
            yield DecodeError(_reason(error, "corrupt"))


def _attached(item: Any) -> Iterator[tuple[int, int]]:
    """The streams of files attached by a file specification (ISO 32000-1, 7.11)."""
    if not isinstance(item, pikepdf.Dictionary):
        return
    specification = item.get("/FS", item)
    if isinstance(specification, pikepdf.Dictionary) and "/EF" in specification:
        for stream in dict(specification["/EF"].items()).values():
            if isinstance(stream, pikepdf.Stream):
                yield stream.objgen


def _is_picture(item: pikepdf.Stream) -> bool:
    return item.get("/Subtype") == "/Image" or ("/Width" in item and "/Height" in item)


def _inline(item: Any, budget: Budget) -> Iterator[pikepdf.PdfInlineImage]:
    """The pictures that stand among the drawing instructions of a page, a form or a pattern."""
    if isinstance(item, pikepdf.Stream):
        if item.get("/Subtype") != "/Form" and item.get("/PatternType") != 1:
            return
        drawn: pikepdf.Stream | pikepdf.Page = item
        contents = [item]
    elif isinstance(item, pikepdf.Dictionary) and item.get("/Type") == "/Page":
        drawn = pikepdf.Page(item)
        streams: Any = item.get("/Contents", ())
        contents = [streams] if isinstance(streams, pikepdf.Stream) else list(streams)
    else:
        return
    instructions = b""
    for stream in contents:
        instructions += _decoded(stream) + b"\n"
        if len(instructions) > limits.MAX_ENTRY_BYTES:
            raise DecodeError("too_many_bytes")
    budget.spend(len(instructions))
    if not _may_draw_inline(instructions):
        return
    if len(instructions) > limits.MAX_PDF_CONTENT_BYTES:
        raise DecodeError("too_many_bytes")
    for instruction in pikepdf.parse_content_stream(drawn, _INLINE_OPERATORS):
        if isinstance(instruction, pikepdf.ContentStreamInlineImage):
            yield instruction.iimage


def _may_draw_inline(instructions: bytes) -> bool:
    """Whether the operators of an inline picture stand somewhere, in their order."""
    place = 0
    for operator in _INLINE:
        match = operator.search(instructions, place)
        if match is None:
            return False
        place = match.end()
    return True


def _content(found: _Found, budget: Budget) -> bytes:
    """The file of a picture, or the attached file."""
    if isinstance(found, DecodeError):
        raise found
    try:
        if isinstance(found, pikepdf.Stream):
            return _decoded(found)
        with warnings.catch_warnings(action="ignore"):
            return _picture(found, budget)
    except _DAMAGE as error:
        picture = not isinstance(found, pikepdf.Stream)
        raise DecodeError(_reason(error, "unsupported_image" if picture else "corrupt")) from None


def _reason(error: Exception, otherwise: str) -> str:
    """What to say where qpdf or pikepdf gave up."""
    if isinstance(error, pikepdf.DecompressionBombError):
        return "too_many_pixels"
    return "too_many_bytes" if "memory limit exceeded" in str(error) else otherwise


def _picture(image: Any, budget: Budget) -> bytes:
    """A file that shows what a reader of the document shows."""
    inline = isinstance(image, pikepdf.PdfInlineImage)
    stored = image if inline else image.obj
    filters = image.filters
    if _JBIG2 in filters:
        raise DecodeError("unsupported_image")
    _check_lzw(filters, stored)
    if filters and filters[-1] == _JPEG:
        content = stored.read_raw_bytes() if filters == [_JPEG] else _copied(image)
        return content if inline else _jpeg_as_shown(content, image)
    if filters and filters[-1] in _COPIED:
        return _copied(image)
    budget.spend(_sample_bytes(image))
    if inline:
        return _stored(image.as_pil_image())
    return _stored(image.as_pil_image(apply_mask=_has_usable_mask(stored)))


def _copied(image: Any) -> bytes:
    """A picture whose data is a file already, or nearly so."""
    file = io.BytesIO()
    if isinstance(image, pikepdf.PdfInlineImage):
        image.extract_to(stream=file)
    else:
        image.extract_to(stream=file, apply_mask=False)
    content = file.getvalue()
    if media.claimed(content) is None:
        raise DecodeError("unsupported_image")  # JPEG 2000 without a file around it
    return content


def _jpeg_as_shown(content: bytes, image: Any) -> bytes:
    """The JPEG itself, unless the document shows its negative.

    Viewers of files take the ink of a CMYK JPEG to be stored inverted, as Adobe does; documents
    say so by an inverting /Decode, and mean the opposite without one.
    """
    decode = image.obj.get("/Decode")
    inverting = decode is not None and [float(end) for end in decode][:2] == [1.0, 0.0]
    if inverting == _is_inked(image):
        return content
    try:
        with images.opened(content) as opened:
            return _stored(ImageChops.invert(opened))
    except DecodeError:
        return content  # what is wrong with it, its own examination says


def _is_inked(image: Any) -> bool:
    try:
        return bool(image.mode == "CMYK")
    except _DAMAGE:  # a colour space that says nothing
        return False


def _stored(image: Image.Image) -> bytes:
    """A lossless file of decoded pixels."""
    image.info.pop("icc_profile", None)  # nobody applies it (`images`)
    file = io.BytesIO()
    if image.mode in ("CMYK", "LAB"):
        image.save(file, "TIFF", compression="tiff_adobe_deflate")
    else:
        image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _sample_bytes(image: pikepdf.PdfImage | pikepdf.PdfInlineImage) -> int:
    """How many bytes the samples of a picture take."""
    _check_size(image.width, image.height)
    channels = {"RGB": 3, "CMYK": 4}.get(image.mode, 1)
    return image.height * -(-image.width * channels * image.bits_per_component // 8)


def _check_size(width: int, height: int) -> None:
    if width * height > limits.MAX_PIXELS:
        raise DecodeError("too_many_pixels")


def _has_usable_mask(item: Any) -> bool:
    """Whether a picture's mask may be decoded with it."""
    for name in ("/SMask", "/Mask"):
        mask = item.get(name)
        if isinstance(mask, pikepdf.Stream):
            details = pikepdf.PdfImage(mask)
            if _JBIG2 in details.filters:
                return False
            _check_size(details.width, details.height)
            _check_lzw(details.filters, mask)
    return True


def _decoded(item: pikepdf.Stream) -> bytes:
    """The bytes of a stream that is no picture."""
    filters: Any = item.get("/Filter", ())
    names = [filters] if isinstance(filters, pikepdf.Name) else filters
    _check_lzw([str(name) for name in names], item)
    return item.read_bytes()


def _check_lzw(filters: list[str], item: Any) -> None:
    """Refuse what could expand beyond bounds in the one decoder that qpdf does not bound."""
    if _LZW not in filters:
        return
    raw = item.read_raw_bytes()
    size_bytes = len(raw) * limits.MAX_LZW_RATIO if len(filters) > 1 else _lzw_bytes(raw)
    if size_bytes > limits.MAX_ENTRY_BYTES:
        raise DecodeError("too_many_bytes")


def _lzw_bytes(raw: bytes) -> int:
    """How much LZW data expands to (ISO 32000-1, 7.4.4), without expanding it.

    The length of what a code stands for is one more than that of the code before it.
    """
    clear, end = 256, 257
    lengths: list[int] = []
    total, width, bits, held, before = 0, 9, 0, 0, 0
    for byte in raw:
        held, bits = held << 8 | byte, bits + 8
        if bits < width:
            continue
        bits -= width
        code, held = held >> bits, held & (1 << bits) - 1
        if code == clear:
            lengths, width, before = [], 9, 0
            continue
        if code == end or total > limits.MAX_ENTRY_BYTES:
            break
        if before and len(lengths) < 4096 - 258:
            lengths.append(before + 1)
        before = 1 if code < clear else lengths[code - 258] if code - 258 < len(lengths) else 1
        total += before
        width = min(12, (258 + len(lengths) + 1).bit_length())
    return total
