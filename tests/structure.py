"""The plan of the house as data: which room may import which. `python -m tests.structure` prints it as it stands.

A room is a folder, or the files that lie directly in one. CONTRIBUTING.md has the same table for people;
`tests/test_structure.py` checks the code and that table against this one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

LINE = (
    "results",
    "case",
    "factors",
    "cost",
    "comparison",
    "pair",
    "diagnosis",
    "repeat",
    "elsewhere",
    "remote",
    "run",
    "cluster",
    "selftest",
    "cli",
    "pytest_plugin",
)
"""The rooms of `parity/` that a case passes through. Each may import `pipelines/` and those to its left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One row of the table."""

    name: str
    """A folder with a slash at its end, or `folder/*.py` for the files that lie directly in it."""
    up_to: str | None = None
    """The last room of the line that it may import, and with it all to its left, and `pipelines/`."""
    also: tuple[str, ...] = ()
    """Further rooms and modules it may import."""

    @property
    def may_import(self) -> str:
        """The last cell of its row in CONTRIBUTING.md."""
        line = () if self.up_to is None else (f"the line up to `{self.up_to}`",)
        return ", ".join([*line, *(f"`{name}`" for name in self.also)]) or "nothing"


_SIDE = ("parity/baselines/", "parity/doctor/", "parity/importing/", "parity/server/", "parity/terminal/", "reports/")

ROOMS = (
    Room(name="pipelines/files/shown.py"),
    Room(name="pipelines/errors.py", also=("pipelines/files/shown.py",)),
    Room(name="pipelines/files/", also=("pipelines/files/shown.py", "pipelines/errors.py")),
    Room(name="pipelines/*.py", also=("pipelines/errors.py", "pipelines/files/")),
    Room(name="pipelines/media/", also=("pipelines/errors.py", "pipelines/files/", "pipelines/recipe.py")),
    Room(
        name="pipelines/aitoolkit/",
        also=("pipelines/errors.py", "pipelines/files/", "pipelines/*.py", "pipelines/media/"),
    ),
    Room(
        name="pipelines/reference/",
        also=("pipelines/errors.py", "pipelines/files/", "pipelines/*.py", "pipelines/media/"),
    ),
    Room(
        name="pipelines/comfyui/",
        also=("pipelines/errors.py", "pipelines/files/", "pipelines/*.py", "pipelines/media/"),
    ),
    Room(
        name="pipelines/engine/",
        also=("pipelines/errors.py", "pipelines/files/", "pipelines/*.py", "pipelines/media/"),
    ),
    Room(name="parity/results/", also=("pipelines/",)),
    Room(name="parity/case/", up_to="results"),
    Room(name="parity/factors/", up_to="case"),
    Room(name="parity/cost/", up_to="factors"),
    Room(name="parity/comparison/", up_to="cost"),
    Room(name="parity/pair/", up_to="comparison"),
    Room(name="parity/diagnosis/", up_to="pair"),
    Room(name="parity/repeat/", up_to="diagnosis"),
    Room(name="parity/elsewhere/", up_to="repeat"),
    Room(name="parity/remote/", up_to="elsewhere"),
    Room(name="parity/run/", up_to="remote", also=("reports/",)),
    Room(name="parity/cluster/", up_to="run"),
    Room(name="parity/selftest/", up_to="run"),
    Room(name="parity/cli/", up_to="selftest", also=_SIDE),
    Room(name="parity/pytest_plugin/", up_to="cli", also=_SIDE),
    Room(name="parity/*.py", up_to="pytest_plugin", also=_SIDE),
    Room(name="reports/", also=("parity/results/", "parity/factors/", "pipelines/files/")),
    Room(name="parity/server/", also=("pipelines/",)),
    Room(name="parity/baselines/", up_to="factors"),
    Room(name="parity/importing/", up_to="factors"),
    Room(name="parity/doctor/", up_to="run"),
    Room(
        name="parity/terminal/",
        up_to="cost",
        also=("parity/diagnosis/", "parity/baselines/", "parity/importing/", "parity/selftest/", "reports/"),
    ),
    Room(name="cases/training/", also=("pipelines/",)),
)

FOREIGN: Mapping[str, tuple[str, ...]] = {
    "pytest": ("parity/pytest_plugin/", "parity/test_parity.py"),
    "_pytest": (),
    "xdist": ("parity/pytest_plugin/",),
    "httpx": ("parity/remote/client.py",),
    "fastapi": ("parity/server/",),
    "starlette": ("parity/server/",),
    "uvicorn": ("parity/server/",),
    "prometheus_client": ("parity/server/",),
    "ray": ("parity/cluster/",),
}
"""Packages of others that not every install has, or not every room needs: who alone may import them."""

NO_ENGINE = ("parity/cost/", "parity/baselines/", "parity/importing/", "parity/terminal/", "reports/")
"""Rooms that never name the engine, although `pipelines/` is open to them."""

NO_TORCH = (
    *NO_ENGINE,
    "parity/results/",
    "parity/case/",
    "parity/factors/",
    "parity/cost/",
    "parity/doctor/",
    "parity/cli/",
)
"""Rooms whose modules can be imported without torch, whatever they import in turn."""

_HEAVY = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "lpips", "skimage"}
_MOVED = ("pipelines", "reports", "cases")
"""Folders that lie below `parity` in the wheel: hatch_build.py rewrites `from pipelines…` and nothing else."""
_PACKAGES = ("parity", *_MOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module."""

    importer: str
    """File of the importing module, from the repository's root."""
    line: int
    target: str
    """File of ours, or the dotted name of another's."""
    late: bool
    """Inside a function, or for type checkers alone: importing the module does not run it."""


def sources() -> dict[str, str]:
    """The text of every module of the packages, by its path from the repository's root."""
    paths = (path for package in _PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def imports(modules: Mapping[str, str]) -> list[Import]:
    """Every import of these modules, wherever in them it stands."""
    return [found for path, text in modules.items() for found in _imports_of(path, text, modules)]


def _imports_of(path: str, text: str, modules: Mapping[str, str]) -> Iterator[Import]:
    for node, late in _statements(ast.parse(text), False):
        names: list[str]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            module = "." * node.level + (node.module or "")
            below = [f"{module}.{alias.name}" for alias in node.names]
            names = list(dict.fromkeys(name if _file(name, modules) else module for name in below))
        for name in names:
            yield Import(importer=path, line=node.lineno, target=_file(name, modules) or name, late=late)


def _statements(node: ast.AST, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for part in child.body:
                yield from _statements(ast.Module([part], []), True)
            yield from _statements(ast.Module(child.orelse, []), late)
        else:
            yield from _statements(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _file(name: str, modules: Mapping[str, str]) -> str | None:
    stem = name.replace(".", "/")
    return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in modules), None)


def covers(place: str, path: str) -> bool:
    """Return True if a file belongs to a place of the table: a folder, the files directly in it, or a file."""
    if place.endswith("/*.py"):
        return path.rpartition("/")[0] == place.removesuffix("/*.py")
    return path.startswith(place) if place.endswith("/") else path == place


def room_of(path: str) -> Room | None:
    """The room of a file: the one whose name says most."""
    found = [room for room in ROOMS if covers(room.name, path)]
    return max(found, key=lambda room: len(room.name.removesuffix("*.py")), default=None)


def allowed(room: Room) -> tuple[str, ...]:
    """The places that a room may import."""
    if room.up_to is None:
        return room.also
    line = tuple(f"parity/{name}/" for name in LINE[: LINE.index(room.up_to) + 1])
    return ("pipelines/", *line, *room.also)


def violations(modules: Mapping[str, str]) -> list[str]:
    """Every import that breaks a rule, as `file:line: what is wrong`."""
    found = imports(modules)
    wrong = [f"{path}: lies in no room of the table" for path in modules if room_of(path) is None]
    for one in found:
        wrong += [f"{one.importer}:{one.line}: {problem}" for problem in _problems(one, modules)]
    wrong += [f"{path}: {problem}" for path, text in modules.items() for problem in _unmoved(text)]
    wrong += _reaching_torch(modules, found)
    circle = floors(found)[1]
    return wrong + ([f"rooms that import each other in a circle: {', '.join(circle)}"] if circle else [])


def _problems(one: Import, modules: Mapping[str, str]) -> Iterator[str]:
    top = one.target.partition(".")[0]
    if one.target.startswith("."):
        yield "is a relative import; write the whole name"
    elif one.target in modules:
        ours, theirs = room_of(one.importer), room_of(one.target)
        if ours is None or theirs is None:
            return
        if ours is not theirs and not any(covers(place, one.target) for place in allowed(ours)):
            yield f"{ours.name} may not import {one.target}"
        elif covers("pipelines/engine/", one.target) and any(covers(place, one.importer) for place in NO_ENGINE):
            yield f"{ours.name} may not import the engine ({one.target})"
    elif top in FOREIGN and not any(covers(place, one.importer) for place in FOREIGN[top]):
        yield f"only {', '.join(FOREIGN[top]) or 'nobody'} may import {top}"
    elif top in (*_PACKAGES, "tests", "benchmarks"):
        yield f"{one.target} is no module of the packages"


def _unmoved(text: str) -> Iterator[str]:
    """Imports that the wheel's build hook would leave as they are."""
    lines = text.splitlines()
    for node, _ in _statements(ast.parse(text), False):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if any(name.partition(".")[0] in _MOVED for name in names):
            written = lines[node.lineno - 1]
            if not re.match(rf"\s*from ({'|'.join(_MOVED)})[. ]", written):
                yield f"`{written.strip()}` stays as it is in the wheel; begin the line with `from {names[0]}`"


def _reaching_torch(modules: Mapping[str, str], found: list[Import]) -> list[str]:
    """Modules of NO_TORCH whose import runs one of torch's, and the way there."""
    direct: dict[str, list[str]] = {path: [] for path in modules}
    for one in found:
        if not one.late:  # and with a module, the files of the packages it lies in
            above = [f"{folder}/__init__.py" for folder in Path(one.target).parents if one.target in modules]
            direct[one.importer] += [one.target, *(path for path in above if path in modules)]
    wrong = []
    for start in (path for path in modules if any(covers(place, path) for place in NO_TORCH)):
        ways, seen = [[start]], {start}
        while ways:
            way = ways.pop()
            heavy = [name for name in direct[way[-1]] if name.partition(".")[0] in _HEAVY]
            if heavy:
                wrong.append(f"{start}: imports {heavy[0]} ({' -> '.join([*way, heavy[0]])})")
                break
            fresh = [name for name in direct[way[-1]] if name in modules and name not in seen]
            seen.update(fresh)
            ways += [[*way, name] for name in fresh]
    return wrong


def arrows(found: list[Import]) -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second."""
    pairs = ((room_of(one.importer), room_of(one.target)) for one in found)
    return {(a.name, b.name) for a, b in pairs if a is not None and b is not None and a is not b}


def floors(found: list[Import]) -> tuple[list[list[str]], list[str]]:
    """Rooms by floor: each stands above all that it imports. And those that cannot stand: they form a circle."""
    pairs = arrows(found)
    left = [room.name for room in ROOMS if any(room_of(one.importer) is room for one in found)]
    left += [name for name in dict.fromkeys(b for _, b in pairs) if name not in left]
    built: list[list[str]] = []
    while left:
        floor = [name for name in left if not any(a == name and b in left for a, b in pairs)]
        if not floor:
            return built, left
        built.append(floor)
        left = [name for name in left if name not in floor]
    return built, []


def diagram(found: list[Import]) -> str:
    """The floors, the ground floor last, and how many rooms there are."""
    built, _ = floors(found)
    lines = [f"{number:2}  {'  '.join(floor)}" for number, floor in enumerate(built)]
    inside = [one for one in found if all(covers("parity/", path) for path in (one.importer, one.target))]
    counts = [
        f"{name}: {sum(map(len, levels))} rooms on {len(levels)} floors"
        for name, levels in (("parity/ alone", floors(inside)[0]), ("all packages", built))
    ]
    return "\n".join([*reversed(lines), "", *counts])


def main() -> int:
    """Print the floors, and how many imports break a rule."""
    modules = sources()
    found, wrong = imports(modules), violations(modules)
    print(diagram(found))
    print(f"{len(modules)} modules, {len(arrows(found))} arrows between rooms")
    print("\n".join([*wrong, f"{len(wrong)} violations"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
