"""Comparison of our output with the preview, as viewers see them: both decoded, nothing resized or cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.comparison.metrics import STANDARD, codec_floor, measure, measure_with_floor, unavailable
from parity.results.case import MetricResult, VideoResult
from parity.results.diagnosis import Closeness
from pipelines.files.digests import sha256_file
from pipelines.media.encoding import codec_of
from pipelines.media.video import Frames, Video, decode, encode, read_video
from pipelines.recipe import Codec, Recipe, frame_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of an output with its preview."""

    preview: VideoResult
    output: VideoResult
    encoded: bytes
    """The output as a file."""
    suffix: str
    """The file's suffix, `.webp`."""
    preview_frames: Frames
    output_frames: Frames
    """The frames that were compared: decoded, or raw if the preview is lossless."""
    compared_as: str
    encoded_again: str | None
    """The preview's format if ai-toolkit does not write it, so that it was re-encoded with losses."""
    bit_identical: bool
    metrics: dict[str, MetricResult]
    codec_floor: dict[str, float | None] | None
    notes: tuple[str, ...]


def frames_sha256(frames: Frames) -> str:
    """The sha256 of shape and pixels."""
    return hashlib.sha256(repr(frames.shape).encode() + np.ascontiguousarray(frames).tobytes()).hexdigest()


def video_sha256(path: Path, frames: Callable[[], Frames]) -> str:
    """The sha256 of a preview: of its file's bytes, or of its frames if it is a folder."""
    return frames_sha256(frames()) if path.is_dir() else sha256_file(path)


def each_frame_sha256(frames: Frames) -> tuple[str, ...]:
    """The first 16 hex digits of every frame's sha256, enough to tell which frames changed."""
    return tuple(hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()[:16] for frame in frames)


def read_preview(path: Path, recipe: Recipe) -> Video:
    """Read the preview's frames. Raises MediaError if the file is damaged."""
    return read_video(path, frame_duration(recipe.fps), recipe.num_frames.applied)


def deliver(raw: Frames, recipe: Recipe) -> tuple[bytes, Video]:
    """Encode our frames as the file a recipe asks for. Returns the file and its decoded frames."""
    encoded = encode(raw, recipe.codec, recipe.fps)
    return encoded, decode(encoded, "our output", frame_duration(recipe.fps), len(raw))


def is_lossless(preview: Path) -> bool:
    """Return whether a preview holds the trainer's frames without loss."""
    return preview.is_dir() or preview.suffix.lower() == ".png"


def encoded_again(preview: Path) -> str | None:
    """A preview's format if ai-toolkit does not write it, so that it was re-encoded with losses."""
    return None if is_lossless(preview) or _kind(preview) in ("webp", "jpg", "jpeg") else _kind(preview)


def _kind(path: Path) -> str:
    return path.suffix.lower().lstrip(".")


def closeness(a: Frames, b: Frames) -> Closeness:
    """Mean PSNR and SSIM of two videos; the other metrics take longer, and a diagnosis compares many videos."""
    if a.shape != b.shape:
        return Closeness(identical=False, unavailable=f"{shape_text(a)} compared with {shape_text(b)}")
    if np.array_equal(a, b):
        return Closeness(identical=True)
    metrics = measure(a, b, ("psnr", "ssim"))
    return Closeness(identical=False, psnr=metrics["psnr"].mean, ssim=metrics["ssim"].mean)


def shape_text(frames: Frames) -> str:
    """Frame count and size as text: `9 frames of 96x64`."""
    return f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A video that is compared with a preview."""

    encoded: bytes
    """The video as a file."""
    suffix: str
    """The file's suffix, `.webp`."""
    kind: str
    """The format as far as it is known: `webp, quality 80`."""
    seen: Video
    """The decoded video, as viewers see it."""
    raw: Frames | None
    """The frames before encoding; None: made elsewhere, where only the file comes from."""
    codec: Codec | None = None
    """How a file made elsewhere is encoded, to estimate what that costs; None: it is not estimated."""
    sha256: str | None = None
    """The file's hash; None: that of `encoded`."""


def local_output(raw: Frames, recipe: Recipe) -> Output:
    """The output made of our raw frames (T, H, W, 3), encoded as `recipe` says."""
    encoded, seen = deliver(raw, recipe)
    return Output(encoded=encoded, suffix=f".{recipe.codec.format}", kind=str(recipe.codec), seen=seen, raw=raw)


def compare(
    path: Path, preview: Video, output: Output, preview_recipe: Recipe, asked: Collection[str] = ()
) -> Comparison:
    """Compare an output with the preview at `path`, also by the metrics `asked` for."""
    lossless, raw = is_lossless(path), output.raw
    frames = raw if lossless and raw is not None else output.seen.frames
    ours = f"decoded {output.kind}" if frames is output.seen.frames else "raw frames"
    theirs = "lossless preview frames" if lossless else f"decoded {_kind(path)}"
    same_shape = preview.frames.shape == frames.shape
    floor: dict[str, float | None] | None = None
    if not same_shape:
        metrics = _not_comparable(preview.frames, frames, asked)
    elif not lossless and raw is not None and raw.shape == frames.shape:
        metrics, floor = measure_with_floor(preview.frames, frames, raw, asked)
    else:
        metrics = measure(preview.frames, frames, asked=asked)
    if not lossless and raw is not None and floor is None:
        floor = codec_floor(raw, output.seen.frames, metrics)
    if output.codec is not None and same_shape:
        floor = _estimated_floor(preview.frames, _codec_of(path), frames, output.codec, metrics, preview_recipe.fps)
    return Comparison(
        preview=_video_result(preview, video_sha256(path, lambda: preview.frames)),
        output=_video_result(output.seen, output.sha256 or hashlib.sha256(output.encoded).hexdigest(), raw),
        encoded=output.encoded,
        suffix=output.suffix,
        preview_frames=preview.frames,
        output_frames=frames,
        compared_as=f"{ours} with {theirs}",
        encoded_again=encoded_again(path),
        bit_identical=same_shape and bool(np.array_equal(preview.frames, frames)),
        metrics=metrics,
        codec_floor=floor,
        notes=tuple(_check_preview(path, preview, preview_recipe)),
    )


def _codec_of(preview: Path) -> Codec:
    """The codec of a preview's file; that of a folder of PNG frames is lossless."""
    return Codec("png", None) if is_lossless(preview) else codec_of(preview.read_bytes(), preview.suffix.lower())


def _estimated_floor(
    preview: Frames, preview_codec: Codec, frames: Frames, codec: Codec, metrics: Mapping[str, MetricResult], fps: int
) -> dict[str, float | None] | None:
    """Estimate what the codecs of two files cost, whose raw frames are both unknown: the greater of the losses of
    each video encoded as the other is. None: both are lossless.

    Measured on ComfyUI's recorded frames, as WebP of quality 80 against mp4 of crf 23: 30.7 dB for 30.1 dB.
    """
    floors: list[dict[str, float | None]] = []
    for video, other in ((preview, codec), (frames, preview_codec)):
        if not other.lossless:
            copy = decode(encode(video, other, fps), "our copy", frame_duration(fps), len(video))
            floors.append(codec_floor(video, copy.frames, metrics))
    if not floors:
        return None
    return {name: _worst(metrics[name], [floor.get(name) for floor in floors]) for name in floors[0]}


def _worst(metric: MetricResult, numbers: Sequence[float | None]) -> float | None:
    measured = [number for number in numbers if number is not None]
    return (min if metric.higher_is_better else max)(measured, default=None)


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


def _not_comparable(preview: Frames, output: Frames, asked: Collection[str]) -> dict[str, MetricResult]:
    reason = f"the preview has {shape_text(preview)}, the output {shape_text(output)}; nothing is cut or resized to fit"
    return {name: unavailable(name, reason) for name in dict.fromkeys((*STANDARD, *asked))}


def _check_preview(path: Path, video: Video, recipe: Recipe) -> list[str]:
    """Notes on where the preview's file contradicts its own config."""
    notes: list[str] = []
    properties: list[tuple[str, Any, Any]] = [
        ("frame count", len(video.frames), recipe.num_frames.applied),
        ("width", video.width, recipe.width.applied),
        ("height", video.height, recipe.height.applied),
    ]
    if video.frame_ms and path.suffix.lower() == ".webp":
        properties.append(("frame duration in ms", video.frame_ms, frame_duration(recipe.fps)))
    for name, found, expected in properties:
        if found != expected:
            notes.append(
                f"the preview's {name} is {found:g}, not {expected} as in its config: is this another config's preview?"
            )
    return notes
