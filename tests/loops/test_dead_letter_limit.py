"""How much of what came before the first refusal is read again."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from worker.loops.dead_letter_limit import GLANCE, DeadLetterLimit, DeadLetterWatch
from worker.ports import LogRecord, TopicPartition
from worker.records import Rejected
from worker.stages.refusals import Limits

PLACE = ("news.raw", 0)
WINDOW = 1_000
WHY = Rejected(reason="no-text", detail="", stage="extract")


class Partition:
    """Records of which some are bad; notes from where it was read."""

    def __init__(self, bad: Iterable[int]) -> None:
        self.bad = frozenset(bad)
        self.read_from: list[int] = []
        self.watch = DeadLetterWatch(
            Limits(window=WINDOW), refuses=lambda record: record.offset in self.bad, past=self._past
        )

    def _past(self, _place: TopicPartition, start: int, stop: int) -> list[LogRecord]:
        self.read_from.append(start)
        return self.records(start, stop)

    def records(self, start: int, stop: int) -> list[LogRecord]:
        return [
            LogRecord(topic="news.raw", partition=0, offset=offset, timestamp_ms=0, key=None, value=b"", headers=())
            for offset in range(start, stop)
        ]

    def check(self, start: int, stop: int) -> None:
        """Check one batch as a worker does, and keep what comes of it."""
        batch = self.records(start, stop)
        after = self.watch.check(batch, [(record, WHY) for record in batch if record.offset in self.bad])
        self.watch.keep(after, owned=[PLACE])


def test_where_hardly_any_record_is_refused_only_the_last_few_are_read_again() -> None:
    partition = Partition(range(5_000, 6_000, 50))

    partition.check(5_490, 5_590)

    assert partition.read_from == [5_490 - GLANCE]


def test_what_a_glance_shows_is_not_read_again_for_the_next_batches() -> None:
    partition = Partition(range(5_000, 6_000, 50))

    for start in range(5_500, 5_900, 10):
        partition.check(start, start + 10)

    assert partition.read_from == [5_500 - GLANCE]


@pytest.mark.parametrize(
    ("bad", "excess"),
    [
        pytest.param(range(5_000, 5_510), "501 records in a row", id="a run that goes on"),
        pytest.param([*range(5_000, 5_499), 5_500, 5_501], "501 of the last 1000", id="all but one"),
        pytest.param([n for n in range(5_510) if n % 3], "66. of the last 1000", id="two of three"),
    ],
)
def test_what_many_refusals_come_after_is_read_as_far_as_the_window_goes(bad: Iterable[int], excess: str) -> None:
    partition = Partition(bad)

    with pytest.raises(DeadLetterLimit, match=excess):
        partition.check(5_500, 5_510)

    assert partition.read_from == [5_500 - GLANCE, 5_500 - WINDOW]


def test_a_batch_of_refusals_after_good_records_has_the_window_read() -> None:
    partition = Partition(range(5_500, 5_590))

    partition.check(5_500, 5_600)

    assert partition.read_from == [5_500 - GLANCE, 5_500 - WINDOW]


def test_a_process_that_saw_too_little_of_a_partition_reads_what_came_before() -> None:
    """Its first records were good; the refusals before them count all the same."""
    partition = Partition([*range(4_600, 5_000), *range(5_003, 5_300)])

    partition.check(5_000, 5_003)
    with pytest.raises(DeadLetterLimit, match="501 of the last 1000"):
        partition.check(5_003, 5_300)

    assert partition.read_from[-1] == 5_003 - WINDOW
