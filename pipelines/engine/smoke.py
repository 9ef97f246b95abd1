"""A smoke run: a recipe on a few transformer blocks of its real checkpoint, each stage reduced to a hash.

It goes through the code of a whole generation (schedule, precision, LoRA, quantization, offload, sampling) in seconds
and in a fraction of the memory. What it makes is no video: only the same on the same kind of machine is comparable.
Texts and images are not encoded: embeddings seeded by their hashes take their place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.engine import stages
from pipelines.engine.checkpoint import folders, transformer_folders
from pipelines.engine.encoders import Encoders
from pipelines.engine.engine import Engine
from pipelines.engine.originals import Originals
from pipelines.engine.partial import first_of_decoder, load_parts, num_blocks, part_of_lora, shapes_of
from pipelines.engine.stages import OnStep, Trace
from pipelines.offload import Offload
from pipelines.phases import OnPhase
from pipelines.recipe import EXPERT_PARTS, Asked, LoraFile, Recipe

if TYPE_CHECKING:
    import torch

_STEPS = 2
_FRAMES = 9
_DECODED = 16
"""Height and width, in latent pixels, of what the VAE is given: one frame, the upper left corner."""
_CLIP_TOKENS = 257
"""Tokens of Wan 2.1's image encoder: 16 x 16 patches and a class token."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Smoked:
    """What a smoke run came to."""

    stages: Mapping[str, str]
    """The SHA-256 of each stage, in the order in which a generation passes them."""
    layers: int
    """The number of blocks that the whole transformer has."""
    recipe: Recipe
    """What was run: the case's recipe with fewer steps and frames."""
    notes: tuple[str, ...]


class SmokeEngine(Engine):
    """An engine that loads a few blocks of each transformer, and no encoder."""

    def __init__(self, blocks: Collection[int], device: str = "auto", offload: Offload = "none") -> None:
        super().__init__(device, offload)
        self.blocks = frozenset(blocks)
        self._hashes: dict[str, str] = {}

    def smoke(self, recipe: Recipe, on_step: OnStep | None = None, token: str | None = None) -> Smoked:
        """Run a recipe. Raises as `denoise`, and UsageError for a block that the transformer does not have."""
        found = folders(recipe, token, self.on_phase)
        (first, *_) = transformers = list(transformer_folders(found, recipe).values())
        whole = recipe
        notes: list[str] = []
        with tempfile.TemporaryDirectory(prefix="wan-parity-") as place:
            recipe = self._only_these_blocks(_shorter(recipe), shapes_of(first), Path(place), notes)
            self.close()
            self._hashes = {}
            trace = Trace()
            self.load(recipe, token)
            with self._first_outputs() as outputs, self._seeded(recipe):
                latents = self.denoise(recipe, on_step, token, trace)
            decoded = self._decoded(latents, recipe)
        assert trace.noise is not None
        assert trace.first_prediction is not None
        schedule = [whole.scheduler.sigmas(whole.steps), trace.sigmas, trace.timesteps]
        found_stages = {
            "noise": _of_tensors({"": trace.noise}),
            "schedule": hashlib.sha256(json.dumps(schedule).encode()).hexdigest(),
            "conditioning": _of_tensors(trace.conditioning),
            **self._hashes,
            **{f"first output of {part}": _of_tensors({"": output}) for part, output in outputs.items()},
            "first prediction": _of_tensors({"": trace.first_prediction}),
            "latents": _of_tensors({str(step): each for step, each in enumerate(trace.latents)}),
            "first part of the VAE's decoder": _of_tensors({"": decoded}),
        }
        self.close()
        if not whole.repeats:
            notes.append("the request takes noise without a seed, which has one here")
        notes += [
            f"{part} was not called: no step of this schedule is its own"
            for part in (folder.name for folder in transformers)
            if part not in outputs
        ]
        return Smoked(stages=found_stages, layers=num_blocks(first), recipe=recipe, notes=tuple(notes))

    def _load(self, recipe: Recipe, token: str | None) -> Encoders:
        self._check(recipe)
        if self._encoders is None:
            found = folders(recipe, token, self.on_phase)
            self._pipe = load_parts(recipe, self.blocks, token, self.on_phase)
            self._originals = Originals(self._pipe, transformer_folders(found, recipe))
            self._encoders = _Seeded(self._pipe, found, self._encodings, self.work, self.device, self.offload)
            self.work.loads += 1
            self._hashes["weights of the blocks"] = self._of_weights()
        return self._encoders

    def _fit(self, pipe: Any, recipe: Recipe, token: str | None) -> None:
        super()._fit(pipe, recipe, token)
        name = "weights with the LoRA"
        if recipe.lora_files and name not in self._hashes:
            self._hashes[name] = self._of_weights()
            if recipe.lora_application != "merged":  # beside the weights
                parts = (
                    self._hashes[name],
                    *(hashlib.sha256(file.path.read_bytes()).hexdigest() for file in recipe.lora_files),
                )
                text = "\0".join((*parts, *map(str, recipe.lora_scales)))
                self._hashes[name] = hashlib.sha256(text.encode()).hexdigest()

    def _of_weights(self) -> str:
        parts = [getattr(self._pipe, part) for part in dict.fromkeys(EXPERT_PARTS.values())]
        named = {
            f"{number}.{name}": weight
            for number, part in enumerate(parts)
            if part is not None
            for name, weight in part.named_parameters()
        }
        return _of_tensors(named)

    def _only_these_blocks(
        self, recipe: Recipe, shapes: Mapping[str, tuple[int, ...]], place: Path, notes: list[str]
    ) -> Recipe:
        """The recipe with the parts of its LoRA files that belong to the blocks."""
        written: dict[tuple[Path, Any], LoraFile | None] = {}

        def part(file: LoraFile) -> LoraFile | None:
            key = (file.path, file.expert)
            if key not in written:
                new = place / f"{len(written)}-{file.path.name}"
                layers = part_of_lora(file, shapes, self.blocks, new)
                written[key] = dataclasses.replace(file, path=new) if layers else None
                if not layers:
                    notes.append(f"{file.path.name} has nothing for these blocks")
            return written[key]

        pairs = [(part(file), scale) for file, scale in zip(recipe.lora_files, recipe.lora_scales, strict=True)]
        kept = [(file, scale) for file, scale in pairs if file is not None]
        merges = [
            dataclasses.replace(merge, files=tuple(its for file in merge.files if (its := part(file)) is not None))
            for merge in recipe.earlier_merges
        ]
        return dataclasses.replace(
            recipe,
            lora_files=tuple(file for file, _ in kept),
            lora_scales=tuple(scale for _, scale in kept),
            earlier_merges=tuple(merges),
        )

    @contextmanager
    def _first_outputs(self) -> Iterator[dict[str, torch.Tensor]]:
        """Collect what each transformer returns first."""
        outputs: dict[str, torch.Tensor] = {}

        def watcher(part: str) -> Callable[..., None]:
            def after(_module: Any, _inputs: Any, output: Any) -> None:
                tensor = output[0] if isinstance(output, tuple) else output.sample
                outputs.setdefault(part, tensor.detach().to("cpu", copy=True))

            return after

        named = {part: getattr(self._pipe, part) for part in dict.fromkeys(EXPERT_PARTS.values())}
        handles = [
            transformer.register_forward_hook(watcher(part))
            for part, transformer in named.items()
            if transformer is not None
        ]
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _seeded(self, recipe: Recipe) -> Iterator[None]:
        """Seed torch's own generators for now: some requests take noise from them, and no two would be alike."""
        import torch

        assert recipe.seed is not None
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(recipe.seed)
            yield

    def _decoded(self, latents: torch.Tensor, recipe: Recipe) -> torch.Tensor:
        """What the first part of the decoder makes of a corner of the first latent frame."""
        import torch

        from pipelines.engine.torch_setup import deterministic

        self.on_phase("decode", "the first part of the VAE's decoder")
        vae = self._pipe.vae.to(self.device)
        corner = latents[:, :, :1, :_DECODED, :_DECODED]
        with deterministic(), torch.no_grad():
            return first_of_decoder(vae, stages.scaled(corner, vae, recipe, self.device))


class _Seeded(Encoders):
    """Stands for the encoders: what it returns is noise, seeded by the text or the image."""

    def prepare(self, recipe: Recipe, on_phase: OnPhase) -> None:
        """Load nothing."""

    def text(self, text: str, recipe: Recipe, _: OnPhase) -> torch.Tensor:
        """Noise for each word of the text and its end, as (1, 512, width); zero behind that."""
        rows = min(512, len(text.split()) + 1)
        made = _noise(text, (1, 512, self._pipe.transformer.config.text_dim))
        made[:, rows:] = 0
        return self._cast(made, recipe)

    def image(self, recipe: Recipe, _: Callable[[], torch.Tensor], __: OnPhase) -> torch.Tensor:
        """Noise in the shape of CLIP's embeddings: (1, 257, width)."""
        made = _noise(f"clip {_image(recipe)}", (1, _CLIP_TOKENS, self._pipe.transformer.config.image_dim))
        return self._cast(made, recipe)

    def video(self, recipe: Recipe, _: Callable[[], Any], __: OnPhase) -> Any:
        """Noise as the mean of the VAE's posterior, with a small variance."""
        import torch
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLOutput, DiagonalGaussianDistribution

        pipe = self._pipe
        frames = 1 if recipe.expand_timesteps else (recipe.num_frames.applied - 1) // pipe.vae_scale_factor_temporal + 1
        size = [length.applied // pipe.vae_scale_factor_spatial for length in (recipe.height, recipe.width)]
        mean = _noise(f"vae {_image(recipe)}", (1, pipe.vae.config.z_dim, frames, *size))
        parameters = torch.cat([mean, torch.full_like(mean, -4.0)], dim=1).to(self._device, pipe.vae.dtype)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(parameters))

    def _cast(self, made: torch.Tensor, recipe: Recipe) -> torch.Tensor:
        import torch

        return made.to(self._device, getattr(torch, recipe.precision.dtype))


def _image(recipe: Recipe) -> str:
    assert recipe.control_image is not None
    return f"{recipe.control_image.sha256} {recipe.resize} {recipe.clip_image}"


def _noise(seed: str, shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7], "big")
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(number))


def _shorter(recipe: Recipe) -> Recipe:
    """The recipe with as few steps as call every expert, and few frames. A split counts steps, so they all stay."""
    frames = min(recipe.num_frames.applied, _FRAMES)
    steps = recipe.steps
    if recipe.split is None:
        steps = next((few for few in range(min(_STEPS, steps), steps) if _calls_both(recipe, few)), steps)
    return dataclasses.replace(recipe, num_frames=Asked(recipe.num_frames.asked, frames), steps=steps)


def _calls_both(recipe: Recipe, steps: int) -> bool:
    if recipe.boundary is None:
        return True
    scheduler: Any = stages.scheduler(recipe)
    scheduler.set_timesteps(steps)
    high = [float(timestep) >= recipe.boundary * 1000 for timestep in scheduler.timesteps]
    return any(high) and not all(high)


def _of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of names, dtypes, shapes and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        digest.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        digest.update(memoryview(plain.reshape(-1).view(torch.uint8).numpy()))  # type: ignore[arg-type]
    return digest.hexdigest()
