"""What the process tells its surroundings, over HTTP on a port of its own: /metrics, /livez, /readyz."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

logger = logging.getLogger(__name__)
Answer = tuple[int, str, bytes]


class Readiness:
    """The reasons why the process cannot work now; ready when there is none."""

    def __init__(self, *starting: str) -> None:
        self._reasons = dict.fromkeys(starting, "starting")

    def blocked(self, part: str, reason: str) -> None:
        """Note that *part* (`log`, `seen store`, …) keeps the process from working."""
        self._reasons = {**self._reasons, part: reason}

    def clear(self, part: str) -> None:
        """Note that *part* works."""
        if part in self._reasons:
            self._reasons = {name: why for name, why in self._reasons.items() if name != part}

    def reasons(self) -> list[str]:
        """Return why not; empty when ready."""
        return [f"{part}: {reason}" for part, reason in self._reasons.items()]


class HealthServer:
    """Answers in a thread, so that a busy loop can still be asked; `alive` and `reasons` must be quick."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        alive: Callable[[], bool],
        reasons: Callable[[], list[str]],
    ) -> None:
        """Bind at once. Port 0 takes a free one. Raises: OSError: the address is not to be had."""
        self._registry = registry
        self._alive = alive
        self._reasons = reasons

        class Handler(_Handler):
            answer = staticmethod(self._answer)

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> Answer:
        match path.partition("?")[0]:
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case "/livez":
                return (200, "text/plain", b"alive\n") if self._alive() else (503, "text/plain", b"loop stands still\n")
            case "/readyz":
                reasons = self._reasons()
                text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
                return 503 if reasons else 200, "text/plain; charset=utf-8", text.encode()
        return 404, "text/plain", b"/metrics /livez /readyz\n"


class _Handler(BaseHTTPRequestHandler):
    answer: ClassVar[Callable[..., Answer]]
    timeout = 5  # seconds for a client to say what it wants
    server_version = "dateline"
    sys_version = ""

    def do_GET(self) -> None:
        status, kind, body = type(self).answer(self.path)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        logger.debug("health request", extra={"request": format % args, "client": self.client_address[0]})
