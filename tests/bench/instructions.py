"""
Count the instructions of a role of the benchmark's child process, with valgrind.

A processor that a machine shares with others works at half its speed at times, and a figure in seconds says that of it;
instructions are the same at all times. Two runs, of which one has more articles: the difference is what these cost.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from tests.bench.measure import command, fill
from tests.bench.parts import WARM_UP, Stand
from tests.support.services import ServiceUnavailable

FEW = 100
"""So many articles after the warm-up has the shorter run."""
PATIENCE_S = 1_800.0
"""All takes fifty times as long."""
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


def instructions(role: str, stand: Stand, count: int) -> float:
    """Return what one of *count* articles costs. Raises: ServiceUnavailable; subprocess.CalledProcessError."""
    few, many = (_counted(role, stand, number) for number in (WARM_UP + FEW, WARM_UP + FEW + count))
    return (many - few) / count


def _counted(role: str, stand: Stand, count: int) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise ServiceUnavailable("valgrind", "it is not installed (Debian: apt-get install valgrind)")
    folder = Path(stand.folder) / f"{role}-{count}"
    folder.mkdir()
    stand = replace(stand, folder=str(folder), prefix=f"bench-{role}-{count}.")
    fill(stand, count)
    done = subprocess.run(
        [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", *command(role, stand, count)],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    found = _COUNTED.search(done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))
