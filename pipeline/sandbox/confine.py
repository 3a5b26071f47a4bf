"""What a child gives up before it sees a stranger's bytes. Linux; elsewhere only the limits apply.

`before_imports`, while nothing is loaded and there is one thread: no network, no new privileges, an
end with the parent. When every decoder has run once and every file that is ever needed has been
read, `give_up`: limits, no privileges at all; and `filter_system_calls`: a list of those that
decoding needs, all others are refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pipeline.sandbox import limits

IS_LINUX: Final = sys.platform == "linux"

# include/uapi/linux/prctl.h, sched.h, capability.h, mman.h, fcntl.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_THREAD = 0x00010000
_PROT_EXEC = 4
_F_GETFD, _F_GETFL, _F_DUPFD_CLOEXEC = 1, 3, 1030

_THREADS_END_SECONDS: Final = 5

_ALLOWED: Final = (
    # memory
    "munmap", "mremap", "madvise", "brk", "membarrier",
    # the descriptors at hand: nothing opens another
    "read", "readv", "pread64", "write", "writev", "recvmsg", "recvfrom", "sendmsg", "sendto",
    "close", "fstat", "lseek", "poll", "ppoll", "select", "pselect6",
    # locks, signals to itself, clocks
    "futex", "sched_yield", "sched_getaffinity", "restart_syscall", "rt_sigreturn",
    "rt_sigprocmask", "rt_sigaction", "sigaltstack", "set_robust_list", "rseq",
    "clock_gettime", "clock_getres",
    "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getcpu",
    # itself
    "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getrusage", "uname", "sysinfo",
    "getrandom", "exit", "exit_group",
)  # fmt: skip
_ABSENT: Final = ("clone3", "statx", "faccessat2", "openat2")
"""Calls that the C library does without where the kernel does not know them."""
_DEADLY: Final = (
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "socket", "connect",
    "bind", "mount", "bpf", "keyctl", "init_module", "finit_module", "kexec_load", "unshare",
    "setns", "fork", "vfork", "kill", "io_uring_setup", "userfaultfd", "perf_event_open",
)  # fmt: skip
"""Calls that no decoder makes: whoever does has taken it over, and the child ends at once."""


@dataclass(frozen=True)
class Confinement:
    """What of the confinement this machine allows.

    Attributes:
        system_calls: None if only those of a list are allowed; else why not.
        network: None if the child is in an empty network of its own; else why not. The list of
            system calls, where there is one, leaves no network either.
    """

    system_calls: str | None
    network: str | None

    def __str__(self) -> str:
        if self.system_calls is not None:
            return f"limits only: {self.system_calls}"
        return "limits, system calls" + (", own network" if self.network is None else "")


def before_imports(parent: int) -> str | None:
    """The first step; returns why there still is a network, if so.

    Args:
        parent: process id of the parent; this process ends at once if that is gone already.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not IS_LINUX:
        return "needs Linux"
    _be_first_to_go()
    refused = _leave_network()
    _end_with(parent)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    return refused


def give_up(parent: int, memory_bytes: int, content_bytes: int) -> None:
    """The second step: limits, and no privileges at all.

    Args:
        parent: process id of the parent.
        memory_bytes: memory beside what is in use now.
        content_bytes: the largest item, which is mapped beside that.

    Raises:
        RuntimeError: a decoder has left a thread behind.
    """
    _limit(memory_bytes, content_bytes)
    if IS_LINUX:
        _be_one_thread()
        _drop_capabilities()
        _end_with(parent)  # the kernel forgets it where privileges change


def allow_cpu(seconds: int) -> None:
    """Allow this much processor time from now on; after it the kernel ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _limit(memory_bytes: int, content_bytes: int) -> None:
    mapped, data = _in_use_bytes()
    for name, most in (
        ("RLIMIT_AS", mapped + memory_bytes + content_bytes),
        ("RLIMIT_DATA", data + memory_bytes),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NOFILE", limits.MAX_OPEN_FILES),
        ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MSGQUEUE", 0),
    ):
        if (number := getattr(resource, name, None)) is not None:
            resource.setrlimit(number, (most, most))


def _in_use_bytes() -> tuple[int, int]:
    """Address space, and private writable memory, that this process has now."""
    if not IS_LINUX:
        return 0, 0
    pages = [int(field) for field in Path("/proc/self/statm").read_text().split()]
    return pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()


def _be_first_to_go() -> None:
    """Where memory runs out, the kernel is to end a child and not its parent."""
    with contextlib.suppress(OSError):  # /proc may be kept from us
        Path("/proc/self/oom_score_adj").write_text("1000")


def _leave_network() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET):
        if libc.unshare(flags) == 0:
            return None
    return f"the kernel refuses a network namespace ({os.strerror(ctypes.get_errno())})"


def _end_with(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _be_one_thread() -> None:
    """What follows binds this thread and those it starts: see that there is no other."""
    until = time.monotonic() + _THREADS_END_SECONDS
    while len(list(Path("/proc/self/task").iterdir())) > 1:
        if time.monotonic() > until:
            raise RuntimeError("a decoder keeps a thread of its own: it could not be confined")
        time.sleep(0.01)


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def filter_system_calls() -> str | None:
    """The third step; returns why system calls are not filtered, if so."""
    if not IS_LINUX:
        return "needs Linux"
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError):  # the binding, or the library it binds
        return "libseccomp is not installed (Debian, Ubuntu: libseccomp2; Fedora: libseccomp)"
    try:
        _rules(seccomp).load()
    except OSError as error:
        return f"the kernel refuses a filter ({error.strerror})"
    return None


def _rules(seccomp: ModuleType) -> Any:
    """What is allowed, what is refused and what is deadly; everything else is refused."""
    arg = seccomp.Arg
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))

    def rule(action: int, name: str, *when: Any) -> None:
        if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) != -1:  # older than the call
            rules.add_rule(action, name, *when)

    for name in _ALLOWED:
        rule(seccomp.ALLOW, name)
    for name in _ABSENT:
        rule(seccomp.ERRNO(errno.ENOSYS), name)
    for name in _DEADLY:
        rule(seccomp.KILL_PROCESS, name)
    for name in ("mmap", "mprotect"):  # no memory becomes code any more
        rule(seccomp.ALLOW, name, arg(2, seccomp.MASKED_EQ, _PROT_EXEC, 0))
    for command in (_F_GETFD, _F_GETFL, _F_DUPFD_CLOEXEC):
        rule(seccomp.ALLOW, "fcntl", arg(1, seccomp.EQ, command))
    # Threads, no processes: libde265 decodes HEIC in one of its own.
    rule(seccomp.ALLOW, "clone", arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    rule(seccomp.ALLOW, "prlimit64", arg(0, seccomp.EQ, 0))
    rule(seccomp.ALLOW, "setrlimit")
    rule(seccomp.ALLOW, "tgkill", arg(0, seccomp.EQ, os.getpid()))  # abort()
    return rules
