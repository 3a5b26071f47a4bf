"""A batch of uploads -> its rows in the log -> an answer for each: read, judged, written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa

from pipeline.ingest.gatekeeper import Gatekeeper
from pipeline.ingest.metrics import DoorMetrics
from pipeline.ingest.upload_log import UPLOADS, Appended, UploadLog
from pipeline.items import ITEMS
from pipeline.rpc import uploads
from pipeline.rpc.sluis.ingest.v1 import ingest_service_pb2 as messages

_THREADS: Final = 4
"""They wait for the log's queue too, so more than cores; checksums and copies let others run."""

_OUTCOME_NAMES: Final = {
    messages.UPLOAD_OUTCOME_ACCEPTED: "accepted",
    messages.UPLOAD_OUTCOME_REPEATED: "repeated",
    messages.UPLOAD_OUTCOME_SKIPPED: "skipped",
    messages.UPLOAD_OUTCOME_REFUSED: "refused",
}


class Intake:
    """What stands between the wire and the log."""

    def __init__(self, log: UploadLog, gatekeeper: Gatekeeper, metrics: DoorMetrics) -> None:
        """Threads start when they are first needed."""
        self._log = log
        self._gatekeeper = gatekeeper
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="intake")

    async def keep(self, batch: Sequence[messages.Upload]) -> list[messages.UploadResult]:
        """Answers, once all that is accepted or skipped is on disk.

        Raises:
            GateShut, LogFull, LogFault, LogClosed: nothing of the batch was kept.
        """
        loop = asyncio.get_running_loop()
        results, kept, written = await loop.run_in_executor(self._pool, self._begin, batch)
        appended = await asyncio.wrap_future(written)
        for number, is_repeat in zip(kept, appended.is_repeat, strict=True):
            if is_repeat and results[number].outcome == messages.UPLOAD_OUTCOME_ACCEPTED:
                results[number].outcome = messages.UPLOAD_OUTCOME_REPEATED
        self._count(batch, results)
        return results

    def close(self) -> None:
        """Finish what is begun."""
        self._pool.shutdown()

    def _begin(
        self, batch: Sequence[messages.Upload]
    ) -> tuple[list[messages.UploadResult], list[int], Future[Appended]]:
        """Answers so far, which of the uploads are written, and the writing."""
        results: list[messages.UploadResult] = []
        rows: list[dict[str, Any]] = []
        kept: list[int] = []
        for number, upload in enumerate(batch):
            result = messages.UploadResult(outcome=messages.UPLOAD_OUTCOME_ACCEPTED)
            try:
                rows.append(uploads.to_row(upload))
                kept.append(number)
            except uploads.Malformed as error:
                result = _refused(messages.REFUSE_REASON_MALFORMED, str(error))
            except uploads.TooManyBytes:
                result = _refused(messages.REFUSE_REASON_TOO_MANY_BYTES)
            results.append(result)
        items = pa.RecordBatch.from_pylist([_without_content(row) for row in rows], ITEMS)
        reasons = self._gatekeeper.judge(items)["skip_reason"].to_pylist()
        for number, row, reason in zip(kept, rows, reasons, strict=True):
            row["skip_reason"] = reason
            if reason is not None:  # its row is accounted for; what it is or where is not kept
                row |= {"content": None, "uri": None, "url": None}
                results[number] = messages.UploadResult(
                    outcome=messages.UPLOAD_OUTCOME_SKIPPED, skip_reason=reason
                )
        return results, kept, self._log.submit(pa.RecordBatch.from_pylist(rows, UPLOADS))

    def _count(
        self, batch: Sequence[messages.Upload], results: Sequence[messages.UploadResult]
    ) -> None:
        for upload, result in zip(batch, results, strict=True):
            self._metrics.uploads.labels(_OUTCOME_NAMES[result.outcome]).inc()
            if result.outcome == messages.UPLOAD_OUTCOME_SKIPPED:
                self._metrics.skipped.labels(result.skip_reason).inc()
            elif result.outcome == messages.UPLOAD_OUTCOME_REFUSED:
                name = messages.RefuseReason.Name(result.refuse_reason)
                self._metrics.refused.labels(name.removeprefix("REFUSE_REASON_").lower()).inc()
            elif result.outcome == messages.UPLOAD_OUTCOME_ACCEPTED:
                self._metrics.content_bytes.inc(len(upload.content))


def _without_content(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "content"}


def _refused(reason: messages.RefuseReason.ValueType, field: str = "") -> messages.UploadResult:
    return messages.UploadResult(
        outcome=messages.UPLOAD_OUTCOME_REFUSED, refuse_reason=reason, field=field
    )
