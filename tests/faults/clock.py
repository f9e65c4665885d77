"""T15: the workers' clock jumps (see set_clock.py); that of the services does not."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.stand import Stand

BACK_S = 60.0
JUMPS_S = (3600, 0, -3600, 0, *(1, 0) * 5, *(-1, 0) * 5)
"""By how much the clock is wrong, one after the other."""


def jumping(stand: Stand) -> None:
    """Set the clock of both workers an hour ahead and back, and many times by a second, under load."""
    offset = stand.folder / "clock"
    _jump(offset, 0)
    stand.surroundings = {"TEST_CLOCK": str(offset)}
    with stand.load(100):
        workers = stand.steady(2, module="tests.faults.set_clock")
        for seconds in JUMPS_S[:8] if stand.short else JUMPS_S * 3:
            _jump(offset, seconds)
            jumped = stand.progress.mark()
            stand.times += 1
            stand.recovered(jumped, within_s=BACK_S, every_partition=True)
            time.sleep(5 if abs(seconds) > 1 else 1)
            stand.all_alive(workers)
            if abs(seconds) > 1:
                told = _told(stand.folder)
                assert abs(told - time.time() - seconds) < 60, f"the jump did not reach the workers: {told}"
        time.sleep(2)
        for worker in workers:
            _check_sums(stand, worker)


def _jump(offset: Path, seconds: int) -> None:
    new = offset.with_suffix(".new")
    new.write_text(str(seconds), "ascii")
    new.replace(offset)


def _told(folder: Path) -> float:
    """Return the latest line's time in that worker's log that was written to last."""
    path = max(folder.glob("enrich-*.log"), key=lambda path: path.stat().st_mtime)
    lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith('{"time"')]
    return datetime.fromisoformat(json.loads(lines[-1])["time"]).astimezone(UTC).timestamp()


def _check_sums(stand: Stand, worker: subprocess.Popen[bytes]) -> None:
    """Raise AssertionError when durations add up to less than nothing."""
    sums = {
        sample.name: sample.value
        for family in stand.families(worker)
        for sample in family.samples
        if family.type == "histogram" and sample.name.endswith("_sum")
    }
    assert sums, "no histograms"
    negative = {name: value for name, value in sums.items() if value < 0}
    assert not negative, f"histograms with a negative sum: {negative}"
