"""The sandbox: what a decoder that was taken over can do, and what is left when it dies."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import pictures
from support.places import REPOSITORY

from matchers.errors import DecodeError
from matchers.examine import Wanted
from pipeline.errors import RunInterrupted, SandboxLost, SandboxRefused
from pipeline.sandbox import Sandbox, defects, limits, memory, process

WANTED = Wanted(frozenset({"image"}))
PATIENCE_SECONDS = 20


@pytest.fixture(scope="module")
def one_child() -> Iterator[Sandbox]:
    """A sandbox of one child, whose start takes the most of a test's time."""
    sandbox = Sandbox(1)
    yield sandbox
    sandbox.close()


@pytest.fixture
def taken_over(one_child: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Its child does what an item says, see `support.hostile_child`."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests"))
    monkeypatch.setenv("SLUIS_SECRET", "of the parent")
    monkeypatch.setattr(process, "_PROGRAM", "support.hostile_child")
    return one_child


@pytest.fixture
def filtered(taken_over: Sandbox) -> Sandbox:
    """The same, where system calls are filtered."""
    if taken_over.confinement.system_calls is not None:
        pytest.skip(taken_over.confinement.system_calls)
    return taken_over


def told(sandbox: Sandbox, order: str) -> str | None:
    """How it went, in a word: the child's, or the reason for which the item failed."""
    try:
        (part,) = sandbox.examine(order.encode(), WANTED)
    except DecodeError as error:
        return error.reason
    return part.reason


def children(parent: int, program: str) -> list[int]:
    """Process ids of those children of a process that run a program."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if int(fields[1]) == parent and program in words:
                found.append(int(folder.name))
    return found


def the_child() -> int:
    """Process id of the child that was taken over; other tests' sandboxes may have theirs."""
    (child,) = children(os.getpid(), "support.hostile_child")
    return child


# --- what a child cannot do -------------------------------------------------------------------


@pytest.mark.parametrize(
    "attempt",
    ["read a file", "write a file", "list a folder", "read its memory file", "fork", "make code"],
)
def test_a_taken_over_decoder_is_refused(filtered: Sandbox, attempt: str):
    """The kernel says no, and the child goes on: nothing was opened, nobody was born."""
    told(filtered, "answer")
    before = filtered.starts
    assert told(filtered, attempt) == "permissionerror"
    assert told(filtered, "answer") == "done"
    assert filtered.starts == before


@pytest.mark.parametrize("attempt", ["kill its parent", "open a socket", "start a program"])
def test_what_only_an_intruder_does_ends_the_child(
    filtered: Sandbox, caplog: pytest.LogCaptureFixture, attempt: str
):
    """No decoder does this, so nothing the child says is believed any more; people are told."""
    with caplog.at_level(logging.WARNING, "pipeline.sandbox"):
        assert told(filtered, attempt) == "crashed"
    assert "take it over" in caplog.text
    assert told(filtered, "answer") == "done"


def test_a_child_sees_neither_secrets_nor_other_descriptors(taken_over: Sandbox, tmp_path: Path):
    """The environment is a list of names; descriptors are standard ones, the channel, the item."""
    with (tmp_path / "key").open("wb") as key:
        os.set_inheritable(key.fileno(), True)
        told(taken_over, "segfault")
        assert told(taken_over, "look for secrets") == "none"
        assert told(taken_over, "count descriptors") == "n5"


# --- what is left of an item ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [("segfault", "crashed"), ("raise", "defect"), ("take much memory", "out_of_memory")],
)
def test_a_child_that_dies_takes_one_item_with_it(taken_over: Sandbox, attempt: str, reason: str):
    """The item fails by name; the next one finds a new child."""
    told(taken_over, "answer")
    before = the_child()
    assert told(taken_over, attempt) == reason
    assert not Path(f"/proc/{before}").exists(), "nobody waited for it"
    assert told(taken_over, "answer") == "done"


def test_a_defect_of_ours_is_told_with_its_place_and_once(
    taken_over: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Type and line, and no word of what the error said: that may quote the item."""
    monkeypatch.setattr(defects, "TOLD", defects.Defects())
    with caplog.at_level(logging.WARNING, "pipeline.sandbox"):
        assert [told(taken_over, "raise") for _ in range(2)] == ["defect"] * 2
    (warning,) = caplog.messages
    assert re.fullmatch(
        r"a defect of Sluis in pipeline/sandbox/child\.py line \d+ \(ZeroDivisionError\): .*",
        warning,
    )


def test_an_item_whose_child_is_killed_from_outside_is_examined_again(taken_over: Sandbox):
    """The kernel ends whom it pleases where memory runs out; that says nothing of the item."""
    told(taken_over, "answer")
    child = the_child()
    before = taken_over.starts
    timer = threading.Timer(0.3, os.kill, (child, signal.SIGKILL))
    timer.start()
    assert told(taken_over, "nap") == "done"
    timer.join()
    assert taken_over.starts == before + 1


def test_an_item_whose_child_is_killed_twice_fails(taken_over: Sandbox):
    """By a name of its own."""
    told(taken_over, "answer")
    before = taken_over.starts
    assert told(taken_over, "be killed") == "killed"
    assert taken_over.starts == before + 1
    assert told(taken_over, "answer") == "done"


def test_the_kernel_ends_a_child_before_its_parent(taken_over: Sandbox):
    """Where memory runs out, what goes is what can be started again."""
    told(taken_over, "answer")
    child = the_child()
    assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n"


def test_an_item_that_needs_more_room_is_examined_in_a_child_that_has_it():
    """Children are small, so that all together stay within bounds; large items go one by one."""
    blob = pictures.store(pictures.smooth(60, 80), "PNG")
    sandbox = Sandbox(1, room=limits.Room(limits.USUAL.memory_bytes, 60 * 80 - 1))
    try:
        (part,) = sandbox.examine(blob, WANTED)
    finally:
        sandbox.close()
    assert part.reason is None
    assert part.fingerprints is not None


def test_a_child_that_computes_too_long_is_ended(taken_over: Sandbox):
    """By the kernel, by processor time: the load of the machine does not decide it."""
    assert told(taken_over, "spin") == "timed_out"


def test_a_child_that_does_nothing_is_ended(taken_over: Sandbox):
    """From outside, by the clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "wall_seconds", lambda _length: 0.5)
        assert told(taken_over, "sleep") == "timed_out"
    assert told(taken_over, "answer") == "done"


@pytest.mark.parametrize("answer", ["", "ffffffff", "01000000" + "00" * 99])
def test_an_answer_that_makes_no_sense_is_a_crash(taken_over: Sandbox, answer: str):
    """Nothing is made of it, and the child that gave it is not asked again."""
    told(taken_over, "answer")
    before = the_child()
    assert told(taken_over, f"say {answer}") == "crashed"
    assert not Path(f"/proc/{before}").exists()


# --- the pool ---------------------------------------------------------------------------------


def test_more_calls_than_children_wait_and_are_all_answered():
    """Items keep their own answers, whichever child they meet."""
    blobs = [pictures.store(pictures.smooth(40, 50, seed), "PNG") for seed in range(40)]
    sandbox = Sandbox(2)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda blob: sandbox.examine(blob, WANTED), blobs))
    sandbox.close()
    codes = [parts[0].fingerprints.codes[0] for parts in answers]
    for seed, code in enumerate(codes):
        expected, _ = pictures.reference(pictures.smooth(40, 50, seed))
        assert pictures.bits_apart(code, expected) == 0


def test_a_child_outlives_the_thread_that_needed_it_first(taken_over: Sandbox):
    """The kernel ends a child with the thread that started it, so that is none of the callers'."""
    told(taken_over, "segfault")
    thread = threading.Thread(target=told, args=(taken_over, "answer"))
    thread.start()
    thread.join()
    before = taken_over.starts
    assert told(taken_over, "answer") == "done"
    assert taken_over.starts == before


def test_a_child_is_replaced_after_a_number_of_items(
    taken_over: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    """Whoever took one over does not stay for ever."""
    told(taken_over, "segfault")
    monkeypatch.setattr(limits, "MAX_ITEMS_PER_CHILD", 2)
    before = taken_over.starts
    assert [told(taken_over, "answer") for _ in range(5)] == ["done"] * 5
    assert taken_over.starts == before + 3


def test_an_item_too_large_or_empty_reaches_no_child(monkeypatch: pytest.MonkeyPatch):
    """There is nothing to decode."""
    monkeypatch.setattr(process, "Child", lambda *_: pytest.fail("started"))
    monkeypatch.setattr("pipeline.sandbox.pool.MAX_LARGE_BYTES", 10)
    sandbox = Sandbox(1)
    with pytest.raises(DecodeError, match="empty"):
        sandbox.examine(b"", WANTED)
    with pytest.raises(DecodeError, match="too_many_bytes"):
        sandbox.examine(bytes(11), WANTED)


def test_children_end_with_a_parent_that_is_killed():
    """No orphan goes on decoding, whatever ended the scan."""
    program = (
        "import sys, time\n"
        "from pipeline.sandbox import Sandbox\n"
        "sandbox = Sandbox(1)\n"
        "sandbox.confinement\n"
        "print('ready', flush=True)\n"
        "time.sleep(1000)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    (child,) = children(parent.pid, "pipeline.sandbox.child")
    assert _is_running(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + PATIENCE_SECONDS
    while _is_running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _is_running(child)


def _is_running(process_id: int) -> bool:
    """Whether the process does anything any more; nobody may have waited for it yet."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


# --- where it does not work -------------------------------------------------------------------


def test_a_child_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch):
    """Its last words, and what to try: nothing of an item can be in them."""
    monkeypatch.setattr(process, "_PROGRAM", "pipeline.sandbox.no_such_program")
    sandbox = Sandbox(1)
    with pytest.raises(SandboxRefused, match=r"(?s)no_such_program.*warm_up"):
        sandbox.examine(b"item", WANTED)
    sandbox.close()


@pytest.fixture
def killed_at_birth(taken_over: Sandbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kills children as they start; holds how many more of them."""
    start, rest = process._start, [0]

    def started(*arguments: object) -> subprocess.Popen[bytes]:
        child = start(*arguments)
        if rest[0] > 0:
            rest[0] -= 1
            child.kill()
        return child

    monkeypatch.setattr(process, "_start", started)
    return rest


def test_a_child_that_is_killed_as_it_starts_is_started_again(
    taken_over: Sandbox, killed_at_birth: list[int]
):
    """That ends no run."""
    told(taken_over, "segfault")
    killed_at_birth[0] = 1
    assert told(taken_over, "answer") == "done"
    assert killed_at_birth == [0]


def test_children_that_cannot_be_started_any_more_leave_the_run_unfinished(
    taken_over: Sandbox, killed_at_birth: list[int]
):
    """The same command goes on later: it is not refused for good."""
    told(taken_over, "segfault")
    killed_at_birth[0] = 2
    with pytest.raises(SandboxLost, match=r"status -9") as lost:
        told(taken_over, "answer")
    assert lost.value.exit_status == RunInterrupted.exit_status
    assert told(taken_over, "answer") == "done"


def test_a_machine_without_room_for_a_process_says_so(monkeypatch: pytest.MonkeyPatch):
    """As where a limit of processes is reached; and what to try is this very Python's."""
    refusal = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    monkeypatch.setattr(subprocess, "Popen", _raiser(refusal))
    sandbox = Sandbox(1)
    with pytest.raises(SandboxRefused, match=refusal.strerror) as refused:
        sandbox.examine(b"item", WANTED)
    assert sys.executable in str(refused.value)
    sandbox.close()


def _raiser(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest.fixture
def without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find no libseccomp."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests"))
    monkeypatch.setattr(process, "_PROGRAM", "support.unfiltered_child")


@pytest.mark.usefixtures("without_libseccomp")
def test_without_a_filter_limits_apply_and_people_are_told(caplog: pytest.LogCaptureFixture):
    """It is said once, and the run's report can say it too."""
    sandbox = Sandbox(2)
    with caplog.at_level(logging.WARNING, "pipeline.sandbox"):
        assert str(sandbox.confinement).startswith("limits only: libseccomp is not installed")
    assert len(caplog.records) == 1
    sandbox.close()


@pytest.mark.usefixtures("without_libseccomp")
def test_without_a_filter_that_is_required_nothing_is_decoded():
    """Fail closed."""
    sandbox = Sandbox(1, require_filter=True)
    with pytest.raises(SandboxRefused, match="libseccomp2"):
        sandbox.examine(b"item", WANTED)
    sandbox.close()


# --- sealed memory ----------------------------------------------------------------------------


def test_sealed_bytes_are_shown_without_a_copy_and_cannot_be_changed():
    """A child that gets the descriptor can read, and neither write nor shrink."""
    sealed = memory.seal(b"item")
    assert memory.seal(memoryview(sealed)) is sealed
    assert memory.seal(memoryview(sealed)[1:])[:] == b"tem"
    with pytest.raises(PermissionError):
        os.write(sealed.descriptor, b"other")
    with pytest.raises(PermissionError):
        os.ftruncate(sealed.descriptor, 0)
    assert sealed[:] == b"item"


def _descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_sealed_bytes_are_gone_with_the_last_who_looks_at_them():
    """Nothing of an item lingers: no descriptor is left over."""
    before = _descriptors()
    view = memoryview(memory.seal(b"item"))
    assert _descriptors() > before
    del view
    assert _descriptors() == before
