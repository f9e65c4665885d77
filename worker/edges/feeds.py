"""
A fetched body to a feed: RSS, Atom and RDF by feedparser, JSON Feed by json_feed.py.

Nothing in a body can raise, reach a file or the network, or take long: the text is decoded here, entity declarations
are refused, the SAX driver has limits, and what is not well-formed is mended once, in linear time, by a pass over the
text and lxml's recovery, then parsed again by the same limited driver.
"""

from __future__ import annotations

import io
import re
from datetime import datetime
from html.entities import name2codepoint

import feedparser
from feedparser import api
from lxml import etree

from worker.edges import charsets, feed_entries, json_feed
from worker.edges.xml_driver import EntityDeclared, IllFormed, TooComplex
from worker.polling import NotAFeed, ParsedFeed

MAX_ENTRIES = 2000
_ROOT = re.compile(r"<([A-Za-z_][\w.\-]*:)?([A-Za-z_][\w.\-]*)")
_ROOTS = frozenset({"rss", "rdf", "feed", "channel"})
_SPACE = re.compile(r"\s*")
_CDATA_OR_AMPERSAND = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?:(#\d{1,7}|#x[0-9a-fA-F]{1,6});|([A-Za-z]\w{0,31});)?", re.DOTALL
)
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})

# feedparser's own hook for the choice of a SAX driver; a list that it reads at each parse.
api.PREFERRED_XML_PARSERS[:] = ["worker.edges.xml_driver"]


def parse(body: bytes, *, content_type: str, base_url: str | None, now: datetime) -> ParsedFeed | NotAFeed:
    """Return the feed that *body* is; *base_url* is where it came from, *now* bounds its dates."""
    text, flags = charsets.decode(body, content_type)
    text = text.lstrip("\ufeff \t\r\n")
    if not text:
        return NotAFeed(reason="empty")
    if text.startswith("{"):
        return json_feed.parse(text, base_url=base_url, now=now, max_entries=MAX_ENTRIES, flags=flags)
    start = _prolog_end(text)
    root = _ROOT.search(text, start, start + 64 * 1024)
    if root is None or root[2].lower() not in _ROOTS:
        return NotAFeed(reason="not-a-feed", detail=f"the document is <{root[2][:40]}>" if root else "no markup")
    if "<!ENTITY" in text[:start]:
        return NotAFeed(reason="doctype", detail="declares entities")
    found = _understood(text[root.start() :])
    if isinstance(found, NotAFeed):
        return found
    document, mended = found
    if not document.version and not document.entries:
        return NotAFeed(reason="not-a-feed", detail=f"<{root[2][:40]}> without entries")
    flags = (*flags, "ill-formed") if mended else flags
    return feed_entries.from_feedparser(document, base_url=base_url, now=now, max_entries=MAX_ENTRIES, flags=flags)


def _understood(text: str) -> tuple[feedparser.FeedParserDict, bool] | NotAFeed:
    """Return what feedparser makes of *text* and whether it had to be mended first."""
    try:
        try:
            return _feedparser(text), False
        except IllFormed as error:
            mended = _mend(text)
            if mended is None:
                return NotAFeed(reason="ill-formed", detail=str(error)[:300])
            return _feedparser(mended), True
    except EntityDeclared as error:
        return NotAFeed(reason="doctype", detail=str(error))
    except TooComplex as error:
        return NotAFeed(reason="too-complex", detail=str(error))
    except Exception as error:  # noqa: BLE001  # whatever a feed makes the parser do, it stays that feed's fault
        return NotAFeed(reason="ill-formed", detail=f"{type(error).__name__}: {error}"[:300])


def _prolog_end(text: str) -> int:
    """Return where declarations, comments and the document type end: only the root element goes to a parser."""
    at = 0
    while True:
        at = _space_end(text, at)
        if text.startswith("<!--", at):
            end, length = text.find("-->", at + 4), 3
        elif text.startswith("<?", at):
            end, length = text.find("?>", at + 2), 2
        elif text.startswith("<!", at):
            end, length = text.find(">", at), 1
            subset = text.find("[", at, end)
            if subset >= 0:
                end = text.find(">", max(text.find("]", subset), subset))
        else:
            return at
        if end < 0:
            return len(text)
        at = end + length


def _space_end(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return match.end() if match else start


def _feedparser(text: str) -> feedparser.FeedParserDict:
    """Parse XML text. Raises: IllFormed, TooComplex, and whatever feedparser does."""
    body = ('<?xml version="1.0" encoding="utf-8"?>\n' + text).encode("utf-8", "replace")
    # Always a stream: given bytes that look like a path, feedparser opens the file.
    return feedparser.parse(
        io.BytesIO(body),
        response_headers={"content-type": "application/xml; charset=utf-8"},
        sanitize_html=False,
        resolve_relative_uris=False,
    )


def _mend(text: str) -> str | None:
    """Return *text* as well-formed XML, or None: HTML's entities, lone ampersands, stray characters, open tags."""
    text = _CDATA_OR_AMPERSAND.sub(_entity, _NOT_XML.sub("", text))
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True
    )
    try:
        root = etree.fromstring(text.encode("utf-8"), parser)
    except etree.XMLSyntaxError:
        return None
    return None if root is None else etree.tostring(root, encoding="unicode")


def _entity(match: re.Match[str]) -> str:
    if match[0].startswith("<") or match[1] or match[2] in _XML_ENTITIES:
        return match[0]
    if match[2] in name2codepoint:
        return chr(name2codepoint[match[2]])
    return "&amp;" + match[0][1:]
