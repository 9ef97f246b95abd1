"""From the node that saved a video back to the files that were loaded: one graph's settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.comfyui.api_graph import ApiGraph, GraphNode, names_of
from pipelines.comfyui.chains import Model, Text, decimal, file_of, held, model_of, start_of, text_of
from pipelines.comfyui.saves import saved_by
from pipelines.comfyui.settings import Settings, Stage

_SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")


@dataclass(frozen=True, slots=True)
class _Sampler:
    """One sampler, read."""

    stage: Stage
    positive: Text
    negative: Text | None
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
        texts = [text for text in (first.positive, first.negative) if text is not None]
        vae = file_of(graph, graph.required(decode, "vae", "VAE"))
        size, image = start_of(graph, nodes[0], texts, vae)
        self.places |= {**held(self.graph, size, "width", "height", "length"), **image.places, "save": str(node)}
        self.places |= {"prompt": first.positive.place, "fps": held(self.graph, node, "video")["video"]}
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
        stage = self._stage(node, model_of(self.graph, node), sampler=node, grid=node, guide=node, noise=node)
        return self._conditioned(node, stage)

    def _advanced(self, node: GraphNode) -> _Sampler:
        graph = self.graph
        stage = self._stage(node, model_of(self.graph, node), sampler=node, grid=node, guide=node, noise=node)
        end = graph.whole(node, "end_at_step")
        own = held(self.graph, node, "start_at_step", "end_at_step", "add_noise", "return_with_leftover_noise")
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
        stage = self._stage(node, model_of(self.graph, node), sampler=sampler, grid=grid, guide=node, noise=node)
        return self._conditioned(node, replace(stage, add_noise=bool(self.graph.value(node, "add_noise"))))

    def _custom_advanced(self, node: GraphNode) -> _Sampler:
        graph = self.graph
        guide, noise = graph.required(node, "guider", "GUIDER").node, graph.required(node, "noise", "NOISE").node
        sampler, grid = graph.required(node, "sampler", "SAMPLER").node, graph.required(node, "sigmas", "SIGMAS").node
        return self._conditioned(
            guide, self._stage(node, model_of(self.graph, guide), sampler=sampler, grid=grid, guide=guide, noise=noise)
        )

    def _stage(
        self,
        node: GraphNode,
        model: Model,
        *,
        sampler: GraphNode,
        grid: GraphNode,
        guide: GraphNode,
        noise: GraphNode,
    ) -> Stage:
        """Make a stage of the nodes that hold the sampler's name, the schedule, the guidance and the seed."""
        graph, basic = self.graph, grid.kind == "BasicScheduler"
        if basic and model_of(self.graph, grid).shift != model.shift:
            raise graph.error(f"{grid}: a schedule of another shift than the sampler's model has is not supported yet")
        seed = "seed" if noise.kind == "KSampler" else "noise_seed"
        source = graph.source(noise, seed)
        control = graph.controls.get(noise.id if source is None else source.node.id)
        if control is not None:
            self.notes.append(
                f"{node}: the browser changes its seed after each run ({control}), so a video made with it may "
                "have another"
            )
        places = held(self.graph, sampler, "sampler_name") | held(self.graph, grid, "scheduler", "steps", "denoise")
        places |= held(self.graph, guide, "cfg") | {"seed": held(self.graph, noise, seed)[seed], **model.places}
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
            cfg=1.0 if guide.kind == "BasicGuider" else decimal(self.graph, guide, "cfg"),
            seed=graph.whole(noise, seed),
            denoise=1.0 if grid.kind == "KSamplerAdvanced" else graph.number(grid, "denoise"),
            basic_scheduler=basic,
        )

    def _conditioned(self, node: GraphNode, stage: Stage) -> _Sampler:
        if node.kind == "BasicGuider":
            return _Sampler(stage, text_of(self.graph, node, "conditioning"), None)
        return _Sampler(stage, text_of(self.graph, node, "positive"), text_of(self.graph, node, "negative"))
