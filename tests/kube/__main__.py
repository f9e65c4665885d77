"""
Install the chart on a real cluster, do to it what happens to clusters, and count what is lost and doubled.

It makes a namespace of its own, and deletes it in the end. Kafka, Redis and the feeds run on this machine.

  KUBECONFIG               the cluster; must be set, so that no cluster is taken by accident
  DATELINE_KUBE_LOAD       command that gets an image archive into the cluster: `kind load image-archive`
  DATELINE_KUBE_RUN        beginning of a command line that runs inside the cluster's network; empty where it is reached
  DATELINE_KUBE_HOST       address of this machine as pods see it; else the first node's, where that is this machine
  DATELINE_KUBE_IMAGE      an image that the cluster can pull; else deploy/Dockerfile is built with buildah and loaded
  DATELINE_TEST_IMAGE_BASE the base image to build on

Exit status: 0 all held; 1 something did not; 2 something needed is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.kube.cluster import CommandFailed, run
from tests.kube.trial import STEPS, Step, Trial, own_address
from tests.support.image import Buildah
from tests.support.services import SCRIPT, ServiceUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one step showed."""

    step: str
    seen: str
    seconds: float
    held: bool


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kube", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=150, metavar="N", help="articles a second (150)")
    parser.add_argument("--keep", action="store_true", help="leave the namespace there for a look")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    parser.add_argument("--inside", metavar="IMAGE", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    try:
        if given.inside:
            return _inside(given, image=given.inside)
        _outside(sys.argv[1:] if argv is None else argv)
    except (ServiceUnavailable, CommandFailed) as error:
        print(f"kube: {error}", file=sys.stderr)
        return 2


def _outside(argv: Sequence[str]) -> NoReturn:
    """Do what needs this machine's network, then start the trial in the cluster's."""
    if not os.environ.get("KUBECONFIG"):
        raise ServiceUnavailable("a cluster", "set KUBECONFIG to the configuration of a cluster for trials")
    if shutil.which("kubectl") is None:
        raise ServiceUnavailable("kubectl", "not found")
    image = os.environ.get("DATELINE_KUBE_IMAGE") or _built_and_loaded()
    _say("fetching Kafka")
    run(str(SCRIPT), "fetch", timeout_s=600)
    prefix = shlex.split(os.environ.get("DATELINE_KUBE_RUN", ""))
    command = [*prefix, sys.executable, "-m", "tests.kube", "--inside", image, *argv]
    os.execvp(command[0], command)  # noqa: S606  (Ctrl-C has to reach what clears up)


def _built_and_loaded() -> str:
    load = shlex.split(os.environ.get("DATELINE_KUBE_LOAD", ""))
    if not load:
        raise ServiceUnavailable("a way to the cluster for the image", "set DATELINE_KUBE_LOAD or DATELINE_KUBE_IMAGE")
    buildah = Buildah()
    _say("building the image")
    name = buildah.build()
    try:
        with tempfile.TemporaryDirectory(prefix="dateline-image-") as folder:
            archive = Path(folder) / "image.tar"
            pushed = buildah.run("push", name, f"docker-archive:{archive}:{name}")
            assert pushed.returncode == 0, pushed.stderr
            _say(f"loading {archive.stat().st_size / 2**20:.0f} MiB into the cluster")
            run(*load, str(archive))
    finally:
        buildah.run("rmi", name)
    return name


def _inside(given: argparse.Namespace, *, image: str) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clear up then, too
    namespace = f"dateline-{uuid.uuid4().hex[:6]}"
    _say(f"cluster {run('kubectl', 'config', 'current-context').strip()}, namespace {namespace}, image {image}")
    trial = Trial(namespace=namespace, image=image, host=_host(), per_second=given.rate)
    held = True
    try:
        with trial:
            if not given.json:
                print("| step | what was seen | s |\n|---|---|---|")
            for step in STEPS:
                row = _take(step, trial)
                print(json.dumps(dataclasses.asdict(row)) if given.json else _line(row), flush=True)
                if not row.held:
                    held = False
                    print(trial.cluster.told(), file=sys.stderr)
                    break
    finally:
        if given.keep:
            _say(f"namespace {namespace} is left; Kafka, Redis and feeds are gone")
        else:
            trial.cluster.remove()
    return 0 if held else 1


def _take(step: Step, trial: Trial) -> Row:
    _say(f"{step.name} …")
    began = time.monotonic()
    held = True
    try:
        seen = step.act(trial)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        held, seen = False, f"FAILED: {error}"
    return Row(step=step.name, seen=seen, seconds=round(time.monotonic() - began, 1), held=held)


def _line(row: Row) -> str:
    return f"| {row.step} | {row.seen} | {row.seconds:.0f} |"


def _host() -> str:
    """Return this machine's address as pods see it. Raises: ServiceUnavailable."""
    if given := os.environ.get("DATELINE_KUBE_HOST"):
        return given
    nodes = json.loads(run("kubectl", "get", "nodes", "--output", "json"))["items"]
    addresses = [each["address"] for each in nodes[0]["status"]["addresses"] if each["type"] == "InternalIP"]
    for address in addresses:
        if own_address(address):
            return str(address)
    raise ServiceUnavailable(
        "an address of this machine that pods reach", "set DATELINE_KUBE_HOST (for kind the gateway of its network)"
    )


def _say(text: str) -> None:
    print(f"kube: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
