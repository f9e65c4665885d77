"""The soak's own arithmetic: a slope, and records made small without losing what the oracle compares."""

from __future__ import annotations

import json

import pytest

from tests.faults.oracle import Seen
from tests.faults.soak import per_hour, slim


def seen(value: bytes) -> Seen:
    headers = {"raw": b"t/0/1", "x-id": b"n1", "dateline-more": b"x" * 500}
    return Seen(topic="t", partition=0, offset=1, key=b"k", value=value, headers=headers)


def test_the_slope_is_that_of_the_line_and_zero_without_one() -> None:
    assert per_hour([(second, 5000 + second / 3.6) for second in range(100)]) == pytest.approx(1000)
    assert per_hour([(0, 5000)]) == 0


@pytest.mark.parametrize(
    "value",
    [
        b"\xff no JSON",
        b"[" * 10_000,
        b"[1,2,3]",
        b'{"story": 7}',
        b'{"n": ' + b"9" * 10_000 + b"}",
        b"x" * 10_000,
    ],
)
def test_equal_values_stay_equal_and_others_differ(value: bytes) -> None:
    small = slim(seen(value)).value
    assert small == slim(seen(value)).value
    assert small != slim(seen(value + b" more")).value
    assert len(small or b"") < 200


def test_the_link_and_the_headers_that_are_judged_are_kept() -> None:
    for told in ({"link": "https://a.example/1"}, {"dateline": {"provenance": {"link": "https://a.example/1"}}}):
        small = slim(seen(json.dumps(told | {"text": "x" * 5000}).encode()))
        assert json.loads(small.value or b"") == {"link": "https://a.example/1"}
        assert small.headers == {"raw": b"t/0/1", "x-id": b"n1"}
