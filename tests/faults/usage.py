"""What a process holds, by /proc; and whether it calls itself ready."""

from __future__ import annotations

import http.client
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one process at one moment."""

    threads: int
    fds: int
    rss_kib: int
    own_kib: int
    """Of that, what is no page of a file: only this can leak."""

    def __str__(self) -> str:
        return (
            f"{self.threads} threads, {self.fds} fds, {self.rss_kib / 1024:.1f} MiB"
            f" ({self.own_kib / 1024:.1f} of its own)"
        )


def usage(pid: int) -> Usage:
    """Return what process *pid* holds now. Raises: OSError: it is gone."""
    folder = Path(f"/proc/{pid}")
    resident, of_files = map(int, (folder / "statm").read_text("ascii").split()[1:3])
    kib = os.sysconf("SC_PAGE_SIZE") // 1024
    return Usage(
        threads=len(list((folder / "task").iterdir())),
        fds=len(list((folder / "fd").iterdir())),
        rss_kib=resident * kib,
        own_kib=(resident - of_files) * kib,
    )


def unready(host: str, port: int) -> str:
    """Return why the worker that answers there is not ready; empty when it is."""
    asked = http.client.HTTPConnection(host, port, timeout=5)
    try:
        asked.request("GET", "/readyz")
        answer = asked.getresponse()
        said = answer.read().decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    finally:
        with suppress(OSError):
            asked.close()
    return "" if answer.status == 200 else said or str(answer.status)
