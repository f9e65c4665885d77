"""The status page over HTTP: `/`, its style and script, `/status.json`, and `/events` for those who keep looking."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import parse_qsl, urlencode

import msgspec

from worker import status_html
from worker.edges.status_board import StatusBoard
from worker.status import FILTERS, MAX_STORIES, Status, StoryFilter, StoryView

MAX_LISTENERS = 16
_TICK_S = 1.0
_HEARTBEAT_S = 15.0
_BURST = 25
"""More stories than this at once are only counted: nobody reads so fast."""
_KINDS = {
    "/status.css": "text/css; charset=utf-8",
    "/status.js": "text/javascript; charset=utf-8",
    "/status.svg": "image/svg+xml",
}
_MAX_QUERY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back; *body* as a whole, or for as long as somebody listens."""

    status: int
    kind: str
    body: bytes | Iterator[bytes]


class StatusPage:
    """Renders in the threads of those who ask, one at a time, so that the process's own work goes first."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._rendering = threading.Lock()
        self._listeners = threading.BoundedSemaphore(MAX_LISTENERS)
        self._closed = threading.Event()
        self._parts: tuple[Status | None, dict[str, str]] = (None, {})

    def close(self) -> None:
        """Send the listeners away."""
        self._closed.set()

    def sample(self) -> None:
        """Look at the counters; called about twice a second."""
        self._board.sample()

    def answer(self, path: str, query: str, *, last_event: str | None, head: bool) -> Answer | None:
        """Return the answer at *path*; None: there is nothing."""
        if path in _KINDS:
            return Answer(status=200, kind=_KINDS[path], body=files("worker").joinpath("page", path[1:]).read_bytes())
        given = _parameters(query)
        wanted = StoryFilter.of(given)
        match path:
            case "/":
                with self._rendering:
                    text = status_html.page(self._board.status(), wanted, _query_of(wanted))
                return Answer(status=200, kind="text/html; charset=utf-8", body=text.encode("utf-8", "replace"))
            case "/status.json":
                with self._rendering:
                    return Answer(status=200, kind="application/json", body=_json(self._board.status(), wanted))
            case "/events" if head:
                return Answer(status=200, kind="text/event-stream", body=b"")
            case "/events":
                if not self._listeners.acquire(blocking=False):
                    text = f"{MAX_LISTENERS} listen already\n"
                    return Answer(status=503, kind="text/plain; charset=utf-8", body=text.encode())
                listening = self._listen(wanted, last_event or given.get("after", ""))
                return Answer(status=200, kind="text/event-stream", body=listening)
        return None

    def left(self) -> None:
        """Note that a listener has gone; whoever sent what `answer` gave calls this."""
        self._listeners.release()

    def _listen(self, wanted: StoryFilter, after: str) -> Iterator[bytes]:
        """Yield what changes, and a sign of life when nothing does."""
        boot, _, number = after.partition(".")
        known = boot == self._board.boot and number.isdecimal() and len(number) < 20
        last = int(number) if known else 0
        replace = not known
        shown: dict[str, str] = {}
        quiet_since = time.monotonic()
        yield b"retry: 3000\n\n"
        while True:
            with self._rendering:
                status = self._board.status()
                frames = self._changed(status, shown)
                if status.stories is not None:
                    fresh = [story for story in status.stories if story.number > last]
                    if fresh or replace:
                        last = max([last, *(story.number for story in fresh)])
                        admitted = [story for story in fresh if wanted.admits(story)]
                        frames.append(_stories(admitted, replace=replace, number=f"{status.boot}.{last}"))
                        replace = False
            now = time.monotonic()
            if not frames and now - quiet_since >= _HEARTBEAT_S:
                frames = [b": still here\n\n"]
            if frames:
                quiet_since = now
                yield b"".join(frames)
            if self._closed.wait(_TICK_S):
                return

    def _changed(self, status: Status, shown: dict[str, str]) -> list[bytes]:
        """Return the parts that this listener has not *shown* so, and note them; they are made once for all."""
        if self._parts[0] is not status:
            self._parts = (status, status_html.parts(status))
        changed = {name: text for name, text in self._parts[1].items() if shown.get(name) != text}
        shown.update(changed)
        return [frame("part", {"id": name, "html": text}) for name, text in changed.items()]


def frame(event: str, data: Mapping[str, object], number: str | None = None) -> bytes:
    """Return one server-sent event; JSON has no line break that could end it early."""
    named = f"id: {number}\n".encode() if number else b""
    return b"%bevent: %b\ndata: %b\n\n" % (named, event.encode(), msgspec.json.encode(data))


def _stories(stories: list[StoryView], *, replace: bool, number: str) -> bytes:
    most = MAX_STORIES if replace else _BURST
    html = status_html.story_items(stories[:most]).encode("utf-8", "replace").decode()
    left = max(0, len(stories) - most)
    return frame("stories", {"html": html, "count": len(stories), "left": left, "all": replace}, number)


def _parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query[:_MAX_QUERY], max_num_fields=20))
    except ValueError:
        return {}


def _query_of(wanted: StoryFilter) -> str:
    return urlencode({name: value for name in FILTERS if (value := getattr(wanted, name))})


def _json(status: Status, wanted: StoryFilter) -> bytes:
    if wanted and status.stories is not None:
        kept = tuple(story for story in status.stories if wanted.admits(story))
        status = msgspec.structs.replace(status, stories=kept)
    return msgspec.json.encode(status)
