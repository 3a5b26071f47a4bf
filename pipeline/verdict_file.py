"""Verdicts in a file of the provider's: one JSON object a line, signed by service and reviewers.

The report desk appends what it fetches and goes on from the last line; the scan reads the
rejections out of it. A line that was altered does not hold its signatures and is refused; one may
be taken out, which ends what it stands for (docs/review.md).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from pipeline import key_files
from pipeline.errors import SluisError
from pipeline.identity import RETENTION_DAYS
from pipeline.rpc import verdicts as wire
from pipeline.rpc.candidates import Malformed
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, verdict_pb2
from pipeline.verdicts import CONFIRMED, REJECTED, Signers, Verdict, VerdictRefused, check
from pipeline.vouchers import PAIR_ID_BYTES, Context


class VerdictFileRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """A file of verdicts that cannot be used."""

    exit_status = 2


def read(path: Path, signers: Signers) -> list[Verdict]:
    """Every verdict of a file, in its order.

    Args:
        path: the file.
        signers: the verification service's key, and the reviewers'.

    Raises:
        VerdictFileRefused: absent, damaged, or a line is not signed by verification and reviewers.
    """
    try:
        whole = _without_torn_end(path.read_bytes())
        lines = whole.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VerdictFileRefused(
            f"{path} cannot be read: `sluis verdicts fetch` makes it"
        ) from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            message = json_format.Parse(line, verdict_pb2.Verdict())
            verdict = wire.from_message(message)
            check(verdict, signers)
        except (json_format.ParseError, Malformed, VerdictRefused, RecursionError):
            raise VerdictFileRefused(
                f"{path}, line {number} is damaged, or not signed by this verification service and "
                "its reviewers: fetch the file anew, and check that verdict.pub and "
                "reviewers/*.pub are theirs"
            ) from None
        found.append(verdict)
    return found


def append(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Add verdicts to a file, which only its owner may read; durable when this returns.

    What a crash has left of a last line is cut off first. Hold `locked` meanwhile.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        whole = _without_torn_end(file.read())
        file.seek(len(whole))
        file.truncate()
        if whole and not whole.endswith(b"\n"):  # by an editor: the line itself is whole
            file.write(b"\n")
        for verdict in verdicts:
            line = json_format.MessageToJson(wire.to_message(verdict), indent=None)
            file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sweep(path: Path, signers: Signers, now: dt.datetime) -> int:
    """Take the payloads of verdicts past their retention out of a file; say of how many.

    The verdicts themselves stay, and their signatures hold. Hold `locked` meanwhile.

    Raises:
        VerdictFileRefused: as `read`.
    """
    verdicts = read(path, signers)
    kept = [_swept(verdict, now) for verdict in verdicts]
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    append(unfinished, kept)
    os.replace(unfinished, path)
    key_files.sync_folder(path.absolute().parent)
    return sum(bool(verdict.payload) for verdict in verdicts) - sum(bool(v.payload) for v in kept)


def _swept(verdict: Verdict, now: dt.datetime) -> Verdict:
    age = now - dt.datetime.fromtimestamp(verdict.decided_at, dt.UTC)
    return replace(verdict, payload=b"") if age.days > RETENTION_DAYS else verdict


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one who adds to a file.

    Raises:
        VerdictFileRefused: another does.
    """
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VerdictFileRefused(
                f"{path} is in use by another `sluis verdicts`: wait for it, or stop it"
            ) from None
        yield
    finally:
        os.close(lock)


def _without_torn_end(data: bytes) -> bytes:
    """Without a last line that has neither an end nor sense: a crash has torn it off.

    It was never announced, so nothing has been done on it, and the next fetch brings it again.
    """
    end = data.rfind(b"\n") + 1
    try:
        if data[end:]:
            json.loads(data[end:])
    except (ValueError, RecursionError):
        return data[:end]
    return data


def rejected_pairs(
    paths: Iterable[Path],
    signers: Signers,
    order_id: bytes,
    pair_id: Callable[[Context, bytes, bytes], bytes],
) -> frozenset[bytes]:
    """The pairs of indicator and content that people have rejected under an order.

    A pair that a confirmed verdict names is none of them, whatever else was said of it.

    Args:
        paths: files of verdicts.
        signers: as for `read`.
        order_id: of the order.
        pair_id: the key service's: the pair that a token names in a candidate.

    Raises:
        VerdictFileRefused: as `read`.
    """
    pairs: dict[str, set[bytes]] = {CONFIRMED: set(), REJECTED: set()}
    for path in paths:
        for verdict in read(path, signers):
            about = verdict.subject
            if about.context.order_id == order_id:
                pairs[verdict.value] |= {
                    pair_id(about.context, about.candidate_id, token)
                    for token in _pair_tokens(verdict)
                }
    return frozenset(pairs[REJECTED] - pairs[CONFIRMED])


def _pair_tokens(verdict: Verdict) -> list[bytes]:
    """As the decisions name the pair, or the opened payload."""
    tokens = [decision.pair_id for decision in verdict.decisions]
    if verdict.payload:
        with contextlib.suppress(DecodeError):  # then the vault refuses it
            tokens.append(candidate_pb2.CandidatePayload.FromString(verdict.payload).pair_id)
    return [token for token in tokens if len(token) == PAIR_ID_BYTES]
