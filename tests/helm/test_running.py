"""What the chart renders starts the real processes: its commands, settings file, environment and mounted files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import RedisError

from tests.support.helm import CHART, Helm, Object, Objects
from tests.support.services import KafkaBroker, RedisServer, free_ports, with_programs
from tests.support.waiting import until
from tests.support.web import item, rss
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_settings import KafkaSettings

ROOT = Path(__file__).parents[2]
READY_S = 60.0


class Node:
    """A kubelet for tests: processes of the rendered pods, with what is mounted in folders of this machine."""

    def __init__(self, folder: Path, objects: Objects) -> None:
        self._folder = folder
        self._objects = objects
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, kind: str, ending: str) -> subprocess.CompletedProcess[str]:
        """Run the only container of a job to its end."""
        spec = self._spec(kind, ending)
        command, environment = self._process(spec, host=f"{kind.lower()}{ending}")
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90
        )

    def start(self, ending: str, *, port: int, ordinal: int = 0) -> subprocess.Popen[bytes]:
        """Start the container of one pod of a StatefulSet; its health answers come at *port*."""
        host = f"{self._objects.one('StatefulSet', ending)['metadata']['name']}-{ordinal}"
        command, environment = self._process(self._spec("StatefulSet", ending), host=host)
        # All pods are one machine here: the one thing that has to differ from what is rendered.
        environment["DATELINE_HTTP_PORT"] = str(port)
        with (self._folder / f"{host}.log").open("wb") as said:
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=said, stderr=said)
        self._running.append(process)
        return process

    def said(self, ending: str, ordinal: int = 0) -> str:
        """Return what a pod has logged."""
        name = self._objects.one("StatefulSet", ending)["metadata"]["name"]
        return (self._folder / f"{name}-{ordinal}.log").read_text("utf-8")

    def stop(self) -> list[int]:
        """End all as Kubernetes does and return their exit codes."""
        for process in self._running:
            process.terminate()
        codes = [process.wait(60) for process in self._running]
        self._running.clear()
        return codes

    def _spec(self, kind: str, ending: str) -> Object:
        spec: Object = self._objects.one(kind, ending)["spec"]["template"]["spec"]
        return spec

    def _process(self, spec: Object, *, host: str) -> tuple[list[str], dict[str, str]]:
        (container,) = spec["containers"]
        places = self._mount(spec, container, self._folder / host)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DATELINE_")}
        for each in container["env"]:
            environment[each["name"]] = self._here(each["value"], places)
        config = Path(environment["DATELINE_CONFIG"])
        config.write_text(self._here(config.read_text("utf-8"), places), "utf-8")
        program = [sys.executable, "-c", _NAMED.format(host=host)]
        return [*program, *container["args"]], environment

    def _here(self, text: str, places: dict[str, Path]) -> str:
        for inside, outside in sorted(places.items(), reverse=True):
            text = text.replace(inside, str(outside))
        return text

    def _mount(self, spec: Object, container: Object, folder: Path) -> dict[str, Path]:
        """Make each mounted volume a folder; links as a kubelet makes them, since they matter to who walks a folder."""
        shutil.rmtree(folder, ignore_errors=True)
        places = {}
        for mount in container["volumeMounts"]:
            place = folder / mount["name"]
            place.mkdir(parents=True)
            volume = next(each for each in spec["volumes"] if each["name"] == mount["name"])
            sources = [volume] if "projected" not in volume else volume["projected"]["sources"]
            data = place / "..2026_11_24"
            for source in sources:
                for path, content in self._content(source):
                    (data / path).parent.mkdir(parents=True, exist_ok=True)
                    (data / path).write_bytes(content)
            if data.exists():
                (place / "..data").symlink_to(data.name)
                for top in data.iterdir():
                    (place / top.name).symlink_to(f"..data/{top.name}")
            places[mount["mountPath"]] = place
        return places

    def _content(self, source: Any) -> Iterator[tuple[str, bytes]]:
        for kind, part in source.items():
            if kind not in {"configMap", "secret"}:
                continue
            name = part.get("name") or part["secretName"]
            (made,) = [
                each
                for each in self._objects.of({"configMap": "ConfigMap", "secret": "Secret"}[kind])
                if each["metadata"]["name"] == name
            ]
            items = part.get("items") or [{"key": key, "path": key} for key in made["data"]]
            for item_ in items:
                yield item_["path"], made["data"][item_["key"]].encode()


_NAMED = """
import socket, sys
socket.gethostname = lambda: {host!r}
from worker.cli import main
sys.exit(main())
"""
"""The program on a machine of another name: a pod is named, a process is not."""


class AnyKey(dict[str, str]):
    """Stands in for what an existing ConfigMap or Secret holds."""

    def __missing__(self, key: str) -> str:
        return "x"


def values(kafka: KafkaBroker, redis: RedisServer, feed: Path) -> dict[str, Any]:
    return {
        "kafka": {"bootstrap": kafka.bootstrap},
        "seen": {"url": redis.url},
        "feeds": {"inline": f"feeds:\n  - {{id: bay, path: {feed}, interval: 10s}}\n", "refresh": "1s"},
        "taxonomy": {
            "files": {
                "routes.yaml": "routes:\n  - {name: ferries, when: {topic: ferries}}\n",
                "topics/ferries.yaml": "names: {en: Ferries}\nterms: {en: {5: [ferry, ferries, harbour council]}}\n",
            }
        },
        "topics": {"partitions": 2},
        "worker": {"replicas": 1},
        "http": {"host": "127.0.0.1"},
        "config": {"kafka": {"sessionTimeout": "6s"}, "poller": {"firstPollMaxAge": "52w"}},
    }


def answer(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            text: str = response.read().decode()
            return text
    except urllib.error.HTTPError as error:
        return str(error.read().decode())
    except OSError as error:
        return str(error)


def ready(port: int) -> None:
    last: list[str] = []

    def now() -> bool:
        last[:] = [answer(port, "/readyz")]
        return last == ["ready\n"]

    until(now, within_s=READY_S, what=f"readiness of {port}")


def feed_document(path: Path, numbers: range) -> None:
    text = "The harbour council spoke of the ferry and of all the other ferries on Monday. " * 3
    path.write_bytes(rss(*(item(number, text) for number in numbers)))


def stories(kafka: KafkaBroker, topic: str) -> list[dict[str, Any]]:
    log = KafkaLog.open(KafkaSettings(bootstrap=kafka.bootstrap))
    reader = log.reader([topic])
    found = []
    try:
        while not reader.at_end():
            found += [json.loads(record.value or b"{}") for record in reader.read(timeout_s=1.0)]
    finally:
        reader.close()
        log.close()
    return found


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.timeout(240)
def test_what_is_rendered_runs_and_two_releases_on_one_broker_leave_each_other_alone(
    helm: Helm, kafka: KafkaBroker, redis: RedisServer, tmp_path: Path, topic_prefix: str
) -> None:
    """The same feed in both: each has all of its stories once, and no process of either is fenced."""
    feed = tmp_path / "feed.xml"
    feed_document(feed, range(3))
    release = topic_prefix.strip(".")
    given = values(kafka, redis, feed)
    nodes, ports = {}, iter(free_ports(4))
    with contextlib.ExitStack() as stack:
        for namespace in ("one", "two"):
            objects = helm.objects(values=given, release=release, namespace=namespace)
            folder = tmp_path / namespace
            folder.mkdir()
            node = nodes[namespace] = Node(folder, objects)
            stack.callback(node.stop)
            applied = node.run("Job", "-topics")
            assert applied.returncode == 0, applied.stdout + applied.stderr
            assert f"{namespace}.{release}.ferries" in applied.stdout
        answering: dict[str, list[int]] = {}
        for namespace, node in nodes.items():
            answering[namespace] = [next(ports), next(ports)]
            node.start("-worker", port=answering[namespace][0])
            node.start("-poller", port=answering[namespace][1])
        for port in (port for each in answering.values() for port in each):
            ready(port)
        for namespace, node in nodes.items():
            topic = f"{namespace}.{release}.enriched"
            until(lambda topic=topic: len(stories(kafka, topic)) == 3, within_s=READY_S, what=topic)  # type: ignore[misc]
            assert len(stories(kafka, f"{namespace}.{release}.ferries")) == 3
            assert f'"{namespace}.{release}.enrich-{release}-dateline-worker-0-0"' in node.said("-worker")
        assert answer(answering["one"][0], "/livez") == "alive\n"
        codes = {namespace: node.stop() for namespace, node in nodes.items()}
        assert codes == {"one": [0, 0], "two": [0, 0]}, [node.said("-worker") for node in nodes.values()]


def test_every_pod_of_a_release_has_the_same_taxonomy_version_in_a_mounted_configmap(
    helm: Helm, tmp_path: Path
) -> None:
    """A kubelet mounts a ConfigMap as links into a folder named after the time, which must not count."""
    files = {"routes.yaml": "routes: []\n", "topics/ferries.yaml": "names: {en: Ferries}\nterms: {en: {5: [ferry]}}\n"}
    plain = {"kafka": {"bootstrap": "k:9092"}, "seen": {"url": "redis://v:6379/0"}, "taxonomy": {"files": files}}
    objects = helm.objects(CHART / "ci" / "minimal-values.yaml", values=plain)
    versions = set()
    for name in ("one", "two"):
        node = Node(tmp_path / name, objects)
        spec = objects.one("StatefulSet", "-worker")["spec"]["template"]["spec"]
        place = node._mount(spec, spec["containers"][0], tmp_path / name)["/etc/dateline/taxonomy"]
        (place / "..2026_11_24").rename(place / f"..2026_{name}")
        (place / "..data").unlink()
        (place / "..data").symlink_to(f"..2026_{name}")
        shown = subprocess.run(
            [sys.executable, "-c", "import sys, pathlib; from worker.edges.taxonomy import load_taxonomy;"
             " print(load_taxonomy(pathlib.Path(sys.argv[1])).version)", str(place)],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        versions.add(shown.stdout)
    assert len(versions) == 1
    assert "+" in versions.pop()


def test_the_settings_of_every_value_set_are_right(helm: Helm, value_set: Path, tmp_path: Path) -> None:
    """`config check` on what is mounted; objects that are not the chart's are stood in for."""
    objects = helm.objects(value_set)
    spec = objects.one("StatefulSet", "-worker")["spec"]["template"]["spec"]
    for volume in spec["volumes"]:
        for source in (volume, *volume.get("projected", {}).get("sources", ())):
            for kind, made in (("configMap", "ConfigMap"), ("secret", "Secret")):
                part = source.get(kind)
                name = part and (part.get("name") or part["secretName"])
                if part and name not in {each["metadata"]["name"] for each in objects.of(made)}:
                    objects.append({"kind": made, "metadata": {"name": name}, "data": AnyKey()})
    spec["containers"][0]["args"] = ["config", "check", "--json"]
    node = Node(tmp_path, objects)
    command, environment = node._process(spec, host="worker-0")
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr + yaml.safe_dump(spec)
    assert json.loads(ran.stdout)["warnings"] == []


@pytest.mark.redis
def test_the_charts_own_seen_store_takes_any_password(helm: Helm, redis: RedisServer, tmp_path: Path) -> None:
    """Its command line, run here: quotes and backslashes mean something in the server's configuration."""
    assert redis.runs()  # so its program can be had
    password = "se \"same\\ 'x"
    values = {
        "valkey": {"enabled": True, "program": "redis-server"},
        "seen": {"url": "", "password": password},
    }
    objects = helm.objects(CHART / "ci" / "minimal-values.yaml", values=values)
    (container,) = objects.one("StatefulSet", "-valkey")["spec"]["template"]["spec"]["containers"]
    (tmp_path / "seen-password").write_text(password, "utf-8")
    (port,) = free_ports(1)
    here = {
        "/etc/dateline/secrets": str(tmp_path),
        "/tmp/valkey.conf": str(tmp_path / "valkey.conf"),  # noqa: S108  (of the container)
        "dir /data": f"dir {tmp_path}",
        "port 6379": f"port {port}",
    }
    shell, flags, script = container["command"]
    for inside, outside in here.items():
        assert inside in script
        script = script.replace(inside, outside)
    server = subprocess.Popen([shell, flags, script], env=dict(with_programs("redis-server")))
    try:
        with Redis(port=port, password=password) as client:
            until(lambda: _pings(client), what="an answer to its password")
    finally:
        server.terminate()
        server.wait(10)


def _pings(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
