"""
The SAX driver that feedparser is given: expat with buffered text and with limits.

Without it 200,000 attributes on one element cost a minute and two million unclosed tags a gigabyte. An error of
well-formedness leaves as `IllFormed`, which is not a SAXException, so that feedparser never falls back to its loose
parser, whose time per megabyte has no good bound; edges/feeds.py mends such a document and asks again.
"""

from __future__ import annotations

from typing import Any
from xml.sax import SAXParseException
from xml.sax.expatreader import ExpatParser

MAX_DEPTH = 100
MAX_ATTRIBUTES = 64
MAX_ELEMENTS = 200_000


class TooComplex(Exception):
    """The document exceeds a limit."""


class EntityDeclared(Exception):
    """The document declares entities: what bombs and file readers are made of, and no feed needs."""


class IllFormed(Exception):
    """The document is not well-formed XML."""


class LimitedParser(ExpatParser):
    """Expat that counts."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._elements = 0

    def reset(self) -> None:
        super().reset()
        parser: Any = vars(self)["_parser"]
        parser.buffer_size = 65_536
        parser.buffer_text = True
        parser.EntityDeclHandler = _refuse_entity

    def feed(self, data: Any, isFinal: bool = False) -> None:  # noqa: N803  # the base class's name
        """Raises: IllFormed, TooComplex."""
        try:
            super().feed(data, isFinal)
        except SAXParseException as error:
            raise IllFormed(f"line {error.getLineNumber()}: {error.getMessage()}") from error

    def start_element_ns(self, name: str, attrs: Any) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH:
            raise TooComplex(f"nested deeper than {MAX_DEPTH}")
        if self._elements > MAX_ELEMENTS:
            raise TooComplex(f"more than {MAX_ELEMENTS} elements")
        if len(attrs) > MAX_ATTRIBUTES:
            raise TooComplex(f"more than {MAX_ATTRIBUTES} attributes on one element")
        super().start_element_ns(name, attrs)

    def end_element_ns(self, name: str) -> None:
        self._depth -= 1
        super().end_element_ns(name)


def _refuse_entity(*_declaration: object) -> None:
    raise EntityDeclared("declares entities")


def create_parser() -> LimitedParser:
    """Return a new parser: what xml.sax.make_parser asks a driver module for."""
    return LimitedParser()
