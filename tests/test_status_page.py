"""The status page of real processes: what a worker, a poller and a whole run show."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import make
from tests.support.border_story import BODIES, TITLES
from tests.support.installation import Installation
from tests.support.services import free_ports, lasting_port
from tests.support.waiting import until
from worker.records import RawArticle

pytestmark = pytest.mark.timeout(300)
HOSTILE = "<b>Beijing</b> & \u202ePyongyang</script><script>alert(1)</script> 😀 𠮷"


def status(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=20) as answer:
        said: dict[str, Any] = json.load(answer)
        return said


def stories(port: int, process: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    _check_alive(process)
    try:
        return status(port)["stories"] or []
    except OSError:  # it is not up yet
        return []


@contextmanager
def started(installation: Installation, *command: str, port: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    environ = {} if port is None else {"DATELINE_HTTP_PORT": str(port)}
    process = installation.start(*command, environ=environ)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def articles() -> list[RawArticle]:
    told = [
        make.raw_article(language, title=TITLES[language], summary=BODIES[language], language=language)
        for language in TITLES
    ]
    return [*told, make.raw_article("hostile", title=HOSTILE, summary="Beijing and Pyongyang trade coal. " * 30)]


def append(installation: Installation, *given: RawArticle) -> None:
    with installation.log() as log, closing(log.appender()) as appender:
        appender.append([make.raw_record(each, topic=installation.topics.raw) for each in given])


def feed_list(folder: Path) -> Path:
    items = "".join(
        f"<item><title>{title}</title><link>https://wire.example.org/{language}</link><guid>{language}</guid>"
        f"<description>{BODIES[language]}</description></item>"
        for language, title in TITLES.items()
    )
    (folder / "good.xml").write_text(f"<rss version='2.0'><channel><title>Wire</title>{items}</channel></rss>")
    feeds = folder / "feeds.yaml"
    feeds.write_text("feeds:\n- id: good\n  path: good.xml\n- id: bad\n  path: absent.xml\n")
    return feeds


def test_a_worker_shows_its_partitions_and_what_it_committed(installation: Installation) -> None:
    port = free_ports(1)[0]
    with started(installation, "enrich", "--create-topics", port=port) as process:
        until(lambda: _ready(port, process), within_s=120)
        append(installation, *articles(), articles()[0])
        until(lambda: len(stories(port, process)) == 4, within_s=60)
        until(lambda: sum(p["lag"] or 0 for p in status(port)["partitions"]) == 0, within_s=30)
        shown = status(port)
    assert shown["process"].startswith("worker ")
    assert {each["partition"] for each in shown["partitions"]} == {0, 1, 2, 3}
    assert shown["feeds"] is None
    totals = {each["name"]: each["total"] for each in shown["counters"]}
    assert totals == {"read": 5, "new": 4, "update": 0, "repeat": 1, "copy": 0, "dead-letter": 0}
    for story in shown["stories"]:
        for each in story["tags"]["evidence"]:
            if each["end"] <= len(story["lead"]) or each["field"] == "title":
                text = story["title" if each["field"] == "title" else "lead"]
                assert text[each["start"] : each["end"]] == each["text"]


def test_a_poller_shows_its_feeds(installation: Installation, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    if not installation_embedded(installation):
        assert installation.run("topics", "apply").returncode == 0
    with started(installation, "poll", "--feeds", str(feed_list(tmp_path)), port=port) as process:
        until(
            lambda: _ready(port, process) and all(row["state"] != "not polled yet" for row in _feeds(port)), within_s=90
        )
        shown = status(port)
    assert [(row["feed"], row["state"]) for row in shown["feeds"]["shown"]] == [("bad", "failing"), ("good", "ok")]
    assert shown["feeds"]["shown"][0]["lastError"]
    assert shown["feeds"]["shown"][1]["lastNewAt"]
    assert (shown["process"], shown["stories"], shown["partitions"]) == ("poller", None, None)


def test_a_run_shows_feeds_and_stories_on_one_page_and_the_last_ones_again_after_a_restart(
    installation: Installation, tmp_path: Path
) -> None:
    port = lasting_port(following=1)
    command = ("run", "--feeds", str(feed_list(tmp_path)), "--http-port", str(port))
    with started(installation, *command) as process:
        until(lambda: len(stories(port, process)) == 3, within_s=120)
        until(lambda: all(not each["lag"] for each in status(port)["partitions"]), within_s=30)
        shown = status(port)
        assert {each["name"]: each["total"] for each in shown["counters"]}["new"] == 3
        assert shown["feeds"]["total"] == 2
        assert len(shown["partitions"]) == 4
    with started(installation, *command) as process:
        until(lambda: len(stories(port, process)) == 3, within_s=120)
        assert {each["name"]: each["total"] for each in status(port)["counters"]}["new"] == 0


def test_without_a_configured_port_a_run_offers_a_page_and_says_where(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    del installation.environ["DATELINE_HTTP_PORT"]
    with started(installation, "run", "--feeds", str(feed_list(tmp_path))) as process:
        [said] = until_said(tmp_path, r"status page: (http://127\.0\.0\.1:(\d+)/)")
        assert stories(int(said[1]), process) is not None
        with urllib.request.urlopen(said[0], timeout=20) as answer:
            assert b"<h1>Dateline</h1>" in answer.read()


def test_port_0_means_no_page(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with started(installation, "run", "--feeds", str(feed_list(tmp_path))):
        until_said(tmp_path, r"worker started")
        assert "status page" not in _said(tmp_path)


def until_said(folder: Path, pattern: str) -> list[Any]:
    until(lambda: re.search(pattern, _said(folder)), within_s=60, what=pattern)
    return re.findall(pattern, _said(folder))


def _said(folder: Path) -> str:
    return "".join(each.read_text("utf-8") for each in folder.glob("*.log"))


def _check_alive(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, f"ended with {process.returncode}"


def _ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    _check_alive(process)
    try:
        return not status(port)["reasons"]
    except OSError:
        return False


def _feeds(port: int) -> list[dict[str, Any]]:
    feeds = status(port)["feeds"]
    return feeds["shown"] if feeds else []


def installation_embedded(installation: Installation) -> bool:
    return "DATELINE_KAFKA_BOOTSTRAP" not in installation.environ
