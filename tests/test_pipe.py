"""`dateline pipe`: one line out for each line in, in order, whatever the line is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.make import raw_article
from tests.support.installation import Installation
from worker import wire

STORY = {
    "id": "s1",
    "title": "Security Council tightens sanctions on North Korea",
    "text": "The United Nations Security Council on Monday imposed new sanctions on North Korea and froze assets.",
    "url": "https://wire.example.org/s1?utm_source=rss",
    "feed": "example-wire",
}


def pipe(folder: Path, *lines: Mapping[str, object] | bytes, options: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return what each of *lines* is answered."""
    given = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    ran = Installation(folder).run("pipe", *options, stdin=given)
    assert ran.returncode == 0, ran.stderr.decode()
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_stories_updates_copies_and_nonsense_are_answered_in_order(tmp_path: Path) -> None:
    answers = pipe(
        tmp_path,
        STORY,
        {**STORY, "id": "s2", "url": "https://wire.example.org/s1"},
        {**STORY, "id": "s3", "text": STORY["text"] + " China abstained."},
        {**STORY, "id": "s4", "url": "https://paper.example.net/reprint", "feed": "paper"},
        b"not JSON",
        {"id": "s5"},
    )

    assert [(answer["id"], answer["outcome"], answer["reason"]) for answer in answers] == [
        ("s1", "enriched", "new"),
        ("s2", "duplicate", "repeat"),
        ("s3", "enriched", "update"),
        ("s4", "duplicate", "copy"),
        (None, "dead-letter", "not-json"),
        ("s5", "dead-letter", "missing-field"),
    ]
    assert answers[0]["routes"] == ["sanctions"]
    assert answers[0]["record"]["dateline"]["topics"][0]["slug"] == "sanctions"
    assert "record" not in answers[4]


def test_a_raw_record_is_taken_as_it_is(tmp_path: Path) -> None:
    (answer,) = pipe(tmp_path, wire.raw_value(raw_article("a")))

    assert (answer["id"], answer["outcome"]) == (raw_article("a").story, "enriched")


def test_a_file_remembers_what_earlier_runs_saw(tmp_path: Path) -> None:
    options = ("--seen", str(tmp_path / "seen.db"))

    first, second = (pipe(tmp_path, STORY, options=options)[0] for _ in range(2))

    assert (first["outcome"], second["outcome"]) == ("enriched", "duplicate")
    assert pipe(tmp_path, STORY)[0]["outcome"] == "enriched"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 10_000, "too-deep"),
        (b'{"title": "x", "more": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "too-deep"),
        (b'\xff\xfe{"title": "x"}', "not-json"),
        (b'{"title": "\\ud800"}', "not-json"),
        (b'{"title": "x", "text": 5}', "wrong-type"),
        (b"[]", "wrong-type"),
        (b'{"title": " ", "html": "<script>x</script>"}', "no-text"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else str(value),
)
def test_what_cannot_be_read_costs_one_line_and_nothing_else(tmp_path: Path, line: bytes, reason: str) -> None:
    bad, good = pipe(tmp_path, line, STORY)

    assert (bad["outcome"], bad["reason"]) == ("dead-letter", reason)
    assert good["outcome"] == "enriched"


def test_a_text_of_ten_megabytes_is_cut_flagged_and_published(tmp_path: Path) -> None:
    (answer,) = pipe(tmp_path, {"title": "A very long report on wells", "text": "water " * 1_700_000})

    assert answer["outcome"] == "enriched"
    (cut,) = answer["record"]["dateline"]["provenance"]["truncated"]
    assert (cut["field"], cut["originalLength"]) == ("body", 10_199_999)
    assert len(answer["record"]["bodies"][0]["value"]) <= 100_000
