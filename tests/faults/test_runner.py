"""What cannot be caused on a machine is told and never counts as well; a run that ends takes its processes along."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from tests.faults import __main__ as runner
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.support.installation import ROOT
from tests.support.services import ServiceUnavailable
from tests.support.waiting import until


def impossible(*, short: bool) -> NoReturn:
    del short
    raise ServiceUnavailable("small disk", "no right to mount a tmpfs")


def test_what_this_machine_cannot_run_is_said_and_is_not_green(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = Scenario(name="T0", fault="none", cause=lambda _: None, stand=impossible)
    monkeypatch.setattr(runner, "SCENARIOS", (scenario,))
    assert runner.main(["T0"]) == 3
    assert "NOT RUN: small disk: no right to mount a tmpfs" in capsys.readouterr().out


def test_long_scenarios_run_only_when_asked_for() -> None:
    assert {each.name for each in SCENARIOS if each.long} >= {"T13", "T18-drop", "T19-reset", "T25"}
    assert not any(each.long and each.tested for each in SCENARIOS)
    assert len({each.name for each in SCENARIOS}) == len(SCENARIOS)


def test_a_run_that_is_asked_to_end_leaves_no_process_behind() -> None:
    command = [sys.executable, "-m", "tests.faults", "T1-embedded"]
    with subprocess.Popen(command, start_new_session=True, cwd=ROOT, stderr=subprocess.DEVNULL) as run:
        until(lambda: _of_group(run.pid, b"worker\0enrich"), within_s=60, what="a worker")
        time.sleep(1.0)  # while it is being started, nobody has noted it yet
        run.terminate()
        assert run.wait(30) == 128 + signal.SIGTERM
    assert not _of_group(run.pid, b"")


def _of_group(leader: int, what: bytes) -> list[int]:
    """Return the processes of a group whose command line has *what*."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(entry.name)) == leader and what in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found
