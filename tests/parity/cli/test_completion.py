"""`parity completion`: real shells read the script and complete by it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from parity.cli.completion import SHELLS
from parity.cli.main import main, whole_parser


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script of one shell, which must be installed."""
    shell: str = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    path = tmp_path / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def ask(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def complete_in_bash(script: Path, words: list[str]) -> list[str]:
    """The completions that bash offers for the last of these words, as it would call the function itself."""
    program = (
        'source "$1"; shift; [[ $(complete -p parity) =~ -F\\ ([^ ]+) ]]; '
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "${BASH_REMATCH[1]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return ask("bash", "--norc", "-c", program, "bash", script, *words, cwd=script.parent).split()


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["parity", "ba"], ["baseline"]),
        (["parity", "baseline", "ac"], ["accept"]),
        (["parity", "baseline", "accept", "--dry"], ["--dry-run"]),
        (["parity", "run", "--offload", "mo"], ["model"]),
        (["parity", "run", "--device", "cu"], ["cuda"]),
        (["parity", "explain", "bound"], ["boundary"]),
        (["parity", "models", "wan22_5"], ["wan22_5b"]),
        (["parity", "import", "job", "--model", "wan22_5"], ["wan22_5b"]),
        (["parity", "plan", "my_c"], ["my_case.yaml"]),
        (["parity", "baseline", "show", "--baselines", "acc"], ["accepted"]),
        (["parity", "import", "acc"], ["accepted"]),
        (["parity", "import", "job", "--checkpoint", "acc"], ["accepted"]),
        (["parity", "help", "impo"], ["import"]),
        (["parity", "nothing-like-it"], []),
    ],
    ids=lambda value: "_".join(value) if value[0:1] == ["parity"] else None,
)
def test_bash_completes(script: Path, words: list[str], offered: list[str]) -> None:
    (script.parent / "my_case.yaml").touch()
    (script.parent / "accepted").mkdir()
    (script.parent / "accepted.txt").touch()
    assert complete_in_bash(script, words) == offered


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: Path) -> None:
    listed = ask("fish", "--no-config", "-c", f"source {script}; complete -C 'parity ba'")
    assert listed.split()[0] == "baseline"


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
@pytest.mark.parametrize(("typed", "shown"), [("parity ba", "parity baseline"), ("parity explain bound", "boundary")])
def test_zsh_completes(script: Path, typed: str, shown: str) -> None:
    """In a terminal of its own, since zsh completes nowhere else."""
    import pty

    (script.parent / "_parity").write_text(script.read_text())
    terminal, inside = pty.openpty()
    in_terminal = ["sh", "-c", 'exec zsh -f <"$0" >"$0" 2>&1', os.ttyname(inside)]
    with subprocess.Popen(in_terminal, start_new_session=True) as shell:
        try:
            setup = f"fpath=({script.parent} $fpath); autoload -U compinit; compinit -u -D; echo r''eady\n"
            os.write(terminal, setup.encode())
            seen_in(terminal, "\nready")
            os.write(terminal, f"{typed}\t".encode())
            seen_in(terminal, shown)
        finally:
            shell.kill()
            os.close(terminal)
            os.close(inside)


def seen_in(terminal: int, text: str) -> None:
    """Read what a terminal shows until it is this, for 60 seconds at most."""
    seen = ""
    while text not in seen:
        assert select.select([terminal], [], [], 60)[0], f"not seen: {text!r} in {seen!r}"
        seen += os.read(terminal, 4096).decode(errors="replace").replace("\r", "")


@pytest.mark.parametrize("script", ["bash", "zsh", "fish"], indirect=True)
def test_the_script_is_valid(script: Path) -> None:
    assert ask(script.suffix[1:], "-n", script) == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert [name for name in whole_parser().commands if name not in printed] == []
