"""The status page over HTTP: what it answers, to whom, with which headers; and its stream of events."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests import make
from tests.support.waiting import until
from worker.edges import status_board, status_page
from worker.edges.health import HealthServer
from worker.edges.status_board import POLLER_COUNTERS, WORKER_COUNTERS, StatusBoard, counts_of, feeds_of
from worker.edges.status_page import StatusPage, frame
from worker.feed_config import FeedConfig
from worker.metrics import Metrics
from worker.records import FeedState, RegionTag, Tags
from worker.status import MAX_STORIES


class Served:
    """A page that is served, and what it shows."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.reasons: list[str] = []
        self.board = StatusBoard(reasons=lambda: self.reasons)
        self.board.shows_stories = True
        self.metrics = Metrics(CollectorRegistry(), fetch_reasons=["dns"])
        self.board.counts.append(counts_of(self.metrics.registry, WORKER_COUNTERS))
        self.server = HealthServer(
            host=host,
            port=0,
            registry=self.metrics.registry,
            alive=lambda: True,
            reasons=lambda: self.reasons,
            page=StatusPage(self.board),
        )
        self.server.start()

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        return answer, said

    def story(self, name: str, region: str = "CN") -> None:
        tags = Tags(regions=(RegionTag(code=region, about=True, relevance=50),))
        self.board.enriched(make.enriched(article=make.article(title=name), tags=tags), ())


@pytest.fixture
def served() -> Iterator[Served]:
    its = Served()
    yield its
    its.server.close()


class Listener:
    """A reader of `/events`."""

    def __init__(self, served: Served, query: str = "", last_event: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", served.server.port, timeout=20)
        headers = {} if last_event is None else {"Last-Event-ID": last_event}
        self._connection.request("GET", f"/events?{query}", headers=headers)
        self.answer = self._connection.getresponse()

    def __iter__(self) -> Iterator[tuple[str, str, Any]]:
        """Yield the type, the id and the data of each event; of a comment its text."""
        name = number = ""
        while line := self.answer.readline().decode().rstrip("\n"):
            while line:
                key, _, value = line.partition(": ")
                if key == "event":
                    name = value
                elif key == "id":
                    number = value
                elif key == "data":
                    yield name, number, json.loads(value)
                elif not key:
                    yield "comment", "", value
                line = self.answer.readline().decode().rstrip("\n")

    def stories(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((number, data) for name, number, data in self if name == "stories")

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


@pytest.mark.parametrize(
    "path", ["/", "/status.json", "/status.css", "/status.js", "/status.svg", "/metrics", "/nothing"]
)
def test_every_answer_forbids_what_the_page_does_not_need(served: Served, path: str) -> None:
    answer, said = served.ask(path)
    policy = dict(each.split(" ", 1) for each in answer.headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("frame-ancestors") == "'none'"
    assert set(policy.values()) <= {"'self'", "'none'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.status == (404 if path == "/nothing" else 200)
    assert int(answer.headers["Content-Length"]) == len(said.encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/status.json", "/livez"])
def test_nothing_but_get_and_head_is_allowed(served: Served, method: str, path: str) -> None:
    answer, said = served.ask(path, method)
    assert (answer.status, answer.headers["Allow"], said) == (405, "GET, HEAD", "")


@pytest.mark.parametrize("path", ["/", "/status.json", "/events", "/readyz"])
def test_head_gives_the_headers_alone(served: Served, path: str) -> None:
    answer, said = served.ask(path, "HEAD")
    assert (answer.status, said) == (200, "")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9464", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("dateline.localhost", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:9464", 421),
        ("localhost.evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_on_loopback_a_name_that_dns_could_turn_here_is_refused(served: Served, host: str, status: int) -> None:
    for path in ("/", "/status.json", "/events?x", "/metrics"):
        answer, said = served.ask(path, "HEAD", Host=host)
        assert answer.status == status
        assert said == ""


def test_bound_to_the_network_it_answers_under_any_name() -> None:
    its = Served("0.0.0.0")
    try:
        assert its.ask(Host="dateline-worker.news.svc:9464")[0].status == 200
    finally:
        its.server.close()


def test_a_malformed_request_is_refused_without_repeating_it(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as line:
        line.sendall(b"GET /<script> HTTP/9.9 <script>\r\n\r\n")
        said = line.makefile("rb").read()
    assert b"400" in said
    assert b"<script>" not in said


def test_counters_readiness_and_stories_are_shown_and_filtered(served: Served) -> None:
    served.metrics.records_in.inc(1234)
    served.metrics.records_out.labels("dead-letter").inc(2)
    served.reasons.append("seen store: redis://name:word@host is away")
    served.story("first <b>")
    served.story("second", "KP")
    said = served.ask("/")[1]
    assert "1\u202f234" in said
    assert "Not ready" in said
    assert "word@" not in said
    assert "first &lt;b&gt;" in said
    filtered = served.ask("/?region=KP&topic=&x=y")[1]
    assert "second" in filtered
    assert "first &lt;b&gt;" not in filtered
    machine = json.loads(served.ask("/status.json?region=KP")[1])
    assert [story["title"] for story in machine["stories"]] == ["second"]
    assert machine["counters"][0]["total"] == 1234
    assert machine["reasons"] == ["seen store: redis://***@host is away"]


@pytest.mark.parametrize(
    "query", ["region=%00%ff&region=" + "x" * 5000, "&" * 5000, "=" * 100, "%", "after=b.9" + "9" * 50]
)
def test_odd_queries_are_answered(served: Served, query: str) -> None:
    assert served.ask(f"/?{query}")[0].status == 200
    assert served.ask(f"/status.json?{query}")[0].status == 200


def test_the_ring_is_bounded_and_newest_first(served: Served) -> None:
    for number in range(MAX_STORIES + 50):
        served.story(f"story {number}")
    stories = served.board.status().stories
    assert stories is not None
    assert len(stories) == MAX_STORIES
    assert stories[0].title == f"story {MAX_STORIES + 49}"


def test_rates_are_of_the_last_seconds(served: Served) -> None:
    served.board.sample()
    served.metrics.records_in.inc(30)
    time.sleep(1.2)
    rate = served.board.status().counters[0].per_second
    assert rate is not None
    assert 3 < rate <= 25


def test_looking_often_costs_no_more(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def count() -> dict[str, int]:
        looked.append(1)
        return {}

    served.board.counts.append(count)
    monkeypatch.setattr(status_board, "_SAMPLE_S", 60.0)
    for _ in range(20):
        served.board.status()
    assert len(looked) == 1


def test_a_ring_that_changes_meanwhile_is_read_again() -> None:
    tries = iter([RuntimeError("deque mutated during iteration"), None])

    def read() -> tuple[int, ...]:
        if error := next(tries):
            raise error
        return (1,)

    assert status_board._undisturbed(read) == (1,)


def test_listeners_hear_of_what_changes(served: Served) -> None:
    served.story("old")
    boot = served.board.boot
    listener = Listener(served, f"after={boot}.1")
    assert listener.answer.headers["Content-Type"] == "text/event-stream"
    heard = iter(listener)
    first = [next(heard), next(heard)]
    assert {data["id"] for _, _, data in first} == {"counters", "readiness"}
    served.metrics.records_in.inc(77)
    served.story("fresh <i>")
    served.reasons.append("log: away")
    parts: dict[str, str] = {}
    told = []
    for name, number, data in heard:
        if name == "stories":
            told.append((number, data))
        else:
            parts[data["id"]] = data["html"]
        if told and "log: away" in parts.get("readiness", "") and ">77<" in parts.get("counters", ""):
            break
    [(number, data)] = told
    assert number == f"{boot}.2"
    assert "fresh &lt;i&gt;" in data["html"]
    assert "old" not in data["html"]
    assert (data["count"], data["left"], data["all"]) == (1, 0, False)
    listener.close()


def test_who_comes_back_hears_what_was_missed_and_after_a_restart_everything(served: Served) -> None:
    for number in range(40):
        served.story(f"story {number}", "KP" if number % 2 else "CN")
    boot = served.board.boot
    for query, last_event, all_again, count, left in (
        (f"after={boot}.1", f"{boot}.38", False, 2, 0),
        (f"after={boot}.38&region=KP", None, False, 1, 0),
        (f"after={boot}.0", None, False, 40, 40 - status_page._BURST),
        ("after=other.38", None, True, 40, 0),
        ("after=x", None, True, 40, 0),
    ):
        listener = Listener(served, query, last_event)
        heard, data = next(listener.stories())
        assert heard == f"{boot}.40"
        assert (data["all"], data["count"], data["left"]) == (all_again, count, left)
        listener.close()


def test_a_quiet_stream_gives_signs_of_life(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_page, "_HEARTBEAT_S", 0.1)
    listener = Listener(served, f"after={served.board.boot}.0")
    assert any(name == "comment" for name, _, _ in listener)
    listener.close()


def test_listeners_are_bounded_and_their_places_are_given_back(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_page, "_TICK_S", 0.05)
    monkeypatch.setattr(status_page, "_HEARTBEAT_S", 0.05)
    listeners = [Listener(served) for _ in range(status_page.MAX_LISTENERS)]
    assert {each.answer.status for each in listeners} == {200}
    assert served.ask("/events")[0].status == 503
    assert served.ask("/")[0].status == 200
    for each in listeners:
        each.close()

    def one_more() -> bool:
        listener = Listener(served)
        listener.close()
        return listener.answer.status == 200

    until(one_more, within_s=20)


def test_closing_sends_listeners_away() -> None:
    its = Served()
    listener = Listener(its)
    ended = threading.Thread(target=listener.answer.read, daemon=True)
    ended.start()
    its.server.close()
    ended.join(10)
    assert not ended.is_alive()
    listener.close()


def test_a_frame_is_one_event_whatever_it_holds() -> None:
    sent = frame("part", {"html": "a\n\ndata: b\r\nevent: x\u2028"}, "b.1").decode()
    head, data, *rest = sent.split("\n")[1:]
    assert head == "event: part"
    assert json.loads(data.removeprefix("data: ")) == {"html": "a\n\ndata: b\r\nevent: x\u2028"}
    assert rest == ["", ""]


def test_feeds_are_shown_with_the_failing_ones_first() -> None:
    feeds = [FeedConfig(id=name, url=f"https://{name}.example/") for name in ("a", "b", "c", "d")]
    fine = FeedState(feed="a", url="https://a.example/", last_success_at=make.NOW, last_error="old")
    bad = replace(fine, feed="c", failures=3, last_error="dns: https://u:p@c.example/?token=abc")
    states = {"a": fine, "c": bad, "b": replace(fine, feed="b", next_poll_at=make.NOW + timedelta(minutes=5))}
    off = FeedConfig(id="off", url="https://off.example/", enabled=False)
    known = feeds_of(lambda: [*feeds, off], states)()
    assert [(row.feed, row.state) for row in known.shown] == [
        ("c", "failing"), ("d", "not polled yet"), ("a", "ok"), ("b", "ok"),
    ]  # fmt: skip
    assert (known.total, known.failing) == (4, 1)
    assert known.shown[0].last_error == "dns: https://***@c.example/?token=***"
    assert known.shown[2].last_error is None


def test_of_many_feeds_the_worst_are_shown() -> None:
    feeds = [FeedConfig(id=f"f{number}", url="https://f.example/") for number in range(1000)]
    known = feeds_of(lambda: feeds, {"f999": FeedState(feed="f999", url="https://f.example/", failures=1)})()
    assert (known.total, known.failing, len(known.shown)) == (1000, 1, status_board.MAX_FEEDS)
    assert known.shown[0].feed == "f999"


def test_the_poller_counts_from_its_metrics() -> None:
    metrics = Metrics(CollectorRegistry(), fetch_reasons=["dns"])
    for result, times in (("ok", 2), ("not-modified", 1), ("dns", 4)):
        metrics.fetches.labels(result).inc(times)
    metrics.entries.labels("new").inc(5)
    metrics.entries.labels("known").inc(50)
    assert counts_of(metrics.registry, POLLER_COUNTERS)() == {"fetches": 7, "failed-fetches": 4, "entries": 5}
