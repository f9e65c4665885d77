"""The command line as people use it: real processes, their output and their exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.installation import ROOT, Installation
from worker import wire
from worker.cli import COMMANDS
from worker.edges.process import ExitCode
from worker.ports import NewRecord
from worker.records import FeedInfo, RawArticle
from worker.schema import schemas

FEED = (
    """<rss version="2.0"><channel><title>Quay News</title><link>https://quay.example/</link>{items}</channel></rss>"""
)
ITEM = (
    "<item><title>{title}</title><link>https://quay.example/{number}</link><guid>{number}</guid>"
    "<pubDate>{date}</pubDate><description>{text}</description></item>"
)
TEXTS = {
    1: ("China and North Korea sign coal deal", "Beijing and Pyongyang agreed on Monday to widen trade in coal."),
    2: ("Tokyo tightens sanctions on Moscow", "Japan froze assets of Russian banks as it widened its sanctions."),
    3: ("Flood closes a mountain road", "A river burst its banks after two days of rain and took a bridge along."),
}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def feed_list(folder: Path, texts: dict[int, tuple[str, str]] | None = None, extra: str = "") -> Path:
    """Write a local feed and a list that names it; return the list."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    items = "".join(
        ITEM.format(number=number, title=title, text=text, date=date)
        for number, (title, text) in (TEXTS if texts is None else texts).items()
    )
    (folder / "quay.xml").write_text(FEED.format(items=items), encoding="utf-8")
    path = folder / "feeds.yaml"
    path.write_text(f"feeds:\n  - {{id: quay, path: quay.xml}}\n{extra}", encoding="utf-8")
    return path


def lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


@contextmanager
def started(installation: Installation, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Give a running `dateline` whose output can be read line by line; it is killed at the end."""
    with (installation.folder / "stderr").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", *command],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=ROOT,
            env=installation.environ,
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_help_names_every_command_and_teaches_by_example(installation: Installation) -> None:
    ran = installation.run("--help")
    text = ran.stdout.decode()
    assert ran.returncode == 0
    assert all(f"    {name}" in text for name in COMMANDS)
    assert "examples:" in text
    assert "exit codes:" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_with_examples(installation: Installation, name: str) -> None:
    ran = installation.run(name, "--help")
    assert ran.returncode == 0
    assert f"dateline {name}" in ran.stdout.decode().partition("examples:")[2]


@pytest.mark.parametrize("command", [[], ["paint"], ["tail", "--from", "yesterday"], ["replay", "--from", "1h"]])
def test_a_command_that_cannot_be_understood_ends_with_code_2(installation: Installation, command: list[str]) -> None:
    ran = installation.run(*command)
    assert ran.returncode == ExitCode.SETTINGS
    assert ran.stdout == b""
    assert b"Traceback" not in ran.stderr


def test_wrong_settings_are_listed_one_a_line_and_end_with_code_2(installation: Installation) -> None:
    config = installation.folder / "dateline.yaml"
    config.write_text("worker:\n  workers: none\n  wrokers: 1\n", encoding="utf-8")
    ran = installation.run("topics", "apply", "--config", str(config), environ={"DATELINE_HTTP_PORT": "x"})
    assert ran.returncode == ExitCode.SETTINGS
    assert [line.split(": ")[0] for line in lines(ran.stderr)] == [
        f"{config}:2",
        f"{config}:3",
        "DATELINE_HTTP_PORT",
    ]


def test_config_check_shows_each_value_with_its_origin_and_no_secret(installation: Installation) -> None:
    secret = installation.folder / "password"
    secret.write_text("sesame", encoding="utf-8")
    config = installation.folder / "dateline.yaml"
    config.write_text(f"seen:\n  url: rediss://store:6379\n  passwordFile: {secret}\n", encoding="utf-8")
    ran = installation.run(
        "config", "check", "--config", str(config), "--json", environ={"DATELINE_WORKER_WORKERS": "3"}
    )
    assert ran.returncode == 0
    shown = json.loads(ran.stdout)["settings"]
    assert shown["worker"]["workers"] == {"value": 3, "origin": "DATELINE_WORKER_WORKERS", "by": "environment"}
    assert shown["seen"]["passwordFile"] == {"value": str(secret), "origin": f"{config}:3", "by": "file"}
    assert shown["worker"]["batchMax"]["by"] == "default"
    as_text = installation.run("config", "check", "--config", str(config))
    assert f"# {config}:3" in as_text.stdout.decode()
    assert b"sesame" not in ran.stdout + ran.stderr + as_text.stdout + as_text.stderr


def test_sqlite_beside_kafka_is_refused_in_clear_words_before_anything_connects(installation: Installation) -> None:
    ran = installation.run("enrich", environ={"DATELINE_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert ran.returncode == ExitCode.SETTINGS
    assert "seen.singleMachine" in ran.stderr.decode()


def test_schemas_are_printed_by_name(installation: Installation) -> None:
    assert lines(installation.run("schema").stdout) == list(schemas())
    assert json.loads(installation.run("schema", "raw").stdout) == json.loads(json.dumps(schemas()["raw"]))
    assert installation.run("schema", "nothing").returncode == ExitCode.SETTINGS


def test_topics_are_created_once_and_a_dry_run_creates_none(installation: Installation) -> None:
    dry = installation.run("topics", "apply", "--dry-run")
    assert dry.returncode == 0
    assert all("would be created" in line for line in lines(dry.stdout))
    with installation.log() as log:
        assert log.topics() == {}
    assert all(line.endswith("created") for line in lines(installation.run("topics", "apply").stdout))
    assert all("exists" in line for line in lines(installation.run("topics", "apply").stdout))
    with installation.log() as log:
        assert log.topics()[f"{installation.topics.prefix}china-dprk"] == 4


def test_run_once_prints_each_story_and_a_summary(installation: Installation) -> None:
    feeds = feed_list(installation.folder, extra="  - {id: nowhere, path: nowhere.xml}\n")
    ran = installation.run("run", "--once", "--feeds", str(feeds))
    assert ran.returncode == 0, ran.stderr
    told = lines(ran.stdout)
    assert len([line for line in told if "quay (en)" in line]) == len(TEXTS)
    assert any("CN-KP" in line and TEXTS[1][0] in line for line in told)
    assert told[-1].startswith("feeds: 2  entries: 3  new: 3  updates: 0  duplicates: 0  dead letters: 0  seconds: ")
    failures = [json.loads(line) for line in lines(ran.stderr) if "feed failed" in line]
    assert [failure["feed"] for failure in failures] == ["nowhere"]


def test_a_second_run_brings_only_what_is_new_or_changed(installation: Installation) -> None:
    folder = installation.folder
    installation.run("run", "--once", "--feeds", str(feed_list(folder)))
    again = installation.run("run", "--once", "--feeds", str(feed_list(folder)))
    assert "new: 0  updates: 0  duplicates: 0" in lines(again.stdout)[-1]
    changed = {
        **TEXTS,
        3: ("Flood closes two mountain roads", "The river took a second bridge in the night, crews said."),
    }
    changed[4] = (
        "Harvest begins early",
        "Farmers in the valley started to cut the wheat two weeks before the usual date.",
    )
    third = installation.run("run", "--once", "--workers", "2", "--feeds", str(feed_list(folder, changed)))
    assert "new: 1  updates: 1  duplicates: 0  dead letters: 0" in lines(third.stdout)[-1]


def test_run_shows_the_first_story_soon_and_stops_in_order(installation: Installation) -> None:
    feeds = feed_list(installation.folder)
    begun = time.monotonic()
    with started(installation, "run", "--feeds", str(feeds)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert time.monotonic() - begun < 15, "five on an idle machine; this one also runs the other tests"
        assert "quay (en)" in first
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    said = (installation.folder / "stderr").read_text("utf-8")
    assert "worker stopped" in said
    assert "Traceback" not in said


def test_a_worker_that_was_killed_is_started_again_and_goes_on(installation: Installation) -> None:
    feeds = feed_list(installation.folder, texts={1: TEXTS[1]}, extra="defaults: {interval: 10s}\n")
    with started(installation, "run", "--feeds", str(feeds)) as process:
        assert process.stdout is not None
        assert TEXTS[1][0] in process.stdout.readline()
        for child in children_of(process.pid):
            os.kill(child, signal.SIGKILL)
        with installation.log() as log:
            appender = log.appender()
            appender.append([raw_record(installation, "Rail link to the border town reopens")])
            appender.close()
        assert "Rail link" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "starting it again" in (installation.folder / "stderr").read_text("utf-8")


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    assert listed
    return [int(child) for child in listed]


def raw_record(installation: Installation, title: str) -> NewRecord:
    now = datetime.now(UTC)
    article = RawArticle(
        story=f"{abs(hash(title)):064x}"[:64],
        feed=FeedInfo(id="quay"),
        fetched_at=now,
        title=title,
        content=f"{title}. The first train in five years left the station in the morning, officials said.",
    )
    return wire.raw_record(article, topic=installation.topics.raw, now=now)


def test_tail_filters_by_headers_and_prints_lines_json_or_tsv(installation: Installation) -> None:
    installation.run("run", "--once", "--feeds", str(feed_list(installation.folder)))
    tail = ("tail", "--from", "beginning", "--no-follow")
    assert len(lines(installation.run(*tail).stdout)) == len(TEXTS)
    only = lines(installation.run(*tail, "--topic", "sanctions", "--lang", "en").stdout)
    assert [TEXTS[2][0] in line for line in only] == [True]
    (record,) = map(json.loads, lines(installation.run(*tail, "--pair", "CN-KP", "--json").stdout))
    assert record["headers"]["feed"] == "quay"
    assert record["value"]["dateline"]["pairs"][0]["code"] == "CN-KP"
    rows = lines(installation.run(*tail, "--tsv", "-n", "2").stdout)
    assert [row.split("\t")[3] for row in rows] == ["new", "new"]
    assert lines(installation.run(*tail, "--lang", "ko").stdout) == []
    assert len(lines(installation.run("tail", "raw", "--from", "1h", "--no-follow").stdout)) == len(TEXTS)
    assert installation.run("tail", "nothing").returncode == ExitCode.SETTINGS


def test_tail_follows_and_starts_at_the_end(installation: Installation) -> None:
    feeds = feed_list(installation.folder, {1: TEXTS[1]})
    installation.run("run", "--once", "--feeds", str(feeds))
    with started(installation, "tail", "-n", "1") as process:
        time.sleep(2)
        feed_list(installation.folder, TEXTS)
        installation.run("run", "--once", "--feeds", str(feeds))
        assert process.stdout is not None
        assert TEXTS[1][0] not in process.stdout.readline()
        assert process.wait(10) == 0


def test_a_reader_that_goes_away_ends_the_command_quietly(installation: Installation) -> None:
    installation.run("run", "--once", "--feeds", str(feed_list(installation.folder)))
    with started(installation, "tail", "--from", "beginning", "--no-follow") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(20) == 0
        process.stdout = None
    assert "Traceback" not in (installation.folder / "stderr").read_text("utf-8")


def test_a_dead_letter_is_listed_with_its_reason_and_can_be_sent_again(installation: Installation) -> None:
    assert installation.run("topics", "apply").returncode == 0
    with installation.log() as log:
        appender = log.appender()
        appender.append([NewRecord(topic=installation.topics.raw, key=b"k", value=b"\x1b[31mno json", headers=())])
        appender.close()
    feeds = feed_list(installation.folder)
    assert "dead letters: 1" in lines(installation.run("run", "--once", "--feeds", str(feeds)).stdout)[-1]
    (listed,) = lines(installation.run("dead-letters", "list").stdout)
    assert "not-json" in listed
    assert "\x1b" not in listed
    (told,) = map(json.loads, lines(installation.run("dead-letters", "list", "--json", "--reason", "not-json").stdout))
    assert told["head"] == "\x1b[31mno json"
    assert installation.run("dead-letters", "list", "--reason", "too-large").stdout == b""
    assert lines(installation.run("dead-letters", "retry", "--dry-run").stdout) == ["would be sent again: 1"]
    assert lines(installation.run("dead-letters", "retry").stdout) == ["sent again: 1"]
    origin, again = [record for record in installation.read([installation.topics.raw]) if record.key == b"k"]
    assert again.value == origin.value
    assert wire.header(again.headers, "retried-from") == str(origin.coordinates)
    assert "dead letters: 1" in lines(installation.run("run", "--once", "--feeds", str(feeds)).stdout)[-1]


def test_a_replay_judges_again_beside_the_live_stream(installation: Installation) -> None:
    installation.run("run", "--once", "--feeds", str(feed_list(installation.folder)))
    live = len(installation.read([installation.topics.enriched]))
    ran = installation.run("replay", "--from", "1h", "--to", "trial.")
    assert ran.returncode == 0, ran.stderr
    assert "replayed 3 raw records onto trial.*" in ran.stderr.decode()
    replayed = installation.read(["trial.enriched"])
    assert len(replayed) == len(TEXTS)
    assert {wire.header(record.headers, "reprocessed") for record in replayed} == {"true"}
    assert {wire.header(record.headers, "kind") for record in replayed} == {"new"}
    assert len(installation.read([installation.topics.enriched])) == live
    none = installation.run("replay", "--from", "2h", "--until", "1h", "--to", "earlier.")
    assert "replayed 0 raw records" in none.stderr.decode()


def test_a_replay_onto_the_live_topics_needs_an_explicit_word(installation: Installation) -> None:
    ran = installation.run("replay", "--from", "1h", "--to", installation.topics.prefix)
    assert ran.returncode == ExitCode.SETTINGS
    assert "--live" in ran.stderr.decode()


def test_feeds_check_tells_what_each_feed_gives(installation: Installation) -> None:
    feeds = feed_list(installation.folder, extra="  - {id: nowhere, path: nowhere.xml}\n")
    ran = installation.run("feeds", "check", "--feeds", str(feeds))
    assert ran.returncode == 0
    told = {line.split()[1]: line for line in lines(ran.stdout)}
    assert "3 entries" in told["quay"]
    assert told["nowhere"].startswith("FAIL")
    assert installation.run("feeds", "check", "--feeds", str(feeds), "--strict").returncode == ExitCode.RESTART
    (report,) = map(json.loads, lines(
        installation.run("feeds", "check", "--feeds", str(feeds), "--only", "quay", "--json").stdout))  # fmt: skip
    assert (report["feed"], report["status"], report["entries"]) == ("quay", "ok", 3)


def test_a_poller_and_a_worker_apart_do_the_same_as_one_run(installation: Installation) -> None:
    feeds = feed_list(installation.folder)
    polled = installation.run("poll", "--once", "--feeds", str(feeds))
    assert polled.returncode == 0
    assert "entries 3, new 3" in lines(polled.stdout)[-1]
    with started(installation, "enrich") as process:
        deadline = time.monotonic() + 20
        while len(installation.read([installation.topics.enriched])) < len(TEXTS):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.terminate()
        assert process.wait(20) == 0


def test_a_feed_list_that_is_missing_or_wrong_ends_with_code_2(installation: Installation) -> None:
    assert installation.run("poll").returncode == ExitCode.SETTINGS
    wrong = installation.folder / "feeds.yaml"
    wrong.write_text("feeds:\n  - {id: a}\n", encoding="utf-8")
    ran = installation.run("poll", "--feeds", str(wrong))
    assert ran.returncode == ExitCode.SETTINGS
    assert f"{wrong}:2" in ran.stderr.decode()
