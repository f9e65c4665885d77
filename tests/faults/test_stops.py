"""SIGTERM while a process waits for a broker that is not there, or says nothing: it ends at once, and well."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.services import free_ports
from tests.support.waiting import until

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


def _hears(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether *process* handles SIGTERM already."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
