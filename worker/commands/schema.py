"""`dateline schema`: the JSON Schemas of the topics."""

from __future__ import annotations

import argparse
import json
import sys

from worker.edges.process import ExitCode
from worker.schema import schemas

EXAMPLES = """\
  dateline schema                  the names
  dateline schema enriched         one of them
  dateline schema raw > raw.json   what others must write into the raw topic
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="without it the names are listed")


def run(args: argparse.Namespace) -> int:
    known = schemas()
    if args.name is None:
        print("\n".join(known))
    elif args.name in known:
        print(json.dumps(known[args.name], indent=2, ensure_ascii=False))
    else:
        print(f"no schema {args.name!r}; known are {', '.join(known)}", file=sys.stderr)
        return ExitCode.SETTINGS
    return ExitCode.OK
