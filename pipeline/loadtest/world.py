"""The services that a load test drives: its own, made for it and stopped after it, or running ones.

Its own are what an operator would start: three real processes on free ports, with keys, an order
and a signed set of the planted pictures in one folder.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from matchers import limits
from matchers.indicators import Manifest
from matchers.indicators import build as building
from matchers.indicators import manifest as on_disk
from pipeline import keys, order
from pipeline.errors import LoadTestFailed
from pipeline.ingest import status

PART: Final = "public-gallery"
SET: Final = "loadtest"
_REFERENCE: Final = "LOADTEST-0001"
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 120.0  # the first start of a checkout compiles the kernels
_STOP_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where everything is.

    Attributes:
        door: host:port of the front door.
        door_metrics, scan_metrics: host:port of what they show Prometheus.
        verification: host:port, where candidates can be looked at; None: they are only counted.
        keys: every party's key folder; only the uploader's is needed without `verification`.
        part: of the service, that the order covers.
        log: folder of the upload log, where this process can look into it.
        indicator_set: the signed set; None where it is not ours.
        process_ids: by name, of processes on this machine; none where they are not ours.
    """

    door: str
    door_metrics: str
    scan_metrics: str
    verification: str | None
    keys: Path
    part: str
    log: Path | None
    indicator_set: Path | None
    process_ids: Mapping[str, int]


@contextmanager
def own(folder: Path, indicators: Mapping[str, bytes], threads: int) -> Iterator[Services]:
    """Services of our own, for as long as the block runs.

    Args:
        folder: an empty one; keys, order, set, log and store are made in it.
        indicators: name -> file of each picture that the set shall hold.
        threads: of the scan.

    Raises:
        LoadTestFailed: one of them does not start, or does not stop as it should.
    """
    key_folder = folder / "keys"
    keys.make(key_folder, hosts=["localhost", _HOST], reviewers=2, now=dt.datetime.now(dt.UTC))
    order_file = folder / "order.yaml"
    order_file.write_text(yaml.safe_dump(_order_values()), encoding="utf-8")
    indicator_set = _sign_set(folder, indicators, key_folder)
    log = folder / "log"
    running = _Running(folder)
    try:
        verification = running.start(
            "verification",
            ["verification", "serve", "--order", order_file, "--listen", f"{_HOST}:0",
             "--store", folder / "verification.sqlite3", "--keys", key_folder / "verification"],
        )  # fmt: skip
        door_metrics, scan_metrics = (f"{_HOST}:{_free_port()}" for _ in range(2))
        door = running.start(
            "front door",
            ["ingest", "serve", "--order", order_file, "--indicators", indicator_set, "--log", log,
             "--listen", f"{_HOST}:0", "--keys", key_folder / "ingest", "--metrics", door_metrics],
        )  # fmt: skip
        running.start(
            "scan",
            ["ingest", "scan", "--order", order_file, "--indicators", indicator_set, "--log", log,
             "--verification", verification, "--keys", key_folder / "provider",
             "--state-dir", folder / "state", "--metrics", scan_metrics, "--threads", threads],
            serves=False,
        )  # fmt: skip
        running.wait_for_metrics("scan", scan_metrics)
        yield Services(
            door=door,
            door_metrics=door_metrics,
            scan_metrics=scan_metrics,
            verification=verification,
            keys=key_folder,
            part=PART,
            log=log,
            indicator_set=indicator_set,
            process_ids=running.process_ids,
        )
        running.stop()
    finally:
        running.kill()


class _Running:
    """The processes, in the order they were started; each writes FOLDER/NAME.log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[str]] = {}

    @property
    def process_ids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._processes.items()}

    def start(self, name: str, arguments: list[Any], *, serves: bool = True) -> str:
        """Start `sluis …`; the address it says it serves on, if it does."""
        with open(self._log(name), "wb") as errors:
            # In a session of its own: Ctrl-C is for the load test, which then stops them in turn.
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        self._processes[name] = process
        if process.stdout is None:
            raise AssertionError
        line = process.stdout.readline() if serves else ""
        if serves and "serves on" not in line:
            process.wait(_STOP_SECONDS)
            raise LoadTestFailed(f"{name} did not start: {self._last_words(name)}")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        return line.split()[-1] if serves else ""

    def wait_for_metrics(self, name: str, address: str) -> None:
        """Until it shows any."""
        deadline = time.monotonic() + _START_SECONDS
        while status.scrape(address) is None:
            if self._processes[name].poll() is not None or time.monotonic() > deadline:
                raise LoadTestFailed(f"{name} did not start: {self._last_words(name)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """As an operator does: whoever takes uploads first.

        Raises:
            LoadTestFailed: one had ended before, or ends with another status than 0.
        """
        for name in ("front door", "scan", "verification"):
            process = self._processes[name]
            ended = process.poll()
            process.send_signal(signal.SIGTERM)
            if ended is not None or process.wait(_STOP_SECONDS) != 0:
                raise LoadTestFailed(
                    f"{name} ended with status {process.returncode}: {self._last_words(name)}"
                )

    def kill(self) -> None:
        """Whatever still runs."""
        for process in self._processes.values():
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # the scan's decoders too
            process.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name.replace(' ', '-')}.log"

    def _last_words(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def _order_values() -> dict[str, Any]:
    """The example order, for this set and these days."""
    today = dt.datetime.now(dt.UTC).date()
    values: dict[str, Any] = yaml.safe_load(order.example())
    values["service"]["parts"] = [PART]
    return values | {
        "reference": _REFERENCE,
        "kinds": ["known"],
        "media": ["image", "video"],
        "indicator_sets": [SET],
        "valid_from": today - dt.timedelta(days=1),
        "valid_until": today + dt.timedelta(days=30),
    }


def _sign_set(folder: Path, indicators: Mapping[str, bytes], key_folder: Path) -> Path:
    pictures = folder / "planted"
    pictures.mkdir()
    for name, data in indicators.items():
        (pictures / f"{name}.png").write_bytes(data)
    data, left = building.from_images(pictures, limits.PDQ_MIN_QUALITY)
    if left:
        raise LoadTestFailed(f"a planted picture is no indicator: {left[0].reason}")
    today = dt.datetime.now(dt.UTC).date()
    manifest = Manifest(
        set_id=SET,
        kind="known",
        version=1,
        algorithm="pdq",
        radius_bits=limits.PDQ_RADIUS_BITS,
        min_quality=limits.PDQ_MIN_QUALITY,
        profile="standard",
        effective=today - dt.timedelta(days=1),
        not_after=today + dt.timedelta(days=30),
        order_ids=(_REFERENCE,),
        provenance="generated for a load test",
    )
    signed = folder / "set"
    on_disk.write(
        signed,
        manifest,
        building.as_version(data, manifest, None),
        keys.signing_key(key_folder / "centre" / "signing.key"),
    )
    return signed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
