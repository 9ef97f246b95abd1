"""Hostile strings sent to `parity serve`, in bodies, paths, headers and request lines: its answers and its log.

The server is the real command in a process of its own, with the tiny checkpoints.
"""

from __future__ import annotations

import copy
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from tests.hostile.laws import plain_problems, printed_problems
from tests.hostile.puts import inside, leaves
from tests.hostile.strings import Hostile
from tests.malformed.values import Place, replaced, show
from tests.support.serving import body, process

STATUSES = {200, 307, 400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 414, 415, 416, 422, 429, 431}
"""What may be answered to a client's mistake. 500 and above are the server's."""
LONGEST_ANSWER = 64 << 10
"""The most bytes of a refusal."""
_SECONDS = 10.0

Ask = Callable[[str], bytes]
"""The bytes of a whole HTTP request with a string in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A place in a request to the server."""

    where: str
    ask: Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back of one request."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of a string sent to the server."""

    where: str
    string: Hostile
    status: int
    seconds: float
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"server: {self.where}: {self.string.name}"


def request(method: str, path: str, content: bytes = b"", headers: str = "", kind: str = "application/json") -> bytes:
    """A whole request; nothing in it is escaped."""
    usual = f"Host: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
    return f"{method} {path} HTTP/1.1\r\n{usual}{headers}\r\n".encode("utf-8", "surrogatepass") + content


def posted(data: Any) -> bytes:
    return request("POST", "/v1/inference", json.dumps(data).encode())


_HEADERS = (
    *("Host", "Origin", "Authorization", "Idempotency-Key", "Range", "If-None-Match", "X-Request-Id", "Referer"),
    *("X-Forwarded-Host", "Cookie", "Accept", "Content-Length", "Transfer-Encoding"),
)


def doors() -> Iterator[Door]:
    """Every place in a request. None is generated: where the string may stand, another key is refused."""
    refused = body(request={"loras": [{"path": "t2v_basic/none.safetensors"}]})
    whole = refused | {"trigger_word": "p3r5on", "hf_token": "x", "negative_prompt": "x"}
    for spot in leaves(whole):
        yield Door(where=f"body, {show(spot)}", ask=partial(_in_body, whole, spot))
    holders: tuple[Place, ...] = ((), ("prompts", 0), ("loras", 0))
    for spot in holders:
        yield Door(where=f"body, a key of {show(spot) or 'all'}", ask=partial(_keyed, whole, spot))
    yield Door(where="body", ask=lambda text: request("POST", "/v1/inference", text.encode("utf-8", "surrogatepass")))
    yield Door(where="body, nested", ask=lambda text: posted({"model": [{text: [text]}], "prompts": {text: text}}))
    for route in ("status", "result", "cancel", "files/output_0.webp"):
        method = "POST" if route == "cancel" else "GET"
        yield Door(where=f"path, id of {route}", ask=partial(_in_path, method, f"/v1/requests/STRING/{route}"))
    yield Door(where="path, a file's name", ask=partial(_in_path, "GET", "/v1/requests/a/files/STRING"))
    yield Door(where="path, any", ask=partial(_in_path, "GET", "/STRING"))
    yield Door(where="path, nothing escaped", ask=lambda text: request("GET", f"/{text}"))
    yield Door(where="query", ask=partial(_in_path, "GET", "/health?STRING=STRING"))
    yield Door(where="method", ask=lambda text: request(text or "X", "/health"))
    yield Door(where="type", ask=lambda text: request("POST", "/v1/inference", b"{}", kind=_value(text)))
    for name in _HEADERS:
        yield Door(where=f"header, {name}", ask=partial(_in_header, name, True))
        yield Door(where=f"header, {name}, nothing escaped", ask=partial(_in_header, name, False))
    yield Door(where="header, its name", ask=lambda text: request("GET", "/health", headers=f"{text}: x\r\n"))


def _in_body(whole: Any, spot: Place, text: str) -> bytes:
    return posted(replaced(whole, spot, text))


def _in_path(method: str, path: str, text: str) -> bytes:
    return request(method, path.replace("STRING", quote(text.encode("utf-8", "surrogatepass"), safe="")))


def _in_header(name: str, one_line: bool, text: str) -> bytes:
    return request("GET", "/health", headers=f"{name}: {_value(text) if one_line else text}\r\n")


def _keyed(data: Any, spot: Place, text: str) -> bytes:
    changed = copy.deepcopy(data)
    inside(changed, spot)[text] = text
    return posted(changed)


def _value(text: str) -> str:
    """A header's value that keeps its line."""
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")


@contextmanager
def server(log: Path) -> Iterator[tuple[str, int]]:
    """The command in a process; its host and port. Its log is written to `log` afterwards."""
    with tempfile.TemporaryDirectory(prefix="served-") as temporary:
        data = Path(temporary) / "data"
        with process(data) as (_, client):
            address = urlsplit(str(client.base_url))
            yield str(address.hostname), int(address.port or 0)
        log.write_bytes((data.parent / f"{data.name}.log").read_bytes())


def served(strings: Sequence[Hostile], each: int, only: str = "") -> Iterator[Served]:
    """Send `each` strings through every door, the next ones through the next, then the server's log as a last one."""
    feeds = []
    place = 0
    for door in doors():
        for _ in range(each):
            string = strings[place % len(strings)]
            place += 1
            feeds.append((door, string))
    feeds = [(door, string) for door, string in feeds if only.lower() in f"server: {door.where}: {string.name}".lower()]
    if not feeds:
        return
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary) / "log"
        with server(log) as (host, port):
            for door, string in feeds:
                clock = time.monotonic()
                reply, found = _exchange(host, port, door.ask(string.text))
                found += [] if reply is None else reply_problems(reply)
                found += _still_there(host, port)
                yield Served(
                    where=door.where,
                    string=string,
                    status=0 if reply is None else reply.status,
                    seconds=time.monotonic() - clock,
                    problems=tuple(found),
                )
        log_found = log_problems(log.read_bytes())
        yield Served(where="its log", string=Hostile("all of them", ""), status=0, seconds=0, problems=tuple(log_found))


def reply_problems(reply: Reply) -> list[str]:
    """List what must not be in an answer."""
    found = [] if reply.status in STATUSES else [f"status {reply.status}: {reply.body[:200]!r}"]
    headers = {name.lower(): value for name, value in reply.headers}
    found += [f"a header {name!a} came of it" for name in headers if name in ("x-owned", "set-cookie")]
    for name, value in headers.items():
        found += plain_problems(f"header {name}", value)
    text = reply.body.decode("utf-8", "replace")
    kind = headers.get("content-type", "")
    if kind.startswith("application/json"):
        found += plain_problems("the answer", text)
        try:
            json.loads(text)
        except ValueError as error:
            found.append(f"the answer is no JSON: {error}")
    elif kind.startswith("text/html") and "swagger" not in text.lower():
        found.append(f"the answer is HTML: {text[:200]!a}")
    elif kind.startswith("text/plain"):
        found += plain_problems("the answer", text)
    if reply.status >= 400 and len(reply.body) > LONGEST_ANSWER:
        found.append(f"a refusal of {len(reply.body)} bytes")
    return found


def log_problems(data: bytes) -> list[str]:
    """List what must not stand in the server's log, whose lines are JSON."""
    found = printed_problems("log", data)
    for line in data.decode("utf-8", "replace").splitlines():
        try:
            json.loads(line)
        except ValueError:
            found.append(f"log: a line is no JSON: {line[:200]!a}")
            break
    return found


def _exchange(host: str, port: int, content: bytes) -> tuple[Reply | None, list[str]]:
    """Send bytes and read all that comes back. None: the server hung up without an answer, as it may on no HTTP."""
    received = bytearray()
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            try:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has answered already and listens no more
            while part := connection.recv(1 << 16):
                received += part
    except TimeoutError:
        return None, [f"no answer within {_SECONDS:g} s"]
    except OSError:
        pass
    if not received:
        return None, []
    head, _, text = bytes(received).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    try:
        return Reply(status=int(first.split(" ")[1]), headers=headers, body=text), []
    except (IndexError, ValueError):
        return None, [f"no HTTP: {first[:200]!a}"]


def _still_there(host: str, port: int) -> list[str]:
    try:
        status = httpx.get(f"http://{host}:{port}/health", timeout=_SECONDS, trust_env=False).status_code
    except httpx.HTTPError as error:
        return [f"/health does not answer any more: {type(error).__name__}"]
    return [] if status == 200 else [f"/health answers {status}"]
