"""Generates the videos of one request, from its body to the files, with the metadata of its result."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.server.files import Results
from parity.server.inputs import Inputs
from parity.server.metrics import Metrics
from parity.server.plan import plan
from parity.server.queue import QueuedRequest
from parity.server.settings import Settings
from pipelines.catalog import MODELS, Model
from pipelines.engine.engine import Engine
from pipelines.media.video import encode
from pipelines.recipe import Recipe
from pipelines.reference.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestProgress:
    """How far the running request is."""

    prompt: int
    """The number of the current prompt, from 1; 0 while inputs are fetched."""
    prompts: int
    step: int
    """The current denoising step of the prompt; 0 while its weights are loaded and its text is encoded."""
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The outputs and metadata of a finished request."""

    outputs: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Generator:
    """Generates one request at a time."""

    settings: Settings
    engine: Engine
    metrics: Metrics
    inputs: Inputs
    results: Results
    downloads: Path

    def generate(
        self,
        queued: QueuedRequest,
        token: str | None,
        report: Callable[[RequestProgress], None],
        check: Callable[[], None],
    ) -> Generated:
        """Generate the videos of a request and save them.

        `check` is called between steps and during downloads, and raises to stop. Raises ParityError and OSError.
        """
        request = Request.model_validate_json(queued.body)
        model = MODELS[request.model]
        report(RequestProgress(prompt=0, prompts=len(request.prompts), step=0, steps=0))
        started = time.perf_counter()
        videos: list[dict[str, Any]] = []
        timings: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory(dir=self.downloads) as folder:
            fetched = self.inputs.fetch(request, model, Path(folder), check)
            planned = plan(fetched, model, self.settings, token)
            fetch_seconds = time.perf_counter() - started
            for index, recipe in enumerate(planned.recipes):

                def on_step(step: int, steps: int, prompt: int = index + 1) -> None:
                    self.metrics.steps.inc()
                    report(RequestProgress(prompt=prompt, prompts=len(planned.recipes), step=step, steps=steps))
                    check()

                check()
                report(RequestProgress(prompt=index + 1, prompts=len(planned.recipes), step=0, steps=recipe.steps))
                video, timing = self._generate_one(queued.id, index, recipe, model, on_step, token)
                videos.append(video)
                timings.append(timing)
        metadata = {
            "model": model.id,
            "profile": self.settings.profile,
            "config": planned.config,
            "toolkit": planned.toolkit,
            "notes": [self.without_folders(note) for note in planned.recipes[0].notes],
            "inference_time": round(time.perf_counter() - started, 3),
            "timings": {"inputs": round(fetch_seconds, 3), "prompts": timings},
        }
        return Generated(outputs={"images": [], "videos": videos}, metadata=metadata)

    def _generate_one(
        self,
        request_id: str,
        index: int,
        recipe: Recipe,
        model: Model,
        on_step: Callable[[int, int], None],
        token: str | None,
    ) -> tuple[dict[str, Any], dict[str, float]]:
        clock = time.perf_counter()
        frames = self.engine.generate(recipe, on_step, token)
        generated = time.perf_counter()
        self.metrics.generation_seconds.labels(model.id).observe(generated - clock)
        path = self.results.save(request_id, index, encode(frames, recipe.codec, recipe.fps))
        video = {
            "format": recipe.codec.format,
            "width": int(frames.shape[2]),
            "height": int(frames.shape[1]),
            "num_frames": int(frames.shape[0]),
            "fps": recipe.fps,
            "file_path": str(path),
            "seed": recipe.seed,
        }
        return video, {"generate": round(generated - clock, 3), "save": round(time.perf_counter() - generated, 3)}

    def without_folders(self, text: str) -> str:
        """Remove the folders of this machine from a message: a client must not learn them."""
        for folder in (self.settings.lora_root, self.downloads, self.settings.data):
            text = text.replace(f"{folder}/", "").replace(str(folder), "…")
        return text
