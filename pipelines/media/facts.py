"""What a video file is, beside its frames: container, codec, pixel format, and the bytes of its pictures alone."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import MediaError
from pipelines.files.content import check_file
from pipelines.files.words import cannot_read
from pipelines.media.video import CONTAINERS
from pipelines.media.webp import webp_pictures

_STREAM = re.compile(r"Stream #.*Video: (?P<codec>\w+)[^,]*, (?P<pixels>\w+)(?:\((?P<tags>[\w, /.-]*)\))?")
_MOST_STREAM = 1 << 30
_NO_LOSS = {"ffv1", "huffyuv", "rawvideo", "png", "apng"}
_FFMPEG = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """The format of a video file, or of a folder of PNGs."""

    container: str
    """By the file's suffix, e.g. `mp4`; `PNG folder`."""
    codec: str
    """`h264`, `vp9`, `av1`, `webp`, `webp lossless`, `png`, `jpeg`, `gif`; empty: unknown."""
    pixels: str = ""
    """The pixel format of a codec of ffmpeg, e.g. `yuv420p`."""
    tags: str = ""
    """Range and matrix that the file claims, as ffmpeg prints them, e.g. `tv, bt709`; empty: none."""
    picture_bytes: int = 0
    """The bytes of the pictures, without container and metadata; 0: unknown."""

    @property
    def lossless(self) -> bool | None:
        """Whether the file holds its frames without loss; None: unknown."""
        if not self.codec:
            return None
        is_rgb = not self.pixels or self.pixels.startswith(("rgb", "gbr", "bgr"))  # to YUV and back is a loss
        return self.codec == "webp lossless" or (self.codec in _NO_LOSS and is_rgb)

    @property
    def kind(self) -> str:
        """In words: `mp4, h264 yuv420p (tv, bt709)`."""
        inside = " ".join(filter(None, (self.codec, self.pixels)))
        tags = f" ({self.tags})" if self.tags else ""
        same = self.codec.split(" ")[0] == self.container
        return f"{inside or self.container}{tags}" if same else f"{self.container}, {inside or 'unknown codec'}{tags}"


def media_facts(path: Path) -> MediaFacts:
    """Read the format of a file that `read_video` reads. Raises MediaError if it cannot be read."""
    if path.is_dir():
        return MediaFacts(container="PNG folder", codec="png")
    suffix = path.suffix.lower().lstrip(".")
    try:
        check_file(path)
        if path.suffix.lower() in _FFMPEG:
            return _of_stream(path, suffix)
        size = path.stat().st_size
        if suffix == "webp":
            with path.open("rb") as file:
                return webp_facts(file)
    except OSError as error:
        raise MediaError(cannot_read(path, error)) from None
    codec = {"png": "png", "apng": "apng", "gif": "gif", "jpg": "jpeg", "jpeg": "jpeg"}.get(suffix, "")
    return MediaFacts(container=suffix, codec=codec, picture_bytes=size)


def webp_facts(file: BinaryIO) -> MediaFacts:
    """The format of an open WebP."""
    lossless, size = webp_pictures(file)
    codec = {True: "webp lossless", False: "webp", None: ""}[lossless]
    return MediaFacts(container="webp", codec=codec, picture_bytes=size)


def _of_stream(path: Path, container: str) -> MediaFacts:
    import imageio_ffmpeg

    ffmpeg, file = imageio_ffmpeg.get_ffmpeg_exe(), str(path.absolute())
    probe = subprocess.run([ffmpeg, "-hide_banner", *CONTAINERS, "-i", file], capture_output=True, check=False)
    stream = _STREAM.search(probe.stderr.decode(errors="replace"))
    if stream is None:
        return MediaFacts(container=container, codec="")
    tags = ", ".join(tag for tag in re.split(r",\s*", stream["tags"] or "") if tag not in ("progressive", "unknown"))
    return MediaFacts(
        container=container,
        codec=stream["codec"],
        pixels=stream["pixels"],
        tags=tags,
        picture_bytes=stream_bytes(path),
    )


def stream_bytes(path: Path, frames: int | None = None) -> int:
    """The bytes of a file's video stream alone, or of its first `frames`; 0 if it cannot be told."""
    import imageio_ffmpeg

    ffmpeg, file = imageio_ffmpeg.get_ffmpeg_exe(), str(path.absolute())
    command = [ffmpeg, "-v", "error", *CONTAINERS, "-i", file, "-map", "0:v:0", "-c", "copy"]
    command += [*([] if frames is None else ["-frames:v", str(frames)]), "-f", "data", "-"]
    total = 0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as reader:
        assert reader.stdout is not None
        while chunk := reader.stdout.read(1 << 20):
            total += len(chunk)
            if total > _MOST_STREAM:
                reader.kill()
                return 0
    return total
