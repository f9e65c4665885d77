"""One feed of a feed list: what a person wrote, checked and typed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from worker.edges import guard
from worker.feed_config import DAY_S, DEFAULT_INTERVAL_S, FeedConfig, FeedLimits, FullText
from worker.polling import FetchFailed
from worker.records import BodyRights, Rights
from worker.settings import Duration

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

NAMES = (
    "id url path title interval language labels rights usageTerms fullText private enabled maxAge maxBytes"
    " maxPageBytes pagesPerPoll"
).split()
MIN_INTERVAL_S = 10.0
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,4}")
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What counts for a feed that does not say."""

    interval_s: float = DEFAULT_INTERVAL_S
    first_age_s: float = DAY_S
    ports: frozenset[int] = guard.PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The settings of one feed as they stand in the file."""

    line: int
    values: Mapping[str, Any]
    """OPML gives strings, YAML any plain value."""


def feed_of(given: Given, *, folder: Path, defaults: Defaults) -> tuple[FeedConfig | None, list[str]]:
    """Return the feed, or None, and all that is wrong with it; *folder* is what a relative path is relative to."""
    taker = _Taker(given.values)
    url, path = taker.take("url", _string, None), taker.take("path", _string, None)
    if url is not None and url.lower().startswith("file:") and path is None:
        path = url2pathname(str(urlsplit(url).path))
        url = None
    if (url is None) == (path is None):
        taker.faults.append("a feed needs either an address or a path")
    private = taker.take("private", _yes_no, False)
    if url is not None:
        host = guard.host_of(url) if private else None
        checked = guard.check(url, private_host=host, ports=defaults.ports)
        if isinstance(checked, FetchFailed):
            taker.faults.append(f"address {_redacted(url)!r}: {checked.detail}")
    feed = FeedConfig(
        id=taker.take("id", _id, None) or derived_id(url or path or ""),
        url=url,
        path=(folder / path).resolve() if path is not None and url is None else None,
        title=taker.take("title", _string, None),
        interval_s=taker.take("interval", _interval, defaults.interval_s),
        language=taker.take("language", _language, None),
        labels=taker.take("labels", _labels, {}),
        rights=Rights(
            body=taker.take("rights", _one_of(BodyRights), BodyRights.FULL),
            usage_terms=taker.take("usageTerms", _string, None),
        ),
        full_text=taker.take("fullText", _one_of(FullText), FullText.NEVER),
        private=private,
        enabled=taker.take("enabled", _yes_no, True),
        limits=FeedLimits(
            first_age_s=taker.take("maxAge", Duration.parse, Duration(defaults.first_age_s)),
            max_bytes=taker.take("maxBytes", _count, FeedLimits().max_bytes),
            max_page_bytes=taker.take("maxPageBytes", _count, FeedLimits().max_page_bytes),
            pages_per_poll=taker.take("pagesPerPoll", _count, FeedLimits().pages_per_poll),
        ),
    )
    return (None if taker.faults else feed), taker.faults


def derived_id(source: str) -> str:
    """Return the id of a feed that has none: it depends on its address alone, so neither order nor title change it."""
    digest = hashlib.sha256(source.encode("utf-8", "replace")).hexdigest()[:8]
    name = guard.host_of(source) or Path(source).stem
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name).strip('-.')[:60] or 'feed'}-{digest}"


class _Taker:
    """Reads values and gathers what is wrong with them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.faults: list[str] = []

    def take(self, name: str, read: Callable[[Any], T], default: T) -> T:
        value = self._values.get(name)
        if value is None or value == "":
            return default
        try:
            return read(value)
        except (ValueError, TypeError) as error:
            self.faults.append(f"{name}: {error}")
            return default


def _string(value: Any) -> str | None:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value.strip() or None


def _one_of(kind: type[E]) -> Callable[[Any], E]:
    def read(value: Any) -> E:
        if value not in list(kind):
            raise ValueError(f"{value!r} is none of {', '.join(kind)}")
        return kind(value)

    return read


def _id(value: Any) -> str | None:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"{value!r} is not 1 to 100 letters, digits, `.`, `_`, `-`")
    return value


def _language(value: Any) -> str | None:
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
        raise ValueError(f"{value!r} is not a language tag like `en` or `zh-Hans`")
    return value


def _interval(value: Any) -> float:
    seconds = Duration.parse(_number_or_text(value))
    if not MIN_INTERVAL_S <= seconds <= DAY_S:
        raise ValueError(f"{value!r} is not between {MIN_INTERVAL_S:g} s and a day")
    return float(seconds)


def _number_or_text(value: Any) -> Any:
    return value if not isinstance(value, bool) else None


def _count(value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdecimal() or not 0 < int(value) < 2**40:
        raise ValueError(f"{value!r} is not a whole number above zero")
    return int(value)


def _yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _YES_NO:
        return _YES_NO[value.lower()]
    raise ValueError(f"{value!r} is not `true` or `false`")


def _labels(value: Any) -> Mapping[str, str]:
    """Read a mapping, or text of the form `country=KR; tier=1`."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in re.split(r"[;,]", value) if part.strip()]
        if any(not sign for _, sign, _ in pairs):
            raise ValueError(f"{value!r} is not of the form `name=value; name=value`")
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, Mapping):
        raise TypeError("expected name=value pairs")
    for name, text in value.items():
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a label's name")
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise TypeError(f"label {name!r} needs text")
    return {name: str(text) for name, text in value.items()}


def _redacted(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)[:200]
