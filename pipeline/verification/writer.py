"""The store's one writer: jobs from many callers share a commit, and with it one fsync.

A result is handed out only after the commit that made it durable.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar

from pipeline.verification.database import Connection, Database, StoreFault, Transaction

_MOST_JOBS: Final = 64  # waiting jobs; a full queue makes callers wait
_GROUP: Final = 16  # jobs in one commit

T = TypeVar("T")


class Writer:
    """A thread that runs jobs, one transaction after another."""

    def __init__(self, database: Database) -> None:
        """Connect and start.

        Raises:
            StoreFault: the database cannot be reached.
        """
        self._database = database
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_MOST_JOBS)
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(database.connect(),), name="store-writer", daemon=True
        )
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether jobs are still taken."""
        return not self._ended.is_set()

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Run `work` in a transaction; its result comes once it is durable, or what it raised.

        Raises:
            StoreFault: the store is closed.
        """
        future: Future[T] = Future()
        if self._ended.is_set():
            raise self._closed()
        self._jobs.put(_Job(work, future))
        if self._ended.is_set():  # in between: nobody else will answer
            self._refuse_what_waits()
        return future

    def close(self) -> None:
        """Finish what waits and stop."""
        if not self._ended.is_set():
            self._jobs.put(None)
        self._thread.join()

    def _run(self, connection: Connection) -> None:
        try:
            self._work(connection)
        finally:
            self._ended.set()
            self._refuse_what_waits()

    def _refuse_what_waits(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None and job.future.set_running_or_notify_cancel():
                    job.future.set_exception(self._closed())

    def _closed(self) -> StoreFault:
        return StoreFault(f"{self._database.name}: the store is closed")

    def _work(self, connection: Connection) -> None:
        running = True
        while running:
            jobs: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                if len(jobs) == _GROUP or self._jobs.empty():
                    break
                job = self._jobs.get()
            running = job is not None
            # A caller whose deadline has passed has cancelled its future: nobody waits for it.
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            try:
                if not connection.usable:
                    connection.close()
                    connection = self._database.connect()
                self._commit(connection, jobs)
            except BaseException as error:
                for job in jobs:  # every waiting caller must hear of it
                    job.future.set_exception(
                        error if isinstance(error, Exception) else self._closed()
                    )
                if not isinstance(error, Exception):
                    raise
        connection.close()

    def _commit(self, connection: Connection, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction; a job that fails is undone alone."""
        finished: list[tuple[_Job, object, Exception | None]] = []
        try:
            connection.begin()
            for job in jobs:
                connection.execute("SAVEPOINT job")
                try:
                    finished.append((job, job.work(connection), None))
                except Exception as error:  # noqa: BLE001 - handed to the caller below
                    connection.execute("ROLLBACK TO SAVEPOINT job")
                    finished.append((job, None, error))
                connection.execute("RELEASE SAVEPOINT job")
            connection.commit()
        except Exception:
            connection.rollback()
            raise
        for job, result, fault in finished:
            if fault is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(fault)


@dataclass(frozen=True)
class _Job:
    work: Callable[[Transaction], object]
    future: Future  # type: ignore[type-arg]
