"""A client of the reference server's HTTP API. It repeats only those requests that are safe to repeat.

Every request has a connection of its own: one that was kept open and breaks would leave it unknown whether the server
got the request. The token goes to the target's origin and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from parity.case.target import Target, origin
from parity.remote.answers import Accepted, RequestResult, RequestStatus, Service, error_of, read_json, short
from pipelines.errors import TargetError

FIRST_CONTACT_S = 15.0
"""Seconds to try a server that never answered: it is down, or the address is wrong. A server that has answered may be
restarting: the client waits for it as long as the request may take, but once, not for every remaining case."""

MAX_ANSWER = 4 << 20
MAX_FILE = 256 << 20
"""Limit of a video in bytes: the largest that the API can produce has some tens of megabytes as WebP."""

_OF_PROXIES = (502, 504)
"""Statuses that a proxy answers if it does not know what became of a request."""
_FILE_TRIES = 5
"""The most downloads of a file that breaks off."""
_MAX_REDIRECTS = 5
_LONGEST_PAUSE_S = 30.0
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

OnWait = Callable[[str], None]
"""Called with the reason why the client waits; may raise to stop it."""
Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """A client of one server. Raises TargetError if the server fails, with its message quoted and tokens removed."""

    def __init__(self, target: Target, on_wait: OnWait = lambda _: None) -> None:
        self.target = target
        self.on_wait = on_wait
        self._token = target.token()
        self._secrets = {self._token} if self._token else set()
        self._answered = self._gave_up = False
        self._first_failure: float | None = None
        self._http = httpx.Client(
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"User-Agent": "wan-parity", "Accept-Encoding": "identity"},
            trust_env=not target.is_here,  # no proxy of the environment for a server on this machine
        )

    def close(self) -> None:
        self._http.close()

    def hide(self, secret: str | None) -> None:
        """Never quote this secret, even if the server does."""
        if secret:
            self._secrets.add(secret)

    def submit(self, body: Mapping[str, Any], deadline: float) -> str:
        """Send a request and return its id.

        It is sent again only if it was certainly not accepted, or if the server knows it by its key.
        """
        content = json.dumps(body).encode()
        key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
        for pause in _pauses():
            try:
                reply = self._ask("POST", "/v1/inference", deadline, content, key)
            except _NEVER_SENT as error:
                self._wait(pause, deadline, f"cannot be reached ({self._plain(error)})")
                continue
            except httpx.RequestError as error:
                reason = f"the connection broke after the request was sent ({self._plain(error)})"
                if not self._remembers_keys(deadline, reason):
                    raise self._error(f"{reason}: it may have been accepted, so it is not sent again") from None
                self._wait(pause, deadline, reason)
                continue
            if reply.status in (429, 503):
                self._wait(_retry_after(reply) or pause, deadline, self._answer(reply))
                continue
            if reply.status in _OF_PROXIES and self._remembers_keys(deadline, self._answer(reply)):
                self._wait(pause, deadline, self._answer(reply))
                continue
            if reply.status >= 500:
                raise self._error(f"{self._answer(reply)}; it may have been accepted, so it is not sent again")
            return self._read(reply, Accepted, "POST /v1/inference").request_id
        raise AssertionError("pauses never end")

    def _remembers_keys(self, deadline: float, reason: str) -> bool:
        """Ask the server whether a request with an `Idempotency-Key` that it knows is the same request.

        `parity serve` says so since 0.2; the reference server reads no such key. `reason`: why this is asked, in words.
        """
        for pause in _pauses():
            try:
                reply = self._ask("GET", "/", deadline)
            except httpx.RequestError:
                self._wait(pause, deadline, reason)
                continue
            if reply.status == 429 or reply.status >= 500:
                self._wait(_retry_after(reply) or pause, deadline, reason)
                continue
            try:
                return reply.status == 200 and Service.model_validate(read_json(reply.body)).idempotency_key_hours > 0
            except (ValidationError, ValueError):
                return False
        raise AssertionError("pauses never end")

    def status(self, request_id: str, deadline: float) -> RequestStatus | None:
        """A request's status; None if the server does not know the request."""
        return self._about(request_id, "status", RequestStatus, deadline)

    def result(self, request_id: str, deadline: float) -> RequestResult | None:
        """A request's result; None if the server does not know the request."""
        return self._about(request_id, "result", RequestResult, deadline)

    def cancel(self, request_id: str) -> bool:
        """Cancel a request. Returns whether the server confirms it. Only `parity serve` can; never raises."""
        try:
            path = f"/v1/requests/{quote(request_id, safe='')}/cancel"
            return self._ask("POST", path, time.monotonic() + 5.0, b"").status == 200
        except (httpx.RequestError, TargetError):
            return False

    def download(self, url: str, into: Path, deadline: float) -> str:
        """Download a result's `url` into a file. Returns the URL it came from.

        A URL of another origin is fetched from the target: a server behind a proxy does not know its own address.
        """
        where = self._moved(url)
        for number, pause in enumerate(_pauses(), 1):
            try:
                refused = self._fetch(where, into, deadline)
            except (httpx.InvalidURL, ValueError):
                raise self._error("the video's address is not a URL") from None
            except httpx.RequestError as error:
                reason = f"the video broke off ({self._plain(error)})"
                if number >= _FILE_TRIES:
                    raise self._error(f"{reason}, {number} times") from None
                self._wait(pause, deadline, reason)
                continue
            if refused is None:
                return where
            if refused.status != 429 and refused.status < 500:
                raise self._error(f"the video at {where}: {self._answer(refused)}")
            self._wait(_retry_after(refused) or pause, deadline, self._answer(refused))
        raise AssertionError("pauses never end")

    def _about(self, request_id: str, route: str, kind: type[Answer], deadline: float) -> Answer | None:
        path = f"/v1/requests/{quote(request_id, safe='')}/{route}"
        for pause in _pauses():
            try:
                reply = self._ask("GET", path, deadline)
            except httpx.RequestError as error:
                self._wait(pause, deadline, f"does not answer ({self._plain(error)})")
                continue
            if reply.status == 429 or reply.status >= 500:
                self._wait(_retry_after(reply) or pause, deadline, self._answer(reply))
                continue
            if reply.status == 404 and error_of(reply.body)[0] == "REQUEST_NOT_FOUND":
                return None
            return self._read(reply, kind, f"GET /v1/requests/…/{route}")
        raise AssertionError("pauses never end")

    def _ask(
        self,
        method: str,
        path: str,
        deadline: float,
        content: bytes | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> _Reply:
        """Send one request to the API and read the whole answer. Redirects are not followed."""
        url = self.target.url + path
        headers = {
            **self._headers(url),
            **({"Content-Type": "application/json"} if content is not None else {}),
            **more,
        }
        with self._http.stream(method, url, headers=headers, content=content, timeout=_timeout(deadline)) as reply:
            self._answered, self._gave_up = True, False
            return _Reply(reply.status_code, reply.headers, self._body(reply, deadline))

    def _body(self, reply: httpx.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in reply.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER:
                raise self._error(f"the answer is larger than {MAX_ANSWER >> 20} MiB")
            self._check(deadline)
        return bytes(body)

    def _fetch(self, url: str, into: Path, deadline: float) -> _Reply | None:
        """Fetch a file. Returns None if it was written, otherwise the server's answer."""
        for _ in range(_MAX_REDIRECTS + 1):
            with self._http.stream("GET", url, headers=self._headers(url), timeout=_timeout(deadline)) as reply:
                if reply.is_redirect:
                    url = urljoin(url, reply.headers.get("location", ""))
                    if urlsplit(url).scheme not in ("http", "https"):
                        raise self._error("the video's URL redirects to an address that is not http(s)")
                    continue
                if reply.status_code != 200:
                    return _Reply(reply.status_code, reply.headers, self._body(reply, deadline))
                self._save(reply, into, deadline)
                return None
        raise self._error(f"the video's URL redirects more than {_MAX_REDIRECTS} times")

    def _save(self, reply: httpx.Response, into: Path, deadline: float) -> None:
        too_large = self._error(f"the video is larger than {MAX_FILE >> 20} MiB")
        length = reply.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > MAX_FILE):
            raise too_large
        size = 0
        with into.open("wb") as file:
            for chunk in reply.iter_bytes():
                size += len(chunk)
                if size > MAX_FILE:
                    raise too_large
                self._check(deadline)
                file.write(chunk)

    def _headers(self, url: str) -> dict[str, str]:
        same_origin = origin(url) == origin(self.target.url)
        return {"Authorization": f"Bearer {self._token}"} if self._token and same_origin else {}

    def _moved(self, url: str) -> str:
        try:
            parts, base = urlsplit(url), urlsplit(self.target.url)
        except ValueError:
            raise self._error("the video's address is not a URL") from None
        if parts.scheme and origin(url) == origin(self.target.url):
            return url
        path = parts.path if parts.path.startswith(f"{base.path}/") else f"{base.path}/{parts.path.lstrip('/')}"
        return f"{base.scheme}://{base.netloc}{path}" + (f"?{parts.query}" if parts.query else "")

    def _read(self, reply: _Reply, kind: type[Answer], asked: str) -> Answer:
        if reply.status != 200:
            raise self._error(self._answer(reply))
        try:
            return kind.model_validate(read_json(reply.body))
        except (ValidationError, ValueError):
            raise self._error(f"{asked}: not an answer of this API; is the address right?") from None

    def _answer(self, reply: _Reply) -> str:
        """The answer in short: `answered 400 LORA_NOT_FOUND: …`."""
        code, message = error_of(reply.body)
        status = " ".join(part for part in (str(reply.status), code) if part)
        hint = ""
        if reply.status in (401, 403):
            hint = f" (the bearer token comes from ${self.target.token_variable}, "
            hint += "which is set)" if self._token else "which is not set)"
        elif 300 <= reply.status < 400:
            hint = (
                f" (it redirects to {short(reply.headers.get('location', 'nowhere'), 100)}: use that address instead)"
            )
        return f"answered {status}" + (f": {message}" if message else "") + hint

    def _wait(self, seconds: float, deadline: float, reason: str) -> None:
        """Wait before the next try. Raises TargetError once another try is pointless."""
        now = time.monotonic()
        self._first_failure = self._first_failure or now
        if self._gave_up or (not self._answered and now + seconds > self._first_failure + FIRST_CONTACT_S):
            self._gave_up = True
            raise self._error(reason)
        if now + seconds >= deadline:
            self._gave_up = True  # the next case will not wait either, until the server answers again
            raise self._error(f"{reason}; not done after {self.target.timeout:g} s (--target-timeout)")
        self.on_wait(f"{reason}; trying again")
        time.sleep(seconds)

    def _check(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise self._error(f"not done after {self.target.timeout:g} s (--target-timeout)")

    def _error(self, reason: str) -> TargetError:
        return TargetError(self.redacted(f"{self.target.url}: {reason}"))

    def redacted(self, text: str) -> str:
        """The server's text without the secrets that were sent to it."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    @staticmethod
    def _plain(error: Exception) -> str:
        return short(str(error), 120) or type(error).__name__


def _timeout(deadline: float) -> httpx.Timeout:
    """The timeout of every single wait for the network; the deadline is checked in between."""
    left = max(0.1, deadline - time.monotonic())
    return httpx.Timeout(min(60.0, left), connect=min(10.0, left))


def _pauses() -> Iterator[float]:
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 2, 5.0)


def _retry_after(reply: _Reply) -> float | None:
    """The seconds that the server asks to wait, if it does. A date, which none of these servers sends, is ignored."""
    with contextlib.suppress(ValueError, OverflowError):
        seconds = float(reply.headers.get("retry-after", ""))
        return min(max(seconds, 0.0), _LONGEST_PAUSE_S) if seconds == seconds else None
    return None
