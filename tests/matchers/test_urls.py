"""Canonical URLs: what is the same resource, what is not, and the digests made of them."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.settings import SEEDED

from matchers import limits, urls
from matchers.errors import UrlError

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))

# (rule of `sluis-url-1` that it shows, URL, canonical form)
CANONICAL = [
    (1, "HTTP://Example.COM/Path", "http://example.com/Path"),
    (1, "https://example.com", "https://example.com/"),
    (1, "https://example.com:443/a", "https://example.com/a"),
    (1, "http://example.com:80/a", "http://example.com/a"),
    (1, "http://example.com:443/a", "http://example.com:443/a"),
    (1, "https://example.com:080/a", "https://example.com:80/a"),
    (1, "http://example.com/a/./b/../c", "http://example.com/a/c"),
    (1, "http://example.com/../../a", "http://example.com/a"),
    (1, "http://example.com/a/%2e%2E/b", "http://example.com/b"),
    (1, "  \thttp://example.com/a\n", "http://example.com/a"),
    (1, "http://exa\nmple.com/a\tb", "http://example.com/ab"),
    (1, "http://example.com/a b", "http://example.com/a%20b"),
    (1, "http://example.com\\a\\b", "http://example.com/a/b"),
    (1, "http:/example.com/a", "http://example.com/a"),
    (1, "http://example.com/é?é", "http://example.com/%C3%A9?%C3%A9"),
    (1, "http://bücher.example/", "http://xn--bcher-kva.example/"),
    (1, "http://BÜCHER.example/", "http://xn--bcher-kva.example/"),
    (1, "http://\uff45\uff58ample.com/", "http://example.com/"),  # full-width letters
    (1, "http://0x7f.1/", "http://127.0.0.1/"),
    (1, "http://[2001:DB8:0:0::1]/", "http://[2001:db8::1]/"),
    (1, "http://[::1]:8080/a", "http://[::1]:8080/a"),
    (1, "http://[::1]:80/a", "http://[::1]/a"),
    (3, "http://user@example.com/", "http://example.com/"),
    (3, "http://user:secret@example.com:8080/", "http://example.com:8080/"),
    (3, "http://:@example.com/", "http://example.com/"),
    (4, "http://example.com/a#part", "http://example.com/a"),
    (4, "http://example.com/a?b#c?d", "http://example.com/a?b"),
    (5, "http://example.com./a", "http://example.com/a"),
    (5, "http://example.com.:8080/a", "http://example.com:8080/a"),
    (6, "http://example.com/%7euser/%41", "http://example.com/~user/A"),
    (6, "http://example.com/a%2fb", "http://example.com/a%2Fb"),
    (6, "http://example.com/?q=%61%2b%c3%a9", "http://example.com/?q=a%2B%C3%A9"),
    (6, "http://example.com/100%", "http://example.com/100%25"),
    (6, "http://example.com/%zz%4", "http://example.com/%25zz%254"),
    (6, "http://example.com/%2541", "http://example.com/%2541"),
]


@pytest.mark.parametrize(("rule", "url", "canonical"), CANONICAL)
def test_a_url_has_the_canonical_form_that_the_rule_gives(rule, url, canonical):
    """Each rule of the set, one case a line, gives exactly this form."""
    assert 1 <= rule <= 6
    assert urls.canonicalise(url) == canonical


@pytest.mark.parametrize("canonical", sorted({canonical for _, _, canonical in CANONICAL}))
def test_a_canonical_url_is_its_own_canonical_form(canonical):
    """Canonicalising twice is canonicalising once."""
    assert urls.canonicalise(canonical) == canonical


DIFFERENT = {
    "scheme (rule 2)": ("http://example.com/", "https://example.com/"),
    "www": ("http://example.com/", "http://www.example.com/"),
    "path case": ("http://example.com/a", "http://example.com/A"),
    "trailing slash": ("http://example.com/a", "http://example.com/a/"),
    "doubled slash": ("http://example.com/a/b", "http://example.com/a//b"),
    "query order": ("http://example.com/?a=1&b=2", "http://example.com/?b=2&a=1"),
    "query case": ("http://example.com/?a=x", "http://example.com/?a=X"),
    "query there or not": ("http://example.com/a", "http://example.com/a?b"),
    "plus and space": ("http://example.com/?a+b", "http://example.com/?a%20b"),
    "port": ("http://example.com/", "http://example.com:8080/"),
    "encoded slash": ("http://example.com/a/b", "http://example.com/a%2Fb"),
    "encoded question mark": ("http://example.com/a?b", "http://example.com/a%3Fb"),
    "twice encoded": ("http://example.com/A", "http://example.com/%2541"),
    "parent domain": ("http://example.com/", "http://a.example.com/"),
    "path below": ("http://example.com/a", "http://example.com/a/b"),
    "index page": ("http://example.com/", "http://example.com/index.html"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_may_name_another_resource_stays_different(what):
    """No rule merges URLs that a server may answer differently."""
    one, other = DIFFERENT[what]
    assert urls.canonicalise(one) != urls.canonicalise(other)
    assert urls.keyed_digest(one, KEY) != urls.keyed_digest(other, KEY)


@pytest.mark.parametrize(
    ("reason", "url"),
    [
        ("not_a_url", ""),
        ("not_a_url", "example.com/a"),
        ("not_a_url", "/a/b"),
        ("not_a_url", "//example.com/a"),
        ("not_a_url", "http://"),
        ("not_a_url", "http://./"),
        ("not_a_url", "http://exa mple.com/"),
        ("not_a_url", "http://example.com:99999/"),
        ("not_a_url", "http://[::1/"),
        ("not_a_url", "http://1.2.3.256/"),
        ("not_a_url", "http://a<b.example/"),
        ("not_a_url", "http://a%2fb.example/"),
        ("not_a_url", "http://example.com/\ud800"),
        ("not_http", "ftp://example.com/a"),
        ("not_http", "file:///etc/hosts"),
        ("not_http", "javascript:alert(1)"),
        ("not_http", "data:text/plain,a"),
        ("not_http", "mailto:a@example.com"),
        ("not_http", "example.com:80/a"),
    ],
)
def test_what_is_no_web_address_is_refused(reason, url):
    """Everything but an http or https URL has a reason, which holds nothing of the text."""
    for call in (lambda: urls.canonicalise(url), lambda: urls.keyed_digest(url, KEY)):
        with pytest.raises(UrlError) as refused:
            call()
        assert refused.value.reason == str(refused.value) == reason


def test_the_length_limit_is_inclusive_and_counts_bytes():
    """A URL of exactly the limit is taken; one byte more, in ASCII or UTF-8, is too long."""
    longest = "http://example.com/" + "a" * (limits.MAX_URL_BYTES - 19)
    assert urls.canonicalise(longest) == longest
    for url in (longest + "a", longest[:-1] + "é"):
        with pytest.raises(UrlError, match=r"^too_long$"):
            urls.canonicalise(url)


# --- properties -------------------------------------------------------------------------------

label = st.text("abcxyzABC019-_éüß", min_size=1, max_size=8)
host = st.one_of(
    st.lists(label, min_size=1, max_size=3).map(".".join),
    st.integers(0, 2**32 - 1).map(lambda n: f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"),
    st.integers(0, 2**64 - 1).map(lambda n: f"[2001:db8::{n >> 48:x}:{n & 65_535:x}]"),
)
piece = st.one_of(
    st.text("abcAZ09-._~!$&'()*+,;=:@ /\\|^`{}\"<>[]é漢", max_size=6),
    st.sampled_from(
        ["%41", "%7e", "%2F", "%2f", "%25", "%", "%4", "%zz", "%2e", "%c3%A9", "..", "."]
    ),
)
pieces = st.lists(piece, max_size=6).map("".join)
addresses = st.builds(
    "{}://{}{}{}{}{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP", "hTTps"]),
    st.sampled_from(["", "", "user@", "user:pw@"]),
    host,
    st.sampled_from(["", ".", ".."]),
    st.sampled_from(["", ":80", ":443", ":8080"]),
    pieces.map("/{}".format),
    st.one_of(st.just(""), pieces.map("?{}".format)),
    st.one_of(st.just(""), pieces.map("#{}".format)),
)


@settings(SEEDED, max_examples=500)
@given(addresses)
def test_canonicalising_twice_changes_nothing(url):
    """The canonical form of a canonical form is itself: lists may hold either."""
    try:
        once = urls.canonicalise(url)
    except UrlError:
        return
    assert urls.canonicalise(once) == once


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/%%36%31",
        "http://example.com/%4%31",
        "http://example.com/%%32e%%32e/a",
        "http://example.com/?%%34%31",
        "http://example.com../a",
        "http://example.com...:8080/a",
        "http://../",
        "http://1.2.3.4../",
    ],
)
def test_canonicalising_twice_changes_nothing_in_the_hard_cases(url):
    """Decoding must not make a new encoding, nor one dropped dot leave another."""
    try:
        once = urls.canonicalise(url)
    except UrlError:
        return  # refused for good is as stable
    assert urls.canonicalise(once) == once


@settings(SEEDED, max_examples=300)
@given(addresses)
@example("http://example.com/")
def test_a_canonical_url_has_nothing_left_to_normalise(url):
    """It is printable ASCII with a lower-case scheme, no user, no fragment, no default port."""
    try:
        canonical = urls.canonicalise(url)
    except UrlError:
        return
    scheme, _, rest = canonical.partition("://")
    authority, _, _ = rest.partition("/")
    assert canonical.isascii()
    assert canonical.isprintable()
    assert " " not in canonical
    assert "#" not in canonical
    assert scheme in ("http", "https")
    assert "@" not in authority
    assert not authority.endswith({"http": ":80", "https": ":443"}[scheme])
    assert authority == authority.lower()


@settings(SEEDED, max_examples=300)
@given(st.text(max_size=60))
@example("http://example.com/\ud800")
def test_any_text_has_a_canonical_form_or_a_reason(text):
    """Whatever is posted as a URL, nothing but a `UrlError` with a known reason comes out."""
    reason = None
    try:
        urls.canonicalise(text)
    except UrlError as error:
        reason = error.reason
    assert reason in (None, "too_long", "not_a_url", "not_http")


@settings(SEEDED, max_examples=100)
@given(st.lists(st.text("abcxyz019-_éü", min_size=1, max_size=8), min_size=1, max_size=3), pieces)
def test_any_spelling_of_scheme_host_and_fragment_is_one_url(labels, path):
    """Case of scheme and host, the default port, a user and a fragment never matter."""
    name = ".".join(labels)
    try:
        plain = urls.canonicalise(f"http://{name}/{path}")
    except UrlError:
        return
    assert urls.canonicalise(f"HTTP://someone:secret@{name.upper()}:80/{path}#part") == plain


# --- digests ----------------------------------------------------------------------------------


def test_the_digest_is_hmac_sha_256_of_the_canonical_form():
    """RFC 2104 written out by hand gives the same 32 bytes."""
    canonical = b"http://example.com/a?b=1"
    inner_pad = bytes(k ^ 0x36 for k in KEY.ljust(64, b"\0"))
    outer_pad = bytes(k ^ 0x5C for k in KEY.ljust(64, b"\0"))
    inner = hashlib.sha256(inner_pad + canonical).digest()
    by_hand = hashlib.sha256(outer_pad + inner).digest()
    assert urls.keyed_digest("HTTP://user@EXAMPLE.com:80/%61?b=1#c", KEY) == by_hand
    assert by_hand == hmac.new(KEY, canonical, "sha256").digest()


def test_the_digest_depends_on_the_key():
    """Two sets with keys of their own have nothing in common."""
    url = "http://example.com/"
    assert urls.keyed_digest(url, KEY) != urls.keyed_digest(url, OTHER_KEY)
    assert urls.keyed_digest(url, KEY) == urls.keyed_digest(url, KEY)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length):
    """A short or long key is a mistake of the caller, named with its length."""
    with pytest.raises(ValueError, match=rf"32 bytes, not {length}$"):
        urls.keyed_digest("http://example.com/", bytes(length))


def test_the_rule_set_has_a_name():
    """Sets state the rules they were made with; this version knows one."""
    assert urls.RULES == "sluis-url-1"
