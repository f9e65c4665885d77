"""A release with a fault of ours: it cannot extract what has `Oddity` in its title. `python -m … enrich …`."""

from __future__ import annotations

import sys
from typing import Any

from worker.cli import main
from worker.loops import reading
from worker.stages.extract import extract

if __name__ == "__main__":

    def bad(raw: Any, *args: Any) -> Any:
        """Fail on some, and do as the good one does for others."""
        if "Oddity" in (raw.title or ""):
            raise KeyError("a fault of this release")
        return extract(raw, *args)

    vars(reading)["extract"] = bad
    sys.exit(main())
