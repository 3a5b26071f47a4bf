"""Epoch keys: one for each order and epoch, made when it is first needed, destroyed for good.

    KEYS/provider/epochs/ORDER_ID/
        0-v1.key           K_e of epoch 0, key version 1
        0-v1.receipt.json  in its place once it is destroyed: the provider's signed receipt
        versions.json      the epoch that each later key version begins with

Keys are random and independent: none can be computed from another, so destroying one erases every
hit of its epoch that is still shut, in every copy of every database. No key changes within an
epoch: two hits under two keys would never meet.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from matchers.files import write_json
from pipeline import key_files, signed, vouchers
from pipeline.errors import ItemError, KeysRefused
from pipeline.vouchers import Epochs

RECEIPT: Final = "key-destruction-receipt"
FIRST_VERSION: Final = 1

_HOW: Final = "overwritten with random bytes, synchronised, unlinked"


class EpochKeyDestroyed(ItemError):  # noqa: N818 - reads as the outcome it is
    """The hit's epoch is over and its key destroyed: nothing of it can be sealed any more."""

    def __init__(self) -> None:
        super().__init__("seal", "epoch_key_destroyed")


class OutsideOrder(ItemError):  # noqa: N818
    """The hit's day is not in the order's period."""

    def __init__(self) -> None:
        super().__init__("seal", "outside_order_period")


@dataclass(frozen=True)
class EpochKey:
    """One key, without its secret.

    Attributes:
        epoch: of the order.
        version: of the key.
        first_day: of the epoch, days since 1970.
        last_day: of the epoch.
        is_destroyed: whether a receipt stands in its place.
    """

    epoch: int
    version: int
    first_day: int
    last_day: int
    is_destroyed: bool


class EpochKeys:
    """The epoch keys of one order, in the provider's key folder."""

    def __init__(self, provider: Path, order_id: bytes, epochs: Epochs) -> None:
        """Name the order; nothing is read yet.

        Raises:
            KeysRefused: the folder is of a version with one key for every order.
        """
        old = provider / "epoch.key"
        if old.exists():
            raise KeysRefused(
                f"{old} is of an earlier version, where one key served every order. To go on with "
                f"it under this order: move it to {provider}/epochs/{order_id.hex()}/0-v1.key "
                "(folders with mode 700). Or delete it: then candidates that were sent before "
                "count as new"
            )
        self._folder = provider / "epochs" / order_id.hex()
        self._order_id = order_id
        self._epochs = epochs
        self._used: dict[int, tuple[int, bytes]] = {}

    def epoch(self, day: int) -> int:
        """The epoch of a hit's day.

        Raises:
            OutsideOrder: there is none.
        """
        epoch = self._epochs.epoch(day)
        if epoch is None:
            raise OutsideOrder
        return epoch

    def key(self, epoch: int) -> tuple[int, bytes]:
        """Version and key of an epoch; the key is made if it is the first time.

        Raises:
            EpochKeyDestroyed: it was destroyed.
            KeysRefused: damaged, or readable by others.
        """
        version, known = self._used.get(epoch) or (self._version(epoch), b"")
        path = self._path(epoch, version)
        if _receipt(path).exists():  # asked each time; and a restored backup revives nothing
            self._used.pop(epoch, None)
            raise EpochKeyDestroyed
        if not known:
            if not path.exists():
                self._make(path)
            # Also where another process has made it: nothing is sealed with what may yet be lost.
            key_files.sync_folder(path.parent)
            known = key_files.secret(path, vouchers.EPOCH_KEY_BYTES)
            if _receipt(path).exists():  # destroyed since: then this one was made behind it
                _erase(path)
                raise EpochKeyDestroyed
            self._used[epoch] = version, known
        return version, known

    def all(self) -> list[EpochKey]:
        """Every key that was ever made here, by epoch."""
        found = []
        for path in self._folder.glob("*-v*.*"):
            name = path.name.partition(".")[0]
            epoch, _, version = name.partition("-v")
            if not (epoch.isdigit() and version.isdigit()):
                continue
            found.append(
                EpochKey(
                    int(epoch),
                    int(version),
                    *self._epochs.days(int(epoch)),
                    is_destroyed=(self._folder / f"{name}.receipt.json").exists(),
                )
            )
        return sorted(set(found), key=lambda one: (one.epoch, one.version))

    def scheduled(self) -> list[tuple[int, int]]:
        """(key version, first epoch) of those that no key was made of yet.

        Raises:
            KeysRefused: the file that says so is damaged.
        """
        made = {one.version for one in self.all()}
        return [
            (version, first)
            for version, first in sorted(self._versions().items())
            if version not in made and version != FIRST_VERSION
        ]

    def rotate(self, today: int) -> tuple[int, int]:
        """Begin a new key version with the next epoch.

        Args:
            today: days since 1970.

        Returns:
            The version and the epoch it begins with.

        Raises:
            KeysRefused: there is no next epoch, or its key is already in use.
        """
        current = self._epochs.epoch(max(today, self._epochs.first_day))
        following = None if current is None else current + 1
        if (
            following is None
            or not self._epochs.epoch_days
            or self._epochs.days(following)[0] > self._epochs.last_day
        ):
            raise KeysRefused(
                "a key changes only where an epoch ends, and no epoch follows in this order: give "
                "the order epoch_days, or wait for the next order"
            )
        if any(one.epoch >= following for one in self.all()):
            raise KeysRefused(f"epoch {following} already has a key: nothing is to be rotated")
        versions = self._versions()
        version = max(versions) + 1
        self._prepare()
        write_json(
            self._folder / "versions.json",
            {str(number): first for number, first in (versions | {version: following}).items()},
        )
        return version, following

    def destroy(
        self, epoch: int, now: dt.datetime, signer: Ed25519PrivateKey, *, even_if_current: bool
    ) -> Path:
        """Destroy an epoch's key for good; the same again finishes what was interrupted.

        Args:
            epoch: of the order.
            now: the time of the receipt.
            signer: the provider's receipt key.
            even_if_current: also before the epoch has ended.

        Returns:
            The receipt's file.

        Raises:
            KeysRefused: there is no such key, or its epoch goes on.
        """
        version = self._version(epoch)
        path = self._path(epoch, version)
        receipt = _receipt(path)
        first, last = self._epochs.days(epoch)
        if not path.exists() and not receipt.exists():
            raise KeysRefused(
                f"epoch {epoch} has no key here: `sluis keys list` shows those it has"
            )
        if vouchers.day_number(now.date()) <= last and not even_if_current:
            raise KeysRefused(
                f"epoch {epoch} goes on until {vouchers.day(last)}: without its key no hit of it "
                "can be sealed any more. Say --even-if-current if that is meant"
            )
        if not receipt.exists():
            secret = key_files.secret(path, vouchers.EPOCH_KEY_BYTES)
            facts: dict[str, str | int] = {
                "order_id": self._order_id.hex(),
                "epoch": epoch,
                "key_version": version,
                "key_id": hashlib.sha256(secret).hexdigest()[:16],
                "first_day": str(vouchers.day(first)),
                "last_day": str(vouchers.day(last)),
                "destroyed_at": now.isoformat(timespec="seconds"),
                "how": _HOW,
            }
            # First the receipt: from here on nothing is sealed and no new key is made.
            write_json(receipt, signed.sign(RECEIPT, facts, signer))
        _erase(path)
        return receipt

    def _version(self, epoch: int) -> int:
        return max(v for v, first in self._versions().items() if first <= epoch)

    def _versions(self) -> dict[int, int]:
        """Key version -> the first epoch it is for."""
        path = self._folder / "versions.json"
        try:
            stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            later = {int(version): int(first) for version, first in stored.items()}
        except FileNotFoundError:
            later = {}
        except (OSError, ValueError, AttributeError) as error:
            raise KeysRefused(f"{path} is damaged: restore it from a backup") from error
        return {FIRST_VERSION: 0} | later

    def _path(self, epoch: int, version: int) -> Path:
        return self._folder / f"{epoch}-v{version}.key"

    def _prepare(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for above in (self._folder.parent, self._folder.parent.parent):
            key_files.sync_folder(above)

    def _make(self, path: Path) -> None:
        """Put a new key in its place whole, unless another process was first."""
        self._prepare()
        unfinished = path.with_name(f".{secrets.token_hex(8)}.key")
        key_files.write(unfinished, secrets.token_hex(vouchers.EPOCH_KEY_BYTES).encode())
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
        unfinished.unlink()


def _receipt(path: Path) -> Path:
    return path.with_suffix(".receipt.json")


def _erase(path: Path) -> None:
    """Overwrite and unlink. Copies are the holder's own to destroy: see docs/verification.md."""
    with contextlib.suppress(FileNotFoundError):
        with open(path, "r+b") as file:
            file.write(os.urandom(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    key_files.sync_folder(path.parent)
