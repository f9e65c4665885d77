"""The clock of worker and poller is set while they run: by an hour, by a second, forward and back."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.test_embedded import asked, records
from tests.faults.test_kill import ends
from tests.faults.test_poller_kill import write_feeds
from tests.support.installation import Installation
from tests.support.services import free_ports
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)
FEEDS, ENTRIES, INTERVAL_S = 4, 5, 10


class Clock:
    """What processes started with `environ` take for the time of day."""

    module = "tests.faults.set_clock"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.environ = {"TEST_CLOCK": str(self._file)}

    def set(self, ahead_s: int) -> None:
        """Let the clock be so many seconds ahead of the true one."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead_s))
        new.rename(self._file)


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        found = re.findall(r"^(dateline_\S+?) (\S+)$", answer.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def fetches(port: int) -> float:
    return sum(value for name, value in metrics(port).items() if name.startswith("dateline_fetches_total"))


class Desk:
    """An installation on a clock that is set: raw records and feed entries come, and what became of them is seen."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.clock = Clock(installation.folder)
        self.feeds = write_feeds(installation.folder, feeds=FEEDS, entries=ENTRIES)
        self.feeds.write_text(self.feeds.read_text().replace("path:", f"interval: {INTERVAL_S}s, path:"))
        self.expected = FEEDS * ENTRIES

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        return self.installation.start(*command, environ=self.clock.environ, module=self.clock.module)

    def start_poller(self, port: int) -> subprocess.Popen[bytes]:
        return self.start("poll", "--feeds", str(self.feeds), "--http-port", str(port))

    def append(self, word: str) -> None:
        raw = self.installation.topics.raw
        with self.installation.log() as log:
            appender = log.appender()
            appender.append(records([f"{word}{n}" for n in range(10)], raw))
            appender.close()
        self.expected += 10

    def add_entry(self) -> None:
        path = self.installation.folder / "0.xml"
        self.expected += 1
        entry = (
            f"<item><title>Late report {self.expected}</title><link>https://paper0.example.org/{self.expected}</link>"
            f"<description>An engineer measured well {self.expected} again.</description></item>"
        )
        path.write_text(path.read_text().replace("<item>", f"{entry}<item>", 1))

    def polled(self, what: str) -> None:
        """Wait until the poller has brought all; far less than the hour by which the clock is set."""
        raw = [self.installation.topics.raw]
        until(
            lambda: len({record.key for record in self.installation.read(raw)}) >= self.expected,
            within_s=60,
            what=what,
        )

    def worked_off(self, what: str) -> None:
        count = len(self.installation.read([self.installation.topics.raw]))
        until(lambda: len(ends(self.installation)) >= count, within_s=60, what=what)


@pytest.mark.faults
def test_a_clock_that_is_set_loses_doubles_and_holds_up_nothing(installation: Installation) -> None:
    desk = Desk(installation)
    assert installation.run("topics", "apply").returncode == 0
    ports = free_ports(2)
    worker, poller = desk.start("enrich", "--http-port", str(ports[0])), desk.start_poller(ports[1])
    try:
        until(lambda: [asked(port)[0] for port in ports] == [200, 200], within_s=90, what="both ready")
        desk.polled("the first poll")
        began, before = time.monotonic(), fetches(ports[1])
        for ahead in (1, -1, 3600, 0, -3600, 0, 3600):
            desk.clock.set(ahead)
            desk.append(f"at{ahead}-{desk.expected}-")
            desk.worked_off(f"all worked off at {ahead:+d} s")
        desk.add_entry()
        desk.polled("a poll after the clock was set forward")
        desk.clock.set(-3600)
        desk.add_entry()
        desk.polled("a poll after the clock was set back")
        done = fetches(ports[1]) - before
        assert done <= FEEDS * (1 + (time.monotonic() - began) / (0.9 * INTERVAL_S))
        assert all(value >= 0 for name, value in metrics(ports[0]).items() if "seconds" in name)
        poller.terminate()
        assert poller.wait(timeout=40) == 0
        desk.clock.set(-7200)  # the stored times are hours ahead for the one that starts now
        poller = desk.start_poller(ports[1])
        desk.add_entry()
        desk.polled("a poll after a start with times far ahead")
        desk.worked_off("all entries")
        assert asked(ports[0], "/livez")[0] == 200
    finally:
        for process in (worker, poller):
            process.terminate()
        codes = [process.wait(timeout=40) for process in (worker, poller)]
    assert codes == [0, 0]
    read = installation.read([installation.topics.raw])
    assert Counter(ends(installation)) == Counter(str(record.coordinates) for record in read)
    stories = Counter(record.key for record in installation.read([installation.topics.enriched]))
    assert stories == Counter({record.key for record in read})
