"""What the upload side says of itself: one line for each event, for machines or for people.

A line holds what happened and where in the program, never what it happened to: no name, hash or URL
of an upload. Of an exception only its type is told, since its text may quote one.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import Final

_HUMAN: Final = "sluis: %(asctime)s %(levelname)s: %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, part of the program, message, and the type of an exception."""
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat("T", "milliseconds"),
            "level": record.levelname.lower(),
            "part": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line)


class _Human(logging.Formatter):
    """Text, with an exception's type only."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text.partition("\nTraceback")[0]

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        return ""


def say(*, as_json: bool) -> None:
    """Write what `pipeline` says, from news upwards, to standard error; nothing of any library."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else _Human(_HUMAN))
    logger = logging.getLogger("pipeline")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
