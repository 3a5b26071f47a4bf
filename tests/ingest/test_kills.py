"""Real processes, killed by kill -9 while uploads arrive: nothing is lost, nothing counted twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import streams
from support import world as worlds
from support.streams import picture, upload

LISTED = ("cat", "coffee", "pagoda")
OTHER = ("fig", "heron", "dogs")


class Process:
    """A `sluis` command that is killed and started again."""

    def __init__(self, *arguments: object) -> None:
        self._command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it anew."""
        self.running = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self, how: signal.Signals) -> int:
        """Send a signal; what it ends with."""
        assert self.running is not None
        assert self.running.poll() is None, "it has ended by itself"
        self.running.send_signal(how)
        return self.running.wait(60)


@contextmanager
def killed_at_last(*processes: Process) -> Iterator[None]:
    """Whatever happens, nothing stays behind."""
    try:
        yield
    finally:
        for process in processes:
            if process.running is not None and process.running.poll() is None:
                process.running.kill()
                process.running.wait()


def batch_begun(log: Path, since: int) -> bool:
    """Whether the scan has begun a batch after a point in time."""
    note = log / "accounts" / "attempt.json"
    return note.exists() and note.stat().st_mtime_ns > since


@pytest.fixture
def processes(world: worlds.World, tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """Verification and the scan, not started yet."""
    order = tmp_path / "order.yaml"
    streams.write_order(order, worlds.order_values())
    address = f"127.0.0.1:{streams.free_port()}"
    verification = Process(
        "verification", "serve", "--order", order, "--listen", address,
        "--store", tmp_path / "verification.sqlite3", "--keys", world.keys / "verification",
    )  # fmt: skip
    scan = Process(
        "ingest", "scan", "--order", order, "--indicators", world.sets["known"],
        "--verification", address, "--log", tmp_path / "log", "--keys", world.keys / "provider",
        "--state-dir", tmp_path / "state", "--metrics", "none", "--batch-rows", 8,
    )  # fmt: skip
    with killed_at_last(verification, scan):
        yield verification, scan


def test_scan_and_verification_killed_at_random_lose_nothing_and_count_nothing_twice(
    world, processes, tmp_path
):
    """Under load, again and again; then a graceful stop; then the rest."""
    verification, scan = processes
    listed = [upload(f"{n}-{name}", picture(name, 50 + n)) for n in range(20) for name in LISTED]
    other = [upload(f"{n}-{name}", picture(name, 50 + n)) for n in range(20) for name in OTHER]
    broken = [upload(f"broken-{n}", b"no picture") for n in range(20)]
    items = listed + other + broken
    choose = random.Random(6)
    choose.shuffle(items)
    enough = threading.Event()

    def uploads(writer) -> None:
        for first in range(0, len(items), 4):
            writer.append(streams.rows(items[first : first + 4]))
            enough.wait(0.4)  # once the killing is over the rest comes at once

    with streams.log(tmp_path / "log") as writer:
        uploader = threading.Thread(target=uploads, args=[writer])
        uploader.start()
        verification.start()
        for victim in (scan, verification, scan):
            since = time.time_ns()
            if scan.running is None or scan.running.poll() is not None:
                scan.start()
            deadline = time.monotonic() + 60
            while not batch_begun(tmp_path / "log", since) and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(choose.random() * 0.3)
            victim.end(signal.SIGKILL)
            victim.start()
        enough.set()
        uploader.join()
        since = time.time_ns()
        deadline = time.monotonic() + 60
        while not batch_begun(tmp_path / "log", since) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert scan.end(signal.SIGTERM) == 0, "a graceful stop"
    streams.drained(
        streams.settings(world, tmp_path, scan._command[scan._command.index("--verification") + 1])
    )

    tally = streams.counted(tmp_path / "log")
    assert (tally.rows, tally.clear, tally.candidate) == (140, 60, 60)
    assert dict(tally.failed) == {"decode: unrecognised_format": 20}
    failed = sorted(item for item, _, _ in streams.failures(tmp_path / "log"))
    assert failed == sorted(one["item_id"] for one in broken)
    address = scan._command[scan._command.index("--verification") + 1]
    assert set(streams.candidates(world, address)) == {one["item_id"] for one in listed}
