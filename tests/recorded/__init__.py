"""
What each release has written, kept for ever: a later release must read it, and an earlier one what a later one writes.

`python -m tests.recorded` records the present release into the folder of its version, before it is released; what
stands there is never written again. test_recorded.py holds every release to it.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.ports import LogRecord

FOLDER = Path(__file__).parent
PREFIX = "news."
ROUTE = "china-dprk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What one release has written."""

    version: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.version

    def records(self, name: str) -> list[LogRecord]:
        """Return the records of the topic *name*, without its prefix."""
        lines = (self.folder / "records.jsonl").read_text("utf-8").splitlines()
        records = [from_plain(json.loads(line)) for line in lines]
        return [record for record in records if record.topic == PREFIX + name]

    def schemas(self) -> dict[str, dict[str, Any]]:
        """Return its JSON Schemas by name; that of enriched without the bundled ones of others."""
        found: dict[str, dict[str, Any]] = json.loads((self.folder / "schemas.json").read_text("utf-8"))
        return found

    def unpack(self, name: str, folder: Path) -> Path:
        """Write its file *name* (log.db, seen.db) into *folder* and return the path."""
        path = folder / name
        path.write_bytes(gzip.decompress((self.folder / f"{name}.gz").read_bytes()))
        return path

    def valkey(self) -> dict[bytes, bytes]:
        """Return what its seen store held in Redis, by key."""
        found = json.loads((self.folder / "valkey.json").read_text("utf-8"))
        return {bytes.fromhex(key): bytes.fromhex(value) for key, value in found.items()}


def releases() -> list[Release]:
    """Return all recorded releases, oldest first."""
    names = [path.name for path in FOLDER.iterdir() if (path / "records.jsonl").exists()]
    return [Release(version=name) for name in sorted(names, key=lambda name: [int(part) for part in name.split(".")])]


def as_plain(record: LogRecord) -> dict[str, Any]:
    """Return *record* as JSON holds it; bytes that are no UTF-8 as Base64."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestampMs": record.timestamp_ms,
        "key": _text(record.key),
        "headers": [[name, _text(value)] for name, value in record.headers],
        "value": _text(record.value),
    }


def from_plain(plain: dict[str, Any]) -> LogRecord:
    return LogRecord(
        topic=plain["topic"],
        partition=plain["partition"],
        offset=plain["offset"],
        timestamp_ms=plain["timestampMs"],
        key=_bytes(plain["key"]),
        value=_bytes(plain["value"]),
        headers=tuple((name, _bytes(value) or b"") for name, value in plain["headers"]),
    )


def _text(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _bytes(value: str | dict[str, str] | None) -> bytes | None:
    if value is None:
        return None
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()
