"""The key of the hash ledger: KEYS/provider/ledger.key, made when it is first needed.

Everything in a ledger is sealed under it, so that its files alone tell nobody more than how much
was scanned on which day; and destroying it erases the ledger in every copy of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline import key_files
from pipeline.errors import KeysRefused

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
TOKEN_BYTES: Final = 16

_NAME: Final = "ledger.key"


class LedgerKey:
    """The secret and what is derived from it."""

    def __init__(self, secret: bytes) -> None:
        """Derive from 32 random bytes."""
        self._secret = secret
        self._token_key = self._derived(b"", b"tokens")
        self.key_id = self._derived(b"", b"name")[:KEY_ID_BYTES]

    def item_token(self, item_id: str) -> bytes:
        """Names an item, to whoever has the key."""
        return self._token(b"item", item_id.encode())

    def content_token(self, sha256: bytes) -> bytes:
        """Names an item's bytes, to whoever has the key."""
        return self._token(b"content", sha256)

    def of_segment(self, salt: bytes) -> bytes:
        """The AES-256 key of one segment alone, whose records may therefore be numbered from 0."""
        return self._derived(salt, b"segment")

    def _token(self, label: bytes, value: bytes) -> bytes:
        return hmac.digest(self._token_key, label + b"\0" + value, hashlib.sha256)[:TOKEN_BYTES]

    def _derived(self, salt: bytes, purpose: bytes) -> bytes:
        """HKDF-SHA256 (RFC 5869)."""
        return HKDF(SHA256(), KEY_BYTES, salt or None, b"sluis ledger " + purpose).derive(
            self._secret
        )


def read_key(provider: Path) -> LedgerKey:
    """The key in the provider's key folder.

    Raises:
        KeysRefused: missing, damaged, or readable by others.
    """
    path = provider / _NAME
    if not path.exists():
        raise KeysRefused(
            f"{path} does not exist: no scan of this key folder has kept a ledger, or its key was "
            "destroyed, and the ledger with it"
        )
    return LedgerKey(key_files.secret(path, KEY_BYTES))


def read_or_make_key(provider: Path) -> LedgerKey:
    """The same; the key is made if there is none.

    Raises:
        KeysRefused: damaged, or readable by others.
    """
    path = provider / _NAME
    if not path.exists():
        key_files.check_trusted(provider / "token.key")  # a provider's folder, and no other party's
        with contextlib.suppress(FileExistsError):  # another scan was quicker
            key_files.write(path, secrets.token_hex(KEY_BYTES).encode())
    key_files.sync_folder(provider)  # nothing is sealed with what may yet be lost
    return read_key(provider)
