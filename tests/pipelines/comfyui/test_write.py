"""Graphs written from settings, read back by the reader of graphs: recordings, previews, every save node."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.comfyui.advice import advise
from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.nodes import NODES
from pipelines.comfyui.settings import LoraEntry, Save, Settings
from pipelines.comfyui.write import api_graph, graph_text, workflow
from pipelines.errors import GraphError
from tests.support.oracle import SAMPLES, sample_recipe
from tests.support.paths import DATA

RECORDINGS = DATA / "comfyui"
PROMPTS = sorted(RECORDINGS.glob("*/float32/prompt.json"))


def recorded(name: str, filename: str | None = None) -> Settings:
    """The settings of a recorded graph, without remarks on how it was read."""
    path = RECORDINGS / name / "float32" / "prompt.json"
    return replace(read_graph(path.read_text(encoding="utf-8"), filename=filename), notes=())


def preview(job: str, index: int) -> Settings:
    settings = advise(sample_recipe(job, index)).settings
    assert settings is not None
    return settings


def same_both_ways(settings: Settings) -> None:
    """Written as an API graph and as a workflow, the settings come back."""
    assert replace(read_graph(graph_text(api_graph(settings))), notes=()) == settings
    assert numbered(replace(read_graph(graph_text(workflow(settings))), notes=())) == numbered(settings)


def numbered(settings: Settings) -> Settings:
    """Without the ids of samplers: a workflow has whole numbers alone, a subgraph's `128:81` is another there."""
    return replace(settings, stages=tuple(replace(stage, node="") for stage in settings.stages))


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.parts[-3])
def test_the_settings_of_every_recording_come_back(path: Path) -> None:
    same_both_ways(recorded(path.parts[-3]))


@pytest.mark.parametrize(("job", "index"), SAMPLES)
def test_the_settings_of_every_preview_come_back(job: str, index: int) -> None:
    same_both_ways(preview(job, index))


@pytest.mark.parametrize(
    "save",
    [
        Save(node="SaveVideo", format="mp4", quality=23),
        Save(node="SaveVideo", format="webm"),
        Save(node="SaveVideo", format="mkv"),
        Save(node="SaveWEBM", format="webm", quality=20),
        Save(node="SaveAnimatedWEBP", format="webp", quality=75),
        Save(node="SaveAnimatedWEBP", format="webp", quality=80, lossless=True),
        Save(node="SaveAnimatedPNG", format="png", lossless=True),
        Save(node="SaveImage", format="png", lossless=True),
        Save(node="PreviewImage", format="png", lossless=True),
    ],
    ids=lambda save: f"{save.node}-{save.format}",
)
def test_every_save_node_comes_back(save: Save) -> None:
    fps = None if save.node in ("SaveImage", "PreviewImage") else 16.0
    same_both_ways(replace(preview("t2v_basic", 0), save=save, fps=fps))


def test_several_loras_and_what_only_an_advanced_sampler_says_come_back() -> None:
    settings = preview("wan22_t2v", 0)
    high, low = settings.stages
    lightning = LoraEntry(name="fast/lightning.safetensors", strength=0.5)
    stages = (
        replace(high, loras=(*high.loras, lightning)),
        replace(low, loras=(), shift=None, weight_dtype="fp8_e5m2"),
    )
    same_both_ways(replace(settings, stages=stages))
    one = preview("t2v_basic", 0)
    (stage,) = one.stages
    same_both_ways(replace(one, stages=(replace(stage, end=3, leftover_noise=True),)))
    same_both_ways(replace(one, stages=(replace(stage, node="128:81", denoise=0.5),), batch_size=2))


def test_a_checkpoint_that_holds_all_three_comes_back() -> None:
    settings = preview("t2v_basic", 0)
    (stage,) = settings.stages
    name = "all-in-one.safetensors"
    same_both_ways(replace(settings, stages=(replace(stage, unet=name),), text_encoder=name, vae=name))


def test_what_is_not_written_is_refused_by_name() -> None:
    settings = preview("t2v_basic", 0)
    with pytest.raises(GraphError, match=r"VHS_VideoCombine \(gif\) is not written"):
        api_graph(replace(settings, save=Save(node="VHS_VideoCombine", format="gif", truncates=False)))
    (stage,) = settings.stages
    with pytest.raises(GraphError, match="node 3: a part of a SamplerCustomAdvanced's steps is not written"):
        api_graph(replace(settings, stages=(replace(stage, basic_scheduler=True, end=4),)))
    with pytest.raises(GraphError, match="a graph of 3 samplers is not written"):
        api_graph(replace(settings, stages=(stage, stage, stage)))


def as_comfyui_says(node: dict[str, Any], spec: dict[str, Any]) -> list[str]:
    """What ComfyUI's server would refuse of a node, by what its nodes said of their own inputs."""
    inputs, given = spec["inputs"], node["inputs"]
    wrong = [name for name in given if name not in inputs]
    wrong += [name for name, entry in inputs.items() if name not in given and not entry.get("optional")]
    for name, value in given.items():
        entry = inputs.get(name, {})
        options, kind = entry.get("options"), entry.get("type")
        if kind in ("INT", "FLOAT") and not entry.get("min", -math.inf) <= value <= entry.get("max", math.inf):
            wrong.append(f"{name} {value}")
        if kind == "INT" and not isinstance(value, int):
            wrong.append(f"{name} {value!r}")
        if isinstance(options, list) and node["class_type"] != "LoadImage" and value not in options:
            wrong.append(f"{name} {value!r}")
    return wrong


def test_comfyui_would_accept_every_node() -> None:
    """By its own list of inputs, types, ranges and options; real ComfyUI ran graphs with the same nodes."""
    specs: dict[str, Any] = json.loads((RECORDINGS / "nodes.json").read_text(encoding="utf-8"))
    made = [preview(job, index) for job, index in SAMPLES] + [recorded(path.parts[-3]) for path in PROMPTS]
    still = replace(preview("t2v_basic", 0), save=Save(node="SaveImage", format="png", lossless=True), fps=None)
    seen = set()
    for settings in (*made, still):
        graph = api_graph(settings)
        for node in graph.values():
            kind = node["class_type"]
            if kind != "PreviewImage":  # the one that is not in the list
                assert as_comfyui_says(node, specs[kind]) == [], kind
            seen.add(kind)
            for link in (value for value in node["inputs"].values() if isinstance(value, list)):
                assert link[1] < len(specs[graph[link[0]]["class_type"]]["outputs"])
    assert {"KSampler", "KSamplerAdvanced", "WanImageToVideo", "SaveAnimatedWEBP", "SaveImage"} <= seen


def test_a_node_that_it_would_refuse_is_noticed() -> None:
    specs: dict[str, Any] = json.loads((RECORDINGS / "nodes.json").read_text(encoding="utf-8"))
    graph = api_graph(preview("t2v_basic", 0))
    graph["3"]["inputs"] |= {"cfg": 101.0, "scheduler": "nrmal", "steps": 2.5, "size": 1}
    del graph["3"]["inputs"]["denoise"]
    assert as_comfyui_says(graph["3"], specs["KSampler"]) == [
        "size", "denoise", "steps 2.5", "cfg 101.0", "scheduler 'nrmal'"
    ]  # fmt: skip


def test_a_workflow_has_the_shape_of_the_recordings() -> None:
    """Its links join an output to an input of one type, each is named at both ends, and seeds stay as they are."""
    made = workflow(preview("wan22_t2v", 0))
    path = RECORDINGS / "wan22-t2v-as-preview" / "float32" / "workflow.json"
    theirs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert set(made) == set(theirs)
    assert set(theirs["nodes"][0]) <= set(made["nodes"][0])
    nodes = {node["id"]: node for node in made["nodes"]}
    assert len(nodes) == len(made["nodes"])
    assert made["last_node_id"] == max(nodes)
    for number, source, output, target, slot, kind in made["links"]:
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[source]["outputs"][output]["type"] == kind
        assert nodes[target]["inputs"][slot]["link"] == number
    samplers = [node["widgets_values"] for node in made["nodes"] if node["type"] == "KSamplerAdvanced"]
    assert samplers == [
        ["enable", 42, "fixed", 6, 5.0, "euler", "normal", 0, 3, "enable"],
        ["disable", 0, "fixed", 6, 5.0, "euler", "normal", 3, 10000, "disable"],
    ]
    boxes = [(*node["pos"], *node["size"]) for node in made["nodes"]]
    for index, (left, top, width, height) in enumerate(boxes):
        for x, y, _, _ in boxes[index + 1 :]:
            assert not (left <= x < left + width and top <= y < top + height), "two nodes lie on each other"


def test_widgets_stand_in_the_order_of_the_recordings() -> None:
    """The browser reads widgets by position: those of each node are as many, and of the same kinds, as recorded."""
    seen: dict[str, list[Any]] = {}
    for path in RECORDINGS.glob("*/float32/workflow.json"):
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            seen.setdefault(node["type"], node["widgets_values"])
    made = [preview("wan22_i2v", 0), preview("i2v_basic", 0), preview("t2v_basic", 0), recorded("t2v-custom-sampler")]
    for settings in made:
        for node in workflow(settings)["nodes"]:
            theirs = seen[node["type"]]
            kinds = [str if isinstance(value, str) else float for value in theirs]
            assert [str if isinstance(value, str) else float for value in node["widgets_values"]] == kinds
            assert node["type"] in NODES
