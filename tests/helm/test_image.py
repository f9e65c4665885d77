"""The image: what is built from deploy/Dockerfile runs as nobody in particular, on a root that nobody may write to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

import worker
from tests.support.image import ROOT, Buildah
from tests.support.services import ServiceUnavailable

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
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
def image() -> Iterator[tuple[Buildah, str]]:
    """Return what runs images, and the name of the built one."""
    try:
        buildah = Buildah()
        name = buildah.build()
    except ServiceUnavailable as error:
        pytest.skip(f"need {error}")
    try:
        yield buildah, name
    finally:
        buildah.run("rmi", name)


@pytest.mark.image
@pytest.mark.timeout(900)
def test_the_built_image_is_as_it_should_be(image: tuple[Buildah, str]) -> None:
    buildah, name = image
    config = json.loads(buildah.run("inspect", "--type", "image", name).stdout)["OCIv1"]["config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/opt/dateline/bin/dateline"]
    assert config["Labels"]["org.opencontainers.image.version"] == worker.__version__
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    container = buildah.run("from", name).stdout.strip()
    try:
        ran = buildah.run("run", container, "--", "/opt/dateline/bin/python", "-c", SHOWS, *COMPILERS)
        assert ran.returncode == 0, ran.stderr
        found = json.loads(ran.stdout.splitlines()[-1])
        assert (found["uid"], found["gid"], found["version"]) == (10001, 10001, worker.__version__)
        assert found["compilers"] == []
        assert found["installers"] == []
        assert found["writable"] == []
        assert found["bytecode"] > 50, "the root may be read-only, so modules are compiled beforehand"
        told = buildah.run("run", container, "--", "/opt/dateline/bin/dateline", "--version")
        assert told.stdout.strip().endswith(f"dateline {worker.__version__}"), told.stdout + told.stderr
        line = 'echo \'{"title":"North Korea"}\' | dateline pipe'
        piped = buildah.run("run", container, "--", "sh", "-c", line)
        assert '"regions"' in piped.stdout, piped.stdout + piped.stderr
    finally:
        buildah.run("rm", container)
