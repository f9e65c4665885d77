"""
The shared seen store: Valkey or Redis 6 and newer, for many workers.

Every call is optimistic: WATCH and MGET in one round trip, then one script call inside MULTI/EXEC writes all. When
another worker changed what was read, the server refuses, and a smaller part of the batch is tried after a short random
wait. All keys bear one hash tag, so that one shard holds the whole store. One connection, opened when needed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.retry import Retry

from worker.edges.seen_values import (
    DEFAULT_TTL_S,
    VERDICT_GRACE_S,
    Transaction,
    Writes,
    judging,
    knowing,
    routing,
    verdict_key,
)
from worker.ports import KnownStory, RoutedVersion, SeenStoreAway, TopicPartition
from worker.records import Fingerprint, Verdict

T = TypeVar("T")
CONNECT_S = 2.0
SOCKET_S = 5.0
CONFLICTS = 50
"""Refused attempts of one call before the store counts as away."""
FORGET = 5_000
"""Offsets whose verdicts one script call sets to expire."""
FORGET_CALLS = 4
"""Script calls of one `committed`; what is left waits for the next."""
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
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[2]) end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


class _Refused(Exception):
    """Another worker changed what the transaction had read."""


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
        settings: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        kind = settings.pop("connection_class", Connection)
        if password is not None:
            settings["password"] = password
        if ca_file is not None and issubclass(kind, SSLConnection):
            settings["ssl_ca_certs"] = ca_file
        settings |= {"socket_timeout": SOCKET_S, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
        if issubclass(kind, Connection):
            settings |= {"socket_connect_timeout": CONNECT_S, "socket_keepalive": True}
        self._connection: Connection = kind(**settings)
        self._tag = b"{dateline:%s}" % namespace.encode()
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._scripts: dict[str, bytes] = {}

    def judge(self, fingerprints: Sequence[Fingerprint], *, now: datetime) -> Sequence[Verdict]:
        """As the port says; when workers collide, parts of the batch land one after another, in order."""
        verdicts: list[Verdict] = []
        size, conflicts = len(fingerprints), 0
        while len(verdicts) < len(fingerprints):
            part = fingerprints[len(verdicts) : len(verdicts) + size]
            try:
                verdicts += self._attempt(judging(part, now))
            except _Refused:
                conflicts = self._wait_after(conflicts)
                size = max(1, len(part) // 2) if conflicts > 2 else len(part)
            else:
                conflicts = 0
        return verdicts

    def record_routes(self, versions: Sequence[RoutedVersion]) -> Sequence[tuple[str, ...]]:
        return self._run(routing(versions)) if versions else []

    def known(self, story: str) -> KnownStory | None:
        return self._run(knowing(story))

    def committed(self, offsets: Mapping[TopicPartition, int], *, now: datetime) -> None:  # noqa: ARG002 (the server has the clock)
        """Let the verdicts below *offsets* expire in an hour; a long stretch is done over several calls."""
        for (topic, partition), offset in offsets.items():
            position = self._position(topic, partition)
            (known,) = self._call(("GET", position))
            for _ in range(FORGET_CALLS):
                low = offset if known is None else int(known)
                if low >= offset:
                    break
                known = high = min(offset, low + FORGET)
                keys = [self._tag + verdict_key(topic, partition, number) for number in range(low, high)]
                self._script(_FORGET, [position, *keys], [high, VERDICT_GRACE_S])

    def epoch(self) -> str | None:
        (value,) = self._call(("GET", self._tag + b"epoch"))
        return None if value is None else value.decode()

    def start_epoch(self, epoch: str) -> None:
        self._call(("SET", self._tag + b"epoch", epoch))

    def warnings(self) -> Sequence[str]:
        """Compare the server's settings with what the promises need. Raises: SeenStoreAway."""
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        harm = {
            "appendonly": "what is not yet in a snapshot is forgotten when it stops",
            "appendfsync": "a power cut forgets the last writes",
            "maxmemory-policy": "it may forget keys when its memory is full",
        }
        try:
            answers = self._call(*(("CONFIG", "GET", name) for name in wanted))
        except SeenStoreAway as error:
            if not isinstance(error.__cause__, redis.ResponseError):
                raise
            return ["the seen store's durability cannot be checked: CONFIG GET is not permitted"]
        found = {
            name: answer[1].decode() if len(answer) > 1 else "" for name, answer in zip(wanted, answers, strict=True)
        }
        return [
            f"seen store: {name} is {found[name] or 'unknown'}, not {value}: {harm[name]}"
            for name, value in wanted.items()
            if found[name] != value
        ]

    def close(self) -> None:
        with suppress(Exception):
            self._connection.disconnect()  # type: ignore[no-untyped-call]

    def _position(self, topic: str, partition: int) -> bytes:
        """Name the key of the lowest offset whose verdict is not yet set to expire."""
        return self._tag + b"p%s/%d" % (topic.encode(), partition)

    def _run(self, transaction: Transaction[T]) -> T:
        conflicts = 0
        while True:
            try:
                return self._attempt(transaction)
            except _Refused:
                conflicts = self._wait_after(conflicts)

    def _wait_after(self, conflicts: int) -> int:
        if conflicts >= CONFLICTS:
            raise SeenStoreAway(f"seen store: {CONFLICTS} attempts in a row collided with other workers")
        time.sleep(random.uniform(0, 0.002 * min(conflicts + 1, 16)))  # noqa: S311 (jitter, no secret)
        return conflicts + 1

    def _attempt(self, transaction: Transaction[T]) -> T:
        """Run *transaction* once; a connection that went stale is opened anew. Raises: _Refused, SeenStoreAway."""
        with self._lock:
            try:
                return self._transact(transaction)
            except SeenStoreAway as error:
                if not isinstance(error.__cause__, redis.ConnectionError | redis.exceptions.NoScriptError):
                    raise
                return self._transact(transaction)

    def _transact(self, transaction: Transaction[T]) -> T:
        def fetch(keys: Sequence[bytes]) -> list[bytes | None]:
            names = [self._tag + key for key in keys]
            _, values = self._exchange(("WATCH", *names), ("MGET", *names))
            return list(values)

        try:
            result, writes = transaction(fetch)
        except BaseException:
            self.close()  # and with the connection its WATCHes
            raise
        if writes.expiring or writes.lasting:
            self._write(writes)
        else:
            self._exchange(("UNWATCH",))
        return result

    def _write(self, writes: Writes) -> None:
        keys = [self._tag + key for key in (*writes.expiring, *writes.lasting)]
        keys += [self._position(topic, partition) for topic, partition in writes.first_offsets]
        values = (*writes.expiring.values(), *writes.lasting.values(), *writes.first_offsets.values())
        sizes = (len(writes.expiring), len(writes.lasting), self._ttl_s)
        digest = self._digest(_WRITE)
        *_, done = self._exchange(("MULTI",), ("EVALSHA", digest, len(keys), *keys, *sizes, *values), ("EXEC",))
        if done is None:
            raise _Refused

    def _script(self, source: str, keys: Sequence[bytes], arguments: Sequence[int]) -> None:
        with self._lock:
            self._exchange(("EVALSHA", self._digest(source), len(keys), *keys, *arguments))

    def _digest(self, source: str) -> bytes:
        """Return the name under which this connection's server knows the script."""
        if source not in self._scripts:
            (self._scripts[source],) = self._exchange(("SCRIPT", "LOAD", source))
        return self._scripts[source]

    def _call(self, *commands: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            return self._exchange(*commands)

    def _exchange(self, *commands: tuple[Any, ...]) -> list[Any]:
        """
        Send *commands* at once and return their answers, as bytes.

        After any error the connection is closed: with it go the server's WATCHes and what was not read.
        """
        connection: Any = self._connection
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            answers = [connection.read_response(disable_decoding=True) for _ in commands]
            _raise_inner(answers)
        except (redis.RedisError, OSError) as error:
            connection.disconnect()
            self._scripts.clear()
            raise SeenStoreAway(f"seen store: {error}") from error
        except BaseException:
            connection.disconnect()
            raise
        return answers


def _raise_inner(answers: Sequence[Any]) -> None:
    """Raise the error that a script had inside EXEC; the server lists it among the answers."""
    for answer in answers:
        for part in answer if isinstance(answer, list) else ():
            if isinstance(part, Exception):
                raise part
