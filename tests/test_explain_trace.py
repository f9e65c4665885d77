"""`explain` and `trace`: why an article is tagged so, and what became of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.pages import pages
from tests.stories import WORKERS
from tests.support.installation import Installation

FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Example Herald</title>
<link>https://herald.example.org</link><description>News</description>
<item><title>China and North Korea reopen a bridge to trade</title>
<link>https://herald.example.org/bridge</link>
<description>China and North Korea reopened the bridge at Dandong to trade, officials said.</description></item>
</channel></rss>"""


def test_explain_shows_tags_with_their_evidence_and_the_routes(tmp_path: Path) -> None:
    told = WORKERS[0]
    page = tmp_path / "page.html"
    page.write_text(pages(told.title, told.paragraphs, "en")["cards below"])

    ran = Installation(tmp_path).run("explain", str(page))

    said = ran.stdout.decode()
    assert ran.returncode == 0, ran.stderr.decode()
    assert "pair        CN-KP" in said
    assert "«sanctions»" in said
    assert "route       china-dprk: matched" in said


def test_explain_gives_json_to_machines(tmp_path: Path) -> None:
    ran = Installation(tmp_path).run(
        "explain", "-", "--json", stdin="北京与平壤举行会谈\n中国和朝鲜官员会谈。".encode()
    )

    said = json.loads(ran.stdout)
    assert said["record"]["language"] == "zh"
    assert {item["route"] for item in said["routes"]} == {"china-dprk", "sanctions"}


def test_explain_says_what_it_cannot_read(tmp_path: Path) -> None:
    ran = Installation(tmp_path).run("explain", str(tmp_path / "missing.html"))

    assert (ran.returncode, ran.stdout) == (5, b"")
    assert b"No such file" in ran.stderr


def test_trace_shows_the_way_of_a_story_by_its_link(tmp_path: Path) -> None:
    (tmp_path / "feed.xml").write_text(FEED)
    (tmp_path / "feeds.yaml").write_text("feeds:\n  - {id: herald, path: feed.xml}\n")
    here = Installation(tmp_path)
    assert here.run("run", "--once", "--feeds", str(tmp_path / "feeds.yaml")).returncode == 0

    ran = here.run("trace", "https://herald.example.org/bridge?utm_source=x", "--json")

    steps = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [step["what"] for step in steps] == ["raw", "new, version 1", "route china-dprk, version 1"]
    assert any("route sanctions: missed" in detail for detail in steps[1]["details"])
    assert here.run("trace", "https://herald.example.org/other").returncode == 1
    assert here.run("trace", "nonsense").returncode == 2
