"""A set on disk -> a set in memory, ready to be asked: every check comes before any use."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from matchers.digests import DigestIndex
from matchers.errors import (
    IndexFormatError,
    IndicatorSetError,
    RollbackRefused,
    SetAltered,
    SetExpired,
)
from matchers.files import write_json
from matchers.hamming import BackendName, HammingIndex
from matchers.indicators import manifest as on_disk
from matchers.indicators.manifest import Manifest
from matchers.vpdq import Videos


@dataclass(frozen=True)
class IndicatorSet:
    """A verified set.

    Attributes:
        manifest: what it is.
        indicator_ids: name of each row.
        effective: first day of each row, see `manifest.EFFECTIVE`.
        perceptual: its radius index, for a pdq or vpdq set.
        exact: its digest index, for every other set.
        clusters: cluster of each row, for a set of kind new.
        videos: which rows are frames of one video, for a vpdq set.
    """

    manifest: Manifest
    indicator_ids: pa.StringArray
    effective: pa.Date32Array
    perceptual: HammingIndex | None
    exact: DigestIndex | None
    clusters: pa.StringArray | None = None
    videos: Videos | None = None

    def cluster(self, row: int) -> str:
        """The cluster of a row's indicator; outside sets of kind new each is its own."""
        names = self.indicator_ids if self.clusters is None else self.clusters
        name: str = names[row].as_py()
        return name

    def effective_day(self, row: int) -> dt.date:
        """The first day on which a row's indicator could be hit, in any version of the set."""
        day: dt.date = self.effective[row].as_py()
        return day

    @property
    def url_key(self) -> bytes:
        """The key of a url set's digests."""
        return base64.b64decode(self.manifest.url_key)


def load(
    folder: Path | str,
    trusted: Sequence[Ed25519PublicKey],
    *,
    today: dt.date,
    index_folder: Path | None = None,
    backend: BackendName = "auto",
) -> IndicatorSet:
    """Verify a set and make it ready for lookup.

    Args:
        folder: the set.
        trusted: public keys of the EU Centre.
        today: the day on which it is to be used.
        index_folder: where built radius indexes are kept, named after the data they were built
            from, so that every worker of a machine maps the same file. None: built in memory.
        backend: of the radius index, as for `HammingIndex.build`.

    Raises:
        IndicatorSetError: one of its kinds: unsigned, altered, expired, not yet in force.
    """
    folder = Path(folder)
    manifest = on_disk.read(folder, trusted)
    _check_period(folder, manifest, today)
    table = on_disk.read_data(folder, manifest)
    values = _matrix(table["value"], on_disk.VALUE_BYTES[manifest.algorithm])
    ids = table["indicator_id"].combine_chunks()
    days = table["effective"].combine_chunks()
    clusters = table["cluster"].combine_chunks() if manifest.kind == "new" else None
    if manifest.algorithm in on_disk.PERCEPTUAL:
        index = _radius_index(values, manifest, index_folder, backend)
        videos = Videos.named(ids) if manifest.algorithm == "vpdq" else None
        return IndicatorSet(manifest, ids, days, index, None, clusters, videos)
    return IndicatorSet(manifest, ids, days, None, DigestIndex(values), clusters)


class VersionLedger:
    """The highest version of each set ever used here; an older one is refused (no rollback).

    A file in the provider's own protected state folder, shared by all runs of a machine.
    """

    def __init__(self, path: Path) -> None:
        """Keep the ledger at `path`; it need not exist yet."""
        self._path = path

    def accept(self, manifests: Sequence[Manifest]) -> None:
        """Refuse a rollback, else record these versions.

        Raises:
            RollbackRefused: an older version than already used.
            SetAltered: the same version with other contents.
            IndicatorSetError: a later version that does not carry on the one used before.
        """
        with self._locked():
            used = self._used()
            for manifest in manifests:
                version, sha256 = used.get(manifest.set_id, (0, ""))
                if manifest.version < version:
                    raise RollbackRefused(
                        f"indicator set {manifest.set_id!r}: version {manifest.version} is older "
                        f"than version {version}, which was already used here; get the current "
                        "version from the EU Centre"
                    )
                if manifest.version == version and manifest.sha256 != sha256:
                    raise SetAltered(
                        f"indicator set {manifest.set_id!r}: version {manifest.version} was used "
                        "here before with other contents; a change needs a new version"
                    )
                if 0 < version < manifest.version and sha256 not in manifest.lineage:
                    raise IndicatorSetError(
                        f"indicator set {manifest.set_id!r}: version {manifest.version} does not "
                        f"carry on version {version}, which was used here: its clusters may be "
                        "others, and one picture could count as two hits. Ask the EU Centre for a "
                        "version built from that one"
                    )
                used[manifest.set_id] = (manifest.version, manifest.sha256)
            write_json(
                self._path,
                {
                    name: {"version": version, "sha256": sha256}
                    for name, (version, sha256) in used.items()
                },
            )

    def _used(self) -> dict[str, tuple[int, str]]:
        """Set id -> version and digest; a damaged file stops everything."""
        try:
            used = json.loads(self._path.read_text())
            return {
                str(name): (int(entry["version"]), str(entry["sha256"]))
                for name, entry in used.items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise IndicatorSetError(
                f"{self._path} is damaged: restore it from a backup; without it rollbacks cannot "
                "be refused"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self._path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _check_period(folder: Path, manifest: Manifest, today: dt.date) -> None:
    if today > manifest.not_after:
        raise SetExpired(
            f"{folder}: set {manifest.set_id!r} version {manifest.version} expired after "
            f"{manifest.not_after}; destroy it and get the current one from the EU Centre"
        )
    if today < manifest.effective:
        raise SetExpired(
            f"{folder}: set {manifest.set_id!r} version {manifest.version} is not in force before "
            f"{manifest.effective}"
        )


def _matrix(column: pa.ChunkedArray, length: int) -> npt.NDArray[np.uint8]:
    """Fixed-size binary -> uint8 [n, length], without a copy where Arrow holds one chunk."""
    array = column.combine_chunks()
    flat = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * length :]
    return flat[: len(array) * length].reshape(len(array), length)


def _radius_index(
    values: npt.NDArray[np.uint8],
    manifest: Manifest,
    index_folder: Path | None,
    backend: BackendName,
) -> HammingIndex:
    if index_folder is None:
        return HammingIndex.build(values, backend)
    place = index_folder / (manifest.data_sha256 + ("-faiss" if backend == "faiss" else ""))
    with contextlib.suppress(IndexFormatError):
        kept = HammingIndex.open(place)
        if kept.holds(values):  # the signature covers the values, not the index
            return kept
    index = HammingIndex.build(values, backend)
    # Damaged, of an older format or of other codes. Whoever has it open keeps what it has mapped.
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(FileExistsError):
        index.save(place)
    return index
