"""
Tell the language of a text: by script where that decides, by frequent words where they agree, else by a classifier.

The feed's own language is a prior: it decides between Chinese and Japanese written in Han only, and wherever the
classifier is unsure. Measured choices: docs/decisions.md#language.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from worker.text import HAN, HANGUL, KANA

Classify = Callable[[str], tuple[str, float]]
"""Text to (ISO 639-1 code, probability 0-1)."""

LANGUAGES = tuple("ar bg cs de en es fa fr he hi id it ja ko ms nl pl pt ro ru sr sv th tr uk vi zh".split())
"""What the classifier may answer."""
SAMPLE_CHARS = 240
MIN_PROBABILITY = 0.5
_MIN_LETTERS = 3
_MIN_WORD_HITS = 3
_PRIMARY = re.compile(r"\s*([A-Za-z]{2,3})(?:[-_]|\s*$)")

_SCRIPTS = re.compile(
    f"(?P<kana>[{KANA}]+)|(?P<hangul>[{HANGUL}]+)|(?P<han>[{HAN}]+)|(?P<cyrillic>[\u0400-\u052f]+)"
    "|(?P<latin>[A-Za-z\u00c0-\u024f]+)|(?P<other>[^\\W\\d_])"
)
# Of the Cyrillic alphabets in LANGUAGES only the Russian has these; a letter of another alphabet takes that back.
_RUSSIAN_ONLY = re.compile("[ыэё]", re.IGNORECASE)
_NOT_RUSSIAN = re.compile("[іїєґўәғқңөұүһјљњћџѓќ]", re.IGNORECASE)
# Only English has these in numbers; a text with three of them, and no accents to speak of, needs no classifier.
_ENGLISH_WORDS = frozenset(
    "the of and to in that for is was with on by as at from it his has have said be are were which would they".split()
)


def detect(text: str, hint: str | None, classify: Classify) -> str:
    """
    Return the ISO 639-1 code of *text*, `und` when there is nothing to go by.

    Args:
        text: Title, then body; the first SAMPLE_CHARS characters are looked at.
        hint: What the feed says, BCP 47, or None.
        classify: The classifier; asked only when script and frequent words leave it open.
    """
    sample = text[:SAMPLE_CHARS]
    prior = _primary(hint)
    if sample.isascii() and len(_ENGLISH_WORDS.intersection(sample.lower().split())) >= _MIN_WORD_HITS:
        return "en"
    counts: dict[str, int] = {}
    for match in _SCRIPTS.finditer(sample):
        name = match.lastgroup or "other"
        counts[name] = counts.get(name, 0) + match.end() - match.start()
    if sum(counts.values()) < _MIN_LETTERS:
        return prior or "und"
    east_asian = _east_asian(counts, prior)
    if east_asian:
        return east_asian
    russian = _RUSSIAN_ONLY.search(sample) and not _NOT_RUSSIAN.search(sample)
    if russian and counts.get("cyrillic", 0) > counts.get("latin", 0):
        return "ru"
    language, probability = classify(sample)
    if prior and (probability < MIN_PROBABILITY or language == "und"):
        return prior
    return language


def _primary(hint: str | None) -> str | None:
    """Return the primary language subtag of *hint*; None when it has no such form."""
    match = _PRIMARY.match(hint) if hint else None
    return match[1].lower() if match else None


def _east_asian(counts: dict[str, int], prior: str | None) -> str | None:
    """Decide by script alone; one Han, Kana or Hangul letter weighs as much as two of an alphabet."""
    kana, hangul, han = counts.get("kana", 0), counts.get("hangul", 0), counts.get("han", 0)
    alphabetic = sum(counts.values()) - kana - hangul - han
    if 2 * (kana + hangul + han) <= alphabetic:
        return None
    if hangul > kana + han:
        return "ko"
    if kana * 12 > han:
        return "ja"
    if hangul * 4 > han:
        return "ko"
    return "ja" if prior == "ja" and han < 30 and not kana else "zh"
