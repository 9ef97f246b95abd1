"""SHA-256 of files. An unchanged file is read once, however many cases and processes name it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.files.content import read_bytes, write_atomically
from pipelines.files.keyed import Key

VERSION = 1
"""Version of the file; one of another version is ignored and replaced."""
_MAX_BYTES = 8 << 20
_MOST = 10_000
_LEAST_BYTES = 1 << 20
"""A smaller file is read again by the next process: that takes a millisecond."""
_SETTLED = 2.0
"""Seconds after which a change of a file surely changes its times too: some file systems count in steps of 2 s."""
_THREADS = 8
_DIGEST = re.compile(r"[0-9a-f]{64}")

State = tuple[int, int, int, int]
"""The inode, size, and times of the last change of a file's content and of its entry, in ns."""


class Digests:
    """The hashes of files, kept in memory and, of large files, in a JSON file for the next process.

    SHA-256 stays the hash, though others are faster: the Hub names its files by it, and baselines hold it.
    """

    def __init__(self, file: Path | None = None, key: Key | None = None, now: Callable[[], float] = time.time) -> None:
        """`file` may be missing, damaged, or in a folder that cannot be written to: then files are read again.

        With `key` it must also be signed with it: else whoever can write it could pass off one file for another.
        """
        self.file = file
        self.key = key
        self._now = now
        self._known: dict[str, tuple[State, str]] = {}
        self._lock = threading.Lock()
        self._reading: dict[tuple[str, State], threading.Lock] = {}
        """Held while a file is read."""
        self._is_read = False

    def sha256(self, path: Path) -> str:
        """Return the hex SHA-256 of a file. Raises OSError."""
        return self.all_sha256([path])[0]

    def all_sha256(self, paths: Sequence[Path]) -> list[str]:
        """Return the hex SHA-256 of several files, which are read side by side. Raises OSError."""
        states = [state_of(path) for path in paths]
        found = [self._find(path, state) for path, state in zip(paths, states, strict=True)]
        unknown = [number for number, digest in enumerate(found) if digest is None]
        if len(unknown) > 1:
            with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as threads:
                made = list(threads.map(lambda number: self._read_once(paths[number], states[number]), unknown))
        else:
            made = [self._read_once(paths[number], states[number]) for number in unknown]
        fresh = {
            str(paths[number].absolute()): (states[number], digest)
            for number, digest in zip(unknown, made, strict=True)
        }
        with self._lock:
            self._keep({path: entry for path, entry in fresh.items() if self._lasts(entry[0])})
            return [self._known[str(path.absolute())][1] for path in paths]

    def knows(self, paths: Sequence[Path]) -> bool:
        """Return whether all these files are hashed, as they are now. Raises OSError."""
        return all(self._find(path, state_of(path)) is not None for path in paths)

    def _read_once(self, path: Path, state: State) -> str:
        """Read a file; two threads that ask for one at the same time share the reading."""
        with self._lock:
            reading = self._reading.setdefault((str(path.absolute()), state), threading.Lock())
        with reading:
            known = self._find(path, state)
            if known is None:
                known = _read(path)
                with self._lock:
                    self._known[str(path.absolute())] = state, known
                    self._reading.pop((str(path.absolute()), state), None)
        return known

    def _find(self, path: Path, state: State) -> str | None:
        with self._lock:
            if state[1] >= _LEAST_BYTES and not self._is_read:
                self._known = self._kept() | self._known
                self._is_read = True
            known = self._known.get(str(path.absolute()))
        return known[1] if known is not None and known[0] == state else None

    def _lasts(self, state: State) -> bool:
        """Whether a hash may outlive this process: of a file changed just now, the next change may not show."""
        return state[1] >= _LEAST_BYTES and self._now() - max(state[2:]) / 1e9 > _SETTLED

    def _keep(self, fresh: dict[str, tuple[State, str]]) -> None:
        """Add hashes to the file, beside what other processes added meanwhile."""
        if self.file is None or not fresh:
            return
        others = {path: entry for path, entry in self._kept().items() if path not in fresh}
        files = {path: [*state, digest] for path, (state, digest) in [*others.items(), *fresh.items()][-_MOST:]}
        data = {"version": VERSION, "files": files}
        if self.key is not None:
            data["mac"] = self.key.mac("hashes", _bytes(files))
        with contextlib.suppress(OSError):
            write_atomically(self.file, json.dumps(data, indent=0).encode())

    def _kept(self) -> dict[str, tuple[State, str]]:
        if self.file is None:
            return {}
        try:
            data = json.loads(read_bytes(self.file, _MAX_BYTES))
            if data["version"] != VERSION:
                return {}
            if self.key is not None and not self.key.signed("hashes", _bytes(data["files"]), data.get("mac")):
                return {}
            return {path: _entry(*values) for path, values in data["files"].items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return {}


def _bytes(files: object) -> bytes:
    return json.dumps(files, sort_keys=True).encode()


def state_of(path: Path) -> State:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _entry(inode: int, size: int, modified: int, changed: int, digest: str) -> tuple[State, str]:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(digest)
    return (inode, size, modified, changed), digest


def _read(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


_current = Digests()


def remember_in(file: Path | None, key: Key | None = None) -> None:
    """Keep the hashes of large files in `file` from now on, and find them there; None: in this process alone.

    `key` signs the file; one that it did not sign is not read.
    """
    global _current
    if _current.file != file:
        _current = Digests(file, key)


def remembered_in() -> tuple[Path | None, Key | None]:
    """Return what `remember_in` was given, for another process of ours."""
    return _current.file, _current.key


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file. Raises OSError."""
    return _current.sha256(path)


def sha256_files(paths: Sequence[Path]) -> list[str]:
    """Return the hex SHA-256 of several files, which are read side by side. Raises OSError."""
    return _current.all_sha256(paths)


def known_sha256(paths: Sequence[Path]) -> bool:
    """Return whether nothing has to be read for the hashes of these files. Raises OSError."""
    return _current.knows(paths)
