"""What the command line's parts share: consoles, options, one way to fail."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

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
DeskKeys = Annotated[
    Path,
    typer.Option("--keys", envvar="SLUIS_DESK_KEYS", help="The report desk's key folder."),
]
OrderFile = Annotated[Path, typer.Option("--order", help="The detection order (YAML).")]
LogFolder = Annotated[
    Path,
    typer.Option("--log", envvar="SLUIS_UPLOAD_LOG", help="Folder of the upload log alone."),
]
KeptLedger = Annotated[
    Optional[Path],
    typer.Option(
        "--ledger",
        help="Keep hashes of what was examined in this folder, sealed, so that `sluis rematch` can "
        "ask new indicators about it and repeated content is not decoded (docs/ledger.md). "
        "[default: nothing is kept of what resembles nothing]",
        show_default=False,
    ),
]
LedgerDays = Annotated[
    Optional[int],
    typer.Option(
        min=1,
        help="Days that the ledger keeps an item. [default: as it was made; 30 for a new one]",
        show_default=False,
    ),
]
VerdictsFile = Annotated[
    Path, typer.Argument(help="The file of verdicts that `sluis verdicts fetch` keeps.")
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


def check_ledger(ledger: Path | None, days: int | None) -> None:
    """Refuse days without a ledger to keep anything in."""
    if days is not None and ledger is None:
        raise typer.BadParameter("--ledger-days says how long --ledger keeps: give both")


def candidate_id(text: str) -> bytes:
    """A candidate's id from its 32 hex digits."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 16:
        raise typer.BadParameter("a candidate id is 32 hex digits, as `list` shows it")
    return value


def serve_until_stopped(
    what: str, listen: str, start: Callable[[Callable[[int], None], Any], Coroutine[Any, Any, None]]
) -> None:
    """Serve until SIGINT or SIGTERM, and say where.

    Args:
        what: the service, for the line that says it serves.
        listen: HOST:PORT.
        start: called with what to call once it serves, and what to await until it shall stop.
    """
    check_address(listen)

    async def stopped() -> None:
        event = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, event.set)
        await event.wait()

    def ready(port: int) -> None:
        host = listen.rpartition(":")[0]
        out.print(f"{what} serves on {host}:{port}")
        sys.stdout.flush()

    asyncio.run(start(ready, stopped))
