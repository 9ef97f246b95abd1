"""VMAF, the score from 0 to 100 that streaming services judge encodings by, measured by the ffmpeg of imageio-ffmpeg.

Its model was fitted to 1080p on a television. On small frames the number orders outputs, but says less about how people
see them. It weighs motion, so that a frame depends on its neighbours, and identical frames need not reach 100.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.errors import MediaError
from pipelines.media.video import Frames

MODEL = "vmaf_v0.6.1"
LEAST_SIDE = 32
"""Pixels: VMAF halves a frame four times, and libvmaf crashes at 16."""

_MOST_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The VMAF of every frame."""

    per_frame: tuple[float, ...]
    libvmaf: str
    """The version of libvmaf: another one may give other numbers."""


def scores(reference: Frames, distorted: Frames, threads: int | None = None) -> Scores:
    """Measure a video (T, H, W, 3) against its reference. Raises MediaError with the reason why it cannot be measured.

    The number of threads, by default that of the cores, changes no digit.
    """
    import imageio_ffmpeg

    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    count, height, width, _ = reference.shape
    threads = threads or min(os.cpu_count() or 1, _MOST_THREADS)
    source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", f"{width}x{height}", "-framerate", "16"]
    command = [ffmpeg, "-v", "error", "-nostdin", *source, "-i", "distorted.yuv", *source, "-i", "reference.yuv"]
    command += ["-lavfi", f"libvmaf=model=version={MODEL}:log_fmt=json:log_path=vmaf.json:n_threads={threads}"]
    with tempfile.TemporaryDirectory(prefix="wan-parity-vmaf-") as name:
        folder = Path(name)
        _write(folder / "distorted.yuv", distorted)
        _write(folder / "reference.yuv", reference)
        done = subprocess.run([*command, "-f", "null", "-"], cwd=folder, capture_output=True, check=False)
        if done.returncode:
            raise MediaError(_why(ffmpeg, done.stderr.decode(errors="replace"), done.returncode))
        log = json.loads((folder / "vmaf.json").read_text(encoding="utf-8"))
    found = tuple(float(frame["metrics"]["vmaf"]) for frame in log["frames"])
    if len(found) != count:
        raise MediaError(f"{ffmpeg} measured {len(found)} of {count} frames")
    return Scores(per_frame=found, libvmaf=str(log["version"]))


def _write(file: Path, frames: Frames) -> None:
    """Write the luma of BT.601, of limited range, to the nearest integer, as YUV 4:2:0 without colour.

    VMAF reads luma alone; BT.601 is what ffmpeg makes of RGB unasked.
    """
    height, width = frames.shape[1:3]
    grey = bytes([128]) * (2 * ((height + 1) // 2) * ((width + 1) // 2))
    weights = np.array([299, 587, 114], np.uint32)
    with file.open("wb") as out:
        for frame in frames:
            luma = 16 + (219 * (frame @ weights) + 127_500) // 255_000
            out.write(luma.astype(np.uint8).tobytes() + grey)


def _why(ffmpeg: str, message: str, code: int) -> str:
    """Why ffmpeg failed, in a line."""
    known = subprocess.run([ffmpeg, "-hide_banner", "-filters"], capture_output=True, check=False).stdout
    if b" libvmaf " not in known:
        return f"{ffmpeg} has no filter libvmaf; unset IMAGEIO_FFMPEG_EXE to use the ffmpeg that comes along"
    return f"ffmpeg cannot measure it: {(message.strip().splitlines() or [f'exit code {code}'])[0]}"
