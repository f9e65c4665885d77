"""A process among others: exit codes, signals, a child that does not outlive its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from types import FrameType

from worker.ports import Fenced, LogError, NotAuthorised, UnreadableInput, WrongSettings

_PR_SET_PDEATHSIG = 1


class ExitCode(IntEnum):
    """What the process says to whoever started it."""

    OK = 0
    RESTART = 1
    """Something went wrong that a restart may mend."""
    SETTINGS = 2
    FENCED = 3
    """Another live process has this one's identity."""
    NOT_AUTHORISED = 4
    UNREADABLE = 5
    """The input cannot be unpacked; a restart will not help."""
    WATCHDOG = 6
    """The loop showed no sign of life."""
    DEAD_LETTERS = 7
    """Too many dead letters: more likely a fault of ours than of the input."""


_OF_ERROR: tuple[tuple[type[LogError], ExitCode], ...] = (
    (Fenced, ExitCode.FENCED),
    (NotAuthorised, ExitCode.NOT_AUTHORISED),
    (UnreadableInput, ExitCode.UNREADABLE),
    (WrongSettings, ExitCode.SETTINGS),
)


def exit_code_of(error: LogError) -> ExitCode:
    """Return the exit code that an error of the log asks for."""
    return next((code for kind, code in _OF_ERROR if isinstance(error, kind)), ExitCode.RESTART)


class StopFlag:
    """Set once, by a signal or by the program itself; loops ask it between batches."""

    def __init__(self) -> None:
        self._set = False
        self.signal: int | None = None
        """The signal that set it."""

    def __call__(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the flag is set or *timeout_s* is over; return whether it is set."""
        # Polling rather than a lock: a signal handler must never wait for one that its own thread holds.
        end = time.monotonic() + timeout_s
        while not self._set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        return self._set


def stop_on_signals(flag: StopFlag, *, then: Callable[[], None] = lambda: None) -> None:
    """
    Let SIGTERM and SIGINT set *flag* and call *then*; a second one ends the process at once with 128 + its number.

    *then* runs inside a signal handler: no locks, no waiting.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        if flag():
            os._exit(128 + number)
        flag.signal = number
        flag.set()
        then()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def die_with_parent(parent: int) -> None:
    """
    Send this process SIGTERM when its parent, process *parent*, dies.

    On Linux the kernel does it; elsewhere a thread looks twice a second.
    """
    by_kernel = False
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        by_kernel = libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) == 0
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGTERM)
    elif not by_kernel:
        threading.Thread(target=_watch_parent, args=(parent,), name="parent-watch", daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
