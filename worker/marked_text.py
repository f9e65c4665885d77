"""
Text from outside as HTML: escaped, without what turns or hides characters, its evidence marked.

Offsets count Unicode code points of the text as published, so it is cut first and escaped after.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.records import Evidence

_HARMFUL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufdd0-\ufdef\ufff9-\ufffb]"
)
"""Controls, line separators, characters that turn the direction of what follows, halves of surrogate pairs."""
_RIGHT_TO_LEFT = frozenset({"ar", "ckb", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"})
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,3}")


def safe(text: str) -> str:
    """Return *text* as it may stand in HTML, between tags or in a quoted attribute."""
    return html.escape(_HARMFUL.sub("", text), quote=True)


def language_attributes(language: str) -> str:
    """Return the `lang` and `dir` of an element that holds text in *language*."""
    if not _LANGUAGE.fullmatch(language) or language == "und":
        return 'lang="" dir="auto"'
    direction = "rtl" if language.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"
    return f'lang="{language}" dir="{direction}"'


@dataclass(slots=True)
class _Span:
    start: int
    end: int
    why: dict[str, str] = field(default_factory=dict)
    """Rule by tag."""


def marked(text: str, evidence: Iterable[Evidence], names: Mapping[str, str]) -> str:
    """
    Return *text* as HTML with each piece of *evidence* in a `<mark>` that names its tags.

    What overlaps shares a mark. *names*: how tags are called there; else what follows the colon.
    """
    parts, at = [], 0
    for span in _spans(evidence, len(text)):
        tags = list(dict.fromkeys(names.get(tag) or tag.partition(":")[2] or tag for tag in span.why))
        why = ", ".join(f"{tag} ({rule})" for tag, rule in span.why.items())
        kind = next(iter(span.why)).partition(":")[0]
        parts.append(safe(text[at : span.start]))
        parts.append(
            f'<mark class="{safe(kind)}" title="{safe(why)}">{safe(text[span.start : span.end])}'
            f'<small lang="en" dir="ltr"> {safe(", ".join(tags))}</small></mark>'
        )
        at = span.end
    parts.append(safe(text[at:]))
    return "".join(parts)


def _spans(evidence: Iterable[Evidence], length: int) -> list[_Span]:
    """Return the spans within *length*, in order; those that overlap as one."""
    spans: list[_Span] = []
    within = (each for each in evidence if 0 <= each.start < each.end <= length)
    for each in sorted(within, key=lambda one: (one.start, -one.end)):
        if not spans or each.start >= spans[-1].end:
            spans.append(_Span(each.start, each.end))
        last = spans[-1]
        last.end = max(last.end, each.end)
        last.why.setdefault(each.tag, each.rule)
    return spans
