"""
Where a worker's rules come from, folder or address, looked at again and again: they count only when all are right.

An address gives a .tar.gz of the folder (`tar czf rules.tar.gz -C taxonomy .`). The last good one is kept in data.dir,
so that a restart does not depend on whoever serves it. An archive with anything but the YAML files of a taxonomy is
refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from worker.edges.taxonomy import load_taxonomy, taxonomy_version
from worker.edges.yaml_file import Fault, FileFaults
from worker.polling import Fetched, RemoteAway
from worker.ruleset import Taxonomy

if TYPE_CHECKING:  # a worker whose rules lie in a folder needs no HTTP client
    from worker.edges.remote_file import RemoteFile

logger = logging.getLogger(__name__)
MAX_BYTES = 16 * 1024 * 1024
MAX_UNPACKED = 64 * 1024 * 1024
MAX_FILES = 5000
_NAME = re.compile(r"(?:(?:topics|regions\.d)/)?[A-Za-z0-9_-][A-Za-z0-9._-]*\.yaml")
_KEPT = "taxonomy-"


class TaxonomySource(Protocol):
    """Gives the rules, and later what became of them; any thread may ask, one at a time."""

    def first(self) -> Taxonomy:
        """Return the rules. Raises: FileFaults: they are wrong; RemoteAway: ask again later."""

    def changed(self) -> Taxonomy | None:
        """Return the rules if they are others than were last taken, else None. Raises: as `first`."""

    def take(self) -> None:
        """Note that what `changed` gave last is in force."""


class FolderSource:
    """A folder beside the shipped rules, or these alone; in a cluster one that a ConfigMap is mounted as."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._taken = self._seen = ""

    def first(self) -> Taxonomy:
        taxonomy = load_taxonomy(self._folder)
        self._taken = taxonomy.version
        return taxonomy

    def changed(self) -> Taxonomy | None:
        if self._folder is None or taxonomy_version(self._folder) == self._taken:
            return None
        taxonomy = load_taxonomy(self._folder)
        self._seen = taxonomy.version
        return taxonomy

    def take(self) -> None:
        self._taken = self._seen


class ArchiveSource:
    """An address that gives an archive; its last good one lies unpacked in *folder*."""

    def __init__(self, remote: RemoteFile, *, folder: Callable[[], Path]) -> None:
        self._remote = remote
        self._folder = folder
        self._seen: Fetched | None = None

    def first(self) -> Taxonomy:
        try:
            taxonomy = self.changed()
        except (FileFaults, RemoteAway) as error:
            kept = self._kept()
            if kept is None:
                raise
            logger.warning("the last good taxonomy is used", extra={"reason": str(error)})
            return kept
        if taxonomy is None:
            raise RemoteAway("the server gave nothing")
        self.take()
        return taxonomy

    def changed(self) -> Taxonomy | None:
        answer = asyncio.run(self._remote.changed())
        if answer is None:
            return None
        folder = self._place(answer)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".taxonomy-") as work:
                draft = Path(work) / "rules"
                self._unpack(answer.body, draft)
                self._load(draft)  # before it gets a name under which a restart would find it
                draft.replace(folder)
        taxonomy = self._load(folder)
        self._seen = answer
        return taxonomy

    def take(self) -> None:
        if self._seen is None:
            return
        self._remote.take(self._seen.body, self._seen)
        for other in self._folder().glob(f"{_KEPT}*"):
            if other != self._place(self._seen):
                shutil.rmtree(other, ignore_errors=True)

    def _place(self, answer: Fetched) -> Path:
        return self._folder() / f"{_KEPT}{hashlib.sha256(answer.body).hexdigest()[:16]}"

    def _kept(self) -> Taxonomy | None:
        for folder in sorted(self._folder().glob(f"{_KEPT}*"), key=lambda path: path.stat().st_mtime, reverse=True):
            try:
                return self._load(folder)
            except FileFaults:
                continue
        return None

    def _load(self, folder: Path) -> Taxonomy:
        try:
            return load_taxonomy(folder)
        except FileFaults as error:
            raise FileFaults([self._fault(fault.reason, fault.file, fault.line) for fault in error.faults]) from error

    def _unpack(self, body: bytes, folder: Path) -> None:
        try:
            members = dict(_members(body))
        except (tarfile.TarError, zlib.error, ValueError) as error:
            raise FileFaults([self._fault(f"not a .tar.gz of a taxonomy: {error}")]) from error
        try:
            for name, content in members.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        except OSError as error:
            raise RemoteAway(f"it cannot be unpacked: {error}") from error

    def _fault(self, reason: str, file: str = "", line: int = 0) -> Fault:
        return Fault(file=f"{self._remote.url} {Path(file).name}".strip(), line=line, reason=reason)


def _members(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file in an archive. Raises: ValueError, tarfile.TarError, zlib.error."""
    unpacker = zlib.decompressobj(wbits=31)
    plain = unpacker.decompress(body, MAX_UNPACKED)
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError(f"it is cut off, or larger than {MAX_UNPACKED} bytes")
    found = 0
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isdir():
                continue
            if not member.isfile() or not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no file of a taxonomy (*.yaml, topics/*.yaml, regions.d/*.yaml)")
            found += 1
            if found > MAX_FILES:
                raise ValueError(f"more than {MAX_FILES} files")
            content = archive.extractfile(member)
            if content is not None:
                yield name, content.read()
    if not found:
        raise ValueError("it holds no file")
