"""Nothing in the source can make code of data: no pickles, no eval, no shell, no code of a checkpoint (SECURITY.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("parity", "pipelines", "reports", "benchmarks", ".github")
"""`cases/training/` is no part of the package, and loads what it made itself."""

ALLOWED = {
    "pipelines/apart.py": "pickle",  # a task, from the process that started this one, through a pipe; none comes back
    "benchmarks/gpu/real.py": "pickle",  # its own, in a folder that it made
    "benchmarks/__main__.py": "import_module",  # modules named in its own table
    "benchmarks/gpu/worker.py": "import_module",
}
"""The places that may, and why."""

_PICKLES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle")
_ARGUMENT = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
"""Calls that must say this."""
_NEVER = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__"), "code of text"),
    **dict.fromkeys(("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"), "objects of YAML"),
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"), "a shell"),
    **dict.fromkeys(("torch.hub.load", "runpy.run_path", "runpy.run_module"), "code of elsewhere"),
    **dict.fromkeys(("importlib.import_module", "import_module"), "import_module"),
}
_MODELS = ("AutoencoderKLWan", "WanTransformer3DModel", "model", "pipeline")
"""Whose `from_pretrained` falls back to pickled weights. Tokenizers and processors have none."""


def dangers(source: str) -> Iterator[tuple[int, str]]:
    """The lines of a Python file that could run what they read, and how."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, "pickle") for name in names if name.name.partition(".")[0] in _PICKLES)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in _PICKLES:
                yield node.lineno, "pickle"
            case ast.Call():
                yield from ((node.lineno, kind) for kind in _of_call(node))
            case ast.Constant(value=str(text)) if text in ("trust_remote_code", "custom_pipeline"):
                yield node.lineno, text


def _of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {each.arg: each.value for each in call.keywords if each.arg is not None}
    if name in _NEVER:
        yield _NEVER[name]
    if name in _ARGUMENT:
        argument, value = _ARGUMENT[name]
        if not _is(given.get(argument), value):
            yield f"{name} without {argument}={value}"
    if "shell" in given and not _is(given["shell"], False):
        yield "a shell"
    if "trust_remote_code" in given and not _is(given["trust_remote_code"], False):
        yield "trust_remote_code"
    if "custom_pipeline" in given:
        yield "custom_pipeline"
    owner, _, method = name.rpartition(".")
    if method == "from_pretrained" and owner in _MODELS and not _is(given.get("use_safetensors"), True):
        yield "from_pretrained without use_safetensors=True"
    if owner.startswith("Auto") and owner != "AutoencoderKLWan" and not _is(given.get("trust_remote_code"), False):
        yield "an Auto class without trust_remote_code=False"


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_runs_what_it_reads() -> None:
    files = [path for name in SOURCES for path in (ROOT / name).rglob("*.py")]
    assert len(files) > 300
    found = [(path.relative_to(ROOT).as_posix(), *danger) for path in files for danger in dangers(path.read_text())]
    assert [place for place in found if ALLOWED.get(place[0]) != place[2]] == []
    assert {place[0] for place in found} == set(ALLOWED)  # none that no longer needs to


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file)",
        "yaml.load(text, yaml.Loader)",
        "eval(text)",
        "exec(text)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "importlib.import_module(name)",
        "AutoTokenizer.from_pretrained(folder)",
        "AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
        "AutoencoderKLWan.from_pretrained(folder)",
        "pipeline.from_pretrained(folder, custom_pipeline='evil', use_safetensors=True)",
        "f(**{'trust_remote_code': True})",
    ],
)
def test_each_of_them_would_be_found(line: str) -> None:
    assert list(dangers(line))


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(file, weights_only=True)",
        "np.load(file, allow_pickle=False)",
        "AutoTokenizer.from_pretrained(folder, trust_remote_code=False)",
        "AutoencoderKLWan.from_pretrained(folder, use_safetensors=True)",
        "model.eval()",
        "re.compile(pattern)",
    ],
)
def test_what_is_harmless_is_not(line: str) -> None:
    assert not list(dangers(line))
