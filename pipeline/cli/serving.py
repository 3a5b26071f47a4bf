"""`sluis verification …`, the part of whoever runs the service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from pipeline.cli.common import GROUP, out, serve_until_stopped

StorePlace = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="SLUIS_STORE",
        metavar="FILE|URL",
        help="Where candidates are kept: a SQLite file, made if absent, or an empty PostgreSQL "
        "database, postgresql://USER@HOST/DATABASE.",
    ),
]

ServiceKeys = Annotated[Path, typer.Option("--keys", help="The service's key folder.")]


def store_name(place: str) -> str:
    """A store as it may be shown: a file in full, a database without its password."""
    if "://" not in place:
        return str(Path(place).resolve())
    url = urlsplit(place)
    host = url.netloc.rpartition("@")[2]
    user = f"{url.username}@" if url.username else ""
    return f"{url.scheme}://{user}{host}{url.path}"


app = typer.Typer(
    help="The other side: serve candidates to reviewers; list, open, decide.", **GROUP
)


@app.command("serve")
def verification_serve(
    order: Annotated[
        list[Path],
        typer.Option(
            help="An order whose candidates are taken: the file that the provider scans under; "
            "may be given several times."
        ),
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:7443",
    store: StorePlace = "verification.sqlite3",
    keys: ServiceKeys = Path("keys/verification"),
    retention_days: Annotated[
        int,
        typer.Option(
            min=1,
            max=365,
            help="A hit that waits for a second one is deleted so many days after its own; the "
            "contents of a released one so many days after its release.",
        ),
    ] = 365,
) -> None:
    """Serve: take candidates from the scan, show released ones to reviewers. Mutual TLS only."""
    from pipeline import order as orders
    from pipeline.verification import service

    valid = [orders.load(file) for file in order]

    def ready_with(ready: Callable[[int], None], port: int) -> None:
        ready(port)
        out.print(f"candidates are kept in {store_name(store)}", soft_wrap=True)

    serve_until_stopped(
        "verification",
        listen,
        lambda ready, stop: service.serve(
            address=listen,
            key_folder=keys,
            store_path=store,
            orders=valid,
            retention_days=retention_days,
            ready=lambda port: ready_with(ready, port),
            stop=stop,
        ),
    )
