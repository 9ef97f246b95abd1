"""Baselines: staging and undo, `parity baseline check` and `show`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.baselines.file import to_text
from parity.baselines.store import Store
from parity.case.load import DEMO
from parity.cli.main import main
from tests.support.baseline_samples import IDENTICAL, OTHER, accept_all, baseline_of, result, state, write_run


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- staging, undo
def test_undo_restores_what_was_and_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"))
    assert main(["baseline", "accept", "a"]) == 0
    before = state()
    write_run(result("a", frames="QRSTUVWXY"), result("b"))
    assert main(["baseline", "accept", "--all"]) == 0
    after = state()
    capsys.readouterr()
    assert main(["baseline", "undo", "--dry-run"]) == 0
    assert state() == after
    assert main(["baseline", "undo"]) == 0
    out = capsys.readouterr().out
    for line in ("baselines/a.json: would be restored", "baselines/a.json: restored", "baselines/b.json: removed"):
        assert line in out
    assert state() == before
    assert main(["baseline", "undo"]) == 2
    assert capsys.readouterr().err == "parity: nothing to undo in baselines\n"


def test_undo_spares_what_was_changed_since(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result("a"), result("b"))
    assert main(["baseline", "accept", "--all"]) == 0
    Path("baselines/b.json").write_text("edited")
    assert main(["baseline", "undo"]) == 2
    assert "b.json: was changed since it was accepted; nothing was undone" in capsys.readouterr().err
    assert Path("baselines/a.json").exists()


def test_what_undo_keeps_stays_out_of_version_control() -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar"]) == 0
    hidden = [path for path in Path("baselines").iterdir() if path.name.startswith(".")]
    assert [path.name for path in hidden] == [".undo"]
    assert (hidden[0] / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "x"}', '{"kind": "wan-parity undo", "schema_version": 1}'])
def test_a_broken_undo_is_one_message(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar"]) == 0
    Path("baselines/.undo/undo.json").write_text(text)
    assert main(["baseline", "undo"]) == 2
    assert "undo.json: cannot be read" in capsys.readouterr().err


def test_undo_touches_nothing_outside(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    assert main(["baseline", "accept", "guitar"]) == 0
    Path("precious.json").write_text("mine")
    path = Path("baselines/.undo/undo.json")
    path.write_text(path.read_text().replace("guitar.json", "../precious.json"))
    assert main(["baseline", "undo"]) == 2
    assert "is not a baseline's file" in capsys.readouterr().err
    assert Path("precious.json").read_text() == "mine"


class KilledError(BaseException):
    """An exception that acts like a kill: only `finally` would run, and there is none."""


def die_after(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `limit` changes below baselines/ happen, then die at the next."""
    moves = [0]
    originals = {name: getattr(Path, name) for name in ("replace", "write_text", "mkdir")}

    def patched(name: str) -> Any:
        def call(path: Path, *args: Any, **options: Any) -> Any:
            if "baselines" in Path(path).parts:
                if moves[0] == limit:
                    raise KilledError
                moves[0] += 1
            return originals[name](path, *args, **options)

        return call

    for name in originals:
        monkeypatch.setattr(Path, name, patched(name))
    for name in ("copyfile", "rmtree"):
        originals[name] = getattr(shutil, name)
        monkeypatch.setattr(shutil, name, patched(name))


def test_a_kill_at_any_moment_leaves_every_baseline_whole() -> None:
    """Old or new, each of them; undo or another accept then works, and what was left is said."""
    old = {"a": to_text(baseline_of(result("a"))), "b": to_text(baseline_of(result("b")))}
    new = {name: to_text(baseline_of(result(name, frames="QRSTUVWXY"))) for name in ("a", "b", "c")}
    told: set[bool] = set()
    for limit in range(100):
        folder = Path(f"{limit}/baselines")
        store = Store(folder)
        store.replace({"z": to_text(baseline_of(result("z")))})
        store.replace(old)
        with pytest.MonkeyPatch.context() as patch:
            die_after(limit, patch)
            try:
                store.replace(new)
                break
            except KilledError:
                pass
        for name in ("a", "b", "c"):
            path = folder / f"{name}.json"
            assert (path.read_text() if path.exists() else None) in (old.get(name), new[name])
        placed = sum(
            (folder / f"{name}.json").exists() and (folder / f"{name}.json").read_text() == new[name] for name in new
        )
        leftover = store.leftover()
        if leftover is None:
            assert limit == 0
            continue
        assert leftover.placed == placed
        assert (f"{placed} of 3 baselines were replaced" in str(leftover)) is (placed > 0)
        told.add(placed > 0)
        if limit % 2:
            store.clean()
            store.replace(new)
            assert {name: text for name, text in state(str(folder)).items() if name != "z.json"} == {
                f"{name}.json": text for name, text in new.items()
            }
        else:
            store.clean()
            before_the_last = {"z.json": to_text(baseline_of(result("z")))}
            store.undo()
            as_it_was = before_the_last | {f"{name}.json": text for name, text in old.items()}
            assert state(str(folder)) in (as_it_was, before_the_last)  # nothing had begun: the accept before
        assert store.leftover() is None
    else:
        pytest.fail("never came to its end")
    assert told == {True, False}


def test_a_leftover_is_reported_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("baselines/.staging").mkdir(parents=True)
    assert main(["baseline", "accept", "guitar"]) == 0
    assert "baselines/.staging: left by an interrupted accept; nothing was replaced" in capsys.readouterr().err
    assert not Path("baselines/.staging").exists()
    before = state()
    Path("baselines/.staging").mkdir()
    assert main(["baseline", "undo"]) == 0  # of the killed one, not of the one before
    assert state() == before
    assert main(["baseline", "undo"]) == 0
    assert state() == {}


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(result())
    Path("file").write_text("")
    assert main(["baseline", "accept", "guitar", "--baselines", "file/b"]) == 2
    assert capsys.readouterr().err.startswith("parity: file/b: cannot be written: ")


# --- check and show
def test_check_says_what_failed_what_is_unused_and_how_to_accept(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(result("a"), result("b"), result("gone"))
    write_run(result("a"), result("b", frames="abcdXfghi"), result("c"), name="new run", started="2026-11-23T01:00:00Z")
    capsys.readouterr()
    assert main(["baseline", "check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "reports/out/new run/results.json: run of 2026-11-23T01:00:00Z, 3 cases"
    assert lines[1:3] == ["  b: CHANGED", "      frame 4 changed"]
    assert "  c: NO BASELINE" in lines
    assert "  a: ok: unchanged (bit-identical)" in lines
    assert "baseline not checked: gone is not in this run" in lines
    assert "3 cases: 1 changed, 1 unchanged, 1 without baseline" in lines
    accepting = "parity baseline accept b c --results 'reports/out/new run/results.json'"
    assert lines[-1] == f"if this is intended: {accepting}"
    assert main(["baseline", "check", "a"]) == 0
    assert main(["baseline", "check", "gone"]) == 1
    assert "not in this run" in capsys.readouterr().out
    assert main(["baseline", "check", "gome"]) == 2
    assert "did you mean gone?" in capsys.readouterr().err


def test_check_json(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(result("a"), result("gone"))
    path = write_run(result("a", frames="abcdXfghi"))
    capsys.readouterr()
    assert main(["baseline", "check", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["failed"], data["unused"]) == (True, ["gone"])
    (case,) = data["cases"]
    assert (case["case"], case["outcome"], case["failed"]) == ("a", "changed", True)
    assert case["problems"][0] == "frame 4 changed"
    assert case["accept"] == f"parity baseline accept a --results {path}"


def test_a_gate_on_nothing_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(result())
    capsys.readouterr()
    assert main(["baseline", "check", "--baselines", "basslines"]) == 2
    assert "folder of baselines not found: basslines" in capsys.readouterr().err
    write_run(result(), finished=None)
    assert main(["baseline", "check"]) == 1
    assert ": the run did not finish; " in capsys.readouterr().out
    write_run(finished=None)
    assert main(["baseline", "check"]) == 2
    assert "no cases; was the run stopped" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["accept", "guitar"], ["check"], ["show"], ["undo"], ["--help"]], ids=" ".join)
def test_no_baseline_command_imports_torch(arguments: list[str]) -> None:
    accept_all(result())
    code = (
        "import sys\n"
        "from parity.cli.main import main\n"
        "try: sys.exit(main(['baseline', *sys.argv[1:]]) or 'torch' in sys.modules)\n"
        "except SystemExit as done: sys.exit(done.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ | {"PYTHONPATH": str(DEMO.parent)}, check=False
    )
    assert done.returncode == 0


def test_noise_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(IDENTICAL)
    write_run(result(frames="QRSTUVWXY", psnr=[30.0] * 9), environment=OTHER)
    assert main(["baseline", "check"]) == 1
    assert main(["baseline", "check", "--noise-psnr", "29"]) == 0
    for flag, value in (("--noise-psnr", "-1"), ("--noise-psnr", "nan"), ("--noise-ssim", "1"), ("--noise-ssim", "x")):
        with pytest.raises(SystemExit) as caught:
            main(["baseline", "check", flag, value])
        assert caught.value.code == 2
        assert f"{flag}: must be a number" in capsys.readouterr().err


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    accept_all(IDENTICAL, result("b", psnr=[40.0] * 8 + [38.0]))
    capsys.readouterr()
    assert main(["baseline", "show"]) == 0
    out = capsys.readouterr().out
    for words in ("identical", "39.78 (38.00)", "AMD EPYC AVX2, torch 2.13.0", "2026-11-22T01:00:00", "9 x 96x64"):
        assert words in out
    assert main(["baseline", "show", "b"]) == 0
    assert "guitar" not in capsys.readouterr().out
    assert main(["baseline", "show", "c"]) == 2
    assert main(["baseline", "show", "--baselines", "nowhere"]) == 2
    assert "folder of baselines not found" in capsys.readouterr().err
