"""Hashes of files: right, read once, and known to the next process; never those of a file that may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.files import digests
from pipelines.files.digests import Digests

LARGE = b"w" * (1 << 20)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "hashes.json"


def of(kept: Path | None, *, later: float = 60.0) -> Digests:
    """Hashes as another process has them, `later` seconds from now."""
    return Digests(kept, now=lambda: time.time() + later)


def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_read", lambda path: pytest.fail(f"{path} was read"))


def test_another_process_does_not_read_the_file_again(
    weights: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = of(kept).sha256(weights)
    assert digest == hashlib.sha256(LARGE).hexdigest()
    unreadable(monkeypatch)
    assert of(kept).sha256(weights) == digest


def test_a_file_written_over_is_read_again(weights: Path, kept: Path) -> None:
    old, found = of(kept).sha256(weights), weights.stat()
    with weights.open("r+b") as file:
        file.write(b"W")
    os.utime(weights, ns=(found.st_atime_ns, found.st_mtime_ns))  # as `rsync --times --inplace` leaves it
    assert of(kept).sha256(weights) == hashlib.sha256(b"W" + LARGE[1:]).hexdigest() != old


def test_a_file_that_has_just_changed_is_not_remembered(weights: Path, kept: Path) -> None:
    of(kept, later=0.0).sha256(weights)
    assert not kept.exists()


def test_small_files_are_not_remembered(tmp_path: Path, kept: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    assert of(kept).sha256(config) == hashlib.sha256(b"{}").hexdigest()
    assert not kept.exists()


def test_several_files_keep_their_order_and_are_all_remembered(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{number}.safetensors" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(LARGE + bytes([number]))
    of(kept).sha256(paths[2])  # one process knows one, another the rest
    expected = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert of(kept).all_sha256(paths) == expected
    unreadable(monkeypatch)
    assert of(kept).all_sha256(paths) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace(hashlib.sha256(LARGE).hexdigest(), "no hash"),
        lambda text: json.dumps([text]),
        lambda _: '{"version": 1, "files": {"a": [1]}}',
    ],
)
def test_a_damaged_memory_is_replaced(weights: Path, kept: Path, damage: object) -> None:
    digest = of(kept).sha256(weights)
    assert callable(damage)
    kept.write_text(damage(kept.read_text()))
    assert of(kept).sha256(weights) == digest
    assert digest in kept.read_text()


def test_without_a_writable_folder_files_are_hashed_all_the_same(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert of(tmp_path / "cache" / "hashes.json").sha256(weights) == of(None).sha256(weights)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        of(None).sha256(tmp_path / "none")


def test_threads_that_ask_for_one_file_share_the_reading(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, begun, going_on = [], threading.Event(), threading.Event()
    original = digests._read

    def slowly(path: Path) -> str:
        read.append(path)
        begun.set()
        assert going_on.wait(60)
        return original(path)

    monkeypatch.setattr(digests, "_read", slowly)
    known = Digests()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(known.sha256, weights)
        assert begun.wait(60)
        second = threads.submit(known.all_sha256, [weights])
        going_on.set()
        assert second.result() == [first.result()] == [hashlib.sha256(weights.read_bytes()).hexdigest()]
    assert read == [weights]
    assert known.knows([weights])
    weights.write_bytes(b"other")
    assert not known.knows([weights])
