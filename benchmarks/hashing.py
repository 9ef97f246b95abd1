"""Hashes of a checkpoint: the first process against one stream of sha256, and a second process that remembers them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.core import Row, Size, duration, in_turn
from pipelines.files.digests import Digests

_FILES = 4


def rows(size: Size) -> Iterator[Row]:
    """The hash of a checkpoint in four files, the first time and remembered, against one stream.

    The files are in the page cache, so no disk is measured.
    """
    each = 1 << 20 if size.small else 256 << 20
    with tempfile.TemporaryDirectory(prefix="parity-benchmark-") as name:
        folder = Path(name)
        paths = [folder / f"{number}.safetensors" for number in range(_FILES)]
        for number, path in enumerate(paths):
            path.write_bytes(bytes([number]) * each)
        ours, theirs = in_turn(size.pairs, lambda: Digests().all_sha256(paths), lambda: _one_stream(paths))
        what = f"sha256 of {_FILES} files of {each >> 20} MiB"
        yield Row(what=what, anchor="one stream", ratio=ours / theirs, ours=duration(ours), theirs=duration(theirs))
        kept = folder / "hashes.json"
        Digests(kept, now=lambda: path.stat().st_mtime + 60).all_sha256(paths)
        again, theirs = in_turn(size.pairs, lambda: Digests(kept).all_sha256(paths), lambda: _one_stream(paths))
        yield Row(
            what="the same in a second process",
            anchor="one stream",
            ratio=again / theirs,
            ours=duration(again),
            theirs=duration(theirs),
        )


def _one_stream(paths: list[Path]) -> list[str]:
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests
