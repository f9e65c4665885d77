"""`dateline schema`: the JSON Schemas of the topics, and the AsyncAPI document that holds them together."""

from __future__ import annotations

import argparse
import json
import sys

import yaml

from worker.edges.process import ExitCode
from worker.schema import schemas
from worker.stores import topic_specs
from worker.wiring import add_common, setup

EXAMPLES = """\
  dateline schema                  the names
  dateline schema enriched         one of them
  dateline schema raw > raw.json   what others must write into the raw topic
  dateline schema --asyncapi       all topics with your prefix and routes, for subscribers: AsyncAPI 3.0 in YAML
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("name", nargs="?", metavar="NAME", help="without it the names are listed")
    which.add_argument("--asyncapi", action="store_true", help="all topics, headers and schemas as one document")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    if args.asyncapi:
        print(document(args), end="")
        return ExitCode.OK
    known = schemas()
    if args.name is None:
        print("\n".join(known))
    elif args.name in known:
        print(json.dumps(known[args.name], indent=2, ensure_ascii=False))
    else:
        print(f"no schema {args.name!r}; known are {', '.join(known)}", file=sys.stderr)
        return ExitCode.SETTINGS
    return ExitCode.OK


def document(args: argparse.Namespace) -> str:
    """Return the AsyncAPI document of the installation that *args* describe. Raises: FileFaults."""
    from worker.asyncapi import asyncapi  # noqa: PLC0415 - needs the taxonomy, as nothing else here does

    with setup(args) as context:
        taxonomy = context.taxonomy()
        made = asyncapi(
            topic_specs(context.settings, context.routes()),
            taxonomy.routes,
            prefix=context.topics.prefix,
            taxonomy=taxonomy.version,
            kafka=context.settings.kafka,
        )
    text: str = yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=120)
    return f"# Made by `dateline schema --asyncapi`.\n{text}"
