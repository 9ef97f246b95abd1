"""Videos as frames: reading returns what was written, and a damaged file is never taken for a shorter one."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.media.video import Frames, Video, decode, encode, read_video
from pipelines.recipe import Codec, frame_duration

WEBP, JPEG, PNG = Codec("webp", 80), Codec("jpeg", 75), Codec("png", None)


def clip(count: int, held: tuple[int, ...] = (), width: int = 48, height: int = 32) -> Frames:
    """Frames of one colour over a gradient each, no two alike but the `held` ones, which repeat the one before."""
    gradient = np.linspace(0, 40, width)[None, :, None].repeat(height, axis=0)
    frames: list[Frames] = []
    for number in range(count):
        colour = np.array([(number * 83) % 200, (number * 47 + 90) % 200, (number * 29 + 150) % 200])
        frames.append(frames[-1] if number in held else (gradient + colour).astype(np.uint8))
    return np.stack(frames)


def noise(count: int, width: int = 48, height: int = 32) -> Frames:
    """Frames that compress badly, so that a file's middle is the middle of its pixels."""
    return np.random.default_rng(7).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def gif(frames: Frames, ms: int) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    out = io.BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:], duration=ms, loop=0)
    return out.getvalue()


def png(frame: Frames) -> bytes:
    return encode(frame[None], PNG, 16)


def write_ffmpeg(path: Path, frames: Frames, fps: int = 16, *, codec: str = "libx264", options: str = "") -> Path:
    size = (frames.shape[2], frames.shape[1])
    writer = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        codec=codec,
        macro_block_size=2,
        output_params=options.split(),
        ffmpeg_log_level="error",
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    return path


def same_order(got: Frames, wanted: Frames) -> bool:
    """Return True if every frame is nearest to its own original."""
    distance = np.abs(got[:, None].astype(int) - wanted[None].astype(int)).mean(axis=(2, 3, 4))
    own = distance[np.arange(len(got)), np.arange(len(got))]
    return bool(np.all(own == distance.min(axis=1)))


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read_video(path)
    assert str(path) in str(caught.value)
    assert "object at 0x" not in str(caught.value)
    return str(caught.value)


# --- encoding


@pytest.mark.parametrize("fps", [1, 10, 15, 16, 24, 30, 120])
def test_webp_is_pillows_own(fps: int) -> None:
    frames = clip(9, held=(4, 5))
    images = [Image.fromarray(frame) for frame in frames]
    out = io.BytesIO()
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], duration=1000 // fps, loop=0, quality=80)
    assert encode(frames, WEBP, fps) == out.getvalue()


def test_webp_quality_80_is_pillows_default() -> None:
    images = [Image.fromarray(frame) for frame in clip(5)]
    out = io.BytesIO()
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], duration=62, loop=0)
    assert encode(clip(5), WEBP, 16) == out.getvalue()


@pytest.mark.parametrize(("fps", "ms"), [(15, 66), (16, 62), (24, 41), (30, 33), (1, 1000), (120, 8)])
def test_frame_duration_is_floored(fps: int, ms: int) -> None:
    assert frame_duration(fps) == ms
    assert decode(encode(clip(3), WEBP, fps), "a").frame_ms == ms


@pytest.mark.parametrize(("width", "height"), [(48, 32), (96, 64), (33, 17), (1, 1), (16, 128)])
@pytest.mark.parametrize("count", [1, 2, 13])
def test_webp_keeps_its_geometry(count: int, width: int, height: int) -> None:
    frames = clip(count, width=width, height=height) if width > 1 else noise(count, width, height)
    video = decode(encode(frames, WEBP, 16), "a", 62)
    assert video.frames.shape == (count, height, width, 3)
    assert (video.width, video.height) == (width, height)


@pytest.mark.parametrize(("codec", "kind"), [(JPEG, "JPEG"), (PNG, "PNG")])
def test_still_is_pillows_own(codec: Codec, kind: str) -> None:
    out = io.BytesIO()
    Image.fromarray(clip(1)[0]).save(out, kind)
    assert encode(clip(1), codec, 16) == out.getvalue()


def test_png_is_lossless() -> None:
    video = decode(encode(noise(1), PNG, 16), "a")
    assert np.array_equal(video.frames, noise(1))
    assert (video.frame_ms, video.fps) == (0, 0.0)


def test_jpeg_quality_is_heeded() -> None:
    assert len(encode(noise(1), Codec("jpeg", 20), 16)) < len(encode(noise(1), Codec("jpeg", 90), 16))


# --- animated images


@pytest.mark.parametrize("held", [(), (1,), (12,), (3, 4, 5, 9, 12), tuple(range(1, 12)), tuple(range(2, 13))])
@pytest.mark.parametrize("fps", [10, 15, 16, 24])
def test_repeated_webp_frames_are_counted(held: tuple[int, ...], fps: int) -> None:
    frames = clip(13, held)
    video = decode(encode(frames, WEBP, fps), "a", 1000 // fps)
    assert video.frames.shape == frames.shape
    assert same_order(video.frames, frames)
    assert video.frame_ms == 1000 // fps
    assert video.fps == pytest.approx(1000 / (1000 // fps))


@pytest.mark.parametrize("held", [(), (3, 4, 5, 9, 12)])
def test_repeated_webp_frames_are_counted_without_a_hint(held: tuple[int, ...]) -> None:
    frames = clip(13, held)
    video = decode(encode(frames, WEBP, 16), "a")
    assert same_order(video.frames, frames)
    assert (len(video.frames), video.frame_ms) == (13, 62)


def test_webp_whose_frames_all_come_in_pairs_needs_the_hint() -> None:
    frames = clip(12, held=(1, 3, 5, 7, 9, 11))
    data = encode(frames, WEBP, 16)
    assert len(decode(data, "a", 62).frames) == 12
    assert len(decode(data, "a").frames) == 6  # nothing in the file says otherwise


def test_wrong_hint_does_not_drop_frames() -> None:
    assert len(decode(encode(clip(13), WEBP, 16), "a", 41).frames) == 13


@pytest.mark.parametrize("hint", [None, 62])
def test_webp_of_equal_frames_is_a_still(hint: int | None) -> None:
    """libwebp writes a still image without a duration: how many frames it stood for is lost."""
    video = decode(encode(clip(13, held=tuple(range(1, 13))), WEBP, 16), "a", hint)
    assert video.frames.shape == (1, 32, 48, 3)
    assert video.fps == 0.0


def test_webp_of_equal_frames_is_worth_the_count_written() -> None:
    """The recipe says how many frames there were."""
    frames = clip(13, held=tuple(range(1, 13)))
    video = decode(encode(frames, WEBP, 16), "a", 62, count=13)
    assert video.frames.shape == frames.shape
    assert video.frame_ms == 62
    assert len(decode(encode(clip(5), WEBP, 16), "a", 62, count=13).frames) == 5  # a count never overrules the file


@pytest.mark.parametrize("ms", [100, 60, 62, 66, 41, 33])
@pytest.mark.parametrize("held", [(), (1,), (3, 4, 5, 9, 12), tuple(range(1, 12)), tuple(range(1, 13))])
def test_repeated_gif_frames_are_counted(held: tuple[int, ...], ms: int) -> None:
    """GIF rounds durations to 10 ms, and a held frame's only once."""
    frames = clip(13, held)
    video = decode(gif(frames, ms), "a", ms)
    assert video.frames.shape == frames.shape
    assert same_order(video.frames, frames)


def test_gif_without_a_hint() -> None:
    video = decode(gif(clip(13, held=(3, 4, 9)), 100), "a")
    assert (len(video.frames), video.frame_ms, video.fps) == (13, 100, 10.0)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    image = Image.fromarray(clip(1)[0])
    image.putalpha(0)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_video(tmp_path / "a.png").frames, clip(1))


@pytest.mark.parametrize("name", ["a.webp", "A.WEBP", "a.v2.webp"])
def test_webp_file(tmp_path: Path, name: str) -> None:
    data = encode(clip(13, held=(4,)), WEBP, 16)
    (tmp_path / name).write_bytes(data)
    assert np.array_equal(read_video(tmp_path / name, 62).frames, decode(data, "a", 62).frames)


# --- ffmpeg


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.MP4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")],
)
@pytest.mark.parametrize("fps", [15, 16, 24])
def test_ffmpeg_file(tmp_path: Path, name: str, codec: str, fps: int) -> None:
    frames = clip(13, held=(3, 4, 5, 12), width=96, height=64)
    video = read_video(write_ffmpeg(tmp_path / name, frames, fps, codec=codec))
    assert video.frames.shape == (13, 64, 96, 3)
    assert same_order(video.frames, frames)
    assert np.abs(video.frames[0].astype(int) - frames[0]).mean() < 8
    assert video.fps == pytest.approx(fps, rel=0.01)


@pytest.mark.parametrize("name", ["-a.mp4", "a b.mp4", "a%03d.mp4", "ü.mp4", "take:1.mp4"])
def test_ffmpeg_file_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_ffmpeg(tmp_path / "plain.mp4", clip(3, width=96, height=64)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_video(Path(name)).frames) == 3


def test_mp4_of_one_frame(tmp_path: Path) -> None:
    assert len(read_video(write_ffmpeg(tmp_path / "a.mp4", clip(1, width=96, height=64))).frames) == 1


def test_sound_is_no_video(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0" * 8000)
    (tmp_path / "a.wav").rename(tmp_path / "a.mp4")
    assert "is not a complete video" in refusal(tmp_path / "a.mp4")


# --- folders


def test_folder_is_in_numeric_order(tmp_path: Path) -> None:
    frames = clip(12)
    for number in (10, 2, 11, 0, 5, 1, 9, 3, 8, 4, 7, 6):
        (tmp_path / f"frame_{number}.png").write_bytes(png(frames[number]))
    (tmp_path / "notes.txt").write_text("not a frame")
    video = read_video(tmp_path, 62)
    assert np.array_equal(video.frames, frames)
    assert video.frame_ms == 62


@pytest.mark.parametrize("pattern", ["{:04}.png", "shot2_{}.png", "{}.png", "f{:02}of12.png"])
def test_folder_of_numbered_frames(tmp_path: Path, pattern: str) -> None:
    frames = clip(12)
    for number in (10, 2, 11, 0, 5, 1, 9, 3, 8, 4, 7, 6):
        (tmp_path / pattern.format(number)).write_bytes(png(frames[number]))
    assert np.array_equal(read_video(tmp_path).frames, frames)


def test_folder_of_unnumbered_frames_is_in_name_order(tmp_path: Path) -> None:
    frames = clip(12)
    for number in (10, 2, 11, 0, 5, 1, 9, 3, 8, 4, 7, 6):
        (tmp_path / f"{'abcdefghijkl'[number]}.png").write_bytes(png(frames[number]))
    assert np.array_equal(read_video(tmp_path).frames, frames)


def test_folder_of_mixed_sizes(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(clip(1)[0]))
    (tmp_path / "1.png").write_bytes(png(clip(1, width=64)[0]))
    assert refusal(tmp_path) == f"{tmp_path / '1.png'}: is 64x32, but the first frame is 48x32"


@pytest.mark.parametrize("content", [(), ("frame.jpg", "notes.txt")])
def test_folder_without_frames(tmp_path: Path, content: tuple[str, ...]) -> None:
    for name in content:
        (tmp_path / name).write_bytes(b"x")
    assert refusal(tmp_path) == f"{tmp_path}: contains no PNG frames"


def test_folder_with_a_truncated_frame(tmp_path: Path) -> None:
    data = png(noise(1)[0])
    (tmp_path / "0.png").write_bytes(data)
    (tmp_path / "1.png").write_bytes(data[: len(data) // 2])
    assert refusal(tmp_path).startswith(f"{tmp_path / '1.png'}: is not a complete ")


# --- what is not whole


@pytest.mark.parametrize("part", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.webp", lambda: encode(noise(13), WEBP, 16)),
        ("still.webp", lambda: encode(noise(1), WEBP, 16)),
        ("a.gif", lambda: gif(noise(13), 60)),
        ("a.png", lambda: png(noise(1)[0])),
        ("a.jpg", lambda: encode(noise(1), JPEG, 16)),
    ],
)
def test_truncated_image(tmp_path: Path, name: str, make: Callable[[], bytes], part: float) -> None:
    data = make()
    path = tmp_path / name
    path.write_bytes(data)
    assert len(read_video(path).frames) in (1, 13)
    path.write_bytes(data[: int(len(data) * part)])
    assert "is not a complete video" in refusal(path)


@pytest.mark.parametrize("part", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ""),
        ("a.mp4", "-movflags +faststart"),  # the index stands in front and promises what is cut off
        ("a.mkv", ""),
        ("a.webm", ""),
    ],
)
def test_truncated_ffmpeg_file(tmp_path: Path, name: str, options: str, part: float) -> None:
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = write_ffmpeg(tmp_path / name, noise(13, 96, 64), codec=codec, options=options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    assert "is not a complete video" in refusal(path)


def test_damaged_mp4(tmp_path: Path) -> None:
    path = write_ffmpeg(tmp_path / "a.mp4", noise(13, 96, 64), options="-movflags +faststart")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    assert "is not a complete video" in refusal(path)


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png", ".jpg", ".mp4", ".webm", ".mov"])
@pytest.mark.parametrize("content", [b"", b"just text, renamed\n" * 50], ids=["empty", "text"])
def test_file_that_is_no_video(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.webp.part", ".webp"])
def test_unknown_suffix_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encode(clip(2), WEBP, 16))
    message = refusal(path)
    assert ".webp" in message
    assert ".mp4" in message
    assert "a folder of PNGs" in message


@pytest.mark.parametrize("name", ["gone.webp", "gone.mp4", "below/gone.png"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name) == f"{tmp_path / name}: cannot be read: No such file or directory"


def test_decompression_bomb(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    refusal(path)


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_damaged_image_is_a_media_error_or_a_video(kind: str) -> None:
    images = [Image.fromarray(frame) for frame in noise(4, 16, 16)]
    out = io.BytesIO()
    images[0].save(out, kind, save_all=True, append_images=images[1:], duration=60)
    whole = out.getvalue()
    draw = np.random.default_rng(3)
    for _ in range(400):
        data = bytearray(whole)
        for place in draw.integers(0, min(len(data), 1500), 3):
            data[place] = draw.integers(0, 256)
        try:
            video = decode(bytes(data), "a")
        except (MediaError, Warning):  # Pillow warns of what it repairs
            continue
        assert isinstance(video, Video)
