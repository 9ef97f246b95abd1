"""Checkpoints of real shapes with random weights, made on the device and written as files that the engine loads.

Real: the transformers' shapes, in bfloat16, and the VAE's, in float32. Not real: the weights; and the text encoder is
the demo's tiny one, so a prompt has 32 numbers a token instead of 4096, which changes one layer's size and no other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.context import ROOT, LeftOutError
from benchmarks.gpu.measure import release
from pipelines.lora_files import lora_file
from pipelines.recipe import Expert, LoraFile

_DEMO = ROOT / "cases" / "models"
_WRITERS = 8
_DTYPES = {torch.bfloat16: "BF16", torch.float32: "F32"}
RANK = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of one published transformer."""

    model: str
    """API model id."""
    heads: int
    ffn: int
    layers: int
    experts: bool = False

    @property
    def width(self) -> int:
        return 128 * self.heads

    @property
    def parameters(self) -> int:
        """Nearly: the linear layers of the blocks."""
        return self.layers * (8 * self.width**2 + 2 * self.width * self.ffn)


SHAPES: Mapping[str, Shape] = {
    "1.3b": Shape("wan21_1b", 12, 8960, 30),
    "14b": Shape("wan21_14b", 40, 13824, 40),
    "a14b": Shape("wan22_14b_t2v", 40, 13824, 40, experts=True),
}
"""From the configs of the published checkpoints, as the defaults of diffusers 0.42.1 have them."""
SMALL = {name: Shape(shape.model, 1, 64, 2, shape.experts) for name, shape in SHAPES.items()}


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint on disk, and two LoRAs for it."""

    shape: Shape
    folder: Path
    loras: tuple[tuple[LoraFile, ...], ...]
    """Of each LoRA one file, or one an expert."""
    size: int
    """Bytes of the transformer's file or files, the same for both experts."""


def make(folder: Path, shape: Shape, device: torch.device, *, small: bool) -> Made:
    """Write a checkpoint. Both experts of a pair have the same weights, in the same file."""
    needed = 2 * shape.parameters
    free = shutil.disk_usage(folder.parent).free
    if free < 1.2 * needed:
        raise LeftOutError(f"{folder.parent} has {free / 1e9:.0f} GB free, the weights take {needed / 1e9:.0f} GB")
    origin = _DEMO / ("tiny-wan22-t2v" if shape.experts else "tiny-wan-t2v")
    folder.mkdir()
    for name in ("model_index.json", "scheduler", "tokenizer", "text_encoder"):
        (shutil.copytree if (origin / name).is_dir() else shutil.copy)(origin / name, folder / name)
    size = _transformer(folder / "transformer", shape, device)
    if shape.experts:
        (folder / "transformer_2").symlink_to("transformer")
    _vae(folder / "vae", device, small=small)
    release()
    experts: tuple[Expert | None, ...] = ("high", "low") if shape.experts else (None,)
    loras = tuple(tuple(_lora(folder, shape, seed, expert) for expert in experts) for seed in (1, 2))
    return Made(shape, folder, loras, size)


def _transformer(folder: Path, shape: Shape, device: torch.device) -> int:
    from diffusers import WanTransformer3DModel

    config = json.loads((_DEMO / "tiny-wan-t2v" / "transformer" / "config.json").read_text(encoding="utf-8"))
    config |= {"num_attention_heads": shape.heads, "attention_head_dim": 128, "ffn_dim": shape.ffn}
    config |= {"num_layers": shape.layers, "freq_dim": 256}
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    try:
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(device):
            model: Any = WanTransformer3DModel.from_config(config)
    finally:
        torch.set_default_dtype(before)
    for name, parameter in model.named_parameters():
        if name == "proj_out.bias" or "norm_" in name:
            continue
        if parameter.ndim < 2:  # biases are 0 at the start and not later
            torch.nn.init.normal_(parameter, std=0.02)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return _write(folder, dict(model.named_parameters()))


def _vae(folder: Path, device: torch.device, *, small: bool) -> None:
    if small:
        shutil.copytree(_DEMO / "tiny-wan-t2v" / "vae", folder)
        return
    from diffusers import AutoencoderKLWan

    torch.manual_seed(1)
    with torch.device(device):
        model: Any = AutoencoderKLWan()
    folder.mkdir()
    model.save_config(folder)
    _write(folder, dict(model.named_parameters()))


def _write(folder: Path, tensors: Mapping[str, torch.Tensor]) -> int:
    """Write tensors as safetensors, in several files at the same time. Returns their bytes."""
    shards: list[dict[str, torch.Tensor]] = [{} for _ in range(_WRITERS)]
    sizes = [0] * _WRITERS
    for name, tensor in tensors.items():
        smallest = sizes.index(min(sizes))
        shards[smallest][name] = tensor.detach().contiguous()
        sizes[smallest] += tensor.nbytes
    shards = [shard for shard in shards if shard]
    stem, count = "diffusion_pytorch_model", len(shards)
    names = [f"{stem}-{number + 1:05}-of-{count:05}.safetensors" for number in range(count)]
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(_write_shard, [folder / name for name in names], shards))
    index = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
    content = {"metadata": {"total_size": sum(sizes)}, "weight_map": index}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")
    return sum(sizes)


def _write_shard(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write one file: 8 bytes of length, a JSON header, then the tensors. No copy but one tensor at a time."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        shape = list(tensor.shape)
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": shape, "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors.values():
            file.write(tensor.flatten().view(torch.uint8).cpu().numpy().data)


def read(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a written model, one at a time."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)


def _lora(folder: Path, shape: Shape, seed: int, expert: Expert | None) -> LoraFile:
    """A LoRA on all ten linear layers of each block, as ai-toolkit saves one."""
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(10 * seed + len(expert or ""))
    width, ffn = shape.width, shape.ffn
    layers = {f"{part}.{name}": (width, width) for part in ("self_attn", "cross_attn") for name in "qkvo"}
    layers |= {"ffn.0": (ffn, width), "ffn.2": (width, ffn)}
    weights = {}
    for block in range(shape.layers):
        for name, (rows, columns) in layers.items():
            key = f"diffusion_model.blocks.{block}.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(RANK, columns, generator=random).bfloat16() * 0.02
            weights[f"{key}.lora_B.weight"] = torch.randn(rows, RANK, generator=random).bfloat16() * 0.02
    path = folder / f"lora-{seed}-{expert or 'only'}.safetensors"
    save_file(weights, path)
    return lora_file(path, expert)
