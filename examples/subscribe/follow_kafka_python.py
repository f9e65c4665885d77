"""Print everything on one route as it comes: follow_kafka_python.py [HOST:PORT TOPIC GROUP]."""

import json
import sys

from kafka import KafkaConsumer

bootstrap, topic, group = sys.argv[1:] or ("127.0.0.1:9092", "news.china-dprk", "my-team")
consumer = KafkaConsumer(
    topic,
    bootstrap_servers=bootstrap,
    group_id=group,
    isolation_level="read_committed",  # kafka-python's own default shows aborted records too
    auto_offset_reset="earliest",
    enable_auto_commit=False,
)
while True:
    for records in consumer.poll(timeout_ms=1000).values():
        for record in records:
            headers = {name: value.decode() for name, value in record.headers}
            if "reprocessed" in headers:  # made by a replay: you had it before
                continue
            print(headers["kind"], headers["version"], record.key.decode())
            if headers["kind"] == "unrouted":  # the story's latest version left this route
                continue
            story = json.loads(record.value)
            texts = {
                "title": story["headlines"][0]["value"] if "headlines" in story else "",
                "body": story["bodies"][0]["value"] if "bodies" in story else "",
            }
            for item in story["dateline"]["evidence"]:  # Python counts code points, as the offsets do
                print(" ", item["tag"], item["field"], texts[item["field"]][item["start"] : item["end"]])
    sys.stdout.flush()
    consumer.commit()  # after the work: a crash repeats records, and loses none
