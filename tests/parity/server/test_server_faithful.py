"""`parity serve --profile faithful`: a LoRA's own job decides the graph, as for a case with `pipeline: faithful`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from parity.case.load import DEMO, load_case
from parity.server.plan import RequestPlan, plan
from pipelines.catalog import MODELS
from pipelines.drift import differing_factors
from pipelines.engine.engine import Engine
from pipelines.errors import CaseError
from pipelines.media.video import encode
from pipelines.reference.inference import request_of_preview
from pipelines.reference.request import Request
from tests.conftest import CaseFiles
from tests.support.drawn import Drawn
from tests.support.serving import body, finished, settings_of, submit, thread

# Cases tagged drift do not reproduce their preview, and the API takes no request without a LoRA.
FAITHFUL = sorted(
    path.stem
    for path in DEMO.glob("*.yaml")
    if "pipeline: faithful" in (text := path.read_text())
    and not re.search("drift", text)
    and path.stem != "shapes-i2v-faithful"
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("faithful")
    with thread(settings_of(folder, profile="faithful"), engine) as client:
        yield client


@pytest.mark.parametrize("case_id", FAITHFUL)
def test_a_request_gives_the_bytes_of_the_case(case_id: str, client: httpx.Client, drawn: Drawn) -> None:
    recipe = load_case(DEMO / f"{case_id}.yaml").inference
    expected = encode(drawn(recipe), recipe.codec, recipe.fps)
    request = request_of_preview(recipe).model_dump(exclude_none=True)
    result = finished(client, submit(client, request))
    assert result["status"] == "succeeded", result
    served = client.get(result["outputs"]["videos"][0]["url"]).content
    assert hashlib.sha256(served).hexdigest() == hashlib.sha256(expected).hexdigest()
    assert result["metadata"]["config"] == f"{recipe.lora_files[0].path.parent.name}/config.yaml"
    assert any("toolkit version" in note for note in result["metadata"]["notes"])


class Root:
    """A LoRA root with one job, whose config is the demo's with values replaced."""

    def __init__(self, folder: Path, kind: str = "t2v", version: str | None = None, **process: Any) -> None:
        self.folder, self.job, self.kind = folder.resolve(), folder.resolve() / "job", kind
        shutil.copytree(DEMO / "jobs" / f"{kind}_basic", self.job)
        config = yaml.safe_load((self.job / "config.yaml").read_text())
        own = config["config"]["process"][0]
        own["model"]["name_or_path"] = str(DEMO / "models" / f"tiny-wan-{kind}")
        for section, values in process.items():
            own[section] |= values
        (self.job / "config.yaml").write_text(yaml.safe_dump(config))
        if version is not None:
            metadata = {"software": json.dumps({"name": "ai-toolkit", "version": version})}
            save_file(load_file(self.lora), self.lora, metadata)

    @property
    def lora(self) -> Path:
        return self.job / f"tiny_{self.kind}.safetensors"

    @property
    def model(self) -> str:
        return "wan21_14b" if self.kind == "t2v" else "wan21_i2v_14b"

    def plan(self, request: Request, **settings: Any) -> RequestPlan:
        here = settings_of(self.folder, lora_root=self.folder, profile="faithful", **settings)
        return plan(request, MODELS[self.model], here, None)

    def request(self, **item: Any) -> Request:
        request = body(model=self.model, request={"loras": [{"path": str(self.lora)}]}, **item)
        return Request.model_validate(request, strict=False)


@pytest.mark.parametrize(
    ("kind", "version", "process", "factors"),
    [
        ("t2v", None, {}, []),
        ("t2v", "0.9.2", {}, ["scheduler", "vae_norm"]),
        ("t2v", "0.12.26", {"model": {"low_vram": True}, "sample": {"num_frames": 12, "width": 320}}, ["vae_tiling"]),
        ("t2v", "0.12.26", {"model": {"model_kwargs": {"vae_tiling": True}}, "sample": {"width": 320}}, ["vae_tiling"]),
        ("t2v", None, {"train": {"dtype": "fp32"}}, ["precision"]),
        ("t2v", None, {"sample": {"prompts": ["a", "b --m 0.5"]}}, ["lora_application"]),
        ("t2v", None, {"model": {"quantize": True}}, ["lora_application", "quantization"]),
        ("i2v", None, {"train": {"dtype": "fp16"}}, ["precision"]),
    ],
    ids=str,
)
def test_the_graph_is_that_of_a_faithful_case(
    kind: str, version: str | None, process: dict[str, Any], factors: list[str], tmp_path: Path, cases: CaseFiles
) -> None:
    """It also differs from the trainer's usual graph in what the job sets."""
    root = Root(tmp_path / "root", kind, version, **process)
    video = str(sorted((root.job / "samples").glob("*_0.webp"))[0])
    preview = {"config": str(root.job / "config.yaml"), "sample": 0, "video": video, "toolkit": version}
    case = load_case(cases.write(model=root.model, checkpoint=None, preview=preview))
    request = request_of_preview(case.inference)
    planned = root.plan(request)
    assert differing_factors(planned.recipes[0], case.inference) == []
    assert (planned.config, planned.toolkit) == ("job/config.yaml", version)
    (root.job / "config.yaml").unlink()
    usual = root.plan(request)
    assert usual.config is None
    assert "no config" in usual.recipes[0].notes[0]
    # What low_vram does to a number of frames is done: 12 are 9, which the usual rule makes 13.
    frames = ["frame_count"] if "num_frames" in process.get("sample", {}) else []
    assert sorted(differing_factors(usual.recipes[0], case.inference)) == sorted(factors + frames)


@pytest.mark.parametrize("with_config", [True, False])
def test_sizes_are_the_trainers(with_config: bool, tmp_path: Path) -> None:
    """With the job's graph as well as with the trainer's usual one."""
    root = (tmp_path / "root").resolve()
    job = shutil.copytree(DEMO / "jobs" / "wan22_t2v", root / "job")
    if not with_config:
        (job / "config.yaml").unlink()
    loras = [{"path": str(next(job.glob(f"*_{name}_noise.*"))), "transformer": name} for name in ("high", "low")]
    asked = body(model="wan22_14b_t2v", request={"loras": loras}, width=112, height=80)
    checkpoints = {"wan22_14b_t2v": str(DEMO / "models" / "tiny-wan22-t2v")}
    settings = settings_of(tmp_path / "data", lora_root=root, profile="faithful", checkpoints=checkpoints)
    recipe = plan(Request.model_validate(asked, strict=False), MODELS["wan22_14b_t2v"], settings, None).recipes[0]
    assert (recipe.width.applied, recipe.height.applied) == (112, 80)


def test_the_configs_folder_or_the_servers_checkpoint(tmp_path: Path) -> None:
    root = Root(tmp_path / "root", model={"name_or_path": "/gone/on/this/machine"})
    planned = root.plan(root.request(), checkpoints={"wan21_14b": str(DEMO / "models" / "tiny-wan-t2v")})
    assert "/gone/on/this/machine is not a folder on this machine" in planned.recipes[0].notes[0]
    with pytest.raises(CaseError, match="--checkpoint"):
        root.plan(root.request(), checkpoints={})


def test_a_renamed_lora_is_taken_for_the_jobs(tmp_path: Path) -> None:
    root = Root(tmp_path / "root")
    other = root.lora.rename(root.job / "best.safetensors")
    request = root.request().model_copy(
        update={"loras": [root.request().loras[0].model_copy(update={"path": str(other)})]}
    )
    planned = root.plan(request)
    assert planned.config == "job/config.yaml"
    assert "best.safetensors does not follow the file names of job tiny_t2v" in planned.recipes[0].notes[-1]


def test_a_config_outside_the_root_is_not_read(tmp_path: Path) -> None:
    root = Root(tmp_path / "root")
    (root.job / "config.yaml").rename(tmp_path / "config.yaml")
    (root.job / "config.yaml").symlink_to(tmp_path / "config.yaml")
    assert root.plan(root.request()).config is None


@pytest.mark.parametrize(
    ("kind", "process", "told"),
    [
        ("t2v", {"model": {"quantize": True, "qtype": "qint4"}}, "transformer qint4"),
        ("t2v", {"network": {"type": "dora"}}, "network.type dora"),
        ("i2v", {"model": {"low_vram": True}}, "low_vram I2V"),
        ("t2v", {"model": {"arch": "wan21_i2v"}}, "trains wan21_i2v"),
        ("t2v", {"sample": {"width": "wide"}}, "job/config.yaml:"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_reproduced_fails_clearly(
    kind: str, process: dict[str, Any], told: str, tmp_path: Path, engine: Engine
) -> None:
    root = Root(tmp_path / "root", kind, **process)
    image = str(DEMO / "jobs" / "i2v_basic" / "ctrl.png")
    request = root.request().model_dump(exclude_none=True)
    if kind == "i2v":
        request["prompts"][0]["ctrl_img"] = base64.b64encode(Path(image).read_bytes()).decode()
    settings = settings_of(tmp_path / "data", lora_root=root.folder, profile="faithful")
    with thread(settings, engine) as client:
        result = finished(client, submit(client, request))
    assert result["status"] == "failed"
    assert told in result["error"]
    assert str(tmp_path) not in result["error"]
