"""What to change, as Python: everything but LoRA files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from parity.factors.catalogue import CATALOGUE, likeliest_first
from parity.factors.code_block import Block
from parity.factors.code_lora import lora, merge_residue
from pipelines.drift import Factor
from pipelines.hub import place_of
from pipelines.recipe import Recipe, frame_duration
from pipelines.scheduler import CLASSES

_BEFORE_CALL = "Before generating:"


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _load(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    """Load all weights, from the places and in the dtype of the recipe."""
    cast = recipe.precision.fp32_modules == "cast"
    if "checkpoint" not in names and ("precision" not in names or cast):
        return None
    dtype = f"torch.{recipe.precision.dtype}"
    parts = [*_parts(recipe, dtype)]
    own = (repr(place_of(recipe.weights.checkpoint)), *(f"{name}={name}" for name, *_ in parts), f"dtype={dtype}")
    calls = [*parts, ("pipe", recipe.pipeline, own)]
    return Block(
        factors=names & {"checkpoint"} if cast else names & {"checkpoint", "precision"},
        place="Load the pipeline like this, then go on as before:",
        imports=("torch", *(f"{_PACKAGES.get(loaded, 'diffusers')}:{loaded}" for _, loaded, _ in calls)),
        lines=tuple(line for name, loaded, arguments in calls for line in _loaded(name, loaded, arguments)),
    )


_PACKAGES = {"UMT5EncoderModel": "transformers", "AutoTokenizer": "transformers"}
_WIDTH = 88


def _loaded(name: str, loaded: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """A call of `from_pretrained`, an argument a line where it is long."""
    line = f"{name} = {loaded}.from_pretrained({', '.join(arguments)})"
    if len(line) <= _WIDTH:
        return (line,)
    return (f"{name} = {loaded}.from_pretrained(", *(f"    {argument}," for argument in arguments), ")")


def _parts(recipe: Recipe, dtype: str) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """The parts that come from elsewhere than the checkpoint: name, class, and what it is loaded with."""
    elsewhere, experts = recipe.weights.elsewhere(), recipe.boundary is not None
    if (place := elsewhere.get("text_encoder")) is not None:
        if experts:
            yield "tokenizer", "AutoTokenizer", (repr(place), 'subfolder="tokenizer"')
        yield "text_encoder", "UMT5EncoderModel", (repr(place), 'subfolder="text_encoder"', f"dtype={dtype}")
    if experts and (place := elsewhere.get("transformers")) is not None:
        for part in ("transformer", "transformer_2"):
            yield part, "WanTransformer3DModel", (repr(place), f'subfolder="{part}"', f"torch_dtype={dtype}")
    if experts and (place := elsewhere.get("vae")) is not None:
        inside = ('subfolder="vae"',) if (Path(place) / "vae").is_dir() else ()
        yield "vae", "AutoencoderKLWan", (repr(place), *inside, f"torch_dtype={dtype}")


def _cast(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    """Cast every part, as the trainer does after loading."""
    if "precision" not in names or recipe.precision.fp32_modules != "cast":
        return None
    dtype = recipe.precision.dtype
    return Block(
        factors=frozenset({"precision"}),
        place=f"After from_pretrained(…, dtype=torch.{dtype}), before any LoRA:",
        imports=("torch",),
        lines=(
            "for part in pipe.components.values():",
            "    if isinstance(part, torch.nn.Module):",
            f"        part.to(torch.{dtype})",
        ),
    )


def _compile(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    if "compilation" not in names or not recipe.compiled:
        return None
    parts = ("transformer",) if recipe.boundary is None else ("transformer", "transformer_2")
    return Block(
        factors=frozenset({"compilation"}),
        place="After the LoRA is loaded, on CUDA:",
        imports=("torch",),
        lines=(
            *(f'pipe.{part}.compile_repeated_blocks(mode="max-autotune", dynamic=True)' for part in parts),
            "torch.backends.cuda.matmul.allow_tf32 = True",
        ),
    )


def _vae_norm(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    if "vae_norm" not in names or recipe.vae_norm == "float32":
        return None
    return Block(
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


def _conditioning(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    """Make the start of a Wan 2.2 video as the recipe does, with the pipeline's own method in between."""
    conditioning = recipe.conditioning
    if "conditioning" not in names or conditioning is None or not (conditioning.rounded or conditioning.noise):
        return None
    rounding = (
        "    dtype = pipe.vae.dtype",
        "    noise, image = noise.to(dtype), ((image + 1) / 2).to(dtype) * 2 - 1",
    )
    return Block(
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


def _scheduler(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    if "scheduler" not in names or recipe.scheduler.family not in CLASSES:
        return None
    return Block(
        factors=frozenset({"scheduler"}),
        place=_BEFORE_CALL,
        imports=(f"diffusers:{CLASSES[recipe.scheduler.family]}",),
        lines=(CATALOGUE["scheduler"].fix(recipe),),
    )


def _boundary(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    if "boundary" not in names or recipe.boundary is None:
        return None
    lines = (CATALOGUE["boundary"].fix(recipe),)
    return Block(factors=frozenset({"boundary"}), place=_BEFORE_CALL, lines=lines)


def _tiling(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    if "vae_tiling" not in names:
        return None
    lines = (CATALOGUE["vae_tiling"].fix(recipe),)
    return Block(factors=frozenset({"vae_tiling"}), place=_BEFORE_CALL, lines=lines)


def _call(names: frozenset[Factor], recipe: Recipe) -> Block | None:
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
    return Block(
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


def _picture(recipe: Recipe) -> Block | None:
    """Read the control image and resize it to the video's size; None if there is none, or it has no address."""
    image, resize = recipe.control_image, recipe.resize
    if image is None or resize is None or not (is_url(image.source) or Path(image.source).suffix):
        return None
    imports, opened = ["PIL:Image"], repr(image.source)
    if is_url(image.source):
        imports += ["io", "urllib.request:urlopen"]
        opened = f"io.BytesIO(urlopen({image.source!r}).read())"
    relative = not (is_url(image.source) or Path(image.source).is_absolute())
    width, height = recipe.width.applied, recipe.height.applied
    box = ""
    if resize.crop == "center":
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
        box = f", box=({left!r}, {top!r}, {left + width * scale!r}, {top + height * scale!r})"
    return Block(
        factors=frozenset(),
        place="",
        imports=tuple(imports),
        lines=(
            f'image = Image.open({opened}).convert("RGB")' + "  # seen from the job's folder" * relative,
            f"image = image.resize(({width}, {height}), Image.Resampling.{resize.filter.upper()}{box})",
        ),
    )


def _file(names: frozenset[Factor], recipe: Recipe) -> Block | None:
    """Write the frames as the preview's file was written."""
    codec = recipe.codec
    if not names & {"codec", "fps"}:
        return None
    options = "" if codec.quality is None else f", quality={codec.quality}"
    if codec.format == "webp":
        shown = f"duration={frame_duration(recipe.fps)}, loop=0"
        options = f", save_all=True, append_images=frames[1:], {shown}{options}"
    return Block(
        factors=names & {"codec", "fps"},
        place='Write frames = pipe(…, output_type="pil").frames[0] with this:',
        lines=("def save(frames, path):", f'    frames[0].save(path, format="{codec.format.upper()}"{options})'),
    )


MAKERS: tuple[Callable[[frozenset[Factor], Recipe], Block | None], ...] = (
    _load,
    _cast,
    merge_residue,
    lora,
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
