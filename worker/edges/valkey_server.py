"""One connection to a Valkey or Redis server, opened when needed; after any error it is closed and opened anew."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.retry import Retry

from worker.ports import SeenStoreAway

CONNECT_S = 2.0
SOCKET_S = 5.0


class ValkeyServer:
    """The server at *url* (`redis://`, `rediss://`, `unix://`); *password* is the secret itself."""

    def __init__(self, url: str, *, password: str | None = None, ca_file: str | None = None) -> None:
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
        self._scripts: dict[str, bytes] = {}
        self.lock = threading.Lock()
        """Held by whoever exchanges."""

    def exchange(self, *commands: tuple[Any, ...]) -> list[Any]:
        """
        Send *commands* at once and return their answers, as bytes.

        After any error the connection is closed: with it go the server's WATCHes and what was not read.
        Raises: SeenStoreAway.
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

    def call(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Exchange under the lock."""
        with self.lock:
            return self.exchange(*commands)

    def script(self, source: str, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        """Run the Lua *source*; the server runs it whole or not at all."""
        with self.lock:
            try:
                return self._run(source, keys, arguments)
            except SeenStoreAway as error:
                if not stale(error):
                    raise
                return self._run(source, keys, arguments)

    def digest(self, source: str) -> bytes:
        """Return the name under which this connection's server knows the script."""
        if source not in self._scripts:
            (self._scripts[source],) = self.exchange(("SCRIPT", "LOAD", source))
        return self._scripts[source]

    def close(self) -> None:
        with suppress(Exception):
            self._connection.disconnect()  # type: ignore[no-untyped-call]

    def _run(self, source: str, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        (answer,) = self.exchange(("EVALSHA", self.digest(source), len(keys), *keys, *arguments))
        return answer


def stale(error: SeenStoreAway) -> bool:
    """Tell whether a second attempt on a new connection may do: the server was restarted, or forgot its scripts."""
    return isinstance(error.__cause__, redis.ConnectionError | redis.exceptions.NoScriptError)


def _raise_inner(answers: Sequence[Any]) -> None:
    """Raise the error that a script had inside EXEC; the server lists it among the answers."""
    for answer in answers:
        for part in answer if isinstance(answer, list) else ():
            if isinstance(part, Exception):
                raise part
