"""What of a server's settings is weaker than `every write on disk, and nothing forgotten`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import redis

from worker.edges.valkey_server import ValkeyServer
from worker.ports import SeenStoreAway

_ASKED = ("appendonly", "appendfsync", "save", "maxmemory-policy", "min-replicas-to-write")


def warnings(server: ValkeyServer) -> Sequence[str]:
    """Compare the settings of *server* with what the promises need, a line each. Raises: SeenStoreAway."""
    try:
        answers = server.call(*(("CONFIG", "GET", name) for name in _ASKED))
    except SeenStoreAway as error:
        if not isinstance(error.__cause__, redis.ResponseError):
            raise
        return ["the seen store's durability cannot be checked: CONFIG GET is not permitted"]
    found = {name: answer[1].decode() if len(answer) > 1 else "" for name, answer in zip(_ASKED, answers, strict=True)}
    return [*_on_disk(found), *_in_memory(found), *_on_replicas(server, found)]


def _on_disk(found: Mapping[str, str]) -> list[str]:
    if found["appendonly"] != "yes":
        kept = "nothing" if not found["save"] else f"only snapshots (save {found['save']})"
        return [f"seen store: appendonly is {_said(found['appendonly'])}, not yes: {kept} outlives its process"]
    if found["appendfsync"] != "always":
        lost = "the last second" if found["appendfsync"] == "everysec" else "what the system had not written yet"
        return [f"seen store: appendfsync is {_said(found['appendfsync'])}, not always: a power cut forgets {lost}"]
    return []


def _in_memory(found: Mapping[str, str]) -> list[str]:
    policy = found["maxmemory-policy"]
    if policy == "noeviction":
        return []
    # Not only where a limit is set now: one may be set at any time.
    return [f"seen store: maxmemory-policy is {_said(policy)}, not noeviction: it forgets keys when its memory is full"]


def _on_replicas(server: ValkeyServer, found: Mapping[str, str]) -> list[str]:
    try:
        (role,) = server.call(("ROLE",))
    except SeenStoreAway as error:
        if not isinstance(error.__cause__, redis.ResponseError):
            raise
        return ["the seen store's replicas cannot be checked: ROLE is not permitted"]
    if role[0] == b"master" and role[2] and found["min-replicas-to-write"] in ("", "0"):
        return [
            "seen store: it has replicas, and min-replicas-to-write is 0: one that takes over may lack the last writes"
        ]
    return []


def _said(value: str) -> str:
    return value or "unknown"
