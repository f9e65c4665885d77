"""Print the stories of a pair and a topic, chosen by headers: filter_confluent.py [HOST:PORT TOPIC GROUP]."""

import json
import sys

from confluent_kafka import Consumer, KafkaException

bootstrap, topic, group = sys.argv[1:] or ("127.0.0.1:9092", "news.enriched", "my-team")
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "isolation.level": "read_committed",  # librdkafka's default, said so that it stays so
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe([topic])
while True:
    record = consumer.poll(1.0)
    if record is None:
        continue
    if record.error():
        raise KafkaException(record.error())
    headers = {name: value.decode() for name, value in record.headers()}
    if (
        "CN-KP" in headers["pairs"].split(",")
        and "sanctions" in headers["topics"].split(",")
        and headers["lang"] in {"en", "zh"}
        and "reprocessed" not in headers  # made by a replay: you had it before
    ):
        story = json.loads(record.value())  # only what passed is parsed
        texts = {
            "title": story["headlines"][0]["value"] if "headlines" in story else "",
            "body": story["bodies"][0]["value"] if "bodies" in story else "",
        }
        print(headers["kind"], headers["version"], record.key().decode())
        for item in story["dateline"]["evidence"]:
            print(" ", item["tag"], item["field"], texts[item["field"]][item["start"] : item["end"]])
        sys.stdout.flush()
    consumer.commit(record)
