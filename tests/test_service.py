"""What every long-running command says about itself."""

from __future__ import annotations

import time

from tests.support.waiting import until
from worker import service
from worker.service import Service
from worker.settings import Settings


def test_a_loop_that_hangs_in_one_step_is_not_ready_though_it_cannot_say_so() -> None:
    its = Service(Settings())
    its.readiness.clear("process")
    its.watchdog.beat()
    assert its.unready() == []

    its.watchdog._stamp = time.monotonic() - service._STUCK_S - 1
    assert its.unready() == ["loop: in one step for 16 s"]

    its.watchdog.beat()
    until(lambda: its.unready() == [])
