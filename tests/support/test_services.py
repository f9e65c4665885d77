"""What people and CI rely on: the broker script's words and exit codes, and the honest last lines of a test run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import SCRIPT, RedisServer

ROOT = SCRIPT.parents[2]


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


def run_without_java(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run one Kafka test where no Java is to be found."""
    test = "tests/edges/test_kafka_log.py::test_a_second_log_never_alters_a_topic_that_is_there"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("DATELINE_TEST", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", test],
        cwd=ROOT,
        env={**env, "JAVA_HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_run_without_java_says_in_its_last_line_what_did_not_run_and_why() -> None:
    done = run_without_java()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("NOT RUN: 1 test: need Kafka: no Java found")


def test_where_all_must_run_a_test_that_did_not_fails_the_run() -> None:
    done = run_without_java(DATELINE_TEST_REQUIRE_ALL="1")
    assert done.returncode == 1
    assert any(line.startswith("NOT RUN: 1 test: need Kafka: no Java") for line in done.stdout.splitlines()[-2:])


def test_the_broker_script_says_what_is_missing_and_ends_with_2(tmp_path: Path) -> None:
    without = script("start", JAVA_HOME="/nonexistent", DATELINE_KAFKA_DIR=str(tmp_path / "kafka"))
    assert without.returncode == 2
    assert "no Java found" in without.stderr
    unknown = script("begin")
    assert unknown.returncode == 2
    assert "unknown command 'begin'" in unknown.stderr
    assert script("start", DATELINE_KAFKA_PORT="many").returncode == 2


def test_the_broker_script_tells_that_nothing_runs_with_3(tmp_path: Path) -> None:
    assert script("status", DATELINE_KAFKA_DIR=str(tmp_path / "kafka")).returncode == 3


def test_the_broker_script_deletes_only_what_it_made(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("mine", encoding="utf-8")
    refused = script("wipe", DATELINE_KAFKA_DIR=str(tmp_path))
    assert refused.returncode == 2
    assert (tmp_path / "letters").read_text(encoding="utf-8") == "mine"


@pytest.mark.redis
def test_a_redis_server_keeps_its_data_over_a_kill(own_redis: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(own_redis.url) as client:
        client.set("key", "value")
    own_redis.kill()
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("key") == b"value"


@pytest.mark.promtool
def test_promtool_checks_metrics(promtool: Path) -> None:
    text = "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\nhttp_requests_total 1\n"
    good = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert good.returncode == 0, good.stderr
    bad = subprocess.run([promtool, "check", "metrics"], input="1x\n", text=True, capture_output=True, check=False)
    assert bad.returncode != 0
