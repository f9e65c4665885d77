"""Bytes of an article: on each topic as the broker keeps it, and in the seen store."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from itertools import accumulate
from typing import Any

import redis
from kafka.admin import KafkaAdminClient

from tests.bench.articles import SIZE, articles
from tests.bench.enrich import enrich
from tests.bench.measure import ready_log
from tests.bench.parts import Stand
from tests.bench.pollers import cpu_s
from tests.support.services import Service
from worker import wire
from worker.records import RawArticle

_LETTERS = "etaoinshrdlucmfwypvbgk"
_WORDS = 5_000
_SKEW = 1.2
"""With so many words, drawn so unevenly, lz4 makes as much of the text as of BBC news: 1.3 of one, 1.8 of a hundred."""
_WORDS_A_PARAGRAPH = 60
_SAMPLE = 4_000
_KINDS = {b"s": "stories", b"v": "routes", b"r": "verdicts"}
"""
By the first letter of a key behind the tag; all others lead from a link, GUID or text to a story.

Verdicts are forgotten an hour after their commit, all else after `seen.ttl`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a number of articles left behind."""

    articles: int
    cpu_s: float
    """Of the worker."""
    services_cpu_s: dict[str, float]
    """Of broker and seen store meanwhile, by name."""
    value_bytes: float
    """Of a raw record's value, before compression."""
    on_disk: dict[str, int]
    """By topic without its prefix: bytes of the segments."""
    memory: int
    """By which the seen store's server grew."""
    file: int
    """By which its append-only file grew."""
    keys: dict[str, tuple[float, float]]
    """By kind: keys an article, and the bytes of one."""


def worded(count: int) -> Iterator[RawArticle]:
    """Yield the benchmark's articles, their body but for the first paragraph of made-up words that do not repeat."""
    chance = random.Random(1)
    words = [
        "".join(chance.choices(_LETTERS, k=max(1, min(12, int(chance.gauss(2 + rank**0.25, 2))))))
        for rank in range(_WORDS)
    ]
    drawn = list(accumulate(1 / (rank + 3) ** _SKEW for rank in range(_WORDS)))
    for article in articles(count):
        content = article.content or ""
        own = random.Random(content)  # a copy has the text of what it copies
        parts = [content.partition("\n")[0]]
        size = len(parts[0])
        while size < SIZE:
            text = " ".join(own.choices(words, cum_weights=drawn, k=_WORDS_A_PARAGRAPH))
            parts.append(f"<p>{text.capitalize()}.</p>")
            size += len(parts[-1])
        yield replace(article, content="\n".join(parts))


def stored(stand: Stand, services: Sequence[Service], count: int, *, batch: int) -> Stored:
    """Append *count* articles and work them off, *batch* at a time; say what lies where then."""
    server = redis.Redis.from_url(stand.redis)
    with ready_log(stand) as log:
        before, file_before = _memory(server)
        cpu = {service.name: cpu_s(service.pid) for service in services}
        values, chunk, appender = 0, [], log.appender()
        for number, article in enumerate(worded(count), 1):
            record = wire.raw_record(article, topic=stand.topics.raw, now=datetime.now(UTC))
            values += len(record.value or b"")
            chunk.append(record)
            if len(chunk) == batch or number == count:
                appender.append(chunk)
                chunk = []
        appender.close()
        with redirect_stdout(StringIO()):  # it tells a parent that it is ready
            result = enrich(stand, count, max_records=batch, warm_up=0)
    memory, file = _memory(server)
    return Stored(
        articles=count,
        cpu_s=float(str(result["cpu_s"])),
        services_cpu_s={service.name: cpu_s(service.pid) - cpu[service.name] for service in services},
        value_bytes=values / count,
        on_disk=on_disk(stand.bootstrap, stand.prefix),
        memory=memory - before,
        file=file - file_before,
        keys=_keys(server, stand.prefix, count),
    )


def _memory(server: Any) -> tuple[int, int]:
    info = server.info()
    return int(info["used_memory"]), int(info.get("aof_current_size", 0))


def on_disk(bootstrap: str, prefix: str) -> dict[str, int]:
    """Return the bytes of each topic that begins with *prefix*, by the rest of its name, and of the broker's own."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        sizes: Counter[str] = Counter()
        for broker in admin.describe_log_dirs():
            for folder in broker["log_dirs"]:
                for topic in folder["topics"]:
                    name = topic["name"]
                    if name.startswith((prefix, "__")):
                        sizes[name.removeprefix(prefix)] += sum(each["partition_size"] for each in topic["partitions"])
        return {name: size for name, size in sorted(sizes.items()) if size}
    finally:
        admin.close()


def _keys(server: Any, namespace: str, count: int) -> dict[str, tuple[float, float]]:
    """Look at a sample of each kind of key; the sizes are the server's own."""
    tag = b"{dateline:%s}" % namespace.encode()
    found: dict[str, list[bytes]] = {}
    for key in server.scan_iter(match=tag + b"*", count=1000):
        found.setdefault(_KINDS.get(key[len(tag) :][:1], "keys"), []).append(key)
    shares = {}
    for kind, keys in sorted(found.items()):
        sample = random.Random(1).sample(keys, min(len(keys), _SAMPLE))
        size = sum(server.memory_usage(key, samples=0) for key in sample) / len(sample)
        shares[kind] = (len(keys) / count, size)
    return shares
