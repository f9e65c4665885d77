"""
The feed list: OPML 2.0 or YAML to FeedConfig, with every fault told by file and line.

Both forms know the same settings of a feed (docs/operations.md): `interval`, `language`, `labels`, `rights`,
`usageTerms`, `fullText`, `private`, `enabled`, `maxAge`, `maxBytes`, `maxPageBytes`, `pagesPerPoll`. In OPML they are
attributes of an outline, plain or in the namespace NAMESPACE; those of a group count for all outlines in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from worker.edges import yaml_file
from worker.edges.feed_settings import NAMES, Defaults, Given, feed_of
from worker.edges.yaml_file import Fault, FileFaults
from worker.feed_config import FeedConfig

NAMESPACE = "urn:dateline:opml:1"
_MAX_DEPTH = 20
_OPML_OWN = frozenset(
    "text title type xmlurl htmlurl description version created category iscomment isbreakpoint url".split()
)
_BY_LOWER = {name.lower(): name for name in NAMES}


def read(path: Path, *, defaults: Defaults | None = None) -> tuple[FeedConfig, ...]:
    """
    Return the feeds that the file at *path* lists, in its order, those that are switched off too.

    Raises: FileFaults: all that is wrong in it.
    """
    defaults = defaults or Defaults()
    if path.suffix.lower() in {".yaml", ".yml"}:
        given, faults = _from_yaml(path)
    else:
        given, faults = _from_opml(path)
    feeds: list[FeedConfig] = []
    seen: dict[str, int] = {}
    for item in given:
        feed, why = feed_of(item, folder=path.parent, defaults=defaults)
        faults += [Fault(file=str(path), line=item.line, reason=reason) for reason in why]
        if feed is None:
            continue
        for name in (f"id {feed.id!r}", f"address {feed.source!r}"):
            if name in seen:
                reason = f"{name} is also that of line {seen[name]}"
                faults.append(Fault(file=str(path), line=item.line, reason=reason))
                break
            seen[name] = item.line
        feeds.append(feed)
    if not given and not faults:
        faults.append(Fault(file=str(path), line=0, reason="lists no feed"))
    if faults:
        raise FileFaults(sorted(faults, key=lambda fault: fault.line))
    return tuple(feeds)


def _from_yaml(path: Path) -> tuple[list[Given], list[Fault]]:
    document = yaml_file.read(path)
    document.unknown({"defaults", "feeds"})
    shared = document.get("defaults") or {}
    if not isinstance(shared, Mapping):
        document.fault("defaults: expected a mapping", "defaults")
        shared = {}
    document.unknown(set(NAMES) - {"id", "url", "path", "title"}, "defaults")
    given = []
    for number, item in enumerate(document.take(list[Any], "feeds") or ()):
        if isinstance(item, str):
            item = {"url": item}  # noqa: PLW2901  # the short form: only an address
        if not isinstance(item, Mapping):
            document.fault(f"feeds.{number}: expected an address or a mapping", "feeds", number)
            continue
        document.unknown(set(NAMES), "feeds", number)
        line = document.lines.get(("feeds", number), 0)
        given.append(Given(line=line, values={**shared, **{str(key): value for key, value in item.items()}}))
    return given, document.faults


def _from_opml(path: Path) -> tuple[list[Given], list[Fault]]:
    # No entities, no network, no DTD: a list may come from anywhere.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileFaults([Fault(file=str(path), line=0, reason=error.strerror or str(error))]) from error
    try:
        root = etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise FileFaults([Fault(file=str(path), line=int(error.lineno or 0), reason=error.msg or "not XML")]) from error
    body = root.find("body")
    if root.tag != "opml" or body is None:
        raise FileFaults([Fault(file=str(path), line=_line(root), reason="not OPML: no <opml> with a <body>")])
    faults: list[Fault] = []
    given = list(_outlines(body, {}, faults, file=str(path), depth=0))
    return given, faults


def _outlines(
    parent: etree._Element, shared: Mapping[str, str], faults: list[Fault], *, file: str, depth: int
) -> Iterator[Given]:
    """Yield what each outline with an address says, with what the groups around it say."""
    for outline in parent.iterchildren("outline"):
        line = _line(outline)
        own: dict[str, str] = {}
        title = address = None
        for raw_name, raw_value in outline.attrib.items():
            name, value = str(raw_name), str(raw_value)
            if name.startswith(f"{{{NAMESPACE}}}"):
                name = name.rpartition("}")[2]
            lower = name.lower()
            if lower == "xmlurl":
                address = value.strip()
            elif lower in {"text", "title"}:
                title = value if lower == "text" or title is None else title
            elif lower in _BY_LOWER:
                own[_BY_LOWER[lower]] = value
            elif lower not in _OPML_OWN and not name.startswith("{"):
                faults.append(Fault(file=file, line=line, reason=f"unknown attribute {name!r}"))
        if address:
            key = "url" if "://" in address else "path"
            yield Given(line=line, values={**shared, **own, "title": title, key: address})
        elif depth < _MAX_DEPTH:
            yield from _outlines(outline, {**shared, **own}, faults, file=file, depth=depth + 1)


def _line(element: etree._Element) -> int:
    line: Any = element.sourceline
    return int(line or 0)
