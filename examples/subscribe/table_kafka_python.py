"""Keep each story's latest version in a table: table_kafka_python.py [FILE HOST:PORT TOPIC GROUP]."""

import json
import sqlite3
import sys

from kafka import KafkaConsumer

file, bootstrap, topic, group = sys.argv[1:] or ("stories.db", "127.0.0.1:9092", "news.sanctions", "my-team")
table = sqlite3.connect(file)
table.execute(
    "CREATE TABLE IF NOT EXISTS stories (story TEXT PRIMARY KEY, first TEXT, version INTEGER, raw TEXT,"
    " replayed INTEGER, on_route INTEGER, title TEXT, document TEXT)"
)


def take(story: str, headers: dict[str, str], value: bytes) -> None:
    """Change the table as one record says, unless the table is ahead of it; the same record twice changes nothing."""
    raw, replayed = headers["raw"], "reprocessed" in headers
    version = int(headers["version"])  # a number: as texts, "10" comes before "9"
    held = table.execute("SELECT first, version, raw, replayed FROM stories WHERE story = ?", (story,)).fetchone()
    live = held is not None and not held[3]
    if headers["kind"] == "unrouted":
        # The row stays, with its version: so no late, older record brings the story back.
        if held and version >= held[1] and not (live and replayed):
            table.execute(
                "UPDATE stories SET version = ?, raw = ?, on_route = 0 WHERE story = ?", (version, raw, story)
            )
        return
    document = json.loads(value)
    first = document["firstCreated"]
    if live and replayed:
        if raw != held[2]:
            return  # a replay counts versions by itself: it may only tag anew the very text that the table holds
        first, version, replayed = held[0], held[1], False
    elif live and (first, version) < held[:2]:
        return  # older; a story that was forgotten starts over with version 1, and a later first date
    title = document["headlines"][0]["value"] if "headlines" in document else ""
    row = (story, first, version, raw, replayed, True, title, value.decode())
    table.execute("INSERT OR REPLACE INTO stories VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


consumer = KafkaConsumer(
    topic,
    bootstrap_servers=bootstrap,
    group_id=group,
    isolation_level="read_committed",
    auto_offset_reset="earliest",
    enable_auto_commit=False,
)
while True:
    for records in consumer.poll(timeout_ms=1000).values():
        for record in records:
            take(record.key.decode(), {name: text.decode() for name, text in record.headers}, record.value)
    table.commit()
    consumer.commit()  # after the table: a crash repeats records, which change nothing
