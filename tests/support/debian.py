"""
Get a program out of a Debian package without installing it, and without being root.

`apt-get download` needs no rights, only package lists; the packages are unpacked into the user's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


class NotToBeHad(Exception):
    """The program cannot be had here; says why, in a few words."""


def cache() -> Path:
    """Return the folder under which unpacked packages lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dateline" / "debs"


def unpack(
    package: str, *, libraries_of: tuple[str, ...] = (), also: tuple[str, ...] = (), recurse: bool = False
) -> Path:
    """
    Return the root of the unpacked *package*, together with *also* and the shared libraries that *libraries_of* need.

    *recurse*: and those that these need in turn. Raises: NotToBeHad.
    """
    root = cache() / package
    if (root / ".complete").exists():
        return root
    for tool in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(tool) is None:
            raise NotToBeHad(f"no {package} installed, and no {tool} to fetch its Debian package")
    if not _known(package):
        if os.geteuid() != 0:
            raise NotToBeHad(f"no {package} installed; apt has no package lists (run `apt-get update` as root)")
        _run(["apt-get", "update"])
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as work:
        wanted = [
            package,
            *also,
            *sorted({name for each in libraries_of for name in _libraries(each, recurse=recurse)}),
        ]
        _download(wanted, Path(work))
        part = Path(work) / "root"
        for deb in Path(work).glob("*.deb"):
            _run(["dpkg", "-x", str(deb), str(part)])
        (part / ".complete").touch()
        if not root.exists():  # another test run may have been faster
            part.rename(root)
    return root


def program(root: Path, name: str) -> tuple[Path, dict[str, str]]:
    """Return the path of program *name* under *root*, and the environment it needs. Raises: NotToBeHad."""
    path = next((found for each in ("bin", "sbin") if (found := root / "usr" / each / name).exists()), None)
    if path is None:
        raise NotToBeHad(f"the Debian package in {root} holds no {name}")
    libraries = sorted({str(found.parent) for found in root.glob("usr/lib/**/*.so*")})
    return path, {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def _known(package: str) -> bool:
    shown = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False)
    return "Candidate:" in shown.stdout and "Candidate: (none)" not in shown.stdout


def _libraries(package: str, *, recurse: bool) -> list[str]:
    only = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    command = ["apt-cache", "depends", *only, *(["--recurse"] if recurse else []), package]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    names = [line.split(":", 1)[1].strip() for line in shown.splitlines() if line.strip().startswith("Depends:")]
    return [name for name in names if name.startswith("lib") and not name.startswith(("libc6", "libllvm", "libgl1"))]


def _download(packages: list[str], folder: Path) -> None:
    try:
        _run(["apt-get", "download", *packages], folder)
    except NotToBeHad:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update"])  # the lists may be older than what the mirror still has
        _run(["apt-get", "download", *packages], folder)


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise NotToBeHad(f"{' '.join(command[:2])}: {said}")
