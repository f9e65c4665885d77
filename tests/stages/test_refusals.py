"""The limits on refused records of one partition, offset by offset."""

from __future__ import annotations

import pytest

from worker.stages.refusals import Limits, Refusals, follow

LIMITS = Limits(run=5, share=0.5, window=20)
NEW = Refusals(since=0, next=0)


def judged(pattern: str, start: int = 0) -> list[tuple[int, bool]]:
    """Return what *pattern* says, `x` for a refused record, `-` for a good one, ` ` for an offset without record."""
    return [(start + at, sign == "x") for at, sign in enumerate(pattern) if sign != " "]


def test_a_run_of_refusals_up_to_the_limit_is_borne_and_one_more_is_not() -> None:
    assert follow(NEW, judged("-xxxxx"), LIMITS)[1] is None
    assert follow(NEW, judged("-xxxxxx"), LIMITS)[1] == "6 records in a row were refused (limit 5)"


def test_a_good_record_ends_a_run() -> None:
    known, excess = follow(NEW, judged("xxxxx-xxx"), LIMITS)
    assert (known.run, known.next, excess) == (3, 9, None)


def test_a_run_that_ends_within_the_batch_still_counts() -> None:
    assert follow(NEW, judged("xxxxxx-----"), LIMITS)[1] is not None


def test_a_share_of_the_window_is_borne_whatever_the_order_and_one_more_is_not() -> None:
    assert follow(NEW, judged("xx-" * 5), LIMITS)[1] is None
    assert follow(NEW, judged("xx-" * 6), LIMITS)[1] == "11 of the last 20 records were refused (limit 50%)"


def test_few_refusals_of_a_quiet_stream_are_never_too_many() -> None:
    """All that ever came was refused, but it is less than half a window."""
    assert follow(NEW, judged("xxxxx"), LIMITS)[1] is None


def test_what_lies_before_the_window_is_forgotten() -> None:
    known, _ = follow(NEW, judged("xx-" * 5), LIMITS)
    known, excess = follow(known, judged("-" * 15, start=15), LIMITS)
    assert (known.refused, known.share(LIMITS), excess) == ((10, 12, 13), 3 / 20, None)


def test_a_share_of_one_never_stops() -> None:
    assert follow(NEW, judged("x" * 100), Limits(run=1000, share=1.0, window=20))[1] is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_the_answer_does_not_depend_on_where_batches_end(size: int) -> None:
    records = judged("xx-x" * 10)
    known, at = NEW, 0
    while (batch := records[at : at + size]) and (found := follow(known, batch, LIMITS))[1] is None:
        known, at = found[0], at + size
    stopped = next(offset for offset, _ in batch if follow(known, [r for r in batch if r[0] <= offset], LIMITS)[1])
    assert stopped == 13
