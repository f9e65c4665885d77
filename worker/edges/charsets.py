"""
Bytes to text: which encoding a remote document is in.

A document that decodes strictly as UTF-8 is UTF-8, whatever it says; else the declared encoding, else a guess. Only
encodings of the table are ever tried: a remote name must not reach codecs like punycode (quadratic) or unicode_escape.
"""

from __future__ import annotations

import codecs
import re

import chardet

_GUESS_BYTES = 32 * 1024
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]{1,40})["']""")
_META = re.compile(rb"""<meta[^>]{0,300}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_PARAMETER = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = {
    **dict.fromkeys((b"<\0?\0", b"<\0r\0", b"<\0!\0"), "utf-16-le"),
    **dict.fromkeys((b"\0<\0?", b"\0<\0r", b"\0<\0!"), "utf-16-be"),
}
_SAME = (
    "utf-8 utf-16-le utf-16-be cp866 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-10"
    " iso8859-13 iso8859-14 iso8859-15 iso8859-16 koi8-r koi8-u cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257"
    " cp1258 cp874 mac-roman gb18030 big5hkscs euc_jp iso2022_jp cp932 cp949 johab"
).split()
_WIDER = {  # what is labelled so is really the second: as browsers do
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "shift_jisx0213": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-16-le",
}
_LABELS = {"ks_c_5601-1987": "cp949", "x-sjis": "cp932", "windows-31j": "cp932", "x-gbk": "gb18030", "utf8": "utf-8"}


def _allowed(label: str) -> str | None:
    """Return the codec for a remote *label*, None when it is none of ours."""
    label = label.strip().lower()
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
    except (LookupError, ValueError):
        return None
    name = _WIDER.get(name, name)
    return name if name in _SAME else None


def decode(body: bytes, content_type: str = "") -> tuple[str, tuple[str, ...]]:
    """Return the text of *body*, always valid Unicode, and what was odd: `charset-guessed`, `charset-errors`."""
    for mark, marked in _BOMS:
        if body.startswith(mark):
            return _with(body[len(mark) :], marked)
    if unmarked := _UNMARKED.get(body[:4]):
        return _with(body, unmarked)
    # ISO 2022 is seven-bit, and so valid UTF-8: its shifts tell it.
    text, flags = _with(body, "iso2022_jp" if b"\x1b$" in body else "utf-8")
    if not flags:
        return text, ()
    declared = _declared(body, content_type)
    for name in declared:
        text, flags = _with(body, name)
        if not flags:
            return text, ()
    if guess := _allowed(_guess(body)):
        text, flags = _with(body, guess)
        if not flags:
            return text, ("charset-guessed",)
    text, flags = _with(body, declared[0] if declared else guess or "cp1252")
    if declared and 2 * text.count("\ufffd") > sum(not char.isascii() for char in text):
        return _with(body, "cp1252")[0], ("charset-guessed", "charset-errors")  # the declaration was plainly wrong
    return text, flags if declared else ("charset-guessed", *flags)


def _declared(body: bytes, content_type: str) -> list[str]:
    labels = []
    if match := _PARAMETER.search(content_type):
        labels.append(match[1])
    if found := _DECLARED.search(body[:1024]) or _META.search(body[:4096]):
        labels.append(found[1].decode("ascii", "replace"))
    return list(dict.fromkeys(name for label in labels if (name := _allowed(label))))


def _guess(body: bytes) -> str:
    # Markup is ASCII and teaches nothing; the sample starts where the first other byte stands.
    first = re.search(rb"[\x80-\xff\x1b]", body)
    start = max(0, first.start() - 1024) if first else 0
    return str(chardet.detect(body[start : start + _GUESS_BYTES]).get("encoding") or "")


def _with(body: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    try:
        return body.decode(name), ()
    except UnicodeDecodeError:
        return body.decode(name, "replace"), ("charset-errors",)
