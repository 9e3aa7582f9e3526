"""Connections to other machines: their addresses, proxies, and the certificate authorities that we trust."""

import base64
import http.client
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from certifi import where
from requests.utils import get_environ_proxies, select_proxy

from rushes.errors import InvalidInput, Problem

FIRST_SECONDS = 1.0
"""If a name has several addresses, each is first tried for only this long, because one may be unreachable."""

_EMBEDDED = {ip_network("::ffff:0:0/96"): 12, ip_network("64:ff9b::/96"): 12, ip_network("2002::/16"): 2}
"""IPv6 networks that stand for IPv4 addresses (mapped, NAT64, 6to4), and the first of the four bytes."""
_UNICAST = ip_network("2000::/3")
_SPECIAL = (ip_network("192.0.0.0/24"), ip_network("168.63.129.16/32"))  # not every Python knows the first; Azure's own
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


@dataclass(frozen=True)
class AllowedPlaces:
    """Hosts and networks that may be called although they are not public: the setting `RUSHES_URL_ALLOW`."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read host names, addresses and networks with commas between them. Raises `ValueError`."""
        names, networks = set(), []
        for place in filter(None, map(str.strip, text.lower().split(","))):
            try:
                networks.append(ip_network(place))
            except ValueError:
                if not _NAME.fullmatch(place):
                    raise ValueError("must be host names, addresses or networks with commas between them") from None
                names.add(place)
        return cls(frozenset(names), tuple(networks))

    def names_host(self, host: str) -> bool:
        """Return whether this host is named itself, or is an address that is allowed."""
        with suppress(ValueError):
            return any(ip_address(host) in network for network in self.networks)
        return host.lower() in self.names

    def admit(self, host: str, address: str) -> bool:
        """Return whether a connection to this host may go to this address."""
        ip = _unwrap(ip_address(address))
        return host.lower() in self.names or _is_public(ip) or any(ip in network for network in self.networks)


def trust_authorities(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a TLS context that verifies names and chains by the public authorities and those in `ca_file`."""
    context = ssl.create_default_context(cafile=where())
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def find_proxy(url: str) -> str | None:
    """Return the HTTP proxy for an https URL: that of HTTPS_PROXY or ALL_PROXY, unless NO_PROXY names the host.

    Plain HTTP never goes through a proxy: it stays on the machine or in the cluster. Raises `InvalidInput`.
    """
    proxy = select_proxy(url, get_environ_proxies(url)) if url.startswith("https://") else None
    if not proxy:
        return None
    scheme, separator, _ = proxy.partition("://")
    if separator and scheme != "http":
        raise InvalidInput([Problem("HTTPS_PROXY", "must be the address of an HTTP proxy, http://HOST:PORT")])
    return proxy if separator else f"http://{proxy}"


def is_loopback(url: str) -> bool:
    """Return whether the URL is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def hide_login(url: str) -> str:
    """Return the URL without user and password, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def connect(
    host: str,
    port: int,
    *,
    longest: float,
    limit: Callable[[float], float],
    admit: Callable[[str], bool] = lambda _: True,
) -> socket.socket:
    """Try each address of the host in turn: first each one briefly, then each one for longer. Raises `OSError`.

    An attempt lasts at most `longest` seconds, or less if `limit` says so. `limit` raises when the total time is up.
    An address that `admit` refuses is not tried.
    """
    failure: OSError = OSError("no address of this name is public or allowed by RUSHES_URL_ALLOW")
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = [each for each in addresses if admit(str(each[4][0]))]
    for seconds in (min(FIRST_SECONDS, longest), longest)[len(found) == 1 :]:
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(limit(seconds))
                sock.connect(address)
            except OSError as error:
                failure = error
                sock.close()
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
    raise failure


def open_tunnel(sock: socket.socket, place: str, *, proxy: SplitResult) -> None:
    """Ask the HTTP proxy at the other end of the socket to connect to `place`, a host and port. Raises `OSError`."""
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    with http.client.HTTPResponse(sock, method="CONNECT") as answer:
        answer.begin()
        if answer.status != http.client.OK:
            raise ConnectionError(f"the proxy (HTTPS_PROXY) answered {answer.status} and does not connect to {place}")


def check_networks(words: str) -> str:
    """Return a list of addresses and networks, such as `10.0.0.7, 10.1.0.0/16`. Raises `ValueError`."""
    try:
        for each in filter(None, (word.strip() for word in words.split(","))):
            ip_network(each)
    except ValueError as error:
        raise ValueError(f"must be IP addresses and networks, separated by commas: {error}") from None
    return words


def _unwrap(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    first = next((first for network, first in _EMBEDDED.items() if ip in network), 0)
    return IPv4Address(ip.packed[first : first + 4]) if first else ip


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    is_unicast = ip in _UNICAST or (ip.version == 4 and not ip.is_multicast)
    return ip.is_global and is_unicast and not any(ip in network for network in _SPECIAL)
