"""Graphs written from settings: the API graph that ComfyUI runs, and the workflow that its browser page opens.

The shape of a workflow is that of the official templates (version 0.4).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.comfyui.nodes import NODES, Scalar
from pipelines.comfyui.settings import LoraEntry, Settings, Stage
from pipelines.errors import GraphError


@dataclass(frozen=True, slots=True)
class Link:
    """An input that comes from another node."""

    node: str
    """That node's id."""
    output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenNode:
    """One node of a graph."""

    id: str
    kind: str
    """Its class, e.g. KSampler."""
    title: str
    inputs: Mapping[str, Scalar | Link]

    @property
    def widgets(self) -> dict[str, Scalar]:
        """The inputs that a person sets."""
        return {name: value for name, value in self.inputs.items() if not isinstance(value, Link)}


LAST_STEP = 10000
"""KSamplerAdvanced's end_at_step for "to the end", its default."""

_EXPERTS = ("high noise", "low noise")
_GREEN, _RED = {"color": "#232", "bgcolor": "#353"}, {"color": "#322", "bgcolor": "#533"}
"""The colours in which the official templates show the prompt and the negative prompt."""


def api_graph(settings: Settings, prefix: str = "wan-parity") -> dict[str, Any]:
    """Write settings as an API graph, the form in which ComfyUI's server is asked for a video.

    `prefix`: how the names of the saved files begin. Raises GraphError for settings of nodes that are not written.
    """
    return {
        node.id: {
            "class_type": node.kind,
            "inputs": {
                name: [value.node, value.output] if isinstance(value, Link) else value
                for name, value in node.inputs.items()
            },
            "_meta": {"title": node.title},
        }
        for node in nodes_of(settings, prefix)
    }


def workflow(settings: Settings, prefix: str = "wan-parity") -> dict[str, Any]:
    """Write settings as a workflow for ComfyUI's page, with every seed fixed. Raises GraphError like `api_graph`."""
    nodes = nodes_of(settings, prefix)
    kinds = {node.id: node.kind for node in nodes}
    numbers = _whole_numbers([node.id for node in nodes])
    places = _places(nodes)
    links: list[list[Any]] = []
    rows: list[dict[str, Any]] = []
    outputs: dict[str, list[dict[str, Any]]] = {
        node.id: [{"name": kind, "type": kind, "slot_index": slot, "links": []} for slot, kind in _outputs(node)]
        for node in nodes
    }
    for order, node in enumerate(nodes):
        inputs: list[dict[str, Any]] = []
        for slot, (name, link) in enumerate(_sockets(node).items()):
            number, kind = len(links) + 1, NODES[kinds[link.node]].outputs[link.output]
            links.append([number, numbers[link.node], link.output, numbers[node.id], slot, kind])
            outputs[link.node][link.output]["links"].append(number)
            inputs.append({"name": name, "type": kind, "link": number})
        row = {
            "id": numbers[node.id],
            "type": node.kind,
            **places[node.id],
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": inputs,
            "outputs": outputs[node.id],
            "title": node.title,
            "properties": {"Node name for S&R": node.kind},
            "widgets_values": list(_widgets(node)),
        }
        if node.kind == "CLIPTextEncode":
            row |= _RED if "Negative" in node.title else _GREEN
        rows.append(row)
    return {
        "id": "00000000-0000-4000-8000-000000000000",
        "revision": 0,
        "last_node_id": max(numbers.values()),
        "last_link_id": len(links),
        "nodes": rows,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def graph_text(graph: Mapping[str, Any]) -> str:
    """Format either graph as a file."""
    return json.dumps(graph, indent=1, allow_nan=False) + "\n"


def nodes_of(settings: Settings, prefix: str = "wan-parity") -> tuple[WrittenNode, ...]:
    """The nodes behind settings, in the order in which a person meets them. Raises GraphError like `api_graph`."""
    return _Writer(settings, prefix).nodes()


class _Writer:
    """Collects the nodes of one graph. Samplers keep the ids that the settings name."""

    def __init__(self, settings: Settings, prefix: str) -> None:
        self._settings, self._prefix = settings, prefix
        self._found: list[WrittenNode] = []
        taken = {stage.node for stage in settings.stages}
        self._ids = (str(number) for number in itertools.count(1) if str(number) not in taken)

    def nodes(self) -> tuple[WrittenNode, ...]:
        settings = self._settings
        two = len(settings.stages) == 2
        if not 1 <= len(settings.stages) <= 2:
            raise GraphError(f"a graph of {len(settings.stages)} samplers is not written: one or two are")
        experts = [(stage, f", {name}" if two else "") for stage, name in zip(settings.stages, _EXPERTS, strict=False)]
        models = [self._model(stage, of) for stage, of in experts]
        clip, vae = self._loaders()
        positive = self._add("CLIPTextEncode", "Prompt", text=settings.prompt, clip=clip)
        negative = self._add("CLIPTextEncode", "Negative Prompt", text=settings.negative_prompt, clip=clip)
        positive, negative, latent = self._start(positive, negative, vae)
        for (stage, of), model in zip(experts, models, strict=True):
            latent = self._sampler(stage, model, positive, negative, latent, f"KSampler{of}", advanced=two)
        images = self._add("VAEDecode", "VAE Decode", samples=latent, vae=vae)
        self._save(images)
        return tuple(self._found)

    def _add(self, kind: str, title: str, node_id: str = "", /, **inputs: Scalar | Link) -> Link:
        node = WrittenNode(id=node_id or next(self._ids), kind=kind, title=title, inputs=inputs)
        self._found.append(node)
        return Link(node.id)

    def _loaders(self) -> tuple[Link, Link]:
        """The text encoder and the VAE; of a checkpoint loader, all three are one file."""
        settings = self._settings
        if self._one_file:
            loader = self._found[0].id
            return Link(loader, 1), Link(loader, 2)
        clip = self._add("CLIPLoader", "Load CLIP", clip_name=settings.text_encoder, type="wan", device="default")
        return clip, self._add("VAELoader", "Load VAE", vae_name=settings.vae)

    @property
    def _one_file(self) -> bool:
        settings = self._settings
        return settings.vae == settings.text_encoder == settings.stages[0].unet

    def _model(self, stage: Stage, of: str) -> Link:
        if self._one_file:
            model = self._add("CheckpointLoaderSimple", f"Load Checkpoint{of}", ckpt_name=stage.unet)
        else:
            title = f"Load Diffusion Model{of}"
            model = self._add("UNETLoader", title, unet_name=stage.unet, weight_dtype=stage.weight_dtype)
        for lora in stage.loras:
            model = self._lora(lora, model, of)
        if stage.shift is None:
            return model
        return self._add("ModelSamplingSD3", f"ModelSamplingSD3{of}", model=model, shift=stage.shift)

    def _lora(self, lora: LoraEntry, model: Link, of: str) -> Link:
        return self._add(
            "LoraLoaderModelOnly", f"Load LoRA{of}", model=model, lora_name=lora.name, strength_model=lora.strength
        )

    def _start(self, positive: Link, negative: Link, vae: Link) -> tuple[Link, Link, Link]:
        """What the first sampler starts from: both conditionings, and the empty latent."""
        settings = self._settings
        size: dict[str, Scalar | Link] = {
            "width": settings.width,
            "height": settings.height,
            "length": settings.length,
            "batch_size": settings.batch_size,
        }
        if settings.image is None:
            return positive, negative, self._add("EmptyHunyuanLatentVideo", "Empty Latent Video", **size)
        image = self._add("LoadImage", "Load Image", image=settings.image)
        inputs: dict[str, Scalar | Link] = {"positive": positive, "negative": negative, "vae": vae, **size}
        if settings.clip_vision is not None:
            loader = self._add("CLIPVisionLoader", "Load CLIP Vision", clip_name=settings.clip_vision)
            inputs["clip_vision_output"] = self._add(
                "CLIPVisionEncode",
                "CLIP Vision Encode",
                clip_vision=loader,
                image=image,
                crop=settings.clip_crop or "center",
            )
        start = self._add("WanImageToVideo", "WanImageToVideo", **inputs, start_image=image)
        return start, replace(start, output=1), replace(start, output=2)

    def _sampler(
        self, stage: Stage, model: Link, positive: Link, negative: Link, latent: Link, title: str, *, advanced: bool
    ) -> Link:
        part = stage.start != 0 or stage.end is not None or not stage.add_noise or stage.leftover_noise
        if stage.basic_scheduler:
            if part:
                raise GraphError(f"node {stage.node}: a part of a SamplerCustomAdvanced's steps is not written")
            return self._custom(stage, model, positive, negative, latent)
        common: dict[str, Scalar | Link] = {
            "steps": stage.steps,
            "cfg": stage.cfg,
            "sampler_name": stage.sampler,
            "scheduler": stage.schedule,
            "positive": positive,
            "negative": negative,
            "latent_image": latent,
        }
        if not (advanced or part):
            return self._add(
                "KSampler", title, stage.node, model=model, seed=stage.seed, **common, denoise=stage.denoise
            )
        if stage.denoise != 1.0:
            raise GraphError(f"node {stage.node}: KSamplerAdvanced has no denoise, and {stage.denoise:g} is asked for")
        return self._add(
            "KSamplerAdvanced",
            title,
            stage.node,
            model=model,
            add_noise=switch(stage.add_noise),
            noise_seed=stage.seed,
            **common,
            start_at_step=stage.start,
            end_at_step=LAST_STEP if stage.end is None else stage.end,
            return_with_leftover_noise=switch(stage.leftover_noise),
        )

    def _custom(self, stage: Stage, model: Link, positive: Link, negative: Link, latent: Link) -> Link:
        noise = self._add("RandomNoise", "RandomNoise", noise_seed=stage.seed)
        guider = self._add("CFGGuider", "CFGGuider", model=model, positive=positive, negative=negative, cfg=stage.cfg)
        sampler = self._add("KSamplerSelect", "KSamplerSelect", sampler_name=stage.sampler)
        sigmas = self._add(
            "BasicScheduler",
            "BasicScheduler",
            model=model,
            scheduler=stage.schedule,
            steps=stage.steps,
            denoise=stage.denoise,
        )
        return self._add(
            "SamplerCustomAdvanced",
            "SamplerCustomAdvanced",
            stage.node,
            noise=noise,
            guider=guider,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )

    def _save(self, images: Link) -> None:
        save, prefix = self._settings.save, self._prefix
        fps = 16.0 if self._settings.fps is None else self._settings.fps
        if save.node == "SaveImage":
            self._add("SaveImage", "Save Image", images=images, filename_prefix=prefix)
        elif save.node == "SaveAnimatedWEBP":
            self._add(
                "SaveAnimatedWEBP",
                "SaveAnimatedWEBP",
                images=images,
                filename_prefix=prefix,
                fps=fps,
                lossless=save.lossless,
                quality=80 if save.quality is None else save.quality,
                method="default",
            )
        elif save.node == "SaveAnimatedPNG":
            self._add(
                "SaveAnimatedPNG", "SaveAnimatedPNG", images=images, filename_prefix=prefix, fps=fps, compress_level=4
            )
        elif save.node == "SaveWEBM":
            crf = 32.0 if save.quality is None else float(save.quality)
            self._add("SaveWEBM", "SaveWEBM", images=images, filename_prefix=prefix, codec="vp9", fps=fps, crf=crf)
        elif save.node == "SaveVideo":
            video = self._add("CreateVideo", "Create Video", images=images, fps=fps)
            container = "auto" if save.format == "mp4" else save.format  # the others since 0.38.1 (2026)
            name = f"video/{prefix}"
            self._add("SaveVideo", "Save Video", video=video, filename_prefix=name, format=container, codec="auto")
        elif save.node == "PreviewImage":
            self._add("PreviewImage", "Preview Image", images=images)
        else:
            raise GraphError(f"the node {save.node} ({save.format}) is not written; SaveAnimatedWEBP and SaveVideo are")


def switch(on: bool) -> str:
    """The word of KSamplerAdvanced for yes and no."""
    return "enable" if on else "disable"


def _outputs(node: WrittenNode) -> Iterator[tuple[int, str]]:
    return enumerate(NODES[node.kind].outputs)


def _sockets(node: WrittenNode) -> dict[str, Link]:
    """The links into a node, in the page's order. Optional ones that it does not have are left out."""
    pairs = ((entry.name, node.inputs.get(entry.name)) for entry in NODES[node.kind].inputs)
    return {name: link for name, link in pairs if isinstance(link, Link)}


def _widgets(node: WrittenNode) -> Iterator[Scalar]:
    """The values in the order of the page's widgets."""
    for entry in NODES[node.kind].widgets:
        value = node.inputs.get(entry.name)
        if value is not None and not isinstance(value, Link):
            yield value
            if entry.controlled:
                yield "fixed"
    if node.kind == "LoadImage":
        yield "image"  # the button for uploads


def _whole_numbers(ids: Sequence[str]) -> dict[str, int]:
    """The ids as a workflow has them; one of a subgraph, like `128:81`, becomes a free number."""
    taken = {int(each) for each in ids if each.isdecimal()}
    free = (number for number in itertools.count(1) if number not in taken)
    return {each: int(each) if each.isdecimal() else next(free) for each in ids}


_COLUMNS = (
    ("CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "VAELoader", "CLIPVisionLoader", "LoadImage"),
    ("LoraLoaderModelOnly", "ModelSamplingSD3", "CLIPVisionEncode"),
    ("CLIPTextEncode", "EmptyHunyuanLatentVideo", "WanImageToVideo", "RandomNoise", "KSamplerSelect"),
    ("BasicScheduler", "CFGGuider", "KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced"),
    (
        "VAEDecode",
        "CreateVideo",
        "SaveVideo",
        "SaveWEBM",
        "SaveAnimatedWEBP",
        "SaveAnimatedPNG",
        "SaveImage",
        "PreviewImage",
    ),
)
"""The page's columns from left to right."""
_WIDTH, _GAP, _LINE, _HEAD = 360, 60, 26, 46


def _places(nodes: Sequence[WrittenNode]) -> dict[str, dict[str, list[int]]]:
    """Position and size of every node on the page, in pixels: columns from left to right, none above another."""
    bottom = [0] * len(_COLUMNS)
    places = {}
    for node in nodes:
        column = next(number for number, kinds in enumerate(_COLUMNS) if node.kind in kinds)
        lines = max(len(_sockets(node)), len(NODES[node.kind].outputs)) + len(list(_widgets(node)))
        height = _HEAD + _LINE * lines + (130 if node.kind == "CLIPTextEncode" else 0)
        places[node.id] = {"pos": [column * (_WIDTH + _GAP), bottom[column]], "size": [_WIDTH, height]}
        bottom[column] += height + _GAP
    return places
