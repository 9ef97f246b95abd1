"""Baselines on disk: read all, replace some of them at once, undo the last replacement."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.baselines.file import MAX_BYTES, STILL_NAME, Baseline, file_name, read, still_folder
from pipelines.errors import UsageError
from pipelines.files import strict_json
from pipelines.files.content import read_bytes, read_text, write_atomically
from pipelines.files.words import cannot_read, cannot_write

DEFAULT = Path("baselines")
_STAGING = ".staging"
_KEPT = "kept"
_UNDO = ".undo"
_MANIFEST = "undo.json"
_KIND = "wan-parity undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The last replacement, as it can be undone."""

    replaced: tuple[str, ...]
    """Files whose previous text was saved."""
    new: tuple[str, ...]
    """Files that did not exist before."""
    written: Mapping[str, str]
    """The sha256 of each file's new text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """The folder that an interrupted accept left behind."""

    path: Path
    placed: int
    """The number of baselines it had replaced."""
    of: int

    def __str__(self) -> str:
        state = "nothing was replaced"
        if self.placed:
            state = f"{self.placed} of {self.of} baselines were replaced; `parity baseline undo` undoes that"
        return f"{self.path}: left by an interrupted accept; {state}"


class Store:
    """A folder of baselines, one file per case.

    Replacing first stages every file, then moves one after the other. At any moment, even after a kill, every file is
    complete, old or new; the replaced files are saved before the first one is touched. A baseline's stills are named by
    their content: new ones are written before the file that lists them, and those that neither a baseline nor `undo`
    needs any more are removed after it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_all(self) -> dict[str, Baseline]:
        """All baselines by case id. Raises UsageError for a file that is not a baseline or cannot be read."""
        baselines, broken = self.read_what_can_be()
        if broken:
            raise UsageError(*broken.values())
        return baselines

    def read_what_can_be(self) -> tuple[dict[str, Baseline], dict[str, str]]:
        """All readable baselines by case id, and for each other file name why it cannot be read."""
        baselines: dict[str, Baseline] = {}
        broken: dict[str, str] = {}
        for path in sorted(self.folder.glob("*.json")):
            if path.name.startswith("."):
                continue
            try:
                baseline = read(path)
                baselines[baseline.case] = baseline
            except UsageError as error:
                broken[path.name] = str(error)
        return baselines, broken

    def exists(self) -> bool:
        return self.folder.is_dir()

    def leftover(self) -> Leftover | None:
        """The leftovers of an interrupted accept; None if there are none."""
        staging = self.folder / _STAGING
        if not staging.exists():
            return None
        staged = {path.name: _hash_of(path) for path in staging.glob("*.json")}
        if (staging / ".gitignore").exists() and not (staging / _KEPT).exists():
            try:
                written = self._undo_of(self.folder / _UNDO).written
            except UsageError:
                written = {}
            if all(written.get(name) == sha256 for name, sha256 in staged.items()):
                return Leftover(path=staging, placed=len(written) - len(staged), of=len(written))
        return Leftover(path=staging, placed=0, of=len(staged))

    def clean(self) -> None:
        """Remove the leftovers of an interrupted command."""
        staging = self.folder / _STAGING
        if not staging.exists():
            return
        try:
            if (staging / _UNDO).is_dir() and not (self.folder / _UNDO).exists():
                (staging / _UNDO).replace(self.folder / _UNDO)
            self._sweep()
            shutil.rmtree(staging)
        except OSError as error:
            raise _cannot_write(staging, error) from None

    def replace(self, texts: Mapping[str, str], stills: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        """Write baselines, given as texts by case id, and save what they replace for `undo`.

        `stills`: for a case id the content of the files that its text lists.

        Raises UsageError if the folder cannot be written; the message says which files were replaced, if any.
        """
        _refuse_same_in_other_case(texts, self.folder)
        names = {file_name(case): text for case, text in texts.items()}
        staging = self._stage(names, stills or {})
        done: list[str] = []
        try:
            for name in names:
                (staging / name).replace(self.folder / name)
                done.append(name)
            self._sweep()
            shutil.rmtree(staging)
        except OSError as error:
            message = f"{_cannot_write(self.folder, error)}; replaced so far: {', '.join(done) or 'none'}"
            raise UsageError(f"{message}; `parity baseline undo` undoes it") from None

    def _stage(self, names: Mapping[str, str], stills: Mapping[str, Mapping[str, bytes]]) -> Path:
        """Write the new texts and the state before them to the staging folder, and the new stills to their places.

        Nothing is replaced yet.
        """
        staging = self.folder / _STAGING
        try:
            staging.mkdir(parents=True)
        except FileExistsError:
            raise UsageError(f"{staging} exists: is another accept running in {self.folder}?") from None
        except OSError as error:
            raise _cannot_write(self.folder, error) from None
        try:
            kept = staging / _KEPT  # moved into place as the last step before baselines are replaced
            kept.mkdir()
            for folder in (kept, staging):
                (folder / ".gitignore").write_text("*\n")
            for case, files in stills.items():
                for file, data in files.items():
                    write_atomically(self.folder / still_folder(case) / file, data)
            for name, text in names.items():
                (staging / name).write_text(text, encoding="utf-8", newline="\n")
            replaced = [name for name in names if (self.folder / name).exists()]
            for name in replaced:
                shutil.copyfile(self.folder / name, kept / name)
            manifest = {
                "schema_version": 1,
                "kind": _KIND,
                "replaced": replaced,
                "new": [name for name in names if name not in replaced],
                "written": {name: _sha256(text.encode()) for name, text in names.items()},
            }
            (kept / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            self._set_aside_undo(staging)
            kept.replace(self.folder / _UNDO)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise _cannot_write(self.folder, error) from None
        return staging

    def _set_aside_undo(self, staging: Path) -> None:
        """Move the previous undo folder to staging, as folders cannot be replaced; `clean` restores it after a kill."""
        if (self.folder / _UNDO).exists():
            (self.folder / _UNDO).replace(staging / _UNDO)

    def _sweep(self) -> None:
        """Remove stills that neither a baseline nor the undo folder lists; those of an unreadable file stay."""
        for folder in self.folder.glob("*.stills"):
            if folder.is_symlink() or not folder.is_dir():
                continue
            name = f"{folder.stem}.json"
            owners = [path for path in (self.folder / name, self.folder / _UNDO / name) if path.exists()]
            try:
                needed = {still.file for path in owners for still in read(path).stills}
            except UsageError:
                continue
            for path in folder.iterdir():
                ours = re.fullmatch(STILL_NAME, path.name) or re.fullmatch(rf"\.{STILL_NAME}\.\d+", path.name)
                if ours and path.name not in needed:
                    path.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()

    def last_change(self) -> Undo:
        """The change that `undo` would revert. Raises UsageError if there is none, or if baselines changed since."""
        folder = self.folder / _UNDO
        if not folder.exists():
            raise UsageError(f"nothing to undo in {self.folder}")
        undo = self._undo_of(folder)
        for name in (*undo.replaced, *undo.new):
            found = _hash_of(self.folder / name)
            before = _hash_of(folder / name)
            if name in undo.replaced and before is None:
                raise UsageError(f"file not found: {folder / name}; restore the baselines from version control")
            if found not in (undo.written[name], before):
                raise UsageError(f"{self.folder / name}: was changed since it was accepted; nothing was undone")
        return undo

    def _undo_of(self, folder: Path) -> Undo:
        path = folder / _MANIFEST
        try:
            return _manifest(strict_json.loads(read_text(path, MAX_BYTES)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: cannot be read ({error}); restore the baselines from version control") from None

    def undo(self) -> Undo:
        """Restore what the last replacement replaced and remove what it added. Raises as `last_change`."""
        undo = self.last_change()
        try:
            for name in undo.replaced:
                write_atomically(self.folder / name, (self.folder / _UNDO / name).read_bytes())
            for name in undo.new:
                (self.folder / name).unlink(missing_ok=True)
            self._sweep()
            shutil.rmtree(self.folder / _UNDO)
        except OSError as error:
            raise _cannot_write(self.folder, error) from None
        return undo


def _manifest(data: Any) -> Undo:
    if data["kind"] != _KIND or data["schema_version"] != 1:
        raise ValueError("written by another version of wan-parity")
    undo = Undo(replaced=tuple(data["replaced"]), new=tuple(data["new"]), written=dict(data["written"]))
    for name in (*undo.replaced, *undo.new):
        if Path(name).name != name or not name.endswith(".json") or name not in undo.written:
            raise ValueError(f"{name} is not a baseline's file")
    return undo


def _refuse_same_in_other_case(cases: Iterable[str], folder: Path) -> None:
    """Refuse ids whose files differ in upper and lower case only: macOS and Windows take them as one file."""
    known = {path.name.casefold(): path.name for path in folder.glob("*.json")}
    for name in map(file_name, cases):
        other = known.setdefault(name.casefold(), name)
        if other != name:
            raise UsageError(f"{name} and {other} are the same file on some systems; give one of the cases another id")


def _hash_of(path: Path) -> str | None:
    try:
        return _sha256(read_bytes(path, MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(cannot_read(path, error)) from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _cannot_write(path: Path, error: OSError) -> UsageError:
    return UsageError(cannot_write(path, error))
