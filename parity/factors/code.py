"""What to change, as code that runs: keys of a request where one can be sent, else Python for a diffusers pipeline.

The Python is for `pipe`, a loaded WanPipeline or WanImageToVideoPipeline of diffusers 0.42.1, and holds the preview's
values; tests run it beside the engine. Values come from configs and files of others: each goes through `repr` or JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parity.factors.catalogue import CATALOGUE, likeliest_first
from parity.results.diagnosis import Snippet
from pipelines.drift import LORA_FACTORS, Factor
from pipelines.errors import ParityError
from pipelines.files.content import real_path
from pipelines.hub import place_of
from pipelines.lora_files import expert_keys, read_header
from pipelines.lora_keys import sort_keys, why_not_served
from pipelines.recipe import EXPERT_PARTS, LoraFile, Recipe, frame_duration
from pipelines.reference.request import LoraItem, PromptItem
from pipelines.scheduler import CLASSES


def code_of(factor: Factor, recipe: Recipe) -> Snippet | None:
    """The change that gives one factor the value of `recipe`, the preview's; None if no code can."""
    return combined([factor], recipe)


def combined(factors: Iterable[Factor], recipe: Recipe) -> Snippet | None:
    """The changes for several factors in one piece; None if no code can do any of them.

    It is JSON if a request can ask for all of them. In Python, what no code can change is said in a comment, and what
    a request to a server asks for is repeated as such.
    """
    names = likeliest_first(set(factors))
    found = ((name, _keys(name, recipe)) for name in names)
    keys = {name: asked for name, asked in found if asked is not None}
    if names and len(keys) == len(names):
        return Snippet(language="json", text=_json(_request(keys.values())))
    made = (make(frozenset(names), recipe) for make in _MAKERS)
    blocks = [block for block in made if block is not None]
    if not blocks:
        return None
    parts, helpers = ["\n".join(_imports(blocks))], set[str]()
    for place, group in groupby(blocks, key=lambda block: block.place):
        parts.append("\n".join((f"# {place}", *_lines(group, helpers))))
    done = frozenset[Factor]().union(*(block.factors for block in blocks))
    notes = [_comment(f"{name}: {CATALOGUE[name].fix(recipe)}") for name in names if name not in done]
    if keys:
        notes.append(_comment(f"In a request to an inference server: {_json(_request(keys.values()), indent=None)}"))
    return Snippet(language="python", text="\n\n".join(part for part in (*parts, "\n".join(notes)) if part))


# Keys of a request.


def _keys(factor: Factor, recipe: Recipe) -> dict[str, Any] | None:
    """The keys that ask for a factor's value; None if the API has none, or does not accept this value."""
    if factor in LORA_FACTORS:
        return _loras(recipe)
    keys: dict[Factor, dict[str, Any]] = {
        "prompt": {"prompt": recipe.prompt},
        "negative_prompt": {"neg": recipe.negative_prompt},
        "snapping": {"width": recipe.width.applied, "height": recipe.height.applied},
        "frame_count": {"num_frames": recipe.num_frames.applied},
        "steps": {"sample_steps": recipe.steps},
        "guidance": {"guidance_scale": float(recipe.guidance_scale)},
        "fps": {"fps": recipe.fps},
    }
    if recipe.seed is not None and recipe.seed >= 0:  # the API's -1 is a random seed
        keys["seed"] = {"seed": recipe.seed}
    image = recipe.control_image
    if image is not None and _is_url(image.source):
        keys["control_image"] = {"ctrl_img": image.source}
    found = keys.get(factor)
    return found if found is not None and _is_accepted(PromptItem, {"prompt": "", **found}) else None


def _loras(recipe: Recipe) -> dict[str, Any] | None:
    """All LoRAs of a recipe: a request has the whole list or none."""
    items = [
        {"path": _path(file)}
        | ({} if file.expert is None else {"transformer": file.expert})
        | {"network_multiplier": float(scale)}
        for file, scale in zip(recipe.lora_files, recipe.lora_scales, strict=True)
    ]
    return {"loras": items} if items and all(_is_accepted(LoraItem, item) for item in items) else None


def _is_accepted(model: type[PromptItem] | type[LoraItem], keys: dict[str, Any]) -> bool:
    try:
        model.model_validate(keys)
    except ValidationError:
        return False
    return True


def _request(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The keys together: those of a prompt item as they are, beside LoRAs in the request's lists."""
    keys: dict[str, Any] = {}
    for more in found:
        keys |= more
    loras = keys.pop("loras", None)
    if loras is None:
        return keys
    return {"loras": loras} | ({"prompts": [keys]} if keys else {})


def _json(value: dict[str, Any], indent: int | None = 2) -> str:
    """JSON, on one line if it is short. What people cannot see (controls, lone surrogates) is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if indent is not None and len(text) > _WIDTH:
        text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


# Python.

_WIDTH = 88


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Lines of Python that belong together."""

    factors: frozenset[Factor]
    """The factors that they change."""
    place: str
    """The sentence above them, which says where they go."""
    lines: tuple[str, ...]
    imports: tuple[str, ...] = ()
    """Each `module`, or `module:name`."""
    helper: str = ""
    """A function that the lines call, defined once for all blocks."""


_BEFORE_CALL = "Before generating:"


def _imports(blocks: Iterable[_Block]) -> list[str]:
    """The statements that import what the blocks need, each module once, Python's own first."""
    names: dict[str, set[str]] = {}
    for block in blocks:
        for module, _, name in (item.partition(":") for item in block.imports):
            names.setdefault(module, set()).update([name] if name else [])
    ordered = sorted(names, key=lambda module: (module not in ("io", "urllib.request"), bool(names[module]), module))
    return [
        f"from {module} import {', '.join(sorted(names[module]))}" if names[module] else f"import {module}"
        for module in ordered
    ]


def _lines(blocks: Iterable[_Block], helpers: set[str]) -> Iterator[str]:
    """The lines of blocks, with the functions that they call before they are called first. Those are added."""
    for block in blocks:
        if block.helper and block.helper not in helpers:
            yield from (*block.helper.splitlines(), "")
            helpers.add(block.helper)
        yield from block.lines


def _comment(text: str) -> str:
    """One line, whatever the text holds."""
    return "# " + "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _load(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    """Load all weights, from the places and in the dtype of the recipe."""
    cast = recipe.precision.fp32_modules == "cast"
    if "checkpoint" not in names and ("precision" not in names or cast):
        return None
    dtype = f"torch.{recipe.precision.dtype}"
    parts = dict(_parts(recipe, dtype))
    classes = [recipe.pipeline, *(call.partition(".")[0] for call in parts.values())]
    theirs = ("UMT5EncoderModel", "AutoTokenizer")
    arguments = "".join(f", {name}={name}" for name in parts) + f", dtype={dtype}"
    place = place_of(recipe.weights.checkpoint)
    return _Block(
        factors=names & {"checkpoint"} if cast else names & {"checkpoint", "precision"},
        place="Load the pipeline like this, then go on as before:",
        imports=("torch", *(f"{'transformers' if name in theirs else 'diffusers'}:{name}" for name in classes)),
        lines=(
            *(f"{name} = {call}" for name, call in parts.items()),
            f"pipe = {recipe.pipeline}.from_pretrained({place!r}{arguments})",
        ),
    )


def _parts(recipe: Recipe, dtype: str) -> Iterable[tuple[str, str]]:
    """The parts that come from elsewhere than the checkpoint, each with the call that loads it."""
    elsewhere, experts = recipe.weights.elsewhere(), recipe.boundary is not None
    if (place := elsewhere.get("text_encoder")) is not None:
        if experts:
            yield "tokenizer", f"AutoTokenizer.from_pretrained({place!r}, subfolder='tokenizer')"
        yield (
            "text_encoder",
            f"UMT5EncoderModel.from_pretrained({place!r}, subfolder='text_encoder', dtype={dtype})",
        )
    if experts and (place := elsewhere.get("transformers")) is not None:
        for part in ("transformer", "transformer_2"):
            yield part, f"WanTransformer3DModel.from_pretrained({place!r}, subfolder={part!r}, torch_dtype={dtype})"
    if experts and (place := elsewhere.get("vae")) is not None:
        subfolder = ", subfolder='vae'" if (Path(place) / "vae").is_dir() else ""
        yield "vae", f"AutoencoderKLWan.from_pretrained({place!r}{subfolder}, torch_dtype={dtype})"


def _cast(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    """Cast every part, as the trainer does after loading."""
    if "precision" not in names or recipe.precision.fp32_modules != "cast":
        return None
    dtype = recipe.precision.dtype
    return _Block(
        factors=frozenset({"precision"}),
        place=f"After from_pretrained(…, dtype=torch.{dtype}), before any LoRA:",
        imports=("torch",),
        lines=(
            "for part in pipe.components.values():",
            "    if isinstance(part, torch.nn.Module):",
            f"        part.to(torch.{dtype})",
        ),
    )


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


def _merge_residue(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    """Merge and unmerge what earlier previews did. A negative scale is unmerged with the wrong sign: see the page."""
    files = [(file, merge.scale) for merge in recipe.earlier_merges for file in merge.files]
    if "merge_residue" not in names or not files or not all(_is_plain(file) for file, _ in files):
        return None
    return _Block(
        factors=frozenset({"merge_residue"}),
        place="Merge and unmerge what earlier previews did, once: it leaves the rounding errors that they left",
        helper=_MERGE.rstrip(),
        lines=tuple(
            f"merge({EXPERT_PARTS[file.expert]!r}, {_path(file)!r}, {signed!r})"
            for file, scale in files
            for signed in (float(scale), -abs(float(scale)))
        ),
    )


def _lora(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    """Apply all LoRAs as the recipe does."""
    about = names & {"lora_application", *LORA_FACTORS}
    loras = list(zip(recipe.lora_files, recipe.lora_scales, strict=True))
    if not about or not loras or not all(_is_plain(file) for file, _ in loras):
        return None
    calls = [(EXPERT_PARTS[file.expert], _path(file), float(scale)) for file, scale in loras]
    if recipe.lora_application == "merged":
        return _Block(
            factors=about,
            place="Merge the LoRA in float32 and cast back: once, and instead of load_lora_weights(…)",
            helper=_MERGE.rstrip(),
            lines=tuple(f"merge({part!r}, {path!r}, {scale!r})" for part, path, scale in calls),
        )
    if recipe.lora_application == "side_path":
        return _Block(
            factors=about,
            place="Add the LoRA as a float32 side path: once, and instead of load_lora_weights(…)",
            imports=("torch.nn.functional:linear",),
            helper=_SIDE_PATH.rstrip(),
            # At scale 0 the trainer adds nothing, not even a zero.
            lines=tuple(f"add_side_path({part!r}, {path!r}, {scale!r})" for part, path, scale in calls if scale),
        )
    return _Block(
        factors=about,
        place="Load the LoRA as a PEFT adapter, into weights without one:",
        lines=tuple(
            line
            for number, (file, scale) in enumerate(loras)
            for line in _adapter(f"lora_{number}", file, float(scale))
        ),
    )


def _adapter(name: str, file: LoraFile, scale: float) -> tuple[str, ...]:
    part = EXPERT_PARTS[file.expert]
    second = ", load_into_transformer_2=True" if part == "transformer_2" else ""
    keys = {key: shape for key, shape in read_header(file.path).shapes.items() if "lora_A" in key or "lora_down" in key}
    # The reference server pads the adapters of experts to this rank, which rounds differently.
    padded = file.expert is not None and max(shape[0] for shape in keys.values()) <= 32
    return (
        *([f"pipe.{part}.enable_lora_hotswap(target_rank=32)"] if padded else []),
        f"pipe.load_lora_weights({_path(file)!r}, adapter_name={name!r}{second})",
        f"pipe.{part}.set_adapters([{name!r}], [{scale!r}])",
    )


def _path(file: LoraFile) -> str:
    """The file's absolute path, also if its case names it from somewhere else."""
    try:
        return str(real_path(file.path))
    except ValueError:  # a NUL byte
        return str(file.path)


def _is_plain(file: LoraFile) -> bool:
    """True if diffusers reads the file, and it holds nothing but pairs of matrices with their alphas."""
    try:
        keys = list(read_header(file.path).shapes)
    except ParityError:
        return False
    parts = {part for layer in sort_keys(keys).layers.values() for part in layer}
    same = list(expert_keys(keys, file.expert)) == keys  # not one file for both experts
    return same and why_not_served(keys) is None and parts <= {"down", "up", "alpha"}


def _compile(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    if "compilation" not in names or not recipe.compiled:
        return None
    parts = ("transformer",) if recipe.boundary is None else ("transformer", "transformer_2")
    return _Block(
        factors=frozenset({"compilation"}),
        place="After the LoRA is loaded, on CUDA:",
        imports=("torch",),
        lines=(
            *(f'pipe.{part}.compile_repeated_blocks(mode="max-autotune", dynamic=True)' for part in parts),
            "torch.backends.cuda.matmul.allow_tf32 = True",
        ),
    )


def _vae_norm(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    if "vae_norm" not in names or recipe.vae_norm == "float32":
        return None
    return _Block(
        factors=frozenset({"vae_norm"}),
        place=_BEFORE_CALL,
        imports=(
            "diffusers.models.autoencoders.autoencoder_kl_wan:WanRMS_norm",
            "torch.nn.functional:normalize",
        ),
        lines=(
            "def norm(self, x):",
            "    return normalize(x, dim=1 if self.channel_first else -1) * self.scale * self.gamma + self.bias",
            "",
            "WanRMS_norm.forward = norm",
        ),
    )


_TAKE = {
    None: "mode(posterior)",
    "seeded": "posterior.sample(generator)",
    "cuda": 'posterior.sample(torch.Generator("cuda").manual_seed(generator.initial_seed()))',
    "unseeded": "posterior.sample()",
}


def _conditioning(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    """Make the start of a Wan 2.2 video as the recipe does, with the pipeline's own method in between."""
    conditioning = recipe.conditioning
    if "conditioning" not in names or conditioning is None or not (conditioning.rounded or conditioning.noise):
        return None
    rounding = (
        "    dtype = pipe.vae.dtype",
        "    noise, image = noise.to(dtype), ((image + 1) / 2).to(dtype) * 2 - 1",
    )
    return _Block(
        factors=frozenset({"conditioning"}),
        place=_BEFORE_CALL,
        imports=(
            *(["torch"] if conditioning.noise == "cuda" else []),
            "diffusers.models.autoencoders.vae:DiagonalGaussianDistribution as Posterior",
            "diffusers.utils.torch_utils:randn_tensor",
        ),
        lines=(
            "def prepare_latents(image, batch, channels, height, width, frames, dtype, device, generator, *_):",
            "    times, sides = pipe.vae_scale_factor_temporal, pipe.vae_scale_factor_spatial",
            "    shape = (batch, channels, (frames - 1) // times + 1, height // sides, width // sides)",
            "    noise = randn_tensor(shape, generator=generator, device=device, dtype=dtype)",
            *(rounding if conditioning.rounded else ()),
            "    size = (batch, channels, height, width, frames)",
            "    mode = Posterior.mode",
            f"    Posterior.mode = lambda posterior: {_TAKE[conditioning.noise]}",
            "    try:",
            "        made = type(pipe).prepare_latents(pipe, image, *size, dtype, device, generator, noise)",
            "    finally:",
            "        Posterior.mode = mode",
            "    return made[0].float(), *made[1:]",
            "",
            "pipe.prepare_latents = prepare_latents",
        ),
    )


def _scheduler(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    if "scheduler" not in names:
        return None
    return _Block(
        factors=frozenset({"scheduler"}),
        place=_BEFORE_CALL,
        imports=(f"diffusers:{CLASSES[recipe.scheduler.family]}",),
        lines=(CATALOGUE["scheduler"].fix(recipe),),
    )


def _boundary(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    if "boundary" not in names or recipe.boundary is None:
        return None
    lines = (CATALOGUE["boundary"].fix(recipe),)
    return _Block(factors=frozenset({"boundary"}), place=_BEFORE_CALL, lines=lines)


def _tiling(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    if "vae_tiling" not in names:
        return None
    lines = (CATALOGUE["vae_tiling"].fix(recipe),)
    return _Block(factors=frozenset({"vae_tiling"}), place=_BEFORE_CALL, lines=lines)


def _call(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    """The arguments of the pipeline's call."""
    given: dict[Factor, dict[str, str]] = {
        "prompt": {"prompt": repr(recipe.prompt)},
        "negative_prompt": {"negative_prompt": repr(recipe.negative_prompt)},
        "snapping": {"width": str(recipe.width.applied), "height": str(recipe.height.applied)},
        "frame_count": {"num_frames": str(recipe.num_frames.applied)},
        "steps": {"num_inference_steps": str(recipe.steps)},
        "guidance": {"guidance_scale": repr(float(recipe.guidance_scale))},
    }
    imports: list[str] = []
    if recipe.seed is not None:
        given["seed"] = {"generator": f'torch.Generator("cpu").manual_seed({recipe.seed})'}
        imports += ["torch"] if "seed" in names else []
    about_image = names & {"control_image", "resize"}
    picture = _picture(recipe) if about_image else None
    if picture is not None:
        given |= {name: {"image": "image"} for name in about_image}
        imports += picture.imports
    factors = frozenset(name for name in names if name in given)
    if not factors:
        return None
    arguments = {key: value for name in likeliest_first(factors) for key, value in given[name].items()}
    return _Block(
        factors=factors,
        place="Pass these to the pipeline, pipe(…, **arguments)" + _ONCE * ("seed" in factors) + ":",
        imports=tuple(imports),
        lines=(
            *(picture.lines if picture is not None else ()),
            "arguments = {",
            *(f'    "{key}": {value},' for key, value in arguments.items()),
            "}",
        ),
    )


_ONCE = ", with a new generator for each video"


def _picture(recipe: Recipe) -> _Block | None:
    """Read the control image and resize it to the video's size; None if there is none, or it has no address."""
    image, resize = recipe.control_image, recipe.resize
    if image is None or resize is None or not (_is_url(image.source) or Path(image.source).suffix):
        return None
    imports, opened = ["PIL:Image"], repr(image.source)
    if _is_url(image.source):
        imports += ["io", "urllib.request:urlopen"]
        opened = f"io.BytesIO(urlopen({image.source!r}).read())"
    width, height = recipe.width.applied, recipe.height.applied
    box = ""
    if resize.crop == "center":
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
        box = f", box=({left!r}, {top!r}, {left + width * scale!r}, {top + height * scale!r})"
    return _Block(
        factors=frozenset(),
        place="",
        imports=tuple(imports),
        lines=(
            f'image = Image.open({opened}).convert("RGB")',
            f"image = image.resize(({width}, {height}), Image.Resampling.{resize.filter.upper()}{box})",
        ),
    )


def _file(names: frozenset[Factor], recipe: Recipe) -> _Block | None:
    """Write the frames as the preview's file was written."""
    codec = recipe.codec
    if not names & {"codec", "fps"}:
        return None
    options = "" if codec.quality is None else f", quality={codec.quality}"
    if codec.format == "webp":
        shown = f"duration={frame_duration(recipe.fps)}, loop=0"
        options = f", save_all=True, append_images=frames[1:], {shown}{options}"
    return _Block(
        factors=names & {"codec", "fps"},
        place='With frames = pipe(…, output_type="pil").frames[0]:',
        lines=(f'frames[0].save("output.{codec.format}"{options})',),
    )


_MAKERS: tuple[Callable[[frozenset[Factor], Recipe], _Block | None], ...] = (
    _load,
    _cast,
    _merge_residue,
    _lora,
    _compile,
    _scheduler,
    _boundary,
    _tiling,
    _vae_norm,
    _conditioning,
    _call,
    _file,
)
"""In the order in which their lines run."""
