"""
The AsyncAPI 3.0 document of an installation's topics; `dateline schema --asyncapi` prints it.

Made from the JSON Schemas, the topics as `topics apply` creates them and the routes, so it cannot say anything else.
Schemas are plain AsyncAPI ones (JSON Schema draft-07), with all they refer to, so that every tool can read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker import __version__
from worker.enriching import TopicNames
from worker.example_records import example_records
from worker.ports import NewRecord, TopicSpec
from worker.schema import NINJS_ID, ninjs, schemas
from worker.settings import KafkaSettings
from worker.stages.route import Route
from worker.wire import REASONS, TYPES

BINDING = "0.5.0"
"""Of AsyncAPI's bindings for Kafka."""
JsonObject = dict[str, Any]

_ABOUT = (
    "News feeds in; judged, tagged and routed records out. Subscribers read with isolation level `read_committed`, else"
    " records of aborted transactions come too, and stories twice. Inside a major version only optional fields and"
    " headers are added; ignore what you do not know. How to subscribe: docs/subscribe.md; all fields: docs/records.md."
)
_TITLES = {
    "raw": "One entry as its feed gave it",
    "enriched": "A new or updated story with its tags and their evidence",
    "unrouted": "The story's latest version no longer belongs on this route",
    "duplicates": "A raw record that says nothing new",
    "dead-letter": "A record that could have no verdict: its bytes untouched, the reason in headers",
    "feed-state": "What the poller must not forget of a feed",
}
_CHANNELS = {
    "raw": "Public input: pollers write here, and licensed wires may.",
    "enriched": "Every new story and every update.",
    "duplicates": "What repeats a story that was sent, and which.",
    "dead-letter": "What was refused, and why.",
    "feed-state": "Internal: the poller's own memory, not meant for subscribers.",
}
_HEADERS = {
    "ce_specversion": "Of CloudEvents; in binary mode, as are all that begin with ce_.",
    "ce_id": "Equal whenever the same thing is said again.",
    "ce_source": "The feed's address, or urn:dateline:feed:<id>.",
    "ce_type": "What the record is; the number at its end is the major version.",
    "ce_subject": "Story id, or feed id.",
    "ce_time": "When the record was written.",
    "content-type": "Of the value.",
    "raw": "topic/partition/offset of the raw record that this one was made from.",
    "feed": "Feed id.",
    "kind": "What the verdict was.",
    "version": "Of the story, from 1; compare as a number.",
    "lang": "ISO 639-1, `und` if unknown.",
    "regions": "ISO 3166-1 alpha-2 of the countries that the text is about, commas between; may be empty.",
    "pairs": "Pairs of countries in alphabetical order, as CN-KP, commas between; may be empty.",
    "topics": "Slugs of topics, commas between; may be empty.",
    "routes": "Names of the routes that matched, commas between; may be empty.",
    "judged": "What a lost seen store is rebuilt from. Base64 of msgpack, not meant for subscribers.",
    "reprocessed": "`true` on what a replay made; else absent.",
    "retried-from": "topic/partition/offset of the first raw record, on one that was sent again.",
    "dateline-reason": "Why it was refused.",
    "dateline-detail": "The same for a person.",
    "dateline-stage": "Where it was refused.",
    "dateline-failed-at": "When.",
    "dateline-worker": "Version of the worker that refused it.",
    "dateline-cut-length": "Length of the whole value, where only its beginning is kept.",
    "dateline-cut-sha256": "Hash of the whole value, where only its beginning is kept.",
}
_KINDS = {"enriched": ["new", "update"], "duplicates": ["repeat", "copy"], "unrouted": ["unrouted"]}
_OPTIONAL_HEADERS = {
    "raw": ("retried-from",),
    "enriched": ("judged", "reprocessed"),
    "unrouted": ("reprocessed",),
    "duplicates": ("judged", "reprocessed"),
    "dead-letter": ("retried-from", "reprocessed", "dateline-cut-length", "dateline-cut-sha256"),
}
_MECHANISMS = {"SCRAM-SHA-512": "scramSha512", "SCRAM-SHA-256": "scramSha256", "PLAIN": "plain"}


def asyncapi(
    specs: Iterable[TopicSpec], routes: Sequence[Route], *, prefix: str, taxonomy: str, kafka: KafkaSettings
) -> JsonObject:
    """Return the document; *specs* are the topics as they are created, *taxonomy* is the version of its rules."""
    names = TopicNames(prefix=prefix)
    by_topic: dict[str, list[str]] = {}
    for route in routes:
        by_topic.setdefault(route.topic, []).append(route.name)
    examples = example_records(
        names,
        route=routes[0].name if routes else "example",
        route_topic=names.route(routes[0].topic if routes else "example"),
        taxonomy=taxonomy,
    )
    channels = {spec.name.removeprefix(prefix): _channel(spec, prefix, by_topic) for spec in specs}
    document: JsonObject = {
        "asyncapi": "3.0.0",
        "id": "urn:dateline:topics",
        "info": {
            "title": "Dateline",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": _operations(channels),
        "components": {
            "messages": {name: _message(name, record) for name, record in examples.items()},
            "schemas": _payloads(),
        },
    }
    servers, security = _servers(kafka)
    if servers:
        document["servers"] = servers
    if security:
        document["components"]["securitySchemes"] = {"kafka": security}
    return document


def _servers(kafka: KafkaSettings) -> tuple[JsonObject, JsonObject]:
    """Return the configured brokers and how one signs in; of secrets nothing is said."""
    security: JsonObject = {}
    if kafka.security_protocol.startswith("SASL"):
        security = {"type": _MECHANISMS[kafka.sasl_mechanism]}
    elif kafka.cert_file is not None:
        security = {"type": "X509"}
    server: JsonObject = {"protocol": "kafka-secure" if kafka.security_protocol.endswith("SSL") else "kafka"}
    if security:
        server["security"] = [{"$ref": "#/components/securitySchemes/kafka"}]
    hosts = kafka.bootstrap.split(",") if kafka.bootstrap else []
    return {f"broker-{number}": {"host": host, **server} for number, host in enumerate(hosts, 1)}, security


def _channel(spec: TopicSpec, prefix: str, routes: Mapping[str, Sequence[str]]) -> JsonObject:
    name = spec.name.removeprefix(prefix)
    of_routes = routes.get(name, ())
    messages = ["enriched", "unrouted"] if of_routes else [name]
    about = _CHANNELS.get(name) or f"Stories of the route{'s' if len(of_routes) > 1 else ''} {', '.join(of_routes)}."
    configuration: JsonObject = {
        "cleanup.policy": ["compact" if spec.compacted else "delete"],
        "retention.ms": -1 if spec.retention_ms is None else spec.retention_ms,
        "max.message.bytes": spec.max_message_bytes,
    }
    if spec.compacted:
        configuration["min.compaction.lag.ms"] = spec.min_compaction_lag_ms
    kafka = {"partitions": spec.partitions, "topicConfiguration": configuration, "bindingVersion": BINDING}
    channel: JsonObject = {
        "address": spec.name,
        "description": about,
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in messages},
        "bindings": {"kafka": kafka},
    }
    if name == "feed-state":
        channel["tags"] = [{"name": "internal"}]
        channel["x-internal"] = True
    return channel


def _operations(channels: Mapping[str, JsonObject]) -> JsonObject:
    """Return what Dateline itself does with each channel; a subscriber does the opposite."""
    own: dict[str, Sequence[str]] = {"raw": ("send", "receive"), "feed-state": ("send", "receive")}
    return {
        f"{action}-{name}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"} for message in channel["messages"]],
        }
        for name, channel in channels.items()
        for action in own.get(name, ("send",))
    }


def _message(name: str, record: NewRecord) -> JsonObject:
    key: JsonObject = {"type": "string", "description": "Story id: SHA-256 as 64 hex digits.", "minLength": 1}
    if name == "feed-state":
        key["description"] = "Feed id."
    elif name == "dead-letter":
        key["description"] = "Of the original record, untouched; may be any bytes."
        del key["minLength"]
    untouched = name == "dead-letter"
    message: JsonObject = {
        "name": TYPES[name],
        "title": _TITLES[name],
        "contentType": "application/octet-stream" if untouched else "application/json",
        "headers": _headers(name, record),
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": {"kafka": {"key": key, "bindingVersion": BINDING}},
        "examples": [_example(record, untouched=untouched)],
    }
    return message


def _headers(name: str, record: NewRecord) -> JsonObject:
    """Return the schema of the headers: those of the example, which wire.py wrote, and those that need not be there."""
    optional = _OPTIONAL_HEADERS.get(name, ())
    present = list(dict.fromkeys([header for header, _ in record.headers] + list(optional)))
    # Whoever else writes into the raw topic may leave all headers out.
    required = [] if name == "raw" else [header for header, _ in record.headers if header not in optional]
    properties: JsonObject = {header: {"type": "string", "description": _HEADERS[header]} for header in present}
    if "ce_type" in properties:
        properties["ce_type"]["const"] = TYPES[name]
    if name in _KINDS:
        properties["kind"]["enum"] = _KINDS[name]
    if name == "enriched":
        properties["version"]["pattern"] = "^[0-9]+$"
    if name == "dead-letter":
        properties["dateline-reason"]["enum"] = list(REASONS)
    if "reprocessed" in properties:
        properties["reprocessed"]["const"] = "true"
    return {"type": "object", "properties": properties, "required": required}


def _example(record: NewRecord, *, untouched: bool) -> JsonObject:
    value = record.value or b""
    return {
        "headers": {name: content.decode() for name, content in record.headers},
        "payload": value.decode() if untouched else json.loads(value),
    }


def _payloads() -> JsonObject:
    """Return every schema by name, those that they refer to beside them."""
    found: JsonObject = {"dead-letter": {"type": "string", "description": "Any bytes, JSON or not."}}
    parts: JsonObject = {}
    for name, schema in schemas().items():
        for key, part in schema["$defs"].items():
            if not key.startswith("http") and parts.setdefault(key, part) != part:
                raise TypeError(f"two different schemas are called {key}")
        found[name] = {key: part for key, part in schema.items() if key not in ("$schema", "$id", "$defs")}
    # Draft-07 has no such word. Without it a reader takes what later releases add, as it should.
    del found["enriched"]["unevaluatedProperties"]
    foreign = {f"ninjs.{key}": _moved(part, "ninjs.") for key, part in ninjs()["$defs"].items()}
    foreign["GeoJSON"] = {"type": "object", "description": "GeoJSON (RFC 7946); Dateline writes none."}
    return {key: _moved(part, "") for key, part in (found | parts).items()} | foreign


def _moved(part: Any, prefix: str) -> Any:
    """Return *part* with its references leading to where the schemas stand in the document."""
    if isinstance(part, list):
        return [_moved(each, prefix) for each in part]
    if not isinstance(part, dict):
        return part
    return {key: _place(each, prefix) if key == "$ref" else _moved(each, prefix) for key, each in part.items()}


def _place(reference: str, prefix: str) -> str:
    document, _, name = reference.partition("#")
    if document == NINJS_ID:
        prefix = "ninjs."
    elif document:
        return "#/components/schemas/GeoJSON"
    return f"#/components/schemas/{prefix}{name.removeprefix('/$defs/')}"
