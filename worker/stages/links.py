"""The identity of a story: its link without what only tracks the reader, and the story id made of it."""

from __future__ import annotations

import hashlib
import re
import unicodedata

import can_ada

_TRACKING = re.compile(
    r"""(?:
      utm_\w+ | mtm_\w+ | pk_(?:campaign|kwd|keyword|source|medium) | piwik_(?:campaign|kwd)
    | at_(?:medium|campaign\w*|custom\d|link\w*|format|ptr\w*|bbc_team|type)
    | ns_(?:campaign|mchannel|source|linkname|fee) | wt\.(?:mc_id|zmc) | wtrid | xtor | xtref
    | fbclid | gclid | gclsrc | gbraid | wbraid | dclid | msclkid | yclid | ttclid | twclid | igshid | igsh | li_fat_id
    | mc_[ce]id | mkt_tok | _hs(?:enc|mi) | hsctatracking | vero_(?:id|conv) | oly_(?:enc|anon)_id | wickedid
    | _openstat | _ga | _gl | s_cid | cmpid | cmp | ocid | icid | ito | ncid | smid | smtyp | ftag
    | guccounter | guce_referrer(?:_sig)? | share_(?:from|source|token) | from_?rss | traffic_source | maca
    | trk_?(?:campaign|info) | spm
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_TRACKING_VALUES = re.compile(
    r"(?:ref|source|src|from|partner|output)=(?:rss|feed|rssfeed|rss_feed|feedburner|atom|twitter|facebook)",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def canonical_link(url: str) -> str | None:
    """
    Return *url* as WHATWG writes it, without fragment and tracking parameters, the others sorted; None unless http(s).

    An unknown parameter is never dropped: it may be the article's number. http and https stay two links.
    """
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):  # TypeError: a lone surrogate
        return None
    if parsed.protocol not in {"http:", "https:"} or not parsed.hostname or parsed.has_credentials():
        return None
    kept = sorted(part for part in str(parsed.search)[1:].split("&") if part and not _tracks(part))
    link = f"{parsed.protocol}//{parsed.host}{parsed.pathname}" + ("?" + "&".join(kept) if kept else "")
    return _ESCAPE.sub(_escape, link) if "%" in link else link


def _tracks(parameter: str) -> bool:
    name = parameter.partition("=")[0]
    return _TRACKING.fullmatch(name) is not None or _TRACKING_VALUES.fullmatch(parameter) is not None


def _escape(match: re.Match[str]) -> str:
    byte = int(match[1], 16)
    return chr(byte) if byte in _UNRESERVED else match[0].upper()


def story_id(canonical: str | None, feed_id: str, guid: str | None, text: str) -> str:
    """Return 64 hex digits: of the canonical link, else feed id and GUID, else the text without case and space."""
    if canonical:
        seed = f"link\0{canonical}"
    elif guid:
        seed = f"guid\0{feed_id}\0{guid}"
    else:
        seed = "text\0" + " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()
