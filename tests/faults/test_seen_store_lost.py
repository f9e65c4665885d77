"""The seen store loses its memory under load: nobody guesses, it is rebuilt of what went out, and all goes on."""

from __future__ import annotations

import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Self

import pytest
import redis as redis_client

from tests.make import raw_article, raw_record
from tests.support.installation import Installation
from tests.support.services import KafkaBroker, RedisServer, free_ports
from tests.support.waiting import until
from worker import wire
from worker.ports import NewRecord

A_SECOND = 200
BEHIND = 501
"""So many records after its text a copy follows; an odd number, so that copies copy originals."""


class Feeding:
    """Appends records at a steady pace until it is told to stop."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        with self._installation.log() as log:
            appender = log.appender()
            while not self._done.wait(0.25):
                numbers = range(self.count, self.count + A_SECOND // 4)
                appender.append([record(number, self._installation.topics.raw) for number in numbers])
                self.count = numbers.stop
            appender.close()


def text_of(number: int) -> int:
    """Return which text record *number* has: every second one copies what came a good while before."""
    return number - BEHIND if number % 2 and number > BEHIND else number


def record(number: int, topic: str) -> NewRecord:
    text = f"<p>Delegation {text_of(number)} of the northern districts met its neighbours on Tuesday over water.</p>"
    return raw_record(raw_article(f"n{number}", title=f"Talks number {text_of(number)}", summary=text), topic=topic)


def readiness(port: int) -> str:
    """Return what a worker says of its readiness; nothing while it cannot be asked."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())
    except OSError:
        return ""


@pytest.mark.faults
@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.timeout(240)
def test_a_redis_that_is_emptied_twice_under_load_makes_no_story_new_again(
    kafka: KafkaBroker, own_redis: RedisServer, tmp_path: Path
) -> None:
    installation = Installation(tmp_path, kafka=kafka, redis=own_redis)
    assert installation.run("topics", "apply").returncode == 0
    ports = free_ports(2)
    workers = [
        installation.start("enrich", "--index", str(index), "--http-port", str(port))
        for index, port in enumerate(ports)
    ]
    told: list[str] = []

    def lost() -> bool:
        told.extend(said for port in ports if "lost" in (said := readiness(port)) or "empty" in said)
        return bool(told)

    def all_ready() -> bool:
        return all(readiness(port) == "ready\n" for port in ports)

    try:
        with Feeding(installation) as feeding:
            until(all_ready, within_s=60, what="workers ready")
            until(lambda: feeding.count > 3 * BEHIND, within_s=60)
            with redis_client.Redis.from_url(own_redis.url) as client:
                client.flushall()
            until(lost, within_s=30, what="a worker that says that its store is lost")
            until(all_ready, within_s=60, what="workers ready after the flush")

            told.clear()
            own_redis.kill()
            for left in own_redis.folder.iterdir():
                if left.name.startswith(("appendonly", "dump")):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            time.sleep(1)
            own_redis.start()
            until(lost, within_s=30, what="a worker that says that its store is lost")
            until(all_ready, within_s=60, what="workers ready after the empty restart")
            time.sleep(2)
        until(lambda: len(ends(installation)) >= feeding.count, within_s=90, what="an end of each record")
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        codes = [worker.wait(timeout=40) for worker in workers]

    assert codes == [0, 0]
    said = ends(installation)
    assert [place for place, count in Counter(said).items() if count > 1] == []
    assert len(said) == feeding.count
    enriched = installation.read([installation.topics.enriched])
    new = Counter(title(item.value) for item in enriched if wire.header(item.headers, "kind") == "new")
    assert [text for text, count in new.items() if count > 1] == []
    assert len(new) == len({text_of(number) for number in range(feeding.count)})
    assert len(enriched) == len(new)


def ends(installation: Installation) -> list[str]:
    names = installation.topics
    records = installation.read([names.enriched, names.duplicates, names.dead_letter])
    return [str(wire.raw_coordinates(item.headers)) for item in records]


def title(value: bytes | None) -> str:
    document = wire.decode_enriched(value)
    return document.headlines[0].value if hasattr(document, "headlines") else ""
