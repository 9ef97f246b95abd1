"""Runs that are killed, hang, run out of disk or memory, produce NaN, or share a folder with another run."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import parity.run.session
from parity.case.load import Case, load_cases
from parity.case.progress import Quiet
from parity.cli.main import main
from parity.diagnosis.lab import Lab
from parity.results.case import Run
from parity.results.json_text import from_json
from parity.run.options import Options
from parity.run.outdir import OutDir
from parity.run.session import Session
from parity.run.watchdog import StepTimeoutError, Watchdog
from pipelines.engine import lora as engine_lora
from pipelines.engine.engine import Engine
from pipelines.errors import MediaError, NotANumberError, OutOfMemoryError, UsageError
from pipelines.media.video import Frames
from pipelines.offload import Offload
from tests.conftest import CaseFiles
from tests.kills import Kills, hashes, read, torn
from tests.support.paths import ROOT
from tests.support.prepared import python
from tests.support.sessions import options as session_options


def tiny(cases: CaseFiles, *names: str, **keys: Any) -> list[Case]:
    """Cases of one frame and step, each with a seed of its own."""
    files = [
        cases.write(name, request=cases.request(sample_steps=1, num_frames=1, seed=seed), **keys)
        for seed, name in enumerate(names)
    ]
    return load_cases(files)


def run(cases: list[Case], out: Path, engine: Engine, **options: Any) -> Run:
    with Session(session_options(out, device="cpu", **options), engine) as session:
        for case in cases:
            session.run_case(case, Quiet())
        return session.finish([case.id for case in cases])


# ---- Resume ----


def test_resume_keeps_what_is_finished(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    loaded = tiny(cases, "one", "two", "three")
    whole = run(loaded, tmp_path / "whole", engine)
    out = tmp_path / "out"
    with Session(Options(out=out, device="cpu"), engine) as session:
        session.run_case(loaded[0], Quiet())
        session.run_case(loaded[1], Quiet())
    assert from_json((out / "results.json").read_text()).finished is None
    steps = engine.work.denoising_steps
    resumed = run(loaded, out, engine, resume=True)
    assert engine.work.denoising_steps == steps + 1
    assert resumed.finished is not None
    assert hashes(resumed) == hashes(whole)
    assert [case.id for case in resumed.cases] == ["one", "two", "three"]


def test_resume_runs_what_has_changed(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    preview = tmp_path / "preview.webp"
    keys = dict(load_preview(cases), video=str(preview))
    original = Path(str(load_preview(cases)["video"])).read_bytes()
    preview.write_bytes(original)
    out = tmp_path / "out"
    run(tiny(cases, "one", "two", preview=keys), out, engine)

    def drawn(loaded: list[Case]) -> int:
        before = engine.work.denoising_steps
        run(loaded, out, engine, resume=True)
        return engine.work.denoising_steps - before

    assert drawn(tiny(cases, "one", "two", preview=keys)) == 0
    assert drawn([*tiny(cases, "one", preview=keys, tags=["new"]), *load_cases([cases.folder / "two.yaml"])]) == 1
    preview.write_bytes(original + b"\0\0")
    assert drawn(load_cases([cases.folder / "one.yaml", cases.folder / "two.yaml"])) == 2


def load_preview(cases: CaseFiles) -> dict[str, Any]:
    preview: dict[str, Any] = yaml.safe_load(cases.write("template").read_text())["preview"]
    return preview


def test_resume_runs_errors_again_and_keeps_cases_not_named(
    cases: CaseFiles, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny(cases, "one", "two")
    with monkeypatch.context() as patch:
        patch.setattr(Lab, "generate", raising(MediaError("a bad moment")))
        failed = run(loaded, tmp_path / "out", engine)
    assert [case.status for case in failed.cases] == ["error", "error"]
    first = run(loaded[:1], tmp_path / "out", engine, resume=True)
    assert [(case.id, case.status) for case in first.cases] == [("one", "drifted"), ("two", "error")]


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_resume_without_a_run_or_elsewhere_is_one_message(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    loaded = tiny(cases, "one")
    with pytest.raises(UsageError, match=r"--resume: no results.json in .*; pass the folder"):
        run(loaded, tmp_path / "none", engine, resume=True)
    run(loaded, tmp_path / "out", engine)
    path = tmp_path / "out" / "results.json"
    path.write_text(path.read_text().replace(f'"torch": "{torch.__version__}"', '"torch": "2.0.0"'))
    with pytest.raises(
        UsageError, match=r"made in a different environment \(torch 2.0.0 -> .*\); run without --resume"
    ):
        run(loaded, tmp_path / "out", engine, resume=True)


@pytest.mark.draws
@pytest.mark.process
def test_runs_killed_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    """`python -m tests.kills` does it 50 times."""
    outcome = Kills(tmp_path, (1, 1, 5, 1), python()).kill("out", after=2, delay=0.2, cached=True)
    assert outcome.wrong == ()
    assert outcome.finished >= 2


def test_the_kill_proof_can_fail(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    done = run(tiny(cases, "one"), tmp_path / "out", engine)
    assert torn(tmp_path / "out") == []
    still = tmp_path / "out" / done.cases[0].artifacts["output_frames"] / "0000.webp"
    still.write_bytes(still.read_bytes()[:-20])
    assert torn(tmp_path / "out") == [f"{still.relative_to(tmp_path / 'out')} is cut off"]
    output = tmp_path / "out" / done.cases[0].artifacts["output"]
    output.write_bytes(output.read_bytes() + b"\0")
    assert "one: its output is not the one in results.json" in torn(tmp_path / "out")
    (tmp_path / "out" / "results.json").write_text('{"schema_version": 1, "cases": [')
    assert torn(tmp_path / "out")[0].startswith("results.json: the file ends too early")


# ---- One run a folder, no half-written files ----


def test_a_second_run_in_one_folder_is_refused(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    loaded = tiny(cases, "one")
    with Session(Options(out=tmp_path / "out", device="cpu"), engine):
        with pytest.raises(
            UsageError, match="another run is writing to this folder; wait for it, or choose another folder"
        ):
            run(loaded, tmp_path / "out", engine)
        assert main(["run", str(loaded[0].path), "--out", str(tmp_path / "out")]) == 2
    run(loaded, tmp_path / "out", engine)


def test_what_a_killed_run_left_half_written_is_cleared(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    out = tmp_path / "out"
    (out / "artifacts" / ".new-one").mkdir(parents=True)
    (out / "artifacts" / ".new-one" / "0000.webp").write_bytes(b"half")
    (out / ".results.json.123").write_text("{")
    run(tiny(cases, "one"), out, engine)
    assert sorted(path.name for path in out.iterdir()) == ["artifacts", "results.json"]
    assert sorted(path.name for path in (out / "artifacts").iterdir()) == ["one"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writes beyond a size fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_videos_that_cannot_be_written_are_an_error_of_their_case(
    cases: CaseFiles, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = OutDir.write_videos

    def on_a_full_disk(self: OutDir, *arguments: Any) -> Any:
        with files_of_at_most(1000):
            return write(self, *arguments)

    monkeypatch.setattr(OutDir, "write_videos", on_a_full_disk)
    done = run(tiny(cases, "one"), tmp_path / "out", engine)
    assert done.cases[0].status == "error"
    assert "the videos cannot be written: File too large" in (done.cases[0].error or "")
    assert list((tmp_path / "out" / "artifacts").iterdir()) == []


def test_results_that_cannot_be_written_leave_those_before(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    loaded = tiny(cases, "one", "two")
    out = tmp_path / "out"
    with Session(Options(out=out, device="cpu"), engine) as session:
        session.run_case(loaded[0], Quiet())
        before = (out / "results.json").read_bytes()
        with files_of_at_most(len(before)), pytest.raises(MediaError, match="the results before this case are kept"):
            session.run_case(loaded[1], Quiet())
    assert (out / "results.json").read_bytes() == before
    assert not list(out.glob(".results*"))


def test_the_cases_folder_is_only_read(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    loaded = tiny(cases, "one")
    before = {path: path.stat().st_mtime_ns for path in cases.folder.rglob("*")}
    run(loaded, tmp_path.parent / f"{tmp_path.name}-out", engine)
    assert {path: path.stat().st_mtime_ns for path in cases.folder.rglob("*")} == before


# ---- The device ----


@pytest.mark.draws
def test_out_of_memory_is_tried_once_more_with_less(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Offload] = []

    class SmallCard(Engine):
        """Draws on the CPU; says it is a GPU on which only the second offload mode fits."""

        def __init__(self, device: str, offload: Offload) -> None:
            super().__init__(device)
            self.wanted = offload
            asked.append(offload)

        def denoise(self, *arguments: Any, **options: Any) -> torch.Tensor:
            if self.wanted == "none":
                raise OutOfMemoryError("cuda:0 ran out of memory (CUDA out of memory)")
            return super().denoise(*arguments, **options)

    monkeypatch.setattr(parity.run.session, "Engine", SmallCard)
    monkeypatch.setattr(parity.run.session, "can_offload", lambda _: True)
    with Session(Options(out=tmp_path / "out", device="cpu")) as session:
        results = [session.run_case(case, Quiet()) for case in tiny(cases, "one", "two")]
    assert asked == ["none", "model"]
    assert [result.status for result in results] == ["drifted", "drifted"]
    assert results[0].notes[-1] == (
        "--offload none was not enough (cuda:0 ran out of memory (CUDA out of memory)); --offload model was used, "
        "as for all later cases"
    )
    assert not any("--offload" in note for note in results[1].notes)


def test_out_of_memory_with_nothing_left_to_try_is_an_error(
    cases: CaseFiles, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "generate", raising(OutOfMemoryError("cpu ran out of memory")))
    done = run(tiny(cases, "one"), tmp_path / "out", engine)
    assert done.cases[0].status == "error"
    assert "cpu ran out of memory" in done.cases[0].verdict


def test_an_exception_that_nobody_foresaw_is_its_cases_error(
    cases: CaseFiles, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted where diffusers refused a LoRA: the other cases run, the report is written, `--resume` works after it."""
    loaded, out = tiny(cases, "one", "two"), tmp_path / "out"

    def refuse(*_: Any) -> Any:
        raise ValueError("unsupported key proj_out.lora_A\n  in state dict")

    engine.close()
    with Session(session_options(out, device="cpu"), engine) as session:
        with monkeypatch.context() as patch:
            patch.setattr(engine_lora, "apply", refuse)
            failed = session.run_case(loaded[0], Quiet())
        sound = session.run_case(loaded[1], Quiet())
        session.finish([case.id for case in loaded])
    assert (failed.status, sound.status) == ("error", "drifted")
    assert failed.verdict.startswith("could not be run: ValueError: unsupported key proj_out.lora_A in state dict; ")
    assert "\n" not in failed.verdict
    assert "report it" in failed.verdict
    assert "in refuse" in (out / "errors" / "one.txt").read_text()
    assert from_json((out / "results.json").read_text()).exit_code == 3
    resumed = run(loaded, out, engine, resume=True)
    assert [case.status for case in resumed.cases] == ["drifted", "drifted"]
    assert hashes(resumed) == hashes(run(loaded, tmp_path / "whole", engine))


@pytest.mark.draws
def test_a_diagnosis_that_breaks_loses_no_comparison(
    cases: CaseFiles, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The video was generated and compared: that stays, whatever comes of the question why it drifted."""
    loaded, out = tiny(cases, "one"), tmp_path / "out"
    compared = run(loaded, tmp_path / "compared", engine).cases[0]
    draw = Lab.generate

    def breaks(lab: Lab, recipe: Any, label: str, *rest: Any, **more: Any) -> Frames:
        if label != "one":
            raise RuntimeError("planted in a trial")
        return draw(lab, recipe, label, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Lab, "generate", breaks)
        (broken,) = run(loaded, out, engine, diagnose="full").cases
    assert (broken.status, broken.verdict, broken.output) == (compared.status, compared.verdict, compared.output)
    assert broken.diagnosis is not None
    assert broken.diagnosis.stopped == "error"
    assert broken.diagnosis.sentence.startswith(
        "stopped: RuntimeError: planted in a trial; not foreseen: the traceback"
    )
    assert "in breaks" in (out / "errors" / "one.txt").read_text()
    (resumed,) = run(loaded, out, engine, diagnose="full", resume=True).cases
    assert resumed.diagnosis is not None
    assert resumed.diagnosis.stopped not in ("error", "interrupted")


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_exception_while_a_case_is_read_is_one_line(
    cases: CaseFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = cases.write("one")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("parity.case.load.read_job", raising(KeyError("planted")))
    assert main([command, str(path)]) == 3
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"parity: {path}: KeyError: 'planted'; ")
    assert "\n" not in said
    (traceback,) = re.findall(r"\S+\.txt", said)
    assert "KeyError" in Path(traceback).read_text()


def spoiled(frames: Callable[[Frames], Frames]) -> Callable[..., Frames]:
    draw = Lab.generate
    return lambda lab, *arguments, **options: frames(draw(lab, *arguments, **options))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (np.zeros_like, "black in every frame"),
        (lambda frames: np.repeat(frames[:1], len(frames), axis=0), "frozen: 5 equal frames"),
    ],
)
def test_black_and_frozen_output_is_a_finding(
    cases: CaseFiles,
    tmp_path: Path,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Frames], Frames],
    words: str,
) -> None:
    [case] = load_cases([cases.write("one", request=cases.request(sample_steps=1, num_frames=5))])
    with monkeypatch.context() as patch:
        patch.setattr(Lab, "generate", spoiled(spoil))
        [result] = run([case], tmp_path / "out", engine).cases
    assert [(finding.factor, finding.inference) for finding in result.findings][-1] == ("broken_output", words)
    assert result.status == "drifted"
    [result] = run([case], tmp_path / "sound", engine).cases
    assert "broken_output" not in {finding.factor for finding in result.findings}


def test_not_a_number_is_an_error_and_a_finding(cases: CaseFiles, tmp_path: Path, engine: Engine) -> None:
    """Real NaN, from a LoRA with one infinite weight."""
    request = cases.request(sample_steps=1, num_frames=1)
    weights = load_file(request["loras"][0]["path"])
    next(iter(weights.values()))[0, 0] = float("inf")
    save_file(weights, tmp_path / "broken.safetensors")
    request["loras"][0]["path"] = str(tmp_path / "broken.safetensors")
    [case] = load_cases([cases.write("one", request=request)])
    [result] = run([case], tmp_path / "out", engine).cases
    assert result.status == "error"
    assert "the latents after 1 steps contain NaN or infinity" in result.verdict
    assert [finding.factor for finding in result.findings][-1] == "broken_output"
    with pytest.raises(NotANumberError):
        engine.generate(case.inference)


# ---- Time ----


def test_a_step_that_takes_too_long_is_an_error_and_the_run_goes_on(
    cases: CaseFiles, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny(cases, "slow", "next")
    draw = Lab.generate

    def slow(lab: Lab, recipe: Any, label: str, trace: Any = None) -> Frames:
        if label == "slow":
            time.sleep(60)
        return draw(lab, recipe, label, trace)

    monkeypatch.setattr(Lab, "generate", slow)
    engine.load(loaded[0].inference)
    started = time.monotonic()
    done = run(loaded, tmp_path / "out", engine, timeout=5.0)
    assert time.monotonic() - started < 50
    assert [case.status for case in done.cases] == ["error", "drifted"]
    assert "loading took more than 5 s (--timeout)" in done.cases[0].verdict
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_steps_start_the_clock_anew() -> None:
    watchdog = Watchdog(0.3, lambda reason: pytest.fail(reason))
    end = time.monotonic() + 1.0
    with watchdog.watching("loading"):
        while time.monotonic() < end:
            watchdog.beat("a step")

    def hang() -> None:
        with watchdog.watching("loading"):
            watchdog.beat("step 3 of 4")
            while time.monotonic() < end + 60:
                pass

    with pytest.raises(StepTimeoutError, match=r"step 3 of 4 took more than 0.3 s"):
        hang()


HANG = """
import signal, sys, threading
from pathlib import Path
import parity.run.watchdog
from parity.case.load import load_cases
from parity.case.progress import Quiet
from parity.diagnosis.lab import Lab
from parity.run.options import Options
from parity.run.session import Session
from pipelines.engine.engine import Engine

def hang(*arguments, **options):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as deaf as a hung kernel
    threading.Event().wait(600)

parity.run.watchdog.GRACE = 0.5
Engine.load, Lab.generate = lambda *arguments, **options: None, hang
with Session(Options(out=Path(sys.argv[2]), device="cpu", timeout=1.0)) as session:
    session.run_case(load_cases([Path(sys.argv[1])])[0], Quiet())
"""


@pytest.mark.process
def test_what_hangs_outside_python_ends_the_process_with_a_result(cases: CaseFiles, tmp_path: Path) -> None:
    [case] = tiny(cases, "one")
    done = subprocess.run(
        [*python(), "-c", HANG, str(case.path), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "one: loading took more than 1 s (--timeout); the process is ended" in done.stderr
    left = read(tmp_path / "out")
    assert left is not None
    assert left.finished is None
    assert [(result.id, result.status) for result in left.cases] == [("one", "error")]


SWALLOWED = """
import os, signal, sys, time
from parity.cli.main import main
from parity.diagnosis.lab import Lab
from parity.run.watched import Watched

class Deaf:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # the signal is heard here, and what it raises is ignored

draw = Lab.generate
def swallowing(*arguments, **options):
    Deaf()
    return draw(*arguments, **options)

Lab.generate = swallowing
sys.exit(main(["run", sys.argv[1], "--out", sys.argv[2], "--no-html"]))
"""


@pytest.mark.process
def test_an_interrupt_that_was_swallowed_is_heard_at_the_next_step(cases: CaseFiles, tmp_path: Path) -> None:
    [case] = tiny(cases, "one")
    done = subprocess.run(
        [*python(), "-c", SWALLOWED, str(case.path), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Exception ignored in" in done.stderr  # so it was swallowed
    assert done.returncode == 130, done.stderr


@pytest.mark.process
def test_sigterm_writes_what_is_known_and_ends_with_143(cases: CaseFiles, tmp_path: Path) -> None:
    for number in range(1, 7):
        steps = 1 if number == 1 else 60
        cases.write(f"case-{number}", request=cases.request(sample_steps=steps, num_frames=1, seed=number))
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*python(), "-m", "parity", "run", str(cases.folder), "--out", str(out), "--no-cache"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(("ok", "DRIFTED")):
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert re.search(
        r"parity: stopped.*: [1-5] of 6 cases done, [1-5] not generated; go on with:\n  parity run", errors
    )
    assert "Traceback" not in errors
    left = read(out)
    assert left is not None
    assert left.finished is None
    assert 1 <= len(left.cases) < 6
    assert (out / "report.html").read_text().rstrip().endswith("</html>")
