"""Video files made from frames whose relation is known, and what else is compared with nothing known."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.media.video import Frames, read_video
from tests.support.paths import ROOT

JOBS = ROOT / "cases" / "jobs"


def preview(job: str, name: str) -> Frames:
    """The frames of one of the demo's previews, of 96x64."""
    return read_video(JOBS / job / "samples" / name).frames


def shapes() -> Frames:
    """Nine frames of a preview in which a red square moves."""
    return preview("shapes_t2v", "1795354600281__000000500_3.webp")[:9]


def folder(path: Path, frames: Frames) -> Path:
    """Write frames as a folder of PNGs."""
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(np.ascontiguousarray(frame)).save(path / f"{number:04d}.png")
    return path


def animation(path: Path, frames: Frames, *, fps: float = 16, quality: int = 80) -> Path:
    """Write frames as an animated WebP, GIF or APNG, by the suffix."""
    first, *rest = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    first.save(path, append_images=rest, save_all=True, duration=int(1000 / fps), loop=0, quality=quality)
    return path


def film(path: Path, frames: Frames, *options: str, fps: float = 16) -> Path:
    """Write frames with ffmpeg, e.g. as mp4 with H.264; a `yuv420p` file that says nothing of its matrix."""
    height, width = frames.shape[1:3]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-video_size", f"{width}x{height}", "-framerate", str(fps), "-i", "-", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, *options, str(path)], input=np.ascontiguousarray(frames).tobytes(), check=True)
    return path


def levels(frames: Frames, formula: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Frames:
    """The frames with a formula applied to their values, rounded and cut off at 0 and 255."""
    return np.clip(np.rint(formula(frames.astype(np.float64))), 0, 255).astype(np.uint8)


def scaled(frames: Frames, size: tuple[int, int]) -> Frames:
    """The frames at another size, by Pillow's Lanczos."""
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames])
