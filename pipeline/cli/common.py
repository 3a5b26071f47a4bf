"""What the command line's parts share: consoles, options, one way to fail."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

GROUP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": "markdown",
    "pretty_exceptions_enable": False,
}

# No markup: orders, paths and names may hold brackets.
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


ProviderKeys = Annotated[
    Path,
    typer.Option("--keys", envvar="SLUIS_KEYS", help="The provider's key folder."),
]
Address = Annotated[
    str,
    typer.Option(
        "--verification",
        envvar="SLUIS_VERIFICATION",
        metavar="HOST:PORT",
        help="Address of the verification service.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


def fail(message: str, status: int) -> NoReturn:
    """Say what went wrong and end."""
    err.print(f"sluis: {message}", soft_wrap=True)
    sys.exit(status)


def check_address(address: str) -> None:
    """Refuse what is not HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter(f"{address} is no address: write HOST:PORT")


def candidate_id(text: str) -> bytes:
    """A candidate's id from its 32 hex digits."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 16:
        raise typer.BadParameter("a candidate id is 32 hex digits, as `list` shows it")
    return value
