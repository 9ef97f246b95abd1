"""How a file is sent: in ranges, with an ETag of its content, and so that a browser does no more than show it."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse, Response

MAX_RANGES = 16
"""The most ranges of one request: each has a head of its own. With more, or with one that is wrong, the whole file is
sent, which RFC 9110 (14.2) leaves to the server; players and downloads ask for one."""

_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""Of the page that a browser makes around a video whose address is typed. It loads the video once more, from its own
origin: in a sandbox it would have none. There is nothing to run: the types are ours, and no browser guesses another."""

_RANGE = r"(?:\d{1,15}-\d{0,15}|-\d{1,15})"
_RANGES = re.compile(rf"bytes={_RANGE}(?:[ \t]*,[ \t]*{_RANGE}){{0,{MAX_RANGES - 1}}}", re.ASCII)


def send(request: Request, path: Path, media_type: str, name: str) -> Response:
    """Return the answer with a file, a part of it, or only that it is the one which the client has.

    `name` is what a browser calls it if it is saved: letters, digits, `_`, `-` and `.`. Raises FileNotFoundError.
    """
    stat = path.stat()
    tag = f'"{_sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Content-Security-Policy": _POLICY}
    if _has(request, tag):
        return Response(status_code=304, headers=headers)
    _keep_ranges(request)
    return FileResponse(
        path,
        headers=headers,
        media_type=media_type,
        filename=name,
        stat_result=stat,
        content_disposition_type="inline",
    )


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, modified: int, inode: int) -> str:
    """Hash a file, once for as long as it is the same file."""
    del size, modified, inode
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(request: Request, tag: str) -> bool:
    """Check whether the client has this content already. A weak tag of the same content means the same."""
    given = [part.strip() for header in request.headers.getlist("if-none-match") for part in header.split(",")]
    return any(part == "*" or part.removeprefix("W/") == tag for part in given)


def _keep_ranges(request: Request) -> None:
    """Take away a Range that is not to be used.

    Starlette (1.10) answers a unit it does not know, and a range that ends before it begins, with 400, where RFC 9110
    has them ignored; before 0.49.1 a header of many ranges cost time in the square of its length (CVE-2025-62727).
    """
    given = request.headers.getlist("range")
    if given and not (len(given) == 1 and _is_usable(given[0].strip())):
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]


def _is_usable(header: str) -> bool:
    if _RANGES.fullmatch(header) is None:
        return False
    pairs = [part.strip().split("-") for part in header.partition("=")[2].split(",")]
    return all(not first or not last or int(first) <= int(last) for first, last in pairs)
