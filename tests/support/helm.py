"""Helm for tests: the one on the PATH, else one built from the Go module proxy into the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support import debian
from tests.support.services import ServiceUnavailable

CHART = Path(__file__).parents[2] / "helm" / "dateline"
VERSION = "v3.22.0"
KUBERNETES = "1.34"
BUILD_S = 900
Object = dict[str, Any]


class Refused(Exception):
    """Helm refused the values; says what it said."""


def program() -> Path:
    """Return the path of helm. Raises: ServiceUnavailable."""
    if installed := shutil.which("helm"):
        return Path(installed)
    path = debian.cache().parent / f"helm-{VERSION}" / "helm"
    if path.exists():
        return path
    if shutil.which("go") is None:
        raise ServiceUnavailable("Helm", "no helm installed, and no Go to build it")
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as work:
        try:
            built = subprocess.run(
                ["go", "install", "-trimpath", f"helm.sh/helm/v3/cmd/helm@{VERSION}"],
                env={**os.environ, "GOBIN": work, "CGO_ENABLED": "0", "GOFLAGS": "-modcacherw"},
                cwd=work,
                capture_output=True,
                text=True,
                check=False,
                timeout=BUILD_S,
            )
        except subprocess.TimeoutExpired as error:
            raise ServiceUnavailable("Helm", f"go install took more than {BUILD_S} s") from error
        if built.returncode != 0:
            raise ServiceUnavailable("Helm", f"go install: {(built.stderr.strip() or 'failed').splitlines()[-1]}")
        path.parent.mkdir(exist_ok=True)
        (Path(work) / "helm").replace(path)
    return path


class Helm:
    """Renders the chart."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._rendered: dict[tuple[Path, ...], str] = {}
        """The shipped chart with unchanged value sets: many tests look at the same."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run helm to its end."""
        home = {name: str(self._folder) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        return subprocess.run(
            [self._path, *command], env=environment | home, capture_output=True, text=True, check=False, timeout=60
        )

    def template(
        self,
        *files: Path,
        values: Mapping[str, Any] | None = None,
        release: str = "dateline",
        namespace: str = "news",
        chart: Path = CHART,
    ) -> str:
        """Return what the chart renders with the values of *files* and over them *values*. Raises: Refused."""
        plain = values is None and (release, namespace, chart) == ("dateline", "news", CHART)
        if plain and files in self._rendered:
            return self._rendered[files]
        chosen = [*files]
        if values is not None:
            own = self._folder / "values.yaml"
            own.write_text(yaml.safe_dump(dict(values), allow_unicode=True), "utf-8")
            chosen.append(own)
        flags = [part for file in chosen for part in ("--values", str(file))]
        ran = self.run(
            "template", release, str(chart), "--namespace", namespace, "--kube-version", KUBERNETES, *flags
        )  # fmt: skip
        if ran.returncode != 0:
            raise Refused(ran.stderr.strip())
        if plain:
            self._rendered[files] = ran.stdout
        return ran.stdout

    def objects(self, *files: Path, **how: Any) -> Objects:
        """Return the rendered objects. Raises: Refused."""
        return Objects(each for each in yaml.safe_load_all(self.template(*files, **how)) if each)


class Objects(list[Object]):
    """Rendered objects."""

    def of(self, kind: str, ending: str = "") -> list[Object]:
        """Return those of a kind whose names end so."""
        return [each for each in self if each["kind"] == kind and each["metadata"]["name"].endswith(ending)]

    def one(self, kind: str, ending: str = "") -> Object:
        """Return the only one."""
        (found,) = self.of(kind, ending)
        return found

    def pods(self) -> dict[str, Object]:
        """Return the spec of every pod by kind and name of what makes it."""
        found = {}
        for each in self:
            spec = each.get("spec", {}).get("template", {}).get("spec") if each["kind"] != "Pod" else each["spec"]
            if spec:
                found[f"{each['kind']}/{each['metadata']['name']}"] = spec
        return found


def containers(specs: Iterable[Object]) -> Iterable[Object]:
    """Yield every container of pods, those that run first too."""
    for spec in specs:
        yield from (*spec.get("initContainers", ()), *spec["containers"])
