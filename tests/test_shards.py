"""Pollers of shards as real processes: together they poll each feed once, before and after their number changes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.test_poller_kill import write_feeds
from tests.support.installation import Installation
from worker import wire
from worker.records import Duplicate
from worker.stages.sharding import shard_of

FEEDS, ENTRIES = 30, 4


def polled(ran: subprocess.CompletedProcess[bytes]) -> tuple[int, int]:
    """Return feeds and new entries of a summary."""
    assert ran.returncode == 0, ran.stderr.decode()
    told = re.search(r"feeds (\d+) .* new (\d+),", ran.stdout.decode())
    assert told, ran.stdout.decode()
    return int(told[1]), int(told[2])


@pytest.mark.timeout(180)
def test_two_shards_become_three_and_no_entry_is_lost_or_new_twice(installation: Installation) -> None:
    feeds = str(write_feeds(installation.folder, feeds=FEEDS, entries=ENTRIES))
    assert installation.run("topics", "apply").returncode == 0
    parts = Counter(shard_of(f"paper{number}", 2) for number in range(FEEDS))

    first = [polled(installation.run("poll", "--once", "--feeds", feeds, "--shard", f"{n}/2")) for n in range(2)]
    assert first == [(parts[n], parts[n] * ENTRIES) for n in range(2)]

    write_feeds(installation.folder, feeds=FEEDS, entries=ENTRIES + 1)
    # One that still counts two polls at the same time as those that count three: what lies between comes twice.
    old = installation.start("poll", "--once", "--feeds", feeds, "--shard", "1/2")
    joined = [polled(installation.run("poll", "--once", "--feeds", feeds, "--shard", f"{n}/3")) for n in (2, 0, 1)]
    assert old.wait(60) == 0
    assert sum(count for count, _ in joined) == FEEDS
    assert sum(new for _, new in joined) <= FEEDS, "a shard that joined did not know what the others had polled"
    again = [polled(installation.run("poll", "--once", "--feeds", feeds, "--shard", f"{n}/3"))[1] for n in range(3)]
    assert again == [0, 0, 0]

    ran = installation.run("run", "--once", "--feeds", feeds, environ={"DATELINE_POLLER_SHARD": "0/3"})
    assert polled(ran)[0] == FEEDS, "run polls all feeds"
    names = installation.topics
    raw = installation.read([names.raw])
    enriched = installation.read([names.enriched])
    duplicates = [wire.decode_duplicate(record.value) for record in installation.read([names.duplicates])]
    assert len({record.key for record in raw}) == FEEDS * (ENTRIES + 1)
    assert Counter(record.key for record in enriched) == Counter({record.key for record in raw})
    assert len(raw) == len(enriched) + len(duplicates)
    assert {item.kind.value for item in duplicates if isinstance(item, Duplicate)} <= {"repeat"}


@pytest.mark.parametrize(
    ("host", "code", "said"),
    [
        ("dateline-poller-1", 0, ""),
        ("dateline-poller-2", 2, "poller.shard auto/2: the host name 'dateline-poller-2' is beyond 2 shards"),
        ("laptop", 2, "does not end in a number"),
    ],
)
def test_the_host_name_gives_the_shard_or_ends_with_wrong_settings(
    tmp_path: Path, host: str, code: int, said: str
) -> None:
    within = ("unshare", "--map-root-user", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh")
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], check=False).returncode != 0:
        pytest.skip("need unshare --uts: a host name of its own is not permitted here")
    installation = Installation(tmp_path)
    feeds = str(write_feeds(tmp_path, feeds=FEEDS, entries=1))
    poller = installation.start(
        "poll", "--once", "--feeds", feeds, environ={"DATELINE_POLLER_SHARD": "auto/2"}, within=within
    )
    assert poller.wait(60) == code
    (told,) = tmp_path.glob("poll-*.log")
    assert (said or f"feeds {sum(shard_of(f'paper{n}', 2) == 1 for n in range(FEEDS))} (ok") in told.read_text()
