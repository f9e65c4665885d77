"""Print a topic's records from a time until now, and end: replay_kafka_python.py TIME [HOST:PORT TOPIC]."""

import sys
from datetime import datetime

from kafka import KafkaConsumer, TopicPartition

start = datetime.fromisoformat(sys.argv[1])  # as 2026-03-01T12:00:00+00:00
bootstrap, topic = sys.argv[2:] or ("127.0.0.1:9092", "news.enriched")
consumer = KafkaConsumer(
    bootstrap_servers=bootstrap,
    group_id=None,  # no group: nothing is committed, and nobody else's place moves
    isolation_level="read_committed",
)
partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
consumer.assign(partitions)
ends = consumer.end_offsets(partitions)
found = consumer.offsets_for_times(dict.fromkeys(partitions, int(start.timestamp() * 1000)))
for partition in partitions:
    consumer.seek(partition, found[partition].offset if found[partition] else ends[partition])
while any(consumer.position(partition) < end for partition, end in ends.items()):
    for records in consumer.poll(timeout_ms=200).values():
        for record in records:
            headers = {name: value.decode() for name, value in record.headers}
            again = "again" if "reprocessed" in headers else "live"
            print(headers["kind"], headers["version"], record.key.decode(), again)
