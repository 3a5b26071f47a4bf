"""The vault over gRPC: a verdict in, an identity into the report desk's folder, one word back."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import grpc

from pipeline import identity as identities
from pipeline import keys, order, vouchers
from pipeline.rpc.server import HEALTH_CHECK, run
from pipeline.rpc.sluis.vault.v1 import (
    reidentification_service_pb2,
    reidentification_service_pb2_grpc,
)
from pipeline.rpc.sluis.verification.v1 import verdict_pb2
from pipeline.rpc.tls import peer_name
from pipeline.rpc.upkeep import Upkeep
from pipeline.vault.opening import Trust, check, identify
from pipeline.vault.register import Act, Register, RegisterRefused
from pipeline.verdicts import Refusal, VerdictRefused

ALLOWED: Final = {
    "/sluis.vault.v1.ReidentificationService/Reidentify": frozenset({"report_desk"}),
    HEALTH_CHECK: frozenset({"report_desk"}),
}
"""Who may call what; everything else is denied."""

_MESSAGE_BYTES: Final = 64 * 1024  # a verdict has less than 8 KiB
_SWEEP_SECONDS: Final = 6 * 3600
_REFUSALS: Final = {
    name.removeprefix("REFUSAL_").lower(): value
    for name, value in reidentification_service_pb2.Refusal.items()
}


class Vault:
    """Opens identities for confirmed verdicts, one at a time, and enters every act."""

    def __init__(
        self,
        trust: Trust,
        token_key: bytes,
        register: Register,
        desk_folder: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Hold verdicts against `trust`; write identities to `desk_folder`."""
        self._trust = trust
        self._token_key = token_key
        self._register = register
        self._desk_folder = desk_folder
        self._clock = clock
        self._lock = threading.Lock()

    def reidentify(
        self, message: verdict_pb2.Verdict, caller: str
    ) -> reidentification_service_pb2.ReidentifyResponse:
        """Hand over who is behind a confirmed verdict; say only what became of it."""
        with self._lock:
            now = dt.datetime.fromtimestamp(int(self._clock()), dt.UTC)
            try:
                verdict = check(message, self._trust, now)
            except VerdictRefused as refused:
                return self._refuse(message, caller, b"", refused)
            digest = verdict.digest
            if self._register.handed_over(verdict.subject.candidate_id) == digest:
                self._enter(Act.REPEATED, message, caller, digest)
                return reidentification_service_pb2.ReidentifyResponse(
                    outcome=reidentification_service_pb2.REIDENTIFY_OUTCOME_REPEATED
                )
            if self._register.opening(verdict.subject.candidate_id) not in {None, digest}:
                second = VerdictRefused(Refusal.SECOND_VERDICT)
                return self._refuse(message, caller, digest, second)
            self._enter(Act.OPENING, message, caller, digest)
            try:
                identity = identify(verdict, self._token_key, now)
            except VerdictRefused as refused:
                return self._refuse(message, caller, digest, refused)
            # After a crash between these two lines, the same verdict again writes the same file
            # again, and another one is refused: the register holds the opening.
            identities.write(self._desk_folder, identity)
            self._enter(Act.HANDED_OVER, message, caller, digest)
            return reidentification_service_pb2.ReidentifyResponse(
                outcome=reidentification_service_pb2.REIDENTIFY_OUTCOME_HANDED_OVER
            )

    def sweep(self) -> int:
        """Delete the identities whose retention is over, each entered first; say how many."""
        with self._lock:
            now = int(self._clock())
            today = dt.datetime.fromtimestamp(now, dt.UTC).date()
            for path in self._desk_folder.glob("*.unfinished"):  # of a vault that was killed
                path.unlink()
            over = identities.expired(self._desk_folder, today)
            for path, identity in over:
                self._register.append(
                    Act.DELETED,
                    done_at=now,
                    caller="",
                    candidate_id=bytes.fromhex(identity.candidate_id),
                    order_id=bytes.fromhex(identity.order_id),
                    verdict_digest=bytes.fromhex(identity.verdict_digest),
                )
                path.unlink(missing_ok=True)
            return len(over)

    def _refuse(
        self, message: verdict_pb2.Verdict, caller: str, digest: bytes, refused: VerdictRefused
    ) -> reidentification_service_pb2.ReidentifyResponse:
        self._enter(Act.REFUSED, message, caller, digest, refused.refusal.value)
        return reidentification_service_pb2.ReidentifyResponse(
            outcome=reidentification_service_pb2.REIDENTIFY_OUTCOME_REFUSED,
            refusal=_REFUSALS[refused.refusal.value],
        )

    def _enter(
        self,
        act: Act,
        message: verdict_pb2.Verdict,
        caller: str,
        digest: bytes,
        refusal: str = "",
    ) -> None:
        self._register.append(
            act,
            done_at=int(self._clock()),
            caller=caller,
            # An unchecked message may hold anything here: only an id's length of it is kept.
            candidate_id=message.candidate_id[: vouchers.CANDIDATE_ID_BYTES],
            order_id=message.context.order_id[:16],
            verdict_digest=digest,
            refusal=refusal,
        )


class ReidentificationService(reidentification_service_pb2_grpc.ReidentificationServiceServicer):
    """The vault's only method."""

    def __init__(self, vault: Vault) -> None:
        """Serve `vault`."""
        self._vault = vault

    async def Reidentify(  # noqa: N802 - gRPC's name
        self, request: reidentification_service_pb2.ReidentifyRequest, context: Any
    ) -> reidentification_service_pb2.ReidentifyResponse:
        """Hand over, repeat or refuse."""
        try:
            return await asyncio.to_thread(
                self._vault.reidentify, request.verdict, peer_name(context)
            )
        except (OSError, sqlite3.Error):
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the vault cannot write (disk full?): ask again"
            )
            raise


async def serve(
    *,
    address: str,
    key_folder: Path,
    orders: Sequence[order.Order],
    desk_folder: Path,
    register_path: Path,
    ready: Callable[[int], None],
    stop: Callable[[], Coroutine[Any, Any, None]],
    clock: Callable[[], float] = time.time,
) -> None:
    """Serve until `stop` returns, then finish the calls under way.

    Args:
        address: host:port to listen on; port 0 takes a free one.
        key_folder: the vault's keys.
        orders: the orders whose verdicts are acted upon.
        desk_folder: where identities are written for the report desk; made if absent.
        register_path: the register's file.
        ready: called with the port once it serves.
        stop: awaited.
        clock: seconds since 1970.

    Raises:
        KeysRefused, RegisterRefused: as their loaders say; also if others can read `desk_folder`,
            or another vault writes there.
        CannotListen: the address is taken.
    """
    credentials = keys.identity(key_folder).server_credentials()
    signers = keys.signers(key_folder)
    trust = Trust(
        signers.verdict_key,
        signers.reviewers,
        {
            vouchers.order_id(one.reference): vouchers.release_policy(
                one.group_hits_by, one.epoch_days
            ).policy_id
            for one in orders
        },
    )
    identities.prepare(desk_folder)
    register = Register(register_path)
    sweeping = None
    held = None
    try:
        register.lock()
        held = _lock_folder(desk_folder)
        vault = Vault(trust, keys.token_key(key_folder), register, desk_folder, clock)
        await asyncio.to_thread(vault.sweep)
        sweeps = Upkeep("the sweep", vault.sweep, _SWEEP_SECONDS)
        sweeping = asyncio.create_task(sweeps.run(first_now=False))

        def add(server: grpc.aio.Server) -> None:
            reidentification_service_pb2_grpc.add_ReidentificationServiceServicer_to_server(
                ReidentificationService(vault), server
            )

        async def is_healthy() -> bool:
            return sweeps.is_well

        await run(
            add,
            address=address,
            credentials=credentials,
            allowed=ALLOWED,
            most_message_bytes=_MESSAGE_BYTES,
            ready=ready,
            stop=stop,
            is_healthy=is_healthy,
        )
    finally:
        if sweeping is not None:
            sweeping.cancel()
        if held is not None:
            os.close(held)
        register.close()


def _lock_folder(folder: Path) -> int:
    """Make this the folder's only vault until the descriptor is closed.

    A second one, with a register of its own, would not know what was handed over here.
    """
    held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise RegisterRefused(
            f"{folder} is in use by another vault: stop that one, or name another folder"
        ) from None
    return held
