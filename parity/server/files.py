"""Results as files: always complete, with names made by the server, removed with their request."""

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
    """The videos of all requests. Every `request_id` comes from the queue, so no text of a client is in a file name."""

    folder: Path
    _transcoding: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, succeeded: set[str]) -> None:
        """Create the folder and remove files of other requests, which a killed server may have left."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if ".part" in path.name or path.name.partition("_")[0] not in succeeded:
                path.unlink(missing_ok=True)

    def path(self, request_id: str, index: int) -> Path:
        """Return the path of a video, whether or not it exists yet."""
        return self.folder / f"{request_id}_output_{index}.webp"

    def save(self, request_id: str, index: int, data: bytes) -> Path:
        """Write a video. The file appears only when it is complete, whenever the process ends. Raises OSError."""
        path = self.path(request_id, index)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return part.replace(path)

    def remove(self, request_id: str) -> None:
        """Remove all files of a request."""
        for path in self.folder.glob(f"{request_id}_output_*"):
            path.unlink(missing_ok=True)

    def mp4(self, request_id: str, index: int, fps: int, count: int) -> Path:
        """Return the mp4 beside a WebP; it is made from the WebP on the first call, one at a time. Raises MediaError.

        It is H.264 with 4:2:0 color, for viewing only: the WebP holds the generated frames.
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
