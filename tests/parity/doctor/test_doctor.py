"""`parity doctor` as a whole: one line for each check, JSON for a bug report, no secrets, no check ends the others."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parity.cli.main import main, whole_parser
from parity.doctor import examine as examining
from parity.doctor.check import STATUSES, Asked, Check, ok, problem
from parity.doctor.examine import PROBES, Probe, examine
from parity.doctor.redact import Redactor
from parity.run.unexpected import unexpected
from tests.support.documented import blocks
from tests.support.paths import ROOT

TOKEN = "hf_" + "Plant3d" * 5


def of(checks: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [check for check in checks if check["name"] == name]
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a user's name in it, below which all caches lie."""
    folder = tmp_path / "home" / "mallory"
    folder.mkdir(parents=True)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    for name in ("HF_HOME", "XDG_CACHE_HOME", "WAN_PARITY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "mallory")
    return folder


@pytest.mark.usefixtures("home")
def test_json_holds_every_check_and_nothing_else_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", "--quick", "--offline"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    checks = document["checks"]
    assert all(set(check) == {"name", "status", "found", "to_do"} for check in checks)
    assert {check["status"] for check in checks} <= set(STATUSES)
    assert all(check["to_do"] for check in checks if check["status"] in ("warning", "problem"))
    names = {check["name"].partition(":")[0] for check in checks}
    assert {"wan-parity", "python", "versions", "torch", "cuda", "cpu", "memory", "disk", "ffmpeg", "lpips"} <= names
    assert code == (1 if any(check["status"] == "problem" for check in checks) else 0)
    assert of(checks, "determinism")["found"] == "not tried (--quick)"
    assert of(checks, "hub")["found"] == "not asked (--offline)"


@pytest.mark.usefixtures("home")
def test_a_line_for_each_check_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--quick", "--offline"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in STATUSES for line in lines)
    assert all("; to do: " in line for line in lines if line.startswith(("warning", "problem")))
    assert last.endswith("; not checked: hub, determinism")


def test_what_was_left_out_exits_with_0_and_a_problem_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(name="planted", status="ok", found="x", to_do="y")
    for status in STATUSES:
        planted(monkeypatch, lambda _, status=status: [replace(check, status=status)])  # type: ignore[misc]
        assert main(["doctor"]) == (1 if status == "problem" else 0)


def planted(monkeypatch: pytest.MonkeyPatch, probe: Probe) -> None:
    """Let the command make this check alone."""
    monkeypatch.setattr(examining, "PROBES", {"planted": probe})
    monkeypatch.setattr("parity.cli.doctor._settings", lambda _: [])


def test_ctrl_c_prints_what_was_found_and_says_what_was_not_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: Asked) -> Iterator[Check]:
        yield ok("first", "made")
        raise KeyboardInterrupt

    planted(monkeypatch, stopped)
    assert main(["doctor", "--json"]) == 130
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [(check["name"], check["status"]) for check in checks] == [
        ("first", "ok"),
        ("all further checks", "skipped"),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_what_a_slow_check_waits_for_goes_away_on_a_terminal_and_stays_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(asked: Asked) -> Iterator[Check]:
        for step in (1, 2):
            asked.waiting("generating", f": step {step}")
        yield ok("slow", "done")

    planted(monkeypatch, slow)
    main(["doctor"])
    assert capsys.readouterr().err == "... generating\n"
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        main(["doctor"])
        printed = b""
        while printed.count(b"\r\x1b[K") < 2:
            printed += os.read(ours, 1000)
    os.close(ours)
    assert printed.split(b"\r\x1b[K") == [b"... generating: step 1", b"... generating: step 2", b""]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("no_color", [False, True])
def test_colours_on_a_terminal_unless_no_color_is_set(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda _: [problem("disk", "no [red]space[/red] left", "make room"), ok("x" * 200, "done")])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        main(["doctor"])
        printed = b""
        while b"1 problem" not in printed:
            printed += os.read(ours, 10_000)
    os.close(ours)
    assert (b"\x1b[1;31m" in printed) is not no_color
    plain = re.sub(rb"\x1b\[[\d;]*m", b"", printed).decode().splitlines()
    assert plain[0] == "problem  disk: no [red]space[/red] left; to do: make room"
    assert plain[1] == f"ok       {'x' * 200}: done"


def test_a_check_that_raises_is_a_problem_and_ends_no_other() -> None:
    def half(_: Asked) -> Iterator[Check]:
        yield ok("half", "the first line")
        raise RuntimeError("no such thing")

    checks = list(examine(Asked(), {"half": half, "other": lambda _: [ok("other", "made")]}))
    assert [check.status for check in checks] == ["ok", "problem", "ok"]
    assert checks[1].found == "this check failed: RuntimeError: no such thing"


def test_no_secret_and_no_name_is_printed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Planted wherever one could come from; without the redactor, each would be shown."""
    token = home / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(f"{TOKEN}file\n")
    planted = {
        "HF_TOKEN": f"{TOKEN}env",
        "WAN_PARITY_TOKEN": f"{TOKEN}server",
        "HTTPS_PROXY": f"http://mallory:{TOKEN}@127.0.0.1:9",
        "HF_ENDPOINT": f"https://mallory:{TOKEN}@127.0.0.1:9",
        "TORCH_HOME": f"/mnt/mallory/{TOKEN}env",
        "HF_HUB_CACHE": f"{home}/{TOKEN}file",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    printed = ""
    for command in (["doctor", "--json", "--quick"], ["doctor", "--quick"]):
        main(command)
        printed += "".join(capsys.readouterr())
    for secret in (TOKEN, "mallory", str(home)):
        assert secret not in printed
    assert "~/.cache/wan-parity/frames" in printed
    assert "/mnt/USER/" in printed
    assert "... asking https://…@127.0.0.1:9" in printed
    monkeypatch.setattr(Redactor, "__call__", lambda _, text: text)
    main(["doctor", "--json", "--quick"])
    printed = capsys.readouterr().out
    assert TOKEN in printed
    assert str(home) in printed


def test_settings_of_the_folder_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(examining, "PROBES", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    main(["doctor"])
    assert "ok       settings: no [tool.wan-parity]" in capsys.readouterr().out
    (tmp_path / "pyproject.toml").write_text('[tool.wan-parity]\ndevice = "cpu"\nmax-size = 50\n')
    main(["doctor"])
    assert "settings: device = 'cpu', max-size = 50 (" in capsys.readouterr().out


def test_a_device_that_cannot_be_is_a_mistake_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "gpu"]) == 2
    assert "--device gpu: use auto, cpu, cuda or cuda:n" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_names_its_traceback_and_the_doctor(tmp_path: Path) -> None:
    said = str(unexpected(RuntimeError("no such thing"), tmp_path / "traceback.txt"))
    assert said.startswith("RuntimeError: no such thing; not foreseen: ")
    assert str(tmp_path / "traceback.txt") in said
    (command,) = re.findall(r"`parity (.*?)`", said)
    assert whole_parser().parse(command.split()).json


def test_a_container_whose_home_is_the_root_keeps_its_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, "/")
    assert Redactor({"HF_TOKEN": "x"})("/opt/wan, xylophone") == "/opt/wan, xylophone"


def test_a_folder_beside_home_with_a_longer_name_is_another(home: Path) -> None:
    assert Redactor({})(f"{home}-other/x {home}/x") == f"{home}-other/x ~/x"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("encoding", "status"), [("utf-8", "ok"), ("cp1252", "warning"), ("ascii", "warning")])
def test_a_console_without_utf8_is_told_so_and_can_print_it(
    encoding: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setenv("HF_ENDPOINT", "https://хаб.example")
    main(["doctor", "--quick", "--offline"])
    sys.stdout.flush()
    (line,) = [line for line in raw.getvalue().decode(encoding).splitlines() if " terminal: " in line]
    assert line.startswith(status)
    assert ("PYTHONUTF8=1" in line) is (status == "warning")


def test_a_torch_that_cannot_be_imported_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch")
    names = ("torch", "cuda", "mps", "determinism")
    checks = list(examine(Asked(), {name: PROBES[name] for name in names}))
    assert [(check.name, check.status) for check in checks] == [
        ("torch", "problem"),
        *((name, "skipped") for name in names[1:]),
    ]
    assert "cannot be imported: OSError: libtorch_cpu.so" in checks[0].found


@pytest.mark.usefixtures("home")
def test_the_documents_lines_and_its_json_are_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    page = (ROOT / "docs" / "doctor.md").read_text()
    shown = set(re.findall(r"^    (?:ok|warning|problem|skipped) +([^:]+(?:: checkpoints)?):", page, re.MULTILINE))
    main(["doctor", "--json", "--quick"])
    document = json.loads(capsys.readouterr().out)
    assert shown - {check["name"] for check in document["checks"]} == {"determinism on cpu"}  # not with --quick
    (block,) = blocks("docs/doctor.md", "json")
    example = json.loads(block)
    assert set(example) == set(document)
    assert set(example["checks"][0]) == set(document["checks"][0])


@pytest.mark.process
@pytest.mark.draws
def test_the_demos_preview_is_generated_twice_bit_for_bit() -> None:
    (check,) = examine(Asked(device="cpu"), {"determinism": PROBES["determinism"]})
    assert (check.name, check.status) == ("determinism on cpu", "ok")
    assert "ai-toolkit's own preview bit for bit" in check.found
