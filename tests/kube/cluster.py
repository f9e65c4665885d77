"""A cluster by kubectl and helm: one namespace of ours, what runs in it, and what becomes of each pod."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import helm

Object = dict[str, Any]
COMPONENT = "app.kubernetes.io/component"


class CommandFailed(AssertionError):
    """kubectl or helm ended with an error; says what it said."""


class Cluster:
    """The cluster that KUBECONFIG names. Raises: ServiceUnavailable: no helm."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._helm = str(helm.program())

    def kubectl(self, *command: str, stdin: str = "", timeout_s: float = 300) -> str:
        """Return what kubectl prints in our namespace. Raises: CommandFailed."""
        return run("kubectl", "--namespace", self.namespace, *command, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *command: str, timeout_s: float = 600) -> str:
        """Return what helm prints in our namespace. Raises: CommandFailed."""
        return run(self._helm, "--namespace", self.namespace, *command, timeout_s=timeout_s)

    def get(self, *what: str) -> list[Object]:
        """Return objects of our namespace."""
        found: list[Object] = json.loads(self.kubectl("get", *what, "--output", "json"))["items"]
        return found

    def pods(self, component: str) -> list[Object]:
        """Return the pods of *component*, also those that are about to end."""
        return self.get("pods", "--selector", f"{COMPONENT}={component}")

    def exit_of(self, pod: str, *command: str) -> tuple[int, str]:
        """Return exit code and output of *command* in a pod."""
        ran = subprocess.run(
            ["kubectl", "--namespace", self.namespace, "exec", pod, "--", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def create(self) -> None:
        """Make the namespace, which takes restricted pods only."""
        level = "restricted"
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn", "audit")}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        self.apply(made)
        deadline = time.monotonic() + 60
        while not self.get("serviceaccounts"):  # pods are refused before
            assert time.monotonic() < deadline, f"namespace {self.namespace} gets no service account"
            time.sleep(0.2)

    def apply(self, *objects: Object) -> None:
        """Create or change *objects*."""
        self.kubectl("apply", "--filename", "-", stdin="\n".join(json.dumps(each) for each in objects))

    def remove(self) -> None:
        """Delete the namespace with all in it."""
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    def told(self) -> str:
        """Return what helps when something is wrong: pods, last events, last lines of each pod."""
        lines = []
        for command in (["get", "pods", "--output", "wide"], ["get", "events", "--sort-by", ".lastTimestamp"]):
            lines += _tried(self, *command)[-25:]
        names = [each.removeprefix("pod/") for each in _tried(self, "get", "pods", "--output", "name")]
        for name in names:
            lines += [f"--- {name}", *_tried(self, "logs", name, "--tail", "8")]
        return "\n".join(lines)


def _tried(cluster: Cluster, *command: str) -> list[str]:
    try:
        return cluster.kubectl(*command, timeout_s=30).splitlines()
    except (CommandFailed, subprocess.TimeoutExpired) as error:
        return [str(error)]


def run(*command: str, stdin: str = "", timeout_s: float = 300, environ: Mapping[str, str] | None = None) -> str:
    """Return what *command* prints. Raises: CommandFailed."""
    ran = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s, env=environ
    )
    if ran.returncode != 0:
        shown = " ".join(Path(each).name if at == 0 else each for at, each in enumerate(command))
        raise CommandFailed(f"{shown}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran.stdout


def ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod says that it is ready."""
    conditions = pod["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@dataclass(slots=True, kw_only=True)
class Life:
    """What became of one pod."""

    name: str
    restarts: int = 0
    codes: list[int] = field(default_factory=list)
    """Exit codes of its container as it ended."""
    asked_at: float | None = None
    """When it was asked to end, on the monotonic clock."""
    gone_at: float | None = None


class Watch:
    """Follows the pods of some components in a thread, for an ended pod cannot be asked any more."""

    def __init__(self, cluster: Cluster, components: Sequence[str]) -> None:
        self._selector = f"{COMPONENT} in ({','.join(components)})"
        self._command = ["kubectl", "--namespace", cluster.namespace, "get", "pods", "--selector", self._selector]
        self.lives: dict[str, Life] = {}
        """By the pod's uid."""
        self._closing = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="pods", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        if self._process is not None:
            self._process.terminate()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._closing:  # the API server ends a watch now and then
            time.sleep(0.2)
            flags = ["--watch", "--output-watch-events", "--output", "json"]
            with subprocess.Popen([*self._command, *flags], stdout=subprocess.PIPE, text=True) as process:
                self._process = process
                assert process.stdout is not None
                for line in process.stdout:  # each event is a line
                    if line.strip():
                        event = json.loads(line)
                        self._take(event["type"], event["object"])

    def _take(self, kind: str, pod: Object) -> None:
        now, told = time.monotonic(), pod["metadata"]
        life = self.lives.setdefault(told["uid"], Life(name=told["name"]))
        if "deletionTimestamp" in told and life.asked_at is None:
            life.asked_at = now
        for status in pod["status"].get("containerStatuses", ()):
            life.restarts = max(life.restarts, status["restartCount"])
            ended = status["state"].get("terminated")
            if ended is not None and life.asked_at is not None and not life.codes:
                life.codes.append(ended["exitCode"])
        if kind == "DELETED" and life.gone_at is None:
            life.gone_at = now
