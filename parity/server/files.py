"""Results as files: whole or not there, under names of ours, removed with their request."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import MediaError
from pipelines.media.video import read_video


@dataclass(frozen=True, slots=True)
class Results:
    """The videos of all requests. `request_id`: of a request the queue knows, so no user's text is in a name."""

    folder: Path
    _transcoding: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, succeeded: set[str]) -> None:
        """The folder, with whole files of these requests alone: a server that was killed may have left others."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if ".part" in path.name or path.name.partition("_")[0] not in succeeded:
                path.unlink(missing_ok=True)

    def path(self, request_id: str, index: int) -> Path:
        """Where a video lies, or will."""
        return self.folder / f"{request_id}_output_{index}.webp"

    def save(self, request_id: str, index: int, data: bytes) -> Path:
        """Write a video. A file that is there is whole, whenever the process ends. Raises OSError."""
        path = self.path(request_id, index)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return part.replace(path)

    def remove(self, request_id: str) -> None:
        """Everything of a request."""
        for path in self.folder.glob(f"{request_id}_output_*"):
            path.unlink(missing_ok=True)

    def mp4(self, request_id: str, index: int, fps: int, count: int) -> Path:
        """The mp4 beside a WebP, made from it when first asked for. One at a time. Raises MediaError.

        H.264 with 4:2:0 colour, for looking at: the WebP is what was drawn.
        """
        webp = self.path(request_id, index)
        target = webp.with_suffix(".mp4")
        with self._transcoding:
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
            return part.replace(target)
