"""Files in parts, files that the client has already, and what a browser may do with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from parity.server.downloads import MAX_RANGES
from parity.server.guard import SAFE_HEADERS
from tests.support.serving import PatientEngine, body, finished, settings_of, submit, thread

DATA = bytes(range(256)) * 1000


class Served:
    """A result whose file is `DATA`."""

    def __init__(self, client: httpx.Client, folder: Path) -> None:
        self.client, self.id = client, submit(client, body())
        assert finished(client, self.id)["status"] == "succeeded"
        self.path = folder / "files" / f"{self.id}_output_0.webp"
        self.path.write_bytes(DATA)
        self.url = f"/v1/requests/{self.id}/files/output_0.webp"

    def get(self, **headers: str) -> httpx.Response:
        return self.client.get(self.url, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    engine = PatientEngine()
    engine.steps.release()
    with thread(settings_of(folder), engine) as client:
        yield Served(client, folder)


def test_headers(served: Served) -> None:
    whole = served.get()
    assert whole.content == DATA
    assert whole.headers["content-type"] == "image/webp"
    assert whole.headers["content-disposition"] == f'inline; filename="{served.id}_output_0.webp"'
    assert whole.headers["etag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    own = ("Content-Security-Policy", "Cache-Control")
    assert all(whole.headers[name] == value for name, value in SAFE_HEADERS.items() if name not in own)
    assert whole.headers["cache-control"] == "private, no-cache"
    assert whole.headers["content-security-policy"].startswith("default-src 'none';")
    head = served.client.head(served.url)
    assert (head.status_code, head.content) == (200, b"")
    ignored = ("date",)
    assert [pair for pair in head.headers.items() if pair[0] not in ignored] == [
        pair for pair in whole.headers.items() if pair[0] not in ignored
    ]
    assert served.client.head(served.url.replace("_0", "_1")).status_code == 404


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-0", 0, 1), ("5-9", 5, 10), ("255990-", 255_990, 256_000), ("-10", 255_990, 256_000), ("9-999999999", 9, None)],
)
def test_a_part(asked: str, start: int, end: int | None, served: Served) -> None:
    part = served.get(range=f"bytes={asked}")
    assert (part.status_code, part.content) == (206, DATA[start:end])
    assert part.headers["content-range"] == f"bytes {start}-{(end or len(DATA)) - 1}/{len(DATA)}"
    assert part.headers["etag"] == served.get().headers["etag"]


def test_several_parts(served: Served) -> None:
    parts = served.get(range="bytes=0-3, 100-103")
    assert parts.status_code == 206
    assert parts.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert DATA[:4] in parts.content
    assert DATA[100:104] in parts.content


@pytest.mark.parametrize(
    "asked",
    [
        *("bytes=5-2", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-0,", "lines=0-5", "0-5", "bytes=1_0-20", "bytes=٠-٣"),
        *("bytes=" + "9" * 5000 + "-", "bytes=0-0" + " " * 5000 + ",x", "bytes=" + "0" * 8000),
        "bytes=" + ",".join(f"{start}-{start}" for start in range(0, (MAX_RANGES + 1) * 2, 2)),
        "bytes=" + ",".join(["0-"] * 3000),
        "bytes=" + ",".join(f"{start}-" for start in range(1500)),
    ],
    ids=lambda asked: asked[:30],
)
def test_ranges_that_are_wrong_or_too_many_get_the_whole_file(asked: str, served: Served) -> None:
    """A thousand ranges of everything would be a thousand files, and took the square of their number to sort."""
    answer = served.client.get(served.url, headers=[(b"range", asked.encode())])
    assert (answer.status_code, answer.content) == (200, DATA)


def test_overlapping_ranges_cost_no_more_than_the_file(served: Served) -> None:
    answer = served.get(range="bytes=" + ",".join(["0-"] * MAX_RANGES))
    assert len(answer.content) < len(DATA) + 10_000


def test_a_range_beyond_the_end(served: Served) -> None:
    answer = served.get(range="bytes=256000-")
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */256000")


def test_what_the_client_has_is_not_sent_again(served: Served) -> None:
    tag = served.get().headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = served.get(if_none_match=known)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for other in ('"other"', tag.strip('"'), ""):
        assert served.get(if_none_match=other).status_code == 200


def test_a_part_of_another_file_is_not_added_to_what_the_client_has(served: Served) -> None:
    tag = served.get().headers["etag"]
    assert served.get(range="bytes=0-3", if_range=tag).status_code == 206
    for other in ('"other"', f"W/{tag}"):
        assert served.get(range="bytes=0-3", if_range=other).content == DATA


def test_the_tag_follows_the_content(tmp_path: Path) -> None:
    """Not the time: a file that is written again with the same bytes has the same tag, after a restart too."""
    engine = PatientEngine()
    engine.steps.release()
    with thread(settings_of(tmp_path), engine) as client:
        served = Served(client, tmp_path)
        tag = served.get().headers["etag"]
        for data, same in ((DATA, True), (DATA[::-1], False), (DATA, True)):
            new = tmp_path / "new"
            new.write_bytes(data)
            new.replace(served.path)
            assert (served.get().headers["etag"] == tag) is same
        served.path.unlink()
        answer = served.get()
        assert (answer.status_code, answer.json()["detail"]["error"]["code"]) == (404, "FILE_NOT_FOUND")
