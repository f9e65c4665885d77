"""Real services for tests, on free ports of loopback: a Kafka broker, a Redis server, Prometheus and promtool."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.support import debian

SCRIPT = Path(__file__).parents[2] / "deploy" / "kafka" / "kafka"
START_S = 60.0
STOP_S = 20.0


class ServiceUnavailable(Exception):
    """The service cannot be had here: what is needed, and why not. Raised as `Kafka: no Java found`."""

    def __init__(self, service: str, reason: str) -> None:
        self.service = service
        self.reason = reason
        super().__init__(f"{service}: {reason}")


def free_ports(count: int) -> list[int]:
    """Return *count* different ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def lasting_port(*, following: int = 0) -> int:
    """
    Return a free port that the kernel gives to no outgoing connection: it stays free until it is listened on.

    So do the *following* ones: a run's workers answer there.
    """
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError):
            for each in range(port, port + following + 1):
                socket.create_server(("127.0.0.1", each)).close()
            return port


def answers(port: int) -> bool:
    """Tell whether something accepts connections on *port* of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Service:
    """A child process that listens on a port; keeps port and data over stop and start."""

    name: str
    port: int
    folder: Path
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it answers. Raises: ServiceUnavailable."""
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start its process. Raises: ServiceUnavailable."""
        command, environment = self._command()
        # Should the tests be killed, the kernel takes the service along.
        prefix = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (self.folder / "out.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *command], env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def await_answer(self) -> None:
        """Return when it answers. Raises: ServiceUnavailable."""
        process = self._own()
        deadline = time.monotonic() + START_S
        while not answers(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                said = (self.folder / "out.log").read_text(errors="replace").strip().splitlines()[-1:]
                raise ServiceUnavailable(self.name, f"it does not start: {' '.join(said)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it in good order; after STOP_S by force."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        process = self._own()
        process.kill()
        process.wait()
        self._process = None

    def runs(self) -> bool:
        """Tell whether our process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Return the number of our process, which must be there."""
        return self._own().pid

    def freeze(self) -> None:
        """Make it silent, with its connections open: SIGSTOP."""
        self._own().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after freeze."""
        self._own().send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _own(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServiceUnavailable(self.name, "there is no process of ours")
        return self._process

    def _command(self) -> tuple[list[str], Mapping[str, str]]:
        raise NotImplementedError


class KafkaBroker(Service):
    """One Kafka node by deploy/kafka/kafka, with its own data; or the one that DATELINE_TEST_KAFKA names."""

    name = "Kafka"

    def __init__(self, *, own: bool = False, properties: Mapping[str, str] | None = None) -> None:
        """With *own* it is a node of its own in any case, which a test may kill; only such a one takes *properties*."""
        self.properties = dict(properties or {})
        """Read at each start."""
        self.given = None if own else os.environ.get("DATELINE_TEST_KAFKA")
        self.folder = Path(tempfile.mkdtemp(prefix="dateline-kafka-"))
        self.port, self.controller_port = free_ports(2)
        self.bootstrap = self.given or f"127.0.0.1:{self.port}"
        self.cluster_id = ""
        """Of the cluster that it is a node of; empty when it is alone."""

    def start(self) -> None:
        if self.given:
            host, _, port = self.given.rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except (OSError, ValueError) as error:
                raise ServiceUnavailable("Kafka", f"DATELINE_TEST_KAFKA={self.given}: {error}") from error
            return
        super().start()

    def launch(self) -> None:
        fetched = subprocess.run([SCRIPT, "fetch"], capture_output=True, text=True, check=False)
        if fetched.returncode != 0:
            lines = fetched.stderr.strip().splitlines() or ["deploy/kafka/kafka fetch failed"]
            raise ServiceUnavailable("Kafka", lines[-1].removeprefix("kafka: "))
        super().launch()

    def said(self, about: str, *, lines: int = 60) -> list[str]:
        """Return the last lines of its log in which *about* stands."""
        told = (self.folder / "out.log").read_text(errors="replace").splitlines()
        return [line for line in told if about in line][-lines:]

    def listen_also(self, address: str, *, told: str) -> None:
        """Have from the next start another listener at *address*; whoever asks there is sent to *told*."""
        names = {"PLAINTEXT": f"127.0.0.1:{self.port}", "CONTROLLER": f"127.0.0.1:{self.controller_port}"}
        listened, advertised = names | {"FURTHER": address}, names | {"FURTHER": told}
        self.properties |= {
            "listeners": ",".join(f"{name}://{each}" for name, each in listened.items()),
            "advertised.listeners": ",".join(f"{name}://{each}" for name, each in advertised.items()),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listened),
        }

    def _command(self) -> tuple[list[str], Mapping[str, str]]:
        settings = {
            "DATELINE_KAFKA_PORT": str(self.port),
            "DATELINE_KAFKA_CONTROLLER_PORT": str(self.controller_port),
            "DATELINE_KAFKA_DIR": str(self.folder / "node"),
            "DATELINE_KAFKA_ADVERTISED_HOST": "127.0.0.1",
            "DATELINE_KAFKA_CLUSTER_ID": self.cluster_id,
        }
        if self.properties:
            further = self.folder / "further.properties"
            further.write_text("".join(f"{name}={value}\n" for name, value in self.properties.items()), "utf-8")
            settings["DATELINE_KAFKA_PROPERTIES"] = str(further)
        return [str(SCRIPT), "run"], {**os.environ, **settings}


class RedisServer(Service):
    """A Redis server that writes each command to disk before it answers, unless *options* say otherwise."""

    name = "Redis"

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dateline-redis-"))
        self.port = free_ports(1)[0]
        self.host = "127.0.0.1"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options = options or ("--appendonly", "yes", "--appendfsync", "always")

    def _command(self) -> tuple[list[str], Mapping[str, str]]:
        path, environment = _find("redis-server", "Redis", _unpack_redis)
        fixed = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder))
        return [str(path), *fixed, *self._options], environment


class Prometheus(Service):
    """A Prometheus server that asks *targets*, by job, each second; rules are evaluated as often."""

    name = "Prometheus"

    def __init__(self, targets: Mapping[str, int], rules: Sequence[Path]) -> None:
        """*targets*: port of loopback by job."""
        self.folder = Path(tempfile.mkdtemp(prefix="dateline-prometheus-"))
        self.port = free_ports(1)[0]
        self._targets = dict(targets)
        self._rules = [str(path) for path in rules]

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of the HTTP API. Raises: ValueError: with what it says against the question."""
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urlopen(address, timeout=30) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise ValueError(error.read().decode()) from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that *expression* gives now. Raises: ValueError."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def _command(self) -> tuple[list[str], Mapping[str, str]]:
        path, environment = _find("prometheus", "Prometheus", lambda: debian.unpack("prometheus"))
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for job, port in self._targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": self._rules,
            "scrape_configs": jobs,
        }
        file = self.folder / "prometheus.json"  # YAML takes it
        file.write_text(json.dumps(config), "utf-8")
        flags = [f"--config.file={file}", f"--storage.tsdb.path={self.folder}/data"]
        return [str(path), *flags, f"--web.listen-address=127.0.0.1:{self.port}"], environment


def with_programs(*names: str) -> Mapping[str, str]:
    """Return an environment in which the programs are found, each from the Debian package of its name if need be."""
    environment = dict(os.environ)
    for name in names:
        path, own = _find(name, name, lambda each=name: debian.unpack(each, libraries_of=(each,)))  # type: ignore[misc]
        if path.parent != Path(shutil.which(name) or "/").parent:
            environment["PATH"] = f"{path.parent}:{environment['PATH']}"
            libraries = (own.get("LD_LIBRARY_PATH"), environment.get("LD_LIBRARY_PATH"))
            environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    return environment


def promtool() -> Path:
    """Return the path of promtool. Raises: ServiceUnavailable."""
    path, _ = _find("promtool", "promtool", lambda: debian.unpack("prometheus"))
    return path


def _unpack_redis() -> Path:
    return debian.unpack("redis-server", also=("redis-tools",), libraries_of=("redis-server", "redis-tools"))


def _find(name: str, service: str, unpack: Callable[[], Path]) -> tuple[Path, Mapping[str, str]]:
    installed = shutil.which(name)
    if installed:
        return Path(installed), os.environ
    try:
        return debian.program(unpack(), name)
    except (debian.NotToBeHad, subprocess.TimeoutExpired, OSError) as error:
        raise ServiceUnavailable(service, " ".join(str(error).split())) from error
