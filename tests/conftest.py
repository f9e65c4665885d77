"""
Services that tests share, started when the first test needs them; and the honest last lines: what did not run, and why.

With DATELINE_TEST_REQUIRE_ALL=1 a test that did not run makes the whole run fail.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support import services
from tests.support.installation import Installation
from tests.support.proxy import ProxiedBroker
from tests.support.services import KafkaBroker, RedisServer, ServiceUnavailable

S = TypeVar("S", bound=services.Service)
T = TypeVar("T")
_NOT_RUN = pytest.StashKey[Counter[str]]()
_LEFT_OUT = pytest.StashKey[Counter[str]]()
_SHOWN = 4000
"""So many characters of what a process said."""
_LEFT_OUT_FOR = {
    "faults": "minutes of faults; make faults runs them",
    "image": "building the image takes minutes; DATELINE_TEST_IMAGE_BASE=… make test ARGS='-m image'",
}


@pytest.fixture(scope="session")
def _kafka_or_reason() -> Iterator[KafkaBroker | ServiceUnavailable]:
    yield from _run(KafkaBroker())


@pytest.fixture(scope="session")
def _redis_or_reason() -> Iterator[RedisServer | ServiceUnavailable]:
    yield from _run(RedisServer())


@pytest.fixture
def kafka(_kafka_or_reason: KafkaBroker | ServiceUnavailable) -> KafkaBroker:
    """Return the real broker that all tests share: use `topic_prefix` for names, and leave it running."""
    return _or_skip(_kafka_or_reason)


@pytest.fixture
def own_kafka() -> Iterator[KafkaBroker]:
    """Return a real broker for one test alone, which may kill and freeze it."""
    broker = KafkaBroker(own=True)
    try:
        yield from (_or_skip(each) for each in _run(broker))
    finally:
        broker.remove()


@pytest.fixture(scope="module")
def _proxied_or_reason() -> Iterator[ProxiedBroker | ServiceUnavailable]:
    yield from _run(ProxiedBroker())


@pytest.fixture
def proxied_kafka(_proxied_or_reason: ProxiedBroker | ServiceUnavailable) -> Iterator[ProxiedBroker]:
    """Return a real broker of this module behind a proxy that can lose and change requests; leave it running."""
    broker = _or_skip(_proxied_or_reason)
    yield broker
    broker.proxy.reset()


@pytest.fixture
def redis(_redis_or_reason: RedisServer | ServiceUnavailable) -> RedisServer:
    """Return the real Redis server that all tests share, with what earlier tests left in it."""
    return _or_skip(_redis_or_reason)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Return a real Redis server for one test alone, empty, which it may kill and freeze."""
    yield from (_or_skip(each) for each in _run(RedisServer()))


@pytest.fixture
def promtool() -> Path:
    """Return the path of promtool."""
    try:
        return services.promtool()
    except ServiceUnavailable as error:
        pytest.skip(_reason(error))


@pytest.fixture
def topic_prefix() -> str:
    """Return a prefix for topics, groups and identities that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.redis])])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    """Return a whole installation: once on the embedded log, once on Kafka and Redis."""
    if request.param == "embedded":
        return Installation(tmp_path)
    return Installation(tmp_path, kafka=request.getfixturevalue("kafka"), redis=request.getfixturevalue("redis"))


def _run(service: S) -> Iterator[S | ServiceUnavailable]:
    """Start *service*, give it (or why it cannot be had), and stop it in any case."""
    try:
        try:
            service.start()
        except ServiceUnavailable as error:
            yield error
        else:
            yield service
    finally:
        service.remove()


def _or_skip(service: T | ServiceUnavailable) -> T:
    if isinstance(service, ServiceUnavailable):
        pytest.skip(_reason(service))
    return service


def _reason(error: ServiceUnavailable) -> str:
    return f"need {error.service}: {error.reason}"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NOT_RUN] = Counter()
    config.stash[_LEFT_OUT] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the processes of its test said last."""
    report = yield
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and folder is not None:
        for path in sorted(folder.glob("*.log")):
            said = path.read_text("utf-8", "replace")
            report.sections.append((f"end of {path.name}", said[-_SHOWN:]))
    return report


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count by marker what the default selection leaves out."""
    for item in items:
        for marker in _LEFT_OUT_FOR:
            if item.get_closest_marker(marker) and f"not {marker}" in item.config.option.markexpr:
                item.config.stash[_LEFT_OUT][marker] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    not_run = session.config.stash[_NOT_RUN]
    for report in reporter.stats.get("skipped", []):
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        not_run[said.removeprefix("Skipped: ")] += 1
    if not_run and _all_required() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    not_run = config.stash.get(_NOT_RUN, None)
    if reporter is not None:
        for marker, count in sorted(config.stash.get(_LEFT_OUT, Counter()).items()):
            reporter.write_line(f"NOT SELECTED: {count} tests: {_LEFT_OUT_FOR[marker]}")
    if reporter is None or not not_run:
        return
    for reason, count in sorted(not_run.items()):
        reporter.write_line(f"NOT RUN: {count} test{'s' if count > 1 else ''}: {reason}", yellow=True)
    if _all_required():
        reporter.write_line("FAILED: DATELINE_TEST_REQUIRE_ALL is set, and not all tests ran.", red=True)


def _all_required() -> bool:
    return os.environ.get("DATELINE_TEST_REQUIRE_ALL", "") not in {"", "0"}
