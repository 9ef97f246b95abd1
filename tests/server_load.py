"""`parity serve` under attack: nothing gets through, memory stays bounded, /health keeps answering.

    python -m tests.server_load --requests 1000

One server process, its queue filled to the last place and beyond, while slow clients hold connections and bodies arrive
that are too large, too long or no request at all; then pictures that unpack to gigabytes and addresses that lead to the
inside. Prints what was measured. Exit code 1 if anything was answered otherwise than it should.
"""

from __future__ import annotations

import argparse
import base64
import io
import multiprocessing
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.support.serving import body, finished, generating_pid, process, submit

JSON = {"content-type": "application/json"}
MAX_GROWTH = 800
"""The memory in MiB above that after a first generation. The largest accepted picture takes 10 to 14 bytes a pixel."""


def watch(url: str, over: Event, seconds: Connection) -> None:
    """Measure /health during the attack, in a process of its own, because the attackers keep theirs busy."""
    found: list[float] = []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        while not over.wait(0.02):
            clock = time.perf_counter()
            assert client.get("/health").status_code == 200
            found.append(time.perf_counter() - clock)
    seconds.send(found)


def memory(pid: int, name: str) -> int:
    """MiB. VmRSS: now. VmHWM: the most since it was last reset."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) // 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def flood(client: httpx.Client, count: int) -> tuple[Counter[int], list[str]]:
    """Answers to `count` requests by several clients at once, by status, and the ids of those accepted."""
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda seed: client.post("/v1/inference", json=body(seed=seed)), range(count)))
    accepted = [reply.json()["request_id"] for reply in replies if reply.status_code == 200]
    return Counter(reply.status_code for reply in replies), accepted


def slow_client(url: httpx.URL, start: bytes) -> socket.socket:
    connection = socket.create_connection((url.host, url.port or 0))
    connection.sendall(start)
    return connection


def bad_bodies() -> dict[str, tuple[Callable[[], Any], int]]:
    """A body, and the status it should be answered with while the queue is full."""
    values = b'{"model":"wan21_14b","loras":[{"path":"a"}],"prompts":[' + b"{}," * (10 << 20) + b"{}]}"
    megabyte = b"A" * (1 << 20)
    image = b'{"model":"wan21_14b","loras":[],"prompts":[{"prompt":"a","ctrl_img":"' + megabyte * 30 + b'"}]}'

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield megabyte

    return {
        "200 MB, told before": (lambda: megabyte * 200, 413),
        "200 MB, not told": (endless, 413),
        "30 MB of empty prompts": (lambda: values, 422),
        "gzip": (lambda: zlib.compress(megabyte, wbits=31), 422),
        "nested 30 million deep": (lambda: b"[" * (30 << 20), 422),
        "30 MB of base64, no LoRA": (lambda: image, 400),
    }


def send(url: str, make: Callable[[], Any]) -> int:
    """The status. A server that has answered may hang up on who goes on sending."""
    try:
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            return client.post("/v1/inference", content=make(), headers=JSON).status_code
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return 0


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*it) for it in chunks) + rows + chunk(b"IEND", b"")


def saved(kind: str, size: tuple[int, int], mode: str = "1") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, kind)
    return out.getvalue()


def bombs() -> dict[str, bytes]:
    """Small files that claim or hold far more."""
    text = zlib.compress(bytes(64 << 20))
    bmp = struct.pack("<IiiHHIIiiII", 40, 2**21, 2**21, 1, 24, *[0] * 6)
    return {
        "PNG of 3,600 million pixels": png(60_000, 60_000),
        "PNG with 64 MB of text": png(64, 64, (b"zTXt", b"a\0\0" + text)),
        "PNG with a 64 MB profile": png(64, 64, (b"iCCP", b"a\0\0" + text)),
        "PNG of 52 million pixels": saved("PNG", (7200, 7200)),
        "GIF of 52 million pixels": saved("GIF", (7200, 7200), "L"),
        "WebP of 268 million pixels": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f" + bytes(9),
        "BMP of 4 million million pixels": b"BM" + bytes(12) + bmp,
        "TIFF of 52 million pixels": saved("TIFF", (7200, 7200)),
        "picture of a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }


def inner_addresses(port: int) -> list[str]:
    """Spellings of 127.0.0.1 other than its allowed name, and a few worse addresses."""
    hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "①②⑦.0.0.1",
        "localhost%2e",
    ]
    hosts += ["[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"]
    hosts += [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "10.0.0.1",
        "[fe80::1%25eth0]",
        "localhost%2e",
    ]
    urls = [f"http://{host}:{port}/picture" for host in hosts]
    redirects = [f"http://localhost:{port}/to/http://{host}:{port}/picture" for host in hosts]
    others = [f"https://127.0.0.1:{port}/picture", f"http://localhost:{port}/to/file:///etc/passwd"]
    return [*urls, *redirects, *others, f"http://user:pass@localhost:{port}/picture"]


@contextmanager
def inner_site() -> Iterator[tuple[int, list[str]]]:
    """A service on loopback that may be reached by its allowed name only, and the host names that were used."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.headers['Host'].rpartition(':')[0]}{self.path}")
            self.send_response(302 if self.path.startswith("/to/") else 200)
            if self.path.startswith("/to/"):
                self.send_header("Location", self.path[4:])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


@dataclass(slots=True)
class Report:
    """Lines of figures; `wrong` counts what should not have been."""

    wrong: int = 0

    def line(self, what: str, seen: object, good: bool) -> None:
        self.wrong += not good
        print(f"{'  ' if good else '! '}{what:44}{seen}", flush=True)


def main(requests: int, clients: int, at_once: int, pictures_and_addresses: bool = True) -> int:
    """`requests`: places in the queue. `clients`: slow ones of each kind. `at_once`: bodies. Returns the exit code."""
    report = Report()
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        port, asked = stack.enter_context(inner_site())
        limits = ("--queue-size", str(requests), "--allow-host", "localhost")
        running, client = stack.enter_context(process(data, *limits))
        for warm_up in (body(), i2v(saved("PNG", (64, 64)))):  # weights are loaded, as in any server that has served
            assert finished(client, submit(client, warm_up))["status"] == "succeeded"
        both = (running.pid, generating_pid(data))
        before = sum(memory(pid, "VmRSS") for pid in both)
        for pid in both:
            forget_peak(pid)
        spawn = multiprocessing.get_context("spawn")
        over, (mine, its) = spawn.Event(), spawn.Pipe(duplex=False)
        watcher = spawn.Process(target=watch, args=(str(client.base_url), over, its), daemon=True)
        watcher.start()
        try:
            fill_and_attack(report, client, requests, clients, at_once)
            so_far = sum(memory(pid, "VmHWM") for pid in both)
            if pictures_and_addresses:
                harmful_pictures(report, client)
                addresses(report, client, port, asked)
        finally:
            over.set()
            times = sorted(mine.recv())
            watcher.join()
        peak, after = (sum(memory(pid, name) for pid in both) for name in ("VmHWM", "VmRSS"))
        told = f"{before} MiB before, {so_far} at most by the queue, {peak} by pictures, {after} after"
        report.line("memory of both processes", told, peak - before < MAX_GROWTH)
        shown = (statistics.median(times), times[int(len(times) * 0.99)], times[-1])
        told = "median {:.0f} ms, 99 % {:.0f} ms, at most {:.0f} ms".format(*(it * 1000 for it in shown))
        report.line("/health", f"{told}, of {len(times)}", running.poll() is None)
    print("nothing got through" if not report.wrong else f"{report.wrong} not as they should be")
    return 1 if report.wrong else 0


def fill_and_attack(report: Report, client: httpx.Client, requests: int, clients: int, at_once: int) -> None:
    first = submit(client, body(num_frames=1000, sample_steps=150))  # runs for as long as all this takes
    seen, waiting = flood(client, requests - 1)
    report.line("requests into the queue", dict(seen), seen == {200: requests - 1})
    seen, _ = flood(client, 50)
    report.line("requests beyond it", dict(seen), seen == {429: 50})
    head = b"POST /v1/inference HTTP/1.1\r\nHost: localhost\r\n"
    begun = head + b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
    slow = [slow_client(client.base_url, start) for start in (head, begun) for _ in range(clients)]
    report.line("slow clients connected", len(slow), True)
    for name, (make, expected) in bad_bodies().items():
        with ThreadPoolExecutor(at_once) as pool:
            statuses = Counter(pool.map(lambda it: send(str(client.base_url), it), [make] * at_once))
        # 503: too much at once. 0: hung up on while still sending what was refused.
        report.line(f"{at_once} at once: {name}", dict(statuses), set(statuses) <= {expected, 503, 0})
    seen, _ = flood(client, 20)
    report.line("requests beyond the queue, amid all that", dict(seen), seen == {429: 20})
    for connection in slow:
        connection.close()
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda it: client.post(f"/v1/requests/{it}/cancel").status_code, [first, *waiting[:-5]]))
    report.line("canceled", dict(Counter(ends)), set(ends) == {200})
    states = Counter(finished(client, it)["status"] for it in waiting[-5:])
    report.line("the last five, drawn", dict(states), states == {"succeeded": 5})


def i2v(image: bytes | str) -> dict[str, Any]:
    text = image if isinstance(image, str) else base64.b64encode(image).decode()
    return body(model="wan21_i2v_14b", ctrl_img=text)


def harmful_pictures(report: Report, client: httpx.Client) -> None:
    for name, data in bombs().items():
        result = finished(client, submit(client, i2v(data)))
        report.line(name, result["error"], result["status"] == "failed")
    result = finished(client, submit(client, i2v(saved("PNG", (7000, 7000)))))
    report.line("PNG of 49 million pixels, which is allowed", result["status"], result["status"] == "succeeded")


def addresses(report: Report, client: httpx.Client, port: int, asked: list[str]) -> None:
    urls = inner_addresses(port)
    for key in ("ctrl_img", "lora"):
        asked.clear()
        wanted = [i2v(url) if key == "ctrl_img" else body(request={"loras": [{"path": url}]}) for url in urls]
        ids = [submit(client, request) for request in wanted]
        kinds = Counter(finished(client, it)["status"] for it in ids)
        inside = [it for it in asked if not it.startswith("localhost/to/")]
        report.line(f"{len(urls)} inner addresses as {key}", f"{dict(kinds)}, {len(inside)} reached", not inside)
        report.line("  of them failed", kinds["failed"], kinds["failed"] == len(urls))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="places in the queue (default: 1000)")
    parser.add_argument("--clients", type=int, default=100, help="slow clients of each kind (default: 100)")
    parser.add_argument("--at-once", type=int, default=4, help="bad bodies of each kind (default: 4)")
    sys.exit(main(**vars(parser.parse_args())))
