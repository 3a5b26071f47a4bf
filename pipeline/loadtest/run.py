"""A load test from beginning to result: contents, warm-up, saturation if asked, the trial."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from matchers.indicators import load
from matchers.scanner import Scanner
from pipeline import keys
from pipeline.errors import LoadTestFailed, LoadTestRefused
from pipeline.loadtest import mixture, pictures, saturation, trial, world
from pipeline.loadtest.candidates import Watch
from pipeline.loadtest.drive import PATIENCE_SECONDS, Driver
from pipeline.loadtest.measure import Measured
from pipeline.loadtest.mixture import Contents
from pipeline.loadtest.saturation import Bare, Saturation
from pipeline.loadtest.trial import Progress
from pipeline.loadtest.world import Services

_WARM_UP_SECONDS, _WARM_UP_RATE = 5.0, 10.0
"""Before anything is measured: decoders are started, caches filled."""
_WARM_UP_PATIENCE_SECONDS: Final = 600.0  # a fresh checkout compiles its kernels first
_HALF: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked for.

    Attributes:
        rate: uploads a second, on average.
        seconds: how long.
        burst: how many times the rate for one second in ten.
        seed: of everything that is drawn.
        find_saturation: find the saturation rate first, and drive at half of it, without bursts.
        photos: a folder of photographs to upload; None: pictures are generated.
        threads: of the scan that is started for it, and of the bare loop.
    """

    rate: float
    seconds: float
    burst: float
    seed: int
    find_saturation: bool
    photos: Path | None
    threads: int


@dataclass(frozen=True)
class Result:
    """All that a report says.

    Attributes:
        began: when the load test began.
        machine: what it ran on, and how busy that was before.
        is_self_contained: whether the services were its own.
        earlier_faults: of the trials that found the saturation rate.
    """

    settings: Settings
    began: dt.datetime
    machine: Mapping[str, str]
    is_self_contained: bool
    saturation: Saturation | None
    measured: Measured
    earlier_faults: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """Of every trial that was made."""
        return [*self.earlier_faults, *self.measured.faults()]


def self_contained(settings: Settings, folder: Path, progress: Progress) -> Result:
    """Make a world in a folder, drive it, stop it.

    Args:
        settings: what is asked for.
        folder: an empty one.
        progress: told what happens.

    Raises:
        LoadTestRefused: the photographs are too few.
        LoadTestFailed: a service does not start, or stops.
    """
    machine = _machine()
    progress("making pictures")
    drawn_from = _contents(settings, None)
    progress("starting verification, front door and scan")
    with world.own(folder, drawn_from.indicators, settings.threads) as services:
        return _drive(settings, services, drawn_from, machine, progress)


def against(settings: Settings, services: Services, planted: Path, progress: Progress) -> Result:
    """Drive services that run.

    Args:
        settings: what is asked for.
        services: where they are.
        planted: folder of the pictures that their indicator set was built from.
        progress: told what happens.

    Raises:
        LoadTestRefused: no picture is planted, or the photographs are too few.
        LoadTestFailed: a service does not answer.
    """
    machine = _machine()
    progress("making pictures")
    drawn_from = _contents(settings, _planted(planted))
    return _drive(settings, services, drawn_from, machine, progress)


def _drive(
    settings: Settings,
    services: Services,
    drawn_from: Contents,
    machine: Mapping[str, str],
    progress: Progress,
) -> Result:
    began = dt.datetime.now(dt.UTC)
    trials = 0
    faults: list[str] = []
    with contextlib.ExitStack() as held:
        driver = Driver(services.door, services.keys / "uploader")
        held.callback(driver.close)
        watch = None
        if services.verification is not None:
            watch = Watch(services.verification, services.keys)
            held.callback(watch.close)

        def one(
            rate: float, seconds: float, burst: float, patience_seconds: float = PATIENCE_SECONDS
        ) -> Measured:
            nonlocal trials
            trials += 1
            plan = mixture.plan(
                drawn_from,
                seed=(settings.seed, trials),
                prefix=f"{began:%Y%m%dT%H%M%S}-{trials}",
                rate=rate,
                seconds=seconds,
                burst=burst,
            )
            return trial.run(
                services,
                driver,
                watch,
                plan,
                rate=rate,
                burst=burst,
                progress=progress,
                patience_seconds=patience_seconds,
            )

        progress("warming up")
        warm = one(_WARM_UP_RATE, _WARM_UP_SECONDS, 1.0, _WARM_UP_PATIENCE_SECONDS)
        if warm.losses.lost:
            raise LoadTestFailed(
                "the scan did not even finish the first uploads: see what it says, and that its "
                "order and indicator set are those that were given here"
            )
        rate, burst, found = settings.rate, settings.burst, None
        if settings.find_saturation:
            bare = _bare(settings, services, drawn_from, progress)

            def step(rate: float, seconds: float, burst: float) -> Measured:
                progress(f"trying {rate:,.1f} uploads/s")
                tried = one(rate, seconds, burst)
                faults.extend(f"at {rate:,.1f} uploads/s: {fault}" for fault in tried.faults())
                return tried

            found = saturation.find(step, settings.rate, bare)
            if not found.rate:
                raise LoadTestRefused(
                    "not even the lowest rate was kept up with: see that nothing else is busy on "
                    "this machine, or give a lower --rate"
                )
            rate, burst = _HALF * found.rate, 1.0
        progress(f"driving {rate:,.1f} uploads/s for {settings.seconds:,.0f} seconds")
        measured = one(rate, settings.seconds, burst)
    is_own = services.indicator_set is not None
    return Result(settings, began, machine, is_own, found, measured, tuple(faults))


def _bare(
    settings: Settings, services: Services, drawn_from: Contents, progress: Progress
) -> Callable[[], Bare] | None:
    """Measures the bare loop with the set of our own services; others' cannot be read here."""
    if services.indicator_set is None:
        return None
    trusted = keys.trusted_centre_keys(services.keys / "provider")
    found = load(services.indicator_set, trusted, today=dt.datetime.now(dt.UTC).date())
    plan = mixture.plan(drawn_from, seed=(settings.seed, 0), prefix="bare", rate=50.0, seconds=10.0)
    scanner = Scanner([found])

    def measure() -> Bare:
        progress("measuring the bare scanner loop")
        return saturation.bare_loop(scanner, plan, settings.threads)

    return measure


def _contents(settings: Settings, planted: dict[str, Image.Image] | None) -> Contents:
    source = (
        pictures.generated(settings.seed, mixture.PICTURES)
        if settings.photos is None
        else pictures.photographs(settings.photos, mixture.PICTURES)
    )
    return mixture.contents(source, settings.seed, planted)


def _planted(folder: Path) -> dict[str, Image.Image]:
    """The first pictures of a folder, by name."""
    found: dict[str, Image.Image] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[: pictures.PLANTED]:
        try:
            with Image.open(path) as image:
                found[str(path.relative_to(folder))] = image.convert("RGB")
        except OSError as error:
            raise LoadTestRefused(f"{path} is no picture that can be read: remove it") from error
    if not found:
        raise LoadTestRefused(
            f"{folder} holds no picture: give the folder that the indicator set was built from"
        )
    return found


def _machine() -> dict[str, str]:
    """What it runs on; how busy it was before."""
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "load before": ", ".join(f"{value:.2f}" for value in os.getloadavg()),
    }
