"""A network namespace with one cable to this machine and a packet filter; needs root, iproute2 and nftables."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Self

from tests.support import debian
from tests.support.services import ServiceUnavailable

_NAME = "network namespace"


class Namespace:
    """Made by `made`; `inside` is the address of its end of the cable, `outside` that of this machine's."""

    def __init__(self, name: str, net: str) -> None:
        self.name = name
        self.outside, self.inside = f"{net}.1", f"{net}.2"
        self._nft, self._environ = _nft()

    @property
    def within(self) -> tuple[str, ...]:
        """Return how the command line of a process in the namespace begins."""
        return ("ip", "netns", "exec", self.name)

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Self]:
        """Give a new one. Raises: ServiceUnavailable: this machine does not permit it."""
        if shutil.which("ip") is None:
            raise ServiceUnavailable(_NAME, "no ip (Debian package iproute2)")
        # Names of its own each time: the kernel takes its time to take an old one down.
        name = cable = f"dl{random.randrange(16**8):08x}"
        its = cls(name, f"10.213.{random.randrange(1, 255)}")
        try:
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "address", "add", f"{its.outside}/24", "dev", cable)
            _run("ip", "link", "set", cable, "up")
            _run(*its.within, "ip", "address", "add", f"{its.inside}/24", "dev", "eth0")
            _run(*its.within, "ip", "link", "set", "eth0", "up")
            _run(*its.within, "ip", "link", "set", "lo", "up")
            its.filter([])
            yield its
        finally:
            with contextlib.suppress(ServiceUnavailable):
                _run("ip", "link", "delete", cable)
            with contextlib.suppress(ServiceUnavailable):
                _run("ip", "netns", "delete", name)

    def filter(self, rules: Sequence[str]) -> None:
        """Apply *rules* of nftables instead of those before; each begins with the chain, `out` or `in`."""
        lines = [
            "add table inet fault",
            "delete table inet fault",
            "add table inet fault",
            "add chain inet fault out { type filter hook output priority 0; }",
            "add chain inet fault in { type filter hook input priority 0; }",
            *(f"add rule inet fault {rule}" for rule in rules),
        ]
        _run(*self.within, self._nft, "; ".join(lines), environ=self._environ)


def _nft() -> tuple[str, dict[str, str]]:
    installed = shutil.which("nft")
    if installed:
        return installed, dict(os.environ)
    try:
        root = debian.unpack("nftables", libraries_of=("nftables", "libnftables1"))
        path, environ = debian.program(root, "nft")
    except (debian.NotToBeHad, subprocess.TimeoutExpired, OSError) as error:
        raise ServiceUnavailable(_NAME, " ".join(str(error).split())) from error
    return str(path), environ


def _run(*command: str, environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[0]
        raise ServiceUnavailable(_NAME, f"{' '.join(command[:4])}: {said}")
