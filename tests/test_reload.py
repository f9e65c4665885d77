"""Feed list and rules that change while the processes run; and the command that adds a feed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.waiting import until
from tests.support.web import item, rss
from worker.edges import feed_list
from worker.edges.process import ExitCode

TEXT = "The harbour council spoke of the ferry and of all the other ferries on Monday. " * 3
ROUTES = "routes:\n  - {name: ferries, when: {topic: ferries}}\n"
TOPIC = "names: {en: Ferries}\nterms: {en: {5: [ferry, ferries, harbour council]}}\n"


@pytest.fixture
def embedded(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def write_feeds(path: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (path.parent / f"{name}.xml").write_bytes(rss(item(number, TEXT)))
    lines = "".join(f"  - {{id: {name}, path: {name}.xml, interval: 10s}}\n" for name in names)
    path.write_text(f"feeds:\n{lines}", encoding="utf-8")


def test_rules_and_feeds_that_change_are_taken_over_by_what_runs(embedded: Installation) -> None:
    folder, rules = embedded.folder, embedded.folder / "rules"
    (rules / "topics").mkdir(parents=True)
    feeds = folder / "feeds.yaml"
    write_feeds(feeds, "quay")
    refresh = {"DATELINE_POLLER_FEEDS_REFRESH": "200ms", "DATELINE_TAXONOMY_REFRESH": "200ms"}
    process = embedded.start(
        "run", "--feeds", str(feeds), environ=refresh | {"DATELINE_TAXONOMY_DIR": str(rules)}
    )  # fmt: skip

    def said(text: str) -> bool:
        return any(text in path.read_text("utf-8") for path in folder.glob("run-*.log"))

    try:
        until(lambda: len(embedded.read([embedded.topics.enriched])) == 1, within_s=60)
        (rules / "topics" / "ferries.yaml").write_text(TOPIC, "utf-8")
        until(lambda: said("the taxonomy changed"), within_s=60)
        (rules / "routes.yaml").write_text("routes: [nonsense]\n", "utf-8")
        until(lambda: said("the taxonomy is not taken"), within_s=60)
        (rules / "routes.yaml").write_text(ROUTES, "utf-8")
        until(lambda: (folder / "data").exists() and said("the taxonomy changed") and _routed(embedded), within_s=60)
        feeds.write_text("feeds: [nonsense]\n", "utf-8")
        until(lambda: said("the feed list is not taken"), within_s=60)
        write_feeds(feeds, "quay", "bay")
        until(lambda: len(embedded.read([embedded.topics.route("ferries")])) == 1, within_s=60)
        assert len(embedded.read([embedded.topics.enriched])) == 2
        assert said('"the feed list changed"')
    finally:
        process.terminate()
    assert process.wait(30) == ExitCode.OK


def _routed(installation: Installation) -> bool:
    """Tell whether the route's topic was made, which the worker does before it uses the rules."""
    with installation.log() as log:
        return installation.topics.route("ferries") in log.topics()


def test_a_poller_with_a_list_from_an_address_keeps_it_over_a_restart(embedded: Installation) -> None:
    site = embedded.folder / "site"
    site.mkdir()
    (site / "bay.xml").write_bytes(rss(item(1, TEXT)))
    with served(site) as base:
        (site / "feeds.yaml").write_text(f"feeds: [{{id: bay, url: '{base}/bay.xml', private: true}}]\n", "utf-8")
        environ = {"DATELINE_POLLER_FEEDS_URL": f"{base}/feeds.yaml", "DATELINE_POLLER_FEEDS_PRIVATE": "true"}
        first = embedded.run("poll", "--once", environ=environ)
        assert b"feeds 1 (ok 1" in first.stdout, first.stderr
        (site / "feeds.yaml").unlink()
        second = embedded.run("poll", "--once", environ=environ)
        assert b"feeds 1 (ok 1, unchanged 0" in second.stdout or b"feeds 1 (ok 0, unchanged 1" in second.stdout
        assert b"the last good feed list is used" in second.stderr
        checked = embedded.run("feeds", "check", "--no-fetch", environ=environ)
        assert checked.stdout == b"1 feeds, nothing wrong in the list\n"
    added = embedded.run("feeds", "add", "https://example.org/a.xml", environ=environ)
    assert added.returncode == ExitCode.SETTINGS
    assert environ["DATELINE_POLLER_FEEDS_URL"].encode() in added.stderr


def test_feeds_add_makes_a_list_adds_to_it_and_refuses_what_is_there(embedded: Installation) -> None:
    path = embedded.folder / "feeds.yaml"
    command = ["feeds", "add", "https://example.org/a.xml", "--feeds", str(path)]
    made = embedded.run(*command, "--id", "a", "--title", "Bay Courier", "--labels", "country=KR;tier=1")
    assert made.returncode == ExitCode.OK, made.stderr
    assert b"added a" in made.stdout
    (feed,) = feed_list.read(path)
    assert (feed.id, feed.title, feed.labels) == ("a", "Bay Courier", {"country": "KR", "tier": "1"})
    again = embedded.run(*command)
    assert again.returncode == ExitCode.SETTINGS
    assert b"feeds.yaml" in again.stderr
    assert len(feed_list.read(path)) == 1


def test_in_a_cluster_feeds_add_names_the_source_of_truth_and_changes_nothing(embedded: Installation) -> None:
    path = embedded.folder / "feeds.yaml"
    path.write_text("feeds: [https://example.org/a.xml]\n", "utf-8")
    before = path.read_bytes()
    source = "value feeds.inline of the Helm release dateline in namespace news"
    environ = {"DATELINE_POLLER_FEEDS_SOURCE": source}
    ran = embedded.run("feeds", "add", "https://example.org/b.xml", "--feeds", str(path), environ=environ)
    assert ran.returncode == ExitCode.SETTINGS
    assert source.encode() in ran.stderr
    assert path.read_bytes() == before
