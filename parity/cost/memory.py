"""The memory that weights take as the engine holds them, by offload mode. What is computed with them comes on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from parity.cost.census import PartName, Parts, Tensor, Tensors, layer_of, parts_of
from pipelines.errors import ParityError
from pipelines.lora_files import expert_keys, read_header
from pipelines.lora_keys import sort_keys
from pipelines.quantization import Quantization, stored_bytes
from pipelines.recipe import Expert, Recipe

KEPT_IN_FLOAT32 = ("rope", "time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
"""`WanTransformer3DModel._keep_in_fp32_modules` of diffusers 0.42.1."""
_KEPT_IN_FLOAT32_OF_UMT5 = ("wo",)
"""What transformers 5.23 keeps of UMT5 in float32 beside float16; beside bfloat16 nothing."""

_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The bytes of a recipe's weights while it is generated."""

    parts: Mapping[PartName, int]
    """Each part of the pipeline, quantized as the recipe says."""
    largest_layer: int
    """The largest single layer: what --offload sequential has on the GPU at a time."""
    loras: int
    """The LoRAs beside the weights; nothing once they are merged."""
    originals: int
    """What the engine keeps in RAM of modules that it casts. What a merge changes is read again from the files."""
    loading: int
    """What a text encoder takes more before it is quantized, which happens once all else is loaded."""
    assumed: tuple[PartName, ...]
    """The parts whose size is that of the published model, because their files are not here."""

    @property
    def total(self) -> int:
        """All weights at once: on the GPU with --offload none; and in RAM while they are loaded."""
        return sum(self.parts.values()) + self.loras

    def on_gpu(self, offload: str) -> int:
        """The bytes on the GPU in an offload mode: none, model or sequential."""
        if offload == "none":
            return self.total
        return max(self.parts.values()) + self.loras if offload == "model" else self.largest_layer

    def in_ram(self) -> int:
        """The bytes in RAM: every mode loads all weights there first, and offloading leaves them there."""
        return self.total + max(self.originals, self.loading)


def held(recipe: Recipe, parts: Parts | None = None) -> Held:
    """What the weights of a recipe take. `parts`: its tensors, if they are known already.

    A LoRA or an adapter that cannot be read counts nothing: generating says what is wrong with it.
    """
    parts = parts or parts_of(recipe)
    sized = {name: _sizes(name, tensors, recipe) for name, tensors in parts.tensors.items()}
    layers: dict[tuple[PartName, str], int] = {}
    for name, sizes in sized.items():
        for tensor, size in sizes:
            key = name, layer_of(tensor.name)
            layers[key] = layers.get(key, 0) + size // tensor.count
    return Held(
        parts={name: sum(size for _, size in sizes) for name, sizes in sized.items()},
        largest_layer=max(layers.values(), default=0),
        loras=_loras(recipe) + _adapter(recipe),
        originals=_cast_originals(recipe, parts),
        loading=_unquantized(parts, recipe) - sum(size for _, size in sized["text_encoder"]),
        assumed=parts.assumed,
    )


def _unquantized(parts: Parts, recipe: Recipe) -> int:
    """The bytes of the text encoder as it is loaded."""
    width = _width("text_encoder", recipe, loaded=True)
    return sum(tensor.numbers * width(tensor.name) for tensor in parts.tensors["text_encoder"])


def _sizes(part: PartName, tensors: Tensors, recipe: Recipe) -> list[tuple[Tensor, int]]:
    """Each tensor with its bytes."""
    quantization, width = recipe.quantization.effective, _width(part, recipe)
    qtype, names = _qtype(quantization, part), _chosen(quantization, part)
    in_float16 = part in recipe.float16_encoders

    def size(tensor: Tensor) -> int:
        numbers = width(tensor.name)
        if qtype is not None and _is_linear(tensor) and names(layer_of(tensor.name)):
            stored = stored_bytes(qtype, tensor.shape[0], tensor.shape[1], 4 if in_float16 else numbers)
            if stored is not None:
                return stored * tensor.count
        if in_float16:  # matrices and tables; all else is float32
            numbers = 2 if len(tensor.shape) == 2 else 4
        return tensor.numbers * numbers

    return [(tensor, size(tensor)) for tensor in tensors]


def _qtype(quantization: Quantization, part: PartName) -> str | None:
    if part == "text_encoder":
        return quantization.text_encoder
    return quantization.transformer if part.startswith("transformer") else None


def _is_linear(tensor: Tensor) -> bool:
    """True for the weight of a linear layer of a transformer or of UMT5, whose other matrices are embeddings."""
    layer = layer_of(tensor.name).rpartition(".")[2]
    embedding = layer in ("shared", "embed_tokens", "relative_attention_bias")
    return tensor.name.endswith(".weight") and len(tensor.shape) == 2 and not embedding


def _chosen(quantization: Quantization, part: PartName) -> Callable[[str], bool]:
    """Which layers of a quantized part are quantized: of a text encoder all, of a transformer those that it says."""
    if part == "text_encoder":
        return lambda _: True
    if quantization.adapter is None:
        return lambda layer: not layer.startswith(quantization.kept or "\0")
    expert: Expert | None = "low" if part == "transformer_2" else "high"
    try:
        keys = expert_keys(read_header(quantization.adapter.path).shapes, expert)
    except ParityError:
        return lambda _: False
    names = set(sort_keys(keys).layers)
    names |= {_numberless(name) for name in names}
    return lambda layer: layer in names


def _numberless(layer: str) -> str:
    return ".".join("*" if word.isdigit() else word for word in layer.split("."))


def _width(part: PartName, recipe: Recipe, *, loaded: bool = False) -> Callable[[str], int]:
    """The bytes of a number of each tensor. `loaded`: as it is loaded, before ai-toolkit's cast of the whole."""
    width = _BYTES[recipe.vae_computes if part == "vae" else recipe.precision.dtype]
    kept: tuple[str, ...] = ()
    if part.startswith("transformer"):
        kept = KEPT_IN_FLOAT32
    elif part == "text_encoder" and recipe.precision.dtype == "float16":
        kept = _KEPT_IN_FLOAT32_OF_UMT5
    if recipe.precision.fp32_modules == "cast" and not loaded:
        kept = ()
    return lambda name: 4 if any(word in kept for word in name.split(".")) else width


def _cast_originals(recipe: Recipe, parts: Parts) -> int:
    """What the engine keeps of modules that it casts: not of encoders, and of parts that are quantized afterwards."""
    if recipe.precision.fp32_modules == "kept":
        return 0
    quantization = recipe.quantization.effective
    total = 0
    for part, tensors in parts.tensors.items():
        if _qtype(quantization, part) is None and part not in ("text_encoder", "image_encoder"):
            before, after = _width(part, recipe, loaded=True), _width(part, recipe)
            total += sum(4 * tensor.numbers for tensor in tensors if before(tensor.name) != after(tensor.name))
    return total


def _loras(recipe: Recipe) -> int:
    """The bytes of LoRAs beside the weights, float32."""
    if recipe.lora_application == "merged":
        return 0
    total = 0
    for file in recipe.lora_files:
        try:
            shapes = read_header(file.path).shapes
        except ParityError:
            continue
        total += 4 * sum(
            Tensor(key, shapes[stored]).numbers for key, stored in expert_keys(shapes, file.expert).items()
        )
    return total


def _adapter(recipe: Recipe) -> int:
    """The side path of an accuracy recovery adapter, in the dtype of training."""
    adapter = recipe.quantization.effective.adapter
    if adapter is None:
        return 0
    try:
        shapes = read_header(adapter.path).shapes
    except ParityError:
        return 0
    return _BYTES[recipe.precision.dtype] * sum(Tensor(key, shape).numbers for key, shape in shapes.items())
