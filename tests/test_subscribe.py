"""
The examples for subscribers, run as they stand against a real broker.

A worker wrote there, a replay repeated it, and a producer aborted transactions in between. What the examples print is
held to what our own reader finds.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaProducer

from tests.make import raw_article, raw_record
from tests.support import debian
from tests.support.installation import Installation
from tests.support.services import KafkaBroker, RedisServer, ServiceUnavailable, with_programs
from tests.support.waiting import until
from worker import wire
from worker.example_records import example_records
from worker.ports import LogRecord
from worker.records import RawArticle

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples/subscribe"
PAGE = ROOT / "docs/subscribe.md"
LANGUAGES = {".py": "python", ".java": "java", ".sh": "bash", ".xml": "xml"}
pytestmark = pytest.mark.timeout(600)

CROSSING = "<p>China and North Korea trade: {} trains 🚂🚂 crossed, despite UN sanctions on North Korea.</p>"
TRAINS = raw_article(
    "trains",
    title="🚂 China sends trains from 𠮷林 to North Korea despite sanctions",
    summary=CROSSING.format("two"),
)
HAN = raw_article(
    "han",
    title="🇨🇳 𠮷林铁路：联合国制裁下中国与朝鲜恢复贸易",
    summary="<p>𠮷林省官员说，中国和朝鲜的贸易受到联合国安理会制裁决议的限制，货运列车已经恢复。</p>",
    language="zh",
)
COUNCIL = raw_article(
    "council",
    title="Council tightens sanctions on Iran",
    summary="<p>The Security Council adopted new sanctions against Iran and froze the assets of nine companies.</p>",
)
HARVEST = "<p>Farmers in the valley brought in the apple harvest on Sunday, the largest for many years, they said.</p>"
BATCHES: Sequence[Sequence[RawArticle]] = (
    [TRAINS, HAN, COUNCIL],
    [
        *(replace(TRAINS, summary=CROSSING.format(f"{number} hundred and six")) for number in range(2, 12)),
        replace(COUNCIL, title="Apples", summary=HARVEST),
    ],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What lies on the topics."""

    installation: Installation
    bootstrap: str
    between: datetime
    """A time after the first batch and before the second."""

    def topic(self, name: str) -> str:
        return self.installation.topics.prefix + name

    def records(self, name: str) -> list[LogRecord]:
        return self.installation.read([self.topic(name)])


def header(record: LogRecord, name: str) -> str | None:
    return wire.header(record.headers, name)


def abort(bootstrap: str, installation: Installation) -> None:
    """Write into each partition of each output a record that looks right, and abort."""
    made = example_records(installation.topics, route="sanctions", route_topic="none", taxonomy="aborted")["enriched"]
    value = made.value.replace(b"Trains from", b"ABORTED from") if made.value else b""
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{installation.topics.prefix}aborting")
    producer.init_transactions()
    producer.begin_transaction()
    for name in ("enriched", "china-dprk", "sanctions"):
        topic = installation.topics.prefix + name
        for partition in sorted(producer.partitions_for(topic)):
            key = hashlib.sha256(f"aborted {partition}".encode()).hexdigest().encode()
            producer.send(topic, key=key, value=value, headers=list(made.headers), partition=partition)
    producer.flush()
    producer.abort_transaction()
    producer.close()


def give(installation: Installation, articles: Sequence[RawArticle]) -> None:
    with installation.log() as log:
        appender = log.appender()
        appender.append([raw_record(article, topic=installation.topics.raw) for article in articles])
        appender.close()


def ended(installation: Installation) -> int:
    """Return how many raw records have an end."""
    names = installation.topics
    return len(installation.read([names.enriched, names.duplicates, names.dead_letter]))


@pytest.fixture(scope="module")
def traffic(
    tmp_path_factory: pytest.TempPathFactory,
    _kafka_or_reason: KafkaBroker | ServiceUnavailable,
    _redis_or_reason: RedisServer | ServiceUnavailable,
) -> Traffic:
    for service in (_kafka_or_reason, _redis_or_reason):
        if isinstance(service, ServiceUnavailable):
            pytest.skip(f"need {service.service}: {service.reason}")
    assert isinstance(_kafka_or_reason, KafkaBroker)
    assert isinstance(_redis_or_reason, RedisServer)
    bootstrap = _kafka_or_reason.bootstrap
    installation = Installation(tmp_path_factory.mktemp("subscribe"), kafka=_kafka_or_reason, redis=_redis_or_reason)
    installation.environ["DATELINE_TOPICS_PARTITIONS"] = "2"
    assert installation.run("topics", "apply").returncode == 0
    abort(bootstrap, installation)
    worker = installation.start("enrich")
    try:
        give(installation, BATCHES[0])
        produced = run([sys.executable, str(ROOT / "examples/produce_raw.py"), bootstrap, installation.topics.raw])
        assert re.fullmatch(r"\S+/\d+/\d+: story [0-9a-f]{64}", produced[0])
        until(lambda: ended(installation) == 4, within_s=150, what="the first batch")
        between = datetime.now(UTC)
        abort(bootstrap, installation)
        give(installation, BATCHES[1])
        until(lambda: ended(installation) == 4 + len(BATCHES[1]), within_s=120, what="the second batch")
    finally:
        worker.terminate()
        worker.wait(60)
    abort(bootstrap, installation)
    # Of the second batch alone: it counts the versions of what it repeats from 1 again.
    replayed = installation.run("replay", "--from", between.isoformat(), "--live", timeout_s=200.0)
    assert replayed.returncode == 0, replayed.stderr
    abort(bootstrap, installation)
    return Traffic(installation=installation, bootstrap=bootstrap, between=between)


def run(command: Sequence[str], *, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> list[str]:
    """Run an example to its end and return the lines that it printed."""
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=200, env=environ, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def following(command: Sequence[str], out: Path, *, environ: Mapping[str, str] | None = None) -> Iterator[None]:
    """Have an example run that follows a topic, what it prints going to *out*."""
    with out.open("wb") as file, (out.parent / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, stdout=file, stderr=errors, env=environ, process_group=0)
    try:
        yield
        assert process.poll() is None, (out.parent / "stderr").read_text()
    finally:
        subprocess.run(["kill", "--", f"-{process.pid}"], check=False)
        process.wait(30)


def blocks(lines: Sequence[str]) -> Counter[str]:
    """Return what was printed of each record: a line and the indented ones that follow it."""
    return Counter(re.findall(r"^\S.*(?:\n  .*)*", "\n".join(lines), re.MULTILINE))


def told(records: Sequence[LogRecord]) -> Counter[str]:
    """Return what a follower is to print of *records*, with the evidence as the record itself spells it out."""
    expected = []
    for record in records:
        lines = [f"{header(record, 'kind')} {header(record, 'version')} {(record.key or b'').decode()}"]
        if header(record, "kind") != "unrouted":
            evidence = json.loads(record.value or b"")["dateline"]["evidence"]
            lines += [f"  {item['tag']} {item['field']} {item['text']}" for item in evidence]
        expected.append("\n".join(lines))
    return Counter(expected)


def live(records: Sequence[LogRecord]) -> list[LogRecord]:
    return [record for record in records if header(record, "reprocessed") is None]


def printed_by(
    command: Sequence[str], expected: Counter[str], folder: Path, *, environ: Mapping[str, str] | None = None
) -> Counter[str]:
    """Return what a follower printed by the time that it had printed all of *expected*, and a little later."""
    out = folder / "out"

    def printed() -> Counter[str]:
        return blocks(out.read_text("utf-8").splitlines())

    with following(command, out, environ=environ):
        until(lambda: printed() >= expected, within_s=120, what="what is on the topic")
        time.sleep(1.5)
    return printed()


def programs(*names: str) -> Mapping[str, str]:
    try:
        return with_programs(*names)
    except ServiceUnavailable as error:
        pytest.skip(f"need {error.service}: {error.reason}")


@pytest.mark.kafka
@pytest.mark.redis
def test_the_traffic_holds_what_subscribers_must_cope_with(traffic: Traffic) -> None:
    """Else the tests below would show less than they say."""
    there = traffic.records("sanctions")
    assert Counter(header(record, "kind") for record in live(there)) >= Counter(new=3, update=10, unrouted=1)
    assert {int(header(record, "version") or 0) for record in live(there)} >= set(range(1, 12))
    assert len(there) > len(live(there))
    titles = {json.loads(record.value or b"").get("headlines", [{}])[0].get("value", "") for record in there}
    late = [title for title in titles if "𠮷" in title]
    assert len(late) == 2
    texts = [json.loads(record.value or b"") for record in traffic.records("china-dprk")]
    spans = [item for text in texts for item in text["dateline"]["evidence"] if item["field"] == "title"]
    assert {item["text"] for item in spans} >= {"North Korea", "朝鲜"}
    assert len(there) == len({(header(record, "ce_id"), header(record, "reprocessed")) for record in there})


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("route", ["china-dprk", "sanctions"])
@pytest.mark.parametrize("example", ["follow_kafka_python.py", "kcat_follow.sh"])
def test_following_a_route_prints_each_committed_record_once_with_its_evidence(
    traffic: Traffic, tmp_path: Path, example: str, route: str
) -> None:
    environ = programs("kcat", "jq") if example.endswith(".sh") else None
    start = ["bash"] if environ else [sys.executable]
    expected = told(live(traffic.records(route)))
    group = f"{traffic.topic(route)}-{example}"

    command = [*start, str(EXAMPLES / example), traffic.bootstrap, traffic.topic(route), group]
    assert printed_by(command, expected, tmp_path, environ=environ) == expected


@pytest.mark.kafka
@pytest.mark.redis
def test_read_uncommitted_would_show_what_was_aborted(traffic: Traffic, tmp_path: Path) -> None:
    """So the test above can fail."""
    text = (EXAMPLES / "follow_kafka_python.py").read_text("utf-8")
    changed = tmp_path / "changed.py"
    changed.write_text(text.replace('"read_committed"', '"read_uncommitted"'), "utf-8")
    expected = told(live(traffic.records("china-dprk")))
    group = f"{traffic.topic('china-dprk')}-changed"

    command = [sys.executable, str(changed), traffic.bootstrap, traffic.topic("china-dprk"), group]
    printed = printed_by(command, expected, tmp_path)

    assert sum((printed - expected).values()) == 2 * 4  # in two partitions, four times


@pytest.mark.kafka
@pytest.mark.redis
def test_filtering_by_headers_prints_what_the_values_say(traffic: Traffic, tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka", reason="need confluent-kafka: it is not installed")

    def wanted(record: LogRecord) -> bool:
        document = json.loads(record.value or b"")
        codes = {item["code"] for item in document["dateline"]["pairs"]}
        return "CN-KP" in codes and "sanctions" in {item["slug"] for item in document["dateline"]["topics"]}

    everything = live(traffic.records("enriched"))
    expected = told([record for record in everything if wanted(record)])
    assert 0 < sum(expected.values()) < len(everything)
    group = f"{traffic.topic('enriched')}-filter"

    command = [
        sys.executable,
        str(EXAMPLES / "filter_confluent.py"),
        traffic.bootstrap,
        traffic.topic("enriched"),
        group,
    ]
    assert printed_by(command, expected, tmp_path) == expected


def from_a_time(traffic: Traffic, records: Sequence[LogRecord]) -> Counter[str]:
    """Return what the replays are to print of *records*: all since the time between the batches."""
    return Counter(
        f"{header(record, 'kind')} {header(record, 'version')} {(record.key or b'').decode()}"
        f" {'again' if header(record, 'reprocessed') else 'live'}"
        for record in records
        if record.timestamp_ms >= traffic.between.timestamp() * 1000
    )


@pytest.mark.kafka
@pytest.mark.redis
def test_replaying_from_a_time_prints_what_was_committed_since_and_ends(traffic: Traffic) -> None:
    expected = from_a_time(traffic, traffic.records("enriched"))
    assert {line.rpartition(" ")[2] for line in expected} == {"live", "again"}
    assert sum(expected.values()) < len(traffic.records("enriched"))

    example = str(EXAMPLES / "replay_kafka_python.py")
    moment = traffic.between.isoformat()
    lines = run([sys.executable, example, moment, traffic.bootstrap, traffic.topic("enriched")])

    assert Counter(lines) == expected


@pytest.mark.kafka
@pytest.mark.redis
def test_replaying_with_kcat_prints_the_pair_since_a_time_and_ends(traffic: Traffic) -> None:
    environ = programs("kcat", "jq")
    of_the_pair = [
        record for record in traffic.records("enriched") if "CN-KP" in (header(record, "pairs") or "").split(",")
    ]
    example = str(EXAMPLES / "kcat_replay.sh")

    lines = run(
        ["bash", example, traffic.between.isoformat(), traffic.bootstrap, traffic.topic("enriched")], environ=environ
    )

    assert Counter(lines) == from_a_time(traffic, of_the_pair)


def latest(traffic: Traffic, name: str) -> dict[str, tuple[int, bool]]:
    """Return version and standing of each story on a route by its live records alone; one partition is in order."""
    found: dict[str, tuple[int, bool]] = {}
    for record in live(traffic.records(name)):
        kind, version = header(record, "kind"), int(header(record, "version") or 0)
        found[(record.key or b"").decode()] = (version, kind != "unrouted")
    return found


@pytest.mark.kafka
@pytest.mark.redis
def test_the_table_holds_the_latest_version_of_each_story_whatever_is_repeated(
    traffic: Traffic, tmp_path: Path
) -> None:
    expected = latest(traffic, "sanctions")
    assert {standing for _, standing in expected.values()} == {True, False}
    assert max(version for version, _ in expected.values()) == 11
    file = tmp_path / "stories.db"

    def rows() -> dict[str, tuple[int, bool]]:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as table:
            found = table.execute("SELECT story, version, on_route FROM stories").fetchall()
        return {story: (version, bool(on_route)) for story, version, on_route in found}

    for attempt in range(2):  # the second time all comes again, as after a lost commit
        group = f"{traffic.topic('sanctions')}-table-{attempt}"
        command = [sys.executable, str(EXAMPLES / "table_kafka_python.py"), str(file)]
        with following([*command, traffic.bootstrap, traffic.topic("sanctions"), group], tmp_path / "out"):
            until(lambda: file.exists() and rows() == expected, within_s=120, what="the table")
            time.sleep(3)
        assert rows() == expected


@pytest.fixture(scope="module")
def jars() -> Path:
    """Return a folder with what the Java example needs, from Maven Central."""
    if shutil.which("mvn") is None or shutil.which("java") is None:
        pytest.skip("need Java and Maven: not installed")
    modules = subprocess.run(["java", "--list-modules"], capture_output=True, text=True, check=False).stdout
    if "jdk.compiler" not in modules:
        pytest.skip("need a JDK: this Java has no compiler")
    pom = EXAMPLES / "pom.xml"
    folder = debian.cache().parent / f"subscribe-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if not (folder / "complete").exists():
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0:
            pytest.skip(f"need kafka-clients: Maven could not fetch it: {done.stdout.strip()[:200]}")
        (folder / "complete").touch()
    return folder


@pytest.mark.kafka
@pytest.mark.redis
def test_java_prints_the_latest_version_of_each_story_with_its_evidence(traffic: Traffic, jars: Path) -> None:
    records = traffic.records("sanctions")
    expected: dict[str, Counter[str]] = {}
    standing = latest(traffic, "sanctions")
    for record in live(records):
        if header(record, "kind") != "unrouted":
            evidence = json.loads(record.value or b"")["dateline"]["evidence"]
            lines = [f"  {item['tag']} {item['field']} {item['text']}" for item in evidence]
            expected[(record.key or b"").decode()] = Counter(lines)

    java = ["java", "-cp", f"{jars}/*", str(EXAMPLES / "LatestStories.java")]
    printed = blocks(run([*java, traffic.bootstrap, traffic.topic("sanctions")]))

    assert sum(printed.values()) == len(standing)
    for block in printed:
        head, *evidence = block.split("\n")
        word, version, story = head.split(" ")
        assert (int(version), word == "on-route") == standing[story]
        assert Counter(evidence) == expected[story]
    assert any("title North Korea" in block for block in printed)


def files() -> list[Path]:
    return [*sorted(path for path in EXAMPLES.iterdir() if path.is_file()), ROOT / "examples/produce_raw.py"]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_page_holds_each_example_as_it_is(path: Path) -> None:
    assert f"```{LANGUAGES[path.suffix]}\n{path.read_text('utf-8')}```" in PAGE.read_text("utf-8")


def test_the_page_has_no_code_that_is_not_run() -> None:
    named = re.findall(r"^```(\w+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert Counter(named) == Counter(LANGUAGES[path.suffix] for path in files())


@pytest.mark.parametrize("path", [path for path in files() if path.suffix != ".xml"][:-1], ids=lambda path: path.name)
def test_each_consumer_says_read_committed(path: Path) -> None:
    assert re.search(r"isolation[._]level\W+read_committed", path.read_text("utf-8"))
