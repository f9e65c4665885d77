"""Options that all commands share, and the settings that they, the environment and the file give together."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from worker.edges.logging_setup import setup_logging
from worker.edges.settings_file import CONFIG_VARIABLE, Loaded, load
from worker.settings import Duration, Where

FLAGS: Mapping[str, Where] = {
    "data": ("data", "dir"),
    "feeds": ("poller", "feeds"),
    "shard": ("poller", "shard"),
    "workers": ("worker", "workers"),
    "http_port": ("http", "port"),
    "log_level": ("log", "level"),
    "log_format": ("log", "format"),
}
"""Flags that set a setting, by their name in the parsed arguments."""


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help=f"settings file (else ${CONFIG_VARIABLE}, else none)"
    )
    group.add_argument("--data", type=Path, metavar="DIR", help="folder of the embedded log and seen store")
    group.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="how much to say on stderr")
    group.add_argument("--log-format", choices=("auto", "json", "text"), help="auto: text on a terminal, else JSON")


def load_settings(args: argparse.Namespace) -> Loaded:
    """Return the settings that *args*, the environment and the file give, and set the log up. Raises: FileFaults."""
    path = args.config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    flags = {
        where: (f"--{name.replace('_', '-')}", value)
        for name, where in FLAGS.items()
        if (value := getattr(args, name, None)) is not None
    }
    loaded = load(path, environ=os.environ, flags=flags)
    log = loaded.settings.log
    setup_logging(level=log.level, style=log.format)
    return loaded


_CLOCK_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ].+)?")


def moment(text: str) -> datetime:
    """
    Read a time that a person writes: an RFC 3339 time or date, or a duration back from now like 2h.

    For argparse. A time without an offset is UTC. Raises: argparse.ArgumentTypeError.
    """
    try:
        if _CLOCK_TIME.fullmatch(text):
            time = datetime.fromisoformat(text)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        return datetime.now(UTC) - timedelta(seconds=Duration.parse(text))
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time like 2026-03-01T12:00Z nor a span like 2h"
        ) from error
