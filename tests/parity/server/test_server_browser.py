"""What a web page can do to a server on its visitor's machine: nothing. Real pages of other origins in Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from pipelines.engine.stages import OnStep
from pipelines.media.video import Frames
from pipelines.recipe import Recipe
from tests.support.serving import PatientEngine, body, finished, settings_of, submit, thread, until

FOREIGN = ("localhost", "evil.example")
"""Hosts of the page: another port of this machine, and another site, whose name `chromium` resolves to this machine."""


class _Empty(BaseHTTPRequestHandler):
    """Any path is an empty page, whose every request may go anywhere."""

    def do_GET(self) -> None:
        page = b"<!doctype html><title>a page</title><body></body>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of another server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Empty) as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        yield server.server_port
        server.shutdown()
        running.join()


class _LastingEngine(PatientEngine):
    """Waits for the test however long it takes."""

    def generate(self, recipe: Recipe, on_step: OnStep | None = None, token: str | None = None) -> Frames:
        self.steps.acquire()
        self.steps.release()
        return super().generate(recipe, on_step, token)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server without a token."""
    engine = _LastingEngine()
    engine.steps.release()
    with thread(settings_of(tmp_path_factory.mktemp("serve")), engine) as client:
        yield client


@pytest.fixture(scope="module")
def done(client: httpx.Client) -> str:
    """The id of a request with a result."""
    request_id = submit(client, body())
    assert finished(client, request_id)["status"] == "succeeded"
    return request_id


@pytest.fixture(scope="module")
def waiting(client: httpx.Client, done: str) -> str:
    """The id of a request that is not over until it is canceled."""
    del done
    submit(client, body(sample_steps=2))
    return submit(client, body(sample_steps=2))


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture(params=FOREIGN)
def foreign(request: pytest.FixtureRequest, page: Page, elsewhere: int) -> Page:
    """A page of another origin."""
    page.goto(f"http://{request.param}:{elsewhere}/")
    return page


def refused(client: httpx.Client) -> int:
    """How many requests were answered with 403."""
    lines = client.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("parity_http_requests_total{") and 'status="403"' in line]
    return int(sum(float(line.split()[-1]) for line in counts))


def state(client: httpx.Client, request_id: str) -> str:
    return str(client.get(f"/v1/requests/{request_id}/status").json()["status"])


ASK = """async ([url, options]) => {
    try { const reply = await fetch(url, options); return reply.type } catch (error) { return error.name }
}"""
"""The kind of an answer, if the browser hands one over."""


def test_a_foreign_page_cannot_cancel_without_cors(foreign: Page, client: httpx.Client, waiting: str) -> None:
    before = refused(client)
    url = f"{client.base_url}/v1/requests/{waiting}/cancel"
    answer = foreign.evaluate(ASK, [url, {"method": "POST", "mode": "no-cors"}])
    assert (answer, state(client, waiting), refused(client) - before) == ("TypeError", "in_queue", 1)


def test_a_foreign_page_cannot_cancel_by_a_beacon(foreign: Page, client: httpx.Client, waiting: str) -> None:
    before = refused(client)
    url = f"{client.base_url}/v1/requests/{waiting}/cancel"
    assert foreign.evaluate("url => navigator.sendBeacon(url)", url)
    until(lambda: refused(client) == before + 1)
    assert state(client, waiting) == "in_queue"


@pytest.mark.parametrize("path", ["v1/requests/{}/cancel", "v1/inference"])
@pytest.mark.parametrize("sandbox", [False, True], ids=["form", "form of an origin without a name"])
def test_a_foreign_form_is_refused(foreign: Page, path: str, sandbox: bool, client: httpx.Client, waiting: str) -> None:
    before = refused(client)
    url = f"{client.base_url}/{path.format(waiting)}"
    form = f"<form method=post enctype=text/plain action=\"{url}\"><input name='{{\"a' value='\":1}}'></form>"
    script = "<script>document.forms[0].submit()</script>"
    framed = """([page, sandbox]) => {
        const frame = document.createElement('iframe');
        if (sandbox) frame.sandbox = 'allow-scripts allow-forms';
        frame.srcdoc = page;
        document.body.append(frame);
    }"""
    foreign.evaluate(framed, [form + script, sandbox])
    until(lambda: refused(client) == before + 1)
    assert state(client, waiting) == "in_queue"


def test_a_foreign_page_gets_no_permission(foreign: Page, client: httpx.Client) -> None:
    """What is not a simple request is asked for first (OPTIONS), and no answer allows it or may be read."""
    url = f"{client.base_url}/"
    json = {"method": "POST", "headers": {"content-type": "application/json"}, "body": "{}"}
    for path, options in (("v1/inference", json), ("v1/models", {"headers": {"x": "y"}}), ("v1/models", {})):
        assert foreign.evaluate(ASK, [url + path, options]) == "TypeError"
    preflight = client.options(
        "/v1/inference",
        headers={
            "origin": "http://evil.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        },
    )
    assert preflight.status_code == 403
    assert not [name for name in preflight.headers if name.startswith("access-control-")]


def test_a_foreign_page_shows_no_picture_and_learns_no_size(foreign: Page, client: httpx.Client, done: str) -> None:
    url = f"{client.base_url}/v1/requests/{done}/files/output_0.webp"
    shown = """url => new Promise(done => {
        const picture = new Image();
        picture.onload = () => done(picture.naturalWidth);
        picture.onerror = () => done('refused');
        picture.src = url;
    })"""
    assert foreign.evaluate(shown, url) == "refused"


@pytest.mark.parametrize("kind", ["WebSocket", "EventSource"])
def test_a_foreign_page_opens_no_stream(foreign: Page, kind: str, client: httpx.Client) -> None:
    before = refused(client)
    url = f"{client.base_url}/v1/models"
    opened = """([kind, url]) => new Promise(done => {
        const stream = new window[kind](url);
        stream.onopen = () => done('open');
        stream.onerror = () => done('refused');
    })"""
    assert foreign.evaluate(opened, [kind, url.replace("http:", "ws:") if kind == "WebSocket" else url]) == "refused"
    assert refused(client) == before + 1


def test_a_foreign_page_frames_nothing_and_leads_nowhere(foreign: Page, client: httpx.Client) -> None:
    url = f"{client.base_url}/docs"
    with foreign.expect_response(url) as framed:
        foreign.evaluate(
            "url => document.body.append(Object.assign(document.createElement('iframe'), {src: url}))", url
        )
    assert framed.value.status == 403
    with foreign.expect_response(url) as followed:
        foreign.evaluate("url => { location.href = url }", url)
    assert followed.value.status == 403
    assert "type its address" in followed.value.text()


def test_a_name_that_is_made_to_resolve_to_this_machine_is_refused(
    page: Page, client: httpx.Client, waiting: str
) -> None:
    """DNS rebinding: to the browser the page and the server have one origin, so only the name tells."""
    origin = f"http://evil.example:{client.base_url.port}"

    def first(route: Route) -> None:
        route.fulfill(body="<!doctype html><title>before the name moved</title>", content_type="text/html")

    page.route(f"{origin}/page", first)
    page.goto(f"{origin}/page")
    asked = """async ([path, method]) => {
        const reply = await fetch(path, {method});
        return [reply.status, (await reply.json()).detail.error.code];
    }"""
    for method, path in (("GET", "/health"), ("GET", f"/v1/requests/{waiting}/status"), ("POST", "/v1/inference")):
        assert page.evaluate(asked, [path, method]) == [400, "HOST_NOT_ALLOWED"]
    assert page.evaluate(asked, [f"/v1/requests/{waiting}/cancel", "POST"]) == [400, "HOST_NOT_ALLOWED"]
    assert state(client, waiting) == "in_queue"


def test_a_page_of_the_server_itself_may_ask(page: Page, client: httpx.Client, done: str) -> None:
    """The documentation's page sends requests, and a video can be looked at by typing its address."""
    reply = page.goto(f"{client.base_url}/v1/models")
    assert reply is not None
    assert reply.status == 200
    page.route(
        f"{client.base_url}/page", lambda route: route.fulfill(body="<title>a</title>", content_type="text/html")
    )
    page.goto(f"{client.base_url}/page")
    asked = "async ([path, method]) => (await fetch(path, {method})).status"
    assert page.evaluate(asked, ["/v1/models", "GET"]) == 200
    assert page.evaluate(asked, [f"/v1/requests/{done}/cancel", "POST"]) == 409


def test_the_documentation_runs_no_other_script(page: Page, client: httpx.Client) -> None:
    """Whatever the CDN delivers today: its hash is not that of the script that was looked at."""

    def deliver(route: Route) -> None:
        route.fulfill(
            body="document.title = 'run'",
            content_type="text/javascript",
            headers={"access-control-allow-origin": "*"},
        )

    page.route("https://cdn.jsdelivr.net/**", deliver)
    page.goto(f"{client.base_url}/docs")
    assert page.title() == "wan-parity"


@pytest.mark.parametrize(("kind", "width"), [("webp", "naturalWidth"), ("mp4", "videoWidth")])
def test_a_video_is_shown_if_its_address_is_typed(
    kind: str, width: str, page: Page, client: httpx.Client, done: str
) -> None:
    page.goto(f"{client.base_url}/v1/requests/{done}/files/output_0.{kind}")
    shown = f"""() => new Promise(done => {{ (function look() {{
        const found = document.querySelector('img, video');
        if (found && (found.{width} || found.error)) done(found.{width}); else setTimeout(look, 10);
    }})(); }})"""
    assert page.evaluate(shown) == 64
