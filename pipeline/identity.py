"""Who is behind a candidate: the one file in which a name and a candidate meet.

Only the vault writes it, after a confirmed verdict, and only the report desk reads it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import stat
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pipeline.errors import KeysRefused, SluisError

FORMAT: Final = "sluis-identity/1"
RETENTION_DAYS: Final = 365
"""How long a name is kept beside a candidate: twelve months, the longest the proposal allows
(Article 22)."""

_Hex16 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class IdentityRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """An identity file that cannot be used."""


class Identity(BaseModel):
    """Who is behind a candidate, and on which verdict the vault said so.

    Attributes:
        format: always `FORMAT`.
        candidate_id: 32 hex digits.
        order_id: 32 hex digits.
        item_id: the provider's name of the item.
        account_id: the provider's name of its account; None if it has none.
        verdict_sequence: of the verdict, in its order.
        verdict_digest: SHA-256 of the verdict's signed bytes, as in the vault's register.
        handed_over_at: when the vault wrote this.
        purpose: what it may be used for.
        delete_after: the last day it is kept; then the vault deletes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["sluis-identity/1"] = FORMAT
    candidate_id: _Hex16
    order_id: _Hex16
    item_id: str
    account_id: str | None
    verdict_sequence: int
    verdict_digest: _Hex32
    handed_over_at: dt.datetime
    purpose: Literal["report of a confirmed candidate"] = "report of a confirmed candidate"
    delete_after: dt.date


def write(folder: Path, identity: Identity) -> None:
    """Write FOLDER/CANDIDATE.json: whole or not at all, readable by its owner alone.

    Where the folder is handed to a group (`prepare`), the group may read it too.
    """
    final = _path(folder, identity.candidate_id)
    unfinished = final.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if _is_for_a_group(folder):
            os.fchmod(file.fileno(), 0o640)
        file.write(identity.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, final)
    entry = os.open(folder, os.O_RDONLY)  # the new name itself must outlive a power cut
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def prepare(folder: Path) -> None:
    """Make the folder; refuse one that is open to more than its owner and, with mode 2750, a group.

    That bit hands every new file to the folder's group: the vault and the report desk can be two
    users of the machine, of whom the desk only reads.

    Raises:
        KeysRefused: it is open to others, or the group may write.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077 and not _is_for_a_group(folder):
        raise KeysRefused(
            f"{folder} is open to others: chmod 700 {folder}; or, for a report desk that is "
            f"another user: chgrp GROUP {folder} && chmod 2750 {folder}"
        )


def _is_for_a_group(folder: Path) -> bool:
    return stat.S_IMODE(folder.stat().st_mode) & 0o2077 == 0o2050


def read(folder: Path, candidate_id: str) -> Identity | None:
    """The identity that the vault has written for a candidate; None if it has not.

    Raises:
        IdentityRefused: the file is damaged, or is another candidate's.
    """
    path = _path(folder, candidate_id)
    try:
        identity = Identity.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise IdentityRefused(
            f"{path} is damaged: have the vault write it again (docs/review.md)"
        ) from None
    if identity.candidate_id != candidate_id:
        raise IdentityRefused(f"{path} is about another candidate: it was renamed; look into it")
    return identity


def expired(folder: Path, today: dt.date) -> list[tuple[Path, Identity]]:
    """The identities whose last day is over; files that are none are left alone."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(ValidationError, FileNotFoundError):
            identity = Identity.model_validate_json(path.read_bytes())
            if identity.delete_after < today:
                found.append((path, identity))
    return found


def _path(folder: Path, candidate_id: str) -> Path:
    return folder / f"{candidate_id}.json"
