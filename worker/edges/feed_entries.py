"""What feedparser found, as our entries: absolute links, dates that make sense, bounded fields, the rest kept."""

from __future__ import annotations

import re
from calendar import timegm
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin

import can_ada

from worker.polling import ParsedFeed
from worker.records import FeedEntry, Truncation

MAX_FIELD = 256 * 1024
MAX_LINK = 2048
_MAX_LIST = 100
_MAX_EXTRA_DEPTH = 6
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_FUTURE = timedelta(hours=48)
_SURROGATES = re.compile("[\ud800-\udfff]")
_TAKEN = frozenset(
    "title title_detail link links id guidislink summary summary_detail content published published_parsed updated"
    " updated_parsed author author_detail authors tags language".split()
)


def from_feedparser(
    found: Mapping[str, Any], *, base_url: str | None, now: datetime, max_entries: int, flags: Sequence[str]
) -> ParsedFeed:
    """Return *found* (a FeedParserDict) as a feed."""
    head: Mapping[str, Any] = found["feed"]
    base = absolute(_text(head.get("link")), base_url) or base_url
    raw: list[Mapping[str, Any]] = found["entries"]
    language = _text(head.get("language"))
    return ParsedFeed(
        kind=_text(found.get("version")) or "unknown",
        title=_text(head.get("title")),
        language=language,
        entries=finish(
            # A plain dict: FeedParserDict answers `updated` with `published` where there is none, and is slow.
            _entry(dict(entry), base=base, language=language, now=now)
            for entry in raw[:max_entries]
        ),
        flags=(*flags, "entries-cut") if len(raw) > max_entries else tuple(flags),
        ttl_s=_ttl(head.get("ttl")),
    )


def _entry(entry: Mapping[str, Any], *, base: str | None, language: str | None, now: datetime) -> FeedEntry:
    limited = Limited()
    link, dropped = pick_link(_links(entry), base)
    content = "\n".join(text for part in entry.get("content") or () if (text := _text(part.get("value"))))
    updated, published = _text(entry.get("updated")), _text(entry.get("published"))
    return FeedEntry(
        title=limited.field("title", _text(entry.get("title"))),
        link=link,
        guid=limited.field("guid", _text(entry.get("id"))),
        summary=limited.field("summary", _text(entry.get("summary"))),
        content=limited.field("content", content or None),
        language=_entry_language(entry) or language,
        published=limited.field("published", published),
        published_at=_struct_time(entry.get("published_parsed"), now),
        updated=limited.field("updated", updated),
        updated_at=_struct_time(entry.get("updated_parsed"), now),
        authors=limited.names("authors", (_name(author) for author in entry.get("authors") or ())),
        categories=limited.names("categories", (_text(tag.get("term")) for tag in entry.get("tags") or ())),
        extra={
            name: kept
            for name, value in entry.items()
            if name not in _TAKEN and (kept := plain(value)) not in (None, "", [], {})
        },
        truncated=tuple(limited.truncated),
        flags=("link-dropped",) if dropped else (),
    )


def finish(entries: Iterable[FeedEntry]) -> tuple[FeedEntry, ...]:
    """Drop a GUID that several different links of one document share: it names nothing."""
    entries = tuple(entries)
    links: dict[str, set[str | None]] = defaultdict(set)
    for entry in entries:
        if entry.guid is not None:
            links[entry.guid].add(entry.link or entry.title)
    shared = {guid for guid, its in links.items() if len(its) > 1}
    if not shared:
        return entries
    return tuple(
        replace(entry, guid=None, flags=(*entry.flags, "guid-shared")) if entry.guid in shared else entry
        for entry in entries
    )


class Limited:
    """Cuts fields to their limit and remembers which were cut."""

    def __init__(self) -> None:
        self.truncated: list[Truncation] = []

    def field(self, name: str, value: str | None) -> str | None:
        if value is None or len(value) <= MAX_FIELD:
            return value
        self.truncated.append(Truncation(field=name, original_length=len(value)))
        return value[:MAX_FIELD]

    def names(self, name: str, values: Iterable[str | None]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.field(name, value) or "" for value in values if value))[:_MAX_LIST]


def pick_link(candidates: Iterable[str], base: str | None) -> tuple[str | None, bool]:
    """Return the first candidate that is an http(s) link, absolute; and whether some were there but none would do."""
    some = False
    for candidate in candidates:
        some = True
        if link := absolute(candidate, base):
            return link, False
    return None, some


def absolute(link: str | None, base: str | None) -> str | None:
    """Return *link* joined to *base* where it is relative; None unless it leads to http or https."""
    if not link or len(link) > MAX_LINK or any(char < " " or char == "\\" for char in link):
        return None
    try:
        joined = urljoin(base or "", link)
        parsed = can_ada.parse(joined)
    except (ValueError, TypeError):  # TypeError: a lone surrogate
        return None
    if parsed.protocol not in {"http:", "https:"} or not parsed.hostname or parsed.has_credentials():
        return None
    return joined


def moment(value: datetime | None, now: datetime) -> datetime | None:
    """Return *value* in UTC, None where it makes no sense: before 1990, or more than 48 hours ahead of *now*."""
    if value is None or value.tzinfo is None:
        return None
    try:
        value = value.astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return value if _EARLIEST <= value <= now + _FUTURE else None


def clean(text: str) -> str | None:
    """Return *text* stripped, without lone surrogates; None when nothing is left."""
    text = text.strip()
    if not text.isascii() and _SURROGATES.search(text):
        text = _SURROGATES.sub("\ufffd", text)
    return text or None


def plain(value: Any, depth: int = 0) -> object:
    """Return *value* as JSON can hold it, bounded in depth and size; what has no such form becomes None."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)[:40]
    if isinstance(value, str):
        return clean(value[:MAX_FIELD])
    if depth >= _MAX_EXTRA_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {str(clean(str(key)[:200])): plain(item, depth + 1) for key, item in list(value.items())[:_MAX_LIST]}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in list(value)[:_MAX_LIST]]
    return None


def _text(value: Any) -> str | None:
    return clean(value) if isinstance(value, str) else None


def _links(entry: Mapping[str, Any]) -> list[str]:
    """Return the entry's links, best first; a GUID that says it is the link counts as one."""
    found = [_text(entry.get("link"))]
    found += [
        _text(link.get("href")) for link in entry.get("links") or () if link.get("rel", "alternate") == "alternate"
    ]
    return list(dict.fromkeys(link for link in found if link))


def _name(author: Mapping[str, Any]) -> str | None:
    return _text(author.get("name")) or _text(author.get("email"))


def _entry_language(entry: Mapping[str, Any]) -> str | None:
    for part in (*(entry.get("content") or ()), entry.get("summary_detail"), entry.get("title_detail")):
        if part and (language := _text(part.get("language"))):
            return language
    return None


def _struct_time(value: Any, now: datetime) -> datetime | None:
    try:
        return moment(datetime.fromtimestamp(timegm(value), UTC), now) if value else None
    except (ValueError, OverflowError, TypeError, OSError):
        return None


def _ttl(value: Any) -> float | None:
    """Return the feed's `ttl` (minutes) in seconds."""
    text = _text(value) or ""
    return float(text) * 60 if text.isascii() and text.isdigit() and len(text) < 7 else None
