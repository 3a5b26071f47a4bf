"""`sluis order …`: detection orders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import GROUP, out

app = typer.Typer(help="Detection orders: an example to fill in, and a check.", **GROUP)


@app.command("example")
def order_example() -> None:
    """Print an order file to fill in."""
    from pipeline import order

    sys.stdout.write(order.example())


@app.command("check")
def order_check(file: Annotated[Path, typer.Argument(help="The order file.")]) -> None:
    """Say whether an order file is complete and in force, field by field."""
    from pipeline import order
    from pipeline.resources import utc_now

    valid = order.load(file)
    order.check_in_force(valid, utc_now().date())
    out.print(
        f"{file}: order {valid.reference} is complete and in force until {valid.valid_until}. "
        f"It covers {', '.join(valid.media)} of {', '.join(valid.service.parts)} against "
        f"{', '.join(valid.indicator_sets)}."
    )
