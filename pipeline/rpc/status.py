"""gRPC status -> this project's errors, once for every client."""

from __future__ import annotations

import grpc

from pipeline.errors import VerificationRefused, VerificationUnreachable


def wrapped(
    error: grpc.RpcError, address: str, party: str = "verification"
) -> VerificationUnreachable | VerificationRefused:
    """The error to raise for a failed call to a party's service at `address`."""
    code = error.code()
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return VerificationUnreachable(
            f"{party} at {address} cannot be reached ({code.name.lower()}): check that it "
            "runs, the address, and that both sides' certificates come from the same authority "
            "and are in date; the service's has to be that of the party meant"
        )
    return VerificationRefused(
        f"{party} at {address} said no ({code.name.lower()}): {error.details()}"
    )
