"""When a replay is at its end, and when it only has nothing to read."""

from __future__ import annotations

from pathlib import Path

from worker.edges.sqlite_log import SqliteLog
from worker.loops.replaying import ReplayMember
from worker.ports import NewRecord, TopicSpec

IDLE_POLLS = 30


def test_a_replay_that_waits_for_a_newer_release_is_not_finished(tmp_path: Path) -> None:
    log = SqliteLog.open(tmp_path / "log.db")
    log.create_topics([TopicSpec(name="raw", partitions=1)])
    appender = log.appender()
    appender.append([NewRecord(topic="raw", key=b"k", value=b"1")])
    appender.close()
    ends = {place: end for place, (_, end) in log.bounds(["raw"]).items()}
    member = ReplayMember(log.member(group="g", identity="one", topics=["raw"]), from_ms=0, until_ms=None, ends=ends)
    assert member.poll(timeout_s=1.0).records

    def finished() -> bool:
        return member.finished

    member.pause(member.assigned())
    for _ in range(IDLE_POLLS):
        assert not member.poll(timeout_s=0.0).records
    assert not finished()

    member.rewind()
    batch = member.poll(timeout_s=1.0)
    member.commit(batch, [])
    assert finished()
    member.close()
    log.close()
