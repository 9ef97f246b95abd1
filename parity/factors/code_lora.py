"""What to change, as Python: LoRA files applied to a pipeline's weights as the engine does (engine/lora.py)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from parity.factors.code_block import Block
from pipelines.drift import LORA_FACTORS, Factor
from pipelines.errors import ParityError
from pipelines.files.content import real_path
from pipelines.lora_files import COMBINED, expert_keys, read_header
from pipelines.lora_keys import sort_keys, why_not_served
from pipelines.recipe import EXPERT_PARTS, LoraFile, Recipe

_MERGE = """\
def merge(part, path, scale):
    state = pipe.lora_state_dict(path)
    for key in [key for key in state if ".lora_A." in key]:
        name = key.removeprefix("transformer.").split(".lora_A.")[0]
        W = getattr(pipe, part).get_submodule(name).weight
        A = state[key].to(W.device).float()
        B = state[key.replace("lora_A", "lora_B")].to(W.device).float()
        W.data = (W.float() + scale * (B @ A)).to(W.dtype)
"""
_SIDE_PATH = """\
def add_side_path(part, path, scale):
    state = pipe.lora_state_dict(path)
    for key in [key for key in state if ".lora_A." in key]:
        name = key.removeprefix("transformer.").split(".lora_A.")[0]
        A = state[key].float()
        B = state[key.replace("lora_A", "lora_B")].float()

        def add(module, inputs, y, A=A, B=B):
            x = linear(inputs[0].float(), A.to(y.device))
            return y + (linear(x, B.to(y.device)) * scale).to(y.dtype)

        getattr(pipe, part).get_submodule(name).register_forward_hook(add)
"""


_MERGE_LOKR = """\
ends = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "0": "net.0.proj", "2": "net.2"}
ends |= {"k_img": "add_k_proj", "v_img": "add_v_proj"}

def merge_lokr(part, path, scale):
    weights = load_file(path)
    for layer in dict.fromkeys(key.rpartition(".")[0] for key in weights):
        block, _, end = layer.removeprefix("diffusion_model.").rpartition(".")
        block = block.replace("self_attn", "attn1").replace("cross_attn", "attn2")
        W = getattr(pipe, part).get_submodule(f"{block}.{ends[end]}").weight
        factors, share = [], 1.0
        for name in (f"{layer}.lokr_w1", f"{layer}.lokr_w2"):
            found = [weights[key].to(W.device).float() for key in (name, f"{name}_a", f"{name}_b") if key in weights]
            factors.append(found[0] if len(found) == 1 else found[0] @ found[1])
            share = share if len(found) == 1 else float(weights[f"{layer}.alpha"]) / len(found[1])
        W.data = (W.float() + scale * (torch.kron(*factors) * share)).to(W.dtype)
"""
_OF_EXPERT = """\
def of_expert(path, expert):
    weights = load_file(path)
    return {key.replace(expert, ".", 1): weights[key] for key in weights if expert in key}
"""


def merge_residue(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    """Merge and unmerge what earlier previews did. A negative scale is unmerged with the wrong sign: see the page."""
    loras = [
        (file, signed)
        for merge in recipe.earlier_merges
        for file in merge.files
        for signed in (merge.scale, -abs(merge.scale))
    ]
    if "merge_residue" not in names:
        return None
    place = "Merge and unmerge what earlier previews did, once: it leaves the rounding errors that they left"
    return _merged(frozenset({"merge_residue"}), place, loras)


def lora(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    """Apply all LoRAs as the recipe does."""
    about = names & {"lora_application", "extra_loras", *LORA_FACTORS}
    loras = list(zip(recipe.lora_files, recipe.lora_scales, strict=True))
    if not about:
        return None
    if recipe.lora_application == "merged":
        place = "Merge the LoRA in float32 and cast back: once, and instead of load_lora_weights(…)"
        return _merged(about, place, loras)
    if not loras or {_kind(file) for file, _ in loras} - {"pairs", "pairs of both experts"}:
        return None
    imports, helpers = _reading(loras)
    if recipe.lora_application == "side_path":
        return Block(
            factors=about,
            place="Add the LoRA as a float32 side path: once, and instead of load_lora_weights(…)",
            imports=("torch.nn.functional:linear", *imports),
            helpers=(*helpers, _SIDE_PATH),
            # At scale 0 the trainer adds nothing, not even a zero.
            lines=tuple(_called("add_side_path", file, scale) for file, scale in loras if scale),
        )
    lines = (_adapter(f"lora_{number}", file, float(scale)) for number, (file, scale) in enumerate(loras))
    return Block(
        factors=about,
        place="Load the LoRA as a PEFT adapter, into weights without one:",
        imports=imports,
        helpers=helpers,
        lines=tuple(line for several in lines for line in several),
    )


def _merged(about: frozenset[Factor], place: str, loras: Sequence[tuple[LoraFile, float]]) -> Block | None:
    """Merge files one after another; None if there are none, or if this code reads one of them wrong."""
    kinds = [_kind(file) for file, _ in loras]
    if not loras or None in kinds:
        return None
    imports, helpers = _reading(loras)
    if "lokr" in kinds:
        imports, helpers = ("torch", "safetensors.torch:load_file"), (*helpers, _MERGE_LOKR)
    if set(kinds) != {"lokr"}:
        helpers = (*helpers, _MERGE)
    names = {"lokr": "merge_lokr"}
    lines = (_called(names.get(kind or "", "merge"), *lora) for kind, lora in zip(kinds, loras, strict=True))
    return Block(factors=about, place=place, imports=imports, helpers=helpers, lines=tuple(lines))


def _reading(loras: Iterable[tuple[LoraFile, float]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The imports and functions that read an expert's share of a file for both."""
    if any(_kind(file) == "pairs of both experts" for file, _ in loras):
        return ("safetensors.torch:load_file",), (_OF_EXPERT,)
    return (), ()


def _called(function: str, file: LoraFile, scale: float) -> str:
    return f"{function}({EXPERT_PARTS[file.expert]!r}, {_source(file)}, {float(scale)!r})"


def _adapter(name: str, file: LoraFile, scale: float) -> tuple[str, ...]:
    part = EXPERT_PARTS[file.expert]
    second = ", load_into_transformer_2=True" if part == "transformer_2" else ""
    keys = {key: shape for key, shape in read_header(file.path).shapes.items() if "lora_A" in key or "lora_down" in key}
    # The reference server pads the adapters of experts to this rank, which rounds differently.
    padded = file.expert is not None and max(shape[0] for shape in keys.values()) <= 32
    return (
        *([f"pipe.{part}.enable_lora_hotswap(target_rank=32)"] if padded else []),
        f"pipe.load_lora_weights({_source(file)}, adapter_name={name!r}{second})",
        f"pipe.{part}.set_adapters([{name!r}], [{scale!r}])",
    )


def _source(file: LoraFile) -> str:
    """What diffusers reads a file's weights from, as Python."""
    if file.expert is None or _kind(file) != "pairs of both experts":
        return repr(path_of(file))
    return f"of_expert({path_of(file)!r}, {COMBINED[file.expert]!r})"


def path_of(file: LoraFile) -> str:
    """The file's absolute path, also if its case names it from somewhere else."""
    try:
        return str(real_path(file.path))
    except ValueError:  # a NUL byte
        return str(file.path)


_Kind = Literal["pairs", "pairs of both experts", "lokr"]

_LOKR_KEY = re.compile(
    r"diffusion_model\.blocks\.\d+\.(?:(?:self|cross)_attn\.(?:[qkvo]|[kv]_img)|ffn\.[02])\.(?:alpha|lokr_w[12](?:_[ab])?)"
)


@lru_cache(maxsize=64)
def _kind(file: LoraFile) -> _Kind | None:
    """What a file holds, if the code here reads all of it: pairs of matrices that diffusers reads, or LoKr.

    Files are equal by content, so one that many cases share is read once.
    """
    try:
        keys = list(read_header(file.path).shapes)
    except ParityError:
        return None
    own = expert_keys(keys, file.expert)
    layers = sort_keys(own).layers.values()
    if all(_LOKR_KEY.fullmatch(key) for key in keys) and all("alpha" in parts for parts in layers):
        return "lokr"
    if why_not_served(own) is not None or {part for parts in layers for part in parts} - {"down", "up", "alpha"}:
        return None
    return "pairs" if list(own) == keys else "pairs of both experts"
