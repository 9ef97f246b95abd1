"""A server that answers a case's request with a hostile string: real HTTP on loopback, in a process of its own.

`python -m tests.hostile.answering` prints its port. What it answers stands in the target's address,
`http://127.0.0.1:PORT/WHERE/STRING` with the string in hexadecimal digits, so that it keeps nothing.
"""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from parity.case.load import DEMO
from tests.hostile.puts import nothing
from tests.hostile.session import Slot
from tests.support.paths import ROOT

VIDEO = sorted((DEMO / "jobs" / "t2v_basic" / "samples").glob("*_0.webp"))[0]
_LONGEST = 20_000
"""The most characters of a string that fits into an address, which holds it twice as long."""


def _refusal(**error: Any) -> dict[str, Any]:
    return {"detail": {"error": {"code": "NO", "message": "no", "details": {}} | error}}


def _video(base: str, /, **changes: Any) -> dict[str, Any]:
    usual = {
        "format": "webp",
        "width": 96,
        "height": 64,
        "num_frames": 9,
        "fps": 15,
        "seed": 42,
        "url": f"{base}/v.webp",
    }
    return {"status": "succeeded", "outputs": {"videos": [usual | changes]}}


Answer = tuple[bytes, dict[str, bytes], bytes]
"""Status line without its version, headers, body."""


def _json(body: Any, status: bytes = b"200 OK") -> Answer:
    return status, {"Content-Type": b"application/json"}, json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class _Said:
    """What the address says."""

    text: str
    raw: bytes
    """The same in bytes."""
    url: str


# What is answered to (POST inference, status, result, the video), where it is not as usual.
WHERE: dict[str, dict[str, Callable[[_Said], Answer]]] = {
    "reason of the status": {"inference": lambda hostile: (b"400 " + hostile.raw, {}, b"")},
    "a header's value": {
        "inference": lambda hostile: (b"400 no", {"X-Reason": hostile.raw, "Retry-After": hostile.raw}, b"")
    },
    "a header's name": {"inference": lambda hostile: (b"400 no", {"X-" + hostile.text: b"x"}, b"")},
    "where it redirects": {"inference": lambda hostile: (b"302 Found", {"Location": hostile.raw}, b"")},
    "the body": {"inference": lambda hostile: (b"500 no", {"Content-Type": b"text/html"}, hostile.raw)},
    "the type": {"inference": lambda hostile: (b"400 no", {"Content-Type": hostile.raw}, b"no")},
    "an error's code": {"inference": lambda hostile: _json(_refusal(code=hostile.text), b"400 no")},
    "an error's message": {"inference": lambda hostile: _json(_refusal(message=hostile.text), b"400 no")},
    "an error's details": {
        "inference": lambda hostile: _json(_refusal(details={hostile.text: hostile.text}), b"400 no")
    },
    "mistakes": {
        "inference": lambda hostile: _json({"detail": [{"loc": [hostile.text], "msg": hostile.text}]}, b"422 no")
    },
    "a plain error": {"inference": lambda hostile: _json({"detail": hostile.text}, b"401 no")},
    "a key more": {
        "inference": lambda hostile: _json({"request_id": "a", "status": "queued", hostile.text: hostile.text})
    },
    "the request's id": {"inference": lambda hostile: _json({"request_id": hostile.text, "status": hostile.text})},
    "the status": {"status": lambda hostile: _json({"status": hostile.text})},
    "failed, and why": {
        "status": lambda _: _json({"status": "failed"}),
        "result": lambda hostile: _json({"status": "failed", "error": hostile.text}),
    },
    "times": {
        "status": lambda hostile: _json({"status": "succeeded", "created_at": hostile.text, "started_at": hostile.text})
    },
    "the video's address": {"result": lambda hostile: _json(_video(hostile.url, url=hostile.text))},
    "the video's path": {"result": lambda hostile: _json(_video(hostile.url, url=None, file_path=hostile.text))},
    "the video's format": {"result": lambda hostile: _json(_video(hostile.url, format=hostile.text))},
    "the server's profile": {
        "result": lambda hostile: _json(
            _video(hostile.url) | {"metadata": {"profile": hostile.text, hostile.text: hostile.text}}
        )
    },
    "the video's error": {"v.webp": lambda hostile: _json(_refusal(message=hostile.text), b"404 no")},
    "where the video is": {"v.webp": lambda hostile: (b"302 Found", {"Location": hostile.raw}, b"")},
    "the video": {"v.webp": lambda hostile: (b"200 OK", {"Content-Type": b"image/webp"}, hostile.raw)},
}


class _Handler(socketserver.StreamRequestHandler):
    """One exchange."""

    def handle(self) -> None:
        line = self.rfile.readline(1 << 17).decode("latin-1")
        length = 0
        while (header := self.rfile.readline(1 << 17).strip()) != b"":
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        _, where, string, *rest = line.split(" ")[1].split("/")
        _, port = self.request.getsockname()
        url = f"http://127.0.0.1:{port}/{where}/{string}"
        raw = bytes.fromhex(string)
        status, headers, body = self._answer(list(WHERE)[int(where)], raw, url, rest[-1])
        self.wfile.write(b"HTTP/1.1 " + status + b"\r\n")
        for name_of, value in {"Content-Length": str(len(body)).encode(), "Connection": b"close", **headers}.items():
            self.wfile.write(name_of.encode("utf-8", "surrogatepass") + b": " + value + b"\r\n")
        self.wfile.write(b"\r\n" + body)

    def _answer(self, where: str, raw: bytes, url: str, route: str) -> Answer:
        special = WHERE[where].get(route)
        if special is not None:
            return special(_Said(raw.decode("utf-8", "surrogatepass"), raw, url))
        if route == "v.webp":
            return b"200 OK", {"Content-Type": b"image/webp"}, VIDEO.read_bytes()
        usual = {"inference": {"request_id": "a", "status": "queued"}, "status": {"status": "succeeded"}}
        return _json(usual.get(route, _video(url)))


@contextmanager
def answering() -> Iterator[str]:
    """Run the server; its address."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def answer_slots(url: str) -> Iterator[Slot]:
    """Places in the answers of the server at `url`."""
    for number, where in enumerate(WHERE):

        def command(texts: Sequence[str], number: int = number) -> list[str]:
            string = texts[0][:_LONGEST].encode("utf-8", "surrogatepass").hex()
            target = ["--target", f"{url}/{number}/{string}", "--target-timeout", "2", "--target-lora-root", "."]
            return ["run", "plain.yaml", *target, "--device", "cpu", "--out", "out"]

        yield Slot(
            kind="server's answer",
            where=where,
            command=command,
            put=nothing,
            environment={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "step.md"},
            torch=True,
        )


def main() -> None:
    """Serve for ever."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
