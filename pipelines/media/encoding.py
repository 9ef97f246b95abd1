"""Files as other programs write them: formats that need ffmpeg, and what a file says of how it was encoded."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.errors import MediaError
from pipelines.files.words import shorten
from pipelines.media.webp import webp_pictures
from pipelines.recipe import Codec, CodecFormat

# ComfyUI's SaveVideo and SaveWEBM (0.3.64) encode with PyAV, which scales the chroma bilinearly: written like this, the
# frames of their recordings come out equal to their files, pixel for pixel (libx264 core 165, one thread). 0.38.1 also
# tags the matrix (BT.709), which changes colours of the file by rounding only, as readers follow the tag.
_CHROMA = "scale=flags=bilinear,format=yuv420p"
_ENCODERS: dict[str, tuple[str, int]] = {
    "mp4": ("libx264", 23),
    "mkv": ("libx264", 23),
    "webm": ("libvpx-vp9", 32),
}
"""Formats that ffmpeg writes, with the encoder and the crf of one that is not known: the encoder's own default, and
SaveWEBM's."""
_MUXERS: dict[str, str] = {"mp4": "mp4", "mkv": "matroska", "webm": "webm"}

_STARTS = {
    b"RIFF": ".webp",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"\xff\xd8\xff": ".jpg",
    b"\x1a\x45\xdf\xa3": ".webm",
}
"""File types by their first bytes. Matroska's are WebM's too; both are read alike."""
_FORMATS: dict[str, CodecFormat] = {".gif": "gif", ".webm": "webm", ".mkv": "mkv"}

_PNG_HEAD = 1 << 16
"""An APNG says that it is one (acTL) before its pixels."""

_X264_CRF = re.compile(rb"crf=(\d{1,2}(?:\.\d+)?)")
_X264_TEXT = 2000
"""Bytes of the settings that libx264 writes into its streams."""


def written_by_ffmpeg(codec: Codec) -> bool:
    """True for formats that Pillow does not write."""
    return codec.format in _ENCODERS


def encode_with_ffmpeg(frames: npt.NDArray[np.uint8], codec: Codec, fps: float) -> bytes:
    """Encode frames (T, H, W, 3) as H.264 or VP9 in 4:2:0, as ComfyUI's nodes do. Raises MediaError."""
    import imageio_ffmpeg

    encoder, usual = _ENCODERS[codec.format]
    crf = str(usual if codec.quality is None else codec.quality)
    count, height, width, _ = frames.shape
    if width % 2 or height % 2:
        raise MediaError(f"{codec} cannot hold {width}x{height}: its sizes are even")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-", "-frames:v", str(count), "-vf", _CHROMA]
    command += ["-c:v", encoder, "-crf", crf, *(["-b:v", "0"] if codec.format == "webm" else []), "-threads", "1"]
    with tempfile.TemporaryDirectory(prefix="wan-parity-") as folder:
        file = Path(folder) / "video"
        command += ["-fflags", "+bitexact", "-f", _MUXERS[codec.format], str(file)]
        done = subprocess.run(command, input=np.ascontiguousarray(frames).tobytes(), capture_output=True, check=False)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise MediaError(f"ffmpeg cannot write {codec}: {shorten(lines[-1], 200)}")
        return file.read_bytes()


def suffix_of(data: bytes) -> str | None:
    """The suffix for a file's content, `.webp`; None if it is no video or image that can be read."""
    if data[4:8] == b"ftyp":
        return ".mp4"
    return next((suffix for start, suffix in _STARTS.items() if data.startswith(start)), None)


def codec_of(data: bytes, suffix: str) -> Codec:
    """The codec of a file, as far as the file says it.

    libx264 writes its crf into the stream, and WebP says whether it is lossless; the quality of a lossy WebP or JPEG is
    in neither, so Pillow's default is assumed. A crf of None is not known.
    """
    if suffix == ".webp":
        lossless, _ = webp_pictures(io.BytesIO(data))
        return Codec("webp", None if lossless else 80)
    if suffix in (".jpg", ".jpeg"):
        return Codec("jpeg", 75)
    if suffix in (".png", ".apng"):
        return Codec("apng" if b"acTL" in data[:_PNG_HEAD] else "png", None)
    codec = Codec(_FORMATS.get(suffix, "mp4"), None)
    place = data.find(b"x264 - core") if written_by_ffmpeg(codec) else -1
    found = _X264_CRF.search(data, place, place + _X264_TEXT) if place >= 0 else None
    return codec if found is None else Codec(codec.format, round(float(found[1])))
