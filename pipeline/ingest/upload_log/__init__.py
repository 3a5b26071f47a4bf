"""The durable upload log between the front door and the streaming scan.

One writer appends, one reader consumes, each a process of its own, each may be killed at any time.
docs/ingest.md describes the files.
"""

from pipeline.ingest.upload_log.folder import LogDamaged, LogFault, LogFull, LogRefused
from pipeline.ingest.upload_log.reader import Backlog, Taken, UploadLogReader
from pipeline.ingest.upload_log.segments import UPLOADS, Position
from pipeline.ingest.upload_log.writer import Appended, LogClosed, UploadLog

__all__ = [
    "UPLOADS",
    "Appended",
    "Backlog",
    "LogClosed",
    "LogDamaged",
    "LogFault",
    "LogFull",
    "LogRefused",
    "Position",
    "Taken",
    "UploadLog",
    "UploadLogReader",
]
