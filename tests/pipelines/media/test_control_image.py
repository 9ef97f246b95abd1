"""Control images from five kinds of source, and every way in which reading one can fail."""

from __future__ import annotations

import base64
import io
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.media.control_image import from_bytes, load, resized
from pipelines.recipe import ControlImage, Resize


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """A smooth picture in which no two corners are alike."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2)]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(image: ControlImage) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(resized(image, Resize("nearest", "stretch"), image.width, image.height))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ctrl.png").write_bytes(encoded(picture()))
    return tmp_path


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@pytest.fixture
def address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server for the folder."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def refusal(source: str, folder: Path) -> str:
    with pytest.raises(MediaError) as caught:
        load(source, folder)
    message = str(caught.value)
    assert "Traceback" not in message
    return message


def test_one_picture_has_one_identity(folder: Path, address: str) -> None:
    data = (folder / "ctrl.png").read_bytes()
    text = base64.b64encode(data).decode()
    sources = [
        "ctrl.png",
        str(folder / "ctrl.png"),
        text,
        "\n".join(text[start : start + 76] for start in range(0, len(text), 76)),
        f"data:image/png;base64,{text}",
        f"{address}/ctrl.png",
    ]
    images = [load(source, folder) for source in sources]
    assert len({image.sha256 for image in images}) == 1
    assert all(image == images[0] and (image.width, image.height) == (40, 24) for image in images)
    assert all(image.data == data for image in images)


def test_identity_is_of_pixels_not_of_the_file(folder: Path) -> None:
    original = load("ctrl.png", folder)
    again = from_bytes(encoded(picture(), "PNG", compress_level=0), "again")
    assert again.data != original.data
    assert again == original


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.resize((24, 40)),
        lambda image: Image.frombytes("RGB", (24, 40), image.tobytes()),
        lambda image: image.point(lambda value: value ^ 1),
    ],
    ids=["flipped", "resized", "same bytes in another shape", "last bit"],
)
def test_other_pixels_are_another_identity(change: Callable[[Image.Image], Image.Image]) -> None:
    assert from_bytes(encoded(change(picture())), "a") != from_bytes(encoded(picture()), "b")


def test_jpeg_as_base64_is_no_path(folder: Path) -> None:
    data = encoded(picture(), "JPEG")
    text = base64.b64encode(data).decode()
    assert text.startswith("/9j/")
    assert load(text, folder) == from_bytes(data, "file")


@pytest.mark.parametrize("size", [1, 4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_base64_of_any_length_is_no_path(folder: Path, size: int, kind: str) -> None:
    """Neither a length no file name has, nor a run of letters longer than a file name, makes it a path."""
    data = encoded(Image.new("RGB", (size, size)), kind, **({"compress_level": 0} if kind == "PNG" else {}))
    assert load(base64.b64encode(data).decode(), folder).data == data


def test_file_wins_over_base64(folder: Path) -> None:
    (folder / "iVBORw0KGgo").write_bytes(encoded(picture()))
    assert load("iVBORw0KGgo", folder) == from_bytes(encoded(picture()), "file")


def test_path_is_relative_to_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "below").mkdir()
    monkeypatch.chdir(folder)
    assert load("../ctrl.png", folder / "below").width == 40
    assert "does not exist" in refusal("ctrl.png", folder / "below")


def test_source_is_kept_short(folder: Path) -> None:
    text = base64.b64encode((folder / "ctrl.png").read_bytes()).decode()
    assert load("ctrl.png", folder).source == "ctrl.png"
    assert load(text, folder).source == "base64"
    assert load(f"data:image/png;base64,{text}", folder).source == "data URL"


@pytest.mark.parametrize("name", ["gone.png", "below/gone.webp", "/nowhere/gone.jpg"])
def test_missing_file(folder: Path, name: str) -> None:
    message = refusal(name, folder)
    assert "does not exist" in message
    assert str(folder / name) in message


@pytest.mark.parametrize("source", ["a name", "not base64!", "%%%%", "abc", "é" * 40, "."])
def test_garbage_is_neither_file_nor_url_nor_base64(folder: Path, source: str) -> None:
    message = refusal(source, folder)
    assert "is neither an existing file, nor a URL, nor base64" in message
    assert source[:24] in message


def test_misspelt_name_that_happens_to_be_base64(folder: Path) -> None:
    assert "ctrl" in refusal("ctrl", folder)


@pytest.mark.parametrize("length", [300, 100_000])
def test_long_garbage_is_not_repeated_whole(folder: Path, length: int) -> None:
    assert len(refusal("x" * (length - 1) + "!", folder)) < 250


@pytest.mark.parametrize("content", [b"plain text", b"", bytes(100)], ids=["text", "empty", "zeros"])
def test_base64_of_something_else(folder: Path, content: bytes) -> None:
    assert "base64" in refusal(base64.b64encode(content).decode(), folder)


@pytest.mark.parametrize(
    "source", ["data:image/png,%89PNG", "data:image/png;base64", "data:,", "data:image/svg+xml;utf8,<svg/>"]
)
def test_data_url_without_base64(folder: Path, source: str) -> None:
    assert "a data URL must have the form data:image/…;base64,…" in refusal(source, folder)


def test_data_url_with_garbage(folder: Path) -> None:
    assert "base64" in refusal("data:image/png;base64,!!!!", folder)


def test_http_404(folder: Path, address: str) -> None:
    message = refusal(f"{address}/gone.png", folder)
    assert message.startswith(f"{address}/gone.png: could not be fetched: ")
    assert "File not found" in message or "404" in message


def test_connection_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as bound:  # bound but not listening: nobody else can answer there
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/ctrl.png"
        message = refusal(url, folder)
    assert message.startswith(f"{url}: could not be fetched: ")
    assert "refused" in message


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///ctrl.png",
        "http://127.0.0.1:port/ctrl.png",
        "http://127.0.0.1:1/a file.png",
        "https://[::1/ctrl.png",
        "http://127.0.0.1:99999/ctrl.png",
    ],
)
def test_an_invalid_url(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    assert refusal(url, folder).startswith(f"{url}: could not be fetched: ")


def test_server_that_speaks_no_http(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/ctrl.png"
        message = refusal(url, folder)
        thread.join()
    assert message.startswith(f"{url}: could not be fetched: ")


def test_text_instead_of_an_image(folder: Path, address: str) -> None:
    (folder / "page.png").write_text("<html>not found</html>")
    for source in ("page.png", f"{address}/page.png"):
        message = refusal(source, folder)
        assert message.startswith(f"{source}: is not a readable image")
        assert "object at 0x" not in message


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_image(folder: Path, kind: str, part: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    (folder / "cut.png").write_bytes(data[: int(len(data) * part)])
    assert refusal("cut.png", folder).startswith("cut.png: is not a readable image")


def test_decompression_bomb(folder: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(bomb)
    assert refusal("bomb.png", folder).startswith("bomb.png: is not a readable image")


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "1", "CMYK"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    source = picture().convert(mode)
    image = from_bytes(encoded(source, "TIFF" if mode == "CMYK" else "PNG"), "a")
    assert np.array_equal(pixels(image), np.asarray(source.convert("RGB")))


def test_alpha_is_dropped_not_blended() -> None:
    transparent = picture()
    transparent.putalpha(0)
    assert from_bytes(encoded(transparent), "a") == from_bytes(encoded(picture()), "b")


def test_palette_with_transparency_keeps_its_colours() -> None:
    palette = picture().quantize(16)
    image = from_bytes(encoded(palette, "PNG", transparency=0), "a")
    assert np.array_equal(pixels(image), np.asarray(palette.convert("RGB")))


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    image = from_bytes(encoded(picture(), "PNG", exif=exif), "a")
    assert (image.width, image.height) == (40, 24)


@pytest.mark.parametrize("size", [(96, 64), (20, 12), (40, 24), (64, 96), (7, 5)])
@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_stretch_is_pillows_resize(size: tuple[int, int], name: str) -> None:
    image = resized(from_bytes(encoded(picture()), "a"), Resize(name, "stretch"), *size)  # type: ignore[arg-type]
    assert image.mode == "RGB"
    assert image.size == size
    assert image.tobytes() == picture().resize(size, Image.Resampling[name.upper()]).tobytes()


def test_default_is_lanczos_stretch() -> None:
    image = from_bytes(encoded(picture()), "a")
    assert resized(image, Resize(), 96, 64).tobytes() == picture().resize((96, 64), Image.Resampling.LANCZOS).tobytes()


@pytest.mark.parametrize(
    ("source", "size", "box"),
    [
        ((100, 60), (96, 64), (5, 0, 95, 60)),  # wider than the video
        ((60, 100), (96, 64), (0, 30, 60, 70)),  # taller
        ((96, 64), (48, 32), (0, 0, 96, 64)),  # of its shape
        ((200, 100), (64, 64), (50, 0, 150, 100)),
        ((20, 40), (64, 64), (0, 10, 20, 30)),  # and enlarged
    ],
)
def test_center_crop_keeps_the_aspect_ratio(
    source: tuple[int, int], size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    original = picture(*source)
    got = np.asarray(resized(from_bytes(encoded(original), "a"), Resize("lanczos", "center"), *size)).astype(int)
    wanted = np.asarray(original.crop(box).resize(size, Image.Resampling.LANCZOS)).astype(int)
    assert got.shape == wanted.shape == (size[1], size[0], 3)
    inner = slice(12, -12)  # at the rim the filter reaches beyond the box in the one, not in the other
    assert np.abs(got - wanted)[inner, inner].max() <= 1
    assert np.abs(got - wanted).max() <= 16


def test_center_crop_keeps_a_square_square() -> None:
    original = Image.new("RGB", (160, 64))
    original.paste((255, 255, 255), (64, 16, 96, 48))  # 32x32 in the middle
    image = np.asarray(resized(from_bytes(encoded(original), "a"), Resize("nearest", "center"), 64, 64))
    lit = np.argwhere(image[:, :, 0] == 255)
    assert lit.min(axis=0).tolist() == [16, 16]
    assert lit.max(axis=0).tolist() == [47, 47]


def test_equal_files_share_their_bytes(tmp_path: Path) -> None:
    """Thousands of cases start from the same few images, which would fill the memory."""
    Image.new("RGB", (40, 30), (10, 200, 30)).save(tmp_path / "one.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "one.png").read_bytes())
    first, again, copy = (load(name, tmp_path) for name in ("one.png", "one.png", "copy.png"))
    assert again is first
    assert (copy.source, copy.sha256, copy.width, copy.height) == ("copy.png", first.sha256, 40, 30)
    assert copy.data is first.data
    Image.new("RGB", (40, 30), (10, 200, 31)).save(tmp_path / "one.png")
    assert load("one.png", tmp_path).sha256 != first.sha256
