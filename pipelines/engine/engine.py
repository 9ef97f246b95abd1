"""Turns a recipe into frames on the real diffusers pipelines. One engine generates both sides of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.engine import bfloat16_convolutions, lora, merge_residue, precision, stages, vae_norm
from pipelines.engine.checkpoint import folders, load_pipeline, transformer_folders
from pipelines.engine.encoders import Encoders
from pipelines.engine.encodings import Encodings, Store
from pipelines.engine.observe import observing
from pipelines.engine.originals import Originals
from pipelines.engine.stages import OnStep, Trace, Work
from pipelines.errors import DeviceError, OutOfMemoryError, UnreproducibleError, UsageError
from pipelines.limits import limits_of, why_beyond_bounds, why_not_sampled
from pipelines.media.video import Frames
from pipelines.offload import Offload
from pipelines.phases import OnPhase, unheard
from pipelines.ran import LoraRan, Ran
from pipelines.recipe import EXPERT_PARTS, Recipe

if TYPE_CHECKING:
    import torch


T = TypeVar("T")


class Engine:
    """Generates recipes one after another and keeps the last checkpoint and LoRA loaded.

    Use one engine for many recipes, sorted by `load_key`: a change of LoRA, scale, application or precision keeps the
    base weights loaded, and they stay bit-identical to freshly loaded ones.
    """

    def __init__(self, device: str = "auto", offload: Offload = "none") -> None:
        """`device` is auto, cpu, cuda or cuda:n. Raises UsageError for a device that the machine does not have."""
        from pipelines.engine.torch_setup import pick_device

        self.device = pick_device(device)
        if offload != "none" and self.device.type == "cpu":
            raise UsageError(f"--offload {offload} moves weights between a GPU and the CPU, but no GPU is in use")
        self.offload = offload
        self.work = Work()
        self.ran: Ran | None = None
        """What really ran in the last denoising; None: nothing was denoised yet."""
        self.on_phase: OnPhase = unheard
        """Whoever is told what begins, so that minutes of loading or decoding do not look like a hang."""
        self._encodings = Encodings()
        self._pipe: Any = None
        self._encoders: Encoders | None = None
        self._loaded: tuple[Any, ...] = ()
        self._originals = Originals()
        self._fitted: list[tuple[Any, lora.Undo]] = []
        self._compiled = False
        self._loras: list[LoraRan] = []

    @staticmethod
    def load_key(recipe: Recipe) -> tuple[Any, ...]:
        """Return a key; recipes with equal keys share one loaded checkpoint."""
        places = recipe.weights.places().values()
        quantization = recipe.quantization.effective
        precision = recipe.precision if quantization else recipe.precision.dtype  # cast before it is quantized
        return (recipe.pipeline, *places, recipe.boundary is not None, precision, quantization)

    def keep_encodings(self, store: Store | None) -> None:
        """Keep encodings of texts and images in a store and take them from there; None: in memory alone."""
        self._encodings.store = store

    def load(self, recipe: Recipe, token: str | None = None) -> None:
        """Load what a recipe needs of its checkpoint, if it is not loaded: an encoder only if something is not encoded.

        `generate` does that itself; this is for timing. `token` is a Hub token; without one, HF_TOKEN or the Hub's own
        login is used.
        """
        self._load(recipe, token).prepare(recipe, self.on_phase)

    def _load(self, recipe: Recipe, token: str | None) -> Encoders:
        """Load the checkpoint of a recipe, if it is not loaded, and return its encoders."""
        self._check(recipe)
        key = self.load_key(recipe)
        if self._encoders is None or self._loaded != key:
            self._unload()
            found = folders(recipe, token, self.on_phase)
            self._pipe = load_pipeline(recipe, token=token, on_phase=self.on_phase)
            self._originals = Originals(self._pipe, transformer_folders(found, recipe))
            self._encoders = Encoders(self._pipe, found, self._encodings, self.work, self.device, self.offload)
            self._loaded = key
            self.work.loads += 1
            if self.device.type != "cpu" and self.offload == "none":
                self.on_phase("place", str(self.device))
        return self._encoders

    def _check(self, recipe: Recipe) -> None:
        """Raise UnreproducibleError or DeviceError for a recipe that this engine cannot generate."""
        _refuse(recipe)
        if recipe.compiled and self.device.type != "cuda":
            raise DeviceError(f"{recipe.model}: `compiled` needs CUDA; remove `compiled`")

    def generate(self, recipe: Recipe, on_step: OnStep | None = None, token: str | None = None) -> Frames:
        """Generate a recipe. Returns frames of shape (T, H, W, 3), uint8 RGB. Raises like `denoise`."""
        return self.decode(self.denoise(recipe, on_step, token), recipe, token)

    def denoise(
        self, recipe: Recipe, on_step: OnStep | None = None, token: str | None = None, trace: Trace | None = None
    ) -> torch.Tensor:
        """Return the final latents of a recipe: (1, 16, latent frames, height / 8, width / 8), float32, on the CPU.

        Those of Wan 2.2 5B are (1, 48, latent frames, height / 16, width / 16).

        `trace` receives the intermediate tensors. Raises UnreproducibleError for a recipe that this engine does not
        support, WeightsError for weights that do not fit, OutOfMemoryError, and NotANumberError for NaN or infinity.
        """
        return self._with_room(lambda: self._denoise(recipe, on_step, token, trace))

    def _denoise(self, recipe: Recipe, on_step: OnStep | None, token: str | None, trace: Trace | None) -> torch.Tensor:
        self.load(recipe, token)
        assert self._encoders is not None
        with self._ready(recipe, token) as pipe, observing(pipe, recipe, self.device, self.offload) as observed:
            latents = stages.denoise(
                pipe,
                recipe,
                encoders=self._encoders,
                device=self.device,
                work=self.work,
                on_step=on_step,
                on_phase=self.on_phase,
                trace=trace,
            )
            self.ran = observed.ran(self._loras)
            return latents

    def decode(self, latents: torch.Tensor, recipe: Recipe, token: str | None = None) -> Frames:
        """Decode latents with the recipe's VAE to frames of shape (T, H, W, 3), uint8 RGB. Raises like `denoise`."""
        return self._with_room(lambda: self._decode(latents, recipe, token))

    def _decode(self, latents: torch.Tensor, recipe: Recipe, token: str | None) -> Frames:
        with self._ready(recipe, token) as pipe:
            self.on_phase("decode", "")
            return stages.decode(pipe, latents, recipe, self.device, self.work)

    def _with_room(self, make: Callable[[], T]) -> T:
        """Make something; if memory runs out, once more without the encoders, which have done their part by then."""
        try:
            return make()
        except OutOfMemoryError:
            if self.offload != "none" or self._encoders is None or not self._encoders.held:
                raise
            self._encoders.release()
        return make()

    def forget(self) -> None:
        """Discard all encodings: the next generation reuses nothing but the weights, and what a store keeps."""
        self._encodings.clear()

    def close(self) -> None:
        """Release the weights and encodings, also for other processes."""
        import gc

        import torch

        self._unload()
        self.forget()
        if self.device.type == "cuda":
            gc.collect()  # a pipeline's parts refer to each other
            torch.cuda.empty_cache()

    def _unload(self) -> None:
        """Let the checkpoint go. Nothing is undone in weights that go with it; compiled code would outlive them.

        The transformers of diffusers 0.42.1 refer to themselves: their memory would be free only when the garbage
        collector comes by, and the next checkpoint be loaded beside it.
        """
        for part in dict.fromkeys(EXPERT_PARTS.values()):
            transformer = getattr(self._pipe, part, None)
            if transformer is not None:
                transformer.to("meta")
        self._pipe, self._encoders, self._loaded, self._fitted, self._originals = None, None, (), [], Originals()
        if self._compiled:
            import torch

            self._compiled = False
            torch._dynamo.reset()

    @contextmanager
    def _ready(self, recipe: Recipe, token: str | None) -> Iterator[Any]:
        """Provide the pipeline with all settings of a recipe applied, under deterministic settings of torch."""
        self._load(recipe, token)
        import torch

        from pipelines.engine.torch_setup import deterministic

        with deterministic(), torch.no_grad():
            pipe = self._pipe
            # The server switches TF32 on when it compiles (_apply_torch_compile).
            torch.backends.cuda.matmul.allow_tf32 = recipe.compiled
            try:
                self._fit(pipe, recipe, token)
                self._place(pipe)
                yield pipe
            except torch.OutOfMemoryError as error:
                reason = str(error).split(". ")[0]
                raise OutOfMemoryError(f"{self.device} ran out of memory ({reason}); try --offload model") from None
            finally:
                if self.offload != "none":
                    pipe.remove_all_hooks()  # weights are plain tensors again, so that LoRAs can be swapped

    def _fit(self, pipe: Any, recipe: Recipe, token: str | None) -> None:
        """Apply precision, LoRAs, VAE, scheduler and tiling; keep what the last recipe has in common."""
        if self.offload == "none":
            pipe.to(self.device)
        lora_key = (recipe.lora_files, recipe.lora_scales, recipe.lora_application)
        # A merged LoRA is undone by restoring the weights from before all merges, which are then repeated.
        merged = lora_key if recipe.earlier_merges and recipe.lora_application == "merged" else None
        originals = self._originals
        fittings: list[tuple[Any, Callable[[], lora.Undo]]] = [
            (recipe.precision, lambda: precision.cast(pipe, recipe.precision)),
            (
                (recipe.earlier_merges, merged),
                lambda: merge_residue.replay(pipe, recipe.earlier_merges, self.on_phase, originals),
            ),
            (lora_key, lambda: lora.apply(pipe, recipe, self.on_phase, originals, self._loras)),
            (recipe.compiled, lambda: _compile(pipe) if recipe.compiled else lora.nothing),
            (recipe.float32_steps, lambda: precision.float32_outputs(pipe) if recipe.float32_steps else lora.nothing),
            (recipe.vae_computes, lambda: precision.other_vae(pipe, recipe, token)),
            (recipe.vae_norm, lambda: vae_norm.apply(pipe, recipe.vae_norm)),
            ("convolutions", lambda: bfloat16_convolutions.apply(pipe.vae)),
        ]
        kept = 0
        while kept < len(self._fitted) and self._fitted[kept][0] == fittings[kept][0]:
            kept += 1
        self._unfit(kept)
        try:
            for fit_key, fit in fittings[kept:]:
                self._fitted.append((fit_key, fit()))
        except BaseException:
            self._fitted.insert(0, (None, lambda: originals.restore(pipe)))  # whatever was merged, also by what failed
            with suppress(Exception):  # then the checkpoint is loaded anew, and what failed first is said
                self._unfit(0)
            raise
        self._compiled = recipe.compiled
        pipe.scheduler = stages.scheduler(recipe)
        pipe.register_to_config(boundary_ratio=stages.boundary(recipe), expand_timesteps=recipe.expand_timesteps)
        if recipe.vae_tiling:
            pipe.vae.enable_tiling()
        else:
            pipe.vae.disable_tiling()

    def _unfit(self, keep: int) -> None:
        """Undo all fittings but the first `keep`. If that fails, the checkpoint is loaded anew for the next recipe."""
        try:
            while len(self._fitted) > keep:
                _, undo = self._fitted.pop()
                undo()
        except BaseException:
            self._unload()
            raise

    def _place(self, pipe: Any) -> None:
        if self.offload == "none":
            pipe.to(self.device)
        elif self.offload == "model":
            pipe.enable_model_cpu_offload(device=self.device)
        else:
            pipe.enable_sequential_cpu_offload(device=self.device)


def _compile(pipe: Any) -> lora.Undo:
    """Compile the transformers' blocks as the reference server does for Wan 2.2 (wan22_t2v.py at af4aec1)."""
    import torch

    transformers = [part for part in (pipe.transformer, pipe.transformer_2) if part is not None]
    for transformer in transformers:
        transformer.compile_repeated_blocks(mode="max-autotune", dynamic=True)

    def undo() -> None:
        for transformer in transformers:
            for module in transformer.modules():
                module._compiled_call_impl = None
        torch._dynamo.reset()

    return undo


def _refuse(recipe: Recipe) -> None:
    if recipe.obstacles:
        raise UnreproducibleError("; ".join(recipe.obstacles))
    width, height = recipe.width.applied, recipe.height.applied
    if width % 16 or height % 16:  # WanPipeline.check_inputs of diffusers 0.42.1
        raise UnreproducibleError(
            f"{width}x{height} is not a multiple of 16, which the Wan pipelines of diffusers refuse; change the size"
        )
    if recipe.seed is None:
        raise UnreproducibleError("seed -1: a random seed cannot be reproduced; set a seed in the request")
    if (beyond := why_beyond_bounds(recipe)) is not None:  # before a schedule of that many steps is made
        raise UnreproducibleError(beyond)
    for reason in (*limits_of(recipe).values(), why_not_sampled(recipe)):
        if reason is not None:
            raise UnreproducibleError(reason)
