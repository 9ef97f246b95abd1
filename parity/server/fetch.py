"""Downloads for API clients: http(s) from public addresses only, also after redirects.

A name is resolved once, each of its addresses is checked, and the connection goes to a checked address, so that a name
that resolves differently the next time (DNS rebinding) has no effect. Proxies from the environment are not used.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pipelines.errors import MediaError
from pipelines.files.words import reason_of

MAX_REDIRECTS = 5
_CHUNK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
# The first is a public address with internal use: the agent that serves the settings of Azure's machines.
# The others are networks that Python 3.11 does not treat as special yet.
_INTERNAL = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class FetchError(MediaError):
    """A URL that is refused or could not be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The limits of a download, and the hosts that it may reach."""

    max_bytes: int
    seconds: float
    """The time limit, from the first name lookup to the last byte."""
    allowed_hosts: frozenset[str] = frozenset()
    """Lower-case names that may have internal addresses."""


def system_resolve(host: str, port: int) -> list[str]:
    """Return all addresses of a name. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Check that an address is public: not loopback, private, link-local, reserved or an embedded one of these."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.ipv4_mapped is not None or address in _NAT64:
            return is_public(str(embedded))
        if address not in _UNICAST or address.sixtofour is not None or address.teredo is not None:
            return False  # other ranges are not in use; the two tunnels reach any IPv4 address
    special = any(address in network for network in _INTERNAL if network.version == address.version)
    return address.is_global and not address.is_multicast and not special


def fetch(
    url: str,
    target: BinaryIO,
    rules: Rules,
    *,
    stopped: Callable[[], None] = lambda: None,
    resolve: Resolve = system_resolve,
) -> None:
    """Download `url` into `target`.

    `stopped` is called between reads and raises to end the download. `resolve` can be replaced in tests.
    Raises FetchError, whose message names only the host, because URLs can contain signatures.
    """
    deadline = time.monotonic() + rules.seconds
    for _ in range(MAX_REDIRECTS + 1):
        parts = _checked(url)
        try:
            redirect = _get(parts, target, rules, deadline, stopped, resolve)
        except FetchError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= deadline
            reason = f"took more than {rules.seconds:g} s" if late else reason_of(error)
            raise FetchError(f"{parts.hostname}: could not be fetched: {reason}") from None
        if redirect is None:
            return
        url = urljoin(url, redirect)
    raise FetchError(f"{parts.hostname}: more than {MAX_REDIRECTS} redirects")


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise FetchError("not a valid URL") from None
    if parts.scheme not in ("http", "https"):
        raise FetchError("only http and https URLs are fetched")
    if not host or port == 0 or any(c.isspace() or not c.isprintable() for c in url):
        raise FetchError("not a valid URL")
    if parts.username is not None or parts.password is not None:
        raise FetchError(f"{host}: URLs with a user name or password are not fetched")
    return parts


def _get(
    parts: SplitResult,
    target: BinaryIO,
    rules: Rules,
    deadline: float,
    stopped: Callable[[], None],
    resolve: Resolve,
) -> str | None:
    """Send one request. Returns the URL it was redirected to, or None if `target` holds the answer."""
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    stopped()
    addresses = _within(deadline, lambda: resolve(host, port))
    if host.lower().rstrip(".") not in rules.allowed_hosts:
        for address in addresses:
            if not is_public(address):
                raise FetchError(f"{host}: has an internal address, which requests must not reach (see --allow-host)")
    with contextlib.ExitStack() as closing:
        connection = closing.enter_context(_connected(host, addresses, port, secure, deadline))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", _quoted(path), headers={"Accept-Encoding": "identity", "User-Agent": "wan-parity"})
        reply = closing.enter_context(contextlib.closing(connection.getresponse()))
        if reply.status in _REDIRECTS:
            location = reply.getheader("Location")
            if not location:
                raise FetchError(f"{host}: redirects without saying where")
            return location
        if reply.status != 200:
            raise FetchError(f"{host}: answered HTTP {reply.status}")
        if reply.getheader("Content-Encoding", "identity") != "identity":
            raise FetchError(f"{host}: answered in an encoding that was not requested")
        _copy(reply, target, host, rules, deadline, stopped)
    return None


def _quoted(path: str) -> str:
    return quote(path, safe="%/:=&?~#+!$,;'@()*[]")


def _copy(
    reply: http.client.HTTPResponse,
    target: BinaryIO,
    host: str,
    rules: Rules,
    deadline: float,
    stopped: Callable[[], None],
) -> None:
    too_large = FetchError(f"{host}: larger than {rules.max_bytes / (1 << 20):.3g} MiB")
    expected = reply.length
    if expected is not None and expected > rules.max_bytes:
        raise too_large
    size = 0
    while chunk := reply.read1(_CHUNK):
        size += len(chunk)
        if size > rules.max_bytes:
            raise too_large
        stopped()
        if time.monotonic() >= deadline:
            raise TimeoutError
        target.write(chunk)
    if time.monotonic() >= deadline:  # closed at the deadline, which without a length looks like the end
        raise TimeoutError
    if expected is not None and size != expected:
        raise FetchError(f"{host}: ended after {size} of {expected} bytes")


def _within(deadline: float, look_up: Callable[[], list[str]]) -> list[str]:
    """Return the addresses of a name. A lookup cannot be interrupted, so its thread is abandoned at the deadline."""
    answer: list[list[str]] = []
    failure: list[Exception] = []

    def work() -> None:
        try:
            answer.append(look_up())
        except (OSError, ValueError) as error:  # ValueError: a name too long for DNS
            failure.append(error)

    thread = threading.Thread(target=work, name="resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if failure:
        raise failure[0]
    if not answer or not answer[0]:
        raise TimeoutError
    return answer[0]


@contextmanager
def _connected(
    host: str, addresses: list[str], port: int, secure: bool, deadline: float
) -> Iterator[http.client.HTTPConnection]:
    """Connect to the first address that answers. A timer closes the connection at the deadline in any case."""
    used = _connect(addresses, port, deadline)
    if secure:
        context = ssl.create_default_context()
        used = context.wrap_socket(used, server_hostname=host, do_handshake_on_connect=False)
    # A server that sends a byte now and then never triggers the socket's own timeout.
    alarm = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [used])
    alarm.daemon = True
    alarm.start()
    connection = http.client.HTTPConnection(host, port)
    try:
        if isinstance(used, ssl.SSLSocket):
            used.do_handshake()
            connection.default_port = 443
        connection.sock = used
        yield connection
    finally:
        alarm.cancel()
        connection.close()
        used.close()


def _connect(addresses: list[str], port: int, deadline: float) -> socket.socket:
    failure: OSError = TimeoutError()
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            connected = socket.create_connection((address, port), timeout=min(10.0, left))
        except OSError as error:
            failure = error
            continue
        connected.settimeout(max(0.1, deadline - time.monotonic()))
        return connected
    raise failure


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        # Not SSLSocket's own, which would drop the encryption under a thread that still reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
