"""The image: what is built from deploy/Dockerfile runs as nobody in particular, on a root that nobody may write to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker
from tests.support import debian

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
BASE = "DATELINE_TEST_IMAGE_BASE"
"""Names a base image that buildah can get here; the default one needs a registry."""
COMPILERS = ("gcc", "cc", "g++", "clang", "rustc", "cargo", "make", "ld")
SHOWS = """
import importlib.util, json, os, pathlib, shutil, sys, worker
venv = pathlib.Path(sys.prefix)
print(json.dumps({
    "python": sys.version_info[:2], "uid": os.getuid(), "gid": os.getgid(), "version": worker.__version__,
    "compilers": [name for name in sys.argv[1:] if shutil.which(name)],
    "installers": [name for name in ("pip", "setuptools") if (venv / "lib").glob(f"*/site-packages/{name}/__init__.py")
                   and importlib.util.find_spec(name) and importlib.util.find_spec(name).origin.startswith(str(venv))],
    "writable": [str(path) for path in map(pathlib.Path, (venv, venv / "bin", "/", "/usr", "/etc"))
                 if os.access(path, os.W_OK)],
    "bytecode": len(list(pathlib.Path(worker.__file__).parent.rglob("*.pyc"))),
}))
"""


def test_the_dockerfile_asks_for_hashes_a_number_as_user_and_no_shell() -> None:
    steps = DOCKERFILE.replace("\\\n", " ")
    assert "--require-hashes" in steps
    assert "--only-binary :all:" in steps
    final = steps.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", final, re.MULTILINE)
    assert isinstance(json.loads(re.search(r"^ENTRYPOINT (.*)$", final, re.MULTILINE)[1]), list)  # type: ignore[index]
    assert "RUN" not in final, "the final stage only takes what the first one made"


def test_the_image_holds_what_it_is_made_of_and_nothing_else() -> None:
    """What is copied is permitted by .dockerignore, and hardly anything else is."""
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    wanted = {name for names in copied for name in names.split()}
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignore[1] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == wanted
    assert [name for name in wanted if not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[dict[str, str], str]]:
    """Return the environment for buildah and the name of the built image."""
    base = os.environ.get(BASE)
    if not base:
        pytest.skip(f"need a base image: set {BASE}, for example to docker.io/library/python:3.14-slim")
    try:
        path, environment = _buildah()
    except (debian.NotToBeHad, OSError) as error:
        pytest.skip(f"need buildah: {error}")
    environment = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", **environment, "BUILDAH": str(path)}
    if _run(environment, "images", "--quiet", base).returncode != 0 and _run(environment, "pull", base).returncode != 0:
        pytest.skip(f"need the base image {base}: neither here nor to be pulled")
    name = f"localhost/dateline-test:{uuid.uuid4().hex[:8]}"
    # What pip trusts here it has to trust in the build too.
    authority = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    secret = ["--secret", f"id=ca,src={authority}"] if authority else []
    built = _run(environment, "bud", *secret, "--build-arg", f"BASE={base}", "-t", name, "-f", "deploy/Dockerfile", ".")
    assert built.returncode == 0, (built.stdout + built.stderr)[-4000:]
    try:
        yield environment, name
    finally:
        _run(environment, "rmi", name)


@pytest.mark.image
@pytest.mark.timeout(900)
def test_the_built_image_is_as_it_should_be(image: tuple[dict[str, str], str]) -> None:
    environment, name = image
    config = json.loads(_run(environment, "inspect", "--type", "image", name).stdout)["OCIv1"]["config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/opt/dateline/bin/dateline"]
    assert config["Labels"]["org.opencontainers.image.version"] == worker.__version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    container = _run(environment, "from", name).stdout.strip()
    try:
        ran = _run(environment, "run", container, "--", "/opt/dateline/bin/python", "-c", SHOWS, *COMPILERS)
        assert ran.returncode == 0, ran.stderr
        found = json.loads(ran.stdout.splitlines()[-1])
        assert (found["uid"], found["gid"], found["version"]) == (10001, 10001, worker.__version__)
        assert found["compilers"] == []
        assert found["installers"] == []
        assert found["writable"] == []
        assert found["bytecode"] > 50, "the root may be read-only, so modules are compiled beforehand"
        told = _run(environment, "run", container, "--", "/opt/dateline/bin/dateline", "--version")
        assert told.stdout.strip().endswith(f"dateline {worker.__version__}"), told.stdout + told.stderr
        line = 'echo \'{"title":"North Korea"}\' | dateline pipe'
        piped = _run(environment, "run", container, "--", "sh", "-c", line)
        assert '"regions"' in piped.stdout, piped.stdout + piped.stderr
    finally:
        _run(environment, "rm", container)


def _buildah() -> tuple[Path, dict[str, str]]:
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


def _run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [environment["BUILDAH"], *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
