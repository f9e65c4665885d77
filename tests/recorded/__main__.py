"""`python -m tests.recorded`: record what the present release writes; see tests/recorded/__init__.py."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import redis

from tests.recorded import FOLDER, PREFIX, as_plain
from tests.recorded.cases import feed_states, raw_records
from tests.support.installation import Installation
from tests.support.services import RedisServer
from tests.support.waiting import until
from worker import __version__
from worker.enriching import TopicNames
from worker.ports import LogRecord, NewRecord
from worker.schema import schemas


def main() -> int:
    folder = FOLDER / __version__
    if folder.exists():
        print(f"{folder} is there: what a release has written is never written again", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as work:
        embedded = Installation(Path(work))
        _work_off(embedded)
        server = RedisServer()
        server.start()
        try:
            (Path(work) / "on-redis").mkdir()
            other = Installation(Path(work) / "on-redis")
            other.environ |= {"DATELINE_SEEN_URL": server.url}
            _work_off(other)
            held = _values(server.url)
        finally:
            server.remove()
        folder.mkdir()
        topics = ("raw", "enriched", "china-dprk", "sanctions", "duplicates", "dead-letter", "feed-state")
        records = embedded.read([PREFIX + name for name in topics])
        _write(folder / "records.jsonl", [json.dumps(as_plain(record), ensure_ascii=False) for record in records])
        _write(folder / "schemas.json", [json.dumps(own_schemas(), indent=1, ensure_ascii=False)])
        _write(folder / "valkey.json", [json.dumps(held, indent=0)])
        for name in ("log.db", "seen.db"):
            path = Path(work) / "data" / name
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    print(f"recorded {len(records)} records of {__version__} into {folder}")
    return 0


def own_schemas() -> dict[str, dict[str, object]]:
    """Return the schemas without those of others, which are bundled into that of enriched."""
    found = schemas()
    for schema in found.values():
        schema["$defs"] = {name: part for name, part in schema["$defs"].items() if not name.startswith("http")}
    return found


def _work_off(installation: Installation) -> None:
    installation.topics = TopicNames(prefix=PREFIX)
    installation.environ |= {"DATELINE_TOPICS_PREFIX": PREFIX, "DATELINE_TOPICS_PARTITIONS": "1"}
    if (ran := installation.run("topics", "apply")).returncode != 0:
        raise SystemExit(ran.stderr.decode())
    _append(installation, [*raw_records(), *feed_states()])
    worker = installation.start("enrich")
    try:
        until(lambda: len(_ends(installation)) >= len(raw_records()), within_s=60, what="an end of every record")
    finally:
        worker.terminate()
        worker.wait(timeout=30)


def _append(installation: Installation, records: Sequence[NewRecord]) -> None:
    with installation.log() as log:
        appender = log.appender()
        appender.append(records)
        appender.close()


def _ends(installation: Installation) -> list[LogRecord]:
    names = installation.topics
    return installation.read([names.enriched, names.duplicates, names.dead_letter])


def _values(url: str) -> dict[str, str]:
    client = redis.Redis.from_url(url)
    try:
        return {key.hex(): client.get(key).hex() for key in sorted(client.keys())}  # type: ignore[union-attr]
    finally:
        client.close()


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (subprocess.SubprocessError, AssertionError) as error:
        sys.exit(str(error))
