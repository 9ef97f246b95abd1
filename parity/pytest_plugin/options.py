"""The `pytest11` entry point: options, and whether a session is about cases at all. Imports nothing heavy.

Every pytest session of an environment with wan-parity in it loads this module; the hooks, and with them torch, are
loaded only where cases are asked for: by `--parity-cases`, or by naming the package's own test file or folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parity.cli import project
from parity.cli.options import (
    Gather,
    add_baselines,
    add_max_size,
    add_repeat,
    add_running,
    add_shard,
    add_stills,
    add_tag,
    add_target,
)
from pipelines import cpu_kernels
from pipelines.errors import ParityError

ENTRY = Path(__file__).parents[1] / "test_parity.py"
"""One test a case."""
_MODULES = ("parity", "parity.test_parity")
"""The names for it with `--pyargs`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "wan-parity (`parity run --help` has examples)")
    group.addoption(
        "--parity-cases",
        action=Gather,
        type=Path,
        metavar="PATH",
        help="test the cases of this file, or of this folder of *.yaml (repeatable; with `--pyargs parity` and without "
        "this option: the embedded demo)",
    )
    add_tag(group.addoption, "--parity-")
    add_shard(group.addoption, "--parity-")
    add_running(group.addoption, "--parity-")
    add_repeat(group.addoption, "--parity-")
    add_target(group.addoption, "--parity-")
    group.addoption(
        "--parity-diagnose",
        choices=("on-failure", "always"),
        help="find out how much each factor matters: on-failure for cases that drifted, which are generated once more, "
        "always for all cases (slow; default: never)",
    )
    add_stills(group.addoption, "--parity-")
    add_max_size(group.addoption, "--parity-")
    add_baselines(group.addoption, "--parity-")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Read pyproject.toml, and choose CPU kernels before a conftest.py imports torch, where cases are asked for."""
    known = early_config.known_args_namespace
    names = {Path(argument.partition("::")[0]).name for argument in args}
    if not known.parity_cases and names.isdisjoint((ENTRY.parent.name, ENTRY.name, *_MODULES)):
        return
    try:
        defaults = project.defaults(project.PYTEST)
        for name, value in defaults.items():
            setattr(early_config.option, f"parity_{name}", value)  # what arguments replace when they are parsed
        cpu_kernels.choose(known.parity_cpu_kernels or defaults.get("cpu_kernels"))
        cpu_kernels.apply()
    except ParityError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_configure(config: pytest.Config) -> None:
    """Load the hooks where cases are asked for. `--parity-cases` alone collects them; with paths, them too."""
    folder = config.invocation_params.dir
    if config.getoption("--parity-cases") and config.args_source != pytest.Config.ArgsSource.ARGS:
        config.args = []
    config.args = [_ours(argument, folder) for argument in config.args]
    if config.getoption("--parity-cases") and not _asked_for(config):
        config.args.append(str(ENTRY.parent))  # its file alone, outside the project's root, would have no name
    if _asked_for(config):
        from parity.pytest_plugin import hooks

        config.addinivalue_line("python_files", ENTRY.name)  # a project's own pattern may leave it out
        config.pluginmanager.register(hooks, "parity-hooks")


def _asked_for(config: pytest.Config) -> bool:
    """Return whether the tests of cases are among what pytest is to collect."""
    if config.option.pyargs and any(argument.partition("::")[0] in _MODULES for argument in config.args):
        return True
    return any(ENTRY.is_relative_to(_path(argument, config.invocation_params.dir)) for argument in config.args)


def _path(argument: str, folder: Path) -> Path:
    return Path(os.path.realpath(folder / argument.partition("::")[0]))


def _ours(argument: str, folder: Path) -> str:
    """`parity/` of a checkout beside an installed wheel: the same tests, but of the package that is installed."""
    path, ours = _path(argument, folder), ENTRY.parent
    file = path / ENTRY.name if path.name == ours.name else path
    is_copy = file.name == ENTRY.name and (file.parent / "pytest_plugin" / "options.py").is_file()
    if not is_copy or file.parent == Path(os.path.realpath(ours)):
        return argument
    return str(ours if path.name == ours.name else ENTRY) + "".join(argument.partition("::")[1:])
