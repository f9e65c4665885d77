"""
The program's own log on stderr: one line an event, JSON in a cluster, readable on a terminal; no secrets in it.

Fields go into `extra`: logger.info("feed failed", extra={"feed": "kcna", "reason": "dns"}).
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Literal, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONTROL_IN_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_USERINFO = re.compile(r"(?<=://)[^\s/@]*@")
_SECRET_PARAMETER = re.compile(
    r"(?i)([?&;](?:[a-z0-9_-]*(?:token|key|secret|password|passwd|signature|auth))=)[^&;\s\"']+"
)
_COLOURS = {"DEBUG": "2", "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_CHATTY = ("kafka", "aiohttp.access", "trafilatura", "charset_normalizer", "asyncio")


def redact(text: str) -> str:
    """Return *text* with the credentials in its URLs replaced."""
    return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub("***@", text))


def one_line(text: str) -> str:
    """Return *text* with line breaks, control and direction characters written as escapes."""
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {9: r"\t", 10: r"\n", 13: r"\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _error(record: logging.LogRecord) -> dict[str, str]:
    """Return the exception of *record* in words, and for debugging where it came from."""
    if record.exc_info is None or record.exc_info[1] is None:
        return {}
    error = record.exc_info[1]
    found = {"error": f"{type(error).__name__}: {error}"}
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        found["stack"] = "".join(traceback.format_exception(error))
    return found


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for name, value in {**_fields(record), **_error(record)}.items():
            plain = isinstance(value, bool | int | float | None)
            event[f"{name}_" if name in event else name] = value if plain else redact(str(value))
        line = json.dumps(event, ensure_ascii=False, allow_nan=True)
        return _CONTROL_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


class TextFormatter(logging.Formatter):
    """A readable line: time, level, message, key=value."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        level = f"{record.levelname.lower():<8}"
        pairs = [f"{name}={_quoted(value)}" for name, value in {**_fields(record), **_error(record)}.items()]
        message = one_line(redact(record.getMessage()))
        rest = one_line(redact(" ".join(pairs)))
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
            rest = rest and f"\x1b[2m{rest}\x1b[0m"
        return f"{time} {level} {message} {rest}".rstrip()


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or re.search(r"[\s\"=]", text) else text


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to stderr; an event that cannot be written must not hurt the work it tells of."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            return
        super().handleError(record)


def setup_logging(*, level: str, style: Literal["auto", "json", "text"], stream: TextIO | None = None) -> None:
    """Send the log of the whole process to *stream* (stderr); a second call replaces the first."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    handler = _Handler(stream)
    text = style == "text" or (style == "auto" and terminal)
    handler.setFormatter(TextFormatter(colour=terminal) if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
