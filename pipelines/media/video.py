"""Videos as frames: reads the files of trainers and servers, and writes files as they do."""

from __future__ import annotations

import io
import math
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.errors import MediaError
from pipelines.files.content import check_file, read_bytes
from pipelines.files.words import cannot_read
from pipelines.media.encoding import encode_with_ffmpeg, suffix_of, written_by_ffmpeg
from pipelines.media.picture import opened
from pipelines.recipe import MAX_PIXELS, Codec, frame_duration

Frames = npt.NDArray[np.uint8]
"""Frames of shape (T, H, W, 3), RGB, 0 to 255."""

MAX_FRAME = 4096 * 4096
"""The most pixels of one frame: the largest size that the API accepts."""

_MAX_BYTES = 1 << 30
"""The largest file: 256 Mi pixels of four bytes, uncompressed."""

_PILLOW = {".webp", ".gif", ".png", ".jpg", ".jpeg", ".apng"}
# ffmpeg's description of a file: `Stream #0:0[0x1](und): Video: h264 (High) (…), yuv420p(…), 96x64 [SAR …], …, 16 fps`
_VIDEO_STREAM = re.compile(r"Stream #.*Video:.*?, (?P<width>\d+)x(?P<height>\d+)\b(?:.*?, (?P<fps>[\d.]+) fps)?")

# Containers by ffmpeg's names: a list of other files (concat, HLS) must not be read under the name of a video.
CONTAINERS = ["-format_whitelist", "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"]

_FFMPEG = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"}


@dataclass(frozen=True, slots=True)
class Video:
    """Decoded frames, and how long each is shown."""

    frames: Frames
    frame_ms: float
    """Milliseconds per frame; 0 for a still image."""

    @property
    def fps(self) -> float:
        return 1000 / self.frame_ms if self.frame_ms else 0.0

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])


def encode(frames: Frames, codec: Codec, fps: int) -> bytes:
    """Encode frames to a file, byte for byte as ai-toolkit and the reference server do with the same Pillow.

    Both save an animated WebP with Pillow's defaults; quality 80 is the default. Formats of other programs come out
    with the pixels of ComfyUI's nodes, but for a lossy WebP only if `codec` has their `method`. Raises MediaError for
    a video that a format cannot hold.
    """
    if written_by_ffmpeg(codec):
        return encode_with_ffmpeg(frames, codec, fps)
    images = [Image.fromarray(frame) for frame in frames]
    out = io.BytesIO()
    several: dict[str, Any] = {"append_images": images[1:], "save_all": True, "duration": frame_duration(fps)}
    if codec.format == "webp":
        options: dict[str, Any] = {"lossless": True} if codec.quality is None else {"quality": codec.quality}
        options |= {} if codec.method is None else {"method": codec.method}
        images[0].save(out, format="WEBP", loop=0, **several, **options)
    elif codec.format == "jpeg":
        images[0].save(out, format="JPEG", quality=codec.quality)
    elif codec.format == "png":
        images[0].save(out, format="PNG")
    elif codec.format == "gif":
        images[0].save(out, format="GIF", loop=0, **several)
    else:
        images[0].save(out, format="PNG", loop=0, compress_level=1, **several)  # as lossless, three times as fast
    return out.getvalue()


def decode(data: bytes, name: str, frame_ms: int | None = None, count: int | None = None) -> Video:
    """Decode a video, or an animated or still image (mp4, WebM; WebP, GIF, PNG, JPEG).

    Encoders merge identical consecutive frames into one of longer duration; this function expands frames by duration,
    so that 13 frames written are 13 frames read. `frame_ms` is the duration of one written frame, if known; it tells
    two merged frames from one slow frame. `count` is the number of written frames, if known; libwebp stores a video
    whose frames are all equal as a still image without a duration, and the file does not contain their number.
    Raises MediaError for anything that does not decode completely.
    """
    if suffix_of(data) in _FFMPEG:
        return _decode_ffmpeg(data, name)
    durations: list[int] = []
    with opened(data, name, "a complete video or image file", MAX_FRAME) as image:
        slack = 10 if image.format == "GIF" else 0
        total = getattr(image, "n_frames", 1)
        _check_amount(name, total, image.width, image.height)
        frames = np.empty((total, image.height, image.width, 3), dtype=np.uint8)
        for number in range(total):
            image.seek(number)
            frame = np.asarray(image.convert("RGB"), dtype=np.uint8)
            if frame.shape != frames.shape[1:]:
                raise ValueError(f"frame {number} has another size")
            frames[number] = frame
            durations.append(int(image.info.get("duration", 0)))
    if image.format == "WEBP" and total == 1 and not durations[0] and count:
        return Video(_repeat(name, frames, [count]), frame_ms or 0)
    return _expand(name, frames, durations, frame_ms, slack)


def _check_amount(name: str, frames: int, width: int, height: int) -> None:
    if frames * width * height > MAX_PIXELS:
        raise MediaError(
            f"{name}: claims {frames} frames of {width}x{height}, more than the limit of {MAX_PIXELS:,} pixels; "
            "is it damaged?"
        )


def _repeat(name: str, frames: Frames, counts: Sequence[int]) -> Frames:
    _check_amount(name, sum(counts), frames.shape[2], frames.shape[1])
    return frames if sum(counts) == len(frames) else np.repeat(frames, counts, axis=0)


def _expand(name: str, frames: Frames, durations: Sequence[int], frame_ms: int | None, slack: int) -> Video:
    """Repeat frames by their durations. `slack` allows for durations that GIF cuts to multiples of 10 ms."""
    if not any(durations):
        return Video(frames, 0)
    unit = math.gcd(*durations)
    if frame_ms and all(duration and -duration % frame_ms <= min(slack, frame_ms - 1) for duration in durations):
        unit = frame_ms
    counts = [max(1, -(-duration // unit)) for duration in durations]
    return Video(_repeat(name, frames, counts), unit)


def read_video(path: Path, frame_ms: int | None = None, count: int | None = None) -> Video:
    """Read a video file or a folder of PNG frames (in name order). Nothing is resized or dropped to make shapes fit.

    `frame_ms` and `count` are those of `decode`.
    Raises MediaError if the file is missing, truncated, of mixed sizes or of an unknown format.
    """
    if path.is_dir():
        return _read_folder(path, frame_ms)
    suffix = path.suffix.lower()
    try:
        if suffix in _PILLOW:
            return decode(read_bytes(path, _MAX_BYTES), str(path), frame_ms, count)
        check_file(path)
        if suffix in _FFMPEG and path.stat().st_size:
            return _read_ffmpeg(path)
    except OSError as error:
        raise MediaError(cannot_read(path, error)) from None
    kinds = ", ".join(sorted(_PILLOW | _FFMPEG))
    raise MediaError(f"{path}: empty, or not a supported video format ({kinds}, or a folder of PNGs)")


def png_frames(folder: Path) -> list[Path]:
    """The frames of a folder, by the numbers in their names. Raises MediaError if there are none."""
    files = sorted(folder.glob("*.png"), key=lambda file: ([int(d) for d in re.findall(r"\d+", file.stem)], file.name))
    if not files:
        raise MediaError(f"{folder}: contains no PNG frames")
    return files


def _read_folder(path: Path, frame_ms: int | None) -> Video:
    files = png_frames(path)
    first = _read_frame(files[0])
    _check_amount(str(path), len(files), first.shape[1], first.shape[0])
    frames = np.empty((len(files), *first.shape), dtype=np.uint8)
    for number, file in enumerate(files):
        frame = _read_frame(file)
        if frame.shape != first.shape:
            h, w = frame.shape[:2]
            raise MediaError(f"{file}: is {w}x{h}, but the first frame is {first.shape[1]}x{first.shape[0]}")
        frames[number] = frame
    return Video(frames, frame_ms or 0)


def _read_frame(file: Path) -> Frames:
    try:
        frame: Frames = decode(read_bytes(file, _MAX_BYTES), str(file)).frames[0]
        return frame
    except OSError as error:
        raise MediaError(cannot_read(file, error)) from None


def _decode_ffmpeg(data: bytes, name: str) -> Video:
    with tempfile.TemporaryDirectory(prefix="wan-parity-") as folder:
        file = Path(folder) / "video"
        file.write_bytes(data)
        try:
            return _read_ffmpeg(file)
        except MediaError as error:
            raise MediaError(str(error).replace(str(file), name)) from None


def _read_ffmpeg(path: Path) -> Video:
    import imageio_ffmpeg

    path = path.absolute()  # ffmpeg reads text before a colon as a protocol
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    probe = subprocess.run([ffmpeg, "-hide_banner", *CONTAINERS, "-i", str(path)], capture_output=True, check=False)
    stream = _VIDEO_STREAM.search(probe.stderr.decode(errors="replace"))
    if stream is None:
        reason = probe.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no video stream"]
        raise MediaError(f"{path}: is not a complete video ({reason[0].strip()})")
    width, height, fps = int(stream["width"]), int(stream["height"]), float(stream["fps"] or 0)
    if not 0 < width * height <= MAX_FRAME:
        raise MediaError(f"{path}: is {width}x{height}, more than the limit of {MAX_FRAME:,} pixels; is it damaged?")
    # -xerror: a damaged packet is an error, not a frame less. passthrough: no frame doubled or dropped for timing.
    command = [ffmpeg, "-v", "error", "-xerror", "-err_detect", "explode", "-noautorotate"]
    command += [*CONTAINERS, "-i", str(path), "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as decoder:
            assert decoder.stdout is not None
            pixels = decoder.stdout.read(MAX_PIXELS * 3 + 1)
            if len(pixels) > MAX_PIXELS * 3:
                decoder.kill()
                raise MediaError(f"{path}: has more than the limit of {MAX_PIXELS:,} pixels; is it damaged?")
        messages.seek(0)
        message = messages.read(10_000).decode(errors="replace").strip()
    # ffmpeg prints a message for a truncated Matroska file, but returns no error code.
    if decoder.returncode or message or not pixels or len(pixels) % (width * height * 3):
        raise MediaError(f"{path}: is not a complete video ({(message.splitlines() or ['no frames'])[0].strip()})")
    frames = np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)
    return Video(frames, 1000 / fps if fps else 0)
