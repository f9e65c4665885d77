"""
Write one article of a licensed wire to `news.raw`, as a system of yours would: produce_raw.py [HOST:PORT [TOPIC]].

It needs kafka-python and nothing of Dateline: the record is plain JSON (docs/records.md; `dateline schema raw`).
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from datetime import UTC, datetime

from kafka import KafkaProducer

ARTICLE = {
    "guid": "wire-2025-06-17-0042",
    "link": "https://wire.example/stories/0042",
    "title": "Freight trains between Dandong and Sinuiju doubled",
    "content": (
        "<p>DANDONG - China and North Korea have doubled the number of freight trains over the Yalu bridge to two a "
        "day, a railway official said.</p>"
        "<p>Fertiliser and grain make up most of the trade; coal remains under embargo.</p>"
    ),
}


def raw_record(article: dict[str, str], *, now: datetime) -> tuple[bytes, bytes]:
    """Return key and value of a raw record; fields that you do not have are left out, never null."""
    story = hashlib.sha256(article["link"].encode()).hexdigest()
    value = {
        "story": story,
        "feed": {
            "id": "example-wire",
            "title": "Example Wire",
            "labels": {"publisher": "example-wire", "tier": "licensed"},
            "rights": {"body": "excerpt", "usageTerms": "Excerpts only, see contract 17."},
        },
        "fetchedAt": now.isoformat(),
        "title": article["title"],
        "link": article["link"],
        "canonicalLink": article["link"],
        "guid": article["guid"],
        "content": article["content"],
        "language": "en",
        "publishedAt": now.isoformat(),
    }
    return story.encode(), json.dumps(value, ensure_ascii=False).encode()


def main(bootstrap: str = "127.0.0.1:9092", topic: str = "news.raw") -> None:
    """Send the article and wait until all replicas have it."""
    now = datetime.now(UTC)
    key, value = raw_record(ARTICLE, now=now)
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    partitions = len(producer.partitions_for(topic))
    sent = producer.send(
        topic,
        key=key,
        value=value,
        partition=zlib.crc32(key) % partitions,  # so that all versions of a story lie on one partition
        headers=[  # optional; with them the record is a CloudEvent
            ("ce_specversion", b"1.0"),
            ("ce_id", hashlib.sha256(value).hexdigest()[:32].encode()),
            ("ce_source", b"urn:example:wire"),
            ("ce_type", b"dateline.news.item.discovered.v1"),
            ("ce_subject", key),
            ("ce_time", now.isoformat().encode()),
            ("content-type", b"application/json"),
        ],
    )
    place = sent.get(timeout=30)
    producer.close()
    print(f"{place.topic}/{place.partition}/{place.offset}: story {key.decode()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
