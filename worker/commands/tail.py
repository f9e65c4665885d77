"""`dateline tail`: follows a topic, with filters that read only headers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import orjson

from worker import wire
from worker.commands.output import write
from worker.commands.story_line import Painter, line_of
from worker.edges.logging_setup import one_line
from worker.edges.process import ExitCode, StopFlag, stop_on_signals
from worker.options import moment
from worker.ports import Log, LogRecord, LogUnavailable, Reader, WrongSettings
from worker.wiring import add_common, setup

EXAMPLES = """\
  dateline tail                                     every story that comes from now on
  dateline tail --from 2h --topic sanctions --pair CN-KP --lang ko
  dateline tail china-dprk --from beginning -n 20   a route's topic, the first 20
  dateline tail duplicates --kind copy --json
  dateline tail dead-letter --from beginning --no-follow
Filters of one kind are alternatives (--lang ko --lang ja); different ones must all hold.
"""
_HEADERS = {"topic": "topics", "pair": "pairs", "region": "regions", "lang": "lang", "feed": "feed", "kind": "kind"}
"""The header that each filter looks into; its values are separated by commas."""


BEGINNING, END = "beginning", "end"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        default="enriched",
        help="enriched (default), a route, duplicates, raw, dead-letter, feed-state",
    )
    parser.add_argument("--topic", action="append", metavar="SLUG", help="e.g. sanctions")
    parser.add_argument("--pair", action="append", metavar="A-B", help="e.g. CN-KP")
    parser.add_argument("--region", action="append", metavar="CODE", help="the story is about it; e.g. KP")
    parser.add_argument("--lang", action="append", metavar="LANG", help="e.g. ko")
    parser.add_argument("--feed", action="append", metavar="ID")
    parser.add_argument("--kind", action="append", choices=("new", "update", "repeat", "copy", "unrouted"))
    parser.add_argument(
        "--from",
        dest="start",
        default=END,
        type=_place,
        metavar="WHEN",
        help="beginning, end (default), a time, or a span like 2h",
    )
    parser.add_argument("-n", type=int, dest="limit", metavar="COUNT", help="stop after so many records")
    parser.add_argument("--no-follow", action="store_true", help="stop at what is the end now")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a record: place, key, headers, value")
    form.add_argument("--tsv", action="store_true", help="time, place, key and the routing headers, tab-separated")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    stopping = StopFlag()
    stop_on_signals(stopping)
    wanted = wanted_headers(args)
    show = _form(args)
    with setup(args) as context:
        log = context.log()
        topic = f"{context.topics.prefix}{args.name}"
        if topic not in log.topics():
            raise WrongSettings(f"no topic {topic}; there are {', '.join(sorted(log.topics())) or 'none'}")
        reader = _reader(log, topic, args.start)
        try:
            shown = 0
            for record in _records(reader, stopping, follow=not args.no_follow):
                if matches(record, wanted):
                    write(show(record))
                    shown += 1
                    if args.limit is not None and shown >= args.limit:
                        break
        finally:
            reader.close()
    return ExitCode.OK


def wanted_headers(args: argparse.Namespace) -> dict[str, frozenset[str]]:
    """Return, by header, the values of which one must be there."""
    return {header: frozenset(values) for name, header in _HEADERS.items() if (values := getattr(args, name))}


def matches(record: LogRecord, wanted: Mapping[str, frozenset[str]]) -> bool:
    """Tell from the headers alone whether *record* is *wanted*."""
    for name, values in wanted.items():
        if values.isdisjoint((wire.header(record.headers, name) or "").split(",")):
            return False
    return True


def _place(text: str) -> str | datetime:
    return text if text in (BEGINNING, END) else moment(text)


def _reader(log: Log, topic: str, start: str | datetime) -> Reader:
    if isinstance(start, datetime):
        return log.reader([topic], from_ms=int(start.timestamp() * 1000))
    if start == END:
        return log.reader([topic], start={place: end for place, (_, end) in log.bounds([topic]).items()})
    return log.reader([topic])


def _records(reader: Reader, stopping: StopFlag, *, follow: bool) -> Iterator[LogRecord]:
    """Yield records until *stopping*, or to the present end; an absent log is waited for while following."""
    while not stopping():
        try:
            records = reader.read(timeout_s=0.5)
        except LogUnavailable:
            if not follow:
                raise
            time.sleep(1)
            continue
        yield from records
        if not records and not follow and reader.at_end():
            return


def _form(args: argparse.Namespace) -> Callable[[LogRecord], str]:
    if args.json:
        return _as_json
    if args.tsv:
        return _as_tsv
    paint = Painter(colour=sys.stdout.isatty())
    return lambda record: line_of(record, paint)


def _time(record: LogRecord) -> str:
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _as_json(record: LogRecord) -> str:
    value: object = None
    if record.value is not None:
        try:
            orjson.loads(record.value)
            value = orjson.Fragment(record.value)
        except orjson.JSONDecodeError:
            value = record.value.decode("utf-8", "replace")
    return orjson.dumps(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "time": _time(record),
            "key": None if record.key is None else record.key.decode("utf-8", "replace"),
            "headers": {name: content.decode("utf-8", "replace") for name, content in record.headers},
            "value": value,
        }
    ).decode()


def _as_tsv(record: LogRecord) -> str:
    headers = [
        wire.header(record.headers, name) or "" for name in ("kind", "lang", "regions", "pairs", "topics", "feed")
    ]
    key = (record.key or b"").decode("utf-8", "replace")
    return "\t".join(one_line(part) for part in (_time(record), str(record.coordinates), key, *headers))
