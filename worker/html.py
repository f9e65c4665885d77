"""
HTML to plain text: fragments as feeds carry them, and the main text of whole pages.

Two well-kept extractors do the reading (resiliparse for fragments, trafilatura for pages). Ours is only what they leave
behind: headlines of other stories below or beside the text must say nothing about this one.
"""

from __future__ import annotations

import re

import lxml.html
from lxml.etree import ParserError
from resiliparse.extract.html2text import extract_plain_text

from worker.furniture import HEADING, LABEL
from worker.text import HAN, HANGUL, KANA

MIN_PAGE_CHARS = 200
"""Below this a page's text is taken for a failure: a teaser, a cookie wall, a login form."""
MIN_PAGE_CHARS_UNSPACED = 80
_MARKUP = re.compile(r"<[a-zA-Z/!]|&[a-zA-Z#][a-zA-Z0-9]{1,30};")
# A block that begins with a link; three of them may be a list of other stories, which is worth a closer look.
_LINK_BLOCK = re.compile(r"<(?:p|li|div|td|h[2-6])\b[^>]*>\s*(?:<(?:strong|b|span)\b[^>]*>\s*)?<a\s", re.IGNORECASE)
_LINK_BLOCKS = 3

_APPEARED_FIRST = re.compile(
    r"\n?(?:The post .{1,300} (?:first )?appeared (?:first )?on .{1,100}|Continue reading.{0,200})\s*$"
)
_TAIL_CHARS = 500
_CJK = re.compile(f"[{HAN}{KANA}{HANGUL}]")
_SENTENCE_END = re.compile(r"""[.!?…。！？」』”"')\]:：;]\s*$""")
_HEADINGS = ("h2", "h3", "h4", "h5", "h6")
_BLOCKS = frozenset(
    [
        *"p li div td th tr table ul ol dl dd dt section article main body blockquote figure header center".split(),
        *_HEADINGS,
    ]
)
_MAX_HEADING_CHARS = 60
_CARD_CHARS = 600
_LINK_SHARE = 0.8
_MAY_HEAD_FURNITURE = frozenset(["p", "strong", "b", "div", "span", "dt", *_HEADINGS])
_NEVER_TEXT = (
    "nav", "aside", "footer", "form", "script", "style", "noscript", "template", "svg", "button", "iframe",
)  # fmt: skip
MAX_ELEMENTS = 50_000


def text_of(fragment: str) -> str:
    """
    Return the plain text of a feed's HTML or plain text, its blocks on lines of their own.

    Raises: whatever the extractor raises on input it cannot parse.
    """
    if not _MARKUP.search(fragment):
        return fragment
    if len(_LINK_BLOCK.findall(fragment)) >= _LINK_BLOCKS:
        fragment = _pruned(fragment) or fragment
    text = str(extract_plain_text(fragment, preserve_formatting=True, alt_texts=False, list_bullets=False))
    tail = text[-_TAIL_CHARS:]
    if "The post " in tail or "Continue reading" in tail:
        return text[:-_TAIL_CHARS] + _APPEARED_FIRST.sub("", tail)
    return text


def main_text(page: str) -> str:
    """
    Return the main text of a web page without its furniture; "" when there is none to speak of.

    About 15 ms a page. Raises: whatever the extractors raise on input they cannot parse.
    """
    pruned = _pruned(page)
    if pruned is None:
        return ""
    import trafilatura  # noqa: PLC0415  (a fifth of a second of a worker's start; most feeds bring the text themselves)

    text = trafilatura.extract(pruned, fast=True, include_comments=False, include_tables=False) or ""
    if not long_enough(text):
        text = extract_plain_text(
            pruned, preserve_formatting=True, main_content=True, alt_texts=False, list_bullets=False
        )
    text = "\n".join(_without_tail([line for raw in text.splitlines() if (line := raw.strip())]))
    return text if long_enough(text) else ""


def long_enough(text: str) -> bool:
    """Tell whether *text* can be an article, and not a teaser or a wall."""
    if len(text) < MIN_PAGE_CHARS:
        return len(_CJK.findall(text)) >= MIN_PAGE_CHARS_UNSPACED
    sample = text[:1_000]
    return 2 * sum(map(str.isalpha, sample)) >= len(sample)


def _without_tail(lines: list[str]) -> list[str]:
    """Cut what follows a furniture heading, and closing lines that are no sentences: the headlines of others."""
    for number, line in enumerate(lines):
        if len(line) <= _MAX_HEADING_CHARS and HEADING.match(line) and long_enough("\n".join(lines[:number])):
            rest = lines[number + 1 :]
            if not any(len(below) > 3 * _MAX_HEADING_CHARS for below in rest):
                lines = lines[:number]
                break
    end = len(lines)
    while end > 1 and not _SENTENCE_END.search(lines[end - 1]):
        end -= 1
    return lines[:end] if len(lines) - end > 1 and long_enough("\n".join(lines[:end])) else lines


def _pruned(html: str) -> str | None:
    """Return *html* without links to other stories, as HTML; None when nothing is left or it is too large."""
    try:
        root = lxml.html.document_fromstring(html, ensure_head_body=True)
    except (ParserError, ValueError):
        return None
    for element in list(root.iter(*_NEVER_TEXT)):
        _drop(element)
    page = _Page(root)
    if len(page.elements) > MAX_ELEMENTS or not page.chars(root):
        return None
    for element in page.elements:
        if element.tag in _BLOCKS and page.is_minor(element):
            label = f"{element.get('class') or ''} {element.get('id') or ''}"
            if page.is_link(element) or LABEL.search(label):
                _drop_card(element, page)
    for element in page.elements:
        if (
            element.tag in _MAY_HEAD_FURNITURE
            and element.getparent() is not None
            and page.is_furniture_heading(element)
        ):
            _drop_with_following(element, page)
    return str(lxml.html.tostring(root, encoding="unicode"))


class _Page:
    """A parsed page and, measured once, how much text and how much link text lies below each element."""

    def __init__(self, root: lxml.html.HtmlElement) -> None:
        self.elements: list[lxml.html.HtmlElement] = [item for item in root.iter() if isinstance(item.tag, str)]
        self._text: dict[lxml.html.HtmlElement, int] = dict.fromkeys(self.elements, 0)
        self._links = dict(self._text)
        self._main = {heading for h1 in root.iter("h1") for heading in (h1, *h1.iterancestors())}
        for element in reversed(self.elements):
            self._text[element] += len((element.text or "").strip())
            if element.tag == "a":
                self._links[element] = self._text[element]
            parent = element.getparent()
            if parent is not None:
                self._text[parent] += self._text[element] + len((element.tail or "").strip())
                self._links[parent] += self._links[element]
        self._total = self._text[root]

    def chars(self, element: lxml.html.HtmlElement) -> int:
        """Return the number of characters below *element*, white space at the ends not counted."""
        return self._text.get(element, 0)

    def is_minor(self, element: lxml.html.HtmlElement) -> bool:
        """Tell that *element* cannot hold the article: no main heading, and less than half of all text."""
        return element not in self._main and 2 * self.chars(element) < self._total

    def is_link(self, element: lxml.html.HtmlElement) -> bool:
        """Tell whether nearly all text of *element* is link text."""
        chars = self.chars(element)
        return chars > 0 and self._links[element] >= _LINK_SHARE * chars

    def is_furniture_heading(self, element: lxml.html.HtmlElement) -> bool:
        if not 0 < self.chars(element) <= _MAX_HEADING_CHARS or len(element) > 1:
            return False
        return HEADING.match(" ".join("".join(element.itertext()).split())) is not None


def _drop(element: lxml.html.HtmlElement) -> None:
    if element.getparent() is not None and element.tag not in {"body", "html"}:
        element.drop_tree()


def _drop_card(element: lxml.html.HtmlElement, page: _Page) -> None:
    """Remove *element*; when it is the linked headline of a small card, its teaser too."""
    card = element.getparent()
    if element.tag in _HEADINGS and card is not None and page.chars(card) < _CARD_CHARS and page.is_minor(card):
        element = card
    _drop(element)


def _drop_with_following(heading: lxml.html.HtmlElement, page: _Page) -> None:
    """Remove *heading* and the list below it, up to the next real paragraph."""
    parent = heading.getparent()
    while parent is not None and parent.tag != "body" and page.chars(parent) == page.chars(heading):
        heading, parent = parent, parent.getparent()
    after_heading = False
    for below in list(heading.itersiblings()):
        if not isinstance(below.tag, str):
            continue
        paragraph = below.tag in {"p", "div"} and page.chars(below) > 2 * _MAX_HEADING_CHARS and not len(below)
        if not page.is_minor(below) or (paragraph and not after_heading):
            break
        after_heading = below.tag in _HEADINGS
        _drop(below)
    _drop(heading)
