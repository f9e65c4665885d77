"""One thread for work that may wait for a broker long after everything else has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThread(Executor):
    """Does one thing after the other. Unlike a pool of the standard library it does not keep the process alive."""

    def __init__(self, name: str) -> None:
        self._todo: SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._todo.put((future, partial(fn, *args, **kwargs)))  # type: ignore[arg-type]  # futures of any result
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further work; never waits. What has not begun is done still, unless the process ends first."""
        del wait, cancel_futures
        self._todo.put(None)

    def _run(self) -> None:
        while (next_one := self._todo.get()) is not None:
            future, work = next_one
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  (whoever waits for the result gets it)
                future.set_exception(error)
