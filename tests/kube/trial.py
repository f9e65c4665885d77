"""What is done to the release while it works, and what has to hold; see `__main__`."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from tests.faults import oracle
from tests.faults.load import Load
from tests.faults.papers import Papers
from tests.faults.stand import Progress
from tests.kube.cluster import Cluster, Object, Watch, ready
from tests.support.border_story import BODIES, TITLES
from tests.support.helm import CHART
from tests.support.services import KafkaBroker, RedisServer, free_ports
from tests.support.waiting import until
from tests.support.web import item
from worker.edges.kafka_log import KafkaLog
from worker.edges.kafka_settings import KafkaSettings
from worker.enriching import TopicNames

RELEASE = "trial"
PARTITIONS = 6
GRACE_S = 60
FEED_LIST = "feeds"
"""A ConfigMap that is not the chart's: its changes are taken over while the poller runs."""
POLL_S = 10.0
BACK_S = 120.0
AWAY_S = 45.0
WATCHDOG = "30s"
"""Shorter than the broker is away: a worker that mistook that for a standstill would be started again."""
KINDS = (
    "pods,statefulsets,services,jobs,configmaps,secrets,serviceaccounts,networkpolicies,poddisruptionbudgets,"
    "persistentvolumeclaims"
)
WAIT = "4m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done; its function returns what was seen, or raises AssertionError."""

    name: str
    act: Callable[[Trial], str]


class Trial:
    """A broker, a Redis and newspapers on this machine; the release in the cluster; load on it."""

    def __init__(self, *, namespace: str, image: str, host: str, per_second: float) -> None:
        """*host*: this machine's address as pods see it. *image*: name and tag, there where the cluster looks."""
        self.cluster = Cluster(namespace)
        self.host = host
        self._image = image
        self._per_second = per_second
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dateline-kube-")))
        self._prefix = f"{namespace}.{RELEASE}."
        topics = TopicNames(prefix=self._prefix)
        self.names = oracle.Names(
            raw=topics.raw,
            enriched=topics.enriched,
            duplicates=topics.duplicates,
            dead_letter=topics.dead_letter,
            routes=(topics.route("sanctions"), topics.route("china-dprk")),
            group=f"{self._prefix}enrich",
            identities=self._prefix,
        )
        self.watch = Watch(self.cluster, ("worker", "poller"))
        self.forced: set[str] = set()
        """Uids of pods that were deleted by force."""

    def __enter__(self) -> Self:
        with self._stack:
            self.kafka = KafkaBroker(own=True)
            self._stack.callback(self.kafka.remove)
            further = f"{self.host}:{free_ports(1)[0]}"
            self.kafka.listen_also(further, told=further)
            self.kafka.start()
            keep = ("--appendonly", "yes", "--appendfsync", "always")
            self.redis = RedisServer(*keep, "--bind", "127.0.0.1", self.host, "--protected-mode", "no")
            self._stack.callback(self.redis.remove)
            self.redis.start()
            self.papers = self._stack.enter_context(Papers(feeds=8, per_second=4.0, host=self.host))
            self.cluster.create()
            self.watch.start()
            self._stack.callback(self.watch.close)
            self.publish_feed_list()
            self._values_file().write_text(yaml.safe_dump(self._values(further)), "utf-8")
            self.view = oracle.KafkaView(self.kafka.bootstrap)
            self.progress = Progress(
                oracle.KafkaView(self.kafka.bootstrap), group=self.names.group, topic=self.names.raw
            )
            self._opened = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def publish_feed_list(self) -> None:
        """Write the newspapers' feed list into its ConfigMap."""
        listed = {"feeds.yaml": self.papers.feed_list_text(interval_s=POLL_S)}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FEED_LIST}, "data": listed},
        )

    def install(self) -> None:
        """Install the chart and wait until all is ready."""
        self.cluster.helm("install", RELEASE, str(CHART), *self._waiting())

    def upgrade(self, *changed: str) -> None:
        """Upgrade the release with *changed* values, like `worker.replicas=3`, and wait until all is ready."""
        flags = [part for each in changed for part in ("--set", each)]
        self.cluster.helm("upgrade", RELEASE, str(CHART), *self._waiting(), *flags)

    def start_load(self) -> None:
        """Append records until stop_load."""
        log = KafkaLog.open(KafkaSettings(bootstrap=self.kafka.bootstrap))
        self._opened.callback(log.close)
        # The newspapers' texts begin at 0, and no text may come twice.
        self._load = Load(log, self.names.raw, per_second=self._per_second, start=10_000_000)
        self._load.start()
        self._opened.callback(self._load.stop)
        self.progress.start()
        self._opened.callback(self.progress.close)
        self.moves(f"at {self._per_second:.0f} articles a second")

    def stop_load(self) -> None:
        self._load.stop()

    def moves(self, what: str) -> str:
        """Wait until every partition moves; return *what* and the longest pause since the last call."""
        self.progress.wait(self.progress.mark(), every_partition=True, within_s=BACK_S)
        pause = self.progress.longest_pause()
        self.progress.forget_pauses()
        return f"{what}; no partition stood still longer than {pause:.1f} s"

    def until_ready(self, component: str, count: int) -> list[Object]:
        """Wait until there are *count* ready pods of *component* and no others; return them."""

        def there() -> bool:
            found = self.cluster.pods(component)
            return len(found) == count and all(ready(each) and not _ending(each) for each in found)

        until(there, within_s=BACK_S, what=f"{count} ready pods of {component}", every_s=0.5)
        return self.cluster.pods(component)

    def pod(self, component: str, ordinal: int = 0) -> str:
        """Return the name of a pod."""
        return f"{RELEASE}-dateline-{component}-{ordinal}"

    def delete_by_force(self, name: str) -> None:
        """Take a pod away at once; the cluster makes it anew, perhaps while the old one still runs."""
        (found,) = [each for each in self.cluster.get("pods") if each["metadata"]["name"] == name]
        self.forced.add(found["metadata"]["uid"])
        self.cluster.kubectl("delete", "pod", name, "--force", "--grace-period=0")

    def no_restart(self) -> None:
        """Raise AssertionError when a container was started again."""
        again = [f"{life.name}: {life.restarts}" for life in self.watch.lives.values() if life.restarts]
        assert not again, f"containers were started again: {', '.join(again)}"

    def _waiting(self) -> Sequence[str]:
        return ("--values", str(self._values_file()), "--wait", "--timeout", WAIT)

    def _values_file(self) -> Path:
        return self._folder / "values.yaml"

    def _values(self, bootstrap: str) -> Object:
        repository, _, tag = self._image.rpartition(":")
        here = [{"to": [{"ipBlock": {"cidr": f"{self.host}/32"}}]}]
        policy = "Never" if repository.startswith("localhost/") else "IfNotPresent"
        modest = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1536Mi"}}
        return {
            "image": {"repository": repository, "tag": tag, "pullPolicy": policy},
            "kafka": {"bootstrap": bootstrap},
            "seen": {"url": f"redis://{self.host}:{self.redis.port}/0"},
            "topics": {"partitions": PARTITIONS},
            "feeds": {"existingConfigMap": FEED_LIST, "refresh": "2s"},
            "networkPolicy": {"pollerEgress": here},
            "worker": {"replicas": 1, "resources": modest},
            "config": {"worker": {"watchdog": WATCHDOG}},
            "poller": {"resources": modest},
        }


def install(trial: Trial) -> str:
    trial.install()
    (worker,) = trial.until_ready("worker", 1)
    trial.until_ready("poller", 1)
    security = worker["spec"]["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"], security
    name = trial.pod("worker")
    code, said = trial.cluster.exit_of(name, "sh", "-c", "id -u; cat /proc/mounts")
    assert (code, said.splitlines()[0]) == (0, "10001"), said
    (root,) = [line for line in said.splitlines() if line.split()[1:2] == ["/"]]
    assert root.split()[3].split(",")[0] == "ro", root
    return "1 worker, 1 poller ready in a namespace that enforces `restricted`; uid 10001, root read-only"


def tags(trial: Trial) -> str:
    """The feed list gets one more feed while the poller runs; its stories come out with their tags."""
    now = format_datetime(datetime.now(UTC))
    items = [
        item(
            number, BODIES[language], title=TITLES[language], link=f"https://border.example.org/{language}", pubDate=now
        )
        for number, language in enumerate(sorted(TITLES))
    ]
    trial.papers.print_once("border", *items)
    trial.publish_feed_list()
    began = time.monotonic()
    found: dict[str, oracle.Seen] = {}

    def there() -> bool:
        for record in trial.view.records(trial.names.enriched):
            told = json.loads(record.value or b"{}")
            if "border.example.org" in (link := told["dateline"]["provenance"].get("link") or ""):
                found[link.rpartition("/")[2]] = record
        return found.keys() == TITLES.keys()

    until(there, within_s=180, what="the border story in all its languages", every_s=2)
    for language, record in found.items():
        headers = {name: value.decode() for name, value in record.headers.items()}
        assert set(headers["regions"].split(",")) == {"CN", "KP"}, headers
        assert headers["pairs"] == "CN-KP", headers
        assert headers["lang"] == language, headers
        assert "china-dprk" in headers["routes"].split(","), headers
    return (
        f"a feed added to the list while the poller ran: its story in {', '.join(sorted(found))} was enriched"
        f" {time.monotonic() - began:.0f} s later as CN, KP, CN-KP, on route china-dprk"
    )


def helm_test(trial: Trial) -> str:
    said = trial.cluster.helm("test", RELEASE, "--timeout", "5m")
    phases = Counter(re.findall(r"Phase:\s+(\w+)", said))
    assert phases == {"Succeeded": 3}, said
    return f"{phases['Succeeded']} test pods succeeded"


def refuses_feeds_add(trial: Trial) -> str:
    code, said = trial.cluster.exit_of(trial.pod("poller"), "dateline", "feeds", "add", "https://example.org/feed.xml")
    assert code == 2, said
    assert f"ConfigMap {FEED_LIST}" in said, said
    return "`dateline feeds add` in a pod: exit 2, names the ConfigMap"


def load(trial: Trial) -> str:
    trial.start_load()
    return trial.moves("every partition moves")


def scale_out(trial: Trial) -> str:
    trial.cluster.kubectl("scale", "statefulset", f"{RELEASE}-dateline-worker", "--replicas=3")
    trial.until_ready("worker", 3)
    return trial.moves("3 ready")


def scale_in(trial: Trial) -> str:
    trial.cluster.kubectl("scale", "statefulset", f"{RELEASE}-dateline-worker", "--replicas=1")
    trial.until_ready("worker", 1)
    return trial.moves("1 left")


def rolling_upgrade(trial: Trial) -> str:
    revisions = _revisions(trial)
    trial.upgrade("worker.replicas=3", "config.worker.batchMax=300")
    trial.until_ready("worker", 3)
    assert not revisions & _revisions(trial), "pods of the old revision are left"
    return trial.moves("3 workers with a smaller batch, none of the old revision")


def forced_worker(trial: Trial) -> str:
    for ordinal in range(3):
        trial.delete_by_force(trial.pod("worker", ordinal))
        trial.until_ready("worker", 3)
    return trial.moves("3 workers, one after another")


def forced_poller(trial: Trial) -> str:
    before = trial.papers.requests()
    trial.delete_by_force(trial.pod("poller"))
    trial.until_ready("poller", 1)
    until(lambda: trial.papers.requests() > before + 20, within_s=60, what="the poller asks for feeds")
    return "ready again, and reads its feeds"


def rollback(trial: Trial) -> str:
    revisions = _revisions(trial)
    trial.cluster.helm("rollback", RELEASE, "1", "--wait", "--timeout", WAIT)
    trial.until_ready("worker", 1)
    assert not revisions & _revisions(trial), "pods of the upgrade are left"
    return trial.moves("1 worker as installed")


def broker_away(trial: Trial) -> str:
    trial.no_restart()
    trial.kafka.stop()
    began = time.monotonic()

    def unready() -> bool:
        return not any(ready(each) for each in trial.cluster.pods("worker"))

    until(unready, within_s=AWAY_S, what="workers that say that they are not ready", every_s=0.5)
    noticed = time.monotonic() - began
    time.sleep(max(0.0, AWAY_S - noticed))
    trial.no_restart()
    trial.kafka.start()
    back = time.monotonic()
    trial.progress.wait(trial.progress.mark(), every_partition=True, within_s=BACK_S)
    moved = time.monotonic() - back
    trial.until_ready("worker", 1)
    trial.progress.forget_pauses()
    return (
        f"stopped for {AWAY_S:.0f} s: not ready after {noticed:.0f} s, alive all the time;"
        f" every partition moved {moved:.1f} s after its start, ready after {time.monotonic() - back:.1f} s"
    )


def broker_killed(trial: Trial) -> str:
    trial.kafka.kill()
    trial.kafka.start()
    return trial.moves("kill -9 and started again")


def end(trial: Trial) -> str:
    """Everything is worked off, the release goes, and nothing of it stays."""
    links = trial.papers.stop_growing()
    trial.stop_load()
    time.sleep(4 * POLL_S)
    until(lambda: _drained(trial), within_s=300, what="everything committed", every_s=0.5)
    trial.cluster.helm("uninstall", RELEASE, "--wait", "--timeout", WAIT)
    until(lambda: not _running(trial), within_s=GRACE_S + 30, what="pods that are gone", every_s=0.5)
    left = {each["metadata"]["name"] for each in trial.cluster.get(KINDS)}
    left = {name for name in left if name.startswith(RELEASE)}
    assert left == {f"{RELEASE}-dateline-test-{test}" for test in ("settings", "topics", "ready")}, left
    findings = oracle.judge(trial.view, trial.names)
    assert findings.well, str(findings)
    stories = Counter(_link(record) for record in trial.view.records(trial.names.enriched))
    wrong = [f"{link}: {stories[link]} stories" for link in links if stories[link] != 1]
    assert not wrong, "; ".join(wrong[:10])
    counted = f"{findings.records:,} raw records, {len(links):,} entries of feeds"
    return f"{counted}: 0 lost, 0 doubled; uninstalled, only the ended test pods left"


def pods(trial: Trial) -> str:
    """No pod was restarted by the cluster, each that was asked to end did so in time and with 0."""
    trial.no_restart()
    assert len(trial.watch.lives) >= 10, "pods were not watched"
    asked = {uid: life for uid, life in trial.watch.lives.items() if uid not in trial.forced}
    open_ended = [life.name for life in asked.values() if life.asked_at is None or life.gone_at is None]
    assert not open_ended, f"not ended: {open_ended}"
    took = [life.gone_at - life.asked_at for life in asked.values() if life.gone_at and life.asked_at]
    codes = Counter(code for life in asked.values() for code in life.codes)
    assert codes == {0: len(asked)}, f"exit codes {dict(codes)} of {len(asked)} ends"
    assert max(took) < GRACE_S, f"longest end: {max(took):.1f} s"
    return (
        f"{len(trial.watch.lives)} pods, {len(trial.forced)} deleted by force, no container started again;"
        f" {len(asked)} ended in good order with 0; longest end {max(took):.1f} s of {GRACE_S}"
    )


STEPS = (
    Step(name="install", act=install),
    Step(name="tags", act=tags),
    Step(name="helm test", act=helm_test),
    Step(name="feeds add", act=refuses_feeds_add),
    Step(name="load", act=load),
    Step(name="scale 1 to 3", act=scale_out),
    Step(name="rolling upgrade", act=rolling_upgrade),
    Step(name="worker deleted by force", act=forced_worker),
    Step(name="poller deleted by force", act=forced_poller),
    Step(name="scale 3 to 1", act=scale_in),
    Step(name="rollback", act=rollback),
    Step(name="broker away", act=broker_away),
    Step(name="broker killed", act=broker_killed),
    Step(name="uninstall and count", act=end),
    Step(name="pods", act=pods),
)


def own_address(host: str) -> bool:
    """Tell whether *host* is an address of this machine."""
    try:
        socket.create_server((host, 0)).close()
    except OSError:
        return False
    return True


def _revisions(trial: Trial) -> set[str]:
    return {each["metadata"]["labels"]["controller-revision-hash"] for each in trial.cluster.pods("worker")}


def _drained(trial: Trial) -> bool:
    return trial.view.committed(trial.names.group, trial.names.raw) == trial.view.ends(trial.names.raw)


def _running(trial: Trial) -> list[Object]:
    return [*trial.cluster.pods("worker"), *trial.cluster.pods("poller")]


def _ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _link(record: oracle.Seen) -> str:
    return str(json.loads(record.value or b"{}").get("dateline", {}).get("provenance", {}).get("link"))
