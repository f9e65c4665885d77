"""The folder of the embedded log and seen store: whether we may work in it, and what to say of a damaged file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from worker.ports import LogUnavailable, WrongSettings

LOG_FILE = "log.db"
SEEN_FILE = "seen.db"
_COMPANIONS = ("", "-wal", "-shm")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def ready(folder: Path) -> Path:
    """
    Make *folder* where it is missing, check that this user may write there, and return it.

    Raises: WrongSettings: not to be made, or not ours to write; LogUnavailable: its disk has no room for it now.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise LogUnavailable(f"data.dir {folder}: no room to make it; free space or inodes") from error
        raise WrongSettings(f"data.dir {folder} cannot be made: {error.strerror}") from error
    files = (folder / f"{name}{end}" for name in (LOG_FILE, SEEN_FILE) for end in _COMPANIONS)
    for path in (folder, *(file for file in files if file.exists())):
        if os.access(path, os.R_OK | os.W_OK | (os.X_OK if path == folder else 0)):
            continue
        try:
            why = _why_not(path)
        except FileNotFoundError:  # the last process to close a file takes its companions away
            continue
        raise WrongSettings(f"data.dir: {why}. Mend that, or set data.dir to a folder of your own")
    return folder


def _why_not(path: Path) -> str:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"{path} lies on a read-only file system"
    state = path.stat()
    return f"user {os.geteuid()} may not write {path}, of user {state.st_uid}, mode {state.st_mode & 0o777:o}"


def damaged(path: Path | str, error: object) -> str:
    """Return what to say of a file that SQLite cannot read: what it is, and the way out."""
    away = f"{Path(path).parent}/damaged"
    return (
        f"{path} is damaged, or not a file of ours ({error}). Stop all of Dateline, move it away:"
        f" `mkdir -p {away} && mv {path}* {away}/`, and start again; docs/operations.md, 'A damaged file', says what"
        " that costs"
    )
