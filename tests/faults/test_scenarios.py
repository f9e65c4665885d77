"""The quick ones of the fault scenarios, in every test run; `make faults` has them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.faults.__main__ import Services, run
from tests.faults.scenarios import SCENARIOS, Scenario


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(stack)


@pytest.mark.timeout(180)
@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("scenario", [pytest.param(each, id=each.name) for each in SCENARIOS if each.tested])
def test_nothing_is_lost_or_doubled(scenario: Scenario, services: Services) -> None:
    row = run(scenario, services, short=True)
    if row.not_run:
        pytest.skip(f"need {row.not_run}")
    assert row.problems == ""
    assert (row.lost, row.doubled) == (0, 0)
    assert row.times > 0
    assert row.records > 0
