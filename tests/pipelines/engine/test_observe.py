"""What really ran is seen, and what was asked for and did not run is said: planted on tiny transformers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import scaled_dot_product_attention

from parity.case.load import DEMO, load_case
from pipelines.engine.engine import Engine
from pipelines.engine.observe import observing
from pipelines.engine.torch_setup import declare_missing_torchvision_operators
from pipelines.offload import Offload
from pipelines.quantization import Quantization
from pipelines.ran import LoraRan, Ran
from pipelines.recipe import Recipe
from tests.conftest import CaseFiles

CPU = torch.device("cpu")
LORA = LoraRan(file="a.safetensors", expert=None, scale=1.0, layers=20, empty=0)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_case(DEMO / "t2v-guitar-reference.yaml").inference


def tiny() -> Any:
    declare_missing_torchvision_operators()
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 16, "num_layers": 2}
    return WanTransformer3DModel(**sizes, text_dim=8, freq_dim=8, rope_max_seq_len=16).eval()


def seen(
    recipe: Recipe,
    transformer: Any = None,
    device: torch.device = CPU,
    offload: Offload = "none",
    loras: tuple[LoraRan, ...] = (),
    passes: int = 2,
) -> Ran:
    """What is seen of passes through a transformer."""
    pipe = SimpleNamespace(transformer=transformer or tiny(), transformer_2=None)
    text, noise = torch.zeros(1, 4, 8), torch.zeros(1, 16, 1, 4, 4)
    with torch.no_grad(), observing(pipe, recipe, device, offload) as observed:
        for _ in range(passes):
            pipe.transformer(noise, torch.tensor([500.0]), text, return_dict=False)
    assert not pipe.transformer._forward_hooks
    assert not pipe.transformer._forward_pre_hooks
    assert torch.nn.functional.scaled_dot_product_attention is scaled_dot_product_attention
    return observed.ran(loras)


def test_attention_of_one_pass_is_counted(recipe: Recipe) -> None:
    ran = seen(recipe)
    assert ran.attention_backend == "native"
    assert ran.attention_kernels == {"flash_attention": 4}  # two blocks, to themselves and to the text
    assert (ran.compiled_blocks, ran.offloaded, ran.quantized_layers) == (None, None, {})
    assert ran.not_as_asked == ran.notes == ()


def test_another_attention_is_said(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer = tiny()
    module = "diffusers.models.transformers.transformer_wan"
    monkeypatch.setattr(f"{module}.dispatch_attention_fn", lambda query, *_args, **_kwargs: query)
    ran = seen(recipe, transformer)
    assert (ran.attention_backend, ran.attention_kernels) == (None, {})
    assert ran.not_as_asked == ("torch's own attention was asked for, but another implementation was called",)


def test_compiled_blocks_are_counted_and_missed(recipe: Recipe) -> None:
    asked = dataclasses.replace(recipe, compiled=True)
    ran = seen(asked)
    assert ran.compiled_blocks == 0
    assert ran.not_as_asked == ("`compiled` was asked for, but no transformer block ran as compiled code",)
    transformer = tiny()
    transformer.compile_repeated_blocks(backend="eager")
    try:
        ran = seen(asked, transformer)
    finally:
        torch._dynamo.reset()
    assert (ran.compiled_blocks, ran.not_as_asked) == (2, ())
    assert (ran.attention_backend, ran.attention_kernels) == (None, {})


def test_offloaded_weights_wait_elsewhere(recipe: Recipe) -> None:
    ran = seen(recipe, device=torch.device("cuda"), offload="model")
    assert (ran.offloaded, ran.not_as_asked) == (("transformer",), ())
    ran = seen(recipe, offload="sequential")
    assert ran.offloaded == ()
    assert ran.not_as_asked == (
        "--offload sequential was asked for, but the weights of transformer were on cpu all the time",
    )


def test_no_quantized_layer_is_said(recipe: Recipe) -> None:
    ran = seen(dataclasses.replace(recipe, quantization=Quantization(transformer="qfloat8")))
    assert ran.quantized_layers == {"transformer": 0}
    assert ran.not_as_asked == ("qfloat8 was asked for, but no layer of transformer is quantized",)
    assert seen(dataclasses.replace(recipe, quantization=Quantization(transformer="uint8"))).not_as_asked == ()


@pytest.mark.parametrize(
    ("lora", "application", "said"),
    [
        (LORA, "side_path", ""),
        (dataclasses.replace(LORA, changed=20), "merged", ""),
        (dataclasses.replace(LORA, empty=20), "side_path", "the difference of each of its 20 layers is exactly zero"),
        (dataclasses.replace(LORA, changed=0), "merged", "merged into bfloat16, its differences are rounded away"),
        (dataclasses.replace(LORA, scale=0.0), "side_path", "its scale is 0"),
        (dataclasses.replace(LORA, expert="low"), "side_path", "no step of this schedule calls the low-noise expert"),
    ],
)
def test_a_lora_without_effect_is_said(recipe: Recipe, lora: LoraRan, application: Any, said: str) -> None:
    ran = seen(dataclasses.replace(recipe, lora_application=application), loras=(lora,))
    assert ran.not_as_asked == ()
    assert [said in note for note in ran.notes] == ([True] if said else [])


def test_an_adapter_that_is_not_switched_on_is_said(recipe: Recipe) -> None:
    ran = seen(dataclasses.replace(recipe, lora_application="adapter"), loras=(LORA,))
    assert ran.loras[0].active == 0
    assert ran.not_as_asked == ("the adapter of a.safetensors was switched on in 0 of its 20 layers",)


def test_native_kernels_instead_of_portable_ones_are_said(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cpu_kernels.has_avx2", lambda: True)
    monkeypatch.setattr("pipelines.cpu_kernels.in_force", lambda: "native (x86_64)")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.delenv("WAN_PARITY_CPU_KERNELS", raising=False)
    assert seen(recipe).not_as_asked == (
        "portable CPU kernels were asked for, but torch had chosen its own before: native (x86_64), AVX512",
    )
    monkeypatch.setenv("WAN_PARITY_CPU_KERNELS", "native")
    assert seen(recipe).not_as_asked == ()


def test_a_generation_says_what_ran(engine: Engine, cases: CaseFiles) -> None:
    recipe = load_case(cases.write(request=cases.request(sample_steps=1, num_frames=5))).inference
    engine.denoise(recipe)
    ran = engine.ran
    assert ran is not None
    assert (ran.attention_backend, ran.not_as_asked, ran.notes) == ("native", (), ())
    (lora,) = ran.loras
    assert (lora.file, lora.scale, lora.empty, lora.active) == ("tiny_t2v.safetensors", 1.0, 0, None)
    assert lora.changed == lora.layers > 0
    engine.denoise(dataclasses.replace(recipe, lora_application="adapter"))
    switched = engine.ran
    assert switched is not None
    (adapter,) = switched.loras
    assert (adapter.active, adapter.changed) == (lora.layers, None)
    assert switched.not_as_asked == ()


@pytest.mark.parametrize("application", ["merged", "side_path", "adapter"])
def test_a_lora_of_zeros_is_said(engine: Engine, cases: CaseFiles, tmp_path: Path, application: str) -> None:
    request = cases.request(sample_steps=1, num_frames=5)
    weights = load_file(request["loras"][0]["path"])
    zeros = {name: torch.zeros_like(weight) if "lora_B" in name else weight for name, weight in weights.items()}
    assert zeros.keys() - {name for name in zeros if "lora_A" in name}
    save_file(zeros, tmp_path / "zeros.safetensors")
    request["loras"][0]["path"] = str(tmp_path / "zeros.safetensors")
    engine.denoise(load_case(cases.write(request=request, pipeline={"lora_application": application})).inference)
    assert engine.ran is not None
    (lora,) = engine.ran.loras
    assert lora.empty == lora.layers > 0
    assert lora.changed == (0 if application == "merged" else None)
    assert engine.ran.notes == (
        f"zeros.safetensors changes nothing: the difference of each of its {lora.layers} layers is exactly zero",
    )
