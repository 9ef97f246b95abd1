"""Downloads requested by API users: addresses that must never be reached, under any name, and the limits."""

from __future__ import annotations

import base64
import io
import shutil
import ssl
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from parity.case.load import DEMO
from parity.server.fetch import FetchError, Rules, fetch, is_public
from parity.server.inputs import check_image
from parity.server.settings import Limits
from pipelines.errors import MediaError
from tests.support.serving import PatientEngine, body, finished, settings_of, submit, thread

PICTURE = (DEMO / "jobs" / "i2v_basic" / "ctrl.png").read_bytes()
LORA = (DEMO / "jobs" / "t2v_basic" / "tiny_t2v.safetensors").read_bytes()


@dataclass(slots=True)
class Site:
    """A web server on loopback and the paths it was asked for."""

    port: int
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            if self.path.startswith("/to/"):
                self.send_response(302)
                self.send_header("Location", self.path[4:])
                self.end_headers()
            elif self.path.startswith("/dripping"):
                self.send_response(200)
                self.end_headers()
                while not stop.wait(0.05):
                    try:
                        self.wfile.write(b"x")
                    except OSError:
                        return
            elif self.path == "/drippinghead":
                while not stop.wait(0.05):
                    self.wfile.write(b"x")
            elif self.path == "/short":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"x")
            elif self.path == "/zipped":
                self.send_response(200)
                self.send_header("Content-Encoding", "gzip")
                self.end_headers()
            else:
                pages = {"/picture": PICTURE, "/lora": LORA, "/page": b"<!doctype html>", "/large": bytes(1 << 20)}
                data = pages.get(self.path)
                self.send_response(200 if data is not None else 404)
                self.end_headers()
                self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Site(server.server_address[1])
    running = threading.Thread(target=server.serve_forever)
    running.start()
    yield found
    stop.set()
    server.shutdown()
    server.server_close()
    running.join()


def got(
    url: str,
    *,
    max_bytes: int = 900_000,
    seconds: float = 20.0,
    allowed: str = "site.test",
    resolve: Callable[[str, int], list[str]] = lambda *_: ["127.0.0.1"],
) -> bytes:
    rules = Rules(max_bytes=max_bytes, seconds=seconds, allowed_hosts=frozenset({allowed}))
    out = io.BytesIO()
    fetch(url, out, rules, resolve=resolve)
    return out.getvalue()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # settings of cloud machines
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
    ],
)
def test_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
def test_no_spelling_reaches_this_machine(host: str, site: Site) -> None:
    before = len(site.asked)
    with pytest.raises(FetchError):
        fetch(f"http://{host}:{site.port}/picture", io.BytesIO(), Rules(max_bytes=1 << 20, seconds=20))
    assert len(site.asked) == before


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://site.test/a",
        "gopher://site.test/a",
        "http://",
        "http://site.test:99999/",
        "http://site.test:0/",
        "http://user:pass@site.test/",
        "http://site.test\r\nX: y/",
        "http://[::1/",
        "http://" + "a" * 300 + ".test/",
    ],
)
def test_invalid_addresses(url: str) -> None:
    with pytest.raises(FetchError):
        fetch(url, io.BytesIO(), Rules(max_bytes=1 << 20, seconds=20))


def test_an_allowed_host_is_fetched(site: Site) -> None:
    assert got(f"http://site.test:{site.port}/picture") == PICTURE
    assert got(f"http://SITE.test.:{site.port}/picture") == PICTURE
    assert got(f"http://site.test:{site.port}/to//picture") == PICTURE
    assert got(f"http://site.test:{site.port}/to/http://site.test:{site.port}/picture") == PICTURE


def test_redirects_are_judged_each(site: Site) -> None:
    for inner in ("127.0.0.1", "localhost", "other.test"):
        before = len(site.asked)
        with pytest.raises(FetchError, match="internal address"):
            got(f"http://site.test:{site.port}/to/http://{inner}:{site.port}/picture")
        assert len(site.asked) == before + 1
    with pytest.raises(FetchError, match="only http"):
        got(f"http://site.test:{site.port}/to/file:///etc/passwd")
    with pytest.raises(FetchError, match="redirects"):
        got(f"http://site.test:{site.port}" + "/to/" * 30)


def test_a_name_is_looked_up_once_and_that_address_is_used(site: Site) -> None:
    """DNS rebinding: public when checked, loopback when used."""
    answers = [["192.0.2.1"], ["127.0.0.1"]]
    asked = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), 2) - 1]

    before = len(site.asked)
    with pytest.raises(FetchError):
        got(f"http://rebound.test:{site.port}/picture", seconds=3, resolve=rebinding)
    assert asked == ["rebound.test"]
    assert len(site.asked) == before


def test_one_internal_address_among_public_ones_is_enough(site: Site) -> None:
    before = len(site.asked)
    with pytest.raises(FetchError, match="internal address"):
        got(f"http://two.test:{site.port}/picture", resolve=lambda *_: ["93.184.216.34", "127.0.0.1"])
    assert len(site.asked) == before


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone", "HTTP 404"),
        ("large", "larger than"),
        ("short", "1 of 100 bytes"),
        ("zipped", "encoding"),
        ("to/", "redirects without saying where"),
    ],
)
def test_answers_that_are_refused(path: str, reason: str, site: Site) -> None:
    with pytest.raises(FetchError, match=reason):
        got(f"http://site.test:{site.port}/{path}")


@pytest.mark.parametrize("path", ["dripping", "drippinghead"])
def test_a_server_that_drips_is_given_up_in_time(path: str, site: Site) -> None:
    begun = time.monotonic()
    with pytest.raises(FetchError, match="took more than"):
        got(f"http://site.test:{site.port}/{path}", seconds=0.5)
    assert time.monotonic() - begun < 15


def test_a_resolver_that_hangs_is_left_behind() -> None:
    never = threading.Event()

    def hanging(_host: str, _port: int) -> list[str]:
        never.wait(30)
        return []

    with pytest.raises(FetchError, match="took more than"):
        got("http://hanging.test/", seconds=0.2, resolve=hanging)
    never.set()


def test_messages_hide_the_address(site: Site) -> None:
    with pytest.raises(FetchError) as caught:
        got(f"http://site.test:{site.port}/gone?signature=secret")
    assert "secret" not in str(caught.value)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [bomb(20_000, 20_000), bomb(60_000, 60_000), b"", b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
)
def test_invalid_pictures(data: bytes) -> None:
    with pytest.raises(MediaError):
        check_image(data, 50_000_000)


@contextmanager
def serving(folder: Path, limits: Limits | None = None) -> Iterator[httpx.Client]:
    """A server that may fetch from `site.test`, which is this machine."""
    engine = PatientEngine()
    for _ in range(100):
        engine.steps.release()
    changes = settings_of(folder, allowed_hosts=frozenset({"site.test"}), limits=limits or Limits())
    with thread(changes, engine, lambda *_: ["127.0.0.1"]) as client:
        yield client


def test_control_images_of_requests(site: Site, tmp_path: Path) -> None:
    encoded = base64.b64encode(PICTURE).decode()
    secret = tmp_path / "secret.png"
    secret.write_bytes(PICTURE)
    taken = [encoded, f"data:image/png;base64,{encoded}", f"http://site.test:{site.port}/picture"]
    refused = {
        f"http://127.0.0.1:{site.port}/picture": "internal address",
        f"http://site.test:{site.port}/page": "not an image",
        f"http://site.test:{site.port}/large": "larger than",
        "A" * 2_000_000: "larger than",
        base64.b64encode(bomb(20_000, 20_000)).decode(): "pixels",
        "/etc/hostname": "neither",
        str(secret): "neither",  # a path of the server's machine is none of a client's business
        f"file://{secret}": "neither",
        "httpx": "valid URL|only http",
    }
    with serving(tmp_path / "data", limits=Limits(image=900_000)) as client:
        for image in taken:
            result = finished(client, submit(client, body(model="wan21_i2v_14b", ctrl_img=image)))
            assert result["status"] == "succeeded", result
        for image, reason in refused.items():
            result = finished(client, submit(client, body(model="wan21_i2v_14b", ctrl_img=image)))
            assert result["status"] == "failed"
            assert any(word in result["error"] for word in reason.split("|")), result
        before = len(site.asked)
        finished(client, submit(client, body(ctrl_img=f"http://site.test:{site.port}/picture")))
        assert len(site.asked) == before  # a T2V model has no use for it


def test_loras_by_address(site: Site, tmp_path: Path) -> None:
    def result_of(client: httpx.Client, path: str) -> str:
        loras = {"loras": [{"path": path}]}
        result = finished(client, submit(client, body(request=loras)))
        return str(result["error"] or result["status"])

    with serving(tmp_path / "data") as client:
        root = f"http://site.test:{site.port}"
        assert result_of(client, f"{root}/lora") == "succeeded"
        assert "web page" in result_of(client, f"{root}/page")
        assert "not a safetensors file" in result_of(client, f"{root}/picture")
        assert "internal address" in result_of(client, f"http://localhost:{site.port}/lora")
        assert not list((tmp_path / "data" / "downloads").iterdir())
    with serving(tmp_path / "less", limits=Limits(lora=1000)) as client:
        assert "larger than" in result_of(client, f"{root}/lora")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize(("host", "reason"), [("site.test", None), ("other.test", "certificate")])
def test_certificates_are_for_the_name_not_the_address(
    host: str, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site.test", "-days", "2"]
    make += ["-addext", "subjectAltName=DNS:site.test", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Host"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"safe")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that refuses the certificate is what is tested."""

    with Server(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        running = threading.Thread(target=server.serve_forever)
        running.start()
        try:
            url = f"https://{host}:{server.server_address[1]}/"
            if reason is None:
                assert got(url) == b"safe"
                assert asked == [f"site.test:{server.server_address[1]}"]
            else:
                with pytest.raises(FetchError, match=reason):
                    got(url, allowed=host)
        finally:
            server.shutdown()
            running.join()
