"""kill -9 of the poller at any moment: every entry has exactly one first verdict, and nothing of a feed is lost."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.installation import Installation
from worker import wire
from worker.records import Duplicate

FEEDS, ENTRIES, KILLS = 30, 40, 5


def write_feeds(folder: Path, *, feeds: int = FEEDS, entries: int = ENTRIES) -> Path:
    """Write feeds whose entries all say something else, and return their list."""
    listed = ["feeds:"]
    for feed in range(feeds):
        items = "".join(
            f"<item><title>Report {feed}-{entry} on the wells of district {entry}</title>"
            f"<link>https://paper{feed}.example.org/{entry}</link>"
            f"<description>Engineers of office {feed} measured well number {entry} on Tuesday.</description></item>"
            for entry in range(entries)
        )
        channel = f"<title>Paper {feed}</title><link>https://paper{feed}.example.org</link><description>x</description>"
        (folder / f"{feed}.xml").write_text(f'<rss version="2.0"><channel>{channel}{items}</channel></rss>')
        listed.append(f"  - {{id: paper{feed}, path: {feed}.xml}}")
    path = folder / "feeds.yaml"
    path.write_text("\n".join(listed))
    return path


@pytest.mark.timeout(180)
def test_a_poller_killed_again_and_again_loses_no_entry_and_makes_none_new_twice(installation: Installation) -> None:
    feeds = str(write_feeds(installation.folder))
    assert installation.run("topics", "apply").returncode == 0
    chance = random.Random(3)
    for _ in range(KILLS):
        poller = installation.start("poll", "--feeds", feeds)
        time.sleep(chance.uniform(0.6, 1.6))
        poller.send_signal(signal.SIGKILL)
        poller.wait()

    ran = installation.run("run", "--once", "--feeds", feeds)

    assert ran.returncode == 0, ran.stderr.decode()
    names = installation.topics
    raw = installation.read([names.raw])
    enriched = installation.read([names.enriched])
    duplicates = [wire.decode_duplicate(record.value) for record in installation.read([names.duplicates])]
    assert len({record.key for record in raw}) == FEEDS * ENTRIES
    assert Counter(record.key for record in enriched) == Counter({record.key for record in raw})
    assert len(raw) == len(enriched) + len(duplicates)
    assert {item.kind.value for item in duplicates if isinstance(item, Duplicate)} <= {"repeat"}
