"""The image of deploy/Dockerfile, built with buildah: the one on the PATH, else the Debian package."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.support import debian
from tests.support.services import ServiceUnavailable

ROOT = Path(__file__).parents[2]
BASE = "DATELINE_TEST_IMAGE_BASE"
"""Names a base image that buildah can get here; the default one needs a registry."""
BUILD_S = 800


class Buildah:
    """Builds and runs images without a daemon. Raises: ServiceUnavailable: from the start."""

    def __init__(self) -> None:
        try:
            self._path, environment = _program()
        except (debian.NotToBeHad, OSError) as error:
            raise ServiceUnavailable("buildah", str(error)) from error
        self._environment = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", **environment}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run buildah to its end."""
        return subprocess.run(
            [self._path, *command],
            env=self._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_S,
        )

    def build(self) -> str:
        """Return the name of an image newly built. Raises: ServiceUnavailable: no base; AssertionError: it fails."""
        base = os.environ.get(BASE)
        if not base:
            raise ServiceUnavailable("a base image", f"set {BASE}, for example to docker.io/library/python:3.14-slim")
        if self.run("images", "--quiet", base).returncode != 0 and self.run("pull", base).returncode != 0:
            raise ServiceUnavailable("a base image", f"{base} is neither here nor to be pulled")
        name = f"localhost/dateline-test:{uuid.uuid4().hex[:8]}"
        # What pip trusts here it has to trust in the build too.
        authority = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
        secret = ["--secret", f"id=ca,src={authority}"] if authority else []
        built = self.run("bud", *secret, "--build-arg", f"BASE={base}", "-t", name, "-f", "deploy/Dockerfile", ".")
        assert built.returncode == 0, (built.stdout + built.stderr)[-4000:]
        return name


def _program() -> tuple[Path, dict[str, str]]:
    if installed := shutil.which("buildah"):
        return Path(installed), dict(os.environ)
    root = debian.unpack(
        "buildah", also=("golang-github-containers-common", "runc"), libraries_of=("buildah", "libgpgme11")
    )
    path, environment = debian.program(root, "buildah")
    policies = root / "etc" / "containers"
    flags = {"CONTAINERS_CONF": str(root / "usr/share/containers/containers.conf")}
    if policies.exists() and not Path("/etc/containers/policy.json").exists():
        raise debian.NotToBeHad("the Debian package finds no /etc/containers/policy.json; install buildah")
    return path, {**environment, **flags}
