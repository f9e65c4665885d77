"""A real Prometheus asks a running poller and worker, and answers what every panel and every rule wants to know."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from tests.support.border_story import BODIES, TITLES
from tests.support.installation import Installation
from tests.support.services import Prometheus, ServiceUnavailable, free_ports
from tests.support.waiting import until
from tests.support.web import item, rss

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
PATIENCE_S = 90.0
STANDS_FOR = {
    "$namespace": ".*",
    "$job": ".*",
    "$__rate_interval": "5m",
    "$__range": "6h",
}
EMPTY = {
    ("feeds: New entries, and a week ago", "a week ago"): "this Prometheus was not there a week ago",
}
"""Panels' queries that may give nothing here, by panel and legend, and why; all others must give series."""
QUIET = {"DatelineDeadLetterRun", "DatelineFeedFails"}
"""Alerts that may be pending or firing here: what is fed provokes no others."""


class Papers:
    """A site of one feed that fails and of others that say what they are told."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        documents = self.documents

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = documents.get(self.path, b"")
                self.send_response(200 if body else 404)
                kind = "text/html" if self.path == "/page" else "application/rss+xml"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def papers() -> Iterator[Papers]:
    papers = Papers()
    yield papers
    papers.close()


def entry(number: int, language: str, **more: str) -> str:
    """Return the border story in one of its languages as an item."""
    fields = {"title": TITLES[language], **more}
    return item(number, BODIES[language].replace("\n", "&lt;p&gt;"), **fields)


def first_edition(papers: Papers) -> None:
    papers.documents["/courier"] = rss(item(1), entry(2, "en"))
    papers.documents["/herald"] = rss(
        item(50, "The ferry company adds two sailings a day from the harbour this summer.")
    )


def second_edition(papers: Papers) -> None:
    """One story is changed, three are new, one is another paper's, one has no text at all, one has a page."""
    now = datetime.now(UTC)
    earlier, later = (format_datetime(now + timedelta(hours=hours)) for hours in (-1, 48))
    papers.documents["/courier"] = rss(
        item(1, "The council met, adjourned, and met again after a night of talks about the bridge over the river."),
        entry(2, "en"),
        entry(3, "ko", pubDate=earlier),
        entry(4, "zh", pubDate=later),
        "<item><link>https://courier.example/5</link><guid>c-5</guid></item>",
    )
    page = f"http://127.0.0.1:{papers.port}/page"
    papers.documents["/page"] = b"<html><body><article><p>The orchard growers sold more pears than ever.</p></article>"
    papers.documents["/herald"] = rss(
        item(51, "Pears.", link=page, guid="h-51"),
        entry(52, "en", link="https://herald.example/52", guid="h-52"),
    )


@pytest.fixture
def installed(tmp_path: Path, papers: Papers) -> Iterator[Prometheus]:
    """Give a Prometheus that has seen a poller and a worker do each kind of work."""
    installation = Installation(tmp_path)
    site = f"http://127.0.0.1:{papers.port}"
    feeds = tmp_path / "feeds.yaml"
    feeds.write_text(
        "defaults: {private: true, interval: 10s, maxAge: 3650d}\nfeeds:\n"
        f"  - {{id: courier, url: '{site}/courier'}}\n  - {{id: gone, url: '{site}/gone'}}\n"
        f"  - {{id: herald, url: '{site}/herald', fullText: always}}\n",
        "utf-8",
    )
    polled, worked = free_ports(2)
    rules = (RULES, always_firing(tmp_path / "always.yaml"))
    prometheus = Prometheus({"dateline-poller": polled, "dateline-worker": worked}, rules)
    first_edition(papers)
    environ = {"DATELINE_POLLER_PORTS": str(papers.port)}
    processes = []
    try:
        try:
            prometheus.start()
        except ServiceUnavailable as error:
            pytest.skip(f"need {error.service}: {error.reason}")
        processes.append(installation.start("enrich", environ={"DATELINE_HTTP_PORT": str(worked)}))
        until(lambda: answers(worked), within_s=PATIENCE_S)
        command = ("poll", "--feeds", str(feeds))
        processes.append(installation.start(*command, environ={**environ, "DATELINE_HTTP_PORT": str(polled)}))
        until(lambda: counted(prometheus, 'dateline_records_total{outcome="new"}') >= 3, within_s=PATIENCE_S)
        second_edition(papers)
        for outcome in ("new", "update", "copy", "dead-letter"):
            increase = f'increase(dateline_records_total{{outcome="{outcome}"}}[5m])'
            until(partial(counted, prometheus, increase), within_s=PATIENCE_S, what=outcome)
        pages = 'increase(dateline_page_fetches_total{result="ok"}[5m])'
        until(partial(counted, prometheus, pages), within_s=PATIENCE_S, what="a page")
        yield prometheus
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(30)
        prometheus.remove()


def always_firing(path: Path) -> Path:
    """Write rules that fire each alert of RULES, so that its texts are made."""
    rules = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    firing = [
        {"alert": rule["alert"], "labels": rule["labels"], "annotations": rule["annotations"], "expr": "vector(12.5)"}
        for rule in rules
        if "alert" in rule
    ]
    path.write_text(yaml.safe_dump({"groups": [{"name": "always", "rules": firing}]}), "utf-8")
    return path


def rules_of(prometheus: Prometheus, file: Path) -> list[dict[str, Any]]:
    """Return the rules that *prometheus* has from *file*."""
    groups = prometheus.ask("rules")["groups"]
    return [rule for group in groups if Path(group["file"]).name == file.name for rule in group["rules"]]


def alerts(prometheus: Prometheus) -> set[str]:
    """Return the names of the alerts that are pending or firing."""
    return {rule["name"] for rule in rules_of(prometheus, RULES) if rule["type"] == "alerting" and rule["alerts"]}


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def counted(prometheus: Prometheus, expression: str) -> float:
    return sum(float(each["value"][1]) for each in prometheus.query(expression))


def asked(expression: str, variables: Mapping[str, str] = STANDS_FOR) -> str:
    """Return *expression* as Grafana would send it."""
    for name, value in variables.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.promtool
def test_every_panel_and_every_rule_gets_its_answer(installed: Prometheus) -> None:
    faults, nothing = [], set()
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                where = (f"{path.stem}: {panel['title']}", target["legendFormat"])
                try:
                    series = installed.query(asked(target["expr"]))
                except ValueError as error:
                    faults.append((where, str(error)))
                    continue
                if not series or all(each["value"][1] == "NaN" for each in series):
                    nothing.add(where)
    assert faults == []
    assert nothing == set(EMPTY), "see EMPTY"

    allowed = QUIET | {"DatelineFeedsFailing"}  # one of three feeds is gone
    # What has just been scraped may not have been evaluated yet.
    until(lambda: alerts(installed) <= allowed, within_s=30, what=f"no other alerts than {allowed}")
    rules = rules_of(installed, RULES)
    assert len(rules) == sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"])
    for rule in rules:
        installed.query(rule["query"])
        assert rule.get("lastError", "") == "", rule["name"]
    for name in ("dateline:late_10s:ratio_rate5m", "dateline:late_60s:ratio_rate3d"):
        until(lambda name=name: counted(installed, f"count({name})") == 1, within_s=60, what=name)  # type: ignore[misc]

    for rule in rules_of(installed, Path("always.yaml")):
        (alert,) = rule["alerts"]
        texts = "".join(alert["annotations"].values())
        assert not re.search(r"error|<no value>|\{\{|%!", texts), texts
    assert len(rules_of(installed, Path("always.yaml"))) == sum(rule["type"] == "alerting" for rule in rules)

    # What a person chooses reaches the queries.
    chosen = {**STANDS_FOR, "$job": "dateline-poller"}
    assert installed.query(asked('dateline_feeds{namespace=~"$namespace", job=~"$job"}', chosen))[0]["value"][1] == "3"
    nobody = {**STANDS_FOR, "$namespace": "nowhere"}
    assert installed.query(asked('dateline_feeds{namespace=~"$namespace", job=~"$job"}', nobody)) == []
