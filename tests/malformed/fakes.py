"""Fake commands that end badly, each in its own way, and the problems that must be found.

`python -m tests.malformed.fakes` prints it as JSON. That is a process of its own, since a test session should not fork.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.malformed.inputs import Input, Target, instead
from tests.malformed.session import judged

ITEM = Target(kind="request JSON", path="request.json", command=("plan", "plain.yaml")).input("empty", instead(b""))


def refuse(text: str = "request.json: is empty; write a request") -> int:
    print(f"parity: {text}", file=sys.stderr)
    return 2


def well_behaved(_: Sequence[str]) -> int:
    return refuse()


def whole_results(_: Sequence[str]) -> int:
    from parity.results.json_text import to_json
    from tests.support.report_cases import error_case, run_of

    Path("out").mkdir()
    Path("out/results.json").write_text(to_json(run_of(error_case())), encoding="utf-8")
    return refuse()


def traceback(_: Sequence[str]) -> int:
    raise RuntimeError("our own mistake")


def traceback_beside_a_message(_: Sequence[str]) -> int:
    print("Traceback (most recent call last):", file=sys.stderr)
    return refuse()


def passes(_: Sequence[str]) -> int:
    return 0


def drifts(_: Sequence[str]) -> int:
    refuse()
    return 1


def silent(_: Sequence[str]) -> int:
    return 2


def says_it_twice(_: Sequence[str]) -> int:
    return refuse() and refuse()


def names_no_file(_: Sequence[str]) -> int:
    return refuse("something is wrong somewhere")


def warns(_: Sequence[str]) -> int:
    print("library.py:7: UserWarning: what a mess", file=sys.stderr)
    return refuse()


def half_a_result(_: Sequence[str]) -> int:
    Path("out").mkdir()
    Path("out/results.json").write_text('{"schema_version": 1, "cases": [', encoding="utf-8")
    return refuse()


def unfinished_result(arguments: Sequence[str]) -> int:
    code = whole_results(arguments)
    path = Path("out/results.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": None}), encoding="utf-8")
    return code


def temporary_file(_: Sequence[str]) -> int:
    Path(".report.html.77").touch()
    return refuse()


def report_although_it_failed(_: Sequence[str]) -> int:
    Path("report.html").write_text("<html></html>", encoding="utf-8")
    return refuse()


def changes_an_input(_: Sequence[str]) -> int:
    Path("plain.yaml").write_text("model: mine\n", encoding="utf-8")
    return refuse()


def removes_an_input(_: Sequence[str]) -> int:
    Path("plain.yaml").unlink()
    return refuse()


def hangs(_: Sequence[str]) -> int:
    time.sleep(1000)
    return refuse()


def hangs_in_another_process(_: Sequence[str]) -> int:
    subprocess.run(["sleep", "1000"], check=False)
    return refuse()


def dies(_: Sequence[str]) -> int:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)
    return refuse()


def takes_memory(_: Sequence[str]) -> int:
    held = b"\1" * (1100 << 20)
    return refuse() if held else 0


HANGING = (hangs, hangs_in_another_process)

COMMANDS: tuple[Callable[[Sequence[str]], int], ...] = (
    well_behaved,
    whole_results,
    traceback,
    traceback_beside_a_message,
    passes,
    drifts,
    silent,
    says_it_twice,
    names_no_file,
    warns,
    half_a_result,
    unfinished_result,
    temporary_file,
    report_although_it_failed,
    changes_an_input,
    removes_an_input,
    hangs,
    hangs_in_another_process,
    dies,
    takes_memory,
)


def found(command: Callable[[Sequence[str]], int], item: Input = ITEM) -> list[str]:
    """List the problems with how a command ended."""
    with tempfile.TemporaryDirectory() as temporary:
        whole, scratch = Path(temporary) / "whole", Path(temporary) / "scratch"
        whole.mkdir()
        scratch.mkdir()
        (whole / "request.json").write_text("{}", encoding="utf-8")
        (whole / "plain.yaml").write_text("model: wan21_14b\n", encoding="utf-8")
        verdicts = list(judged([item], whole, scratch, command, limit_s=2 if command in HANGING else 60))
    return list(verdicts[0].problems)


if __name__ == "__main__":
    print(json.dumps({command.__name__: found(command) for command in COMMANDS}, indent=1))
