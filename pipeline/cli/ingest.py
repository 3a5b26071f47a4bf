"""`sluis ingest …`: uploads as they arrive."""

from __future__ import annotations

import typer

from pipeline.cli import ingest_scan
from pipeline.cli.common import GROUP

app = typer.Typer(help="Uploads as they arrive: scan them from the upload log.", **GROUP)
app.command("scan")(ingest_scan.ingest_scan)
