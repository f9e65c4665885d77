"""When a feed is asked next, and which of its entries are new: the poller's memory as pure functions."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.records import FeedEntry

DAY_S = 86_400.0
SOFT_CAP_S = 3_600.0
"""Longest pause after failures that go away by themselves: time-outs, 5xx, no route."""
JITTER = 0.1
MAX_KNOWN = 2_400
"""Entries remembered at most: 2,400 × 16 bytes in base64 are 51 KB of the 64 KiB of a feed's state."""
MIN_KNOWN = 100
_HALF = 8
_ENTRY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a document holds that was not known."""

    entries: tuple[FeedEntry, ...]
    """New and changed ones, oldest first: the order in which they were published."""
    known: str
    """FeedState.known as it is to be once these entries are safe."""
    new: int
    changed: int
    too_old: int
    """New ones that a first poll only remembers."""


def next_poll(
    *,
    now: datetime,
    interval_s: float,
    random: float,
    failures: int = 0,
    hard: bool = False,
    retry_after_s: float | None = None,
) -> datetime:
    """
    Return when to ask again; *random* in [0, 1) spreads it by ±JITTER.

    After failures in a row the pause doubles each time, up to SOFT_CAP_S, or to a day when the last was *hard*. What
    the server asks for in Retry-After counts instead, but never less than the interval nor more than a day.
    """
    wait = interval_s
    if retry_after_s is not None and retry_after_s >= 0:
        return now + timedelta(seconds=min(max(retry_after_s, interval_s), DAY_S))
    if failures:
        cap = max(DAY_S if hard else SOFT_CAP_S, interval_s)
        wait = min(interval_s * 2.0 ** min(failures - 1, 40), cap)
    return now + timedelta(seconds=wait * (1 - JITTER + 2 * JITTER * random))


def longest_pause_s(interval_s: float, failures: int) -> float:
    """Return the longest pause that `next_poll` gives; after a failure the server may have asked for a day."""
    return (max(DAY_S, interval_s) if failures else interval_s) * (1 + JITTER)


def wait_s(next_poll_at: datetime | None, now: datetime, *, longest_s: float) -> float:
    """
    Return the seconds until a feed is due, 0 when it is.

    A time beyond the longest pause is that of a clock that was set back; what a division leaves keeps feeds apart.
    """
    if next_poll_at is None:
        return 0.0
    wait = (next_poll_at - now).total_seconds()
    return max(0.0, wait if wait <= longest_s else wait % longest_s)


def identity(entry: FeedEntry) -> bytes:
    """Return 8 bytes that name the entry in its feed: of the GUID, else the link, else the text."""
    if entry.guid:
        seed = f"guid\0{entry.guid}"
    elif entry.link:
        seed = f"link\0{entry.link}"
    else:
        seed = f"text\0{entry.title}\0{entry.summary}\0{entry.content}"
    return _hash(seed)


def content_state(entry: FeedEntry) -> bytes:
    """Return 8 bytes of what the entry says: dates, links and white space are not part of it."""
    return _hash("\0".join(" ".join((text or "").split()) for text in (entry.title, entry.summary, entry.content)))


def new_and_changed(
    known: str, entries: Sequence[FeedEntry], *, now: datetime, first_age_s: float | None = None
) -> Found:
    """
    Compare *entries* with what is *known*; with *first_age_s* (a feed's first poll) older ones are only remembered.

    Entries without a date count as of now. Of two entries with one identity the first counts. The memory keeps what
    the document holds and then, newest first, as much of the past, so that an entry that comes back is still known.
    """
    before = _unpack(known)
    present: dict[bytes, bytes] = {}
    fresh: list[FeedEntry] = []
    new = changed = too_old = 0
    for entry in entries:
        key = identity(entry)
        if key in present:
            continue
        present[key] = state = content_state(entry)
        if before.get(key) == state:
            continue
        if key in before:
            changed += 1
        elif first_age_s is not None and _older(entry, now, first_age_s):
            too_old += 1
            continue
        else:
            new += 1
        fresh.append(entry)
    kept = dict(present)
    room = min(max(2 * len(present), MIN_KNOWN), MAX_KNOWN)
    for key, state in before.items():
        if len(kept) >= room:
            break
        kept.setdefault(key, state)
    return Found(entries=tuple(reversed(fresh)), known=_pack(kept), new=new, changed=changed, too_old=too_old)


def _older(entry: FeedEntry, now: datetime, age_s: float) -> bool:
    at = entry.published_at or entry.updated_at
    return at is not None and (now - at).total_seconds() > age_s


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_HALF).digest()


def _pack(known: dict[bytes, bytes]) -> str:
    data = b"".join(key + state for key, state in known.items())
    return base64.b64encode(data[: MAX_KNOWN * _ENTRY]).decode("ascii")


def _unpack(known: str) -> dict[bytes, bytes]:
    """Return the memory; one that cannot be read is empty: its entries come again, which the judge can bear."""
    try:
        data = base64.b64decode(known, validate=True)
    except (binascii.Error, ValueError):
        return {}
    pieces = (data[start : start + _ENTRY] for start in range(0, len(data) - _ENTRY + 1, _ENTRY))
    return {piece[:_HALF]: piece[_HALF:] for piece in pieces}
