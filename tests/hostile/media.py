"""Places in files that others made: LoRA headers, ComfyUI graphs, the texts in videos and pictures, checkpoints."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from tests.hostile.puts import argument, as_keys, at, holders, leaves
from tests.hostile.session import Put, Slot, fixed
from tests.malformed.values import load, replaced, show

LORA = "job/tiny_t2v.safetensors"


def lora_slots(_: Path) -> Iterator[Slot]:
    def header(change: Any) -> Put:
        def put(folder: Path, texts: Sequence[str]) -> None:
            data = (folder / LORA).read_bytes()
            size = struct.unpack("<Q", data[:8])[0]
            changed = json.dumps(change(json.loads(data[8 : 8 + size]), texts[0])).encode()
            (folder / LORA).write_bytes(struct.pack("<Q", len(changed)) + changed + data[8 + size :])

        return put

    def with_tensor(old: dict[str, Any], text: str) -> dict[str, Any]:
        first = next(name for name in old if name != "__metadata__")
        return {text if name == first else name: value for name, value in old.items()}

    def with_known_tensor(old: dict[str, Any], text: str) -> dict[str, Any]:
        first = next(name for name in old if name != "__metadata__")
        return {f"{name}.{text}.lora_A.weight" if name == first else name: value for name, value in old.items()}

    def with_metadata(old: dict[str, Any], text: str) -> dict[str, Any]:
        training = json.dumps({"step": 500, "epoch": text})
        return old | {
            "__metadata__": {text: text, "training_info": training, "software": text, "version": text, "name": text}
        }

    def with_software(old: dict[str, Any], text: str) -> dict[str, Any]:
        software = json.dumps({"name": text, "repo": text, "version": text})
        return old | {
            "__metadata__": {"software": software, "ss_base_model_version": text, "format": "pt", "training_info": text}
        }

    def with_dtype(old: dict[str, Any], text: str) -> dict[str, Any]:
        first = next(name for name in old if name != "__metadata__")
        return old | {first: old[first] | {"dtype": text}}

    for what, change in (
        ("a tensor's name", with_tensor),
        ("a part of a tensor's name", with_known_tensor),
        ("its metadata", with_metadata),
        ("its software", with_software),
        ("a type", with_dtype),
    ):
        for line in ("plan plain.yaml", "import job --out out"):
            yield Slot(kind="LoRA", where=f"{what}, {line}", command=fixed(*line.split()), put=header(change))


def graph_slots(folder: Path) -> Iterator[Slot]:
    for file in ("graph.json", "workflow.json"):
        command = fixed("plan", "--output", file, "case.yaml")
        data = load(folder / file)
        spots = list(leaves(data))
        for spot in spots[:: max(1, len(spots) // 40)]:
            yield Slot(kind="graph", where=f"{file}, {show(spot)}", command=command, put=at(file, spot))
        names = [
            spot
            for spot in spots
            if spot[-1] in ("class_type", "title", "type", "lora_name", "unet_name", "text", "ckpt_name")
        ]
        for spot in names:
            yield Slot(kind="graph", where=f"{file}, the name {show(spot)}", command=command, put=at(file, spot))
        titles = [spot for spot in spots if spot[-1] in ("title", "text", "filename_prefix")]
        if titles:
            yield Slot(
                kind="graph", where=f"{file}, all titles", command=command, put=at(file, *titles), places=len(titles)
            )
        for spot in list(holders(data))[:6]:
            where = f"{file}, a key of {show(spot) or 'all'}"
            yield Slot(kind="graph", where=where, command=command, put=as_keys(file, spot, value={"class_type": "x"}))


def tag_slots(folder: Path) -> Iterator[Slot]:
    """The texts in pictures, and the graphs within them."""
    graph = load(folder / "graph.json")
    spots = [spot for spot in leaves(graph) if spot[-1] in ("title", "text", "lora_name", "unet_name")]

    def png(*tags: str, inside: bool = False) -> Put:
        def put(folder: Path, texts: Sequence[str]) -> None:
            info = PngImagePlugin.PngInfo()
            clean = [text.encode("utf-8", "replace").decode() for text in texts]
            for tag in tags:
                value = clean[0]
                if inside:
                    changed = graph
                    for spot, text in zip(spots, texts, strict=True):
                        changed = replaced(changed, spot, text)
                    value = json.dumps(changed)
                info.add_itxt(tag, value)
            if not tags:
                info.add_itxt(
                    clean[0].encode("latin-1", "replace").decode("latin-1").replace("\0", "")[:79] or "a", "x"
                )
            with Image.open(folder / "made.png") as image:
                image.load()
                plain = image.convert("RGB")
            plain.save(folder / "made.png", pnginfo=info)

        return put

    def ffmpeg(file: str, tag: str) -> Put:
        def put(folder: Path, texts: Sequence[str]) -> None:
            import imageio_ffmpeg

            path, before = folder / file, folder.with_name(f"before-{file}")
            path.rename(before)
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(before), "-c", "copy", "-metadata"]
            subprocess.run([*command, f"{tag}={argument(texts[0])}", str(path)], check=True)
            before.unlink()

        return put

    for file in ("made.mp4", "made.webm"):
        for tag in ("prompt", "comment"):
            of_video = fixed("plan", "--output", file, "case.yaml")
            yield Slot(kind="tags", where=f"{file}, {tag}", command=of_video, put=ffmpeg(file, tag))
    plan = fixed("plan", "--output", "made.png", "case.yaml")
    compare = fixed("compare", "made.png", "frames/0000.png", "--out", "compared")
    for name, command in (("plan", plan), ("compare", compare)):
        twin = command is compare
        yield Slot(kind="tags", where=f"a graph's text, {name}", command=command, put=png("prompt"), twin=twin)
        yield Slot(kind="tags", where=f"a tag's name, {name}", command=command, put=png(), twin=twin)
        yield Slot(kind="tags", where=f"a comment, {name}", command=command, put=png("Comment", "Software"), twin=twin)
        yield Slot(
            kind="tags", where=f"a graph's texts, {name}", command=command, put=png("prompt", inside=True),
            places=len(spots), twin=twin,
        )  # fmt: skip


def checkpoint_slots(folder: Path) -> Iterator[Slot]:
    for file in sorted((folder / "model_t2v").rglob("*.json")):
        name = file.relative_to(folder).as_posix()
        if file.stat().st_size > 20_000:
            continue
        spots = list(leaves(load(file)))
        for spot in spots[:: max(1, len(spots) // 3)]:
            yield Slot(
                kind="checkpoint", where=f"{name}, {show(spot)}", put=at(name, spot), torch=True,
                command=fixed("run", "plain.yaml", "--device", "cpu", "--out", "out"),
            )  # fmt: skip
