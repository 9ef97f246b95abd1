"""docs/settings.md names every environment variable that the code reads, and every key of pyproject.toml."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from parity.case.schema import FORMATS
from parity.cli.completion import SHELLS
from parity.cli.main import whole_parser
from parity.cli.project import KEYS, settings
from tests.structure import sources
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
ELSEWHERE = {
    "parity/case/target.py: self.token_variable": "the case names it, WAN_PARITY_TARGET_TOKEN by default",
    "parity/cli/project.py: setting.key.variable or ''": "WAN_PARITY_CPU_KERNELS",
    "parity/cluster/run.py: cpu_kernels.VARIABLE": "WAN_PARITY_CPU_KERNELS",
    "parity/cli/settings.py: key.variable or ''": "WAN_PARITY_CPU_KERNELS",
}
"""Names that are no constants, and where they come from."""


def constants(modules: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """The text that each module's constants hold, by module and name."""
    found = {}
    for path, text in modules.items():
        for node in ast.parse(text).body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                    found[path, name] = value
    return found


def loops(modules: Mapping[str, str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The texts that each module's loops over a tuple of texts take one by one, by module and name."""
    found = {}
    for path, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            match node:
                case (
                    ast.For(target=ast.Name(id=name), iter=ast.Tuple(elts=items))
                    | ast.comprehension(target=ast.Name(id=name), iter=ast.Tuple(elts=items))
                ):
                    texts = [item.value for item in items if isinstance(item, ast.Constant)]
                    found[path, name] = tuple(text for text in texts if isinstance(text, str))
    return found


def names_read(modules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every variable read from something called `environ`, or by getenv, with the module that does."""
    known, listed = constants(modules), loops(modules)
    for path, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(func=ast.Attribute(value=source, attr="get" | "setdefault" | "pop"), args=[name, *_]):
                    pass
                case ast.Subscript(value=source, slice=name):
                    pass
                case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()], comparators=[source]):
                    pass
                case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="getenv") as source, args=[name, *_]):
                    pass
                case _:
                    continue
            if ast.unparse(source).rpartition(".")[2] not in ("environ", "getenv"):
                continue
            match name:
                case ast.Constant(value=str(value)):
                    yield path, value
                case ast.Name(id=constant) if (path, constant) in listed:
                    yield from ((path, value) for value in listed[path, constant])
                case ast.Name(id=constant):
                    same = {value for (_, other), value in known.items() if other == constant}
                    yield path, known.get((path, constant)) or (same.pop() if len(same) == 1 else constant)
                case _:
                    yield path, ast.unparse(name)


def undocumented(modules: Mapping[str, str]) -> list[str]:
    named = set(re.findall(r"`([A-Za-z][A-Za-z0-9_]+)`", PAGE.partition("## Environment variables")[2]))
    found = {f"{path}: {name}" for path, name in names_read(modules) if name not in named}
    return sorted(found - ELSEWHERE.keys())


def test_every_variable_that_is_read_is_in_the_table() -> None:
    assert undocumented(sources()) == []
    assert len({name for _, name in names_read(sources())}) > 8


def test_every_variable_that_is_named_is_in_the_table() -> None:
    """In help, messages and lists, where no call shows that it is read."""
    named = {name for text in sources().values() for name in re.findall(r"\bWAN_PARITY_[A-Z_]+\b", text)}
    assert {name for name in named if f"`{name}`" not in PAGE} == set()


def test_one_that_is_missing_is_found() -> None:
    modules = {
        "a.py": 'import os\nNAME = "ONE"\nos.environ.get(NAME)\nos.environ["TWO"]\nos.getenv("THREE")',
        "b.py": '"FOUR" in asked.environ\nos.environ.get("HF_HOME")\nos.environ.get(other.name)\nx.get("FIVE")',
        "c.py": 'for name in ("SIX", "HF_HOME"):\n    environ.get(name)\n[environ[n] for n in ("SEVEN",)]',
    }
    missing = ["a.py: ONE", "a.py: THREE", "a.py: TWO", "b.py: FOUR", "b.py: other.name", "c.py: SEVEN", "c.py: SIX"]
    assert undocumented(modules) == missing


def test_every_key_of_pyproject_is_in_the_table() -> None:
    page = PAGE.partition("## Environment variables")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert [(name, commands.replace("`", ""), default.replace("`", "")) for name, commands, default in rows] == [
        (key.name, ", ".join(key.commands), key.default) for key in KEYS
    ]


def test_the_example_for_pyproject_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(example)
    assert settings(tmp_path)["device"].value == "cuda:0"


def test_commands_for_editors_and_shells_parse() -> None:
    page = (ROOT / "docs" / "editors.md").read_text(encoding="utf-8")
    commands = re.findall(r"\bparity ((?:schema|completion) [a-z]+(?: --out \S+)?)", page)
    assert {words.split()[1] for words in commands} == {*FORMATS, *SHELLS}
    for words in commands:
        whole_parser().parse(words.split())
