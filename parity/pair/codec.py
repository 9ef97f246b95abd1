"""What the codecs of two files cost, as an estimate: the frames before encoding are gone, so one file stands for them.

The frames of one file are encoded again with the other's codec, at the quality that takes as many bytes a frame as that
file has. Its loss stands for the other's. If both files are lossy, both losses add up, as independent errors do.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from parity.results.pair import CodecEstimate
from parity.results.words import decibels
from pipelines.errors import MediaError
from pipelines.media.facts import MediaFacts, stream_bytes, webp_facts
from pipelines.media.video import Frames, decode, encode, read_video
from pipelines.recipe import Codec

_MOST_PIXELS = 6_000_000
"""Pixels that are encoded for an estimate, several times: 6 frames of 1280x720."""
_ENCODERS = {
    "h264": ("libx264", ["-preset", "medium"], 51),
    "hevc": ("libx265", ["-preset", "fast", "-x265-params", "log-level=error"], 51),
    "vp8": ("libvpx", ["-b:v", "0", "-cpu-used", "4"], 63),
    "vp9": ("libvpx-vp9", ["-b:v", "0", "-cpu-used", "4"], 63),
    "av1": ("libaom-av1", ["-b:v", "0", "-cpu-used", "8"], 63),
}
"""ffmpeg's encoder of each codec, its options, and its worst quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss of an encoding, at full size and in blocks of 8 pixels."""

    fine: float
    """The mean squared error."""
    coarse: float
    """The mean squared error of the means of 8x8 blocks: a codec hardly changes them, other settings do."""
    how: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose loss is estimated."""

    path: Path
    facts: MediaFacts
    frames: int

    def bytes_of(self, count: int) -> float:
        """The bytes of the pictures of its first frames: a whole one first, then what changes, so no average."""
        if count < self.frames and self.facts.codec in _ENCODERS:
            return stream_bytes(self.path, count)
        return self.facts.picture_bytes / max(1, self.frames) * count


def estimate(a: Frames, b: Frames, of_a: Source, of_b: Source) -> tuple[CodecEstimate, Loss] | None:
    """The loss that two encodings of one video would show at these files' sizes. None: both are lossless, or unknown.

    `a` and `b`: the frames as each file has them, before anything is cut or moved.
    """
    losses = []
    for file, frames in ((of_a, b), (of_b, a)):
        if file.facts.lossless is True:
            continue
        loss = loss_of(file, frames) if file.facts.lossless is False else None
        if loss is None:
            return None
        losses.append(loss)
    if not losses:
        return None
    fine, coarse = sum(loss.fine for loss in losses), sum(loss.coarse for loss in losses)
    if fine <= 0:
        return None
    both = Loss(fine=fine, coarse=coarse, how=" plus ".join(dict.fromkeys(loss.how for loss in losses)))
    psnr = float(10 * np.log10(255**2 / fine))
    how = f"estimated by encoding the other file's frames again: {both.how}"
    return CodecEstimate(psnr=round(psnr, 2), how=how), both


def loss_of(file: Source, frames: Frames) -> Loss | None:
    """What encoding frames as that file costs; None: its codec is not known here, or cannot be tried."""
    facts, pixels = file.facts, frames.shape[1] * frames.shape[2]
    some = frames[: max(1, min(len(frames), file.frames, _MOST_PIXELS // pixels))]
    wanted = file.bytes_of(len(some))
    try:
        if facts.codec == "webp":
            return _at_size(some, wanted, lambda quality: _webp(some, quality), (0, 100), "WebP of quality")
        if facts.codec == "jpeg":
            return _at_size(some, wanted, lambda quality: _jpeg(some, quality), (1, 95), "JPEG of quality")
        if facts.codec == "gif":
            return _loss(some, _gif(some), "GIF of 256 colours")
        if facts.codec in _ENCODERS:
            worst = _ENCODERS[facts.codec][2]
            name = f"{facts.codec} of crf"
            return _at_size(some, wanted, lambda crf: _video(some, facts.codec, crf), (worst, 0), name)
    except (MediaError, OSError):
        return None
    return None


def _at_size(
    frames: Frames,
    wanted: float,
    encoded: Callable[[int], tuple[int, Callable[[], Frames]]],
    qualities: tuple[int, int],
    name: str,
) -> Loss:
    """The loss at the quality (from worst to best) that takes about as many bytes as wanted."""
    worst, best = qualities
    step = 1 if best > worst else -1
    low, high = 0, abs(best - worst)
    while low < high:
        middle = (low + high + 1) // 2
        if encoded(worst + step * middle)[0] <= wanted:
            low = middle
        else:
            high = middle - 1
    quality = worst + step * low
    return _loss(frames, encoded(quality)[1](), f"{name} {quality}")


def _loss(frames: Frames, made: Frames, how: str) -> Loss:
    count, height, width = (min(sizes) for sizes in zip(frames.shape[:3], made.shape[:3], strict=True))
    fine, coarse = errors(frames[:count, :height, :width], made[:count, :height, :width])
    return Loss(fine=fine, coarse=coarse, how=f"{how} ({decibels(float(10 * np.log10(255**2 / max(fine, 1e-9))), 1)})")


def errors(a: Iterable[Frames], b: Frames) -> tuple[float, float]:
    """The mean squared error of the frames of two videos, of their pixels and of the means of blocks of 8x8."""
    fine = coarse = 0.0
    for first, second in zip(a, b, strict=True):
        apart = first.astype(np.float32) - second
        fine += float(np.square(apart).mean())
        high, wide = (size // 8 * 8 or size for size in apart.shape[:2])
        blocks = apart[:high, :wide].reshape(high // min(8, high), min(8, high), wide // min(8, wide), -1, 3)
        coarse += float(np.square(blocks.mean(axis=(1, 3))).mean())
    return fine / len(b), coarse / len(b)


def _webp(frames: Frames, quality: int) -> tuple[int, Callable[[], Frames]]:
    file = encode(frames, Codec("webp", quality), 10)
    return webp_facts(io.BytesIO(file)).picture_bytes, lambda: decode(file, "a WebP", 100, len(frames)).frames


def _jpeg(frames: Frames, quality: int) -> tuple[int, Callable[[], Frames]]:
    files = []
    for frame in frames:
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(frame)).save(out, format="JPEG", quality=quality)
        files.append(out.getvalue())
    return sum(map(len, files)), lambda: np.concatenate([decode(file, "a frame").frames for file in files])


def _gif(frames: Frames) -> Frames:
    made = [np.asarray(Image.fromarray(np.ascontiguousarray(frame)).quantize(256).convert("RGB")) for frame in frames]
    return np.stack(made)


def _video(frames: Frames, codec: str, crf: int) -> tuple[int, Callable[[], Frames]]:
    import imageio_ffmpeg

    encoder, options, _ = _ENCODERS[codec]
    height, width = (size // 2 * 2 for size in frames.shape[1:3])  # YUV 4:2:0 has a colour for two by two pixels
    frames = np.ascontiguousarray(frames[:, :height, :width])
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-video_size", f"{width}x{height}", "-framerate", "16", "-i", "-", "-threads", "2"]
    command += ["-c:v", encoder, *options, "-crf", str(crf), "-pix_fmt", "yuv420p", "-f", "matroska"]
    with tempfile.TemporaryDirectory(prefix="wan-parity-codec-") as name:
        path = Path(name) / "again.mkv"
        done = subprocess.run([*command, str(path)], input=frames.tobytes(), capture_output=True, check=False)
        if done.returncode:
            raise MediaError(f"ffmpeg cannot encode {codec}")
        size, file = stream_bytes(path), path.read_bytes()
    return size, lambda: _decoded(file)


def _decoded(file: bytes) -> Frames:
    with tempfile.TemporaryDirectory(prefix="wan-parity-codec-") as name:
        path = Path(name) / "again.mkv"
        path.write_bytes(file)
        return read_video(path).frames
