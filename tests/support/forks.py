"""A forked child, as Beam and multiprocessing make them: one thread goes on, locks stay as found."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

PATIENCE_SECONDS = 5


def holds_in_a_forked_child(condition: Callable[[], bool]) -> bool:
    """Whether `condition` is true in a child; one that hangs is ended, and that is False."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: threads beside a fork
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_SECONDS)
        is_held = False
        try:
            is_held = condition()
        finally:
            os._exit(0 if is_held else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
