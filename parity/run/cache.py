"""Cached frames, stored under a hash of all that determines them, so that unchanged cases are not generated again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from parity.comparison.compare import frames_sha256
from parity.results.folders import cache_key, is_planted
from parity.run.encodings import KeptEncoding, folder_in, kept_encodings, remove_remains
from pipelines.drift import settings_key
from pipelines.errors import UsageError
from pipelines.files.content import read_bytes
from pipelines.files.keyed import Key
from pipelines.files.words import cannot_write
from pipelines.media.video import Frames
from pipelines.recipe import Recipe

VERSION = 1
"""Version of the layout; entries of another version are ignored."""
_ENTRY, _FRAMES = "entry.json", "frames.npz"
_MAC = "entry.mac"
"""The signature of entry.json, which holds the hash of the frames."""
_NEW = ".new-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The record of a cached generation, shown by `parity cache ls`."""

    key: str
    drawn: str
    """ISO 8601, UTC."""
    case: str
    """The case it was first generated for."""
    model: str
    prompt: str
    frames: int
    width: int
    height: int
    sha256: str
    """Hash of the frames' shape and bytes."""
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry with its folder, size and last use."""

    entry: Entry
    folder: Path
    size: int
    """Bytes on disk."""
    used: float
    """Last use, in seconds since 1970."""

    def remove(self) -> None:
        """Delete it. Raises OSError."""
        shutil.rmtree(self.folder)


class Cache:
    """A folder of generations, and of encoded texts and images.

    Entries are written elsewhere and moved into place, so none is ever partial.
    """

    def __init__(self, root: Path, key: Key | None = None) -> None:
        """`key` signs what is stored; what it did not sign is then not used. Without one, all in the folder is."""
        self.root = root
        self.key = key
        self.unsigned: str | None = None
        """What `find` found last, and why it was not used."""

    def find(self, key: str) -> tuple[Frames, Entry] | None:
        """The frames stored under a key, with their entry; None if there are none. A damaged entry is removed."""
        folder = self._folder(key)
        self.unsigned = None
        if not folder.is_dir():
            return None
        try:
            text = (folder / _ENTRY).read_bytes()
            if not self._signed(folder, text):
                self.unsigned = f"{folder}: cached frames that are not signed with the cache key were not used"
                return None
            entry = _parsed(text)
            with (folder / _FRAMES).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                frames: Frames = arrays["frames"]
        except Exception:  # numpy and zipfile raise many kinds of errors for a damaged file
            entry = None
        if entry is None or entry.key != key or frames_sha256(frames) != entry.sha256:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)
        return frames, entry

    def might_have(self, recipe: Recipe) -> bool:
        """Return whether there are frames of the recipe's model, prompt and size, whatever weights they are of."""
        wanted = (recipe.model, recipe.prompt, recipe.width.applied, recipe.height.applied)
        entries = (_read(path) for path in self.root.glob(f"*/*/{_ENTRY}"))
        return any(wanted == (entry.model, entry.prompt, entry.width, entry.height) for entry in entries if entry)

    def store(self, key: str, frames: Frames, recipe: Recipe, case: str) -> None:
        """Store frames under a key. Raises OSError if they cannot be written; nothing is left behind then."""
        count, height, width, _ = frames.shape
        entry = Entry(
            key=key,
            drawn=datetime.now(UTC).isoformat(timespec="seconds"),
            case=case,
            model=recipe.model,
            prompt=recipe.prompt,
            frames=count,
            width=width,
            height=height,
            sha256=frames_sha256(frames),
        )
        folder = self._folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder.parent))
        try:
            np.savez_compressed(new / _FRAMES, frames=frames)
            text = (json.dumps(asdict(entry), indent=1, ensure_ascii=False) + "\n").encode()
            (new / _ENTRY).write_bytes(text)
            if self.key is not None:
                (new / _MAC).write_text(self.key.mac("frames", text), encoding="ascii")
                if self.unsigned is not None:
                    shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run stored the same key first
                new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def entries(self) -> list[Kept]:
        """All entries, the most recently used first."""
        return sorted(self._entries(), key=lambda kept: -kept.used)

    def encodings(self) -> list[KeptEncoding]:
        """All encoded texts and images, the most recently used first."""
        return sorted(kept_encodings(folder_in(self.root)), key=lambda kept: -kept.used)

    def everything(self) -> list[Kept | KeptEncoding]:
        """All generations and encodings, the most recently used first."""
        kept: list[Kept | KeptEncoding] = [*self.entries(), *self.encodings()]
        return sorted(kept, key=lambda one: -one.used)

    def prune(self, *, older_than: timedelta | None = None, max_bytes: int | None = None) -> list[Kept | KeptEncoding]:
        """Remove what was not used for `older_than`, then the least recently used until the rest fits. Returns it.

        Partial entries left by killed runs are removed as well, once they are an hour old.
        """
        now = datetime.now(UTC).timestamp()
        for path in self.root.glob(f"*/{_NEW}*"):
            if now - path.stat().st_mtime > 3600:
                shutil.rmtree(path, ignore_errors=True)
        remove_remains(folder_in(self.root))
        removed: list[Kept | KeptEncoding] = []
        total = 0
        for kept in self.everything():
            total += kept.size
            too_old = older_than is not None and now - kept.used > older_than.total_seconds()
            if too_old or (max_bytes is not None and total > max_bytes):
                kept.remove()
                removed.append(kept)
                total -= kept.size
        return removed

    def _signed(self, folder: Path, text: bytes) -> bool:
        """Whether an entry with this text may be used: there is no key, or it signed the text."""
        if self.key is None:
            return True
        try:
            return self.key.signed("frames", text, read_bytes(folder / _MAC, 1 << 10).decode("ascii", "replace"))
        except OSError:
            return False

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _entries(self) -> Iterator[Kept]:
        for path in self.root.glob(f"*/*/{_ENTRY}"):
            entry = _read(path) if not path.parent.name.startswith(_NEW) else None
            if entry is not None:
                size = sum(file.stat().st_size for file in path.parent.iterdir())
                yield Kept(entry, path.parent, size, path.parent.stat().st_mtime)


def key_of(recipe: Recipe, weights: str, environment: Mapping[str, Any], code: str) -> str:
    """The key of a generation: a hash of recipe, weights, code, and the environment that can change its bits."""
    parts = {
        "version": VERSION,
        "recipe": _content(settings_key(recipe)),
        "weights": weights,
        "environment": environment,
        "code": code,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _content(value: Any) -> Any:
    """A value as JSON, reduced to what it is compared by: a file's hash, not its path."""
    if dataclasses.is_dataclass(value):
        return {field.name: _content(getattr(value, field.name)) for field in fields(value) if field.compare}
    if isinstance(value, (tuple, list)):
        return [_content(item) for item in value]
    return value


def open_cache(root: Path | None) -> Cache | None:
    """Open the cache. Raises UsageError if it cannot be written to, or if somebody else put it where all can."""
    if root is None:
        return None
    key = cache_key()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if key is None and is_planted(root):
            raise UsageError(
                f"cache {root}: another user made this folder where all can, and could choose what cached cases show; "
                "set WAN_PARITY_CACHE to a folder of your own, or pass --no-cache"
            )
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UsageError(
            f"{cannot_write(f'cache {root}', error)}; set WAN_PARITY_CACHE to another folder, or pass --no-cache"
        ) from None
    return Cache(root, key)


def _read(path: Path) -> Entry | None:
    """Read an entry; None if it cannot be read or has another version."""
    try:
        return _parsed(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return None


def _parsed(text: bytes) -> Entry:
    return Entry(**json.loads(text))
