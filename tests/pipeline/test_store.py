"""The verification store: durable, idempotent, first wins."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rulings
from support.settings import SEEDED

from pipeline.verdicts import CONFIRMED, REJECTED
from pipeline.verification.database import StoreFault, StoreRefused, Transaction
from pipeline.verification.decisions import Decisions
from pipeline.verification.store import (
    ADDED,
    RELEASED,
    REPEATED,
    Arrival,
    NotFound,
    Store,
    open_store,
)

PATIENCE_SECONDS = 30
"""How long a test waits for what must come."""


def cid(number: int) -> bytes:
    """A candidate id."""
    return number.to_bytes(16, "big")


@pytest.fixture
def path(tmp_path):
    """Where the store's file lies, in tests of SQLite alone."""
    return tmp_path / "store" / "verification.sqlite3"


@pytest.fixture
def store(where):
    """A store in either database, whose clock says 1000, 1001, 1002, ..."""
    ticks = iter(range(1000, 10_000))
    opened = open_store(where, clock=lambda: next(ticks))
    yield opened
    opened.close()


def arrival(candidate_id: bytes, message: bytes) -> Arrival:
    """A candidate that is released at once."""
    return Arrival(candidate_id, message, bytes(16), 0, 0)


def submit(store: Store, *candidates: tuple[int, bytes]) -> Future[list[str]]:
    """Hand in candidates by number."""
    return store.add([arrival(cid(n), message) for n, message in candidates])


def add(store: Store, *candidates: tuple[int, bytes]) -> list[bool]:
    """Add candidates by number, wait until they are durable, say which are new."""
    outcomes = submit(store, *candidates).result(PATIENCE_SECONDS)
    assert set(outcomes) <= {ADDED, REPEATED}
    return [outcome == ADDED for outcome in outcomes]


def decide(store: Store, number: int, *values: str) -> None:
    """Have reviewers decide on a candidate, one after another."""
    for reviewer, value in enumerate(values):
        rulings.decide(Decisions(store, rulings.SERVICE), number, reviewer, value)


def refusal(path) -> str:
    """The message that a place is refused with; a store that opens after all is closed again."""
    try:
        opened = open_store(path)
    except StoreRefused as error:
        return str(error)
    opened.close()
    pytest.fail(f"{path} was taken for a store")


def contents(store: Store) -> dict[bytes, bytes]:
    """Every id and the message that is kept of it."""
    with store.read() as connection:
        rows = connection.execute("SELECT candidate_id, released FROM candidate").fetchall()
    return dict(rows)


# --- candidates -------------------------------------------------------------------------------


def test_a_candidate_is_kept_as_it_came(store):
    """What was added is found under its id, released and undecided, with its time of arrival."""
    assert add(store, (1, b"\0message\xff")) == [True]
    kept = store.get(cid(1))
    assert (kept.message, kept.state, kept.received_at) == (b"\0message\xff", RELEASED, 1000)


def test_a_repeat_adds_nothing(store):
    """A candidate that comes again, in the same batch or later, is not new and not kept twice."""
    assert add(store, (1, b"a"), (2, b"b"), (1, b"a")) == [True, True, False]
    assert add(store, (2, b"b"), (3, b"c"), (1, b"a")) == [False, True, False]
    assert contents(store) == {cid(1): b"a", cid(2): b"b", cid(3): b"c"}


def test_the_first_message_of_an_id_wins(store):
    """A later message of the same id, sealed anew or forged, replaces nothing."""
    assert add(store, (1, b"first"), (1, b"second")) == [True, False]
    assert add(store, (1, b"third")) == [False]
    kept = store.get(cid(1))
    assert (kept.message, kept.received_at) == (b"first", 1000)


def test_an_empty_batch_is_answered(store):
    """No candidates in, no answers out."""
    assert add(store) == []


def test_an_unknown_candidate_is_not_found(store):
    """There is nothing under an id that was never added."""
    add(store, (1, b"a"))
    for candidate_id in (cid(2), b"", b"short"):
        with pytest.raises(NotFound):
            store.get(candidate_id)


def test_an_id_of_another_length_is_not_kept(store):
    """The database itself refuses an id that is none, with the whole batch it came in."""
    with pytest.raises(StoreFault):
        store.add([arrival(cid(1), b"a"), arrival(b"short", b"b")]).result(PATIENCE_SECONDS)
    assert contents(store) == {}


# --- pages ------------------------------------------------------------------------------------


def test_pages_follow_the_order_of_arrival(store):
    """Candidates come in the order in which they were first added, page after page."""
    order = [5, 3, 9, 1, 7, 2]
    for number in order:
        add(store, (number, b"%d" % number))
    add(store, (5, b"again"), (1, b"again"))
    seen, after = [], 0
    while True:
        page, total = store.page(after, 4, None)
        assert total == 6
        if not page:
            break
        assert len(page) <= 4
        seen += [int(one.message) for one in page]
        after = page[-1].sequence
    assert seen == order
    assert store.page(after, 4, RELEASED) == ([], 6)


def test_pages_and_totals_are_of_one_state(store):
    """A state's page holds its candidates alone, and so does its total."""
    add(store, *[(n, b"%d" % n) for n in range(1, 7)])
    decide(store, 2, CONFIRMED, CONFIRMED)
    decide(store, 5, REJECTED)
    decide(store, 3, REJECTED)

    def numbers(state: str | None) -> list[int]:
        page, total = store.page(0, 100, state)
        assert total == len(page)
        return [int(one.message) for one in page]

    assert numbers(RELEASED) == [1, 4, 6]
    assert numbers(CONFIRMED) == [2]
    assert numbers(REJECTED) == [3, 5]
    assert numbers(None) == [1, 2, 3, 4, 5, 6]


def test_an_empty_store_has_an_empty_page(store):
    """Nothing is there before anything came."""
    for state in (None, RELEASED, CONFIRMED, REJECTED):
        assert store.page(0, 10, state) == ([], 0)


# --- on disk ----------------------------------------------------------------------------------


def test_everything_is_there_after_a_restart(where):
    """Candidates, their states and the order of arrival outlive the process."""
    with closing(open_store(where, clock=lambda: 1000.9)) as first:
        add(first, *[(n, b"%d" % n) for n in (3, 1, 2)])
        decide(first, 1, REJECTED)
        before = first.page(0, 10, None)
    with closing(open_store(where, clock=lambda: 1000.9)) as second:
        assert second.page(0, 10, None) == before
        assert second.get(cid(1)).state == REJECTED
        assert add(second, (3, b"again"), (4, b"4")) == [False, True]
        assert [int(one.message) for one in second.page(0, 10, None)[0]] == [3, 1, 2, 4]


def test_what_was_answered_can_be_read_at_once(store):
    """Once a result is there, every reader sees it."""
    for number in range(20):
        add(store, (number, b"m"))
        assert store.get(cid(number)).message == b"m"


def test_close_finishes_what_waits(where):
    """Batches handed in before closing are kept and answered."""
    with closing(open_store(where)) as store:
        futures = [submit(store, (n, b"m")) for n in range(50)]
    assert [future.result(PATIENCE_SECONDS) for future in futures] == [[ADDED]] * 50
    with closing(open_store(where)) as reopened:
        assert len(contents(reopened)) == 50


def test_every_connection_is_durable_and_careful(path):
    """Commits reach the disk before they are answered, and deleted rows are overwritten."""
    with closing(open_store(path)) as store, store.read() as connection:

        def pragma(name: str) -> object:
            return connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2
        assert pragma("foreign_keys") == 1
        assert pragma("secure_delete") == 1
        assert pragma("trusted_schema") == 0
        assert pragma("user_version") == 4
        assert pragma("integrity_check") == "ok"
    assert path.exists()


def test_the_folder_of_a_new_store_is_private(path):
    """A folder that the store makes for itself is closed to others."""
    open_store(path).close()
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", [b"not a database, and longer than a header is " * 200, b"\0" * 5000, b"text"]
)
def test_a_file_that_is_no_database_is_refused(path, content):
    """Another kind of file is refused by name, and not a byte of it is changed."""
    path.parent.mkdir()
    path.write_bytes(content)
    assert str(path) in refusal(path)
    assert path.read_bytes() == content


def test_a_page_that_is_damaged_is_a_fault_of_the_store(path):
    """Also where it shows only while rows are fetched; no error of the driver's own comes out."""
    with closing(open_store(path)) as store:
        add(store, *[(n, bytes(3_000)) for n in range(200)])
    content = bytearray(path.read_bytes())
    for offset in range(120 * 4_096, len(content), 9 * 4_096):  # the first rows stay whole
        content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    with closing(open_store(path)) as store:
        for ask in (lambda: store.page(0, 1_000, None), lambda: contents(store)):
            with pytest.raises(StoreFault, match="malformed"):
                ask()
        with store.read() as connection:
            rows = connection.execute("SELECT released FROM candidate")
            assert rows.fetchone()
            with pytest.raises(StoreFault, match="malformed"):
                list(iter(rows.fetchone, None))


@pytest.mark.parametrize("version", [2, 3, 99, -1])
def test_a_store_of_another_version_is_refused(path, version):
    """A schema that this version does not know is not guessed at."""
    open_store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    message = refusal(path)
    assert str(path) in message
    assert f"version {version}" in message


@pytest.mark.parametrize("table", ["candidate", "verdict", "orders"])
def test_a_database_of_something_else_is_refused(path, table):
    """A SQLite file that another program made is not taken over: its tables are not ours."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table} (anything TEXT)")
    assert str(path) in refusal(path)
    with closing(sqlite3.connect(path)) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == [table]


def test_a_folder_is_no_store(tmp_path):
    """A folder in place of the file is refused as any other thing that is no store."""
    assert str(tmp_path) in refusal(tmp_path)


def test_an_empty_file_becomes_a_store(path):
    """A file made in advance, to set who owns it, is filled."""
    path.parent.mkdir()
    path.touch()
    with closing(open_store(path)) as store:
        assert add(store, (1, b"a")) == [True]


def test_an_empty_file_is_no_store_to_a_command_that_looks_at_one(path):
    """It is refused, and stays empty."""
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreRefused, match="there is no store"):
        open_store(path, may_make=False)
    assert path.read_bytes() == b""


# --- many at once -----------------------------------------------------------------------------


def test_many_threads_lose_nothing_and_count_each_id_once(store):
    """Of overlapping batches from eight threads every id is kept, and new for exactly one."""
    threads, batches, size = 8, 50, 10
    start = threading.Barrier(threads)

    def one_thread(number: int) -> list[tuple[int, bool]]:
        start.wait(PATIENCE_SECONDS)
        answers = []
        for batch in range(batches):
            first = (batch * size // 2 + number * 3) % 250
            ids = [(first + n) % 260 for n in range(size)]
            answers += zip(ids, add(store, *[(n, b"%d" % n) for n in ids]), strict=True)
        return answers

    with ThreadPoolExecutor(threads) as pool:
        answers = [pair for part in pool.map(one_thread, range(threads)) for pair in part]
    assert len(answers) == threads * batches * size
    asked = {number for number, _ in answers}
    assert contents(store) == {cid(number): b"%d" % number for number in asked}
    fresh = Counter(number for number, is_new in answers if is_new)
    assert fresh == dict.fromkeys(asked, 1)


class HeldUp:
    """A store whose writer waits for a lock, so that jobs gather and share one commit."""

    def __init__(self, store: Store) -> None:
        """Watch the writer's commits."""
        self._store = store
        self._entered = threading.Event()
        self.sizes: list[int] = []
        commit = store._writer._commit

        def watched(connection, jobs):
            self.sizes.append(len(jobs))
            self._entered.set()
            commit(connection, jobs)

        store._writer._commit = watched

    def __enter__(self) -> Self:
        """Take the lock, and let the writer run into it with a job of its own."""
        self._lock = self._store._database.connect()
        self._lock.begin()
        self._first = self._store.add([])
        assert self._entered.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_error: object) -> None:
        """Let the writer go on."""
        self._lock.rollback()
        self._lock.close()


def refuses(_transaction: Transaction) -> None:
    """A job that says no."""
    raise NotFound("there is no such candidate")


def half_done(transaction: Transaction) -> None:
    """A job that has written when it fails."""
    transaction.execute("DELETE FROM candidate")
    transaction.execute("INSERT INTO audit VALUES (?)", ("half a pair: \ud800",))


def test_a_job_that_fails_does_not_undo_others_of_its_commit(store):
    """Of jobs that share a commit, those that fail are undone alone and say why."""
    add(store, (1, b"a"), (2, b"b"))
    with HeldUp(store) as held:
        jobs = [
            submit(store, (3, b"c"), (1, b"again")),
            store.submit(refuses),
            store.add([arrival(cid(4), b"d"), arrival(b"short", b"e")]),
            store.submit(half_done),
            submit(store, (5, b"e")),
        ]
    faults = [job.exception(PATIENCE_SECONDS) for job in jobs]
    assert held.sizes == [1, len(jobs)]
    assert [fault is None for fault in faults] == [True, False, False, False, True]
    assert [type(fault) for fault in faults[1:3]] == [NotFound, StoreFault]
    assert jobs[0].result() == [ADDED, REPEATED]
    assert jobs[4].result() == [ADDED]
    assert set(contents(store)) == {cid(n) for n in (1, 2, 3, 5)}


def test_a_caller_that_gives_up_does_not_stop_the_store(store):
    """A call that its client cancelled (a deadline, a lost connection) harms no later one."""
    with HeldUp(store):
        given_up = submit(store, (1, b"a"))
        given_up.cancel()
        same_commit = submit(store, (2, b"b"))
    assert same_commit.result(10) == [ADDED]
    assert add(store, (3, b"c")) == [True]
    assert {cid(2), cid(3)} <= set(contents(store))


def test_a_full_queue_makes_callers_wait(store):
    """More batches than the queue holds are all kept, in their order, once the writer goes on."""
    with HeldUp(store) as held:
        futures = [submit(store, (n, b"%d" % n)) for n in range(64)]
        assert store._writer._jobs.full()
        filler = threading.Thread(
            target=lambda: futures.extend(submit(store, (n, b"%d" % n)) for n in range(64, 200))
        )
        filler.start()
    filler.join(PATIENCE_SECONDS)
    assert [future.result(PATIENCE_SECONDS) for future in futures] == [[ADDED]] * 200
    assert [int(one.message) for one in store.page(0, 500, None)[0]] == list(range(200))
    assert max(held.sizes) <= 16
    assert sum(held.sizes) == 201


def test_readers_share_a_few_connections_and_lose_none(store):
    """Neither a reader that finds nothing nor many at once leaves connections open."""
    opened = []
    connect = store._database.connect

    class Counted:
        """A database that counts the connections that are open."""

        name = store.name

        @staticmethod
        def connect():
            """Count it until it is closed."""
            connection = connect()
            opened.append(connection)
            close = connection.close

            def closed():
                opened.remove(connection)
                close()

            connection.close = closed
            return connection

    store._database = Counted()
    for _ in range(20):
        with pytest.raises(NotFound):
            store.get(cid(1))
    assert len(opened) == 1

    def read(_number: int) -> None:
        start.wait(PATIENCE_SECONDS)
        with store.read() as connection:
            start.wait(PATIENCE_SECONDS)
            assert connection.execute("SELECT count(*) FROM candidate").fetchone()[0] == 0

    start = threading.Barrier(12)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(read, range(12)))
    assert len(opened) <= 12
    with pytest.raises(StoreFault), store.read() as connection:
        connection.execute("SELECT nothing FROM nowhere")
    assert opened == []


# --- repetition -------------------------------------------------------------------------------

BATCHES = st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=1, max_size=5)


@settings(SEEDED, max_examples=25)
@given(batches=BATCHES, data=st.data())
def test_any_order_and_repetition_gives_the_same_store(tmp_path_factory, batches, data):
    """However often and in whatever order batches come, the same candidates are kept."""
    again = data.draw(st.permutations(batches + data.draw(st.lists(st.sampled_from(batches)))))
    kept = []
    for sequence in (batches, again):
        with closing(open_store(tmp_path_factory.mktemp("store") / "db")) as store:
            answers = [add(store, *[(n, b"message %d" % n) for n in batch]) for batch in sequence]
            kept.append(contents(store))
        assert sum(sum(part) for part in answers) == len(kept[-1])
    assert kept[0] == kept[1] == {cid(n): b"message %d" % n for batch in batches for n in batch}


@settings(SEEDED, max_examples=25)
@given(batches=BATCHES, repeats=st.lists(st.integers(0, 4), max_size=6))
def test_repeats_never_replace_a_message(tmp_path_factory, batches, repeats):
    """Batches sent again with newly sealed messages change nothing of what is kept."""
    with closing(open_store(tmp_path_factory.mktemp("store") / "db")) as store:
        for number, batch in enumerate(batches):
            add(store, *[(n, b"%d in batch %d" % (n, number)) for n in batch])
        before = store.page(0, 100, None)
        for number in repeats:
            batch = batches[number % len(batches)]
            assert not any(add(store, *[(n, b"sealed anew") for n in batch]))
        assert store.page(0, 100, None) == before
