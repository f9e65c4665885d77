"""What the process tells its surroundings, over HTTP on a port of its own: the probes, the metrics, the status page."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from worker.edges.status_page import Answer, StatusPage

logger = logging.getLogger(__name__)
_TEXT = "text/plain; charset=utf-8"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


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
        page: StatusPage,
    ) -> None:
        """Bind at once. Port 0 takes a free one. Raises: OSError: the address is not to be had."""
        self._registry = registry
        self._alive = alive
        self._reasons = reasons
        self._page = page

        class Handler(_Handler):
            health = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def service_actions(self) -> None:
                page.sample()

        self._server = Server((host, port), Handler)
        self.port = int(self._server.server_address[1])
        self._host = str(self._server.server_address[0])
        self._guarded = _is_loopback(self._host)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def url(self) -> str:
        """Return the address of the status page, as this machine reaches it."""
        return f"http://{self._host}:{self.port}/"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._page.close()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, target: str, *, host: str | None, last_event: str | None, head: bool) -> Answer:
        """Return what is said at *target*; *host* and *last_event* as the headers of these names."""
        if self._guarded and not _names_an_address(host):
            # A web page elsewhere whose name was made to point here must not read what this machine's user may.
            return Answer(status=421, kind=_TEXT, body=b"ask for an IP address or localhost\n")
        path, _, query = target.partition("?")
        match path:
            case "/metrics":
                return Answer(status=200, kind=CONTENT_TYPE_LATEST, body=generate_latest(self._registry))
            case "/livez":
                alive = self._alive()
                said = b"alive\n" if alive else b"loop stands still\n"
                return Answer(status=200 if alive else 503, kind=_TEXT, body=said)
            case "/readyz":
                reasons = self._reasons()
                text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
                return Answer(status=503 if reasons else 200, kind=_TEXT, body=text.encode())
        answer = self._page.answer(path, query, last_event=last_event, head=head)
        return answer or Answer(status=404, kind=_TEXT, body=b"/ /status.json /metrics /livez /readyz\n")

    def listener_left(self) -> None:
        self._page.left()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_an_address(host: str | None) -> bool:
    """Tell whether the header `Host` gives an IP address or localhost, which no DNS answer can turn elsewhere."""
    if host is None:
        return True  # no browser leaves it out
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


class _Handler(BaseHTTPRequestHandler):
    health: ClassVar[HealthServer]
    timeout = 5  # seconds for a client to say what it wants, and to take a piece of what it gets
    server_version = "dateline"
    sys_version = ""

    def do_GET(self) -> None:
        head = self.command == "HEAD"
        answer = self.health.answer(
            self.path, host=self.headers.get("Host"), last_event=self.headers.get("Last-Event-ID"), head=head
        )
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        if isinstance(answer.body, bytes):
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if not head:
                self.wfile.write(answer.body)
        else:
            try:
                self.end_headers()
                self._send(answer.body)
            finally:
                self.health.listener_left()

    do_HEAD = do_GET  # noqa: N815

    def _send(self, pieces: Iterator[bytes]) -> None:
        """Send *pieces* for as long as the client takes them."""
        try:
            for piece in pieces:
                self.wfile.write(piece)
        except OSError:
            logger.debug("listener left", extra={"client": self.client_address[0]})

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse what is no GET or HEAD, in words that repeat nothing of the request."""
        if code != 501:
            super().send_error(code, "bad request", "")
            return
        self.close_connection = True
        self.send_response(405)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        logger.debug("health request", extra={"request": format % args, "client": self.client_address[0]})
