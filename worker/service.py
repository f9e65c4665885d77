"""What every long-running command has: signals, watchdog, metrics, answers over HTTP, patience with an absent log."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from prometheus_client import CollectorRegistry

from worker import wire
from worker.edges.clock import SystemClock
from worker.edges.health import HealthServer, Readiness
from worker.edges.process import ExitCode, StopFlag, die_with_parent, stop_on_signals
from worker.edges.status_board import StatusBoard
from worker.edges.status_page import StatusPage
from worker.edges.watchdog import Watchdog
from worker.metrics import Metrics
from worker.polling import FetchReason
from worker.ports import LogUnavailable, SeenStoreAway, WrongSettings
from worker.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")
_NOT_FEEDS = ("empty", "not-a-feed", "doctype", "too-complex", "ill-formed", "json")
_PATIENCE_S = 2.0
_STUCK_S = 15.0
"""A step that takes longer waits for a broker or a store that does not answer."""
_KILL_MARGIN_S = 5.0
"""So long before the machine would kill the process it ends itself, and says where it stood."""


class Service:
    """One long-running process."""

    def __init__(
        self,
        settings: Settings,
        *,
        routes: Iterable[str] = (),
        feeds: Iterable[str] = (),
    ) -> None:
        """*routes*, *feeds*: what this process works with; its metrics count by these names."""
        self.stopping = StopFlag()
        self.clock = SystemClock(self.stopping)
        self.watchdog = Watchdog(limit_s=settings.worker.watchdog)
        self.readiness = Readiness("process")
        self.metrics = Metrics(
            CollectorRegistry(),
            reasons=wire.REASONS,
            fetch_reasons=(*FetchReason, *_NOT_FEEDS),
            routes=routes,
            feeds=feeds,
        )
        self.metrics.ready.set_function(lambda: not self.unready())
        self.metrics.loop_age.set_function(self.watchdog.age_s)
        self.board = StatusBoard(reasons=self.unready)
        self.page_url: str | None = None
        """Where the status page is; None: nowhere."""
        self._grace_s = settings.worker.grace - _KILL_MARGIN_S
        self._starting = False

    def stop(self) -> None:
        """Ask the loop to end; it has the grace period for that."""
        self.stopping.set()
        self.watchdog.stop_within(self._grace_s)

    def unready(self) -> list[str]:
        """Return why the process cannot work now; a loop that waits for an answer cannot say so itself."""
        reasons = self.readiness.reasons()
        if (age := self.watchdog.age_s()) > _STUCK_S:
            reasons.append(f"loop: in one step for {age:.0f} s")
        return reasons

    def on_signal(self) -> None:
        """Let the watchdog see to it that the process ends; runs in a signal handler."""
        if self._starting:
            # Nothing is open that would have to be ended, and the client may wait half a minute for its broker.
            os._exit(ExitCode.OK)
        self.watchdog.stop_within(self._grace_s)

    def patiently(self, part: str, work: Callable[[], T], *, besides: tuple[type[Exception], ...] = ()) -> T | None:
        """
        Do *work* again and again until the log or the store is there; None when the process is to stop before.

        *besides*: what else it may raise that is worth waiting for.

        Waiting shows signs of life: an absent broker is no reason to kill the process. For the start of a process only:
        a signal ends it on the spot.
        """
        waits: tuple[type[Exception], ...] = (LogUnavailable, SeenStoreAway, *besides)
        told = False
        while not self.stopping():
            self.watchdog.beat()
            self._starting = True
            try:
                result = work()
            except waits as error:
                reason = " ".join(str(error).split())
                self.readiness.blocked(part, reason)
                if not told:
                    logger.warning("waiting", extra={"for": part, "reason": reason})
                told = True
                self.stopping.wait(_PATIENCE_S)
            else:
                self.readiness.clear(part)
                return result
            finally:
                self._starting = False
        return None


@contextmanager
def serving(
    settings: Settings,
    *,
    routes: Iterable[str] = (),
    feeds: Iterable[str] = (),
    port: int | None = None,
    or_free: bool = False,
    parent: int | None = None,
) -> Iterator[Service]:
    """
    Give a service whose signals, watchdog and health answers work; they end with it.

    *port*: of the health answers, else the configured one, 0 for none. *or_free*: any other one when it is taken.
    *parent*: the process to die with.
    """
    service = Service(settings, routes=routes, feeds=feeds)
    stop_on_signals(service.stopping, then=service.on_signal)
    if parent is not None:
        die_with_parent(parent)
    service.watchdog.start()
    server = _health_server(settings, service, settings.http.port if port is None else port, or_free=or_free)
    try:
        yield service
    finally:
        if server is not None:
            server.close()
        service.watchdog.close()


def _health_server(settings: Settings, service: Service, port: int, *, or_free: bool) -> HealthServer | None:
    if not port:
        return None
    bind = partial(
        HealthServer,
        host=settings.http.host,
        registry=service.metrics.registry,
        alive=service.watchdog.alive,
        reasons=service.unready,
        page=StatusPage(service.board),
    )
    try:
        server = bind(port=port)
    except OSError as error:
        if not or_free:
            raise WrongSettings(f"http.port {settings.http.host}:{port}: {error.strerror}") from error
        server = bind(port=0)
    service.page_url = server.url
    server.start()
    return server


def parent_option(parser: argparse.ArgumentParser) -> None:
    """Add the option by which `run` tells its workers who started them."""
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
