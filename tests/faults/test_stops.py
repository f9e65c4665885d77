"""SIGTERM while a process waits for a log that is not there, says nothing, or takes nothing: it ends soon, and well."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.services import free_ports
from tests.support.waiting import until
from tests.support.web import item, rss
from worker.edges.data_folder import LOG_FILE

SOON_S = 5.0
"""Waiting to start there is nothing to end."""


@contextmanager
def absent() -> Iterator[int]:
    yield free_ports(1)[0]


@contextmanager
def silent() -> Iterator[int]:
    """Give a port where connections are taken and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def started(folder: Path, command: str, port: int) -> subprocess.Popen[bytes]:
    installation = Installation(folder)
    feeds = folder / "feeds.yaml"
    feeds.write_text("feeds:\n  - {id: a, path: a.xml}\n")
    environ = {
        "DATELINE_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}",
        "DATELINE_SEEN_SINGLE_MACHINE": "true",
        "DATELINE_POLLER_FEEDS": str(feeds),
    }
    return installation.start(command, environ=environ)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("command", "broker"), [("enrich", absent), ("enrich", silent), ("poll", silent), ("run", silent)]
)
def test_a_process_that_waits_for_its_log_ends_at_once_and_well(
    tmp_path: Path, command: str, broker: Callable[[], AbstractContextManager[int]]
) -> None:
    with broker() as port:
        process = started(tmp_path, command, port)
        try:
            # Its signals are heard when it looks for the broker.
            until(lambda: process.poll() is not None or _hears(process), within_s=30)
            time.sleep(0.5)
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0, "".join(path.read_text() for path in tmp_path.glob("*.log"))
            assert time.monotonic() - asked < SOON_S
        finally:
            process.kill()
            process.wait()


@pytest.mark.faults
@pytest.mark.timeout(90)
def test_a_poller_ends_although_the_log_has_not_taken_its_articles(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    (tmp_path / "feeds.yaml").write_text("feeds:\n  - {id: a, path: a.xml, interval: 1s}\n")
    (tmp_path / "a.xml").write_bytes(rss(item(1)))
    poller = installation.start(
        "poll", "--feeds", str(tmp_path / "feeds.yaml"), module="tests.faults.poller_child none 0"
    )
    try:
        until(lambda: _appended(tmp_path), within_s=40, what="the first article")
        with closing(sqlite3.connect(tmp_path / "data" / LOG_FILE, isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 20000")
            other.execute("BEGIN IMMEDIATE")
            (tmp_path / "a.xml").write_bytes(rss(item(2), item(1)))
            time.sleep(3)  # by now it waits for the file, for ten seconds
            asked = time.monotonic()
            poller.send_signal(signal.SIGTERM)
            assert poller.wait(40) == 0
            assert time.monotonic() - asked < SOON_S
            other.execute("ROLLBACK")
    finally:
        poller.kill()
        poller.wait()


def _appended(folder: Path) -> bool:
    """Tell whether a record lies in the log of *folder*."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(folder / "data" / LOG_FILE)) as log:
        return bool(log.execute("SELECT count(*) FROM record").fetchone()[0])
    return False


def _hears(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether *process* handles SIGTERM already."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
