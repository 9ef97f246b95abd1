"""The action, the workflows and the GitLab example: their form, and every command line they hold is understood."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from _pytest.config import get_config
from xdist import plugin as xdist

from parity.cli.main import whole_parser
from parity.pytest_plugin import options as plugin
from tests.support.documented import blocks
from tests.support.paths import ROOT
from tests.support.steps import SCRIPTS
from tests.support.tools import lint

WORKFLOWS = ROOT / ".github" / "workflows"
ACTION = ROOT / "action.yml"
GITLAB = ROOT / "examples" / "ci" / "gitlab-ci.yml"
EXAMPLES = ROOT / "examples" / "ci"
FILES = sorted(WORKFLOWS.glob("parity-*.yml"))
TESTS = WORKFLOWS / "tests.yml"
OWN_ACTION = "./.wan-parity"
STUB = """#!/bin/bash
printf '%s\\x1f' "${0##*/}" "$@" >> "$LOG"; printf '\\x1e' >> "$LOG"
"""


def document(path: Path) -> dict[Any, Any]:
    data: dict[Any, Any] = yaml.safe_load(path.read_text())
    return data


def triggers(path: Path) -> dict[str, Any]:
    data = document(path)
    found: dict[str, Any] = data.get("on", data.get(True, {}))  # YAML 1.1 reads `on` as true
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    """The steps of a workflow's jobs, or of the action."""
    data = document(path)
    if "runs" in data:
        found: list[dict[str, Any]] = data["runs"]["steps"]
        return found
    return [step for job in data["jobs"].values() for step in job["steps"]]


class Shell:
    """Runs scripts in bash with a stub for every program that they could call, which notes its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "log"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for name in ("pip", "python", "python3", "pytest", "parity", "nvidia-smi", "apt-get"):
            (programs / name).write_text(STUB)
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LOG": str(self._log),
            "RUNNER_TEMP": str(folder / "temp"),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_PATH": str(folder / "path"),
            "GITHUB_OUTPUT": str(folder / "output"),
        }

    def without(self, program: str) -> None:
        """Let a program fail."""
        (self.folder / "bin" / program).write_text("#!/bin/bash\nexit 1\n")

    def __call__(self, script: str, **values: str) -> list[list[str]]:
        """The command lines that a script calls; fails if the script does."""
        self._log.write_text("")
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=self.folder, env={**self.environment, **values}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [call.split("\x1f")[:-1] for call in self._log.read_text().split("\x1e")[:-1]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def pytest_options(arguments: list[str]) -> Any:
    """Parse options like pytest, with ours and xdist's. Fails for an option that does not exist."""
    parser = get_config()._parser
    xdist.pytest_addoption(parser)
    plugin.pytest_addoption(parser)
    known, unknown = parser.parse_known_and_unknown_args(arguments)
    assert not unknown
    return known


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("github-workflows", path) for path in sorted(WORKFLOWS.iterdir())),
        ("github-actions", ACTION),
        ("gitlab-ci", GITLAB),
        ("github-workflows", EXAMPLES / "github-shards.yml"),
        ("gitlab-ci", EXAMPLES / "gitlab-shards.yml"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_schemas_of_github_and_gitlab_hold(schema: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert violations(schema, path) == 0, capsys.readouterr().out


def violations(schema: str, path: Path) -> int:
    arguments = ["--builtin-schema", f"vendor.{schema}", str(path)]
    if schema == "gitlab-ci":
        arguments += ["--data-transform", "gitlab-ci"]
    with pytest.raises(SystemExit) as ended:
        check_jsonschema.main(arguments)
    return int(ended.value.code or 0)


def test_a_wrong_workflow_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yml"
    path.write_text(FILES[0].read_text().replace("runs-on:", "run-on:"))
    assert violations("github-workflows", path) == 1
    path.write_text(GITLAB.read_text().replace("script:", "scripts:"))
    assert violations("gitlab-ci", path) == 1


@pytest.mark.parametrize("path", [ACTION, *FILES, TESTS], ids=lambda path: path.name)
def test_steps_are_pinned_and_take_nothing_into_a_script(path: Path) -> None:
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert step["uses"] == OWN_ACTION or re.fullmatch(r"actions/[\w/-]+@v\d+", step["uses"])
        else:
            assert "${{" not in step["run"]  # a tag or a path must not become part of a script
        if "upload-artifact" in step.get("uses", ""):
            assert step["if"] == "always()"
            assert step["with"]["if-no-files-found"] == "error"


@pytest.mark.parametrize("path", [*FILES, TESTS], ids=lambda path: path.name)
def test_jobs_end_and_may_read_alone(path: Path) -> None:
    data = document(path)
    assert data["permissions"] == {"contents": "read"}
    assert data["concurrency"]["group"]
    for name, job in data["jobs"].items():
        assert job["timeout-minutes"], name
        written = {what for what, how in job.get("permissions", {}).items() if how != "read"}
        assert written == ({"pull-requests"} if path.name == "parity-cpu.yml" else set())
        uses = [step.get("uses", "") for step in job["steps"]]
        assert path == TESTS or any(one == OWN_ACTION or "upload-artifact" in one for one in uses), name


def test_workflows_pass_the_action_what_it_takes() -> None:
    inputs, found = set(document(ACTION)["inputs"]), 0
    for path in FILES:
        data = document(path)
        for step in steps(path):
            if step.get("uses") == OWN_ACTION:
                assert set(step["with"]) <= inputs
                found += 1
        called = triggers(path)["workflow_call"]["inputs"]
        for name in re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(data)):
            assert name in called, name
        asked = (triggers(path)["workflow_dispatch"] or {}).get("inputs", {})
        assert {name: one["default"] for name, one in asked.items()}.items() <= {
            name: one["default"] for name, one in called.items()
        }.items()
    assert found == 2


def test_the_action_uses_each_of_its_inputs_and_names_none_that_it_lacks() -> None:
    data = document(ACTION)
    assert set(re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(data["runs"]))) == set(data["inputs"])
    for output in data["outputs"].values():
        step, name = re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.([\w-]+) \}\}", output["value"]).groups()  # type: ignore[union-attr]
        assert step in [one.get("id") for one in data["runs"]["steps"]]
        assert step == "upload" or f'"{name}"' in (SCRIPTS / "gate.py").read_text()


VALUES = {"OUT": "parity-out", "NAME": "parity", "CACHE": "true", "HOSTED": "true", "DEVICE": "cpu", "CODE": "0"}


def test_the_action_calls_its_scripts_and_prunes_its_cache(shell: Shell) -> None:
    (shell.folder / "temp" / "wan-parity-frames").mkdir(parents=True)
    calls = [call for step in steps(ACTION) if "run" in step for call in shell(step["run"], **VALUES, HF_TOKEN="")]
    scripts = [[Path(call[1]).name, *call[2:]] for call in calls if call[0] == "python"]
    assert scripts == [["gate.py", "key"], ["gate.py"], ["comment.py", "parity-out/comment.md"]]
    assert all(Path(call[1]).is_file() for call in calls if call[0] == "python")
    ours = [call[1:] for call in calls if call[0] == "parity"]
    assert ["cache", "prune", "--older-than", "30", "--max-size", "2000"] in ours
    for arguments in ours:
        if arguments != ["--version"]:
            whole_parser().parse_args(arguments)


@pytest.mark.parametrize(("given", "code"), [("0", 0), ("1", 1), ("3", 3), ("", 3)])
def test_the_action_ends_with_the_runs_exit_code(given: str, code: int, shell: Shell) -> None:
    last = steps(ACTION)[-1]
    assert last["name"] == "Pass or fail"
    done = subprocess.run(["bash", "-c", last["run"]], env={**shell.environment, "CODE": given}, check=False)
    assert done.returncode == code


CPU_INDEX = ("--extra-index-url", "https://download.pytorch.org/whl/cpu")


@pytest.mark.parametrize(
    ("values", "gpu", "index"),
    [
        ({"DEVICE": "cpu"}, True, CPU_INDEX),
        ({"DEVICE": "cuda:1"}, False, ()),
        ({"DEVICE": "auto"}, True, ()),
        ({"DEVICE": "auto"}, False, CPU_INDEX),
        (
            {"DEVICE": "cpu", "TORCH_INDEX": "https://example.org/torch"},
            True,
            ("--extra-index-url", "https://example.org/torch"),
        ),
    ],
)
def test_torch_is_of_the_build_that_the_device_needs(
    values: Mapping[str, str], gpu: bool, index: tuple[str, ...], shell: Shell
) -> None:
    if not gpu:
        shell.without("nvidia-smi")
    calls = shell(f"bash {SCRIPTS / 'install.sh'} venv", PACKAGE="", CONSTRAINTS="", **values)
    torch, package = [call[1:] for call in calls if call[0] == "pip"]
    assert torch == ["install", "-q", *index, "torch", "torchvision"]
    assert package == ["install", "-q", str(ROOT), "pytest", "pytest-xdist"]
    assert (shell.folder / "path").read_text() == "venv/bin\n"


def test_scripts_are_sound_shell() -> None:
    done = lint(
        "shellcheck", *map(str, SCRIPTS.glob("*.sh")), str(EXAMPLES / "slurm.sh"), *map(str, (ROOT / ".ci").iterdir())
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_report_of_several_jobs_needs_no_torch(shell: Shell) -> None:
    job = document(WORKFLOWS / "parity-gpu.yml")["jobs"]["report"]
    scripts = [step for step in job["steps"] if "run" in step]
    calls = [call for step in scripts for call in shell(step["run"], PACKAGE="package", **job["env"])]
    assert [call for call in calls if call[0] == "pip"] == [
        [
            *("pip", "install", "-q", "-c", ".wan-parity/constraints.txt"),
            *("-r", ".wan-parity/requirements-no-torch.txt"),
        ],
        ["pip", "install", "-q", "--no-deps", "package"],
    ]
    assert calls[-1] == ["python", ".wan-parity/.github/action/gate.py", "report"]
    for name in ("constraints.txt", "requirements-no-torch.txt", ".github/action/gate.py"):
        assert (ROOT / name).is_file()


def test_gitlabs_commands_are_understood(shell: Shell) -> None:
    data = document(GITLAB)
    job = data["parity"]
    (shell.folder / ".venv" / "bin").mkdir(parents=True)
    (shell.folder / ".venv" / "bin" / "activate").write_text("")
    calls = {
        part: shell("\n".join(job[part]), **data["variables"]) for part in ("before_script", "script", "after_script")
    }
    assert ["pip", "install", *CPU_INDEX, "torch", "torchvision"] in calls["before_script"]
    ((_, *run),) = calls["script"]
    options = whole_parser().parse_args(run)
    assert (options.cases, options.out) == ([Path("cases")], Path("parity-out"))
    assert options.baselines == Path("baselines")
    for _, *arguments in calls["after_script"]:
        whole_parser().parse_args(arguments)
    out = data["variables"]["OUT"]
    assert job["artifacts"]["reports"]["junit"].replace("$OUT", out) == f"{out}/junit.xml"


def test_shards_on_github_are_all_there_and_merged(shell: Shell) -> None:
    path = EXAMPLES / "github-shards.yml"
    jobs = document(path)["jobs"]
    assert jobs["parity"]["strategy"]["matrix"]["shard"] == [f"{number}/4" for number in range(1, 5)]
    (step,) = [step for step in jobs["parity"]["steps"] if step["uses"] == "OWNER/wan-parity@REF"]
    assert set(step["with"]) <= set(document(ACTION)["inputs"])
    for number in range(4):
        (shell.folder / "parity-out" / f"parity-shard-{number}").mkdir(parents=True)
    calls = [call for step in jobs["report"]["steps"] if "run" in step for call in shell(step["run"])]
    options = whole_parser().parse_args(calls[-1][1:])
    assert [path.name for path in options.results] == [f"parity-shard-{number}" for number in range(4)]


def test_shards_on_gitlab_slurm_and_kubernetes_are_understood(shell: Shell) -> None:
    gitlab = document(EXAMPLES / "gitlab-shards.yml")
    assert gitlab["parity"]["parallel"] == 4
    for task in ("1", "8"):
        (shell.folder / "results" / f"shard-{task}").mkdir(parents=True)
    slurm = (EXAMPLES / "slurm.sh").read_text()
    assert "#SBATCH --array=1-8\n" in slurm
    job = document(EXAMPLES / "kubernetes.yml")["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert (job["completions"], container["command"]) == (8, ["bash", "-euc"])

    def on_slurm() -> list[str]:
        (call,) = shell(slurm, SLURM_ARRAY_TASK_ID="8", SLURM_ARRAY_TASK_COUNT="8")
        return call

    def on_kubernetes() -> list[str]:
        (call,) = shell(container["args"][0], JOB_COMPLETION_INDEX="7")
        return call

    names = {"CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "4"}
    ((_, *on_gitlab),) = shell("\n".join(gitlab["parity"]["script"]), **gitlab["variables"], **names)
    options = whole_parser().parse_args(on_gitlab)
    assert (options.shard, options.out) == ((2, 4), Path("parity-out/shard-2"))
    for call in (on_slurm, on_kubernetes):
        options = whole_parser().parse_args(call()[1:])
        assert (options.shard, options.out, options.resume) == ((8, 8), Path("results/shard-8"), False)
        (shell.folder / "results" / "shard-8" / "results.json").touch()
        assert whole_parser().parse_args(call()[1:]).resume
        (shell.folder / "results" / "shard-8" / "results.json").unlink()
    (shell.folder / "parity-out" / "shard-1").mkdir(parents=True)
    ((_, *report),) = shell("\n".join(gitlab["report"]["script"]), **gitlab["variables"])
    assert whole_parser().parse_args(report).results == [Path("parity-out/shard-1/")]


@pytest.mark.parametrize("number", range(2))
def test_the_documents_workflows_are_valid(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = blocks("docs/ci.md", "yaml")[number]
    (tmp_path / "parity.yml").write_text(text)
    assert violations("github-workflows", tmp_path / "parity.yml") == 0, capsys.readouterr().out
    (step,) = [step for step in steps(tmp_path / "parity.yml") if step["uses"] == "OWNER/wan-parity@REF"]
    assert set(step["with"]) <= set(document(ACTION)["inputs"])
    runner = document(tmp_path / "parity.yml")["jobs"]["parity"]["runs-on"]
    assert "pull_request" not in triggers(tmp_path / "parity.yml") or runner == "ubuntu-latest"


@pytest.mark.parametrize("page", ["docs/ci.md", "docs/docker.md", "docs/long-runs.md"])
def test_the_documents_commands_are_understood(page: str) -> None:
    lines = [
        shlex.split(line, comments=True)
        for block in blocks(page, "bash")
        for line in re.split(r"\n|;|&&", block.replace("\\\n", " "))
    ]
    ours = [line[1:] for line in lines if line[:1] == ["parity"]]
    for line in (line for line in lines if line[:2] == ["docker", "run"]):
        (image,) = [place for place, word in enumerate(line) if word in ("wan-parity", "wan-parity:cuda")]
        ours.append(line[image + 1 :])
    assert len(ours) >= (2 if page == "docs/long-runs.md" else 6)
    for arguments in ours:
        numbers = {"$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT": "1/8", "$((JOB_COMPLETION_INDEX + 1))/8": "1/8"}
        whole_parser().parse_args([numbers.get(word, word) for word in arguments])


def test_every_python_that_is_supported_runs_what_runs_here() -> None:
    (job,) = document(TESTS)["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert job["strategy"]["matrix"]["python"] == named
    first, beyond = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()  # type: ignore[union-attr]
    assert named == [f"3.{minor}" for minor in range(int(first), int(beyond))]


def test_pull_requests_do_not_reach_gpus() -> None:
    path = WORKFLOWS / "parity-gpu.yml"
    assert set(triggers(path)) == {"workflow_dispatch", "workflow_call"}
    assert document(path)["jobs"]["run"]["runs-on"] == "${{ fromJSON(inputs.runner) }}"
    assert document(WORKFLOWS / "parity-cpu.yml")["jobs"]["run"]["runs-on"] == "ubuntu-latest"


@pytest.mark.parametrize("path", [*FILES, GITLAB, EXAMPLES / "gitlab-shards.yml"], ids=lambda path: path.name)
def test_placeholders_are_explained_and_no_workflow_runs_them(path: Path) -> None:
    text = path.read_text()
    assert "OWNER is whoever publishes" in text
    (jobs,) = re.findall(r"^(?:jobs|parity):\n(.*)", text, re.MULTILINE | re.DOTALL)
    assert "OWNER" not in jobs


@pytest.mark.parametrize("wrong", ["--parity-tags x", "--parity-timeout soon", "--parity-offload half"])
def test_a_wrong_option_is_noticed(wrong: str) -> None:
    with pytest.raises((AssertionError, pytest.UsageError, SystemExit)):
        pytest_options(shlex.split(wrong))
