"""What a file is beside its frames: codec, losses, the bytes of its pictures; hostile files are read within limits."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.media.facts import media_facts
from pipelines.media.video import Frames
from tests.support.clips import animation, film, folder, shapes


@pytest.fixture(scope="module")
def source() -> Frames:
    return shapes()[:3]


def test_kinds(source: Frames, tmp_path: Path) -> None:
    lossless = tmp_path / "lossless.webp"
    first, *rest = (Image.fromarray(frame) for frame in source)
    first.save(lossless, append_images=rest, save_all=True, lossless=True, duration=60)
    files = {
        animation(tmp_path / "a.webp", source): ("webp", False),
        lossless: ("webp lossless", True),
        animation(tmp_path / "a.gif", source): ("gif", False),
        animation(tmp_path / "a.png", source): ("png", True),
        film(tmp_path / "a.mp4", source): ("mp4, h264 yuv420p", False),
        film(tmp_path / "yuv.mkv", source, "-c:v", "ffv1"): ("mkv, ffv1 yuv420p", False),
        film(tmp_path / "rgb.mkv", source, "-c:v", "ffv1", "-pix_fmt", "bgr0"): ("mkv, ffv1 bgr0", True),
        folder(tmp_path / "frames", source): ("PNG folder, png", True),
    }
    for path, (kind, is_lossless) in files.items():
        facts = media_facts(path)
        assert (facts.kind.partition(" (")[0], facts.lossless) == (kind, is_lossless)


def test_metadata_are_not_counted_as_pictures(source: Frames, tmp_path: Path) -> None:
    plain, described = tmp_path / "plain.webp", tmp_path / "described.webp"
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + "x" * 50_000
    for path, written in ((plain, b""), (described, exif.tobytes())):
        first, *rest = (Image.fromarray(frame) for frame in source)
        first.save(path, append_images=rest, save_all=True, duration=60, exif=written)
    assert described.stat().st_size > plain.stat().st_size + 50_000
    assert media_facts(described).picture_bytes == media_facts(plain).picture_bytes


def test_a_webp_of_endless_empty_chunks_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(b"RIFF\0\0\0\0WEBP" + struct.pack("<4sI", b"junk", 0) * 200_000 + b"VP8 \1\0\0\0x")
    assert media_facts(path).picture_bytes == 0


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none\.mp4: cannot be read"):
        media_facts(tmp_path / "none.mp4")
