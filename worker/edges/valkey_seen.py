"""
The shared seen store: Valkey or Redis 6 and newer, for many workers.

Every call is optimistic: WATCH and MGET in one round trip, then one script call inside MULTI/EXEC writes all. When
another worker changed what was read, the server refuses, and a smaller part of the batch is tried after a short random
wait. The store's marker is among what is read and watched, so nothing is judged by a store that was emptied meanwhile.
All keys bear one hash tag, so that one shard holds the whole store.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from worker.edges import valkey_settings
from worker.edges.seen_values import (
    DEFAULT_TTL_S,
    VERDICT_GRACE_S,
    Transaction,
    Writes,
    judging,
    knowing,
    restoring,
    routing,
    verdict_key,
)
from worker.edges.valkey_server import ValkeyServer, stale
from worker.ports import KnownStory, RoutedVersion, SeenStoreAway, SeenStoreLost, TopicPartition
from worker.records import Fingerprint, Published, Verdict

T = TypeVar("T")
CONFLICTS = 50
"""Refused attempts of one call before the store counts as away."""
FORGET = 5_000
"""Offsets whose verdicts one script call sets to expire."""
FORGET_CALLS = 4
"""Script calls of one `committed`; what is left waits for the next."""
CLEAR = 1_000
"""Keys that one call of `clear` looks at, about."""
_EPOCH, _LEASE, _STILL = b"epoch", b"lease", b"still"
_WRITE = """
local expiring, lasting, ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
for i = 1, expiring do redis.call('SET', KEYS[i], ARGV[i + 3], 'EX', ttl) end
for i = expiring + 1, expiring + lasting do redis.call('SET', KEYS[i], ARGV[i + 3]) end
for i = expiring + lasting + 1, #KEYS do
  local known = redis.call('GET', KEYS[i])
  if not known or tonumber(known) > tonumber(ARGV[i + 3]) then redis.call('SET', KEYS[i], ARGV[i + 3]) end
end
return 1
"""
_FORGET = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
for i = 3, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""
_START = """
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SET', KEYS[1], ARGV[1], 'NX') end
return redis.call('GET', KEYS[1])
"""
_STAND_STILL = """
if redis.call('EXISTS', KEYS[1]) == 1 then return {} end
if #ARGV > 0 then redis.call('SADD', KEYS[2], unpack(ARGV)) end
return redis.call('SMEMBERS', KEYS[2])
"""
_TAKE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
"""
_KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
"""
_FINISH = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2], KEYS[3])
return 1
"""


class _Refused(Exception):
    """Another worker changed what the transaction had read."""


@dataclass(frozen=True, slots=True)
class _Guard:
    """What must stand in the store for a transaction to be right."""

    key: bytes
    value: bytes | None
    otherwise: str


class ValkeySeen:
    """A SeenStore on the server at *url* (`redis://`, `rediss://`, `unix://`); *password* is the secret itself."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "live",
        ttl_s: int = DEFAULT_TTL_S,
        password: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        """Raises: ValueError: *url* cannot be understood. Nothing is connected yet."""
        self._server = ValkeyServer(url, password=password, ca_file=ca_file)
        self._tag = b"{dateline:%s}" % namespace.encode()
        self._ttl_s = ttl_s
        self._joined: bytes | None = None
        self._clearing = b"0"

    def judge(self, fingerprints: Sequence[Fingerprint], *, now: datetime) -> Sequence[Verdict]:
        """As the port says; when workers collide, parts of the batch land one after another, in order."""
        verdicts: list[Verdict] = []
        guard, size, conflicts = self._marked(), len(fingerprints), 0
        while len(verdicts) < len(fingerprints):
            part = fingerprints[len(verdicts) : len(verdicts) + size]
            try:
                verdicts += self._attempt(judging(part, now), guard)
            except _Refused:
                conflicts = self._wait_after(conflicts)
                size = max(1, len(part) // 2) if conflicts > 2 else len(part)
            else:
                conflicts = 0
        return verdicts

    def record_routes(self, versions: Sequence[RoutedVersion]) -> Sequence[tuple[str, ...]]:
        return self._run(routing(versions), self._marked()) if versions else []

    def passed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        if not partitions:
            return {}
        (found,) = self._server.call(("MGET", *(self._position(*place) for place in partitions)))
        return {place: int(value) for place, value in zip(partitions, found, strict=True) if value is not None}

    def known(self, story: str) -> KnownStory | None:
        return self._run(knowing(story), None)

    def committed(self, offsets: Mapping[TopicPartition, int], *, now: datetime) -> None:  # noqa: ARG002 (the server has the clock)
        """Let the verdicts below *offsets* expire in an hour; a long stretch is done over several calls."""
        guard = self._marked()
        for (topic, partition), offset in offsets.items():
            position = self._position(topic, partition)
            (known,) = self._server.call(("GET", position))
            for _ in range(FORGET_CALLS):
                low = offset if known is None else int(known)
                if low >= offset:
                    break
                known = high = min(offset, low + FORGET)
                keys = [self._tag + verdict_key(topic, partition, number) for number in range(low, high)]
                arguments = [guard.value or b"", high, VERDICT_GRACE_S]
                if not self._server.script(_FORGET, [guard.key, position, *keys], arguments):
                    raise SeenStoreLost(guard.otherwise)

    def epoch(self) -> str | None:
        (value,) = self._server.call(("GET", self._tag + _EPOCH))
        return None if value is None else value.decode()

    def start_epoch(self, epoch: str) -> str | None:
        value = self._server.script(_START, self._names(_EPOCH, _LEASE), [epoch])
        if value is not None:
            self.join(value.decode())
        return None if value is None else value.decode()

    def join(self, epoch: str) -> None:
        self._joined = epoch.encode()

    def stand_still(self, partitions: Iterable[TopicPartition]) -> frozenset[TopicPartition]:
        mine = [f"{topic}/{partition}" for topic, partition in partitions]
        found = self._server.script(_STAND_STILL, self._names(_EPOCH, _STILL), mine)
        places = (place.decode().rpartition("/") for place in found)
        return frozenset((topic, int(partition)) for topic, _, partition in places)

    def lease(self, holder: str, *, seconds: float) -> bool:
        self._clearing = b"0"
        return bool(self._server.script(_TAKE, self._names(_EPOCH, _LEASE), [holder, round(seconds * 1000)]))

    def clear(self, holder: str, *, seconds: float) -> bool:
        pattern = b"".join(b"\\" + bytes([char]) if char in b"*?[]^-\\" else bytes([char]) for char in self._tag) + b"*"
        ((self._clearing, found),) = self._server.call(("SCAN", self._clearing, "MATCH", pattern, "COUNT", CLEAR))
        kept = self._names(_LEASE, _STILL)
        self._keep(holder, seconds, [key for key in found if key not in kept])
        return self._clearing == b"0"

    def restore(self, published: Sequence[Published], *, holder: str, seconds: float, now: datetime) -> None:  # noqa: ARG002 (the server has the clock)
        self._keep(holder, seconds)
        if published:
            guard = _Guard(self._tag + _LEASE, holder.encode(), "another worker rebuilds the seen store")
            self._run(restoring(published), guard)

    def finish(self, holder: str, epoch: str) -> None:
        if not self._server.script(_FINISH, self._names(_EPOCH, _LEASE, _STILL), [holder, epoch]):
            raise SeenStoreLost("the right to rebuild the seen store has run out")
        self.join(epoch)

    def warnings(self) -> Sequence[str]:
        """Compare the server's settings with what the promises need. Raises: SeenStoreAway."""
        return valkey_settings.warnings(self._server)

    def close(self) -> None:
        self._server.close()

    def _keep(self, holder: str, seconds: float, without: Sequence[bytes] = ()) -> None:
        """Renew the lease, and remove keys in the same step."""
        keys = [self._tag + _LEASE, *without]
        if not self._server.script(_KEEP, keys, [holder, round(seconds * 1000)]):
            raise SeenStoreLost("the right to rebuild the seen store has run out")

    def _names(self, *keys: bytes) -> list[bytes]:
        return [self._tag + key for key in keys]

    def _marked(self) -> _Guard:
        """Return that the store must bear the marker that was joined."""
        return _Guard(self._tag + _EPOCH, self._joined, "it is empty, or not the one that was joined")

    def _position(self, topic: str, partition: int) -> bytes:
        """Name the key of the lowest offset whose verdict is not yet set to expire."""
        return self._tag + b"p%s/%d" % (topic.encode(), partition)

    def _run(self, transaction: Transaction[T], guard: _Guard | None) -> T:
        conflicts = 0
        while True:
            try:
                return self._attempt(transaction, guard)
            except _Refused:
                conflicts = self._wait_after(conflicts)

    def _wait_after(self, conflicts: int) -> int:
        if conflicts >= CONFLICTS:
            raise SeenStoreAway(f"seen store: {CONFLICTS} attempts in a row collided with other workers")
        time.sleep(random.uniform(0, 0.002 * min(conflicts + 1, 16)))  # noqa: S311 (jitter, no secret)
        return conflicts + 1

    def _attempt(self, transaction: Transaction[T], guard: _Guard | None) -> T:
        """Run *transaction* once; a connection that went stale is opened anew. Raises: _Refused, SeenStoreAway."""
        with self._server.lock:
            try:
                return self._transact(transaction, guard)
            except SeenStoreAway as error:
                if not stale(error):
                    raise
                return self._transact(transaction, guard)

    def _transact(self, transaction: Transaction[T], guard: _Guard | None) -> T:
        def fetch(keys: Sequence[bytes]) -> list[bytes | None]:
            names = [self._tag + key for key in keys]
            if guard is not None:
                names.append(guard.key)
            _, found = self._server.exchange(("WATCH", *names), ("MGET", *names))
            if guard is not None and found.pop() != guard.value:
                raise SeenStoreLost(guard.otherwise)
            return list(found)

        try:
            result, writes = transaction(fetch)
        except BaseException:
            self.close()  # and with the connection its WATCHes
            raise
        if writes.expiring or writes.lasting:
            self._write(writes)
        else:
            self._server.exchange(("UNWATCH",))
        return result

    def _write(self, writes: Writes) -> None:
        keys = [self._tag + key for key in (*writes.expiring, *writes.lasting)]
        keys += [self._position(topic, partition) for topic, partition in writes.first_offsets]
        values = (*writes.expiring.values(), *writes.lasting.values(), *writes.first_offsets.values())
        sizes = (len(writes.expiring), len(writes.lasting), self._ttl_s)
        digest = self._server.digest(_WRITE)
        *_, done = self._server.exchange(("MULTI",), ("EVALSHA", digest, len(keys), *keys, *sizes, *values), ("EXEC",))
        if done is None:
            raise _Refused
