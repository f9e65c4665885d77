"""What of a server's settings is weaker than `every write on disk, and nothing forgotten`."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from worker.edges.valkey_server import ValkeyServer
from worker.ports import SeenStoreAway

_WANTED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
_HARM = {
    "appendonly": "what is not yet in a snapshot is forgotten when it stops",
    "appendfsync": "a power cut forgets the last writes",
    "maxmemory-policy": "it may forget keys when its memory is full",
}


def warnings(server: ValkeyServer) -> Sequence[str]:
    """Compare the settings of *server* with what the promises need. Raises: SeenStoreAway."""
    names = [*_WANTED]
    try:
        answers = server.call(*(("CONFIG", "GET", name) for name in names))
    except SeenStoreAway as error:
        if not isinstance(error.__cause__, redis.ResponseError):
            raise
        return ["the seen store's durability cannot be checked: CONFIG GET is not permitted"]
    found = {name: answer[1].decode() if len(answer) > 1 else "" for name, answer in zip(names, answers, strict=True)}
    return [
        f"seen store: {name} is {found[name] or 'unknown'}, not {value}: {_HARM[name]}"
        for name, value in _WANTED.items()
        if found[name] != value
    ]
