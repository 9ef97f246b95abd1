"""`[tool.wan-parity]` in pyproject.toml: defaults of options, below the command line and the environment."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.cli import project
from parity.cli.main import main, whole_parser
from parity.cli.project import KEYS, PYTEST, defaults, settings
from pipelines.errors import UsageError
from tests.conftest import CaseFiles

OTHER = {
    ("import", "out"): "the folder of cases",
    ("import", "cases"): "none",
    ("report", "out"): "a file",
    ("report", "baselines"): "judges results anew, perhaps another machine's: only when it is asked to",
    ("report", "noise-psnr"): "of those baselines",
    ("report", "noise-ssim"): "of those baselines",
    ("compare", "out"): "asked for, or nothing is written",
    ("schema", "out"): "a file",
    ("serve", "timeout"): "of a whole request, and the server must have one",
    ("cache prune", "max-size"): "of the cache",
}
"""Options named like a key that mean something else."""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a project's pyproject.toml with this table and goes there."""
    monkeypatch.delenv("WAN_PARITY_CPU_KERNELS", raising=False)
    (tmp_path / ".git").mkdir()

    def write(*lines: str) -> Path:
        path = tmp_path / "pyproject.toml"
        path.write_text("\n".join(["[project]", 'name = "x"', "", "[tool.wan-parity]", *lines, ""]))
        monkeypatch.chdir(tmp_path)
        return path

    return write


def parsed(*arguments: str) -> argparse.Namespace:
    parser = whole_parser()
    command = parser.called(arguments)
    command.set_defaults(**defaults(command.prog.removeprefix("parity ")))
    return parser.parse(arguments)


def test_every_option_named_like_a_key_is_decided() -> None:
    """Each key's commands have its option, and each other option of that name is known to mean something else."""
    names = {key.option or key.name for key in KEYS}
    keys = {(command, key.option or key.name): key for key in KEYS for command in key.commands}
    found = set()
    for parser in whole_parser().family():
        command = parser.prog.removeprefix("parity ")
        for action in parser._actions:
            options = [option for option in action.option_strings if not option.startswith("--no-")]
            name = "cases" if action.metavar == "CASES" else (options or [""])[-1].removeprefix("--")
            if name in names and (command, name) not in OTHER:
                assert (command, name) in keys, f"{command} --{name}: a key, or something else?"
                found.add((command, name))
                assert action.type == project._options()[keys[command, name].name].type
    assert found == {(command, name) for command, name in keys if command != PYTEST}


def test_pytest_has_the_options(pytestconfig: pytest.Config) -> None:
    for key in KEYS:
        assert hasattr(pytestconfig.option, f"parity_{key.name.replace('-', '_')}") == (PYTEST in key.commands)


def test_defaults_are_as_the_options_have_them(write: Write) -> None:
    write()
    options = vars(parsed("run")) | vars(parsed("baseline", "check"))
    for key in KEYS:
        value = vars(parsed("baseline", "accept"))["stills"] if key.option else options[key.dest]
        if value not in (None, (), []):
            shown = value >> 20 if key.name == "max-size" else value
            assert key.default == (str(shown).lower() if isinstance(value, bool) else str(shown).removesuffix(".0"))


def test_values_replace_the_defaults_of_their_commands(write: Write) -> None:
    write(
        'cases = ["cases", "more"]',
        'tag = "t2v"',
        'out = "build/parity"',
        'device = "cpu"',
        "max-size = 1.5",
        "timeout = 600",
        'baselines = "accepted"',
        "noise-psnr = 44",
        'offload = "model"',
        'target = "http://gpu1:8000/"',
        "isolate = true",
    )
    assert not parsed("run", "--no-isolate").isolate
    options = parsed("run")
    assert options.isolate
    assert options.cases == (Path("cases"), Path("more"))
    assert options.tag == ("t2v",)
    assert (options.out, options.device, options.offload) == (Path("build/parity"), "cpu", "model")
    assert (options.max_size, options.timeout, options.target) == (3 << 19, 600.0, "http://gpu1:8000")
    assert parsed("report", "x").max_size == 3 << 19
    assert parsed("report", "x").out is None
    assert parsed("import", "x").out is None
    options = parsed("baseline", "check")
    assert (options.baselines, options.noise_psnr, options.cases) == (Path("accepted"), 44.0, [])


@pytest.mark.parametrize("command", ["baseline accept", "baseline check", "expect"])
def test_results_are_read_where_runs_go(command: str, write: Write) -> None:
    write('out = "build/parity"')
    assert parsed(*command.split()).results == (Path("build/parity"),)
    assert parsed(*command.split(), "--results", "a", "--results", "b").results == [Path("a"), Path("b")]
    write()
    assert parsed(*command.split()).results == ()


def test_arguments_replace_them(write: Write) -> None:
    write('cases = "cases"', 'tag = ["t2v", "i2v"]', 'device = "cuda"', "timeout = 600", 'cpu-kernels = "native"')
    arguments = ["run", "mine.yaml", "--tag", "a", "--tag", "b", "--device", "auto", "--timeout", "5"]
    options = parsed(*arguments, "--cpu-kernels", "portable")
    assert options.cases == [Path("mine.yaml")]
    assert options.tag == ["a", "b"]
    assert (options.device, options.timeout, options.cpu_kernels) == ("auto", 5.0, "portable")


def test_the_environment_comes_before_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write('cpu-kernels = "native"')
    assert parsed("run").cpu_kernels == "native"
    monkeypatch.setenv("WAN_PARITY_CPU_KERNELS", "portable")
    assert parsed("run").cpu_kernels is None


def test_paths_are_relative_to_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write('cases = "cases"', 'baselines = "/srv/baselines"').parent
    (folder / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "er")
    assert parsed("run").cases == (Path("../../cases"),)
    assert parsed("baseline", "show").baselines.resolve() == Path("/srv/baselines")


def test_the_search_goes_up_to_the_repository_and_no_further(write: Write, tmp_path: Path) -> None:
    write('device = "cpu"')
    inner = tmp_path / "inner"
    (inner / "below").mkdir(parents=True)
    (inner / "pyproject.toml").write_text('[project]\nname = "inner"\n')
    assert settings(inner / "below")["device"].file == tmp_path / "pyproject.toml"
    (inner / ".git").touch()  # a worktree's
    assert settings(inner / "below") == {}


def test_the_home_folder_ends_the_search(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write('device = "cpu"')
    (tmp_path / "home" / "me").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert settings(tmp_path / "home" / "me") == {}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["", 'devcie = "cpu"'], ":6: tool.wan-parity.devcie: unknown key; did you mean device?"),
        (['cpu_kernels = "native"'], ":5: tool.wan-parity.cpu_kernels: unknown key; did you mean cpu-kernels?"),
        (['offload = "modle"'], ":5: tool.wan-parity.offload: unknown value 'modle'; did you mean model?"),
        (["device = 0"], ":5: tool.wan-parity.device: must be text in quotes, is 0"),
        (["cases = [1]"], ':5: tool.wan-parity.cases: must be "cases", is 1'),
        (['out = ["a", "b"]'], ":5: tool.wan-parity.out: must be one value, not a list"),
        (['isolate = "yes"'], ":5: tool.wan-parity.isolate: must be true or false, is 'yes'"),
        (["timeout = true"], ":5: tool.wan-parity.timeout: must be a number, is True"),
        (['timeout = "soon"'], ":5: tool.wan-parity.timeout: must be a number of seconds above 0, e.g. 600"),
        (["# timeout", "noise-ssim = 2"], ":6: tool.wan-parity.noise-ssim: must be a number between 0 and 1"),
        (['target = "gpu1"'], ":5: tool.wan-parity.target: "),
        (['out = ""'], ":5: tool.wan-parity.out: cannot be ''; leave the key out for the default"),
        (['baselines = "a\\u0000b"'], ":5: tool.wan-parity.baselines: cannot be "),
        (["timeout = nan"], ":5: tool.wan-parity.timeout: must be a number of seconds above 0"),
        (["cases = [[1]]"], ':5: tool.wan-parity.cases: must be "cases", is [1]'),
        (["device = 2026-11-30"], ":5: tool.wan-parity.device: must be text in quotes, is datetime"),
        (["[tool.wan-parity.run]", 'device = "cpu"'], ":5: tool.wan-parity.run: unknown key"),
        (["device = cpu"], ": [tool.wan-parity] cannot be read: Invalid value (at line 5"),
    ],
)
def test_a_mistake_is_one_message(
    lines: list[str], said: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(*lines)
    for arguments in (["run"], ["settings"]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"parity: {path}")
        assert said in error
        assert error.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert main(["models"]) == 0  # has no settings


def test_a_broken_file_without_the_table_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project\n")
    assert settings(tmp_path) == {}
    (tmp_path / "pyproject.toml").write_text("[tool]\nwan-parity = 3\n")
    with pytest.raises(UsageError, match=r":2: tool.wan-parity: must be a table of settings"):
        settings(tmp_path)


def test_settings_say_where_each_comes_from(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write('tag = ["t2v", "i2v"]', "timeout = 600", 'cpu-kernels = "native"')
    monkeypatch.setenv("WAN_PARITY_CPU_KERNELS", "portable")
    assert main(["settings"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "t2v, i2v" in rows["tag"]
    assert "pyproject.toml:5" in rows["tag"]
    assert "$WAN_PARITY_CPU_KERNELS" in rows["cpu-kernels"]
    assert "default" in rows["device"]
    assert main(["settings", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == str(path)
    by_name = {row["name"]: row for row in found["settings"]}
    assert (by_name["timeout"]["value"], by_name["timeout"]["source"]) == (600, "pyproject.toml:6")
    assert list(by_name) == [key.name for key in KEYS]


def test_plan_reads_the_projects_cases(write: Write, cases: CaseFiles, capsys: pytest.CaptureFixture[str]) -> None:
    write(f"cases = {json.dumps([str(cases.write('mine'))])}")
    assert main(["plan", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == ["mine"]
