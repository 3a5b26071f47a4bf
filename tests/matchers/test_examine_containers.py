"""Examining a container: every part inside has its own outcome."""

from __future__ import annotations

import hashlib

import pytest
from support.archives import JPEG, PNG, TEXT, tarred, zipped

from matchers.examine import Part, Wanted, examine

WANTED = Wanted(frozenset({"image", "video"}), ("sha256", "md5"), "plain")


def reasons(parts: tuple[Part, ...]) -> dict[tuple[int, ...], str | None]:
    """Why each part could not be examined, by locator."""
    return {part.locator: part.reason for part in parts}


def test_a_zip_in_a_zip_gives_a_part_for_each_level() -> None:
    """The item first, then what is inside, each inner container after its own."""
    inner = zipped({"x": PNG, "y": TEXT})
    blob = zipped({"a": JPEG, "b": inner})
    parts = examine(blob, WANTED)
    assert reasons(parts) == {
        (): None,
        (1,): None,
        (2, 1): None,
        (2, 2): "not_visual",
        (2,): None,
    }
    by_locator = {part.locator: part for part in parts}
    assert [by_locator[place].medium for place in ((), (1,), (2,), (2, 1), (2, 2))] == [
        "container",
        "image",
        "container",
        "image",
        None,
    ]
    assert by_locator[2, 1].content == hashlib.sha256(PNG).digest()
    assert by_locator[2, 1].digests["md5"] == hashlib.md5(PNG).digest()
    assert by_locator[2,].content == hashlib.sha256(inner).digest()
    assert by_locator[()].content == hashlib.sha256(blob).digest()


def test_a_picture_inside_has_the_code_that_it_has_by_itself() -> None:
    """A container changes nothing about what is inside."""
    for blob in (zipped({"a": PNG}), tarred({"a": PNG}, "xz")):
        found = examine(blob, WANTED)[1].fingerprints
        alone = examine(PNG, WANTED)[0].fingerprints
        assert found is not None
        assert alone is not None
        assert found.codes.tobytes() == alone.codes.tobytes()


def test_what_is_out_of_scope_is_not_examined() -> None:
    """A container is opened if anything visual may be; nothing else inside it is."""
    parts = examine(zipped({"a": JPEG}), Wanted(frozenset({"video"})))
    assert reasons(parts) == {(): None, (1,): "media_out_of_scope"}
    assert parts[1].fingerprints is None
    assert reasons(examine(zipped({"a": JPEG}), Wanted(frozenset({"url"})))) == {
        (): "media_out_of_scope"
    }


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (tarred({"a": JPEG, "b": PNG})[: 512 * 4 + 600], "truncated"),
        (b"PK\x03\x04" + TEXT, "corrupt"),
        (b"Rar!\x1a\x07\x01\0" + TEXT, "unsupported_container"),
    ],
)
def test_a_container_that_fails_keeps_what_came_before(blob: bytes, reason: str) -> None:
    """The item has the reason; parts before it stand."""
    parts = examine(blob, WANTED)
    assert parts[0].reason == reason
    inside = [None, "truncated"] if reason == "truncated" else []
    assert [part.reason for part in parts[1:]] == inside


def test_a_damaged_picture_inside_fails_by_itself() -> None:
    """Its neighbours do not."""
    parts = examine(zipped({"a": JPEG[:700], "b": PNG}), WANTED)
    assert reasons(parts)[1,] is not None
    assert reasons(parts)[2,] is None


def test_a_metafile_in_a_document_is_a_picture_that_failed() -> None:
    """It may hold a photograph: it is never passed over as nothing visual."""
    parts = examine(zipped({"word/media/image1.emf": b"\1\0\0\0" + bytes(36) + b" EMF"}), WANTED)
    assert reasons(parts) == {(): None, (1,): "unrecognised_format"}
