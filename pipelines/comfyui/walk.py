"""From the node that saved a video back to the files that were loaded: one graph's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pipelines.comfyui.api_graph import ApiGraph, GraphNode, Output, names_of
from pipelines.comfyui.saves import saved_by
from pipelines.comfyui.settings import LoraEntry, Settings, Stage

_SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")


@dataclass(frozen=True, slots=True)
class _Model:
    """A diffusion model with everything between its loader and a sampler."""

    unet: str
    weight_dtype: str
    loras: tuple[LoraEntry, ...]
    shift: float | None
    places: Mapping[str, str]
    """The node that holds each value."""


@dataclass(frozen=True, slots=True)
class _Text:
    """What conditions a sampler: a text, its encoder, and the node that adds an image to it."""

    text: str
    encoder: str
    image: str | None
    """The id of a WanImageToVideo."""
    place: str = field(compare=False)
    """The node that holds the text."""


@dataclass(frozen=True, slots=True)
class _Image:
    """The image that a video starts from; without a name: none, text to video."""

    image: str | None = None
    clip_vision: str | None = None
    clip_crop: Literal["none", "center"] | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    """The node that holds each value."""


@dataclass(frozen=True, slots=True)
class _Sampler:
    """One sampler, read."""

    stage: Stage
    positive: _Text
    negative: _Text | None
    """None: BasicGuider, which has none."""


class Walk:
    """Reads one graph that holds no unsupported nodes, from its end to its beginning."""

    def __init__(self, graph: ApiGraph) -> None:
        self.graph = graph
        self.notes: list[str] = []
        self.places: dict[str, str] = {}

    def settings(self, node: GraphNode) -> Settings:
        """What the video that this node saves was made with. Raises GraphError."""
        graph, saved = self.graph, saved_by(self.graph, node)
        self.notes += saved.notes
        decode = saved.images.node
        if decode.kind not in ("VAEDecode", "VAEDecodeTiled"):
            raise graph.error(f"{node}: saves images of {decode}, not of a VAEDecode: nothing generates them")
        if decode.kind == "VAEDecodeTiled":
            self.notes.append(
                f"{decode}: decodes in tiles of {graph.whole(decode, 'tile_size')} pixels; taken as VAEDecode, "
                "what the seams change was not measured"
            )
        nodes = self._samplers(decode)
        samplers = [self._sampler(entry, index) for index, entry in enumerate(nodes)]
        first = samplers[0]
        for entry, other in zip(nodes[1:], samplers[1:], strict=True):
            if (other.positive, other.negative) != (first.positive, first.negative):
                raise graph.error(f"{nodes[0]} and {entry}: different prompts or images for them are not supported yet")
        if first.negative is not None and first.negative.encoder != first.positive.encoder:
            raise graph.error(f"{nodes[0]}: different text encoders for its two prompts are not supported yet")
        vae = self._file(graph.required(decode, "vae", "VAE"))
        size, image = self._start(nodes[0], first, vae)
        self.places |= {**self._held(size, "width", "height", "length"), **image.places, "save": str(node)}
        self.places |= {"prompt": first.positive.place, "fps": self._held(node, "video")["video"]}
        if first.negative is not None:
            self.places["negative_prompt"] = first.negative.place
        return Settings(
            stages=tuple(entry.stage for entry in samplers),
            prompt=first.positive.text,
            negative_prompt="" if first.negative is None else first.negative.text,
            text_encoder=first.positive.encoder,
            vae=vae,
            clip_vision=image.clip_vision,
            clip_crop=image.clip_crop,
            image=image.image,
            width=graph.whole(size, "width"),
            height=graph.whole(size, "height"),
            length=graph.whole(size, "length"),
            batch_size=graph.whole(size, "batch_size"),
            fps=saved.fps,
            save=saved.save,
            notes=tuple(self.notes),
            places=tuple(self.places.items()),
        )

    def _held(self, node: GraphNode, *names: str) -> dict[str, str]:
        """The node that holds each of these values: the one it is linked from, or `node` itself."""
        sources = {name: self.graph.source(node, name) for name in names}
        return {name: str(node if source is None else source.node) for name, source in sources.items()}

    def _samplers(self, decode: GraphNode) -> list[GraphNode]:
        """The samplers that a video passes through, first to last."""
        found: list[GraphNode] = []
        output = self.graph.required(decode, "samples", "LATENT")
        while output.node.kind in _SAMPLERS:
            if output.node in found:
                raise self.graph.error(f"{output.node}: its latent depends on itself")
            found.insert(0, output.node)
            if output.slot == 1:
                self._last_denoised(output.node)
            output = self.graph.required(output.node, "latent_image", "LATENT")
        if not found:
            raise self.graph.error(f"{decode}: decodes {output.node}, which no sampler has worked on")
        if len(found) > 2:
            raise self.graph.error(f"more than two samplers in a row are not supported yet: {names_of(found)}")
        return found

    def _last_denoised(self, node: GraphNode) -> None:
        """Accept a sampler's second output, its last x0, where that is what its first is but for rounding."""
        sampler = self.graph.text(self.graph.required(node, "sampler", "SAMPLER").node, "sampler_name")
        if sampler != "euler":
            raise self.graph.error(
                f"{node}: its denoised_output is supported for euler alone, its sampler is {sampler}"
            )
        self.notes.append(f"{node}: denoised_output is taken as its output, which euler's last step makes equal")

    def _sampler(self, node: GraphNode, index: int) -> _Sampler:
        stage = {
            "KSampler": self._ksampler,
            "KSamplerAdvanced": self._advanced,
            "SamplerCustom": self._custom,
            "SamplerCustomAdvanced": self._custom_advanced,
        }[node.kind](node)
        if stage.stage.add_noise and index:
            raise self.graph.error(f"{node}: adding noise to what another sampler has made is not supported yet")
        if not stage.stage.add_noise and not index:
            raise self.graph.error(f"{node}: a first sampler that adds no noise is not supported yet")
        return stage

    def _ksampler(self, node: GraphNode) -> _Sampler:
        stage = self._stage(node, self._model(node), sampler=node, grid=node, guide=node, noise=node)
        return self._conditioned(node, stage)

    def _advanced(self, node: GraphNode) -> _Sampler:
        graph = self.graph
        stage = self._stage(node, self._model(node), sampler=node, grid=node, guide=node, noise=node)
        end = graph.whole(node, "end_at_step")
        own = self._held(node, "start_at_step", "end_at_step", "add_noise", "return_with_leftover_noise")
        self.places |= {f"{node.id}.{name}": place for name, place in own.items()}
        stage = replace(
            stage,
            start=graph.whole(node, "start_at_step"),
            end=end if end < stage.steps else None,
            add_noise=graph.text(node, "add_noise") == "enable",
            leftover_noise=graph.text(node, "return_with_leftover_noise") == "enable",
        )
        return self._conditioned(node, stage)

    def _custom(self, node: GraphNode) -> _Sampler:
        sampler = self.graph.required(node, "sampler", "SAMPLER").node
        grid = self.graph.required(node, "sigmas", "SIGMAS").node
        stage = self._stage(node, self._model(node), sampler=sampler, grid=grid, guide=node, noise=node)
        return self._conditioned(node, replace(stage, add_noise=bool(self.graph.value(node, "add_noise"))))

    def _custom_advanced(self, node: GraphNode) -> _Sampler:
        graph = self.graph
        guide, noise = graph.required(node, "guider", "GUIDER").node, graph.required(node, "noise", "NOISE").node
        sampler, grid = graph.required(node, "sampler", "SAMPLER").node, graph.required(node, "sigmas", "SIGMAS").node
        return self._conditioned(
            guide, self._stage(node, self._model(guide), sampler=sampler, grid=grid, guide=guide, noise=noise)
        )

    def _stage(
        self,
        node: GraphNode,
        model: _Model,
        *,
        sampler: GraphNode,
        grid: GraphNode,
        guide: GraphNode,
        noise: GraphNode,
    ) -> Stage:
        """Make a stage of the nodes that hold the sampler's name, the schedule, the guidance and the seed."""
        graph, basic = self.graph, grid.kind == "BasicScheduler"
        if basic and self._model(grid).shift != model.shift:
            raise graph.error(f"{grid}: a schedule of another shift than the sampler's model has is not supported yet")
        seed = "seed" if noise.kind == "KSampler" else "noise_seed"
        source = graph.source(noise, seed)
        control = graph.controls.get(noise.id if source is None else source.node.id)
        if control is not None:
            self.notes.append(
                f"{node}: the browser changes its seed after each run ({control}), so a video made with it may "
                "have another"
            )
        places = self._held(sampler, "sampler_name") | self._held(grid, "scheduler", "steps", "denoise")
        places |= self._held(guide, "cfg") | {"seed": self._held(noise, seed)[seed], **model.places}
        self.places |= {f"{node.id}.{name}": place for name, place in places.items()}
        return Stage(
            node=node.id,
            unet=model.unet,
            weight_dtype=model.weight_dtype,
            loras=model.loras,
            shift=model.shift,
            sampler=graph.text(sampler, "sampler_name"),
            schedule=graph.text(grid, "scheduler"),
            steps=graph.whole(grid, "steps"),
            cfg=1.0 if guide.kind == "BasicGuider" else self._decimal(guide, "cfg"),
            seed=graph.whole(noise, seed),
            denoise=1.0 if grid.kind == "KSamplerAdvanced" else graph.number(grid, "denoise"),
            basic_scheduler=basic,
        )

    def _model(self, node: GraphNode) -> _Model:
        """Follow the chain of models that ends in this node's input."""
        graph = self.graph
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
                places = self._held(at, "shift") | places
                shift = self._decimal(at, "shift") if shift is None else shift  # the last in the chain wins
            elif strength := self._decimal(at, "strength_model"):  # 0 is skipped
                loras.insert(0, LoraEntry(name=graph.text(at, "lora_name"), strength=strength))
                places["loras"] = ", ".join(dict.fromkeys([str(at), *filter(None, [places.get("loras")])]))
            output = graph.required(at, "model", "MODEL")
        checkpoint = output.node.kind == "CheckpointLoaderSimple"
        dtype = "default" if checkpoint else graph.text(output.node, "weight_dtype")
        places |= {"unet_name": str(output.node), "weight_dtype": str(output.node)}
        return _Model(self._file(output), dtype, tuple(loras), shift, places)

    def _decimal(self, node: GraphNode, name: str) -> float:
        """A number as its user typed it: the browser writes 5.000000000000001, which gives the sigmas of 5."""
        return round(self.graph.number(node, name), 9)

    def _file(self, output: Output) -> str:
        """The file of a loader: its first input."""
        names = {
            "UNETLoader": "unet_name",
            "CheckpointLoaderSimple": "ckpt_name",
            "CLIPLoader": "clip_name",
            "CLIPVisionLoader": "clip_name",
            "VAELoader": "vae_name",
            "LoadImage": "image",
        }
        return self.graph.text(output.node, names[output.node.kind])

    def _conditioned(self, node: GraphNode, stage: Stage) -> _Sampler:
        if node.kind == "BasicGuider":
            return _Sampler(stage, self._text(node, "conditioning"), None)
        return _Sampler(stage, self._text(node, "positive"), self._text(node, "negative"))

    def _text(self, node: GraphNode, name: str) -> _Text:
        graph = self.graph
        output = graph.required(node, name, "CONDITIONING")
        image = None
        if output.node.kind == "WanImageToVideo":
            image = output.node.id
            output = graph.required(output.node, ("positive", "negative")[output.slot], "CONDITIONING")
        if output.node.kind != "CLIPTextEncode":
            raise graph.error(f"{output.node}: more than one such node in a row is not supported yet")
        place = self._held(output.node, "text")["text"]
        return _Text(graph.text(output.node, "text"), self._encoder(output.node), image, place)

    def _encoder(self, node: GraphNode) -> str:
        output = self.graph.required(node, "clip", "CLIP")
        seen: set[str] = set()
        while output.node.kind == "LoraLoader":  # without effect on Wan's text encoder: bit-equal
            if output.node.id in seen:
                raise self.graph.error(f"{output.node}: its clip depends on itself")
            seen.add(output.node.id)
            output = self.graph.required(output.node, "clip", "CLIP")
        if output.node.kind == "CLIPLoader":
            self.graph.text(output.node, "type")
        return self._file(output)

    def _start(self, node: GraphNode, sampler: _Sampler, vae: str) -> tuple[GraphNode, _Image]:
        """The node with the video's size, and the image that the video starts from."""
        graph, latent = self.graph, self.graph.required(node, "latent_image", "LATENT").node
        used = {text.image for text in (sampler.positive, sampler.negative) if text is not None}
        if latent.kind == "EmptyHunyuanLatentVideo" and used == {None}:
            return latent, _Image()
        if latent.kind != "WanImageToVideo" or used != {latent.id}:
            raise graph.error(
                f"{node}: a latent and prompts that are not of the same WanImageToVideo are not supported yet"
            )
        if graph.source(latent, "start_image") is None:
            raise graph.error(f"{latent}: without a start_image it is not supported yet")
        if self._file(graph.required(latent, "vae", "VAE")) != vae:
            raise graph.error(f"{latent}: another VAE than the one that decodes is not supported yet")
        image = graph.required(latent, "start_image", "IMAGE")
        if image.node.kind != "LoadImage":
            raise graph.error(f"{latent}: a start_image from {image.node} is not supported yet, only from LoadImage")
        places = {"image": str(image.node)}
        encode = graph.source(latent, "clip_vision_output")
        if encode is None:
            return latent, _Image(self._file(image), places=places)
        encode = graph.required(latent, "clip_vision_output", "CLIP_VISION_OUTPUT")
        seen = graph.required(encode.node, "image", "IMAGE")
        if seen.node.kind != "LoadImage" or self._file(seen) != self._file(image):
            raise graph.error(f"{encode.node}: another image than the video's start_image is not supported yet")
        crop: Literal["none", "center"] = "none" if graph.text(encode.node, "crop") == "none" else "center"
        return latent, _Image(
            self._file(image),
            self._file(graph.required(encode.node, "clip_vision", "CLIP_VISION")),
            crop,
            {**places, "clip_crop": self._held(encode.node, "crop")["crop"]},
        )
