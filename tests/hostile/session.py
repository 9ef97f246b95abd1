"""Feeds strings to commands, each in a copy of a workplace, and judges all that comes out."""

from __future__ import annotations

import dataclasses
import gc
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile.laws import file_problems, printed_problems
from tests.hostile.strings import Hostile
from tests.malformed.execute import Command, Run, run_all

CODES = (0, 1, 2, 3)
"""The exit codes that the commands document."""
LIMIT_S = {False: 60.0, True: 120.0}
_BATCH = 16
_NAMED = "env:"
_MANY = 20
"""More annotations than GitHub shows of a step, which is how many `parity` prints."""

PYTEST = "pytest"
"""The first argument of a command that is pytest's, with its exit codes."""

Words = Callable[[Sequence[str]], Sequence[str]]
"""The arguments of `parity`, given the strings."""

Put = Callable[[Path, Sequence[str]], None]
"""Puts strings into the intact workplace in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place, or several at once, in an input that a command reads."""

    kind: str
    where: str
    command: Words
    put: Put
    places: int = 1
    """The number of strings that it takes at once."""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_json: bool = False
    """True if stdout is JSON."""
    twin: bool = False
    """True if its pages must have the elements, and its output the annotations, of a run with harmless strings."""
    torch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A slot with strings."""

    slot: Slot
    strings: tuple[Hostile, ...]

    @property
    def name(self) -> str:
        names = self.strings[0].name if len(self.strings) == 1 else f"{len(self.strings)} from {self.strings[0].name}"
        return f"{self.slot.kind}: {self.slot.where}: {names}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a feed."""

    feed: Feed
    run: Run
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Harmless:
    """What a slot's harmless run wrote and printed."""

    folder: Path
    annotations: int
    code: int


def fixed(*arguments: str) -> Words:
    """A command that is the same for every string."""
    return lambda _: arguments


def calm(feed: Feed) -> Feed:
    """The same slot with harmless strings of the same shape: letters instead of what anything could obey."""
    strings = (
        Hostile(f"calm {one.name}", re.sub(r"[^\w ./\\\n]|[\x85\u2028\u2029]", "x", one.text)) for one in feed.strings
    )
    return Feed(slot=feed.slot, strings=tuple(strings))


def judged(
    feeds: Sequence[Feed], whole: Path, scratch: Path, command: Command | None = None, *, at_once: int = 2
) -> Iterator[Verdict]:
    """Run all feeds. `whole`: a workplace to copy, `scratch`: a folder for the copies. `command`: default `parity`."""
    for torch in (False, True):
        mine = [feed for feed in feeds if feed.slot.torch is torch]
        if not mine:
            continue
        run = _prepared(command or _parity(torch))
        gc.collect()
        gc.freeze()  # so that a child's collector copies no pages of what it shares
        for start in range(0, len(mine), _BATCH):
            batch = mine[start : start + _BATCH]
            twins = {number: calm(feed) for number, feed in enumerate(batch) if feed.slot.twin}
            harmless = {}
            for (verdict, folder), number in zip(
                _in_order(list(twins.values()), whole, scratch / "calm", run, {}, LIMIT_S[torch], at_once),
                twins,
                strict=True,
            ):
                if verdict.problems:
                    yield verdict
                stdout = folder.with_name(f"{folder.name}.stdout").read_bytes().decode(errors="replace")
                count = sum(line.startswith("::") for line in stdout.split("\n"))
                harmless[number] = _Harmless(folder=folder, annotations=count, code=verdict.run.code)
            for verdict, _ in _in_order(batch, whole, scratch / "batch", run, harmless, LIMIT_S[torch], at_once):
                yield verdict
            for name in ("calm", "batch"):
                shutil.rmtree(scratch / name)


def _in_order(*given: Any) -> list[tuple[Verdict, Path]]:
    """What `_batch` yields as commands end, in the order of the feeds."""
    return [(verdict, folder) for verdict, folder in sorted(_batch(*given), key=lambda pair: pair[1])]


def _batch(
    feeds: Sequence[Feed],
    whole: Path,
    scratch: Path,
    command: Command,
    harmless: Mapping[int, _Harmless],
    limit_s: float,
    at_once: int,
) -> Iterator[tuple[Verdict, Path]]:
    scratch.mkdir()
    work: list[tuple[Path, Sequence[str]]] = []
    before: list[set[Path]] = []
    for number, feed in enumerate(feeds):
        folder = scratch / f"{number:02}"
        shutil.copytree(whole, folder, symlinks=True)
        texts = [string.text for string in feed.strings]
        feed.slot.put(folder, texts)
        named = [f"{_NAMED}{name}={value}" for name, value in feed.slot.environment.items()]
        work.append((folder, [*named, *feed.slot.command(texts)]))
        before.append(set(folder.rglob("*")))
    for number, run in run_all(work, command, limit_s=limit_s, at_once=at_once):
        feed, folder = feeds[number], work[number][0]
        found = _problems(feed, run, folder, before[number], harmless.get(number))
        yield Verdict(feed=feed, run=dataclasses.replace(run), problems=tuple(found)), folder


def _problems(feed: Feed, run: Run, folder: Path, before: set[Path], harmless: _Harmless | None) -> list[str]:
    found = []
    if run.hung:
        found.append(f"hung: still at work after {run.seconds:.0f} s")
    elif run.code not in CODES and not (feed.slot.kind == PYTEST and run.code in (4, 5)):
        found.append(f"exit code {run.code}")
    elif harmless is not None and run.code != harmless.code:
        found.append(f"exit code {run.code}, where a harmless run has {harmless.code}")
    for name in ("stdout", "stderr"):
        file = folder.with_name(f"{folder.name}.{name}")
        data = file.read_bytes() if file.exists() else b""
        allowed = _annotations(feed.slot, harmless) if name == "stdout" else 0
        found += printed_problems(name, data, is_json=feed.slot.is_json and name == "stdout", annotations=allowed)
        if name == "stderr" and run.code in (2, 3) and not data:
            found.append(f"exit code {run.code} without a word")
    for path in sorted(path for path in set(folder.rglob("*")) - before if ".undo" not in path.parts):
        name = path.relative_to(folder).as_posix()
        if feed.slot.kind in ("argument", "variable") and path.suffix != ".html" and path.name != "owned":
            continue  # it may be named so because the command was told to
        twin = None if harmless is None else harmless.folder / name
        found += file_problems(path, name, twin if twin is not None and twin.is_file() else None)
    return found


def _annotations(slot: Slot, harmless: _Harmless | None) -> int:
    """The number of annotations that stdout may have."""
    return harmless.annotations if harmless is not None else _MANY if "GITHUB_STEP_SUMMARY" in slot.environment else 0


def _prepared(command: Command) -> Command:
    """The command with its environment from its first arguments, and streams as a terminal in UTF-8 has them."""

    def run(arguments: Sequence[str]) -> int:
        rest = list(arguments)
        while rest and rest[0].startswith(_NAMED):
            name, _, value = rest.pop(0).removeprefix(_NAMED).partition("=")
            os.environ[name] = value
        sys.argv = ["parity", *rest]
        sys.stdout.reconfigure(encoding="utf-8", errors="strict")  # type: ignore[union-attr]
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
        return _pytest(rest[1:]) if rest[0] == PYTEST else command(rest)

    return run


def _pytest(arguments: Sequence[str]) -> int:
    import pytest

    plugins = ("cacheprovider", "schemathesis", "hypothesispytest", "faulthandler", "playwright", "base_url")
    return int(pytest.main([*(f"-pno:{name}" for name in plugins), "--junitxml=junit.xml", "--pyargs", *arguments]))


def _parity(torch: bool) -> Command:
    """Return the command with everything it would import already imported, so that no child has to."""
    from tests.malformed.session import parity

    for name in ("GITHUB_WORKSPACE", "NO_COLOR", "FORCE_COLOR"):
        os.environ.pop(name, None)
    return parity(torch)
