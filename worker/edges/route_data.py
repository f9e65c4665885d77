"""
Read the routes of a taxonomy from `routes.yaml`.

    routes:
      - name: china-dprk
        when: {pair: CN-KP}
      - name: sanctions-asia
        topic: asia.sanctions            # what follows the prefix in the topic's name; the name unless said
        when:
          all:
            - {topic: sanctions, relevance: 30}
            - any: [{region: KP, about: true}, {region: {code: IR, relevance: 40}}]
            - not: {language: [ja, ru]}
            - {labels: {tier: [one, two]}}
            - {kind: new}

Conditions: all, any, not, topic, pair, region, language, feed, labels, kind.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.edges import yaml_file
from worker.edges.yaml_file import Document, Fault, FileFaults
from worker.stages.route import (
    RESERVED,
    All,
    AnyOf,
    Condition,
    HasLabels,
    HasPair,
    HasRegion,
    HasTopic,
    IsFeed,
    IsKind,
    IsLanguage,
    Not,
    Route,
)

FILE = "routes.yaml"
KINDS = frozenset({"new", "update"})
MAX_DEPTH = 32
_NAME = re.compile(r"[a-z0-9-]+")
_TOPIC = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_DETAILS = {
    "region": {"code", "about", "relevance"},
    "pair": {"code", "type", "relevance"},
    "topic": {"slug", "relevance", "confidence"},
}
_MAIN = ("all", "any", "not", "topic", "pair", "region", "language", "feed", "labels", "kind")
_Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNames:
    """What a condition may name; anything else is a slip of the pen, and a fault."""

    topics: Collection[str]
    regions: Collection[str]


def load_routes(folders: list[Path], known: KnownNames) -> tuple[Route, ...]:
    """
    Read the routes of each folder; a route in a later folder stands for one of the same name before it.

    Raises: FileFaults: with every fault of every file.
    """
    routes: dict[str, Route] = {}
    faults: list[Fault] = []
    for folder in folders:
        if not (folder / FILE).exists():
            continue
        try:
            document = yaml_file.read(folder / FILE)
        except FileFaults as error:
            faults += error.faults
            continue
        routes |= _routes(document, known)
        faults += document.faults
    if faults:
        raise FileFaults(faults)
    return tuple(routes.values())


def _routes(document: Document, known: KnownNames) -> dict[str, Route]:
    document.unknown({"routes"})
    found: dict[str, Route] = {}
    entries = document.take(list[Any], "routes") or []
    for number in range(len(entries)):
        key = ("routes", number)
        document.unknown({"name", "topic", "when"}, *key)
        name = document.take(str, *key, "name")
        topic = None if document.get(*key, "topic") is None else document.take(str, *key, "topic")
        when = _Reader(document, known).condition((*key, "when"))
        if name is None:
            continue
        if not _NAME.fullmatch(name) or len(name) > 100:
            document.fault(f"name {name!r}: only a-z, 0-9 and hyphens, at most 100", *key, "name")
        if topic is not None and not _TOPIC.fullmatch(topic):
            document.fault(f"topic {topic!r}: only a-z, 0-9, dots, hyphens and underscores", *key, "topic")
        if (topic or name) in RESERVED or name in RESERVED:
            document.fault(f"{name!r} is reserved: {', '.join(sorted(RESERVED))}", *key, "name")
        if name in found:
            document.fault(f"route {name!r} stands twice", *key, "name")
        if when is not None:
            found[name] = Route(name=name, when=when, topic=topic or "")
    return found


class _Reader:
    """Reads one route's tree of conditions; what is wrong is noted in the document."""

    def __init__(self, document: Document, known: KnownNames) -> None:
        self._document = document
        self._known = known

    def condition(self, key: _Key, depth: int = 0) -> Condition | None:
        """Return the condition at *key*; None when it is wrong."""
        value = self._document.get(*key)
        if not isinstance(value, dict) or not value:
            self._document.fault(f"a condition is a mapping with one of: {', '.join(_MAIN)}", *key)
            return None
        main = [name for name in value if name in _MAIN]
        if len(main) != 1:
            what = "no condition" if not main else f"{len(main)} conditions ({', '.join(main)})"
            self._document.fault(f"{what} here; one of {', '.join(_MAIN)}; join several by all or any", *key)
            return None
        if depth > MAX_DEPTH:
            self._document.fault(f"nested deeper than {MAX_DEPTH}", *key)
            return None
        name = main[0]
        if name in {"all", "any"}:
            return self._several(name, key, depth)
        if name == "not":
            self._document.unknown({"not"}, *key)
            inner = self.condition((*key, "not"), depth + 1)
            return None if inner is None else Not(of=inner)
        if name in _DETAILS:
            return self._tag(name, key)
        self._document.unknown({name}, *key)
        return self._labels(key) if name == "labels" else self._one_of(name, key)

    def _several(self, name: str, key: _Key, depth: int) -> Condition | None:
        self._document.unknown({name}, *key)
        items = self._document.take(list[Any], *key, name)
        if not items:
            if items is not None:
                self._document.fault(f"{name}: the list is empty", *key, name)
            return None
        read = [self.condition((*key, name, number), depth + 1) for number in range(len(items))]
        of = tuple(condition for condition in read if condition is not None)
        return All(of=of) if name == "all" else AnyOf(of=of)

    def _tag(self, name: str, key: _Key) -> Condition | None:
        """Read `{region: CN, about: true}` or `{region: {code: CN, about: true}}`."""
        allowed = _DETAILS[name]
        first = "slug" if name == "topic" else "code"
        if isinstance(self._document.get(*key, name), dict):
            self._document.unknown({name}, *key)
            at: _Key = (*key, name)
            self._document.unknown(allowed, *at)
            code = self._document.take(str, *at, first)
        else:
            at = key
            self._document.unknown(allowed - {first} | {name}, *at)
            code = self._document.take(str, *at, name)
        relevance = self._percent(at, "relevance")
        if code is None or not self._is_known(name, code, key):
            return None
        if name == "topic":
            return HasTopic(slug=code, relevance=relevance, confidence=self._percent(at, "confidence"))
        if name == "pair":
            return HasPair(code=code, type=self._optional(str, at, "type"), relevance=relevance)
        return HasRegion(code=code, about=self._optional(bool, at, "about"), relevance=relevance)

    def _is_known(self, name: str, code: str, key: _Key) -> bool:
        if name == "topic" and code not in self._known.topics:
            self._document.fault(f"there is no topic {code!r}; known are {', '.join(sorted(self._known.topics))}", *key)
        elif name == "region" and code not in self._known.regions:
            self._document.fault(f"there is no region {code!r}; use ISO 3166-1 alpha-2, as CN", *key)
        elif name == "pair":
            one, _, other = code.partition("-")
            if not one < other or not {one, other} <= set(self._known.regions):
                self._document.fault(f"there is no pair {code!r}; two known regions in alphabetical order: CN-KP", *key)
                return False
            return True
        else:
            return True
        return False

    def _optional(self, kind: Any, key: _Key, name: str) -> Any:
        return None if self._document.get(*key, name) is None else self._document.take(kind, *key, name)

    def _percent(self, key: _Key, name: str) -> int:
        value: int = self._optional(int, key, name) or 0
        if not 0 <= value <= 100:
            self._document.fault(f"{name}: must lie between 0 and 100", *key, name)
        return value

    def _words(self, key: _Key) -> frozenset[str]:
        """Read one word or a list of them."""
        value = self._document.get(*key)
        words = self._document.take(list[str], *key) if isinstance(value, list) else [self._document.take(str, *key)]
        return frozenset(word for word in words or [] if word)

    def _one_of(self, name: str, key: _Key) -> Condition | None:
        words = self._words((*key, name))
        if not words:
            return None
        if name == "feed":
            return IsFeed(ids=words)
        if name == "kind":
            for word in sorted(words - KINDS):
                self._document.fault(f"kind: {word!r} is neither new nor update", *key, name)
            return IsKind(kinds=words)
        for word in sorted(words):
            if not _LANGUAGE.fullmatch(word):
                self._document.fault(f"language: {word!r} is no ISO 639 code, as en or zh", *key, name)
        return IsLanguage(codes=words)

    def _labels(self, key: _Key) -> Condition | None:
        labels = self._document.take(dict[str, Any], *key, "labels")
        if not labels:
            return None
        return HasLabels(labels={label: self._words((*key, "labels", label)) for label in labels})
