"""The child: gives up all it can, then examines one item after the other until the parent is gone.

Started by `pool` as `python -m pipeline.sandbox.child CHANNEL PARENT CONTENT MEMORY PIXELS`: the
number of its end of the channel, the parent's process id, the bytes of the largest item, and its
`limits.Room`.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import socket
import sys
import time

from pipeline.sandbox import channel, confine, limits


def main(number: int, parent: int, content_bytes: int, memory_bytes: int, pixels: int) -> None:
    """Confine this process, then serve until the channel is closed."""
    network = confine.before_imports(parent)

    # Not before there is no network: these load every decoder.
    from matchers import images
    from pipeline.sandbox import warm_up

    images.held_pixels.allow(pixels)
    with socket.socket(fileno=number) as parent_end:
        warm_up.decoders()
        confine.give_up(parent, memory_bytes, content_bytes)
        _say_nothing_more()
        system_calls = confine.filter_system_calls()
        given_up = {"system_calls": system_calls, "network": network}
        channel.send(parent_end, channel.READY, json.dumps(given_up).encode())
        while _serve_one(parent_end):
            pass


def _serve_one(parent_end: socket.socket) -> bool:
    """Examine one item; False when there is none any more.

    What is not a `MemoryError` ends the process: it is a defect, and the item is counted as
    crashed.
    """
    from matchers import patience
    from matchers.examine import examine
    from pipeline.sandbox import wire

    item = channel.receive_item(parent_end)
    if item is None:
        return False
    encoded, descriptor, length = item
    confine.allow_cpu(limits.cpu_seconds(length))
    enough = time.process_time() + limits.enough_seconds(length)
    patience.allow(lambda: time.process_time() > enough)
    content = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ)
    os.close(descriptor)
    wanted = wire.decode_wanted(encoded)
    try:
        answer = wire.encode(examine(memoryview(content), wanted), wanted)
    except MemoryError:
        channel.send(parent_end, channel.OUT_OF_MEMORY)
        return False
    _let_go(content)
    channel.send(parent_end, channel.ANSWER, answer)
    return True


def _let_go(content: mmap.mmap) -> None:
    try:
        content.close()
    except BufferError:  # a decoder's error still holds on to it, in a cycle
        gc.collect()
        content.close()


def _say_nothing_more() -> None:
    """Decoders write what they find in a file to standard error; nobody is to read it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
