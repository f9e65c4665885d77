"""
JSON Schemas of all topics, generated from what wire.py reads; `dateline schema` prints them.

The enriched record is IPTC's ninjs 3.2 plus one property;
IPTC's own schema is bundled, so that each schema stands alone.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import msgspec

from worker import wire
from worker.enriched_document import EnrichedDocument, Extension

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NINJS_ID = "http://www.iptc.org/std/ninjs/ninjs-schema_3.2.json"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each topic's values by name: raw, enriched, duplicates, unrouted, feed-state."""
    return {
        "raw": _schema("raw", wire.RAW.mirror),
        "enriched": _enriched(),
        "duplicates": _schema("duplicates", wire.DUPLICATE.mirror),
        "unrouted": _schema("unrouted", wire.UNROUTED.mirror),
        "feed-state": _schema("feed-state", wire.FEED_STATE.mirror),
    }


def ninjs() -> dict[str, Any]:
    """Return IPTC's schema of ninjs 3.2."""
    return _shipped("ninjs-schema_3.2.json")


def _shipped(file: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(resources.files("worker.schemas").joinpath(file).read_text("utf-8"))
    return schema


def _schema(name: str, kind: Any) -> dict[str, Any]:
    (top,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    body = parts.pop(top["$ref"].rpartition("/")[2])
    head = {"$schema": DRAFT, "$id": f"urn:dateline:schema:{name}:1.0"}
    return {**head, **body, "$defs": parts}


def _enriched() -> dict[str, Any]:
    (extension,), parts = msgspec.json.schema_components([Extension], ref_template="#/$defs/{name}")
    required = msgspec.json.schema_components([EnrichedDocument])[1]["EnrichedDocument"]["required"]
    bundled = [ninjs(), _shipped("GeoJSON.json")]
    return {
        "$schema": DRAFT,
        "$id": "urn:dateline:schema:enriched:1.0",
        "title": "An enriched record: ninjs 3.2 and the property `dateline`",
        "type": "object",
        "allOf": [{"$ref": f"{NINJS_ID}#/$defs/ninjsType"}],
        "properties": {"dateline": extension},
        "required": required,
        "unevaluatedProperties": False,
        "$defs": parts | {schema["$id"].rstrip("#"): schema for schema in bundled},
    }
