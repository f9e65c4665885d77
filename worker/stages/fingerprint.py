"""
The keys by which the judge compares an article with what was seen.

Two texts count as equal when their letters, marks and digits are equal after folding: case, width, white space and
punctuation say nothing. Counters ("1,024 views") and advertising lines are left out, since they change while the story
does not; a digit in a sentence is news ("12 dead" becomes "15 dead") and stays.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import urlsplit

from worker.records import Article, Coordinates, Fingerprint
from worker.text import HAN, HANGUL, KANA

LONG_BODY = (40, 80)
"""Words, or characters of scripts without spaces: such a body alone proves a copy, whatever its title."""
SHORT_TEXT = (8, 20)
"""The same for title and body together; what is shorter proves nothing."""
SHORT_LINE = 64
"""Code points; only shorter lines can be a counter."""
MARGIN = 120
"""Code points at both ends of a long line where counters are looked for."""

# What a counter counts, by language: "1024 views", "views: 1024".
_COUNTED = {
    "en": "views reads comments shares likes replies retweets reposts claps upvotes points",
    "de": "aufrufe kommentare",
    "es": "visitas lecturas comentarios",
    "fr": "vues commentaires partages",
    "ru": "просмотр просмотра просмотров просмотры комментарий комментария комментариев комментарии "
    "лайк лайка лайков репост репоста репостов",
    "zh": "次阅读 次閱讀 阅读量 閱讀量 阅读数 阅读 閱讀 次浏览 次瀏覽 浏览量 浏览 瀏覽 次播放 "
    "播放量 条评论 則評論 则评论 评论 評論 留言 点赞 點讚 次转发 转发",
    "ja": "回閲覧 回視聴 回再生 件のコメント コメント 閲覧数 再生回数 いいね シェア",
    "ko": "조회수 조회 댓글수 댓글 공감 추천 공유",
}
# What else may stand in a line that is nothing but a counter or a clock: "Updated 5 minutes ago".
_BESIDE = {
    "en": "view read comment share like reply point times updated published posted last modified ago just now today "
    "min mins minute minutes hour hours day days sec second seconds k m am pm and by",
    "de": "vor minuten stunden aktualisiert gelesen mal",
    "es": "hace minutos horas actualizado",
    "fr": "il y a minutes heures mis à jour",
    "ru": "минут минуты минуту час часа часов назад обновлено опубликовано мин",
    "zh": "更新于 更新 发布于 发布 發布 分钟前 分鐘前 小时前 小時前 天前 秒前 分钟 小时 万 萬 次 条 数 量",
    "ja": "更新 分前 時間前 日前 秒前 公開 件 回 分 時間",
    "ko": "업데이트 입력 수정 분 전 시간 일 개 회 명",
}
_FURNITURE = frozenset(
    "advertisement|advertisements|advertising|ad|sponsored|sponsored content|promoted|read more"
    "|continue reading|show more|load more|share|share this|share this article|share this story|print|related"
    "|related articles|leave a comment|related stories|recommended|recommended for you|most read"
    "|more on this story|listen to this article|comments|anzeige|werbung|weiterlesen|mehr zum thema|publicidad"
    "|leer más|lea también|publicité|lire la suite|lire aussi|реклама|читать далее|читайте также|подробнее"
    "|на правах рекламы|поделиться|广告|廣告|阅读更多|閱讀更多|阅读全文|閱讀全文|查看更多|相关阅读|相关新闻"
    "|相關新聞|延伸阅读|延伸閱讀|分享|広告|続きを読む|もっと見る|関連記事|関連ニュース|あわせて読みたい|광고"
    "|더보기|더 보기|관련기사|관련 기사|기사 더보기|공유하기".split("|")
)
_FURNITURE_STARTS = (
    "sign up for our",
    "sign up to our",
    "subscribe to our",
    "read more:",
    "read also:",
    "also read:",
    "follow us on",
    "download our app",
    "click here to",
    "подпишитесь на",
    "подписывайтесь на",
    "читайте также:",
    "关注我们",
    "關注我們",
    "扫码关注",
    "구독하기",
)
_EDGES = " \t\u3000.:…|»«<>→►▼▲↓[](){}【】（）「」*—–-•·"
_SENTENCE_ENDS = ".!?…。！？｡"


def _alternatives(words: str) -> str:
    """Match any of *words*, the longest first; those of spaced scripts only as whole words."""
    ordered = sorted(words.split(), key=len, reverse=True)
    spaced = "|".join(re.escape(word) for word in ordered if not _CROWDED.search(word))
    crowded = "|".join(re.escape(word) for word in ordered if _CROWDED.search(word))
    return rf"\b(?:{spaced})\b|(?:{crowded})"


_CROWDED = re.compile(f"[{HAN}{KANA}{HANGUL}\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = r"\d[\d.,]*\s?(?:[km万萬천만]\b)?"
_COUNTED_ANY = _alternatives(" ".join(_COUNTED.values()))
_PURE_COUNTER = re.compile(
    rf"(?:{_alternatives(' '.join((*_COUNTED.values(), *_BESIDE.values())))}|\d++(?:st|nd|rd|th|[km])?|[\W_])++"
)
# Inside a line a counter must end the line, or stand before a divider or a further counter:
# "sold 500 shares of" is news.
_INLINE = re.compile(
    rf"{_NUMBER}\s*[개件条]?\s*(?:{_COUNTED_ANY})(?=\s*(?:$|[|•·・/\])）]|[,;]?\s*\d))"
    rf"|(?:{_COUNTED_ANY})\s*[:：(（]\s*{_NUMBER}\s*[)）]?"
    rf"|(?:{_COUNTED_ANY})\s+{_NUMBER}(?=\s*(?:$|[|•·・/\])）]))"
)
_DIVIDERS = "|•·・"
_COUNTED_WORDS = tuple(" ".join(_COUNTED.values()).split())
_COUNTED_STARTS = frozenset(word[:2] for word in _COUNTED_WORDS)
_COUNTED_ENDS = frozenset(word[-2:] for word in _COUNTED_WORDS)
"""No line need be compared with a hundred words to see that it begins or ends with none of them."""
_DECIMAL_POINT = re.compile(r"\.(?<=\d\.)(?=\d)")
_ASCII_ONLY = bytes(range(128))
_ASCII_SILENT = bytes(code for code in range(128) if not chr(code).isalnum())


def fingerprint(article: Article, raw: Coordinates) -> Fingerprint:
    """Return the keys of *article*, which was made of the record at *raw*."""
    title, body = article.title.casefold(), _without_furniture(article.body.casefold())
    title_said, body_said = _said(title), _said(body)
    link = article.canonical_link or article.link
    if _longer(body, LONG_BODY):
        copy_key = _key(body_said)
    elif _longer(f"{title} {body}", SHORT_TEXT):
        copy_key = _key(title_said, body_said)
    else:
        copy_key = None
    return Fingerprint(
        raw=raw,
        story=article.story,
        feed=article.feed.id,
        publisher=article.feed.labels.get("publisher") or _host(link) or article.feed.id,
        basis=article.basis,
        text_state=_key(title_said, body_said, b"state"),
        link_key=None if link is None else _key(_utf8(_bare_link(link))),
        guid_key=None
        if article.guid is None
        else _key(article.feed.id.encode(), article.guid.encode("utf-8", "ignore")),
        copy_key=copy_key,
    )


def _key(*parts: bytes) -> str:
    """Hash *parts* to 32 hex digits; none of them holds a zero byte, so no two lists hash alike."""
    return blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def _utf8(text: str) -> bytes:
    """Encode *text*; lone surrogates, which cannot be encoded, are left out."""
    return text.encode("utf-8", "ignore")


def _said(text: str) -> bytes:
    """Return the letters, marks and digits of casefolded *text*; a decimal point stays, as 1.5 is not 15."""
    text = _DECIMAL_POINT.sub("p", text)
    if not text.isascii():
        encoded = _utf8(text)
        mostly_ascii = len(encoded) < 1.5 * len(text)
        for char in set(encoded.translate(None, _ASCII_ONLY).decode() if mostly_ascii else text):
            if char > "\x7f" and not _speaks(char):
                text = text.replace(char, "")
        text = unicodedata.normalize("NFKC", text)
    return _utf8(text).translate(None, _ASCII_SILENT)


@lru_cache(maxsize=65_536)
def _speaks(char: str) -> bool:
    """Tell whether *char* is a letter, a digit or a mark of a letter (vowel signs; variation selectors say nothing)."""
    return unicodedata.category(char)[0] in "LNM" and not 0xFE00 <= ord(char) <= 0xFE0F


def _without_furniture(body: str) -> str:
    """Return casefolded *body* without advertising lines and counters."""
    lines = body.split("\n")
    kinds = [_line_kind(line) if len(line) <= 2 * SHORT_LINE else "text" for line in lines]
    text = "\n".join(line for line, kind in zip(lines, kinds, strict=True) if kind == "text")
    if "counter?" in kinds and not _longer(text, SHORT_TEXT):  # beside no real text such a line may be the text
        text = "\n".join(line for line, kind in zip(lines, kinds, strict=True) if kind in ("text", "counter?"))
    return "\n".join([_without_counters(line) for line in text.split("\n")])


def _without_counters(line: str) -> str:
    """Return *line* without the counters at its beginning and end, or between dividers; a long line costs no more."""
    end = line.rstrip(_EDGES)
    if (
        end[-1:].isdigit()
        or (end[-2:] in _COUNTED_ENDS and end.endswith(_COUNTED_WORDS))
        or (line[:2] in _COUNTED_STARTS and line.startswith(_COUNTED_WORDS))
        or any(divider in line for divider in _DIVIDERS)  # ten times as fast as a search for all of them
    ):
        if len(line) <= 2 * MARGIN:
            return _INLINE.sub("", line)
        return _INLINE.sub("", line[:MARGIN]) + line[MARGIN:-MARGIN] + _INLINE.sub("", line[-MARGIN:])
    return line


def _line_kind(line: str) -> str:
    """Tell what a shorter line is: `text`, `furniture`, `counter`, or `counter?` where only its shape says so."""
    core = line.strip(_EDGES)
    if core in _FURNITURE or core.startswith(_FURNITURE_STARTS):
        return "furniture"
    if len(core) > SHORT_LINE or not any(map(str.isdigit, core)):
        return "text"
    if _PURE_COUNTER.fullmatch(core):
        return "counter"
    if line.rstrip().endswith(tuple(_SENTENCE_ENDS)):
        return "text"
    words = _WORD.findall(core)
    crowded = sum(len(_CROWDED.findall(word)) for word in words)
    spaced = sum(1 for word in words if not _CROWDED.search(word))
    return "counter?" if crowded <= 6 and spaced <= 3 else "text"


def _longer(text: str, least: tuple[int, int]) -> bool:
    """Tell whether *text* has as many words, or characters of scripts without spaces, as *least* says."""
    words, chars = least
    if len(text.split(None, words)) >= words:
        return True
    return not text.isascii() and len(_CROWDED.findall(text[: 40 * chars])) >= chars


def _bare_link(link: str) -> str:
    """Return *link* without scheme, `www.` and closing slash: what differs between two ways to one page."""
    return link.partition("://")[2].removeprefix("www.").rstrip("/")


def _host(link: str | None) -> str | None:
    """Return the host of an absolute link, without `www.` and port."""
    if link is None:
        return None
    try:
        return (urlsplit(link).hostname or "").removeprefix("www.") or None
    except ValueError:
        return None
