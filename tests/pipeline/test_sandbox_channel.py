"""The channel to a child: what is longer than an answer can be is refused before it is read."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from pipeline.sandbox import channel

MOST = 100
SOON_SECONDS = 5


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The parent's end and the child's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_an_answer_of_the_greatest_length_is_read(ends: tuple[socket.socket, socket.socket]):
    """To its last byte."""
    ours, theirs = ends
    channel.send(theirs, channel.ANSWER, bytes(MOST))
    assert channel.receive(ours, MOST, time.monotonic() + SOON_SECONDS) == (b"A", bytes(MOST))


@pytest.mark.parametrize("length", [MOST + 1, 2**32 - 1])
def test_a_longer_answer_is_malformed_at_its_head(
    ends: tuple[socket.socket, socket.socket], length: int
):
    """Nothing is allocated for it, and nothing of it is waited for."""
    ours, theirs = ends
    theirs.sendall(struct.pack("<cI", channel.ANSWER, length))
    with pytest.raises(channel.Malformed):
        channel.receive(ours, MOST, time.monotonic() + SOON_SECONDS)


def test_an_answer_that_stops_is_given_up_in_time(ends: tuple[socket.socket, socket.socket]):
    """Whatever it has said so far."""
    ours, theirs = ends
    theirs.sendall(struct.pack("<cI", channel.ANSWER, MOST) + bytes(MOST - 1))
    with pytest.raises(TimeoutError):
        channel.receive(ours, MOST, time.monotonic() + 0.05)


def test_a_child_that_goes_in_the_middle_is_gone(ends: tuple[socket.socket, socket.socket]):
    """Half an answer is none."""
    ours, theirs = ends
    theirs.sendall(struct.pack("<cI", channel.ANSWER, MOST))
    theirs.close()
    with pytest.raises(ConnectionError):
        channel.receive(ours, MOST, time.monotonic() + SOON_SECONDS)
