"""`sluis loadtest`: how much the upload side takes, how quickly, and whether anything is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pipeline.cli.common import check_address, err, out

if TYPE_CHECKING:
    from pipeline.loadtest.run import Result

_SEED = 20_261_124


def loadtest(
    rate: Annotated[float, typer.Option(min=0.1, help="Uploads a second, on average.")] = 20.0,
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 30.0,
    burst: Annotated[
        float,
        typer.Option(min=1, max=10, help="How many times the rate for one second in ten."),
    ] = 2.0,
    find_saturation: Annotated[
        bool,
        typer.Option(
            "--find-saturation",
            help="First raise the rate until the log grows; then drive at half of that, without "
            "bursts, instead of at --rate.",
        ),
    ] = False,
    flat_memory: Annotated[
        bool,
        typer.Option(
            "--flat-memory", help="End with a fault if a service's memory grows; for long runs."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of pictures, mixture and times.")] = _SEED,
    photos: Annotated[
        Optional[Path],
        typer.Option(
            help="Upload photographs of this folder. [default: generated pictures]",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Gets loadtest.html and loadtest.json.")
    ] = Path("loadtest-output"),
    threads: Annotated[
        int,
        typer.Option(
            min=1, help="Of the scan that is started, as its own option.", show_default="one a core"
        ),
    ] = os.cpu_count() or 1,
    keep: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FOLDER",
            help="Make keys, order, set, log and store in this new folder and leave them there. "
            "[default: a temporary one]",
            show_default=False,
        ),
    ] = None,
    door: Annotated[
        Optional[str],
        typer.Option(
            metavar="HOST:PORT",
            help="Drive this front door, with --keys and --planted. [default: start services for "
            "it, and stop them]",
            show_default=False,
        ),
    ] = None,
    keys: Annotated[
        Path,
        typer.Option("--keys", help="With --door: the folder of all parties' keys, of a trial."),
    ] = Path("keys"),
    planted: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FOLDER",
            help="With --door: the pictures that its indicator set was built from.",
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        str, typer.Option(help="With --door: part of the service that its order covers.")
    ] = "public-gallery",
    log: Annotated[
        Optional[Path],
        typer.Option(
            help="With --door, on its machine: the upload log's folder, to check accounts too.",
            show_default=False,
        ),
    ] = None,
    verification: Annotated[
        Optional[str],
        typer.Option(
            metavar="HOST:PORT",
            help="With --door: look for candidates here, for recall and exact times.",
            show_default=False,
        ),
    ] = None,
    door_metrics: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="With --door: the front door's metrics.")
    ] = "127.0.0.1:9745",
    scan_metrics: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="With --door: the streaming scan's metrics.")
    ] = "127.0.0.1:9746",
) -> None:
    """Drive the front door with made-up uploads; report rates, latencies, recall and losses.

    Without --door it needs nothing: it starts verification, front door and scan in a temporary
    folder, drives them, and stops them. Ends with status 1 if an acknowledged upload has no outcome
    or an unedited planted picture was not found.
    """
    from pipeline.errors import LoadTestFailed
    from pipeline.loadtest import page, run
    from pipeline.loadtest.world import Services

    settings = run.Settings(
        rate=rate,
        seconds=seconds,
        burst=burst,
        seed=seed,
        find_saturation=find_saturation,
        photos=photos,
        threads=threads,
    )
    if door is None:
        with _folder(keep) as folder:
            result = run.self_contained(settings, folder, _progress)
    else:
        if planted is None:
            raise typer.BadParameter("with --door, name the pictures of its set with --planted")
        for address in (door, door_metrics, scan_metrics, *filter(None, [verification])):
            check_address(address)
        services = Services(
            door=door,
            door_metrics=door_metrics,
            scan_metrics=scan_metrics,
            verification=verification,
            keys=keys,
            part=part,
            log=log,
            indicator_set=None,
            process_ids={},
        )
        result = run.against(settings, services, planted, _progress)
    out.print(page.terminal(result, page.write(result, report)))
    faults = [*result.faults, *(_growing(result) if flat_memory else [])]
    if faults:
        raise LoadTestFailed("; ".join(faults))


def _growing(result: Result) -> list[str]:
    growth = result.measured.growth
    if not growth:
        return ["memory was not seen for long enough: give more --seconds, on Linux"]
    return [f"memory of {name} grows" for name, one in growth.items() if not one.is_flat]


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="sluis-loadtest-") as made:
            yield Path(made)
        return
    if keep.exists():
        raise typer.BadParameter(f"{keep} exists: name a new folder with --keep")
    keep.mkdir(parents=True, mode=0o700)
    yield keep


def _progress(text: str) -> None:
    err.print(text, soft_wrap=True)
