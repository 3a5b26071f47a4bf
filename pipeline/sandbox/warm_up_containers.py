"""Small containers of every kind, for `warm_up`: each decompressor and reader is needed once."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

import pikepdf
import py7zr
import zstandard
from pikepdf import Array, Dictionary, Name

_SIDE: Final = 24
_DEFLATED: Final = zlib.compress(bytes(_SIDE * _SIDE * 4))


def containers(picture: bytes) -> list[bytes]:
    """One of each kind with a picture in it, and each cut short, for its errors.

    Args:
        picture: a JPEG.
    """
    whole = [
        *(_zipped(picture, method) for method in (0, 8, 12, 14)),
        *(_tarred(picture, compression) for compression in ("", "gz", "bz2", "xz")),
        zstandard.compress(picture),
        *(_packed(picture, filters) for filters in _seven_zip_filters()),
        _document(picture),
        _document(picture, pikepdf.Encryption(user="", owner="owner")),
        _document(picture, pikepdf.Encryption(user="user", owner="owner")),
    ]
    return whole + [blob[: len(blob) * 3 // 4] for blob in whole]


def _zipped(picture: bytes, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("picture", picture)
    return file.getvalue()


def _tarred(picture: bytes, compression: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        header = tarfile.TarInfo("picture" * 20)  # needs an extended header
        header.size = len(picture)
        archive.addfile(header, io.BytesIO(picture))
    return file.getvalue()


def _seven_zip_filters() -> Iterator[list[dict[str, int]]]:
    for method in (py7zr.FILTER_LZMA, py7zr.FILTER_LZMA2):
        yield [{"id": method, "preset": 0}]
    for method in (py7zr.FILTER_COPY, py7zr.FILTER_BZIP2, py7zr.FILTER_DEFLATE):
        yield [{"id": method}]
    for branch in (py7zr.FILTER_X86, py7zr.FILTER_ARM, py7zr.FILTER_DELTA):
        yield [{"id": branch}, {"id": py7zr.FILTER_LZMA, "preset": 0}]


def _packed(picture: bytes, filters: list[dict[str, int]]) -> bytes:
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w", filters=filters) as archive:
        archive.writestr(picture, "picture")
    return file.getvalue()


def _document(picture: bytes, encryption: pikepdf.Encryption | None = None) -> bytes:
    """A PDF with a picture by each filter and of each colour space, inline and attached."""
    document = pikepdf.Pdf.new()
    page = document.add_blank_page()
    inline = b"BI /W 2 /H 2 /CS /G /BPC 8 ID " + bytes(4) + b" EI"
    page.Contents = document.make_stream(inline)
    document.attachments["picture"] = picture
    grey = _image(document, ColorSpace=Name.DeviceGray)
    palette = Array([Name.Indexed, Name.DeviceRGB, 1, pikepdf.String(bytes(6))])
    decoding = Dictionary(K=-1, Columns=_SIDE, Rows=_SIDE)
    images = [
        grey,
        _image(document, SMask=grey),
        _image(document, ColorSpace=Name.DeviceCMYK),
        _image(document, ColorSpace=palette),
        _image(document, ColorSpace=Name.DeviceGray, BitsPerComponent=1),
        _image(document, ColorSpace=Name.DeviceGray, BitsPerComponent=4),
        _image(document, ColorSpace=Name.DeviceGray, BitsPerComponent=16),
        _image(document, ColorSpace=Name.Unknown),
        _image(document, Filter=Name.JPXDecode),
        _image(document, Filter=Name.CCITTFaxDecode, DecodeParms=decoding, BitsPerComponent=1),
        _image(document, picture, Filter=Name.DCTDecode),
        _image(document, picture, Filter=Name.DCTDecode, Decode=Array([1, 0] * 3)),
    ]
    page.Resources = Dictionary(
        XObject=Dictionary({f"/A{place}": image for place, image in enumerate(images)})
    )
    file = io.BytesIO()
    document.save(file, encryption=encryption)
    return file.getvalue()


def _image(document: pikepdf.Pdf, data: bytes = _DEFLATED, **entries: object) -> pikepdf.Stream:
    defaults = {
        "Subtype": Name.Image,
        "Width": _SIDE,
        "Height": _SIDE,
        "ColorSpace": Name.DeviceRGB,
        "BitsPerComponent": 8,
        "Filter": Name.FlateDecode,
    }
    return document.make_stream(data, **defaults | entries)
