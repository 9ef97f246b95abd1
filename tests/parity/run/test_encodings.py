"""Encoded texts and images are kept on disk: bit for bit, by all that can change a bit, and instead of the encoders."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from parity.case.load import load_case
from parity.case.progress import Quiet
from parity.cli.main import main
from parity.results.case import CaseResult
from parity.run.cache import Cache
from parity.run.encodings import KeptEncodings, folder_in
from parity.run.options import Options
from parity.run.session import Session
from parity.run.task import Task
from pipelines.engine.engine import Engine
from pipelines.recipe import Recipe, Resize
from tests.conftest import CaseFiles
from tests.support.oracle import sample_recipe

IDENTITY: dict[str, Any] = {
    "kind": "text",
    "weights": ["ab" * 32],
    "way": ("own", "bfloat16", False, None),
    "given": ("diffusers", "a red square"),
    "code": "cd" * 32,
}


@pytest.fixture
def kept(tmp_path: Path) -> KeptEncodings:
    return KeptEncodings(folder_in(tmp_path / "cache"), {"torch": "2.13.0"})


def embeddings() -> torch.Tensor:
    """As of a short text: nearly all rows are zero."""
    rows = torch.zeros(1, 512, 64)
    rows[:, :5] = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    rows[:, 5, 0] = -0.0
    return rows


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def only_file(kept: KeptEncodings) -> Path:
    (path,) = (path for path in kept.root.rglob("*") if path.is_file())
    return path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("make", [embeddings, lambda: torch.zeros(1, 4, 8), lambda: torch.randn(1, 32, 2, 8, 12)])
def test_every_bit_comes_back(kept: KeptEncodings, make: Callable[[], torch.Tensor], dtype: torch.dtype) -> None:
    made = make().to(dtype)
    kept.keep(IDENTITY, made)
    found = kept.find(IDENTITY)
    assert found is not None
    assert bits(found) == bits(made)


def test_rows_of_no_token_take_no_space(kept: KeptEncodings) -> None:
    kept.keep(IDENTITY, embeddings())
    assert only_file(kept).stat().st_size < 512 * 64 * 4 / 50


def test_whatever_can_change_a_bit_is_part_of_the_key(kept: KeptEncodings) -> None:
    kept.keep(IDENTITY, embeddings())
    changed = {
        "kind": "image",
        "weights": ["ef" * 32],
        "way": ("own", "float32", False, None),
        "given": ("diffusers", "a red circle"),
        "code": "edited",
    }
    assert changed.keys() == IDENTITY.keys()
    for name, value in changed.items():
        assert kept.find({**IDENTITY, name: value}) is None, name
    assert KeptEncodings(kept.root, {"torch": "2.14.0"}).find(IDENTITY) is None
    assert KeptEncodings(kept.root, {"torch": "2.13.0"}).find(IDENTITY) is not None


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b"[1, 512", b"[2, 512")),
        lambda path: path.write_bytes(path.read_bytes().replace(b"float32", b"float99")),
    ],
)
def test_a_damaged_file_is_removed(kept: KeptEncodings, damage: Callable[[Path], None]) -> None:
    kept.keep(IDENTITY, embeddings())
    path = only_file(kept)
    damage(path)
    assert kept.find(IDENTITY) is None
    assert not path.exists()


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    kept = KeptEncodings(folder_in(tmp_path / "cache"), {})
    kept.keep(IDENTITY, embeddings())
    assert kept.problem is not None
    assert "could not be kept" in kept.problem


# ---- The engine


def as_in_the_hubs_cache(folder: Path, copy: Path) -> list[Path]:
    """Copy a checkpoint, its encoders as links to files that are named by their SHA-256; returns those files."""
    shutil.copytree(folder, copy)
    blobs = copy.parent / "blobs"
    blobs.mkdir()
    moved = []
    for part in ("text_encoder", "image_encoder"):
        path = copy / part / "model.safetensors"
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        path.symlink_to(blob)
        moved.append(blob)
    return moved


def wipe(path: Path) -> None:
    """Set every weight of a safetensors file to zero."""
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    path.write_bytes(data[:header] + bytes(len(data) - header))


@pytest.mark.draws
@pytest.mark.parametrize("way", ["diffusers", "comfyui"])
def test_encodings_of_another_process_stand_in_for_the_encoders(
    tmp_path: Path, kept: KeptEncodings, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))  # where a file's name is believed to be its hash
    recipe = dataclasses.replace(sample_recipe("i2v_basic", 0), steps=1, lora_files=(), lora_scales=())
    if way == "comfyui":
        resize = Resize("bilinear_no_antialias", "center")
        recipe = dataclasses.replace(recipe, text_encoding="comfyui", clip_image="original_center", resize=resize)
    copy = tmp_path / "model"
    blobs = as_in_the_hubs_cache(Path(recipe.weights.checkpoint), copy)
    recipe = dataclasses.replace(recipe, weights=dataclasses.replace(recipe.weights, checkpoint=str(copy)))
    first, work = denoised(recipe, kept)
    assert (work.encoder_loads, work.encodings, work.reused_encodings) == (2, 4, 0)
    for blob in blobs:
        wipe(blob)
    again, work = denoised(recipe, kept)
    assert (work.encoder_loads, work.encodings, work.reused_encodings) == (0, 0, 4)
    assert bits(again) == bits(first)
    anew, work = denoised(recipe, None)
    assert work.encoder_loads == 2
    assert not torch.equal(anew, first)  # the encoders are really gone


def denoised(recipe: Recipe, kept: KeptEncodings | None) -> tuple[torch.Tensor, Any]:
    """The latents of an engine of its own, and what it did."""
    engine = Engine("cpu")
    engine.keep_encodings(kept)
    return engine.denoise(recipe), engine.work


# ---- A run


def run(path: Path, out: Path, cache: Path | None) -> tuple[CaseResult, Engine]:
    with Session(Options(out=out, device="cpu", cache=cache)) as session:
        return session.run_case(load_case(path), Quiet()), session.engine


@pytest.mark.draws
def test_a_second_run_on_known_prompts_loads_no_text_encoder(cases: CaseFiles, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    loads = []
    for number, (seed, keeps) in enumerate([(1, cache), (2, cache), (2, None)]):
        path = cases.write("one", request=cases.request(sample_steps=1, num_frames=1, seed=seed))
        result, engine = run(path, tmp_path / str(number), keeps)
        assert result.drawn_before is None
        loads.append(engine.work.encoder_loads)
    assert loads == [1, 0, 1]


def test_repeats_encode_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[object] = []
    monkeypatch.setattr(Engine, "keep_encodings", lambda _, store: stores.append(store))
    for task in (Task(), Task(repeat=2)):
        with Session(Options(out=tmp_path / "out", device="cpu", cache=tmp_path / "cache", task=task)):
            pass
    assert [type(store) for store in stores] == [KeptEncodings, type(None)]


# ---- parity cache


def test_cache_lists_and_removes_encodings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept: KeptEncodings
) -> None:
    monkeypatch.setenv("WAN_PARITY_CACHE", str(tmp_path / "cache"))
    kept.keep(IDENTITY, embeddings())
    kept.keep({**IDENTITY, "given": ("diffusers", "blurry")}, embeddings())
    size = sum(encoding.size for encoding in Cache(tmp_path / "cache").encodings())
    assert main(["cache", "ls"]) == 0
    assert "2 encodings of texts and images, " in capsys.readouterr().out
    assert main(["cache", "ls", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert sorted(one["given"] for one in listed["encodings"]) == ["a red square", "blurry"]
    assert listed["bytes"] == size > 0
    used = next(kept.root.rglob("*.safetensors"))
    os.utime(used, (1, 1))
    left = used.with_name(f".{used.name}.123")
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    removed = Cache(tmp_path / "cache").prune(older_than=timedelta(days=1))
    assert len(removed) == 1
    assert not used.exists()
    assert not left.exists()
    assert main(["cache", "prune", "--older-than", "0"]) == 0
    assert capsys.readouterr().out.startswith("1 removed\nno cached generations")
