"""The ways out of a process as data: which module may write past the guard of `pipelines/files/shown.py`, and why.

`print`, `sys.stdout.write` and everything that libraries write to these streams is guarded, because every program of
ours guards them first. What would not be is found here; `tests/test_ways_out.py` has an example of each.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

ALLOWED: Mapping[tuple[str, str], str] = {
    ("parity/cli/completion.py", "raw"): "a script for a shell, made of our own words",
    ("parity/cli/doctor.py", "raw"): "colours of rich; the text is made visible before",
    ("parity/terminal/github.py", "raw"): "annotations, which are commands; reports/github.py escapes what is in them",
    ("parity/terminal/live.py", "raw"): "a line that is written over; its text is shown",
    ("parity/terminal/progress.py", "raw"): "colours and live lines of rich; the text is made visible before",
    ("parity/cli/main.py", "descriptor"): "nobody reads stdout any more",
    ("parity/pytest_plugin/hooks.py", "descriptor"): "a line of progress past what pytest captures; it is shown",
    ("pipelines/apart.py", "descriptor"): "the messages between two processes of ours, as JSON",
    ("parity/server/logs.py", "handler"): "to the guarded stderr, as ASCII JSON",
    ("parity/factors/troubleshooting.py", "program"): "prints pages of ours, for the repository",
    ("parity/cost/table.py", "program"): "prints tables of ours, for the repository",
    (".github/action/comment.py", "program"): "runs where this package is not; escapes by itself",
    (".github/action/gate.py", "program"): "runs where this package is not; escapes by itself",
    (".github/action/gate.py", "stream"): "what programs of ours print, byte for byte",
    (".github/action/gate.py", "child"): "programs of ours",
}
"""By module and kind of way: why it may be there."""

_STREAMS = ("sys.stdout", "sys.stderr")
_DESCRIPTOR = {"os.write", "os.writev", "os.dup", "os.dup2", "os.fdopen", "os.sendfile"}
_CHILD = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call")} | {"os.system", "os.popen"}
_HANDLER = {f"logging.{name}" for name in ("StreamHandler", "basicConfig")}
_GUARDS = {"guard_streams", "guarded", "Parent"}


def sources() -> dict[str, str]:
    """The text of every module that users run, by its path from the repository's root."""
    folders = (ROOT / name for name in ("parity", "pipelines", "reports", ".github/action"))
    paths = (path for folder in folders for path in sorted(folder.rglob("*.py")))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def violations(modules: Mapping[str, str]) -> list[str]:
    """Every way past the guard that is not allowed, as `file:line: what it is`, and permissions that nobody uses."""
    wrong, used = [], set()
    for path, text in modules.items():
        for kind, line, what in sorted(set(_ways(ast.parse(text))), key=lambda way: way[1]):
            if (path, kind) in ALLOWED:
                used.add((path, kind))
            elif path != "pipelines/files/shown.py":
                wrong.append(f"{path}:{line}: {what}")
    unused = (key for key in ALLOWED if key[0] in modules and key not in used)
    return wrong + [f"{path}: needs no permission for {kind}" for path, kind in unused]


def _ways(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """The kind, the line and the name of each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "pipelines.files.shown":
            if "raw" in {alias.name for alias in node.names}:
                yield "raw", node.lineno, "raw writes what acts on its reader"
        elif isinstance(node, ast.Attribute):
            name = _dotted(node)
            if name in ("sys.__stdout__", "sys.__stderr__"):
                yield "stream", node.lineno, f"{name} is not guarded"
            elif name in {f"{stream}.{part}" for stream in _STREAMS for part in ("buffer", "detach")}:
                yield "stream", node.lineno, f"{name} is below the guard"
        elif isinstance(node, ast.Call):
            yield from _calls(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            called = {_dotted(part.func) for part in ast.walk(tree) if isinstance(part, ast.Call)}
            if not called & _GUARDS:
                yield "program", node.lineno, "a program that does not guard its streams"
    for early in _early(tree):
        if _dotted(early) in _STREAMS:
            yield "stream", early.lineno, f"{_dotted(early)} is taken before it is guarded"


def _calls(node: ast.Call) -> Iterator[tuple[str, int, str]]:
    name, given = _dotted(node.func), {word.arg for word in node.keywords}
    if name in _DESCRIPTOR:
        yield "descriptor", node.lineno, f"{name} writes past every stream"
    elif name in _CHILD and not ("capture_output" in given or {"stdout", "stderr"} <= given):
        yield "child", node.lineno, f"{name}: what it prints is neither caught nor guarded"
    elif name in _HANDLER:
        yield "handler", node.lineno, f"{name} may hold a stream that is not guarded"
    elif name.rpartition(".")[2] == "Console" and "file" not in given:
        yield "stream", node.lineno, "rich strips no escape sequences of others; give it file=raw(…) and visible text"
    elif name == "open" and any(ast.unparse(part).startswith("'/dev/") for part in node.args):
        yield "descriptor", node.lineno, "a terminal, past every stream"


def _dotted(node: ast.AST) -> str:
    """`sys.stdout` of such an expression; nothing of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if not isinstance(node, ast.Attribute):
        return ""
    before = _dotted(node.value)
    return f"{before}.{node.attr}" if before else ""


def _early(tree: ast.Module) -> Iterator[ast.expr]:
    """Expressions that are evaluated when the module is imported."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            if isinstance(node, ast.expr):
                yield node
            waiting += ast.iter_child_nodes(node)
