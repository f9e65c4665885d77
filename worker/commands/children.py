"""The worker processes that `dateline run` starts, watches, starts again and stops."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.edges.process import ExitCode
from worker.settings import Settings

logger = logging.getLogger(__name__)
FINAL = frozenset(
    {ExitCode.SETTINGS, ExitCode.FENCED, ExitCode.NOT_AUTHORISED, ExitCode.UNREADABLE, ExitCode.DEAD_LETTERS}
)
"""Exit codes that a restart does not mend: everything stops with them."""
_LONGEST_BACKOFF_S = 30.0
_STEADY_S = 60.0
"""A worker that ran for so long may fail as if for the first time."""


def command_of(args: argparse.Namespace, settings: Settings, index: int) -> list[str]:
    """Return the command line of worker *index*; it reads the same settings as this process."""
    command = [sys.executable, "-m", "worker", "enrich", "--create-topics", "--one-machine"]
    command += ["--index", str(index), "--parent", str(os.getpid())]
    for flag, value in (
        ("--config", args.config),
        ("--data", args.data),
        ("--log-level", args.log_level),
        ("--log-format", args.log_format),
    ):
        if value is not None:
            command += [flag, str(value)]
    # The answers of this process stand on the configured port, those of its workers on the following ones.
    port = settings.http.port
    return [*command, "--http-port", str(port + 1 + index if port else 0)]


@dataclass(slots=True)
class _Child:
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    again_at: float = 0.0


class Children:
    """Worker processes; `watch` must be called often."""

    def __init__(self, commands: list[list[str]], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._children = [_Child(command=command) for command in commands]

    def start(self) -> None:
        for child in self._children:
            self._start(child)

    def watch(self) -> int | None:
        """Start again what has ended; return an exit code when everything has to stop because of one."""
        for index, child in enumerate(self._children):
            if child.process is None:
                if self._monotonic() >= child.again_at:
                    self._start(child)
            elif (code := child.process.poll()) is not None:
                if code in FINAL:
                    logger.error("worker ended for good", extra={"index": index, "exit": code})
                    return code
                self._mourn(index, child, code)
        return None

    @property
    def down(self) -> int:
        """How many have ended and are not started again yet."""
        return sum(child.process is None for child in self._children)

    @property
    def worst_failures(self) -> int:
        """How often in a row the worker that fares worst has failed."""
        return max(child.failures for child in self._children)

    def stop(self, *, within_s: float) -> None:
        """Ask all to end; kill those that have not after *within_s*."""
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = self._monotonic() + within_s
        for process in running:
            try:
                process.wait(max(0.1, deadline - self._monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("a worker did not stop in time and was killed", extra={"pid": process.pid})
                process.kill()
                process.wait()

    def _start(self, child: _Child) -> None:
        # A session of its own: Ctrl-C reaches only this process, which then stops its workers in order.
        child.process = subprocess.Popen(child.command, stdin=subprocess.DEVNULL, start_new_session=True)
        child.started = self._monotonic()

    def _mourn(self, index: int, child: _Child, code: int) -> None:
        now = self._monotonic()
        child.failures = 1 if now - child.started > _STEADY_S else child.failures + 1
        wait = min(_LONGEST_BACKOFF_S, 2.0 ** (child.failures - 1))
        child.process, child.again_at = None, now + wait
        logger.warning("worker ended; starting it again", extra={"index": index, "exit": code, "after_s": wait})
