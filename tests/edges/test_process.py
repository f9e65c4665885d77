"""Signals, watchdog, health answers and the log, in real processes and over real sockets."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge

from worker.edges.health import HealthServer, Readiness
from worker.edges.logging_setup import JsonFormatter, TextFormatter, one_line, redact
from worker.edges.process import ExitCode, exit_code_of
from worker.edges.status_board import StatusBoard
from worker.edges.status_page import StatusPage
from worker.ports import Fenced, LogUnavailable, NotAuthorised, UnreadableInput, WrongSettings

ROOT = Path(__file__).parents[2]


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit code and output of *process*, which must end by itself within 15 s."""
    try:
        out, err = process.communicate(timeout=15)
    finally:
        process.kill()
    return process.returncode, out, err


LOOP = """
from worker.edges.process import StopFlag, stop_on_signals
import time
flag = StopFlag()
stop_on_signals(flag)
print("ready")
while not flag.wait(10):
    pass
print("leaving")
{after}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_loop_end_in_order(number: signal.Signals) -> None:
    process = start(LOOP.format(after=""))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert ended(process)[:2] == (0, "leaving\n")


def test_a_second_signal_ends_the_process_at_once() -> None:
    process = start(LOOP.format(after="time.sleep(60)"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.stdout.readline() == "leaving\n"
    process.terminate()
    assert ended(process)[0] == 128 + signal.SIGTERM


def test_a_loop_without_a_sign_of_life_ends_with_code_6_and_shows_where_it_stood() -> None:
    process = start(
        "from worker.edges.watchdog import Watchdog\nimport time\n"
        "dog = Watchdog(limit_s=0.5)\ndog.start()\n"
        "for _ in range(4):\n    time.sleep(0.2); dog.beat()\n"
        "print('beaten')\n"
        "def stuck():\n    time.sleep(60)\nstuck()\n"
    )
    code, out, err = ended(process)
    assert code == ExitCode.WATCHDOG
    assert out == "beaten\n"
    assert "in stuck" in err


def test_a_stop_that_takes_too_long_is_cut_short() -> None:
    process = start(
        "from worker.edges.watchdog import Watchdog\nimport time\n"
        "dog = Watchdog(limit_s=5)\ndog.start()\ndog.stop_within(0.3)\n"
        "while True:\n    time.sleep(0.1); dog.beat()\n"
    )
    assert ended(process)[0] == ExitCode.RESTART


def test_a_child_ends_soon_after_its_parent_was_killed() -> None:
    child = (
        "from worker.edges.process import StopFlag, stop_on_signals, die_with_parent\n"
        "import os, sys\nflag = StopFlag(); stop_on_signals(flag); die_with_parent(int(sys.argv[1]))\n"
        "print(os.getpid(), flush=True)\nflag.wait(60)\n"
    )
    parent = start(
        f"import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())], start_new_session=True)\n"
        f"time.sleep(60)\n"
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Tell whether process *pid* runs; one that only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_each_error_of_the_log_has_its_exit_code() -> None:
    errors = [Fenced(), NotAuthorised(), UnreadableInput(), WrongSettings(), LogUnavailable()]
    assert [int(exit_code_of(error)) for error in errors] == [3, 4, 5, 2, 1]


class Surroundings:
    """A health server and what it is told."""

    def __init__(self) -> None:
        self.readiness = Readiness("process")
        self.alive = True
        registry = CollectorRegistry()
        Gauge("dateline_example", "An example", registry=registry).set(7)
        self.server = HealthServer(
            host="127.0.0.1",
            port=0,
            registry=registry,
            alive=lambda: self.alive,
            reasons=self.readiness.reasons,
            page=StatusPage(StatusBoard(reasons=self.readiness.reasons)),
        )
        self.server.start()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def surroundings() -> Iterator[Surroundings]:
    around = Surroundings()
    yield around
    around.server.close()


def test_readyz_tells_every_reason_until_there_is_none(surroundings: Surroundings) -> None:
    surroundings.readiness.blocked("seen store", "away")
    assert surroundings.get("/readyz") == (503, "process: starting\nseen store: away\n")
    surroundings.readiness.clear("process")
    surroundings.readiness.clear("seen store")
    assert surroundings.get("/readyz") == (200, "ready\n")


def test_livez_fails_when_the_loop_stands_still_and_only_then(surroundings: Surroundings) -> None:
    surroundings.readiness.blocked("log", "away")
    assert surroundings.get("/livez")[0] == 200
    surroundings.alive = False
    assert surroundings.get("/livez")[0] == 503


def test_metrics_are_served_and_other_paths_are_not(surroundings: Surroundings) -> None:
    status, text = surroundings.get("/metrics")
    assert status == 200
    assert "dateline_example 7.0" in text
    assert surroundings.get("/admin")[0] == 404


def event(message: str, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("test", logging.WARNING, __file__, 1, message, None, None)
    vars(record).update(fields)
    return record


HOSTILE = "a\r\nb\x1b[31m\x00\u2028\u202ec"


def test_an_event_is_one_line_whatever_it_says() -> None:
    for line in (
        TextFormatter(colour=False).format(event(HOSTILE, feed=HOSTILE)),
        JsonFormatter().format(event(HOSTILE)),
    ):
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        assert "\u202e" not in line
    assert json.loads(JsonFormatter().format(event(HOSTILE, feed="x")))["message"] == HOSTILE


def test_json_keeps_numbers_and_text_quotes_what_has_spaces() -> None:
    told = json.loads(JsonFormatter().format(event("batch", records=5, reason="no route")))
    assert (told["records"], told["reason"], told["level"]) == (5, "no route", "warning")
    assert (
        TextFormatter(colour=False)
        .format(event("batch", records=5, reason="no route"))
        .endswith('batch records=5 reason="no route"')
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://me:sesame@example.org/feed", "GET https://***@example.org/feed"),
        ("https://example.org/feed?api_key=sesame&page=2", "https://example.org/feed?api_key=***&page=2"),
        ("https://example.org/feed?page=2", "https://example.org/feed?page=2"),
    ],
)
def test_credentials_in_addresses_are_not_logged(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert "sesame" not in JsonFormatter().format(event("fetched", url=text))


def test_an_exception_is_told_in_the_same_line() -> None:
    error = ValueError("first\nsecond")
    record = event("failed", exc_info=(ValueError, error, None))
    line = TextFormatter(colour=False).format(record)
    assert "ValueError: first" in line
    assert len(line.splitlines()) == 1


def test_a_line_for_the_screen_has_its_control_characters_escaped() -> None:
    assert one_line("a\tb\x1b\u2029") == "a\\tb\\x1b\\u2029"


def test_the_level_of_the_log_counts_for_the_whole_process() -> None:
    program = (
        "import logging, sys, warnings\nfrom worker.edges.logging_setup import setup_logging\n"
        "setup_logging(level='warning', style='auto')\n"
        "logging.getLogger('a').info('no'); logging.getLogger('b').error('yes')\n"
    )
    code, out, err = ended(start(program))
    assert (code, out) == (0, "")
    assert [json.loads(line)["message"] for line in io.StringIO(err)] == ["yes"]
    assert os.linesep in err
