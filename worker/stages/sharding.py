"""
Which of several pollers polls a feed: a function of the feed's id and their number, so that they need not talk.

Rendezvous hashing: each shard draws a number for the feed, and the highest has it. With one shard more, only feeds for
which the new one draws the highest move, and all of them to it. Pollers that count differently for a while poll some
feeds twice or leave some waiting; the first costs repeats, the second time, and neither loses an entry.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_ORDINAL = re.compile(r"-(\d+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One of *count* equal parts of all feeds; *index* counts from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.index}/{self.count}"

    def has(self, feed: str) -> bool:
        """Tell whether the feed of this id belongs to this shard."""
        return shard_of(feed, self.count) == self.index


def shard_of(feed: str, count: int) -> int:
    """Return the index of the shard that polls the feed of this id: the same on every machine and release."""
    return max(range(count), key=lambda index: _draw(feed, index))


def read_shard(text: str, *, host: str) -> Shard:
    """
    Read `1/3`, or `auto/3`: then the index is the number at the end of *host*, which a StatefulSet gives its pods.

    Raises: ValueError: *host* has none, or one that is not below the count.
    """
    first, _, count = text.partition("/")
    if first != "auto":
        return Shard(index=int(first), count=int(count))
    ordinal = _ORDINAL.search(host.partition(".")[0])
    if ordinal is None:
        raise ValueError(f"the host name {host!r} does not end in a number like that of a StatefulSet's pod")
    if int(ordinal[1]) >= int(count):
        raise ValueError(f"the host name {host!r} is beyond {count} shards, which count from 0")
    return Shard(index=int(ordinal[1]), count=int(count))


def _draw(feed: str, index: int) -> bytes:
    return hashlib.blake2b(f"{index}\0{feed}".encode(), digest_size=8).digest()
