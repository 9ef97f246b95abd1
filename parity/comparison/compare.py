"""Our output against the preview, as their viewers see them: codec against codec, nothing resized or truncated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.comparison.metrics import measure, psnr_frame, ssim_frame, unavailable
from parity.results.case import MetricResult, VideoResult
from parity.results.diagnosis import Closeness
from pipelines.files.content import sha256_file
from pipelines.media.video import Frames, Video, decode, encode, read_video
from pipelines.recipe import Recipe, frame_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two videos held against each other."""

    preview: VideoResult
    output: VideoResult
    encoded: bytes
    """The output as a file."""
    suffix: str
    """That file's."""
    preview_frames: Frames
    output_frames: Frames
    """What was compared: decoded, or raw where the preview is lossless."""
    compared_as: str
    encoded_again: str | None
    """The preview's format where it is none that ai-toolkit writes and frames were lost to it."""
    bit_identical: bool
    metrics: dict[str, MetricResult]
    codec_floor: dict[str, float | None] | None
    notes: tuple[str, ...]


def frames_sha256(frames: Frames) -> str:
    """Of shape and pixels."""
    return hashlib.sha256(repr(frames.shape).encode() + np.ascontiguousarray(frames).tobytes()).hexdigest()


def video_sha256(path: Path, frames: Callable[[], Frames]) -> str:
    """Of a preview: its file's bytes, or its frames where it is a folder."""
    return frames_sha256(frames()) if path.is_dir() else sha256_file(path)


def each_frame_sha256(frames: Frames) -> tuple[str, ...]:
    """The first 16 hex digits of every frame's own: enough to tell which of them changed."""
    return tuple(hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()[:16] for frame in frames)


def read_preview(path: Path, recipe: Recipe) -> Video:
    """The preview's frames. Raises MediaError if it is not whole."""
    return read_video(path, frame_duration(recipe.fps), recipe.num_frames.applied)


def deliver(raw: Frames, recipe: Recipe) -> tuple[bytes, Video]:
    """Our frames as the file a recipe asks for, and as its viewers see them."""
    encoded = encode(raw, recipe.codec, recipe.fps)
    return encoded, decode(encoded, "our output", frame_duration(recipe.fps), len(raw))


def is_lossless(preview: Path) -> bool:
    """Whether a preview holds the trainer's frames as they were drawn."""
    return preview.is_dir() or preview.suffix.lower() == ".png"


def encoded_again(preview: Path) -> str | None:
    """A preview's format where it is none that ai-toolkit writes, so that frames were lost on the way."""
    return None if is_lossless(preview) or _kind(preview) in ("webp", "jpg", "jpeg") else _kind(preview)


def _kind(path: Path) -> str:
    return path.suffix.lower().lstrip(".")


def closeness(a: Frames, b: Frames) -> Closeness:
    """PSNR and SSIM of two videos, in short: without LPIPS, which takes a network."""
    if a.shape != b.shape:
        return Closeness(identical=False, unavailable=f"{shape_words(a)} against {shape_words(b)}")
    if np.array_equal(a, b):
        return Closeness(identical=True)
    metrics = measure(a, b, ("psnr", "ssim"))
    return Closeness(identical=False, psnr=metrics["psnr"].mean, ssim=metrics["ssim"].mean)


def shape_words(frames: Frames) -> str:
    """`9 frames of 96x64`."""
    return f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A video that is held against a preview."""

    encoded: bytes
    """As a file."""
    suffix: str
    """The file's, `.webp`."""
    kind: str
    """`webp, quality 80`, as far as it is known."""
    seen: Video
    """As its viewers see it."""
    raw: Frames | None
    """Before encoding; None: drawn elsewhere, where nobody tells."""


def drawn_here(raw: Frames, recipe: Recipe) -> Output:
    """Our raw frames (T, H, W, 3), delivered as `recipe` says."""
    encoded, seen = deliver(raw, recipe)
    return Output(encoded=encoded, suffix=f".{recipe.codec.format}", kind=str(recipe.codec), seen=seen, raw=raw)


def compare(path: Path, preview: Video, output: Output, preview_recipe: Recipe) -> Comparison:
    """Hold an output against the preview at `path`."""
    lossless, raw = is_lossless(path), output.raw
    frames = raw if lossless and raw is not None else output.seen.frames
    ours = f"decoded {output.kind}" if frames is output.seen.frames else "raw frames"
    theirs = "lossless preview frames" if lossless else f"decoded {_kind(path)}"
    same_shape = preview.frames.shape == frames.shape
    return Comparison(
        preview=_video_result(preview, video_sha256(path, lambda: preview.frames)),
        output=_video_result(output.seen, hashlib.sha256(output.encoded).hexdigest(), raw),
        encoded=output.encoded,
        suffix=output.suffix,
        preview_frames=preview.frames,
        output_frames=frames,
        compared_as=f"{ours} with {theirs}",
        encoded_again=encoded_again(path),
        bit_identical=same_shape and bool(np.array_equal(preview.frames, frames)),
        metrics=measure(preview.frames, frames) if same_shape else _not_comparable(preview.frames, frames),
        codec_floor=None if lossless or raw is None else _codec_floor(raw, output.seen.frames),
        notes=tuple(_check_preview(path, preview, preview_recipe)),
    )


def _video_result(video: Video, sha256: str, raw: Frames | None = None) -> VideoResult:
    return VideoResult(
        frames=len(video.frames),
        width=video.width,
        height=video.height,
        fps=round(video.fps, 3),
        sha256=sha256,
        raw_sha256=None if raw is None else frames_sha256(raw),
        frame_sha256=() if raw is None else each_frame_sha256(raw),
    )


def _not_comparable(preview: Frames, output: Frames) -> dict[str, MetricResult]:
    reason = (
        f"the preview has {shape_words(preview)}, the output {shape_words(output)}; nothing is cut or resized to fit"
    )
    return {name: unavailable(name, reason) for name in ("psnr", "ssim", "lpips")}


def _codec_floor(raw: Frames, delivered: Frames) -> dict[str, float | None]:
    """What the codec alone does to our own frames: no comparison of such files can score higher by merit."""
    if raw.shape != delivered.shape:
        return {"psnr": None, "ssim": None}
    psnr = psnr_frame(raw, delivered)
    small = min(raw.shape[1:3]) < 11
    ssim = None if small else float(np.mean([ssim_frame(a, b) for a, b in zip(raw, delivered, strict=True)]))
    return {"psnr": psnr if np.isfinite(psnr) else None, "ssim": ssim}


def _check_preview(path: Path, video: Video, recipe: Recipe) -> list[str]:
    """Where the file is not what its own config says it should be."""
    notes: list[str] = []
    said: list[tuple[str, Any, Any]] = [
        ("frames", len(video.frames), recipe.num_frames.applied),
        ("width", video.width, recipe.width.applied),
        ("height", video.height, recipe.height.applied),
    ]
    if video.frame_ms and path.suffix.lower() == ".webp":
        said.append(("ms a frame", video.frame_ms, frame_duration(recipe.fps)))
    for name, found, expected in said:
        if found != expected:
            notes.append(f"the preview has {name} {found:g}, its config makes {expected}: another config drew it?")
    return notes
