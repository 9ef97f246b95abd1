"""A request's recipes by profile, and its videos as files: the same functions as for cases, so the same bits."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from parity.server.settings import Settings
from pipelines.catalog import Model
from pipelines.errors import MediaError
from pipelines.inference import inference_recipe, reference_graph
from pipelines.preview import assumed_recipe
from pipelines.recipe import Recipe
from pipelines.request import Request
from pipelines.video import read_video

_transcoding = threading.Lock()


def recipes_of(request: Request, model: Model, settings: Settings, token: str | None) -> list[Recipe]:
    """One recipe a prompt. LoRA paths are absolute, control images data URLs.

    `faithful`: the request's settings in the trainer's graph, as for a preview whose config is not known.
    Raises WeightsError and MediaError.
    """
    graph = reference_graph(model, settings.checkpoints.get(model.id), token=token)
    recipes = [
        inference_recipe(request, index, graph, model=model, folder=settings.lora_root)
        for index in range(len(request.prompts))
    ]
    return recipes if settings.profile == "reference" else [assumed_recipe(recipe) for recipe in recipes]


def write_atomically(path: Path, data: bytes) -> None:
    """A file that is there is whole, whenever the process ends."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def mp4_of(webp: Path, fps: int, count: int) -> Path:
    """The mp4 beside a WebP, made from it when first asked for. One at a time. Raises MediaError.

    H.264 with 4:2:0 colour, for looking at: the WebP is what was drawn.
    """
    target = webp.with_suffix(".mp4")
    with _transcoding:
        if target.is_file():
            return target
        video = read_video(webp, 1000 // fps, count)
        import imageio_ffmpeg

        part = webp.with_suffix(".part.mp4")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{video.width}x{video.height}", "-framerate", str(fps), "-i", "-"]
        command += ["-c:v", "libx264", "-crf", "16", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(part)]
        done = subprocess.run(command, input=video.frames.tobytes(), capture_output=True, check=False)
        if done.returncode:
            part.unlink(missing_ok=True)
            raise MediaError("ffmpeg could not write the mp4")
        part.replace(target)
    return target
