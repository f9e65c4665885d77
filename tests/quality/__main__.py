"""Print the quality of the taggers on the labelled sets: `make quality`."""

from __future__ import annotations

import sys

from tests.quality import data, regions, topics


def main() -> int:
    """Print the tables; 0 also when the folder is missing, since it is not part of the project."""
    if not data.FOLDER.is_dir():
        print(f"No labelled data: the folder {data.FOLDER} is not there. Set DATELINE_EVAL_DIR. Nothing was measured.")
        return 0
    print(f"{'regions':34} {'docs':>6}  {'':30}  baseline P/R/F1")
    for line in regions.measure():
        print(line, flush=True)
    for text in topics.report(data.FOLDER):
        print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
