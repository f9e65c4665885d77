"""What cannot be caused on a machine is told, and never counts as well."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tests.faults import __main__ as runner
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.support.services import ServiceUnavailable


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
