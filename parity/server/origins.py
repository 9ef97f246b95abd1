"""Which names the server answers to, and which web pages may ask it: none but its own.

Two attacks come through the browser of somebody who can reach the server. A page of another origin sends requests: as
long as they look like a form's they need no permission, and what is canceled is canceled though the page cannot read
the answer. And a page whose own name is made to resolve to this machine (DNS rebinding) has the server's origin to the
browser: only the name in `Host` tells. A token stops both, because no page has it; these checks hold without one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from parity.server.errors import ApiError
from parity.server.settings import Settings, is_loopback

_HOST = re.compile(r"(?P<name>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")

Header = tuple[bytes, bytes]
"""Name in lower case, and value, as ASGI has them."""


class Origins:
    """The names of one server, and the origin of its own pages."""

    def __init__(self, settings: Settings) -> None:
        base = urlsplit(settings.base_url) if settings.base_url is not None else None
        given = {base.hostname or ""} if base is not None else set()
        given |= settings.server_names
        self._has_token = settings.token is not None
        self._any_name = self._has_token and not given
        """A token is protection enough where nobody said by which names clients call the server."""
        self._names = {settings.host.lower(), *given}
        self._base = f"{base.scheme}://{base.netloc}".lower() if base is not None else None

    def objection(self, headers: Iterable[Header], *, probe: bool) -> ApiError | None:
        """Return why a request is not answered, by its headers; None if they are in order.

        `probe`: it asks for /health, which with a token answers to every name: probes know a pod by its address alone.
        """
        found: dict[bytes, list[str]] = {b"host": [], b"origin": [], b"sec-fetch-site": []}
        for name, value in headers:
            if name in found:
                found[name].append(value.decode("latin-1").strip().lower())
        hosts = found[b"host"]
        if not (self._answers_to(hosts) or (probe and self._has_token)):
            return ApiError(
                "HOST_NOT_ALLOWED",
                "this server does not answer to the name in `Host`: use localhost or the name of --base-url, or start "
                "it with --server-name NAME",
            )
        if self._is_foreign(found[b"origin"], found[b"sec-fetch-site"], hosts):
            return ApiError(
                "CROSS_ORIGIN",
                "a web page of another origin asked for this, and only the server's own pages may; to open it in a "
                "browser, type its address",
            )
        return None

    def _answers_to(self, hosts: list[str]) -> bool:
        if not hosts:  # HTTP/1.0, which no browser speaks
            return self._any_name
        match = _HOST.fullmatch(hosts[0])
        if match is None or len(hosts) > 1:
            return False
        name = match["name"].strip("[]").removesuffix(".")
        if self._any_name or name in self._names or is_loopback(name):
            return True
        return self._has_token and _is_address(name)

    def _is_foreign(self, origins: list[str], sites: list[str], hosts: list[str]) -> bool:
        """Check whether a browser says that another origin's page asks.

        `Sec-Fetch-Site` says it of every request, links included, but only to servers on this machine or behind TLS;
        `none` is an address that was typed. `Origin` comes with what is not a plain GET. Programs send neither.
        """
        if sites:
            return any(site not in ("same-origin", "none") for site in sites)
        own = {self._base, *(f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts)}
        return any(origin not in own for origin in origins)


def _is_address(name: str) -> bool:
    """Check for an IP address. A page whose origin is one was not rebound: no resolver is asked for it."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
