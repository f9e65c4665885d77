"""One record as one readable line; on a terminal in colour."""

from __future__ import annotations

from datetime import UTC, datetime

from worker import wire
from worker.edges.logging_setup import one_line
from worker.enriched_document import EnrichedDocument
from worker.ports import LogRecord
from worker.records import Rejected

_CYAN, _MAGENTA, _YELLOW, _BOLD, _DIM, _RED = "36", "35", "33", "1", "2", "31"


class Painter:
    """Paints words; or leaves them alone where nobody sees colours."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and text else text


def line_of(record: LogRecord, paint: Painter) -> str:
    """Return *record* of any of our topics as one line: time, regions, pairs, topics, headline, source."""
    time = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).astimezone().strftime("%H:%M:%S")
    return f"{paint(time, _DIM)}  {_said(record, paint)}"


def _said(record: LogRecord, paint: Painter) -> str:
    kind = wire.header(record.headers, "kind")
    if reason := wire.header(record.headers, "dateline-reason"):
        detail = wire.header(record.headers, "dateline-detail") or ""
        made_of = wire.header(record.headers, "raw")
        return f"{paint('dead letter', _RED)} {one_line(reason)} from {made_of}: {one_line(detail)}"
    if kind in ("new", "update"):
        document = wire.decode_enriched(record.value)
        return _unreadable(record, document) if isinstance(document, Rejected) else _story(document, paint)
    if kind == "unrouted":
        return f"{paint('left', _RED)} story {_key(record)}"
    if kind in ("repeat", "copy"):
        duplicate = wire.decode_duplicate(record.value)
        if isinstance(duplicate, Rejected):
            return _unreadable(record, duplicate)
        title = paint(one_line(duplicate.title or ""), _BOLD)
        return f"{paint(duplicate.kind, _MAGENTA)} of {duplicate.original[:12]}  {title}  {paint(duplicate.feed, _DIM)}"
    raw = wire.read_raw(record.value)
    if isinstance(raw, Rejected):
        return _unreadable(record, raw)
    source = one_line(f"{raw.feed.id} {raw.link or ''}")
    return f"{paint(one_line(raw.title or ''), _BOLD)}  {paint(source, _DIM)}"


def _story(document: EnrichedDocument, paint: Painter) -> str:
    said = document.dateline
    regions = " ".join(tag.code for tag in said.regions if tag.about)
    pairs = " ".join(tag.code for tag in said.pairs)
    topics = " ".join(tag.slug for tag in said.topics)
    headline = document.headlines[0].value if document.headlines else ""
    if not headline and document.bodies:
        headline = document.bodies[0].value[:100]
    version = f"update {said.verdict.version}" if said.verdict.kind == "update" else ""
    parts = [
        paint(f"{regions or '–':<8}", _CYAN),
        paint(pairs, _MAGENTA),
        paint(topics, _YELLOW),
        paint(version, _RED),
        paint(one_line(headline), _BOLD),
        paint(f"{said.provenance.feed} ({document.language})", _DIM),
    ]
    return "  ".join(filter(None, parts))


def _unreadable(record: LogRecord, rejected: Rejected) -> str:
    return f"unreadable record {record.coordinates}: {rejected.reason}"


def _key(record: LogRecord) -> str:
    return one_line((record.key or b"").decode("utf-8", "replace"))[:64]
