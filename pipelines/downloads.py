"""The Hub as this machine sees it: where its cache is, whether it may be asked, and why a download failed."""

from __future__ import annotations

import atexit
import concurrent.futures.thread
import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psutil

from pipelines.files.words import sentence
from pipelines.leaving import abandon

_Result = TypeVar("_Result")
_INCOMPLETE = ".incomplete"
"""How the Hub's library calls what it has of a file."""
_LOCAL_COPY = "point `checkpoint:` in the case to a local copy"


def offline() -> bool:
    """True if HF_HUB_OFFLINE is set, by the Hub library's own reading of it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def cache_folder() -> Path:
    """The folder of the Hub's downloads: $HF_HUB_CACHE, else hub/ in $HF_HOME. It may not exist yet."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def why_not_fetched(error: Exception) -> str:
    """What went wrong when the Hub's library (huggingface_hub 2.4) raised an error, and on a second line what to do."""
    reason, to_do = _explained(error)
    return f"{reason}\n  {to_do}"


def _explained(error: Exception) -> tuple[str, str]:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None else error
    said = sentence(cause) or type(cause).__name__
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space is left in {cache_folder()}", "free some, or set HF_HOME to a folder on another disk"
    if offline():
        return (
            "it is not in the Hub's cache, and HF_HUB_OFFLINE is set",
            f"unset HF_HUB_OFFLINE to download it, or {_LOCAL_COPY}",
        )
    if isinstance(cause, GatedRepoError):
        return (
            "it is gated: its owner grants access on request",
            "ask for access on its page on the Hub, then set HF_TOKEN",
        )
    if isinstance(cause, RepositoryNotFoundError):
        return (
            "the Hub knows no repository of this name, or does not show it to you",
            f"check its spelling; set HF_TOKEN if it is private; or {_LOCAL_COPY}",
        )
    if isinstance(cause, HfHubHTTPError):
        return said, f"set HF_TOKEN if it is gated, or {_LOCAL_COPY}"
    if "Timeout" in type(cause).__name__ and "Connect" not in type(cause).__name__:
        return f"the download stalls ({said})", _STALLED
    if _is_network(cause):
        return f"the Hub cannot be reached ({said})", f"check the network and HTTPS_PROXY, or {_LOCAL_COPY}"
    return said, f"set HF_TOKEN if it is gated, or {_LOCAL_COPY}"


_STALLED = (
    "run it again: complete files are kept; HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer than 10 s for each piece, "
    "HF_HUB_DISABLE_XET=1 downloads by plain HTTP"
)
"""By huggingface_hub 2.4.0: it tries six times to go on within a file, and then drops what it has of it; it ignores
HF_HUB_ENABLE_HF_TRANSFER, which HF_XET_HIGH_PERFORMANCE replaces."""


def _is_network(error: BaseException) -> bool:
    """True for what the HTTP client raises, whose package the Hub's library chooses (httpx, now httpx2)."""
    return type(error).__module__.partition(".")[0].startswith("http") or isinstance(error, ConnectionError)


def interruptible(download: Callable[[], _Result]) -> _Result:
    """The result of a download, which Ctrl-C ends at once.

    huggingface_hub 2.4 would first finish every file of a repository: its threads cannot be stopped, and Python waits
    for them when the program ends. They are abandoned, and what they have of a file is removed, as it would be.
    """
    if threading.current_thread() is not threading.main_thread():
        return download()  # no signal arrives here
    outcome: list[_Result | BaseException] = []

    def run() -> None:
        try:
            outcome.append(download())
        except BaseException as error:  # raised again below
            outcome.append(error)

    _watch_files()
    others = set(_pooled())
    thread = threading.Thread(target=run, name="download", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)  # without a limit, no signal would be noticed on Windows
    except BaseException:
        _abandon([thread, *(pooled for pooled in _pooled() if pooled not in others)])
        raise
    [found] = outcome
    if isinstance(found, BaseException):
        raise found
    return found


def _pooled() -> dict[threading.Thread, Any]:
    """The threads that Python waits for at the end, an internal of its thread pools (3.9 to 3.14)."""
    return getattr(concurrent.futures.thread, "_threads_queues", {})


_opened: set[str] = set()
"""The incomplete files that Python code of this process opened."""
_stopped: set[threading.Thread] = set()
"""Threads that may open no other."""


@cache
def _watch_files() -> None:
    """Know every incomplete file, also one that is whole and waits for its name. Lasts as long as the process."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not str(arguments[0]).endswith(_INCOMPLETE):
            return
        if threading.current_thread() in _stopped:
            raise InterruptedError("the download was stopped")
        _opened.add(str(arguments[0]))

    sys.addaudithook(watch)


def _abandon(threads: list[threading.Thread]) -> None:
    _stopped.update(threads)
    abandon(threads)
    for thread in threads:
        _pooled().pop(thread, None)
    _remove_incomplete()
    atexit.register(_remove_incomplete)  # the threads live on until then


def _remove_incomplete() -> None:
    """Remove what this process has of files, also of those that native code has open."""
    files = set(_opened)
    with contextlib.suppress(psutil.Error):
        files |= {file.path for file in psutil.Process().open_files() if file.path.endswith(_INCOMPLETE)}
    for file in files:
        with contextlib.suppress(OSError):  # it is complete by now; Windows removes no open file
            Path(file).unlink()
