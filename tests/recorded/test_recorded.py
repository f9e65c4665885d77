"""Each release reads what the earlier ones wrote, judges as they did, and writes what they can read."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import orjson
import pytest
import redis as redis_client

from tests import make
from tests.recorded import PREFIX, ROUTE, Release, releases
from tests.recorded.__main__ import main, own_schemas
from tests.recorded.cases import THEN
from tests.recorded.compatible import broken
from tests.support.services import RedisServer
from worker import schema, wire
from worker.edges.language_model import classify
from worker.edges.sqlite_log import SqliteLog
from worker.edges.sqlite_seen import SqliteSeen
from worker.edges.valkey_seen import ValkeySeen
from worker.ninjs import Vocabulary
from worker.ports import LogRecord, NewRecord, SeenStore, SeenStoreAway
from worker.records import (
    Article,
    Coordinates,
    Duplicate,
    FeedState,
    RawArticle,
    Rejected,
    Unrouted,
    VerdictKind,
)
from worker.stages.extract import extract
from worker.stages.fingerprint import fingerprint
from worker.stages.language import detect

pytestmark = pytest.mark.parametrize("release", releases(), ids=lambda release: str(release.version))
LATER = THEN + timedelta(days=5)


def plain(value: Any) -> Any:
    """Return *value* as JSON holds it."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC))


def reasons(release: Release) -> dict[str, str]:
    """Return why raw records were refused, by their coordinates."""
    found = {}
    for record in release.records("dead-letter"):
        found[wire.header(record.headers, "raw") or ""] = wire.header(record.headers, "dateline-reason") or ""
    return found


def result_of(record: LogRecord) -> Any:
    """Return what this release reads in *record*."""
    match record.topic.removeprefix(PREFIX), wire.header(record.headers, "kind"):
        case "raw", _:
            return wire.decode_raw(record)
        case "feed-state", _:
            return wire.decode_feed_state(record.value)
        case "duplicates", _:
            return wire.decode_duplicate(record.value)
        case _, "unrouted":
            return wire.decode_unrouted(record.value)
    return wire.decode_enriched(record.value)


def read(release: Release) -> Iterator[tuple[LogRecord, Any]]:
    """Give every record that is no dead letter with what this release reads in it."""
    for name in ("raw", "feed-state", "duplicates", "enriched", ROUTE):
        for record in release.records(name):
            yield record, result_of(record)


def written(record: Any) -> Any:
    """Return the JSON that says all of *record*; of an enriched one what our own commands read of it."""
    codecs: dict[type, Any] = {
        RawArticle: wire.RAW,
        FeedState: wire.FEED_STATE,
        Duplicate: wire.DUPLICATE,
        Unrouted: wire.UNROUTED,
    }
    if type(record) in codecs:
        return plain(codecs[type(record)].plain(record))
    return plain(msgspec.to_builtins(record, builtin_types=(datetime,)))


def within(part: Any, whole: Any) -> Any:
    """Return *whole* without the fields that *part* does not know."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return {name: within(part[name], value) for name, value in whole.items() if name in part}
    if isinstance(part, list) and isinstance(whole, list):
        return [within(one, other) for one, other in zip(part, whole, strict=True)]
    return whole


def test_every_record_is_read_with_every_field(release: Release) -> None:
    refused = reasons(release)
    seen = set()
    for record, result in read(release):
        if isinstance(result, Rejected):
            assert record.topic == f"{PREFIX}raw"
            assert refused[str(record.coordinates)] == result.reason
            continue
        value = json.loads(record.value or b"")
        if isinstance(result, RawArticle | FeedState | Duplicate | Unrouted):
            assert written(result) == value
        else:
            assert written(result) == within(written(result), value)
            assert written(result.dateline) == value["dateline"]
        seen.add((record.topic.removeprefix(PREFIX), wire.header(record.headers, "kind")))
        if record.topic not in (f"{PREFIX}raw", f"{PREFIX}feed-state"):
            assert wire.raw_coordinates(record.headers) is not None
    assert seen >= {
        ("raw", None),
        ("feed-state", None),
        ("duplicates", "copy"),
        ("duplicates", "repeat"),
        ("enriched", "new"),
        ("enriched", "update"),
        (ROUTE, "new"),
        (ROUTE, "unrouted"),
    }


def test_fields_and_headers_of_a_later_minor_are_ignored(release: Release) -> None:
    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: more(inner) for name, inner in value.items()} | {"ofALaterMinor": {"x": [1, None]}}
        return [more(inner) for inner in value] if isinstance(value, list) else value

    free = {"extra", "labels"}  # maps of anything, where nothing is unknown
    for record, result in read(release):
        if isinstance(result, Rejected):
            continue
        value = json.loads(record.value or b"")
        kept = {name: value[name] for name in free & value.keys()}
        longer = more(value) | kept
        for holder, name in ((longer.get("feed"), "labels"), (longer.get("dateline", {}).get("provenance"), "labels")):
            if isinstance(holder, dict) and isinstance(holder.get(name), dict):
                del holder[name]["ofALaterMinor"]
        later = replace(record, value=orjson.dumps(longer), headers=(*record.headers, ("of-a-later-minor", b"\xff")))
        assert result_of(later) == result
        assert wire.newer_major(later) is None


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def seen(request: pytest.FixtureRequest, release: Release, tmp_path: Path) -> Iterator[SeenStore]:
    """Return the seen store as the release left it."""
    if request.param == "sqlite":
        store: SeenStore = SqliteSeen(release.unpack("seen.db", tmp_path))
    else:
        server: RedisServer = request.getfixturevalue("own_redis")
        with closing(redis_client.Redis.from_url(server.url)) as client:
            for key, value in release.valkey().items():
                client.set(key, value)
        store = ValkeySeen(server.url)
    epoch = store.epoch()
    assert epoch is not None
    store.join(epoch)
    yield store
    store.close()


def told(text: str, hint: str | None) -> str:
    return detect(text, hint, classify)


def articles(release: Release) -> list[tuple[LogRecord, Article]]:
    found = []
    for record in release.records("raw"):
        raw = wire.decode_raw(record)
        result = extract(raw, told) if isinstance(raw, RawArticle) else raw
        if isinstance(result, Article):
            found.append((record, result))
    return found


def test_verdicts_stand_and_later_ones_follow_from_what_was_remembered(release: Release, seen: SeenStore) -> None:
    outputs = [record for name in ("enriched", "duplicates") for record in release.records(name)]
    kinds = {wire.header(each.headers, "raw"): wire.header(each.headers, "kind") for each in outputs}
    read = articles(release)
    verdicts = seen.judge([fingerprint(article, record.coordinates) for record, article in read], now=LATER)
    assert {str(record.coordinates): verdict.kind for (record, _), verdict in zip(read, verdicts, strict=True)} == kinds

    latest = {article.story: article for _, article in read}
    for number, article in enumerate(latest.values(), start=1000):
        place = Coordinates(topic=f"{PREFIX}raw", partition=0, offset=number)
        (again,) = seen.judge([fingerprint(article, place)], now=LATER)
        assert again.kind in (VerdictKind.REPEAT, VerdictKind.COPY)
    first = next(article for record, article in read if kinds[str(record.coordinates)] == "update")
    changed = replace(first, body=f"{first.body} The gardeners thanked the editors.")
    (update,) = seen.judge([fingerprint(changed, replace(place, offset=2000))], now=LATER)
    assert (update.kind, update.version) == (VerdictKind.UPDATE, 3)
    known = seen.known(first.story)
    assert known is not None
    assert known.routes[1] == ("china-dprk", "sanctions")


def test_a_store_of_a_later_format_is_waited_for(release: Release, seen: SeenStore, request: Any) -> None:
    record, article = articles(release)[0]
    if isinstance(seen, SqliteSeen):
        with seen._transaction() as db:
            db.execute("UPDATE seen SET value = CAST(x'02' || substr(value, 2) AS BLOB)")
    else:
        server: RedisServer = request.getfixturevalue("own_redis")
        with closing(redis_client.Redis.from_url(server.url)) as client:
            for key, value in release.valkey().items():
                if not key.endswith(b"epoch"):
                    client.set(key, b"\x02" + value[1:])
    with pytest.raises(SeenStoreAway, match="newer release"):
        seen.judge([fingerprint(article, record.coordinates)], now=LATER)


def test_the_log_file_opens_with_all_that_was_in_it(release: Release, tmp_path: Path) -> None:
    log = SqliteLog.open(release.unpack("log.db", tmp_path))
    names = ("raw", "enriched", ROUTE, "duplicates", "dead-letter", "feed-state")
    reader = log.reader([PREFIX + name for name in names])
    found: list[LogRecord] = []
    while not reader.at_end():
        found += reader.read(timeout_s=1)
    reader.close()
    expected = [record for name in names for record in release.records(name)]
    assert sorted(found, key=lambda record: record.coordinates) == sorted(expected, key=lambda r: r.coordinates)
    raw = f"{PREFIX}raw"
    assert log.committed("enrich", [raw]) == {(raw, 0): len(release.records("raw"))}
    member = log.member(group="enrich", identity="enrich-later-0", topics=[raw])
    record = release.records("raw")[0]
    appender = log.appender()
    appender.append([NewRecord(topic=raw, key=b"k", value=record.value, headers=record.headers)])
    batch = member.poll(timeout_s=20)
    assert [each.value for each in batch.records] == [record.value]
    member.commit(batch, [NewRecord(topic=f"{PREFIX}enriched", key=b"k", value=b"v")])
    member.close()
    appender.close()


def test_what_is_written_now_stands_within_the_schemas_of_then(release: Release) -> None:
    now = json.loads(json.dumps(own_schemas()))
    for name, then in release.schemas().items():
        assert broken(then, now[name]) == [], name
    bundled = {n: part for n, part in schema.schemas()["enriched"]["$defs"].items() if n.startswith("http")}
    values = {
        "raw": make.raw_record(make.raw_article()).value,
        "enriched": wire.enriched_value(make.enriched(), Vocabulary(version="1", countries={}, topics={})),
    }
    for record, result in read(release):
        if isinstance(result, RawArticle):
            values[f"raw {record.offset}"] = wire.raw_value(result)
        elif isinstance(result, FeedState):
            values[f"feed-state {record.offset}"] = wire.feed_state_record(result, topic="t", now=THEN).value
    for name, value in values.items():
        then = copy.deepcopy(release.schemas()[name.split()[0]])
        then["$defs"] |= bundled
        jsonschema.Draft202012Validator(then).validate(json.loads(value or b""))


def test_no_header_of_then_is_missing_now(release: Release) -> None:
    def names(record: LogRecord | NewRecord) -> set[str]:
        return {name for name, _ in record.headers}

    vocabulary = Vocabulary(version="1", countries={}, topics={})
    (now,) = wire.enriched_records(make.enriched(), vocabulary, topics=["t"])
    assert names(release.records("enriched")[0]) - {"judged", "routes"} <= names(now)
    assert names(release.records("raw")[0]) <= names(make.raw_record(make.raw_article()))


def test_the_comparison_finds_what_breaks_a_reader(release: Release) -> None:
    then = release.schemas()["raw"]
    info = next(part for part in (copy.deepcopy(then),) if part)
    info["properties"]["mood"] = {"type": "string"}
    assert broken(then, info) == []  # an optional field may come
    info["required"] = [*info["required"], "mood"]
    del info["properties"]["guid"]
    info["properties"]["title"] = {"type": "integer"}
    info["$defs"]["FeedInfo"]["properties"]["id"] = {"type": "integer"}
    said = "\n".join(broken(then, info))
    for words in (
        "/mood: the field became required",
        "/guid: the field was removed",
        "/title/type: string",
        "/feed/id/",
    ):
        assert words in said
    weaker = copy.deepcopy(then)
    weaker["required"] = []
    assert any("no longer sure" in each for each in broken(then, weaker))


def test_what_was_recorded_is_never_written_again(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    before = (release.folder / "records.jsonl").stat().st_mtime_ns
    assert main() == 2
    assert "never written again" in capsys.readouterr().err
    assert (release.folder / "records.jsonl").stat().st_mtime_ns == before
