"""The channel between the pool and a child: a pair of sockets that nobody else has.

to the child      length of what is wanted (4), length of the item (8), what is wanted; and,
                  beside the bytes, a descriptor of the item's sealed memory
from the child    kind (1), length (4), and as many bytes
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Final

READY: Final = b"R"
ANSWER: Final = b"A"
OUT_OF_MEMORY: Final = b"M"
DEFECT: Final = b"D"

_ITEM: Final = struct.Struct("<IQ")
_HEAD: Final = struct.Struct("<cI")


class Malformed(Exception):  # noqa: N818 - reads as the outcome it is
    """No child that is in order says so."""


def send_item(channel: socket.socket, wanted: bytes, descriptor: int, length: int) -> None:
    """Show the child an item."""
    socket.send_fds(channel, [_ITEM.pack(len(wanted), length) + wanted], [descriptor])


def receive_item(channel: socket.socket) -> tuple[bytes, int, int] | None:
    """What is wanted, the item's descriptor and its length; None when the parent is gone."""
    head, descriptors, _, _ = socket.recv_fds(channel, _ITEM.size, 1)
    if not head:
        return None
    wanted_length, length = _ITEM.unpack(head)
    return bytes(_exactly(channel, wanted_length)), descriptors[0], length


def send(channel: socket.socket, kind: bytes, body: bytes = b"") -> None:
    """Answer."""
    channel.sendall(_HEAD.pack(kind, len(body)) + body)


def receive(channel: socket.socket, most: int, until: float) -> tuple[bytes, bytearray]:
    """An answer's kind and body.

    Args:
        channel: the parent's end.
        most: longest body, in bytes.
        until: when to give up, on the monotonic clock.

    Raises:
        Malformed: it is longer than `most`.
        ConnectionError: the child is gone.
        TimeoutError: it is not there in time.
    """
    kind, length = _HEAD.unpack(_exactly(channel, _HEAD.size, until))
    if length > most:
        raise Malformed("too long")
    return kind, _exactly(channel, length, until)


def _exactly(channel: socket.socket, length: int, until: float | None = None) -> bytearray:
    body = bytearray(length)
    rest = memoryview(body)
    while rest:
        if until is not None:
            channel.settimeout(max(until - time.monotonic(), 1e-3))
        received = channel.recv_into(rest)
        if received == 0:
            raise ConnectionResetError
        rest = rest[received:]
    return body
