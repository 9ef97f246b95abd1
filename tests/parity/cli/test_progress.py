"""A run on a real terminal, in a log, under pytest, and stopped: it always says what it does."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CaseFiles
from tests.parity.pytest_plugin.test_pytest_entry import WITHOUT
from tests.support.paths import ROOT
from tests.support.prepared import python
from tests.support.terminal import Written, run_in_terminal

pytestmark = pytest.mark.process

BEATING = "import parity.terminal.heartbeat as heartbeat; heartbeat.EVERY_S = 0.02\n"
"""A line every 0.02 seconds, so that a test need not take minutes."""
OFTEN = "import parity.terminal.progress as progress; progress._REFRESH_PER_S = 20\n"
"""Live lines 20 times a second, so that a phase need not take half of one to be seen."""
COMMAND = "import sys\nfrom parity.cli.main import main\nsys.exit(main(sys.argv[1:]))"
on_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "FORCE_COLOR")}
    return kept | {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | changes


def in_terminal(*arguments: str, cwd: Path, **options: object) -> Written:
    command = (*python(), "-m", "parity", *arguments)
    return run_in_terminal(command, cwd=cwd, env=environment(), **options)  # type: ignore[arg-type]


def percents(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"(\d+)%", text)]


@on_a_terminal
def test_on_a_terminal_every_phase_is_shown_and_the_bar_is_never_full(cases: CaseFiles, tmp_path: Path) -> None:
    for name in ("one", "two"):
        cases.write(name, request=cases.request(sample_steps=4, num_frames=9, seed=len(name)))
    command = (sys.executable, "-c", f"{OFTEN}{COMMAND}", "run", str(cases.folder), "--out", "out", "--no-html")
    done = run_in_terminal(command, cwd=tmp_path, env=environment())  # also while it imports
    assert done.code == 1, done.text
    for phase in ("loading 2 cases", "one: decoding", "two: decoding", "case 1 of 2", "case 2 of 2"):
        assert phase in done.text  # steps take no time here
    shown = percents(done.text)
    assert shown
    assert max(shown) < 100
    assert done.longest_silence() < 30  # on a busy machine; benchmarks/progress.py measures it
    lines = done.text.splitlines()
    assert len([line for line in lines if re.search(r"DRIFTED  (one|two)  .*PSNR .* dB  SSIM .* s", line)]) == 2
    assert "2 cases: 2 drifted" in lines
    assert "\x1b[2K" not in done.raw.partition("2 cases: 2 drifted")[2]  # nothing of the live lines after them
    assert done.raw.rfind("\x1b[?25h") > done.raw.rfind("\x1b[?25l")  # the cursor is there again


def test_in_a_log_there_is_a_line_while_a_long_call_lasts(cases: CaseFiles, tmp_path: Path) -> None:
    path = cases.write("one", request=cases.request(sample_steps=2, num_frames=9))
    done = subprocess.run(
        [*python(), "-c", f"{BEATING}{COMMAND}", "run", str(path), "--out", "out", "--no-html"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = done.stderr.splitlines()
    assert lines[0] == "loading 1 case …"
    assert [line for line in lines if re.fullmatch(r"\[1/1\] one: decoding, [\dmins ]+", line)], done.stderr
    end = lines.index("1 case: 1 drifted")
    assert lines[end - 2].startswith("DRIFTED  one  ")
    assert lines[end - 1].startswith("    ")
    assert not [line for line in lines[end:] if line.startswith("[1/1]")]  # the thread has ended
    assert done.stdout == "out/results.json\n"
    assert "\x1b" not in done.stderr


@on_a_terminal
def test_ctrl_c_says_how_far_it_came_and_how_to_go_on(cases: CaseFiles, tmp_path: Path) -> None:
    for name, steps, frames in (("one", 1, 1), ("three", 150, 5)):
        cases.write(name, request=cases.request(sample_steps=steps, num_frames=frames, seed=len(name)))
    sent = False

    def stop(text: str, process: subprocess.Popen[bytes]) -> None:
        nonlocal sent
        if not sent and re.search(r"three: step (?!1 )\d+ of 150", text):
            sent = True
            process.send_signal(signal.SIGINT)

    done = in_terminal("run", str(cases.folder), "--no-html", cwd=tmp_path, on_output=stop)
    assert done.code == 130, done.text
    stopped = r"parity: stopped at three \(step \d+ of 150\): 1 of 2 cases done, 1 not generated; go on with:"
    assert re.search(stopped, done.text), done.text
    assert "Traceback" not in done.text
    command = shlex.split(done.text.splitlines()[-1])
    assert command[:3] == ["parity", "run", str(cases.folder)]
    again = in_terminal(*command[1:], cwd=tmp_path)
    assert again.code == 1, again.text
    assert re.search(r"DRIFTED  one  .*finished before --resume", again.text)
    assert "2 cases: 2 drifted" in again.text


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_pytest_gets_a_line_too_whatever_it_captures(
    cases: CaseFiles, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    path = cases.write("one", request=cases.request(sample_steps=2, num_frames=9))
    (tmp_path / "beating.py").write_text(BEATING)
    command = [sys.executable, "-m", "pytest", "-p", "beating", "-p", "no:cacheprovider", *WITHOUT, *workers]
    done = subprocess.run(
        [*command, "--pyargs", "parity", "--parity-cases", str(path), "--parity-out", str(tmp_path / "out")],
        cwd=tmp_path,
        env=environment(PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT)))),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    head = "one" if workers else r"\[1/1\] one"
    assert re.search(rf"^{head}: decoding, [\dmins ]+$", done.stderr, re.MULTILINE), done.stderr
    assert "decoding" not in done.stdout
