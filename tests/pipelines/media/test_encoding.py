"""Files of other programs: what they say of their codec, and frames encoded as ComfyUI's nodes encode them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.media.encoding import codec_of, suffix_of
from pipelines.media.video import Frames, decode, encode, read_video
from pipelines.recipe import Codec

RECORDED = Path("tests/data/comfyui/t2v-euler-normal-3/float32")
SAVED = {path.suffix: path for path in RECORDED.glob("*_.*")}
"""The files that ComfyUI's own save nodes wrote of `frames.npz`."""
AS_SAVED = {
    ".mp4": Codec("mp4", 23),
    ".webm": Codec("webm", 32),
    ".webp": Codec("webp", 80, 4),
    ".png": Codec("apng", None),
}


@pytest.fixture(scope="module")
def recorded() -> Frames:
    frames: Frames = np.load(RECORDED / "frames.npz")["frames"]
    return frames


@pytest.mark.parametrize("suffix", AS_SAVED)
def test_frames_are_encoded_as_comfyui_encodes_them(suffix: str, recorded: Frames) -> None:
    """Decoded, our file has the pixels of the one that the real node wrote."""
    ours = decode(encode(recorded, AS_SAVED[suffix], 8), "ours")
    theirs = read_video(SAVED[suffix])
    assert np.array_equal(ours.frames, theirs.frames)
    assert ours.fps == theirs.fps


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "mp4, crf 23"), (".webm", "webm"), (".webp", "webp, quality 80"), (".png", "apng")]
)
def test_a_file_says_what_it_can_of_its_codec(suffix: str, codec: str) -> None:
    data = SAVED[suffix].read_bytes()
    assert suffix_of(data) == suffix
    assert str(codec_of(data, suffix)) == codec


def test_lossless_webp_is_told_and_kept(recorded: Frames) -> None:
    data = encode(recorded, Codec("webp", None), 8)
    assert np.array_equal(decode(data, "ours").frames, recorded)
    assert codec_of(data, ".webp") == Codec("webp", None)
    assert codec_of(data, ".webp").lossless
    out = io.BytesIO()
    images = [Image.fromarray(frame) for frame in recorded]
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], duration=125, exif=b"model: VP8L")
    assert not codec_of(out.getvalue(), ".webp").lossless


@pytest.mark.parametrize("codec", [Codec("mkv", 30), Codec("gif", None), Codec("mp4", None)], ids=str)
def test_every_frame_is_kept(codec: Codec, recorded: Frames) -> None:
    video = decode(encode(recorded, codec, 8), "ours")
    assert video.frames.shape == recorded.shape
    assert abs(video.fps - 8) < 0.5
    assert np.abs(video.frames.astype(int) - recorded).mean() < 12


def test_a_crf_is_read_from_the_stream(recorded: Frames) -> None:
    assert codec_of(encode(recorded, Codec("mp4", 31), 8), ".mp4") == Codec("mp4", 31)
    assert codec_of(b"\0\0\0\x18ftypmp42x264 - core 1 crf=99999", ".mp4") == Codec("mp4", 99)
    assert codec_of(b"\0\0\0\x18ftypmp42x264 - core 1 rc=cbr", ".mp4") == Codec("mp4", None)


def test_sizes_that_chroma_cannot_hold_are_refused(recorded: Frames) -> None:
    with pytest.raises(MediaError, match="95x64: its sizes are even"):
        encode(recorded[:, :, :95], Codec("mp4", 23), 8)


def test_a_damaged_video_is_named() -> None:
    with pytest.raises(MediaError, match=r"^our output: is not a complete video"):
        decode(SAVED[".mp4"].read_bytes()[:3000], "our output")
