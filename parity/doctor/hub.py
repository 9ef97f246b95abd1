"""Checks of the Hugging Face Hub: can it be reached, and as whom. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from parity.doctor.check import Asked, Check, ok, problem, skipped, warning
from pipelines.catalog import MODELS
from pipelines.downloads import offline
from pipelines.files.words import sentence

TIMEOUT_S = 3.0
"""Seconds for connecting, and for each part of an answer."""
_EXTRA_S = 1.0
"""Seconds more for all of it."""

_DEFAULT = "https://huggingface.co"
_LOCAL = "or name local folders as `checkpoint`; cached checkpoints work all the same (HF_HUB_OFFLINE=1)"


def hub(asked: Asked) -> Iterator[Check]:
    """Whether the Hub answers, and whether it accepts the token, if there is one."""
    if asked.offline:
        yield skipped("hub", "not asked (--offline)")
        return
    if offline():
        yield warning(
            "hub", "not asked, HF_HUB_OFFLINE is set: only cached checkpoints are found", "unset HF_HUB_OFFLINE"
        )
        return
    endpoint = asked.environ.get("HF_ENDPOINT", _DEFAULT).rstrip("/")
    asked.waiting(f"asking {endpoint}")
    reached = _reach(endpoint, asked.environ)
    yield reached
    if reached.status == "ok":
        yield _login(endpoint, asked.environ)
    else:
        yield skipped("hub login", "not asked, as the Hub does not answer as it should")


def _reach(endpoint: str, environ: Mapping[str, str]) -> Check:
    """Ask for a repository of the catalogue, which is public, without a token."""
    model = MODELS["wan21_1b"].base_checkpoint
    answer: dict[str, Any] = {}
    try:
        status = _answer(f"{endpoint}/api/models/{model}", None, answer)
    except Exception as error:
        found, to_do = _why_unreachable(error, endpoint, environ)
        return problem("hub", f"{endpoint}: {found}", f"{to_do}, {_LOCAL}")
    if status == 200 and answer.get("id") == model:
        return ok("hub", f"{endpoint} answers")
    if status == 429:
        to_do = "wait some minutes, or log in: hf auth login"
        return warning("hub", f"{endpoint} answers: too many requests (429)", to_do)
    found, to_do = _what_is_wrong(status, model, mirror=endpoint != _DEFAULT)
    return problem("hub", f"{endpoint} {found}", to_do)


def _what_is_wrong(status: int, model: str, *, mirror: bool) -> tuple[str, str]:
    """What an answer's status says, and what to do. `mirror`: HF_ENDPOINT names another Hub."""
    if status in (401, 403, 407):
        whose = "HF_ENDPOINT names a mirror that needs a login, or " if mirror else ""
        to_do = f"{whose}a proxy or firewall answers in its place: ask who runs it, {_LOCAL}"
        return f"refuses a public repository ({status})", to_do
    if status == 404:
        return f"has no {model} (404)", f"check HF_ENDPOINT (unset: {_DEFAULT})"
    if status >= 500:
        return f"has an error of its own ({status})", f"try later (https://status.huggingface.co), {_LOCAL}"
    to_do = f"log in to the network if it wants that (a browser shows it); check HF_ENDPOINT (unset: {_DEFAULT})"
    return f"answers, but not as a Hub ({status})", to_do


def _login(endpoint: str, environ: Mapping[str, str]) -> Check:
    token, source = _token(environ)
    if token is None:
        return ok("hub login", "no token; only gated or private repositories need one (hf auth login, or HF_TOKEN)")
    answer: dict[str, Any] = {}
    try:
        status = _answer(f"{endpoint}/api/whoami-v2", token, answer)
    except Exception as error:
        found, to_do = _why_unreachable(error, endpoint, environ)
        return warning("hub login", f"{found} when asked whose the token of {source} is", to_do)
    if status in (401, 403):
        return problem(
            "hub login",
            f"the token of {source} is refused ({status}): every download fails with it",
            "unset HF_TOKEN, or set it to a valid one" if source == "HF_TOKEN" else "hf auth login, or hf auth logout",
        )
    if status >= 300:
        return warning("hub login", f"the Hub answers {status} when asked whose the token of {source} is", "try later")
    return ok("hub login", f"as {answer.get('name', 'unknown')}, by the token of {source}")


def token_file(environ: Mapping[str, str]) -> Path:
    """Where `hf auth login` keeps the token."""
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser()


def _token(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The token that downloads are made with, in the order of the Hub's library, and where it is from."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if environ.get(name, "").strip():
            return environ[name].strip(), name
    try:
        return token_file(environ).read_text(encoding="utf-8").strip() or None, "hf auth login"
    except OSError:
        return None, ""


def _answer(url: str, token: str | None, into: dict[str, Any]) -> int:
    """The status of an answer; its JSON object goes `into` a dictionary. Raises what the Hub's own client raises.

    Asked by the Hub's client: what reaches the Hub here, with proxies and certificates, reaches it in a download.
    """
    from huggingface_hub import get_session

    def ask() -> int:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        response = get_session().get(url, headers=headers, timeout=TIMEOUT_S)
        with contextlib.suppress(ValueError, TypeError):  # no JSON, or no object
            into.update(response.json())
        return int(response.status_code)

    return _within(TIMEOUT_S + _EXTRA_S, ask)


def _within(seconds: float, work: Callable[[], int]) -> int:
    """Do work that may hang: looking up a name cannot be given a limit, and a slow answer has one for each part."""
    results: list[int] = []
    errors: list[Exception] = []

    def body() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


def _why_unreachable(error: Exception, endpoint: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Why a request got no answer, and what to do. The client's errors carry those of Python's sockets."""
    chain = list(_chain(error))
    kinds = {kind.__name__ for one in chain for kind in type(one).__mro__}
    host = endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2]
    proxy = next((f"{n}={environ[n]}" for n in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY") if environ.get(n)), None)
    through = f" through the proxy {proxy}" if proxy is not None else ""
    if "ProxyError" in kinds:
        return f"the proxy {proxy} refuses the connection", "correct the proxy in HTTPS_PROXY, and its login"
    if any(isinstance(one, socket.gaierror) for one in chain):
        return f"the name {host} is not known{through} (DNS)", "check network, DNS and HF_ENDPOINT"
    if any(isinstance(one, ssl.SSLError) for one in chain):
        reason = next(one for one in chain if isinstance(one, ssl.SSLError))
        why = getattr(reason, "verify_message", "") or reason.reason or "handshake failed"
        to_do = "a proxy that inspects TLS needs its certificate in SSL_CERT_FILE; a wrong clock breaks TLS, too"
        return f"TLS to {host} fails{through} ({why})", to_do
    if "TimeoutException" in kinds or any(isinstance(one, TimeoutError) for one in chain):
        return f"no answer within {TIMEOUT_S:g} s{through}", "check network, firewall and proxy (HTTPS_PROXY)"
    if any(isinstance(one, ConnectionRefusedError) for one in chain):
        return f"the connection is refused{through}", "check HF_ENDPOINT, firewall and proxy (HTTPS_PROXY)"
    if "UnsupportedProtocol" in kinds or "InvalidURL" in kinds:
        return "is no URL", f"set HF_ENDPOINT to one, e.g. {_DEFAULT}, or unset it"
    words = sentence(chain[-1], 120)
    return f"no answer{through} ({words or type(error).__name__})", "check network, firewall and proxy (HTTPS_PROXY)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
