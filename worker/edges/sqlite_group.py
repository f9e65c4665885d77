"""
Who owns which partition in a consumer group of the embedded log; every function runs inside a write transaction.

A member's *epoch* counts the processes that held its identity: only the latest may act. A partition's *since* is the
group's generation in which its owner got it: what was polled under another one may not be committed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.edges.sqlite_records import Catalogue
from worker.edges.sqlite_schema import boot_clock

_TOPICS_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a batch was read under: our rewinds so far and, by partition id, since when the partition was ours."""

    rewinds: int
    since: Mapping[int, int]


def group_id(db: sqlite3.Connection, name: str) -> int:
    """Return the number of the group, made when it is new."""
    db.execute("INSERT INTO consumers (name, generation) VALUES (?, 0) ON CONFLICT DO NOTHING", (name,))
    return int(db.execute("SELECT id FROM consumers WHERE name = ?", (name,)).fetchone()[0])


def join(db: sqlite3.Connection, group: int, identity: str, *, topics: Sequence[str], session_timeout_s: float) -> int:
    """Make this process the holder of *identity* and return its epoch: older holders are fenced from now on."""
    row = db.execute(
        "INSERT INTO member (consumers, identity, epoch, topics, alive, heartbeat, session_timeout)"
        " VALUES (?, ?, 1, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET epoch = epoch + 1, topics = excluded.topics,"
        " alive = 1, heartbeat = excluded.heartbeat, session_timeout = excluded.session_timeout RETURNING epoch",
        (group, identity, _TOPICS_SEPARATOR.join(topics), boot_clock(), session_timeout_s),
    ).fetchone()
    return int(row[0])


def is_holder(db: sqlite3.Connection, group: int, identity: str, epoch: int) -> bool:
    """Tell whether no later process has taken *identity*; needs no transaction."""
    row = db.execute("SELECT epoch FROM member WHERE consumers = ? AND identity = ?", (group, identity)).fetchone()
    return row is not None and row[0] == epoch


def heartbeat(db: sqlite3.Connection, group: int, identity: str) -> None:
    """Say that the member lives; one that was given up comes back."""
    db.execute(
        "UPDATE member SET heartbeat = ?, alive = 1 WHERE consumers = ? AND identity = ?",
        (boot_clock(), group, identity),
    )


def leave(db: sqlite3.Connection, group: int, identity: str, epoch: int) -> None:
    """Give up membership, unless another process has it by now."""
    db.execute(
        "UPDATE member SET alive = 0 WHERE consumers = ? AND identity = ? AND epoch = ?", (group, identity, epoch)
    )


def rebalance(db: sqlite3.Connection, group: int, catalogue: Catalogue) -> None:
    """Give up members whose session has run out and share the partitions among the others; a no-op when all is well."""
    now = boot_clock()
    # A heartbeat later than now was written before the machine last started.
    db.execute(
        "UPDATE member SET alive = 0"
        " WHERE consumers = ? AND alive AND NOT (? - heartbeat BETWEEN 0 AND session_timeout)",
        (group, now),
    )
    wanted = {
        identity: frozenset(catalogue.parts(topics.split(_TOPICS_SEPARATOR)))
        for identity, topics in db.execute(
            "SELECT identity, topics FROM member WHERE consumers = ? AND alive ORDER BY identity", (group,)
        ).fetchall()
    }
    before = dict(db.execute("SELECT part, identity FROM assignment WHERE consumers = ?", (group,)).fetchall())
    after = share_out(wanted, before)
    if after == before:
        return
    row = db.execute("UPDATE consumers SET generation = generation + 1 WHERE id = ? RETURNING generation", (group,))
    generation = row.fetchone()[0]
    db.executemany(
        "DELETE FROM assignment WHERE consumers = ? AND part = ?", [(group, part) for part in before.keys() - after]
    )
    db.executemany(
        "INSERT OR REPLACE INTO assignment (consumers, part, identity, since) VALUES (?, ?, ?, ?)",
        [(group, part, owner, generation) for part, owner in after.items() if before.get(part) != owner],
    )


def share_out(wanted: Mapping[str, frozenset[int]], before: Mapping[int, str]) -> dict[int, str]:
    """Return the owner of each wanted partition: loads differ by one at most, and few partitions move."""
    after = {part: owner for part, owner in before.items() if part in wanted.get(owner, ())}
    load = Counter(after.values())
    # Those without an owner first: they may even things out, and then no other has to move.
    for part in sorted(frozenset().union(*wanted.values()), key=lambda part: (part in after, part)):
        able = [identity for identity, parts in wanted.items() if part in parts]
        least = min(able, key=lambda identity: (load[identity], identity))
        owner = after.get(part)
        if owner is None or load[owner] > load[least] + 1:
            if owner is not None:
                load[owner] -= 1
            after[part] = least
            load[least] += 1
    return after


def owned(db: sqlite3.Connection, group: int, identity: str) -> dict[int, int]:
    """Return, by partition id, since which generation the member owns it."""
    rows = db.execute("SELECT part, since FROM assignment WHERE consumers = ? AND identity = ?", (group, identity))
    return dict(rows.fetchall())


def committed(db: sqlite3.Connection, group: int) -> dict[int, int]:
    """Return the group's committed offsets by partition id."""
    return dict(db.execute("SELECT part, offset FROM committed WHERE consumers = ?", (group,)).fetchall())


def commit_offsets(db: sqlite3.Connection, group: int, offsets: Mapping[int, int]) -> None:
    """Store the offset of the next record to read, by partition id."""
    db.executemany(
        "INSERT OR REPLACE INTO committed (consumers, part, offset) VALUES (?, ?, ?)",
        [(group, part, offset) for part, offset in offsets.items()],
    )
