"""How the commands show lines, and how far a long work is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def write(line: str) -> None:
    """Print one line now, so that a pipe's reader sees it as it comes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """Show on stderr how far a long work is; only where a person watches."""
    shown = Progress(label, enabled=sys.stderr.isatty())
    try:
        yield shown
    finally:
        shown.close()


class Progress:
    """A line on stderr that is written over and over."""

    def __init__(self, label: str, *, enabled: bool) -> None:
        self._label = label
        self._enabled = enabled

    def show(self, done: int, of: int | None = None) -> None:
        if self._enabled:
            share = f" of {of} ({100 * done // of} %)" if of else ""
            sys.stderr.write(f"\r\x1b[K{self._label}: {done}{share}")
            sys.stderr.flush()

    def close(self) -> None:
        if self._enabled:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
