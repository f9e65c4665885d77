"""The command line: finds the command, runs it, and turns what it raises into one log line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from worker import __version__
from worker.edges.logging_setup import setup_logging
from worker.edges.process import ExitCode, exit_code_of
from worker.edges.yaml_file import FileFaults
from worker.ports import LogError, SeenStoreAway

logger = logging.getLogger(__name__)

COMMANDS: Mapping[str, str] = {
    "run": "poll feeds and enrich what they bring, all in one",
    "poll": "poll feeds and push new articles to the raw topic",
    "enrich": "judge, tag and route raw articles",
    "pipe": "run the stages as a filter: JSON lines in, JSON lines out",
    "tail": "show the records of a topic as they come",
    "explain": "show what every stage makes of one article, and why",
    "trace": "show the way that one story took",
    "feeds": "check a feed list, or add a feed to it",
    "topics": "create the topics",
    "dead-letters": "list refused records, or send them through again",
    "audit": "prove that every raw record has exactly one end",
    "replay": "judge and tag old raw articles again",
    "config": "check the settings and show where each comes from",
    "schema": "print the JSON Schemas of the topics",
}
"""Every command and what it does; worker/commands/ has a module for each."""
ABOUT = "News feeds in; judged, tagged and routed records out, on Kafka or without it."
EPILOG = """\
examples:
  dateline run --feeds feeds.opml             everything on this machine, nothing else installed
  dateline run --feeds feeds.opml --once      each feed once, then a summary
  dateline tail --topic sanctions --pair CN-KP
  dateline explain https://example.org/story
  dateline COMMAND --help                     more on one command, with examples

exit codes:
  0 done   1 worth a restart   2 wrong settings   3 another process has this identity   4 not authorised
  5 unreadable input   6 the loop hung   7 too many dead letters
"""
_OWN_CODES = {
    "DeadLetterLimit": ExitCode.DEAD_LETTERS,
    "TooManyFailures": ExitCode.RESTART,
    "RemoteAway": ExitCode.RESTART,
}
"""Of exceptions of the loops, which need not be imported for commands that run none."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in *argv* and return the process's exit code."""
    setup_logging(level="info", style="auto")
    try:
        args = parser_for(sys.argv[1:] if argv is None else argv).parse_args(argv)
        code = int(args.run(args))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        return 130
    except FileFaults as error:
        for fault in error.faults:
            sys.stderr.write(f"{fault}\n")
        return ExitCode.SETTINGS
    except Exception as error:  # noqa: BLE001 - the last place where anything can still be said about it
        return _failed(error)
    return code


def _failed(error: Exception) -> ExitCode:
    """Say in one line what went wrong and return what the exit code says of it."""
    kind = {"kind": type(error).__name__}
    if isinstance(error, LogError):
        logger.error("%s", error, extra=kind)
        return exit_code_of(error)
    if isinstance(error, SeenStoreAway):
        logger.error("seen store: %s", error, extra=kind)
        return ExitCode.RESTART
    if own := _OWN_CODES.get(type(error).__name__):
        logger.error("%s", error, extra=kind)
        return own
    logger.error("unexpected; --log-level debug shows where", exc_info=error)
    return ExitCode.RESTART


def parser_for(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser that knows every command by name, and all about the one that *argv* asks for."""
    parser = argparse.ArgumentParser(
        prog="dateline", description=ABOUT, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"dateline {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked = next((word for word in argv if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        # Only the asked one's module is loaded: the others' libraries would cost a second at each start.
        module = importlib.import_module(f"worker.commands.{name.replace('-', '_')}") if name == asked else None
        examples = f"examples:\n{module.EXAMPLES}" if module else None
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[:1].upper() + summary[1:] + ".",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module:
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
