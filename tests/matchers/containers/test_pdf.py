"""Pictures and attached files in PDFs, by every filter; encryption, damage and bombs."""

from __future__ import annotations

import io
import logging
import zlib
from pathlib import Path

import numpy as np
import pikepdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pikepdf import Array, Dictionary, Name, Pdf
from PIL import Image
from support.archives import JPEG, PNG, TEXT, found, found_before, found_within, zipped
from support.pictures import smooth, store
from support.settings import SEEDED

from matchers import limits, media
from matchers.containers import pdf as pdf_module
from matchers.errors import DecodeError

MIB = 1024 * 1024
RGB = smooth(24, 40, 5)
GREY = RGB[:, :, 1].copy()
CMYK = np.dstack([RGB, GREY])


def saved(document: Pdf, **settings: object) -> bytes:
    """The file of a document, its streams as they were made."""
    if not document.pages:
        document.add_blank_page()
    file = io.BytesIO()
    if "encryption" not in settings:  # which goes with no other setting
        settings["stream_decode_level"] = pikepdf.StreamDecodeLevel.none
    document.save(file, static_id=True, **{"compress_streams": False} | settings)
    return file.getvalue()


def picture(document: Pdf, data: bytes, **entries: object) -> pikepdf.Stream:
    """An image object; the defaults are those of `RGB` without a filter."""
    defaults = {
        "Subtype": Name.Image,
        "Width": 40,
        "Height": 24,
        "ColorSpace": Name.DeviceRGB,
        "BitsPerComponent": 8,
    }
    given = {name: value for name, value in (defaults | entries).items() if value is not None}
    return document.make_stream(data, **given)


def of_one(data: bytes, **entries: object) -> bytes:
    """A document of one page that shows one image."""
    document = Pdf.new()
    page = document.add_blank_page()
    page.Resources = Dictionary(XObject=Dictionary(A=picture(document, data, **entries)))
    return saved(document)


def pixels(blob: bytes | str | None) -> np.ndarray:
    """The pixels of a lossless picture that was found."""
    assert isinstance(blob, bytes), blob
    assert media.is_decodable(blob)
    with Image.open(io.BytesIO(blob)) as image:
        image.load()
        return np.asarray(image)


def test_a_jpeg_comes_as_it_was_put_in() -> None:
    """Byte for byte, so that exact sets find it."""
    entries = {"Filter": Name.DCTDecode, "Width": 64, "Height": 48}
    assert found(of_one(JPEG, **entries)) == [JPEG]
    behind = Array([Name.FlateDecode, Name.DCTDecode])
    assert found(of_one(zlib.compress(JPEG), **entries | {"Filter": behind})) == [JPEG]


@pytest.mark.parametrize("space", [Name.Unknown, None, Array([Name.DeviceN])])
def test_a_jpeg_in_colours_that_say_nothing_is_still_a_jpeg(space: object) -> None:
    """Its own markers say enough."""
    assert found(of_one(JPEG, Filter=Name.DCTDecode, ColorSpace=space)) == [JPEG]


def test_a_jpeg_that_is_shown_as_its_negative() -> None:
    """The document's /Decode says so."""
    grey = store(GREY, "JPEG", quality=90)
    entries = {"Filter": Name.DCTDecode, "ColorSpace": Name.DeviceGray}
    assert found(of_one(grey, **entries)) == [grey]
    (negative,) = found(of_one(grey, **entries, Decode=Array([1, 0])))
    with Image.open(io.BytesIO(grey)) as image:
        np.testing.assert_array_equal(pixels(negative), 255 - np.asarray(image))


def test_a_cmyk_jpeg_by_what_its_decode_says() -> None:
    """Files store ink inverted, and documents say so; without that the same bytes mean negative."""
    file = io.BytesIO()
    Image.fromarray(CMYK, "CMYK").save(file, "JPEG", quality=90)
    blob = file.getvalue()
    entries = {"Filter": Name.DCTDecode, "ColorSpace": Name.DeviceCMYK}
    assert found(of_one(blob, **entries, Decode=Array([1, 0] * 4))) == [blob]
    (other,) = found(of_one(blob, **entries))
    with Image.open(io.BytesIO(blob)) as image:
        np.testing.assert_array_equal(pixels(other), 255 - np.asarray(image))


@pytest.mark.parametrize("columns", [None, 40])
def test_deflated_samples_with_and_without_a_predictor(columns: int | None) -> None:
    """The pixels are those of the samples."""
    if columns is None:
        blob = of_one(zlib.compress(RGB.tobytes()), Filter=Name.FlateDecode)
    else:
        rows = b"".join(b"\0" + row.tobytes() for row in RGB)
        parameters = Dictionary(Predictor=15, Columns=columns, Colors=3)
        blob = of_one(zlib.compress(rows), Filter=Name.FlateDecode, DecodeParms=parameters)
    (content,) = found(blob)
    np.testing.assert_array_equal(pixels(content), RGB)


def test_other_colours() -> None:
    """Grey, a palette, CMYK, a stencil and sixteen bits."""
    (grey,) = found(of_one(GREY.tobytes(), ColorSpace=Name.DeviceGray))
    np.testing.assert_array_equal(pixels(grey), GREY)
    (cmyk,) = found(of_one(CMYK.tobytes(), ColorSpace=Name.DeviceCMYK))
    np.testing.assert_array_equal(pixels(cmyk), CMYK)
    palette = bytes(range(48))
    space = Array([Name.Indexed, Name.DeviceRGB, 15, pikepdf.String(palette)])
    (indexed,) = found(of_one((GREY // 16).tobytes(), ColorSpace=space))
    with Image.open(io.BytesIO(indexed)) as image:
        shown = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(
        shown, np.frombuffer(palette, np.uint8).reshape(16, 3)[GREY // 16]
    )
    deep = (GREY.astype(">u2") * 257).tobytes()
    (deep_grey,) = found(of_one(deep, ColorSpace=Name.DeviceGray, BitsPerComponent=16))
    np.testing.assert_array_equal(pixels(deep_grey) // 257, GREY)
    bits = np.packbits(GREY > 128, axis=1).tobytes()
    (stencil,) = found(of_one(bits, ColorSpace=Name.DeviceGray, BitsPerComponent=1))
    np.testing.assert_array_equal(pixels(stencil) > 0, GREY > 128)


def test_fax() -> None:
    """As TIFF, which is what fax data is at home."""
    file = io.BytesIO()
    Image.fromarray(GREY > 128).save(file, "TIFF", compression="group4")
    with Image.open(file) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]
        black_is_1 = image.tag_v2[262] == 1
    data = file.getvalue()[start : start + length]
    parameters = Dictionary(K=-1, Columns=40, Rows=24, BlackIs1=black_is_1)
    entries = {"ColorSpace": Name.DeviceGray, "BitsPerComponent": 1, "DecodeParms": parameters}
    (content,) = found(of_one(data, Filter=Name.CCITTFaxDecode, **entries))
    np.testing.assert_array_equal(pixels(content) > 0, GREY > 128)


def test_lzw() -> None:
    """The one decoder of qpdf without a bound: its output is counted first."""
    file = io.BytesIO()
    rough = smooth(120, 160, 9)
    Image.fromarray(rough).save(file, "TIFF", compression="tiff_lzw", tiffinfo={278: 120})
    with Image.open(file) as image:
        starts, lengths = image.tag_v2[273], image.tag_v2[279]
    assert len(starts) == 1
    data = file.getvalue()[starts[0] : starts[0] + lengths[0]]
    assert pdf_module._lzw_bytes(data) == rough.size
    (content,) = found(of_one(data, Filter=Name.LZWDecode, Width=160, Height=120))
    np.testing.assert_array_equal(pixels(content), rough)


def lzw_bomb(repeats: int) -> bytes:
    """Codes that each stand for one byte more than the one before, over and over."""
    bits = "".join(
        format(code, f"0{min(12, (code + 1).bit_length() if code > 258 else 9)}b")
        for code in [256, 65, *range(258, 4094)]
    )
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") * repeats


def test_an_lzw_bomb_is_refused_before_it_is_decoded(monkeypatch) -> None:
    """7 MB come out of every 5 kB."""
    monkeypatch.setattr(limits, "MAX_ENTRY_BYTES", 5 * MIB)
    assert found(of_one(lzw_bomb(1), Filter=Name.LZWDecode)) == ["too_many_bytes"]
    document = Pdf.new()
    head = b"BI /W 40 /H 24 /CS /RGB /BPC 8 /F [/AHx /LZW] ID "
    page = document.add_blank_page()
    page.Contents = document.make_stream(head + lzw_bomb(1).hex().encode() + b"> EI")
    assert found(saved(document)) == ["too_many_bytes"]
    chain = Array([Name.ASCIIHexDecode, Name.LZWDecode])
    assert found(of_one(lzw_bomb(1).hex().encode(), Filter=chain)) == ["too_many_bytes"]


def test_transparency_is_kept_and_the_mask_is_a_picture_too() -> None:
    """Samples come with their mask; a JPEG cannot."""
    document = Pdf.new()
    mask = picture(document, GREY.tobytes(), ColorSpace=Name.DeviceGray)
    document.Root.A = picture(document, RGB.tobytes(), SMask=mask)
    document.Root.B = picture(document, JPEG, Filter=Name.DCTDecode, SMask=mask)
    shown = found(saved(document))
    assert len(shown) == 3
    shapes = {pixels(content).shape for content in shown if content != JPEG}
    assert JPEG in shown
    assert shapes == {(24, 40), (24, 40, 4)}


def test_each_picture_comes_once_wherever_it_is_shown() -> None:
    """On two pages, in a form within a form, and on none."""
    document = Pdf.new()
    shared = picture(document, JPEG, Filter=Name.DCTDecode)
    inner = document.make_stream(
        b"/A Do", Subtype=Name.Form, Resources=Dictionary(XObject=Dictionary(A=shared))
    )
    outer = document.make_stream(
        b"/B Do", Subtype=Name.Form, Resources=Dictionary(XObject=Dictionary(B=inner))
    )
    inner.Resources.XObject.C = outer  # and it goes round
    for _ in range(2):
        page = document.add_blank_page()
        page.Resources = Dictionary(XObject=Dictionary(A=shared, B=outer))
    document.Root.Unused = picture(document, RGB.tobytes())
    shown = found(saved(document))
    assert len(shown) == 2
    assert JPEG in shown


def test_inline_pictures() -> None:
    """Among the instructions of a page, also one in pieces, and of a form."""
    inline = b"BI /W 40 /H 24 /CS /RGB /BPC 8 /F /AHx ID " + RGB.tobytes().hex().encode() + b"> EI"
    document = Pdf.new()
    page = document.add_blank_page()
    page.Contents = Array([document.make_stream(b"q"), document.make_stream(inline + b" Q")])
    document.Root.A = document.make_stream(inline, Subtype=Name.Form)
    for content in found(saved(document)):
        np.testing.assert_array_equal(pixels(content), RGB)
    assert len(found(saved(document))) == 2


def test_instructions_that_are_used_again_and_again_are_counted() -> None:
    """One stream of 1 MiB, a hundred times on each page."""
    document = Pdf.new()
    stream = document.make_stream(zlib.compress(b"q Q\n" * 262_144), Filter=Name.FlateDecode)
    document.add_blank_page().Contents = Array([stream] * 100)
    assert found_before(saved(document), DecodeError) == (["expands_too_much"], "expands_too_much")


def test_attached_files() -> None:
    """Of the document and of a remark on a page; what they are decides."""
    document = Pdf.new()
    document.add_blank_page()
    document.attachments["a.jpg"] = JPEG
    document.attachments["b.txt"] = TEXT
    document.attachments["c.zip"] = zipped({"d": PNG})
    stream = document.make_indirect(document.make_stream(PNG))
    document.Root.Remark = document.make_indirect(
        Dictionary(Subtype=Name.FileAttachment, FS=Dictionary(EF=Dictionary(F=stream)))
    )
    outcomes = found(saved(document))
    assert sorted(map(str, outcomes)) == sorted(
        map(str, [JPEG, "not_visual", PNG, zipped({"d": PNG}), PNG])
    )


def test_pictures_that_cannot_be_opened_are_counted() -> None:
    """JBIG2 would start a program; a printer's colours have no picture of their own."""
    assert found(of_one(b"\0" * 20, Filter=Name.JBIG2Decode)) == ["unsupported_image"]
    function = Dictionary(FunctionType=2, Domain=Array([0, 1]), N=1)
    space = Array([Name.Separation, Name.Gold, Name.DeviceRGB, function])
    assert found(of_one(GREY.tobytes(), ColorSpace=space)) == ["unsupported_image"]
    assert found(of_one(b"short", ColorSpace=Name.DeviceGray)) == ["unsupported_image"]


def test_a_size_that_is_only_declared_makes_nothing() -> None:
    """Refused by the header."""
    blob = of_one(b"x", Width=10**6, Height=10**6)
    assert found(blob) == ["too_many_pixels"]
    within_pixels = of_one(b"x", Width=10**4, Height=10**4)
    assert found_before(within_pixels, DecodeError) == (["expands_too_much"], "expands_too_much")


@pytest.mark.parametrize("revision", [4, 6])
def test_a_document_that_asks_for_a_password_stays_shut(revision: int) -> None:
    """No password is tried."""
    document = Pdf.open(io.BytesIO(of_one(JPEG, Filter=Name.DCTDecode)))
    aes = {"aes": True} if revision > 3 else {}
    blob = saved(document, encryption=pikepdf.Encryption(user="u", owner="o", R=revision, **aes))
    with pytest.raises(DecodeError, match="encrypted"):
        found(blob)


def test_a_document_that_every_reader_opens_is_open() -> None:
    """One that only restricts printing shows itself to everyone, without a password."""
    document = Pdf.open(io.BytesIO(of_one(JPEG, Filter=Name.DCTDecode)))
    blob = saved(document, encryption=pikepdf.Encryption(user="", owner="o", R=6))
    assert b"/Encrypt" in blob
    assert found(blob) == [JPEG]


def test_a_document_for_certificates_stays_shut() -> None:
    """Its handler is unknown to qpdf; that it is encrypted is not."""
    document = Pdf.open(io.BytesIO(of_one(JPEG, Filter=Name.DCTDecode)))
    blob = saved(document, encryption=pikepdf.Encryption(user="u", owner="o", R=4))
    with pytest.raises(DecodeError, match="encrypted"):
        found(blob.replace(b"/Standard", b"/PubSecRS"))


def test_a_table_of_objects_that_is_lost_is_found_again(caplog, capfd) -> None:
    """By reading the file through; and nobody is told about its content."""
    blob = of_one(JPEG, Filter=Name.DCTDecode, Secret=pikepdf.String("s3cret"))
    with caplog.at_level(logging.DEBUG):
        assert found(blob[: blob.rindex(b"xref\n")]) == [JPEG]
        assert found(blob.replace(b"/Length", b"/Lemgth")) == [JPEG + b"\n"]
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_what_is_no_document_is_corrupt() -> None:
    """Its first bytes alone make none."""
    with pytest.raises(DecodeError, match="corrupt"):
        found(b"%PDF-1.7\n" + TEXT)


def test_objects_in_streams() -> None:
    """As most programs write them today."""
    document = Pdf.open(io.BytesIO(of_one(JPEG, Filter=Name.DCTDecode)))
    blob = saved(document, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    assert b"/ObjStm" in blob
    assert found(blob) == [JPEG]


def test_no_bomb_takes_more_memory_than_its_budget(tmp_path: Path) -> None:
    """128 MiB would come out of each stream; qpdf stops at the largest entry, 4 MiB here."""
    bomb = zlib.compress(bytes(128 * MIB))
    deflated = {"Filter": Name.FlateDecode}
    drawn, attached = Pdf.new(), Pdf.new()
    drawn.add_blank_page().Contents = drawn.make_stream(bomb, **deflated)
    attached.Root.A = attached.make_stream(bomb, Type=Name.EmbeddedFile, **deflated)
    packed = Pdf.new()
    packed.Root.A = packed.make_indirect(pikepdf.String("A" * 6 * MIB))
    as_objects = {
        "object_stream_mode": pikepdf.ObjectStreamMode.generate,
        "compress_streams": True,
    }
    blobs = {
        "samples": of_one(bomb, **deflated),
        "samples_twice": of_one(
            zlib.compress(bomb), Filter=Array([Name.FlateDecode, Name.FlateDecode])
        ),
        "instructions": saved(drawn),
        "attached": saved(attached),
        "objects": saved(packed, **as_objects),
    }
    outcomes = found_within(blobs, 64 * MIB, tmp_path, free_bytes=32 * MIB, entry_bytes=4 * MIB)
    assert outcomes.pop("objects") == "corrupt"  # with its objects go its pages
    assert set(outcomes.values()) == {"too_many_bytes"}


SEED = of_one(zlib.compress(RGB.tobytes()), Filter=Name.FlateDecode)


@SEEDED
@given(data=st.data())
def test_damage_is_an_outcome_never_another_error(data: st.DataObject) -> None:
    """Bytes altered, cut out or put in anywhere outside the samples."""
    blob = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(blob) - 1))
        piece = data.draw(st.sampled_from([b"", b"0", b"9", b"/", b"<<", b"]", b"\0", b" R "]))
        blob[place : place + data.draw(st.integers(0, 4))] = piece
    try:
        outcomes = found(bytes(blob))
    except DecodeError:
        return
    assert all(outcomes)
