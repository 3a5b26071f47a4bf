"""How a service says when to try again, and how a client hears it (google.rpc.RetryInfo)."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

_DETAILS: Final = "grpc-status-details-bin"  # grpc_status sets it too, but not on asyncio servers


async def later(context: Any, code: grpc.StatusCode, message: str, seconds: float) -> NoReturn:
    """End a call with a status that says when to try again."""
    status = status_pb2.Status(code=code.value[0], message=message)
    delay = Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    await context.abort(code, message, ((_DETAILS, status.SerializeToString()),))
    raise AssertionError  # abort has raised


def delay_seconds(error: grpc.RpcError) -> float | None:
    """When the service asks to be tried again; None if it does not say."""
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds() / 1e9)
    return None
