"""Each feed has one shard, the same everywhere; a shard that joins takes its part and moves nothing else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.stages.sharding import Shard, read_shard, shard_of

FEEDS = [f"paper-{number}.example-{number:08x}" for number in range(6_000)]
IDS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._-", min_size=1, max_size=100)


@given(feed=IDS, count=st.integers(1, 40))
def test_each_feed_has_exactly_one_shard(feed: str, count: int) -> None:
    assert sum(Shard(index=index, count=count).has(feed) for index in range(count)) == 1


@given(feed=IDS, count=st.integers(1, 40))
def test_a_feed_stays_or_goes_to_the_shard_that_joined(feed: str, count: int) -> None:
    assert shard_of(feed, count + 1) in (shard_of(feed, count), count)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_a_shard_that_joins_takes_its_part(count: int) -> None:
    moved = sum(shard_of(feed, count) != shard_of(feed, count + 1) for feed in FEEDS)
    assert moved / len(FEEDS) == pytest.approx(1 / (count + 1), rel=0.15)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_shards_are_about_equal(count: int) -> None:
    sizes = Counter(shard_of(feed, count) for feed in FEEDS)
    assert sorted(sizes) == list(range(count))
    assert max(sizes.values()) < 1.15 * len(FEEDS) / count
    assert min(sizes.values()) > 0.85 * len(FEEDS) / count


def test_all_machines_and_releases_agree() -> None:
    # Two releases that disagree poll some feeds twice and some not at all: these values never change.
    assert [shard_of(f"feed-{number}", 3) for number in range(12)] == [1, 0, 2, 2, 0, 1, 1, 0, 0, 1, 1, 0]
    assert shard_of("kcna.example-1a2b3c4d", 7) == 3


@pytest.mark.parametrize(
    ("text", "host", "shard"),
    [
        ("0/1", "laptop", (0, 1)),
        ("1/3", "poller-2", (1, 3)),
        ("auto/3", "dateline-poller-2", (2, 3)),
        ("auto/12", "dateline-poller-11.dateline.news.svc.cluster.local", (11, 12)),
    ],
)
def test_a_shard_is_read(text: str, host: str, shard: tuple[int, int]) -> None:
    read = read_shard(text, host=host)
    assert (read.index, read.count) == shard
    assert str(read) == f"{shard[0]}/{shard[1]}"


@pytest.mark.parametrize(
    ("host", "why"),
    [("laptop", "does not end in a number"), ("poller2", "does not end"), ("poller-3", "beyond 3 shards"), ("", "end")],
)
def test_a_host_name_that_names_no_shard_is_refused(host: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_shard("auto/3", host=host)
