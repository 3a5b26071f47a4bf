"""`sluis …`: the command line. Thin: reads options, calls one function, shows what it returns."""

from __future__ import annotations

import logging
import os
import resource
import sys
import warnings
from typing import Any

# Before anything imports gRPC: its own log lines would name peers and paths.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import typer

from matchers.errors import MatcherError
from pipeline.cli import (
    indicators,
    ingest,
    keys,
    ledger,
    loadtest,
    orders,
    reports,
    reviewing,
    scanning,
    status,
    vault,
    verdicts,
)
from pipeline.cli.common import GROUP, fail
from pipeline.errors import SluisError

app = typer.Typer(
    help="Scan hosted images, videos, what is inside archives and documents, and URLs, under a "
    "detection order. What resembles an indicator goes, sealed and pseudonymised, to a "
    "verification service where people decide.",
    epilog="Start with `sluis order example`, `sluis keys new` and `sluis indicators build`; the "
    "README walks through all three.",
    add_completion=False,
    **GROUP,
)
app.command()(scanning.scan)
app.command("report")(scanning.report_command)
app.command()(status.status)
app.command()(loadtest.loadtest)
app.add_typer(orders.app, name="order")
app.add_typer(keys.app, name="keys")
app.add_typer(indicators.app, name="indicators")
app.add_typer(ingest.app, name="ingest")
app.command()(ledger.rematch)
app.add_typer(ledger.app, name="ledger")
app.add_typer(reviewing.app, name="verification")  # that of serving, with its own commands
app.add_typer(verdicts.app, name="verdicts")
app.add_typer(vault.app, name="vault")
app.add_typer(reports.app, name="reports")


def _log_to_stderr() -> None:
    """Our own warnings, for whoever keeps a service; nothing of any library.

    Others' messages, and the texts of exceptions, may hold names: of an exception only the type.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_TypesOnly("sluis: %(asctime)s %(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.CRITICAL, handlers=[handler])
    logging.getLogger("pipeline").setLevel(logging.WARNING)


class _TypesOnly(logging.Formatter):
    """Shows of an exception what it was, not what it says or where it was."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The exception's type."""
        return f"({ei[0].__name__})"

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Nothing."""
        del stack_info
        return ""


def main() -> None:
    """Entry point: errors end in one clear message and a status, not in a trace."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata is no news of ours
    _log_to_stderr()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # keys and content are in memory
    os.umask(0o077)  # runs, stores, sets and keys are nobody else's business
    try:
        app(standalone_mode=False)
    except (SluisError, MatcherError) as error:
        fail(str(error), getattr(error, "exit_status", 1))
    except OSError as error:
        fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except typer.Abort:
        fail("stopped", 130)
    except Exception as error:
        show = getattr(error, "show", None)  # click's own usage errors show themselves
        if show is None:
            raise
        # What pydantic puts before the message of a failed choice says nothing to a person.
        if isinstance(message := getattr(error, "message", None), str):
            error.message = message.removeprefix("Value error, ")  # type: ignore[attr-defined]
        show()
        sys.exit(getattr(error, "exit_code", 2))
