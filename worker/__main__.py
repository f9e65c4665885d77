"""Start the command line: `dateline …` or `python -m worker …`."""

from __future__ import annotations

import sys

from worker.cli import main as run


def main() -> None:
    """End the process with the command's exit code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
