"""A folder in which every command works, with a job, cases, a request, results and baselines; damage starts from it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import yaml
from PIL import Image

from parity.baselines.file import file_name, from_result, to_text
from parity.case.load import DEMO
from parity.results.json_text import to_json
from pipelines.media.video import read_video
from tests.support.baseline_samples import ACCEPTED, ENVIRONMENT, result, run_of
from tests.support.paths import DATA
from tests.support.report_cases import drifted_case, error_case, passed_case
from tests.support.report_cases import run_of as reported

T2V, I2V = "job", "i2v_job"
STEP = "1795289016732__000000500_0"


def build(folder: Path) -> None:
    """Fill an empty folder."""
    for name, job in ((T2V, "t2v_basic"), (I2V, "i2v_basic")):
        shutil.copytree(DEMO / "jobs" / job, folder / name)
        kind = job.partition("_")[0]
        shutil.copytree(DEMO / "models" / f"tiny-wan-{kind}", folder / f"model_{kind}")
        config = folder / name / "config.yaml"
        text = config.read_text(encoding="utf-8").replace("../../models/tiny-wan-", "../model_")
        config.write_text(text, encoding="utf-8")
    for path in (folder / T2V / "samples").glob("*"):
        if path.stem != STEP:
            path.unlink()
    (folder / "pyproject.toml").write_text('[tool.wan-parity]\nmax-size = 25\ndevice = "cpu"\n', encoding="utf-8")
    _cases(folder)
    _videos(folder)
    _made_with_comfyui(folder)
    _results(folder)


def _cases(folder: Path) -> None:
    request = {
        "model": "wan21_14b",
        "trigger_word": "p3r5on",
        "prompts": [
            {
                "prompt": "woman playing the guitar, on stage",
                "width": 96,
                "height": 64,
                "seed": 42,
                "sample_steps": 1,
                "guidance_scale": 1.0,
                "neg": "",
                "num_frames": 1,
                "fps": 15,
            }
        ],
        "loras": [{"path": f"{T2V}/tiny_t2v.safetensors", "network_multiplier": 1.0}],
    }
    (folder / "request.json").write_text(json.dumps(request, indent=1), encoding="utf-8")
    preview = {"config": f"{T2V}/config.yaml", "sample": 0, "video": f"{T2V}/samples/{STEP}.webp", "toolkit": "0.12.26"}
    case = {
        "id": "guitar",
        "model": "wan21_14b",
        "checkpoint": "model_t2v",
        "preview": preview,
        "request": request,
        "pipeline": {"base": "reference", "scheduler": {"family": "flow_match_euler", "shift": 3.0}},
        "tolerance": {"psnr": 40, "ssim": 0.98},
        "expect": ["scheduler", "precision"],
        "tags": ["t2v"],
    }
    plain = {"model": "wan21_14b", "checkpoint": "model_t2v", "preview": preview, "request": "request.json"}
    merged = plain | {"pipeline": {"lora_application": "merged"}}
    image = {
        "model": "wan21_i2v_14b",
        "checkpoint": "model_i2v",
        "preview": {
            "config": f"{I2V}/config.yaml",
            "sample": 0,
            "video": f"{I2V}/samples/1795289301080__000000500_0.webp",
            "toolkit": "0.12.26",
        },
    }
    lone = {name: value for name, value in preview.items() if name not in ("config", "sample")}
    for name, keys in (
        ("case", case),
        ("plain", plain),
        ("merged", merged),
        ("mp4", plain | {"preview": lone | {"video": "preview.mp4"}}),
        ("frames", plain | {"preview": lone | {"video": "frames"}}),
        ("image", image),
    ):
        text = json.loads(json.dumps(keys))  # without what YAML would write as aliases
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(text, sort_keys=False, width=1_000_000), encoding="utf-8")
    quoted = (folder / "case.yaml").read_text(encoding="utf-8").replace("id: guitar", 'id: "guitar"')
    (folder / "case.yaml").write_text(quoted, encoding="utf-8")


def _videos(folder: Path) -> None:
    import imageio_ffmpeg

    frames = read_video(folder / T2V / "samples" / f"{STEP}.webp").frames
    (folder / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "frames" / f"{number:04d}.png")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64"]
    command += ["-r", "15", "-i", "-", "-threads", "1", "-pix_fmt", "yuv420p", str(folder / "preview.mp4")]
    subprocess.run(command, input=frames.tobytes(), check=True)


def _made_with_comfyui(folder: Path) -> None:
    recording = DATA / "comfyui" / "t2v-euler-normal-3" / "float32"
    for file in recording.glob("t2v-euler-normal-3-*"):
        shutil.copy(file, folder / f"made{file.suffix}")
    for name, text in (("graph", "prompt"), ("workflow", "workflow")):
        shutil.copy(recording / f"{text}.json", folder / f"{name}.json")


def _results(folder: Path) -> None:
    from tests.reports.test_report_diagnosis import diagnosis, search

    (folder / "shown").mkdir()
    drifted = dataclasses.replace(drifted_case(folder / "shown"), diagnosis=diagnosis(), search=search())
    shown = reported(drifted, passed_case(folder / "shown"), error_case())
    (folder / "shown" / "results.json").write_text(to_json(shown), encoding="utf-8")
    (folder / "results.json").write_text(to_json(run_of(result())), encoding="utf-8")
    (folder / "baselines").mkdir()
    baseline = to_text(from_result(result(), ENVIRONMENT, ACCEPTED))
    (folder / "baselines" / file_name("guitar")).write_text(baseline, encoding="utf-8")
    output = result().output
    assert output is not None
    approvals = {
        "kind": "wan-parity approvals",
        "schema_version": 1,
        "results_started": run_of().started,
        "cases": [{"id": "guitar", "output_sha256": output.sha256, "raw_sha256": output.raw_sha256}],
    }
    (folder / "approvals.json").write_text(json.dumps(approvals, indent=1), encoding="utf-8")
