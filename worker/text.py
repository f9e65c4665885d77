"""
What the stages share about writing systems: scripts, word boundaries, sentences, a fold that keeps offsets.

Pure functions over str; all offsets count Unicode code points.
"""

from __future__ import annotations

import re
from itertools import pairwise

HAN = r"\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL = r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_UNSPACED = re.compile(f"[{HAN}{KANA}]")
_HANGUL = re.compile(f"[{HANGUL}]")
_SENTENCE_END = re.compile(
    r"""[。！？｡]+[」』”’）)"]*        # full-width stops end a sentence wherever they stand
    |[.!?…]+['")\]»”’」』]*(?=\s)      # Western stops only before a space …
    |\n+""",
    re.VERBOSE,
)
# None has more than four letters in a row: see _abbreviates.
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|Gen|Col|Lt|Sgt|Sen|Rep|Gov|St|No|vs|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|Inc|Ltd|Corp|Co|U\.S|U\.N|U\.K|E\.U|a\.m|p\.m)|\b(?:г|гг|им|ул|тыс|млн|млрд|руб|долл|[А-ЯЁ]))$"
)


def is_unspaced(char: str) -> bool:
    """Tell whether *char* belongs to a script written without spaces (Han, Kana)."""
    return _UNSPACED.match(char) is not None


def is_hangul(char: str) -> bool:
    """Tell whether *char* is Hangul, where particles follow a word without a space."""
    return _HANGUL.match(char) is not None


def stands_alone(text: str, start: int, end: int) -> bool:
    """
    Tell whether text[start:end] is bounded as a word of its script.

    Spaced scripts need a boundary on both sides, Hangul on the left only, Han and Kana on neither.
    """
    first, last = text[start], text[end - 1]
    if start > 0 and first.isalnum() and not is_unspaced(first):
        before = text[start - 1]
        if before.isalnum() and not is_unspaced(before) and (is_hangul(before) == is_hangul(first)):
            return False
    if end < len(text) and last.isalnum() and not is_unspaced(last) and not is_hangul(last):
        after = text[end]
        if after.isalnum() and not is_unspaced(after) and not is_hangul(after):
            return False
    return True


def fold(text: str) -> str:
    """Return *text* in lower case with the same length, so that offsets hold ("İ" stays)."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def sentence_ends_between(text: str, start: int, end: int) -> bool:
    """Tell whether a sentence ends in text[start:end]."""
    return any(not _abbreviates(text, match) for match in _SENTENCE_END.finditer(text, start, end))


def _abbreviates(text: str, match: re.Match[str]) -> bool:
    """Tell that the stop found belongs to an abbreviation or an initial."""
    start = match.start()
    if not match[0].startswith(".") or (start >= 5 and text[start - 5 : start].isalpha()):
        return False  # no abbreviation has five letters
    return _ABBREVIATION.search(text, max(0, start - 6), start) is not None


def sentences(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence, in order; stops after abbreviations and initials do not end one."""
    cuts = [0]
    for match in _SENTENCE_END.finditer(text):
        if _abbreviates(text, match):
            continue
        cuts.append(match.end())
    cuts.append(len(text))
    return [(start, end) for start, end in pairwise(cuts) if text[start:end].strip()]
