"""What leads to a sampler: the chain of its models, its texts, the image and the size of its video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipelines.comfyui.api_graph import ApiGraph, GraphNode, Output
from pipelines.comfyui.settings import LoraEntry
from pipelines.prompts import why_too_long


@dataclass(frozen=True, slots=True)
class Model:
    """A diffusion model with everything between its loader and a sampler."""

    unet: str
    weight_dtype: str
    loras: tuple[LoraEntry, ...]
    shift: float | None
    places: Mapping[str, str]
    """The node that holds each value."""


@dataclass(frozen=True, slots=True)
class Text:
    """What conditions a sampler: a text, its encoder, and the node that adds an image to it."""

    text: str
    encoder: str
    image: str | None
    """The id of a WanImageToVideo."""
    place: str = field(compare=False)
    """The node that holds the text."""


@dataclass(frozen=True, slots=True)
class Image:
    """The image that a video starts from; without a name: none, text to video."""

    image: str | None = None
    clip_vision: str | None = None
    clip_crop: Literal["none", "center"] | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    """The node that holds each value."""


def model_of(graph: ApiGraph, node: GraphNode) -> Model:
    """Follow the chain of models that ends in this node's input."""
    loras: list[LoraEntry] = []
    shift: float | None = None
    places: dict[str, str] = {}
    seen: set[str] = set()
    output = graph.required(node, "model", "MODEL")
    while output.node.kind not in ("UNETLoader", "CheckpointLoaderSimple"):
        at = output.node
        if at.id in seen:
            raise graph.error(f"{at}: its model depends on itself")
        seen.add(at.id)
        if at.kind == "ModelSamplingSD3":
            places = held(graph, at, "shift") | places
            shift = decimal(graph, at, "shift") if shift is None else shift  # the last in the chain wins
        elif strength := decimal(graph, at, "strength_model"):  # 0 is skipped
            loras.insert(0, LoraEntry(name=graph.text(at, "lora_name"), strength=strength))
            places["loras"] = ", ".join(dict.fromkeys([str(at), *filter(None, [places.get("loras")])]))
        output = graph.required(at, "model", "MODEL")
    checkpoint = output.node.kind == "CheckpointLoaderSimple"
    dtype = "default" if checkpoint else graph.text(output.node, "weight_dtype")
    places |= {"unet_name": str(output.node), "weight_dtype": str(output.node)}
    return Model(file_of(graph, output), dtype, tuple(loras), shift, places)


def text_of(graph: ApiGraph, node: GraphNode, name: str) -> Text:
    """The text that conditions a sampler by this input, past the node that adds an image to it."""
    output = graph.required(node, name, "CONDITIONING")
    image = None
    if output.node.kind == "WanImageToVideo":
        image = output.node.id
        output = graph.required(output.node, ("positive", "negative")[output.slot], "CONDITIONING")
    if output.node.kind != "CLIPTextEncode":
        raise graph.error(f"{output.node}: more than one such node in a row is not supported yet")
    place = held(graph, output.node, "text")["text"]
    text = graph.text(output.node, "text")
    if (reason := why_too_long(text)) is not None:
        raise graph.error(f"{output.node}: text {reason}")
    return Text(text, _encoder(graph, output.node), image, place)


def start_of(graph: ApiGraph, node: GraphNode, texts: Sequence[Text], vae: str) -> tuple[GraphNode, Image]:
    """The node with the video's size, and the image that the video starts from."""
    latent = graph.required(node, "latent_image", "LATENT").node
    used = {text.image for text in texts}
    if latent.kind == "EmptyHunyuanLatentVideo" and used == {None}:
        return latent, Image()
    if latent.kind != "WanImageToVideo" or used != {latent.id}:
        raise graph.error(
            f"{node}: a latent and prompts that are not of the same WanImageToVideo are not supported yet"
        )
    if graph.source(latent, "start_image") is None:
        raise graph.error(f"{latent}: without a start_image it is not supported yet")
    if file_of(graph, graph.required(latent, "vae", "VAE")) != vae:
        raise graph.error(f"{latent}: another VAE than the one that decodes is not supported yet")
    image = graph.required(latent, "start_image", "IMAGE")
    if image.node.kind != "LoadImage":
        raise graph.error(f"{latent}: a start_image from {image.node} is not supported yet, only from LoadImage")
    places = {"image": str(image.node)}
    encode = graph.source(latent, "clip_vision_output")
    if encode is None:
        return latent, Image(file_of(graph, image), places=places)
    encode = graph.required(latent, "clip_vision_output", "CLIP_VISION_OUTPUT")
    seen = graph.required(encode.node, "image", "IMAGE")
    if seen.node.kind != "LoadImage" or file_of(graph, seen) != file_of(graph, image):
        raise graph.error(f"{encode.node}: another image than the video's start_image is not supported yet")
    crop: Literal["none", "center"] = "none" if graph.text(encode.node, "crop") == "none" else "center"
    return latent, Image(
        file_of(graph, image),
        file_of(graph, graph.required(encode.node, "clip_vision", "CLIP_VISION")),
        crop,
        {**places, "clip_crop": held(graph, encode.node, "crop")["crop"]},
    )


def file_of(graph: ApiGraph, output: Output) -> str:
    """The file of a loader: its first input."""
    names = {
        "UNETLoader": "unet_name",
        "CheckpointLoaderSimple": "ckpt_name",
        "CLIPLoader": "clip_name",
        "CLIPVisionLoader": "clip_name",
        "VAELoader": "vae_name",
        "LoadImage": "image",
    }
    return graph.text(output.node, names[output.node.kind])


def decimal(graph: ApiGraph, node: GraphNode, name: str) -> float:
    """A number as its user typed it: the browser writes 5.000000000000001, which gives the sigmas of 5."""
    return round(graph.number(node, name), 9)


def held(graph: ApiGraph, node: GraphNode, *names: str) -> dict[str, str]:
    """The node that holds each of these values: the one it is linked from, or `node` itself."""
    sources = {name: graph.source(node, name) for name in names}
    return {name: str(node if source is None else source.node) for name, source in sources.items()}


def _encoder(graph: ApiGraph, node: GraphNode) -> str:
    output = graph.required(node, "clip", "CLIP")
    seen: set[str] = set()
    while output.node.kind == "LoraLoader":  # without effect on Wan's text encoder: bit-equal
        if output.node.id in seen:
            raise graph.error(f"{output.node}: its clip depends on itself")
        seen.add(output.node.id)
        output = graph.required(output.node, "clip", "CLIP")
    if output.node.kind == "CLIPLoader":
        graph.text(output.node, "type")
    return file_of(graph, output)
