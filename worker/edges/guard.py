"""
The one guard of every connection to the outside: which address may be asked, and which IP may be connected to.

`check` judges an address before it is parsed by anything else; `GuardedResolver` and `guarded_socket` judge the IP
at connect time, so that no second look-up can slip in between. The deny list is our own: ipaddress.is_global calls
`::127.0.0.1`, `64:ff9b::7f00:1` and 168.63.129.16 global.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import can_ada
from aiohttp.abc import AbstractResolver, ResolveResult

from worker.polling import FetchFailed, FetchReason

MAX_URL = 2048
PORTS = frozenset({80, 443, 8080, 8443})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")
_PRIVATE_NAMES = (
    "localhost local localdomain internal intranet private corp home lan arpa cluster.local svc onion invalid test"
).split()
_DENIED_V4 = [
    ip_network(net)
    for net in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24"
        " 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
        " 168.63.129.16/32"  # Azure's host endpoint: public by number, private by use
    ).split()
]
_GLOBAL_V6 = ip_network("2000::/3")
_DENIED_V6 = [
    ip_network(net)
    for net in (
        "2001::/23"  # IETF protocols: Teredo, benchmarking, ORCHID
        " 2001:db8::/32 2002::/16 3ffe::/16 3fff::/20"  # documentation, 6to4, the old 6bone
    ).split()
]
_NAT64 = ip_network("64:ff9b::/96")

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
OpenSocket = Callable[[AddressInfo], socket.socket]
Lookup = Callable[[str, int], Awaitable[list[str]]]


class AddressRefused(OSError):
    """A connection was about to be made to an address that is not public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An address that may be asked, in the one form that everything after the guard uses."""

    url: str
    scheme: str
    host: str
    port: int
    private: bool
    """It is the private host that was allowed: its IP is not checked."""


def check(url: str, *, private_host: str | None = None, ports: frozenset[int] = PORTS) -> Target | FetchFailed:
    """Judge *url* by its writing alone; *private_host* is exempt from the rules on names, IPs and ports."""
    if len(url) > MAX_URL:
        return _refuse(FetchReason.URL, f"longer than {MAX_URL} characters")
    if _FORBIDDEN.search(url):
        return _refuse(FetchReason.URL, "holds a space, a control character or a backslash")
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _refuse(FetchReason.URL, "has no scheme")
    if scheme[1].lower() not in _DEFAULT_PORTS:
        return _refuse(FetchReason.SCHEME, f"scheme {scheme[1][:20].lower()!r} is not http or https")
    if not url.startswith("//", scheme.end()):
        return _refuse(FetchReason.URL, "has no host")
    if "@" in re.split(r"[/?#]", url[scheme.end() + 2 :], maxsplit=1)[0]:
        return _refuse(FetchReason.URL, "holds a user name")
    try:
        parsed = can_ada.parse(url)
    except ValueError:
        return _refuse(FetchReason.URL, "cannot be parsed")
    return _check_parsed(parsed, private_host=private_host, ports=ports)


def _check_parsed(parsed: Any, *, private_host: str | None, ports: frozenset[int]) -> Target | FetchFailed:
    name, host = str(parsed.protocol).rstrip(":"), str(parsed.hostname).strip("[]").rstrip(".")
    if name not in _DEFAULT_PORTS or not host or parsed.has_credentials():
        return _refuse(FetchReason.URL, "cannot be parsed")
    port = int(parsed.port or _DEFAULT_PORTS[name])
    private = private_host is not None and host == private_host
    if not private:
        if why := _refused_host(host):
            return _refuse(FetchReason.SSRF, why)
        if port not in ports:
            return _refuse(FetchReason.PORT, f"port {port} is not allowed")
    return Target(url=str(parsed.href), scheme=name, host=host, port=port, private=private)


def host_of(url: str) -> str | None:
    """Return the host of *url* in the form in which `check` compares it, None when it has none."""
    try:
        return str(can_ada.parse(url).hostname).strip("[]").rstrip(".") or None
    except (ValueError, TypeError):  # TypeError: a lone surrogate
        return None


def refused_address(address: str) -> str | None:
    """Return why *address* (an IP, with or without a scope) is not public, None when it is."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "not an IP address"
    if isinstance(ip, IPv6Address):
        embedded = ip.ipv4_mapped
        if ip in _NAT64:  # what a DNS64 gives for a public IPv4 host in an IPv6-only cluster
            embedded = IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is None:
            public = ip in _GLOBAL_V6 and not any(ip in net for net in _DENIED_V6)
            return None if public else f"{ip} is not public"
        ip = embedded
    return f"{ip} is not public" if any(ip in net for net in _DENIED_V4) else None


def _refused_host(host: str) -> str | None:
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return refused_address(host)
    if "." not in host:
        return "a name without a dot is not public"
    if any(host == name or host.endswith(f".{name}") for name in _PRIVATE_NAMES):
        return "names under this suffix are not public"
    return None


def guarded_socket(info: AddressInfo) -> socket.socket:
    """Make the socket for one address that is about to be connected to. Raises: AddressRefused."""
    family, kind, protocol, _, address = info
    if family not in {socket.AF_INET, socket.AF_INET6}:
        raise AddressRefused("not an internet address")
    if why := refused_address(str(address[0])):
        raise AddressRefused(why)
    return socket.socket(family=family, type=kind, proto=protocol)


async def lookup(host: str, port: int) -> list[str]:
    """
    Return the IPs of *host*. Raises: OSError.

    A thread of its own each, and a daemon: a name server that hangs must hold up neither the other threads' work nor
    the end of the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def give(result: list[str] | OSError) -> None:
        if answer.done():
            return
        if isinstance(result, OSError):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def look() -> None:
        result: list[str] | OSError
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            result = list(dict.fromkeys(str(info[4][0]) for info in found))
        except UnicodeError as error:
            result = OSError(str(error))
        except OSError as error:
            result = error
        try:
            loop.call_soon_threadsafe(give, result)
        except RuntimeError:  # the loop has ended; nobody waits
            return

    threading.Thread(target=look, daemon=True, name="lookup").start()
    return await answer


class GuardedResolver(AbstractResolver):
    """Resolves names; a host with any address that is not public is refused as a whole (unless *private*)."""

    def __init__(self, look: Lookup = lookup, *, private: bool = False, at_once: int = 32) -> None:
        self._look = look
        self._private = private
        self._slots = asyncio.Semaphore(at_once)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host*. Raises: AddressRefused, OSError."""
        async with self._slots:
            addresses = await self._look(host, port)
        found: list[ResolveResult] = []
        for address in addresses:
            if not self._private and (why := refused_address(address)):
                raise AddressRefused(f"the name leads to {why}")
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family in {socket.AF_UNSPEC, kind}:
                found.append(
                    ResolveResult(
                        hostname=host,
                        host=address,
                        port=port,
                        family=kind,
                        proto=0,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                )
        if not found:
            raise OSError("the name has no address")
        return found

    async def close(self) -> None:
        """Nothing to release."""


def _refuse(reason: FetchReason, detail: str) -> FetchFailed:
    return FetchFailed(reason=reason, detail=detail)
