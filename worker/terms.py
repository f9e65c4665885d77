"""
Find the terms of several owners in one pass over a text.

An owner is whoever listed a term (a topic, or one slot of a topic's word group). For each owner the leftmost-longest of
its own terms wins and uses its text up; owners never disturb each other, so a list that a user adds changes no other
topic. `*` in a term stands for any letters up to the end of the word.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

from ahocorasick_rs import AhoCorasick, Implementation, MatchKind

from worker.text import HAN, KANA, fold, is_unspaced, stands_alone

DFA_PATTERNS = 4_000
"""Up to so many the faster automaton is built; its memory grows with patterns times the bytes they use."""
_KATAKANA = re.compile(r"[\u30a1-\u30fa\u30fc\uff66-\uff9f]")
_UNSPACED_FROM = "\u1100"
"""Below lie scripts with spaces between words; from here on Hangul, Kana and Han."""
_LETTERS = rf"[^\W{HAN}{KANA}]*"
_ODD = (("\u2019", "'"), ("\u00a0", " "), ("\u2010", " "), ("\u2011", " "), ("\u3000", " "), ("ё", "е"))
_REST_OF_WORD = re.compile(_LETTERS)
_compiled = cache(re.compile)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedTerm:
    """A term as its owner wrote it."""

    owner: Hashable
    text: str
    silent: bool = False
    """Uses its text up and says nothing: the owner's NOT contexts."""


@dataclass(frozen=True, slots=True)
class _Posting:
    """A term that a matched pattern says: its number, its owner's, and where in the pattern it lies."""

    term: int
    owner: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Tail:
    """What may follow a pattern to complete terms of one owner."""

    owner: int
    follows: re.Pattern[str]
    terms: tuple[int, ...]
    """By group of `follows`; -1 for a silent one."""
    plain: bool
    """`follows` stands behind the rest of the word, and the rest of its own last word belongs to it too."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    left: bool
    """The first letter needs a boundary before it."""
    right: bool
    """The last letter needs a boundary behind it for `closed`; `open` is said when the word goes on."""
    closed: tuple[_Posting, ...]
    open: tuple[_Posting, ...]
    inner: tuple[_Posting, ...]
    """What the words inside say when the pattern itself begins in the middle of a word."""
    tails: tuple[_Tail, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """A numbered term, split at its first `*`: `rest` is None without one."""

    number: int
    owner: int
    silent: bool
    rest: str | None


@dataclass(slots=True)
class _Inside:
    """One term found inside a longer pattern."""

    part: _Part
    start: int
    end: int
    at_edge: bool = field(default=False)
    """It ends with the pattern and needs a boundary there."""


def normalise(text: str, simplified: Mapping[int, int] | None = None) -> str:
    """Fold *text* for matching, same length: lower case, plain quotes and spaces, simplified Han with a table."""
    folded = fold(text).replace("\n", " ").replace("-", " ")
    if not folded.isascii():
        for odd, plain in _ODD:
            folded = folded.replace(odd, plain)
        if simplified:
            folded = folded.translate(simplified)
    return folded


def end_of_word(text: str, end: int) -> int:
    """Return where the spaced word that holds text[end - 1] ends."""
    return end if text[end - 1] >= _UNSPACED_FROM and is_unspaced(text[end - 1]) else _word_end(text, end)


def _word_end(text: str, end: int) -> int:
    """Return where the letters end that follow *end*, if any do."""
    if end >= len(text) or not (text[end].isalnum() or text[end] == "_"):  # nearly always, and much sooner
        return end
    match = _REST_OF_WORD.match(text, end)
    return match.end() if match else end


def _starts_word(text: str, start: int) -> bool:
    if start == 0:
        return True
    if text[start] < _UNSPACED_FROM and text[start - 1] < _UNSPACED_FROM:  # the same answer, much sooner
        return not (text[start].isalnum() and text[start - 1].isalnum())
    if _KATAKANA.match(text[start]):
        return not _KATAKANA.match(text[start - 1])
    return stands_alone(text[start - 1 : start + 1], 1, 2)


def _ends_word(text: str, end: int) -> bool:
    if end >= len(text):
        return True
    if text[end] < _UNSPACED_FROM and text[end - 1] < _UNSPACED_FROM:
        return not (text[end].isalnum() and text[end - 1].isalnum())
    if _KATAKANA.match(text[end - 1]):
        return not _KATAKANA.match(text[end])
    return stands_alone(text[end - 1 : end + 1], 0, 1)


class TermSet:
    """Compiled terms; `find` gives (term number, start, end) in text order, numbers as in the list given."""

    __slots__ = ("_automaton", "_patterns", "_quick")

    def __init__(self, terms: Sequence[OwnedTerm], simplified: Mapping[int, int] | None = None) -> None:
        owners: dict[Hashable, int] = {}
        parts: dict[str, list[_Part]] = {}
        for number, term in enumerate(terms):
            head, star, rest = normalise(term.text, simplified).strip().partition("*")
            owner = owners.setdefault(term.owner, len(owners))
            if head and not any(p.owner == owner and p.rest == (rest if star else None) for p in parts.get(head, ())):
                parts.setdefault(head, []).append(
                    _Part(number=number, owner=owner, silent=term.silent, rest=rest if star else None)
                )
        words = sorted(parts)
        scout = AhoCorasick(words or ["\0"], matchkind=MatchKind.Standard)
        self._patterns: list[_Pattern] = []
        for word in words:
            spans = scout.find_matches_as_indexes(word, overlapping=True)
            self._patterns.append(_compile(word, parts, [(words[number], start, end) for number, start, end in spans]))
        self._quick = [_quick(pattern, len(word)) for pattern, word in zip(self._patterns, words, strict=True)]
        self._automaton = AhoCorasick(
            words or ["\0"],
            matchkind=MatchKind.LeftmostLongest,
            implementation=Implementation.DFA if len(words) <= DFA_PATTERNS else Implementation.ContiguousNFA,
        )

    def find(self, text: str) -> list[tuple[int, int, int]]:
        """Return the terms in *text*, which is normalised."""
        found: list[tuple[int, int, int]] = []
        if not self._patterns:
            return found
        patterns, quick, text_ends = self._patterns, self._quick, len(text)
        used: dict[int, int] = {}
        for number, start, end in self._automaton.find_matches_as_indexes(text):
            term, open_ended, whole_only = quick[number]
            if start and (before := text[start - 1]).isalnum():
                first = text[start]
                spaced = first < _UNSPACED_FROM and before < _UNSPACED_FROM  # a third of all matches: no call for them
                if first.isalnum() if spaced else not _starts_word(text, start):
                    if not whole_only:
                        found += self._inside(number, text, start, end, used)
                    continue
            if term >= 0 and not used:
                if open_ended or end == text_ends or not text[end].isalnum() or _ends_word(text, end):
                    found.append((term, start, end))
            else:
                found += _said(patterns[number], text, start, end, used)
        return found

    def _inside(self, number: int, text: str, start: int, end: int, used: dict[int, int]) -> list[tuple[int, int, int]]:
        """Return what a pattern says that begins in the middle of a word."""
        pattern = self._patterns[number]
        return _standing(pattern.inner, text, start) if pattern.left else _said(pattern, text, start, end, used)


def _quick(pattern: _Pattern, length: int) -> tuple[int, bool, bool]:
    """
    Return what `find` asks of a pattern most often.

    That is: the term of a pattern that says one thing at most, -1 for others; whether its word may go on; whether it
    says nothing where it begins inside a word.
    """
    whole_only = bool(pattern.left) and not pattern.inner
    if pattern.tails or not pattern.left or not pattern.right or len(pattern.closed) != 1:
        return -1, False, whole_only
    post = pattern.closed[0]
    if post.end - post.start != length or pattern.open not in ((), pattern.closed):
        return -1, False, whole_only
    return post.term, bool(pattern.open), whole_only


def _said(pattern: _Pattern, text: str, start: int, end: int, used: dict[int, int]) -> list[tuple[int, int, int]]:
    """Return what *pattern* at text[start:end] says for each owner, what follows it included."""
    found = _continued(pattern.tails, text, start, end, used) if pattern.tails else []
    closes = not pattern.right or end >= len(text) or not text[end].isalnum() or _ends_word(text, end)
    for post in pattern.closed if closes else pattern.open:
        begin = start + post.start
        if not used or used.get(post.owner, 0) <= begin:
            found.append((post.term, begin, start + post.end))
    return found


def _standing(posts: tuple[_Posting, ...], text: str, shift: int) -> list[tuple[int, int, int]]:
    """Return those of *posts* that are words of their own in *text*, *shift* characters on."""
    return [
        (post.term, shift + post.start, shift + post.end)
        for post in posts
        if _starts_word(text, shift + post.start) and _ends_word(text, shift + post.end)
    ]


def _continued(
    tails: tuple[_Tail, ...], text: str, start: int, end: int, used: dict[int, int]
) -> list[tuple[int, int, int]]:
    """Return the terms that the words behind *end* complete; *used* gets by owner how far its text is used up."""
    found = []
    word_end = _word_end(text, end)
    for tail in tails:
        match = tail.follows.match(text, word_end if tail.plain else end)
        if match and used.get(tail.owner, 0) <= start:
            stop = used[tail.owner] = _word_end(text, match.end()) if tail.plain else match.end()
            term = tail.terms[(match.lastindex or 1) - 1]
            if term >= 0:
                found.append((term, start, stop))
    return found


def _compile(word: str, parts: Mapping[str, list[_Part]], spans: list[tuple[str, int, int]]) -> _Pattern:
    """Work out what *word* says for each owner; *spans* are all the patterns inside it, itself included."""
    own = parts[word]
    others_inside = [span for span in spans if span[0] != word] if len(spans) > 1 else []
    within = _inside(word, parts, others_inside) if others_inside else []
    exact = {p.owner for p in own if p.rest is None}
    wild = {p.owner for p in own if p.rest == ""}

    def direct(rests: tuple[str | None, ...]) -> list[_Posting]:
        chosen = {p.owner: p for p in own if p.rest in rests}
        return [_Posting(p.number, p.owner, 0, len(word)) for p in chosen.values() if not p.silent]

    def others(skip: set[int], *, edge: bool) -> list[_Posting]:
        return [
            _Posting(i.part.number, i.part.owner, i.start, i.end)
            for i in within
            if i.part.owner not in skip and not i.part.silent and (edge or not i.at_edge)
        ]

    follows: dict[int, list[_Part]] = {}
    for part in own:
        if part.rest:
            follows.setdefault(part.owner, []).append(part)
    return _Pattern(
        left=not is_unspaced(word[0]) or _KATAKANA.match(word[0]) is not None,
        right=(not is_unspaced(word[-1]) or _KATAKANA.match(word[-1]) is not None),
        closed=tuple(direct((None, "")) + others(exact | wild, edge=True)),
        open=tuple(direct(("",)) + others(wild, edge=False)),
        inner=tuple(others(set(), edge=True)),
        tails=tuple(_tail(owner, found) for owner, found in follows.items()),
    )


def _tail(owner: int, parts: list[_Part]) -> _Tail:
    """Build the expression that finds the longest continuation first."""
    ordered = sorted(parts, key=lambda part: -len(part.rest or ""))
    rests = [part.rest or "" for part in ordered]
    # To compile the class of letters costs more than all else, and most need it at neither end: no rest that begins
    # with anything but a letter can begin within the letters before it.
    plain = all("*" not in rest.rstrip("*") and not _REST_OF_WORD.fullmatch(rest[0]) for rest in rests)
    either = "|".join(f"({_expression(rest.rstrip('*') if plain else rest, ends=rest[-1] != '*')})" for rest in rests)
    return _Tail(
        owner=owner,
        follows=_compiled(f"(?:{either})" if plain else f"{_LETTERS}(?:{either})"),
        terms=tuple(-1 if p.silent else p.number for p in ordered),
        plain=plain,
    )


def _expression(rest: str, *, ends: bool) -> str:
    """Return the expression of what follows the first `*`; *ends*: the word must not go on."""
    body = _LETTERS.join(re.escape(piece) for piece in rest.split("*"))
    return body + r"(?!\w)" if ends else body


def _inside(word: str, parts: Mapping[str, list[_Part]], spans: list[tuple[str, int, int]]) -> list[_Inside]:
    """Return by owner the leftmost-longest terms inside *word*, in text order."""
    candidates: list[_Inside] = []
    for head, start, end in spans:
        if not _starts_word(word, start):
            continue
        for part in parts[head]:
            if part.rest is None:
                if _ends_word(word, end):
                    candidates.append(_Inside(part, start, end, at_edge=end == len(word)))
            elif not part.rest:
                candidates.append(_Inside(part, start, end))
            # Few have what follows in them at all, and to compile an expression costs more than all else here.
            elif all(piece in word for piece in part.rest.split("*")) and (
                match := _compiled(_LETTERS + _expression(part.rest, ends=part.rest[-1] != "*")).match(word, end)
            ):
                candidates.append(_Inside(part, start, match.end()))
    chosen: dict[int, list[_Inside]] = {}
    for candidate in sorted(candidates, key=lambda c: (c.start, -c.end)):
        mine = chosen.setdefault(candidate.part.owner, [])
        if not mine or mine[-1].end <= candidate.start:
            mine.append(candidate)
    return sorted(chain.from_iterable(chosen.values()), key=lambda c: c.start)
