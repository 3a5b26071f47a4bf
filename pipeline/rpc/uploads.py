"""Uploads as messages and as rows of a manifest: the one place that knows both."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Final

from matchers import limits
from pipeline.items import MAX_ID_BYTES
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages

MOST_CONTENT_BYTES: Final = limits.MAX_ENCODED_BYTES
"""Largest content sent by itself: no more is read of a still image either."""
MOST_URI_BYTES: Final = 4096  # Linux's longest path, and more than any store's
MOST_URL_BYTES: Final = 65_536
"""Browsers stop far below; what is longer than the scan takes ends there as failed."""

_KINDS: Final = {
    None: messages.KIND_UNSPECIFIED,
    "image": messages.KIND_IMAGE,
    "video": messages.KIND_VIDEO,
    "container": messages.KIND_CONTAINER,
    "url": messages.KIND_URL,
    "other": messages.KIND_OTHER,
}
_ENCRYPTIONS: Final = {
    "unknown": messages.ENCRYPTION_UNSPECIFIED,
    "none": messages.ENCRYPTION_NONE,
    "e2ee": messages.ENCRYPTION_END_TO_END,
}
_ACCOUNT_CLASSES: Final = {
    "unknown": messages.ACCOUNT_CLASS_UNSPECIFIED,
    "ordinary": messages.ACCOUNT_CLASS_ORDINARY,
    "state": messages.ACCOUNT_CLASS_STATE,
}
_CONSENTS: Final = {
    "unknown": messages.CONSENT_UNSPECIFIED,
    "given": messages.CONSENT_GIVEN,
    "refused": messages.CONSENT_REFUSED,
}
_KIND_NAMES: Final = {number: name for name, number in _KINDS.items()}
_ENCRYPTION_NAMES: Final = {number: name for name, number in _ENCRYPTIONS.items()}
_ACCOUNT_CLASS_NAMES: Final = {number: name for name, number in _ACCOUNT_CLASSES.items()}
_CONSENT_NAMES: Final = {number: name for name, number in _CONSENTS.items()}

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # RFC 3986 section 3.1


class Malformed(ValueError):  # noqa: N818 - reads as the outcome it is
    """An upload that cannot be accounted for; names its field."""


class TooManyBytes(ValueError):  # noqa: N818
    """More content than is taken."""


def to_message(row: Mapping[str, Any], content: bytes | None) -> messages.Upload:
    """A manifest's row as it goes over the wire; with `content` its `uri` stays at home."""
    upload = messages.Upload(
        item_id=row["item_id"],
        account_id=row["account_id"] or "",
        kind=_KINDS[row["kind"]],
        part=row["part"] or "",
        encryption=_ENCRYPTIONS[row["encryption"] or "unknown"],
        account_class=_ACCOUNT_CLASSES[row["account_class"] or "unknown"],
        consent=_CONSENTS[row["consent"] or "unknown"],
        user_notified=row["user_notice"] == "yes",
    )
    if row["uploaded_at"] is not None:
        upload.uploaded_at.FromDatetime(row["uploaded_at"])
    if row["url"] is not None:
        upload.url = row["url"]
    elif content is not None:
        upload.content = content
    else:
        upload.uri = row["uri"]
    return upload


def to_row(upload: messages.Upload) -> dict[str, Any]:
    """An upload as a row: the columns of `ITEMS`, and `content`.

    Raises:
        Malformed: naming the field.
        TooManyBytes: its content is too long.
    """
    _check_text("item_id", upload.item_id, MAX_ID_BYTES, needed=True)
    _check_text("account_id", upload.account_id, MAX_ID_BYTES)
    _check_text("part", upload.part, MAX_ID_BYTES)
    body = upload.WhichOneof("body")
    if body is None or (body == "url") != (upload.kind == messages.KIND_URL):
        raise Malformed("url" if upload.kind == messages.KIND_URL else body or "content")
    _check_text("url", upload.url, MOST_URL_BYTES, needed=body == "url")
    _check_text("uri", upload.uri, MOST_URI_BYTES, needed=body == "uri")
    if body == "uri" and not (upload.uri.startswith("/") or _SCHEME.match(upload.uri)):
        raise Malformed("uri")  # relative to nothing
    if len(upload.content) > MOST_CONTENT_BYTES:
        raise TooManyBytes
    return {
        "item_id": upload.item_id,
        "account_id": upload.account_id or None,
        "kind": _name("kind", _KIND_NAMES, upload.kind),
        "uri": upload.uri or None,
        "url": upload.url or None,
        "part": upload.part or None,
        "uploaded_at": _uploaded_at(upload),
        "encryption": _name("encryption", _ENCRYPTION_NAMES, upload.encryption),
        "account_class": _name("account_class", _ACCOUNT_CLASS_NAMES, upload.account_class),
        "consent": _name("consent", _CONSENT_NAMES, upload.consent),
        "user_notice": "yes" if upload.user_notified else None,
        "content": upload.content if body == "content" else None,
    }


def _check_text(field: str, text: str, most_bytes: int, *, needed: bool = False) -> None:
    if (needed and not text) or len(text.encode()) > most_bytes or _CONTROL.search(text):
        raise Malformed(field)


def _name(field: str, names: Mapping[Any, str | None], number: int) -> str | None:
    if number not in names:
        raise Malformed(field)
    return names[number]


def _uploaded_at(upload: messages.Upload) -> dt.datetime | None:
    if not upload.HasField("uploaded_at"):
        return None
    try:
        return upload.uploaded_at.ToDatetime(dt.UTC)
    except (ValueError, OverflowError):
        raise Malformed("uploaded_at") from None
