"""The rules for how a command must end when it reads a malformed input."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from parity.baselines.file import from_text
from parity.case.keys import CaseKeys, validate
from parity.case.schema import CASE_FILE_NAME
from parity.results.case import Run as Results
from parity.results.json_text import from_json
from pipelines.errors import CaseError
from pipelines.files.document import read
from tests.malformed.execute import Run
from tests.malformed.inputs import Input

MEMORY = 1 << 30
"""The memory limit in bytes: of the process without torch; with torch, of what the command adds to it."""

Snapshot = Mapping[str, str]
"""The entries of a folder by path."""


def snapshot(folder: Path) -> Snapshot:
    """Every entry of a folder, files by content."""
    found: dict[str, str] = {}
    for path in folder.rglob("*"):
        mode = os.lstat(path).st_mode
        name = path.relative_to(folder).as_posix()
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        elif stat.S_ISLNK(mode):
            found[name] = f"link to {path.readlink()}"
        else:
            found[name] = f"kind {stat.S_IFMT(mode):o}"
    return found


def problems(item: Input, run: Run, folder: Path, before: Snapshot) -> list[str]:
    """List the problems with how a command ended; empty if there are none."""
    found: list[str] = []
    if run.hung:
        found.append(f"hung: still at work after {run.seconds:.0f} s")
    if "Traceback" in run.stderr or "Traceback" in run.stdout:
        found.append(f"traceback: {_last_line(run.stderr)}")
    allowed = (2, 3) if item.must == "refused" else (0, 1, 2, 3)
    if run.code not in allowed and not run.hung:
        found.append(f"exit code {run.code} instead of {' or '.join(map(str, allowed))}: {_last_line(run.stderr)}")
    used = run.growth if item.torch else run.peak
    if used > MEMORY:
        found.append(f"took {used >> 20} MiB")
    if run.code in (2, 3) and not found:
        found += _message_problems(item, run, folder)
    return found + _left_behind(run, folder, before)


def message(run: Run, folder: Path) -> list[str]:
    """Return the message to the user: stderr from `parity: ` on, or the lines of a case that failed to run."""
    told = ["parity: " + part for part in f"\n{run.stderr}".split("\nparity: ")[1:]]
    results = _results(folder)
    if not told and results is not None:
        cases = re.findall(r"^ERROR  .*(?:\n    .*)+", run.stderr, re.MULTILINE)
        told = [lines for lines in cases if "could not be run" in lines]
    return [part.strip() for part in told]


def _message_problems(item: Input, run: Run, folder: Path) -> list[str]:
    """One message that names the file, and nothing beside it."""
    told = message(run, folder)
    if len(told) != 1:
        return [f"{len(told)} messages: {run.stderr.strip()[:400]!r}"]
    found = []
    name = Path(item.target).name
    if item.names and name not in told[0]:
        found.append(f"the message does not name {name}: {told[0][:300]!r}")
    if item.says not in told[0]:
        found.append(f"the message does not say {item.says!r}: {told[0][:300]!r}")
    if len(told[0]) > 2000:
        found.append(f"the message has {len(told[0])} characters: {told[0][:120]!r}")
    if "Warning" in run.stderr:
        found.append(f"a warning beside the message: {run.stderr[:300]!r}")
    return found


def _left_behind(run: Run, folder: Path, before: Snapshot) -> list[str]:
    """Inputs must be unchanged; new files must be complete."""
    after = snapshot(folder)
    found = [f"{name} was changed" for name in before if name in after and after[name] != before[name]]
    found += [f"{name} is gone" for name in before if name not in after]
    for name in sorted(set(after) - set(before)):
        reason = _not_whole(run, folder / name)
        if reason is not None:
            found.append(f"left {name}: {reason}")
    return found


def _not_whole(run: Run, path: Path) -> str | None:
    """Say why a new entry must not remain."""
    if path.is_dir() or path.name == ".gitignore":
        return None
    if run.code in (2, 3) and path.name != "results.json":
        return "written although the command failed"
    try:
        if path.name == "results.json":
            results = from_json(path.read_text(encoding="utf-8"))
            return None if results.finished is not None and results.cases else "of a run that did not finish"
        if path.name == "report.html":
            return None if path.read_text(encoding="utf-8").rstrip().endswith("</html>") else "cut off"
        if path.parent.name in ("baselines", "fresh"):
            from_text(path.read_text(encoding="utf-8"))
            return None
        if path.suffix == ".yaml":
            validate(read(path), CaseKeys)
            return None
    except (ValueError, CaseError) as error:
        return str(error)
    known = {".undo", "artifacts", CASE_FILE_NAME} & set(path.parts) or path.parent.suffix == ".stills"
    return None if known and not path.name.startswith("._") else "of no kind that the command writes"


def _results(folder: Path) -> Results | None:
    path = folder / "out" / "results.json"
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "(nothing on stderr)"
