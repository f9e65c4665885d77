"""A disk that a test can fill: a small tmpfs where we may mount one, else a limit on the size of files."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """A tmpfs at *folder*; where mounting is not permitted `mounted` is false and `fill` limits processes instead."""

    def __init__(self, folder: Path, options: str) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            self.mounted = False
        self._limited: set[int] = set()
        print(f"small disk: {'tmpfs, ' + options if self.mounted else 'RLIMIT_FSIZE'}")

    def fill(self, *pids: int, leave_bytes: int = 0) -> None:
        """Leave room for *leave_bytes* only; without a mount the files that *pids* write may not grow any more."""
        if not self.mounted:
            largest = max((file.stat().st_size for file in self.folder.rglob("*") if file.is_file()), default=0)
            for pid in pids:
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + leave_bytes, hard))
            self._limited.update(pids)
            return
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(4096))
            ballast.truncate(max(0, ballast.tell() - leave_bytes))

    def free(self) -> None:
        """Make room again."""
        (self.folder / "ballast").unlink(missing_ok=True)
        for pid in self._limited:
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    def use_up_inodes(self) -> list[Path]:
        """Make files until no more can be made; return them."""
        made: list[Path] = []
        while True:
            path = self.folder / f"inode{len(made)}"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return made
            made.append(path)

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[SmallDisk]:
    """Give a new disk at *folder*; it is gone afterwards."""
    disk = SmallDisk(folder, options)
    try:
        yield disk
    finally:
        disk.close()
