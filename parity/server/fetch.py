"""Downloads an API user asked for: http(s) from public addresses only, whatever names and redirects say.

A name is resolved once, every address it has is checked, and the connection goes to a checked address, so that a name
that answers differently the next time (DNS rebinding) changes nothing. Proxies from the environment are not used.
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

MAX_REDIRECTS = 5
_CHUNK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
# Public by number, internal by use: the agent through which Azure serves its machines' settings.
# The others: networks that Python 3.11 does not know as special yet.
_INTERNAL = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class FetchError(MediaError):
    """An address that is not fetched, or did not give what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a download may cost and where it may go."""

    max_bytes: int
    seconds: float
    """From the first name looked up to the last byte."""
    allowed_hosts: frozenset[str] = frozenset()
    """Lower-case names that may have internal addresses."""


def system_resolve(host: str, port: int) -> list[str]:
    """Every address of a name. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Whether an address is reachable from anywhere: no loopback, private, link-local, reserved or embedded one."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.ipv4_mapped is not None or address in _NAT64:
            return is_public(str(embedded))
        if address not in _UNICAST or address.sixtofour is not None or address.teredo is not None:
            return False  # all that is in use; the two tunnels lead to any IPv4 address
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
    """Write what `url` gives into `target`.

    `stopped`: called between reads; raises to end the download. `resolve`: tests put their own in.
    Raises FetchError whose message names the host alone: addresses may carry signatures.
    """
    deadline = time.monotonic() + rules.seconds
    for _ in range(MAX_REDIRECTS + 1):
        parts = _checked(url)
        try:
            moved = _get(parts, target, rules, deadline, stopped, resolve)
        except FetchError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= deadline
            reason = f"took more than {rules.seconds:g} s" if late else _plain(error)
            raise FetchError(f"{parts.hostname}: could not be fetched: {reason}") from None
        if moved is None:
            return
        url = urljoin(url, moved)
    raise FetchError(f"{parts.hostname}: more than {MAX_REDIRECTS} redirects")


def _plain(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise FetchError("the address is no valid URL") from None
    if parts.scheme not in ("http", "https"):
        raise FetchError("only http and https addresses are fetched")
    if not host or port == 0 or any(c.isspace() or not c.isprintable() for c in url):
        raise FetchError("the address is no valid URL")
    if parts.username is not None or parts.password is not None:
        raise FetchError(f"{host}: addresses with a user name or password are not fetched")
    return parts


def _get(
    parts: SplitResult,
    target: BinaryIO,
    rules: Rules,
    deadline: float,
    stopped: Callable[[], None],
    resolve: Resolve,
) -> str | None:
    """One request. Returns where it was redirected to, or None when `target` holds the answer."""
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    stopped()
    addresses = _within(deadline, lambda: resolve(host, port))
    if host.lower().rstrip(".") not in rules.allowed_hosts:
        for address in addresses:
            if not is_public(address):
                raise FetchError(f"{host}: is an internal address, which requests may not reach (see --allow-host)")
    with contextlib.ExitStack() as closing:
        connection = closing.enter_context(_connected(host, addresses, port, secure, deadline))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", _quoted(path), headers={"Accept-Encoding": "identity", "User-Agent": "wan-parity"})
        reply = closing.enter_context(contextlib.closing(connection.getresponse()))
        if reply.status in _REDIRECTS:
            moved = reply.getheader("Location")
            if not moved:
                raise FetchError(f"{host}: redirects to nowhere")
            return moved
        if reply.status != 200:
            raise FetchError(f"{host}: answered HTTP {reply.status}")
        if reply.getheader("Content-Encoding", "identity") != "identity":
            raise FetchError(f"{host}: answered in an encoding that was not asked for")
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
    too_large = FetchError(f"{host}: is larger than {rules.max_bytes / (1 << 20):.3g} MiB")
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
    if time.monotonic() >= deadline:  # hung up: without a length that looks like the end
        raise TimeoutError
    if expected is not None and size != expected:
        raise FetchError(f"{host}: ended after {size} of {expected} bytes")


def _within(deadline: float, look_up: Callable[[], list[str]]) -> list[str]:
    """A name's addresses. Looking one up cannot be interrupted, so it is left behind when time is up."""
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
    """A connection to the first address that answers. Closed from outside at the deadline, whatever it is doing."""
    used = _connect(addresses, port, deadline)
    if secure:
        context = ssl.create_default_context()
        used = context.wrap_socket(used, server_hostname=host, do_handshake_on_connect=False)
    # A server that sends a byte now and then never runs into a socket's own timeout.
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
    with contextlib.suppress(OSError):  # hung up already
        # Not SSLSocket's own, which would drop the encryption under a thread that still reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
