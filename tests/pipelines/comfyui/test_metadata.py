"""The graph that a file holds, in every format that carries one, and files that hold none or are damaged."""

from __future__ import annotations

import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipelines.comfyui.metadata import find_graph
from pipelines.errors import CaseError, MediaError
from pipelines.media.bounded import MAX_PARTS, MAX_VALUE

RECORDINGS = Path(__file__).parents[2] / "data" / "comfyui"
SAVED = sorted(
    path for path in RECORDINGS.glob("*/*/*") if path.suffix in (".mp4", ".webm", ".webp", ".png") and path.is_file()
)
GRAPH = {
    "1": {"class_type": "KSampler", "inputs": {"text": 'a = b; c # d \\ "e"\n[f] \\n', "steps": 20}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "grün 綠 ✓ " + "x" * 200_000}},
}
WORKFLOW = {"nodes": [{"id": 1}], "links": []}


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.name)
def test_files_of_real_comfyui(path: Path) -> None:
    found = find_graph(path)
    assert found.prompt is not None
    assert found.workflow is not None
    assert found.graph == found.prompt
    assert json.loads(found.prompt) == json.loads((path.parent / "prompt.json").read_text())
    assert json.loads(found.workflow) == json.loads((path.parent / "workflow.json").read_text())
    assert found.made_by == "ComfyUI"


def test_every_format_is_recorded() -> None:
    places = {find_graph(path).where for path in SAVED}
    assert places == {"mp4 key prompt", "webm tag PROMPT", "WebP EXIF tag 0x0110", "APNG chunk comf prompt"}


def frames() -> list[Image.Image]:
    return [Image.fromarray(np.full((32, 32, 3), 40 * number, np.uint8)) for number in range(3)]


def png(path: Path, *, compressed: bool = False, international: bool = False, ascii_only: bool = True) -> None:
    info = PngImagePlugin.PngInfo()
    for key, value in (("prompt", GRAPH), ("workflow", WORKFLOW)):
        text = json.dumps(value, ensure_ascii=ascii_only)
        if international:
            info.add_itxt(key, text, zip=compressed)
        else:
            info.add_text(key, text, zip=compressed)
    frames()[0].save(path, pnginfo=info)


def apng(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    for key, value in (("prompt", GRAPH), ("workflow", WORKFLOW)):
        info.add(b"comf", f"{key}\0{json.dumps(value)}".encode(), after_idat=True)
    first, *rest = frames()
    first.save(path, pnginfo=info, save_all=True, append_images=rest)


def webp(path: Path) -> None:
    first, *rest = frames()
    exif = first.getexif()
    exif[0x0110] = f"prompt:{json.dumps(GRAPH)}"
    exif[0x010F] = f"workflow:{json.dumps(WORKFLOW)}"
    exif[0x010E] = 'extra:{"a": 1}'
    first.save(path, save_all=True, append_images=rest, exif=exif)


def with_ffmpeg(path: Path) -> None:
    """As VHS_VideoCombine does: the tags in a file, `use_metadata_tags`."""
    import imageio_ffmpeg

    escaped = {
        key: "".join(f"\\{c}" if c in "=;#\\\n" else c for c in json.dumps(value))
        for key, value in (("prompt", GRAPH), ("workflow", WORKFLOW))
    }
    tags = path.with_name("tags.txt")
    tags.write_text(";FFMETADATA1\n" + "".join(f"{key}={value}\n" for key, value in escaped.items()))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=32x32:d=0.2"]
    command += ["-i", str(tags), "-map_metadata", "1"]
    flags = "use_metadata_tags" + ("+frag_keyframe+empty_moov" if path.stem == "fragments" else "")
    command += ["-movflags", flags] if path.suffix in (".mp4", ".mov") else []
    if path.stem == "stream":  # written without going back: no element knows its size
        streamed = subprocess.run([*command, "-f", "webm", "-"], check=True, capture_output=True)
        path.write_bytes(streamed.stdout)
    else:
        subprocess.run([*command, str(path)], check=True)
    tags.unlink()


WRITERS: dict[str, Callable[[Path], None]] = {
    "texts.png": png,
    "compressed.png": lambda path: png(path, compressed=True),
    "international.png": lambda path: png(path, international=True, ascii_only=False),
    "international_compressed.png": lambda path: png(path, international=True, compressed=True, ascii_only=False),
    "animated.png": apng,
    "animated.apng": apng,
    "animated.webp": webp,
    "video.mp4": with_ffmpeg,
    "video.mov": with_ffmpeg,
    "video.webm": with_ffmpeg,
    "video.mkv": with_ffmpeg,
    "stream.webm": with_ffmpeg,
    "fragments.mp4": with_ffmpeg,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_graph_with_every_awkward_character_comes_back_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    found = find_graph(path)
    assert found.prompt is not None
    assert json.loads(found.prompt) == GRAPH
    assert found.workflow is not None
    assert json.loads(found.workflow) == WORKFLOW


def test_a_folder_is_read_by_its_first_frame(tmp_path: Path) -> None:
    for number in (10, 9):
        png(tmp_path / f"frame_{number}.png")
    assert find_graph(tmp_path).path == tmp_path / "frame_9.png"
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="contains no PNG frames"):
        find_graph(tmp_path / "empty")


def test_what_a_server_was_sent_keeps_its_texts(tmp_path: Path) -> None:
    """ComfyUI writes NaN for a number that is none; in a prompt it is a word."""
    nodes = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "NaNcy, NaN"}, "is_changed": [float("nan")]}}
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"prompt": nodes, "client_id": "me"}))
    found = find_graph(path)
    assert found.prompt is not None
    assert json.loads(found.prompt)["1"]["inputs"]["text"] == "NaNcy, NaN"


@pytest.mark.parametrize(
    ("content", "prompt", "workflow"),
    [(GRAPH, True, False), (WORKFLOW, False, True), ({"client_id": "1", "prompt": GRAPH}, True, False)],
)
def test_json_files_of_either_form(content: object, prompt: bool, workflow: bool, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(content))
    found = find_graph(path)
    assert (found.prompt is not None, found.workflow is not None) == (prompt, workflow)
    assert found.graph is not None


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"a": 1}', '{"a": {"b": 1}}', "[" * 100_000])
def test_json_that_is_no_graph(content: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(content)
    with pytest.raises(CaseError, match=r"graph\.json: is (not JSON|no ComfyUI graph)"):
        find_graph(path)


def test_a_file_without_a_graph_says_what_it_has(tmp_path: Path) -> None:
    plain, other, named = tmp_path / "plain.webp", tmp_path / "other.png", tmp_path / "named.png"
    frames()[0].save(plain)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20")
    frames()[0].save(other, pnginfo=info)
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "something")
    info.add_text("prompt", "a cat, not a graph")
    frames()[0].save(named, pnginfo=info)
    assert find_graph(plain).graph is None
    assert "holds no metadata" in find_graph(plain).origin
    assert "settings of AUTOMATIC1111" in find_graph(other).origin
    assert "its metadata are Software, prompt" in find_graph(named).origin


def test_vhs_webp_is_read_from_the_png_beside_it(tmp_path: Path) -> None:
    frames()[0].save(tmp_path / "a_00001.gif")
    assert find_graph(tmp_path / "a_00001.gif").graph is None
    png(tmp_path / "a_00001.png")
    found = find_graph(tmp_path / "a_00001.gif")
    assert found.graph is not None
    assert found.origin == "a_00001.png: PNG chunk tEXt prompt"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def riff(exif: bytes) -> bytes:
    return b"RIFF%bWEBPEXIF%b%b" % (struct.pack("<I", len(exif) + 12), struct.pack("<I", len(exif)), exif)


SIGNATURE = b"\x89PNG\r\n\x1a\n"
BOMB = zlib.compress(bytes(MAX_VALUE + 10))
TAGGED = b"II*\0" + struct.pack("<IH", 8, 60_000) + struct.pack("<HHII", 0x0110, 2, 60_000, 8) * 60_000
HOSTILE = {
    "huge.png": SIGNATURE + struct.pack(">I4s", 1 << 30, b"tEXt") + b"prompt\0",
    "huge_real.png": SIGNATURE + chunk(b"tEXt", b"prompt\0" + b"{" * MAX_VALUE),
    "bomb.png": SIGNATURE + chunk(b"zTXt", b"prompt\0\0" + BOMB) + chunk(b"IEND", b""),
    "crc.png": SIGNATURE + chunk(b"tEXt", b"prompt\0{}")[:-1] + b"!",
    "cut.png": SIGNATURE + chunk(b"IHDR", bytes(13)),
    "many.png": SIGNATURE + chunk(b"abcd", b"") * (MAX_PARTS + 1),
    "keyless.png": SIGNATURE + chunk(b"tEXt", b"{}") + chunk(b"IEND", b""),
    "zip.png": SIGNATURE + chunk(b"zTXt", b"prompt\0\0nonsense") + chunk(b"IEND", b""),
    "cut.webp": b"RIFF" + struct.pack("<I", 5000) + b"WEBP",
    "exif.webp": riff(b"II*\0\xff\xff\xff\xff"),
    "repeated.webp": b"RIFF"
    + struct.pack("<I", len(TAGGED) + 12)
    + b"WEBPEXIF"
    + struct.pack("<I", len(TAGGED))
    + TAGGED,
    "cut.mp4": box(b"ftyp", b"isom") + struct.pack(">I4s", 1000, b"moov"),
    "endless.mp4": box(b"ftyp", b"isom") + struct.pack(">I4s", 4, b"moov"),
    "indexless.mp4": box(b"ftyp", b"isom") + box(b"mdat", b"abc"),
    "keys.mp4": box(b"ftyp", b"isom")
    + box(b"moov", box(b"meta", bytes(4) + box(b"hdlr", bytes(25)) + box(b"keys", bytes(4) + b"\xff" * 4 + bytes(8)))),
    "cut.webm": b"\x1aE\xdf\xa3\x84webm\x18S\x80g\x88" + b"abc",
    "zero.mkv": b"\x1aE\xdf\xa3\x84webm" + bytes(100),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_metadata(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    with pytest.raises(MediaError, match=rf"{path.name}: its metadata cannot be read: the file .*; is it complete\?"):
        find_graph(path)


@pytest.mark.parametrize("path", SAVED[:5], ids=lambda path: path.name)
def test_a_cut_file_is_refused_or_read_whole(path: Path, tmp_path: Path) -> None:
    """Never half a graph: cut anywhere, a file is refused, or its graph is the whole one."""
    data = path.read_bytes()
    whole = find_graph(path)
    cut = tmp_path / path.name
    for length in range(0, len(data), len(data) // 60):
        cut.write_bytes(data[:length])
        try:
            found = find_graph(cut)
        except MediaError:
            continue
        assert found.prompt in (None, whole.prompt)
        assert found.workflow in (None, whole.workflow)


@pytest.mark.parametrize("path", SAVED[:5], ids=lambda path: path.name)
def test_changed_bytes_end_in_a_message_or_a_text(path: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    changed = tmp_path / path.name
    for _ in range(100):
        damaged = data.copy()
        damaged[random.integers(0, len(data), 4)] = random.integers(0, 256, 4)
        changed.write_bytes(damaged.tobytes())
        try:
            find_graph(changed)
        except MediaError:
            continue


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be read"):
        find_graph(tmp_path / "missing.mp4")
    (tmp_path / "text.mp4").write_text("hello, this is no video at all")
    assert find_graph(tmp_path / "text.mp4").graph is None
