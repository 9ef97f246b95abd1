"""The GPU kit, in small and on the CPU: whatever it does on a GPU but for its kernels must work the first time."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import demo, fresh, modes, plan, real, record, server, supervise
from benchmarks.gpu.context import Context
from benchmarks.gpu.record import Row
from pipelines.engine.engine import Engine
from pipelines.errors import UsageError
from pipelines.media.video import Frames
from tests.support.drawn import Drawn
from tests.support.paths import ROOT

_CASE = "t2v-guitar-faithful"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("cpu", small=True, work=tmp_path)


@pytest.fixture
def frames(drawn: Drawn) -> Frames:
    """What the kit's only recipe in small generates."""
    from benchmarks.gpu.context import recipes

    return drawn(recipes(small=True)[_CASE])


def _left_behind(context: Context, run: str, frames: Frames) -> None:
    """Frames as a fresh process leaves them."""
    folder = context.work / f"frames-{run}"
    folder.mkdir()
    np.save(folder / f"{_CASE}.npy", frames)
    (folder / "done").write_text(f"{_CASE} 1.0")


def _rows(rows: Iterator[Row]) -> dict[str, Row]:
    return {row.what: row for row in rows}


def test_frames_of_two_processes_are_compared_to_the_bit(context: Context, frames: Frames) -> None:
    for run in ("first", "cpu"):
        _left_behind(context, run, frames)
    _left_behind(context, "second", frames ^ (np.arange(frames.size) == 0).reshape(frames.shape))
    rows = _rows(demo.repeat(context))
    assert rows["equal in both processes"].figure == "0 of 1"
    assert rows[_CASE].figure.endswith(" dB")
    np.save(context.work / "frames-second" / f"{_CASE}.npy", frames)
    rows = _rows(demo.repeat(context))
    assert rows["equal in both processes"].figure == "1 of 1"
    assert rows[_CASE].figure == "same bits"


def test_the_device_is_compared_with_this_cpu_and_with_the_trainers_frames(context: Context, frames: Frames) -> None:
    _left_behind(context, "first", frames // 2)
    _left_behind(context, "cpu", frames)
    row = _rows(demo.against_cpu(context))[f"{_CASE}, to this CPU"]
    assert row.figure.endswith(" dB")
    assert row.values["psnr_cpu_to_recording"] == "same bits"
    assert isinstance(row.values["psnr_device_to_recording"], float)


def test_a_recipe_that_fails_is_a_row_and_the_others_go_on(context: Context, frames: Frames) -> None:
    for run in ("first", "second", "cpu"):
        _left_behind(context, run, frames)
    (context.work / "frames-first" / "other.error").write_text("OutOfMemoryError: of 80 GiB")
    np.save(context.work / "frames-second" / "other.npy", frames)
    rows = _rows(demo.repeat(context))
    assert (rows["other"].figure, rows["other"].note) == ("failed", "OutOfMemoryError: of 80 GiB")
    assert rows[_CASE].figure == "same bits"


@pytest.mark.draws
def test_what_a_fresh_process_does(
    context: Context, frames: Frames, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "engine", lambda *_: engine)
    monkeypatch.setattr(sys, "argv", ["fresh", "cpu", str(context.work), "--small"])
    fresh.main()
    assert np.array_equal(np.load(context.work / f"{_CASE}.npy"), frames)
    assert (context.work / "done").read_text().startswith(f"{_CASE} ")


@pytest.mark.draws
def test_real_shapes(context: Context) -> None:
    rows = _rows(real.small_model(context))
    assert rows["engine, merged LoRA taken out"].figure == "the base has the bits of its files"
    assert "same bits" in rows["--offload none"].note
    for way in ("merged", "as adapter"):
        ratios = {key for key in rows[f"engine, LoRA {way}"].values if key.endswith("_ratio")}
        assert ratios == {"step_ratio", "decode_ratio", "peak_ratio", "all_ratio"}
    assert rows["LoRA as side path, uint4"].note.endswith(" dB")


@pytest.mark.draws
def test_a_base_with_other_bits_is_noticed(context: Context) -> None:
    import torch

    made = real.checkpoint(context, "a14b")
    engine = context.engine()
    engine.load(real.recipe_of(context, made, applied="merged"))
    assert real._unequal(engine, made) == []
    with torch.no_grad():
        engine._pipe.transformer_2.blocks[1].ffn.net[2].bias[0] += 1e-3
    assert real._unequal(engine, made) == ["transformer_2.blocks.1.ffn.net.2.bias"]
    engine.close()


@pytest.mark.draws
def test_ways_of_generating(context: Context) -> None:
    assert _rows(modes.offload(context))["--offload none"].figure == "1 of 1 with the same bits as without"
    assert _rows(modes.noise(context))["noise: cuda, generated again"].figure == "same bits"
    assert _rows(modes.quantized(context))["qfloat8"].figure == "same bits"
    assert _rows(modes.switch(context))[f"{_CASE} (merged), back to its LoRA"].figure == "same bits"


@pytest.mark.process
@pytest.mark.draws
@pytest.mark.skipif(sys.platform == "win32", reason="the kit needs /proc, the planted nvidia-smi a shell")
def test_the_server_and_what_a_killed_process_of_it_leaves_on_the_gpu(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is what a planted nvidia-smi says of two GPUs: real figures need a real one."""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 400\necho 20\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(smi.parent), prepend=os.pathsep)
    rows = _rows(server.serve(context))
    assert rows["second request, weights loaded"].figure.startswith("succeeded")
    assert rows["a request whose process is killed once"].figure == "succeeded"
    assert rows["GPU memory of the killed process"].figure.startswith("420 MiB in use before, 420 MiB once it was dead")
    smi.write_text("#!/bin/sh\necho No devices were found\n")
    assert server.gpu_memory() is None


@pytest.mark.process
def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--small", "--out", str(out), "--only"]
    done = subprocess.run([*arguments, "0,compiled"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr  # `compiled` needs a GPU
    sections = {section["name"]: section for section in json.loads((out / "results.json").read_text())["sections"]}
    assert {name: section["status"] for name, section in sections.items()} == {
        "machine": "done",
        "compiled": "left out",
    }
    assert "`compiled` needs CUDA" in (out / "table.md").read_text()
    assert any(row["what"].startswith("attention, bfloat16") for row in sections["machine"]["rows"])


@pytest.mark.process
def test_a_section_that_takes_too_long_is_stopped_and_the_next_one_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = dataclasses.replace(plan.SECTIONS[1], seconds=0.1)
    monkeypatch.setattr(supervise, "SECTIONS", (plan.SECTIONS[0], impatient))
    said: list[str] = []
    kept = record.Record(tmp_path, {"device": "cpu", "started": "2026-11-30"})

    def run(numbers: list[int], minutes: float) -> None:
        log = tmp_path / "log.txt"
        supervise.run(numbers, kept, device="cpu", small=True, minutes=minutes, work=tmp_path, log=log, say=said.append)

    run([1, 0], 5)
    assert "repeat: stopped: took longer than 0 s" in said[1]
    assert kept.done("machine")
    assert not kept.done("repeat")
    run([0], 0)
    assert "left out: 0 s were left" in said[-1]
    assert kept.done("machine")  # of before


def test_sections_by_number_and_name() -> None:
    assert plan.chosen("machine, 3") == [0, 3]
    assert plan.chosen(None) == list(range(len(plan.SECTIONS)))
    with pytest.raises(UsageError, match="did you mean compiled"):
        plan.chosen("compile")
    assert all(section.name in plan.listing() for section in plan.SECTIONS)


def test_results_of_several_calls_are_one_table() -> None:
    row = dataclasses.asdict(Row("merged | adapter", "1.2 s"))
    first = {"name": "real-1.3b", "status": "stopped", "reason": "took longer", "seconds": 80.0, "rows": [row]}
    second = first | {"status": "left out", "reason": "no time", "seconds": None, "rows": []}
    about = {"device": "cuda", "started": "2026-12-01T10:00:00+00:00", "machine": "NVIDIA H200"}
    merged = record.merged([{"about": about, "sections": [first]}, {"about": about, "sections": [second]}])
    shown = record.table(merged)
    assert "Measured on NVIDIA H200, 2026-12-01." in shown
    assert "| merged \\| adapter | 1.2 s |  |" in shown
    assert "stopped: took longer" in shown
    assert "Not measured: Machine;" in shown
    page = f"before\n{record.BEGIN}\nnot measured yet\n{record.END}\nafter\n"
    filled = record.filled(page, shown)
    assert record.filled(filled, shown) == filled
    assert filled.startswith("before\n")
    assert filled.endswith(f"{record.END}\nafter\n")
    assert "not measured yet" not in filled


def test_wheels_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command._with_wheels(tmp_path) == 2
    assert "has no *.whl" in capsys.readouterr().err
