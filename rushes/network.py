"""Connections to other machines: their addresses, proxies, and the certificate authorities that we trust."""

import base64
import http.client
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from certifi import where
from requests.utils import get_environ_proxies, select_proxy

from rushes.errors import InvalidInput, Problem

FIRST_SECONDS = 1.0
"""If a name has several addresses, each is first tried for only this long, because one may be unreachable."""


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


def hide_login(url: str) -> str:
    """Return the URL without user and password, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def connect(host: str, port: int, *, longest: float, limit: Callable[[float], float]) -> socket.socket:
    """Try each address of the host in turn: first each one briefly, then each one for longer. Raises `OSError`.

    An attempt lasts at most `longest` seconds, or less if `limit` says so. `limit` raises when the total time is up.
    """
    failure: OSError = OSError("the name has no address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
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
