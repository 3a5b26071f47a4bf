"""The scanner: which set is asked about what, in which order, and which match is the best."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from support.codes import of_codes
from support.pictures import reference, smooth, store
from support.places import PHOTOS
from support.sets import URL_KEY, signed_set

from matchers import fingerprints, urls
from matchers.digests import digest
from matchers.errors import DecodeError, UrlError
from matchers.examine import Part
from matchers.indicators import IndicatorSet
from matchers.scanner import QUALITY_TOO_LOW, Examined, Hit, Scanner

PICTURE = smooth(90, 120, seed=1)
BLOB = store(PICTURE, "PNG")
CODE, QUALITY = reference(PICTURE)
OTHER_BLOB = store(smooth(90, 120, seed=2), "PNG")
FLAT_BLOB = store(np.full((90, 120, 3), 200, np.uint8), "PNG")
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(500)
UNIT = hashlib.sha256(BLOB).digest()
URL = "http://example.com/a"


def away(bits: int, code: np.ndarray = CODE) -> bytes:
    """A code that differs from `code` in its first `bits` bits."""
    mask = np.zeros(256, np.uint8)
    mask[:bits] = 1
    return (code ^ np.packbits(mask)).tobytes()


def url_values(*addresses: str) -> list[bytes]:
    """Keyed digests of URLs."""
    return [urls.keyed_digest(address, URL_KEY) for address in addresses]


Make = Callable[..., IndicatorSet]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A maker of signed sets, from values, an algorithm and manifest fields."""
    made = iter(range(100))

    def one(values: list[bytes], algorithm: str = "pdq", **changes: object) -> IndicatorSet:
        return signed_set(tmp_path / f"set-{next(made)}", values, algorithm, **changes)

    return one


def examined(code: bytes, quality: int = 100) -> Examined:
    """An item that was reduced to this code."""
    return Examined(Part((), "image", b"unit", fingerprints=of_codes([code], quality)))


def alone(scanner: Scanner, content: bytes | str) -> Examined:
    """An item without anything inside it, examined."""
    [one] = scanner.examine(content)
    return one


def exact(scanner: Scanner, content: bytes | str) -> Hit | None:
    """The exact match of such an item."""
    return alone(scanner, content).exact


def reason(scanner: Scanner, content: bytes | str) -> str | None:
    """Why such an item could not be examined."""
    return alone(scanner, content).part.reason


def best(scanner: Scanner, code: bytes, quality: int = 100) -> tuple[int, int, int] | None:
    """(set, row, distance) of the best match of a code."""
    [hit] = scanner.match([examined(code, quality)])
    return None if hit is None else (hit.set_number, hit.indicator, hit.distance_bits)


# --- exact before perceptual ------------------------------------------------------------------


@pytest.fixture
def no_decoding(monkeypatch):
    """Any picture that a decoder opens, whoever asks, is a failed test."""
    opened: list[str] = []

    def spy(decoder: str, original: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            opened.append(decoder)
            return original(*arguments, **options)

        return call

    monkeypatch.setattr(Image, "open", spy("Pillow", Image.open))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", spy("simplejpeg", simplejpeg.decode_jpeg))
    yield
    assert opened == []


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_an_item_that_an_exact_list_names_is_not_decoded(make, no_decoding, algorithm):
    """The least intrusive method comes first and is enough: bytes, not pixels."""
    scanner = Scanner(
        [
            make([away(0)]),
            make([bytes(len(digest(b"", algorithm))), digest(BLOB, algorithm)], algorithm),
        ]
    )
    one = alone(scanner, BLOB)
    assert one.exact == Hit(1, 1, algorithm, 0, None, UNIT)
    assert one.part.fingerprints is None
    assert scanner.match([one]) == [one.exact]


def test_an_item_that_no_exact_list_names_is_decoded_and_looked_up(make):
    """Without an exact match the picture's code is compared, and the match carries its figures."""
    scanner = Scanner([make([digest(OTHER_BLOB, "md5")], "md5"), make([away(200), away(7)])])
    one = alone(scanner, BLOB)
    assert one.exact is None
    assert one.part.content == UNIT
    assert one.part.fingerprints.quality[0] == QUALITY
    np.testing.assert_array_equal(one.part.fingerprints.codes[0], CODE)
    assert scanner.match([one]) == [Hit(1, 1, "pdq", 7, QUALITY, UNIT, "full")]


def test_without_a_perceptual_set_nothing_is_decoded(make, no_decoding):
    """Lists of digests alone never need pixels, not even of a damaged picture."""
    scanner = Scanner([make([digest(OTHER_BLOB, "sha256")], "sha256")])
    for content in (BLOB, BLOB[:20]):
        one = alone(scanner, content)
        assert (one.part.content, one.part.fingerprints) == (hashlib.sha256(content).digest(), None)
        assert scanner.match([one]) == [None]


def test_what_the_order_does_not_cover_is_not_matched_whatever_it_is_called(make):
    """The bytes say what an item is: a film is left shut under an order on images alone."""
    sets = [make([digest(VIDEO, "sha256"), digest(BLOB, "sha256")], "sha256")]
    scanner = Scanner(sets, media=frozenset({"image"}))
    assert reason(scanner, VIDEO) == "media_out_of_scope"
    assert exact(scanner, VIDEO) is None
    assert exact(scanner, BLOB) is not None
    assert exact(Scanner(sets), VIDEO) is not None


def test_of_several_exact_matches_a_known_one_is_reported(make):
    """Known comes before new; else the smaller set id, whatever the order of the sets."""
    new = make([digest(BLOB, "md5")], "md5", kind="new")
    known = make([digest(BLOB, "sha1")], "sha1")
    later = make([digest(BLOB, "sha256")], "sha256")
    assert exact(Scanner([new, known, later]), BLOB).set_number == 1
    assert exact(Scanner([new, later, known]), BLOB).method == "sha1"
    assert exact(Scanner([new]), BLOB).method == "md5"


def test_a_digest_that_stands_twice_in_a_set_is_its_lowest_row(make):
    """Repeats do not make two matches."""
    scanner = Scanner([make([digest(b"", "md5"), *[digest(BLOB, "md5")] * 2], "md5")])
    assert exact(scanner, BLOB).indicator == 1


def test_an_examiner_that_lies_about_the_item_is_not_believed(make):
    """The digest of the item is our own, whatever comes back from where it was opened."""

    def taken_over(blob, wanted):
        return (Part((), "image", b"x" * 32, {"sha256": digest(OTHER_BLOB, "sha256")}),)

    sets = [make([digest(OTHER_BLOB, "sha256")], "sha256"), make([away(0)])]
    one = alone(Scanner(sets, examiner=taken_over), BLOB)
    assert (one.part.content, one.exact) == (UNIT, None)


def test_an_archive_that_an_exact_list_names_is_a_match_wherever_it_lies(make, no_decoding):
    """By itself as inside another, and unopened."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", BLOB)
    inner = buffer.getvalue()
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("b.zip", inner)
    scanner = Scanner([make([digest(inner, "md5")], "md5")])
    assert exact(scanner, inner).method == "md5"
    parts = {one.part.locator: one.exact for one in scanner.examine(buffer.getvalue())}
    assert parts[1,].method == "md5"
    assert parts[()] is None


def test_an_item_on_which_the_examiner_fails_as_a_whole_has_its_reason_and_its_exact_match(make):
    """A decoder that dies takes no exact match with it."""

    def dies(blob, wanted):
        raise DecodeError("crashed")

    sets = [make([digest(BLOB, "sha256")], "sha256", kind="new"), make([away(0)])]
    scanner = Scanner(sets, examiner=dies)
    assert reason(scanner, OTHER_BLOB) == "crashed"
    one = alone(scanner, BLOB)
    assert (one.part.reason, one.exact.method) == ("crashed", "sha256")


# --- the best match ---------------------------------------------------------------------------


@pytest.mark.parametrize("known_first", [True, False])
def test_a_known_match_comes_before_a_nearer_new_one(make, known_first):
    """The kind decides before the distance, whatever the order of the sets."""
    known, new = make([away(30)]), make([away(0)], kind="new")
    scanner = Scanner([known, new] if known_first else [new, known])
    assert best(scanner, away(0)) == (0 if known_first else 1, 0, 30)


def test_the_nearest_match_wins_within_a_set(make):
    """Of several indicators within the radius the nearest is reported."""
    assert best(Scanner([make([away(20), away(5), away(31), away(6)])]), away(0)) == (0, 1, 5)


def test_the_nearest_match_wins_across_sets_of_one_kind(make):
    """A later set's nearer indicator beats an earlier set's."""
    scanner = Scanner([make([away(12)]), make([away(3)]), make([away(4)])])
    assert best(scanner, away(0)) == (1, 0, 3)


def test_equally_near_matches_go_to_the_smaller_set_id_and_indicator_id(make):
    """Ties are broken by names: the order in which sets are given changes no candidate."""
    far = make([away(9)], set_id="a")
    near = make([away(40), away(4), away(4)], set_id="b")
    also_near = make([away(4)], set_id="c")
    assert best(Scanner([far, near, also_near]), away(0)) == (1, 1, 4)
    assert best(Scanner([also_near, near, far]), away(0)) == (1, 1, 4)


def test_each_set_has_its_own_radius(make):
    """A set's radius is inclusive and its own: 12 bits match where 12 are allowed."""
    scanner = Scanner([make([away(12)], radius_bits=11), make([away(12)], radius_bits=12)])
    assert best(scanner, away(0)) == (1, 0, 12)
    assert best(Scanner([make([away(32)])]), away(0)) is None


def test_a_batch_is_matched_row_by_row(make):
    """Matches of one item never land on another, hits and clears mixed."""
    rng = np.random.default_rng(3)
    codes = [rng.bytes(32) for _ in range(7)]
    scanner = Scanner([make(codes[::2])])
    batch = [examined(code) for code in codes]
    found = scanner.match(batch)
    assert [hit and hit.indicator for hit in found] == [0, None, 1, None, 2, None, 3]
    assert scanner.match([]) == []


# --- quality ----------------------------------------------------------------------------------


def test_a_code_below_every_sets_quality_has_a_result_of_its_own(make):
    """Nothing can be said about a flat picture: it is neither clear nor a match."""
    scanner = Scanner([make([away(0)])])
    one = alone(scanner, FLAT_BLOB)
    assert one.part.fingerprints.quality.max() < 50
    assert scanner.match([one]) == [QUALITY_TOO_LOW]


def test_each_set_has_its_own_minimum_quality(make):
    """A code is looked up, from its minimum on, only in the sets that accept it."""
    strict, lenient = make([away(0)], min_quality=80), make([away(5)], min_quality=30)
    scanner = Scanner([strict, lenient])
    assert best(scanner, away(0), quality=80) == (0, 0, 0)
    assert best(scanner, away(0), quality=79) == (1, 0, 5)
    assert best(scanner, away(0), quality=30) == (1, 0, 5)
    assert scanner.match([examined(away(0), quality=29)]) == [QUALITY_TOO_LOW]


def test_a_code_that_one_set_accepts_and_none_matches_is_clear(make):
    """To have been asked once is enough to be clear."""
    scanner = Scanner([make([away(0)], min_quality=80), make([away(200)], min_quality=30)])
    assert scanner.match([examined(away(0), quality=40)]) == [None]


def test_a_low_code_does_not_disturb_the_rest_of_its_batch(make):
    """Rows left out of the lookup do not shift the others."""
    scanner = Scanner([make([away(0), away(100)])])
    batch = [examined(away(0), 10), examined(away(100)), examined(away(0), 49), examined(away(1))]
    first, second, third, fourth = scanner.match(batch)
    assert first == third == QUALITY_TOO_LOW
    assert (second.indicator, second.distance_bits) == (1, 0)
    assert (fourth.indicator, fourth.distance_bits) == (0, 1)


# --- URLs -------------------------------------------------------------------------------------


def test_a_url_matches_in_any_spelling(make):
    """The digest is of the canonical form; the match carries the digest of that form."""
    scanner = Scanner([make(url_values("http://example.org/", URL), "url")])
    content = hashlib.sha256(URL.encode()).digest()
    for spelling in (URL, "HTTP://user@Example.com:80/./a#top"):
        one = alone(scanner, spelling)
        assert one == Examined(Part((), "url", content), Hit(0, 1, "url", 0, None, content))
        assert scanner.match([one]) == [one.exact]


def test_every_url_set_is_asked_with_its_own_key(make):
    """A set made under another key holds other digests and is asked with them."""
    other_key = bytes(range(1, 33))
    by_other_key = make(
        [urls.keyed_digest(URL, other_key)],
        "url",
        url_key="AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
    )
    assert by_other_key.url_key == other_key
    scanner = Scanner([make(url_values("http://example.org/"), "url"), by_other_key])
    assert exact(scanner, URL).set_number == 1


def test_a_url_in_two_sets_is_the_first_ones(make):
    """Ties go to the first set and its lowest row."""
    scanner = Scanner([make(url_values(URL, URL), "url"), make(url_values(URL), "url")])
    hit = exact(scanner, URL)
    assert (hit.set_number, hit.indicator) == (0, 0)


def test_another_url_is_clear(make):
    """No prefix, domain or fuzzy match: only the resource itself."""
    scanner = Scanner([make(url_values(URL), "url")])
    for url in ("http://example.com/", "http://example.com/a/", "http://example.com/A"):
        assert scanner.match(scanner.examine(url)) == [None]


def test_a_text_that_is_no_url_is_an_error_with_a_reason(make):
    """The caller learns why, not what."""
    scanner = Scanner([make(url_values(URL), "url")])
    with pytest.raises(UrlError, match=r"^not_a_url$"):
        scanner.examine("example.com/a")


# --- media ------------------------------------------------------------------------------------


def test_media_are_those_that_some_set_has_indicators_for(make):
    """PDQ and digests cover what is visual and what holds it, URL sets URLs, no set nothing."""
    perceptual, digests = make([away(0)]), make([digest(b"", "sha1")], "sha1")
    addresses = make(url_values(URL), "url")
    visual = {"image", "video", "container"}
    assert Scanner([]).media == frozenset()
    assert Scanner([perceptual]).media == visual
    assert Scanner([digests]).media == visual
    assert Scanner([addresses]).media == {"url"}
    assert Scanner([perceptual, addresses]).media == {*visual, "url"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"text", "unrecognised_format"),
        (BLOB[:-2000], "truncated"),
    ],
)
def test_a_picture_that_cannot_be_decoded_has_a_reason(make, content, why):
    """Never a silent miss: the decoder's reason comes out."""
    assert reason(Scanner([make([away(0)])]), content) == why


def test_without_sets_nothing_is_opened(no_decoding):
    """No indicators, nothing to look for."""
    scanner = Scanner([])
    [[(part, result)], [(address, nothing)]] = scanner.scan([BLOB, URL])
    assert (part.reason, result) == ("media_out_of_scope", None)
    assert (address.reason, nothing) == (None, None)


# --- views ------------------------------------------------------------------------------------


def test_a_mirrored_picture_is_found_by_the_view_that_undoes_it(make):
    """The match says which view of the item it was."""
    scanner = Scanner([make([CODE.tobytes()])])
    [[(_, hit)]] = scanner.scan([store(PICTURE[:, ::-1], "PNG")])
    assert (hit.indicator, hit.view) == (0, "full, flipped left to right")


def test_a_set_is_asked_only_about_the_views_of_its_profile(make):
    """Radius and profile are per set: the plain one does not see what the wider one does."""
    plain, standard = make([CODE.tobytes()], profile="plain"), make([CODE.tobytes()])
    mirrored = store(PICTURE[:, ::-1], "PNG")
    assert Scanner([plain]).scan([mirrored])[0][0][1] is None
    assert Scanner([plain, standard]).scan([mirrored])[0][0][1].set_number == 1
    assert Scanner([plain, standard]).scan([BLOB])[0][0][1].set_number == 0


# --- films --------------------------------------------------------------------------------------


def test_a_match_in_a_film_says_when_it_is_shown(make):
    """Frames that follow one another are one showing; another later is a second."""
    scanner = Scanner([make([away(0)])])
    times = [(0, 1), (2, 2.5), (3, 4), (5, 6), (9, 9.5)]
    codes = [away(200), away(3), away(1), away(200), away(9)]
    film = Examined(Part((), "video", b"unit", fingerprints=of_codes(codes, times=times)))
    [hit] = scanner.match([film])
    assert (hit.distance_bits, hit.spans_seconds) == (1, ((2.0, 4.0), (9.0, 9.5)))


def test_a_still_has_no_showings(make):
    """Times belong to what moves."""
    [hit] = Scanner([make([away(0)])]).match([examined(away(2))])
    assert hit.spans_seconds == ()


def test_a_match_tells_the_next_best_ones_too(make):
    """What people reject must not hide what else the item resembles."""
    known, new = make([away(20), away(5), away(250)]), make([away(1)], kind="new")
    [hit] = Scanner([new, known]).match([examined(away(0))])
    assert [(one.set_number, one.indicator) for one in (hit, *hit.others)] == [
        (1, 1),
        (1, 0),
        (0, 0),
    ]


# --- near matches -----------------------------------------------------------------------------


def test_a_near_match_is_called_one_and_comes_after_any_match(make):
    """A crop that lies between the views is found by fitting, and never as plain PDQ."""
    photo = np.asarray(Image.open(PHOTOS / "otters.jpg"))
    listed, _ = reference(photo)
    height, width = photo.shape[:2]
    cropped = store(photo[height // 25 : -height // 80, width // 90 : -width // 22], "PNG")
    near, plain = make([listed.tobytes()], profile="refine"), make([listed.tobytes()])
    [[(_, hit)]] = Scanner([near]).scan([cropped])
    assert hit.method == "pdq_refined"
    assert hit.distance_bits <= 31
    assert Scanner([plain]).scan([cropped])[0][0][1] is None
    exactly = store(photo, "PNG")
    [[(_, hit)]] = Scanner([near]).scan([exactly])
    assert (hit.method, hit.distance_bits, hit.view) == ("pdq", 0, "full")
    weaker = make([away(31, listed)], kind="new")
    [[(_, hit)]] = Scanner([near, weaker]).scan([exactly])
    assert hit.set_number == 0


# --- scan -------------------------------------------------------------------------------------


@pytest.fixture
def full_scanner(make) -> Scanner:
    """A known and a new perceptual set, digests and URLs."""
    return Scanner(
        [
            make([away(3)]),
            make([away(0, reference(smooth(90, 120, seed=2))[0])], kind="new"),
            make([digest(VIDEO, "md5")], "md5"),
            make(url_values(URL), "url"),
        ]
    )


ITEMS = [
    BLOB,
    b"broken",
    URL,
    OTHER_BLOB,
    VIDEO,
    FLAT_BLOB,
    store(smooth(90, 120, seed=3), "JPEG"),
    "http://example.org/",
]


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_scan_gives_each_item_its_result_in_order(full_scanner, threads):
    """Hits, clears, low quality and faults stand where their items stood, with any threads."""
    shown = [
        (one.set_number, one.indicator, one.distance_bits)
        if isinstance(one, Hit)
        else part.reason or one
        for [(part, one)] in full_scanner.scan(ITEMS, threads)
    ]
    assert shown == [
        (0, 0, 3),
        "unrecognised_format",
        (3, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
        QUALITY_TOO_LOW,
        None,
        None,
    ]


def test_scan_is_examine_and_match_item_by_item(full_scanner):
    """A batch gives what its items give alone."""
    for item, [(part, result)] in zip(ITEMS, full_scanner.scan(ITEMS), strict=True):
        [[(one, found)]] = full_scanner.scan([item])
        assert (one.reason, found) == (part.reason, result)


def test_scanning_nothing_gives_nothing(full_scanner):
    """An empty batch is a batch."""
    assert full_scanner.scan([]) == []


def test_a_bug_is_not_taken_for_an_unreadable_item(full_scanner, monkeypatch):
    """Only decode and URL errors belong to an item; any other exception comes out of `scan`."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(fingerprints, "view_codes", fail)
    with pytest.raises(ZeroDivisionError):
        full_scanner.scan([BLOB])


def test_two_files_of_one_picture_are_distinct_content(full_scanner):
    """`content` tells bytes apart, so that one file posted twice is not two hits."""
    again = store(PICTURE, "PNG", compress_level=1)
    [[(_, first)], [(_, second)], [(_, third)]] = full_scanner.scan([BLOB, again, BLOB])
    assert first.content == third.content != second.content
    assert first.indicator == second.indicator
