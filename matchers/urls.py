"""URL -> canonical form -> keyed digest. Exact match only: no domain, prefix or fuzzy match.

The rule set is versioned: a URL indicator set states the version it was made with, and no other
is used on it. `sluis-url-1`:

1. parse as the WHATWG URL standard says (https://url.spec.whatwg.org): lower-case scheme and host,
   IDNA, default port dropped, dot segments resolved, control characters and spaces removed or
   encoded as a browser would;
2. only http and https, which are kept apart;
3. user name and password dropped (they name a person, not a resource);
4. fragment dropped (never sent to a server, RFC 9110 section 7.1), and an empty query's mark;
5. the host's trailing dot dropped (the same name in DNS); two dots in a row are no name;
6. percent-encodings normalised: unreserved characters decoded, hex digits in upper case
   (RFC 3986 section 6.2.2), a percent sign that starts no encoding encoded itself.

Query, path case, `www.` and trailing slashes are kept: changing them can name another resource.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

import ada_url

from matchers import limits
from matchers.errors import UrlError

RULES: Final = "sluis-url-1"
"""The one rule set of this version."""

KEY_BYTES: Final = 32

_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_PERCENT: Final = re.compile(r"%([0-9A-Fa-f]{2})?")


def canonicalise(url: str) -> str:
    """Bring a URL into the canonical form of `RULES`.

    Raises:
        UrlError: reason `too_long`, `not_a_url` or `not_http`.
    """
    if len(url.encode("utf-8", "surrogatepass")) > limits.MAX_URL_BYTES:
        raise UrlError("too_long")
    try:
        parsed = ada_url.URL(url)
    except (ValueError, UnicodeError):
        raise UrlError("not_a_url") from None
    if parsed.protocol not in ("http:", "https:"):
        raise UrlError("not_http")
    host = parsed.host  # with any port that is not the default one
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, ""
    name = name.removesuffix(".")
    if not name or name.endswith(".") or ".." in name:
        raise UrlError("not_a_url")
    authority = f"{name}:{port}" if port else name
    return (
        f"{parsed.protocol}//{authority}"
        f"{_normalise_percent(parsed.pathname)}{_normalise_percent(parsed.search)}"
    )


def keyed_digest(url: str, key: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) of the canonical URL under the set's key: 32 bytes.

    The key keeps digests of different sets apart and makes ready-made tables useless.

    Raises:
        UrlError: as `canonicalise`.
        ValueError: if the key is not `KEY_BYTES` long.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a URL set's key has {KEY_BYTES} bytes, not {len(key)}")
    return hmac.digest(key, canonicalise(url).encode(), hashlib.sha256)


def _normalise_percent(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "%25"
        byte = int(match.group(1), 16)
        return chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"

    return _PERCENT.sub(one, text)
