"""The encoders of a loaded checkpoint's texts and images: each is read from its files once something must be encoded.

A text encoder has 11 GB, and what a suite asks for is often encoded already (`encodings.py`). The pipeline has an
encoder only while it encodes; between that it waits where `--offload` wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.engine.checkpoint import SPOKEN, load_encoder, tokenizer_folder, vae_folder
from pipelines.engine.encodings import Encodings, Source
from pipelines.engine.text import encode
from pipelines.offload import Offload
from pipelines.phases import OnPhase
from pipelines.recipe import Encoder, Precision, Recipe

if TYPE_CHECKING:
    import torch

    from pipelines.engine.stages import Work


class Encoders:
    """Text encoder and CLIP of a loaded pipeline. Of each the last one asked for is held, as it was asked for."""

    def __init__(
        self,
        pipe: Any,
        found: Mapping[str, Path],
        encodings: Encodings,
        work: Work,
        device: torch.device,
        offload: Offload,
    ) -> None:
        """`found`: the folders of the pipeline's parts, as `checkpoint.folders` returns them."""
        self._pipe = pipe
        self._found = found
        self._encodings = encodings
        self._work = work
        self._device = device
        self._offload = offload
        self._held: dict[Encoder, tuple[tuple[Any, ...], Any]] = {}

    def prepare(self, recipe: Recipe, on_phase: OnPhase) -> None:
        """Load the encoders that a recipe needs: none if all its encodings are kept. Raises WeightsError."""
        texts = (recipe.prompt, recipe.negative_prompt) if recipe.guidance > 1 else (recipe.prompt,)
        kept = [self._encodings.has(self._of_text(text, recipe)) for text in texts]  # each is looked for
        if not all(kept):
            self.encoder("text_encoder", recipe, on_phase)
        reads_clip = recipe.control_image is not None and _reads_clip(self._pipe)
        if reads_clip and not self._encodings.has(self._of_image(recipe)):
            self.encoder("image_encoder", recipe, on_phase)

    @property
    def held(self) -> dict[Encoder, Any]:
        """The encoders that are in memory now."""
        return {part: encoder for part, (_, encoder) in self._held.items()}

    def release(self) -> None:
        """Drop the encoders; they are loaded again once something must be encoded."""
        self._held.clear()
        if self._device.type == "cuda":
            import gc

            import torch

            gc.collect()
            torch.cuda.empty_cache()

    def text(self, text: str, recipe: Recipe, on_phase: OnPhase) -> torch.Tensor:
        """Return the embeddings of a prompt as `text.encode` makes them."""

        def make() -> torch.Tensor:
            with self._lent("text_encoder", recipe, on_phase):
                on_phase("text", "")
                return encode(self._pipe, text, recipe.text_encoding, self._device)

        return self._encodings.get(self._of_text(text, recipe), self._work, self._device, make)

    def image(self, recipe: Recipe, make: Callable[[], torch.Tensor], on_phase: OnPhase) -> torch.Tensor:
        """Return the control image's CLIP embeddings; `make` makes them with the pipeline's `image_encoder`."""

        def lent() -> torch.Tensor:
            with self._lent("image_encoder", recipe, on_phase):
                on_phase("image", "")
                return make()

        return self._encodings.get(self._of_image(recipe), self._work, self._device, lent)

    def video(self, recipe: Recipe, make: Callable[[], Any], on_phase: OnPhase) -> Any:
        """Return what the VAE's `encode` returns for the control image; `make` calls it."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLOutput, DiagonalGaussianDistribution

        def parameters() -> torch.Tensor:
            on_phase("image", "")
            made: torch.Tensor = make().latent_dist.parameters
            return made

        kept = self._encodings.get(self._of_video(recipe), self._work, self._device, parameters)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(kept))

    # `compiled` is part of each: the engine then multiplies float32 as TF32, in encoders too.

    def _of_text(self, text: str, recipe: Recipe) -> Source:
        encoding = recipe.text_encoding
        # As ComfyUI encodes, a long text is refused for one of the pipelines alone.
        given = (encoding, recipe.pipeline, text) if encoding == "comfyui" else (encoding, text)
        folders = (self._folder("text_encoder"), tokenizer_folder(self._found, recipe))
        return Source("text", folders, (*_way("text_encoder", recipe), recipe.compiled), given)

    def _of_image(self, recipe: Recipe) -> Source:
        folder = self._folder("image_encoder")
        folders = (folder, folder.with_name("image_processor"))
        way = (*_way("image_encoder", recipe), recipe.compiled)
        return Source("image", folders, way, (*_picture(recipe), recipe.clip_image))

    def _of_video(self, recipe: Recipe) -> Source:
        rounded = recipe.conditioning is not None and recipe.conditioning.rounded
        num_encoded = 1 if recipe.expand_timesteps else recipe.num_frames.applied
        way = (recipe.precision, recipe.encodes_tiled, recipe.vae_norm, recipe.vae_computes, rounded, recipe.compiled)
        return Source("video", (vae_folder(self._found),), way, (*_picture(recipe), num_encoded))

    def _folder(self, part: Encoder) -> Path:
        place = self._found["checkpoint"]
        return (self._found.get("text_encoder", place) if part == "text_encoder" else place) / part

    @contextmanager
    def _lent(self, part: Encoder, recipe: Recipe, on_phase: OnPhase) -> Iterator[None]:
        """Give the pipeline an encoder on the device, for as long as it encodes."""
        encoder = self.encoder(part, recipe, on_phase)
        if self._offload == "sequential":
            from accelerate import cpu_offload

            cpu_offload(encoder, self._device, offload_buffers=len(encoder._parameters) > 0)  # as diffusers does
        else:
            encoder.to(self._device)
        setattr(self._pipe, part, encoder)
        try:
            yield
        finally:
            setattr(self._pipe, part, None)
            if self._offload == "sequential":
                from accelerate.hooks import remove_hook_from_module

                remove_hook_from_module(encoder, recurse=True)
            elif self._offload == "model":
                encoder.to("cpu")
                if self._device.type == "cuda":
                    import torch

                    torch.cuda.empty_cache()  # as accelerate does when a hook sends a part away

    def encoder(self, part: Encoder, recipe: Recipe, on_phase: OnPhase) -> Any:
        """Return the encoder that a recipe asks for; loading it drops the one that was asked for before."""
        way = _way(part, recipe)
        if part in self._held and self._held[part][0] == way:
            return self._held[part][1]
        import torch

        self._held.pop(part, None)
        stored, dtype, cast, qtype = way
        on_phase("load", f"{SPOKEN[part]} in float16" if stored == "float16" else SPOKEN[part])
        encoder = load_encoder(part, self._folder(part), getattr(torch, dtype))
        if stored == "float16":
            from pipelines.engine.float16_storage import store_in_float16

            encoder = store_in_float16(encoder)
        elif cast:
            encoder.to(getattr(torch, dtype))
        if qtype is not None:
            from pipelines.engine.quantized import quantize

            on_phase("quantize", SPOKEN[part])
            quantize(encoder, qtype)
        self._held[part] = way, encoder
        self._work.encoder_loads += 1
        return encoder


def _way(part: Encoder, recipe: Recipe) -> tuple[Any, ...]:
    """How a recipe asks for an encoder: storage, dtype, whether all of it is cast, quantization.

    transformers 5.23 keeps modules of UMT5 in float32 beside float16 alone, so that there is nothing to cast otherwise.

    ComfyUI (a125cd84, 0.3.64, 2025-10-12) stores the weights in float16 and computes in float32, whatever the recipe's
    dtype. Its options `--fp8_e4m3fn-text-enc`, `--bf16-text-enc` and `--fp32-text-enc` change the storage, and no file
    says which was given. A quantized encoder is quantized from weights that are rounded before.
    """
    qtype = recipe.quantization.text_encoder if part == "text_encoder" else None
    if part in recipe.float16_encoders:
        return "float16", "float16", False, qtype
    cast = recipe.precision == Precision("float16", "cast")
    return "own", recipe.precision.dtype, cast, qtype


def _picture(recipe: Recipe) -> tuple[Any, ...]:
    """The control image at the video's size."""
    image = recipe.control_image
    assert image is not None
    return image.sha256, recipe.resize, recipe.width.applied, recipe.height.applied


def _reads_clip(pipe: Any) -> bool:
    """Whether the transformer reads CLIP embeddings: those of Wan 2.1 do, Wan 2.2's do not."""
    return getattr(pipe.transformer.config, "image_dim", None) is not None
