"""What the upload side says of itself: one line for each event, for machines or for people.

A line holds what happened and where in the program, never what it happened to: no name, hash or URL
of an upload. Of an exception only its type is told, since its text may quote one.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import Any


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, part of the program, message, and the type of an exception."""
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(
                "T", "milliseconds"
            ),
            "level": record.levelname.lower(),
            "part": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line)


class Human(logging.Formatter):
    """A line of text."""

    def __init__(self) -> None:
        """The program's name first, as in its other messages."""
        super().__init__("sluis: %(asctime)s %(levelname)s: %(message)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The exception's type."""
        return f"({ei[0].__name__})"

    def format(self, record: logging.LogRecord) -> str:
        """On one line, also with an exception."""
        return super().format(record).replace("\n", " ")


def say(*, as_json: bool) -> None:
    """Write what `pipeline` says, from news upwards, to standard error; nothing of any library."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else Human())
    logger = logging.getLogger("pipeline")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
