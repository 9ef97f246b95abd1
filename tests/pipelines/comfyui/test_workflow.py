"""Workflows, as ComfyUI's browser saves them, give the settings of the graph that it runs; official templates too."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.nodes import NODES
from pipelines.comfyui.settings import LoraEntry, Settings
from pipelines.errors import GraphError
from tests.comfyui_templates import row_of, templates
from tests.support.paths import DATA

RECORDINGS = DATA / "comfyui"
WORKFLOWS = sorted(RECORDINGS.glob("*/*/workflow.json"))

Json = dict[str, Any]


def load(name: str) -> Json:
    data: Json = json.loads((RECORDINGS / name / "float32" / "workflow.json").read_text(encoding="utf-8"))
    return data


def node(data: Json, kind: str) -> Json:
    found: Json = next(entry for entry in data["nodes"] if entry["type"] == kind)
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_the_workflow_of_every_recording_gives_the_settings_of_the_graph_that_ran(path: Path) -> None:
    ran = read_graph((path.parent / "prompt.json").read_text(encoding="utf-8"))
    assert read_graph(path.read_text(encoding="utf-8")) == ran


TEMPLATES = templates()
WHOLE = {
    "image_to_video_wan": "uni_pc/simple, 20 steps, cfg 6, shift 8, 512x512, 33 frames, 16 fps, no LoRA",
    "text_to_video_wan": "uni_pc/simple, 30 steps, cfg 6, shift 8, 832x480, 33 frames, 16 fps, no LoRA",
    "video_wan2_2_14B_i2v": (
        "euler/simple, 20 steps, cfg 3.5, shift 5, 5, split at 10, 640x640, 81 frames, 16 fps, no LoRA"
    ),
    "video_wan2_2_14B_t2v": (
        "euler/simple, 20 steps, cfg 3.5, shift 5, 5, split at 10, 640x640, 81 frames, 16 fps, no LoRA"
    ),
}
BESIDE = {
    "api_wan_image_to_video": {"LoadAudio"},  # connected to nothing
    "api_wan_text_to_video": {"LoadAudio"},
    "video_wan21_scail2_character_replacement": {"PreviewAny"},  # shows a value
    "video_wan21_scail2_character_replacement_int8": {"PreviewAny"},
    "video_wan2_1_infinitetalk": {"AudioConcat"},  # of the sound alone
    "video_wan2_2_14B_fun_control": {"Canny"},  # bypassed
    "video_wan2_2_5B_fun_control": {"Canny"},  # bypassed
    "video_wan_vace_14B_v2v": {"Canny"},  # bypassed
    "video_wan_animate2": {"ContextWindowsManual"},  # behind a switch that is off
    "video_wan_animate2_distilled": {"ContextWindowsManual", "PreviewAny"},
    "video_wan_vace_14B_ref2v": {"RepeatImageBatch", "SolidMask", "ImageToMask", "MaskToImage"},  # bypassed
    "video_wan_vace_inpainting": {"MaskPreview"},
    "video_wanmove_480p": {"WanMoveTracksFromCoords", "WanMoveVisualizeTracks"},
}
"""Nodes that are in a template and that its pixels do not depend on."""


def test_all_official_templates_are_there() -> None:
    listed = json.loads((RECORDINGS / "templates.json").read_text(encoding="utf-8"))
    assert {f"{name}.json" for name in TEMPLATES} == set(listed)
    assert len(TEMPLATES) == 45


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_an_official_template_is_parsed_or_refused_by_the_nodes_its_pixels_need(name: str) -> None:
    """`templates.json` was counted by another program."""
    row = row_of(name, TEMPLATES[name])
    listed = json.loads((RECORDINGS / "templates.json").read_text(encoding="utf-8"))[f"{name}.json"]["node_types"]
    shown = {"MarkdownNote", "Note", "PrimitiveNode", "RecordAudio"}
    beyond = {kind for kind in listed if kind not in NODES and kind not in shown and not kind.startswith("subgraph:")}
    assert set(row.nodes) == beyond - BESIDE.get(name, set())
    state = "parsed" if name in WHOLE else "paid API" if name.startswith("api_") else "refused"
    assert (row.state, row.says if name in WHOLE else None) == (state, WHOLE.get(name))


LIGHTNING = {
    "video_wan2_2_14B_i2v": "wan2.2_i2v_lightx2v_4steps_lora_v1_{}_noise.safetensors",
    "video_wan2_2_14B_t2v": "wan2.2_t2v_lightx2v_4steps_lora_v1.1_{}_noise.safetensors",
}


def switched_on(name: str) -> Json:
    """A template with its lightning LoRAs enabled, by the widget that its user sees."""
    data: Json = json.loads(json.dumps(TEMPLATES[name]))
    if name == "video_wan2_2_14B_i2v":  # the subgraph's node has the values
        next(entry for entry in data["nodes"] if entry["id"] == 129)["widgets_values"][-1] = True
    else:  # the node within has them
        inner = data["definitions"]["subgraphs"][0]["nodes"]
        next(entry for entry in inner if entry["type"] == "PrimitiveBoolean")["widgets_values"] = [True]
    return data


@pytest.mark.parametrize("name", sorted(LIGHTNING))
def test_a_switch_of_the_template_changes_steps_cfg_split_and_loras(name: str) -> None:
    read = read_graph(switched_on(name))
    for stage, noise in zip(read.stages, ("high", "low"), strict=True):
        assert (stage.steps, stage.cfg, stage.shift) == (4, 1.0, 5.0)
        assert stage.loras == (LoraEntry(name=LIGHTNING[name].format(noise), strength=1.0),)
    assert (read.stages[0].end, read.stages[1].start) == (2, 2)
    assert [note.split(":")[-1].strip()[:40] for note in read.notes] == [
        "the browser changes its seed after each r"[:40]
    ]


def mode(kind: str, value: int) -> Callable[[Json], None]:
    return lambda data: node(data, kind).update(mode=value)


def test_a_bypassed_lora_is_no_lora() -> None:
    data = load("t2v-euler-normal-3")
    mode("LoraLoaderModelOnly", 4)(data)
    ran = read_graph((RECORDINGS / "t2v-euler-normal-3/float32/prompt.json").read_text(encoding="utf-8"))
    assert read_graph(data) == replace(ran, stages=(replace(ran.stages[0], loras=()),))


def test_a_muted_node_is_not_there() -> None:
    data = load("t2v-euler-normal-3")
    mode("SaveVideo", 2)(data)
    assert read_graph(data).save.node == "SaveAnimatedWEBP"
    mode("LoraLoaderModelOnly", 2)(data)
    with pytest.raises(GraphError, match="its input model is not connected"):
        read_graph(data)


def test_reroutes_and_primitives_of_the_browser_are_followed() -> None:
    data = load("t2v-euler-normal-3")
    sampler, size = node(data, "KSampler"), node(data, "EmptyHunyuanLatentVideo")
    data["nodes"] += [
        {"id": 200, "type": "PrimitiveNode", "outputs": [{"type": "INT"}], "widgets_values": [17, "fixed"]},
        {
            "id": 201,
            "type": "Reroute",
            "inputs": [{"name": "", "type": "*", "link": 901}],
            "outputs": [{"type": "LATENT"}],
        },
        {"id": 202, "type": "Note", "widgets_values": ["hello"]},
    ]
    data["links"] += [[900, 200, 0, size["id"], 0, "INT"], [901, size["id"], 0, 201, 0, "*"], [902, 201, 0, 3, 3, "*"]]
    size["inputs"] = [{"name": "length", "type": "INT", "widget": {"name": "length"}, "link": 900}]
    next(entry for entry in sampler["inputs"] if entry["name"] == "latent_image")["link"] = 902
    assert read_graph(data).length == 17


def test_a_seed_that_the_browser_changes_is_said() -> None:
    data = load("t2v-euler-normal-3")
    values = node(data, "KSampler")["widgets_values"]
    assert values[1] == "fixed"
    values[1] = "randomize"
    assert read_graph(data).notes == (
        "KSampler 3: the browser changes its seed after each run (randomize), so a video made with it may have another",
    )


def test_values_by_name_are_read_as_they_are() -> None:
    """The nodes of VideoHelperSuite keep their widgets' values by name."""
    data = load("t2v-euler-normal-3")
    video = node(data, "CreateVideo")
    data["nodes"] = [entry for entry in data["nodes"] if not entry["type"].startswith("Save") and entry != video]
    values = {"frame_rate": 24, "filename_prefix": "x", "format": "image/webp", "pingpong": False, "videopreview": {}}
    data["nodes"].append({"id": 300, "type": "VHS_VideoCombine", "inputs": video["inputs"], "widgets_values": values})
    read = read_graph(data)
    assert (read.save.format, read.save.truncates, read.fps) == ("webp", False, 24)


def nested(data: Json, depth: int, *, again: int = 1) -> Json:
    """Put everything into a subgraph that holds itself, or `depth` others within each other."""
    definitions = [
        {"id": f"s{n}", "nodes": [{"id": m, "type": f"s{n + 1}", "inputs": []} for m in range(again)], "links": []}
        for n in range(depth)
    ]
    last = {"id": f"s{depth}", "nodes": [{"id": 1, "type": "Note"}] * 100, "links": []}
    data["nodes"].append({"id": 500, "type": "s0", "inputs": []})
    return data | {"definitions": {"subgraphs": [*definitions, last]}}


HOSTILE: list[tuple[str, Callable[[Json], Json]]] = [
    ("subgraphs within each other", lambda data: nested(data, 30)),
    ("more than 4000 nodes", lambda data: nested(data, 6, again=10)),
    (
        "subgraphs within each other",
        lambda data: (
            nested(data, 0)
            | {"definitions": {"subgraphs": [{"id": "s0", "nodes": [{"id": 1, "type": "s0"}], "links": []}]}}
        ),
    ),
    ("more than 4000 nodes", lambda data: data | {"nodes": [{"id": n, "type": "X"} for n in range(4001)]}),
    ("links, more than 20000", lambda data: data | {"links": [[n, 1, 0, 2, 0, "*"] for n in range(20_001)]}),
    ("inputs and values", lambda data: data | {"nodes": [{"id": 1, "type": "X", "inputs": [{}] * 100_001}]}),
    ("inputs and values", lambda data: data | {"nodes": [{"id": 1, "widgets_values": [1] * 100_001}]}),
    ("has no nodes", lambda data: data | {"nodes": []}),
    ("no node that is known to save", lambda data: data | {"nodes": [None, 3, [], {"id": {}}]}),
    ("is not connected", lambda data: data | {"links": {}}),
    ("is not connected", lambda data: data | {"links": [3, [1], [[], [], [], [], []]]}),
    ("passes more than 50 reroutes", lambda data: circle(data)),
    ("BatchX (bypassed, several inputs) 600", lambda data: ambiguous(data)),
]


def circle(data: Json) -> Json:
    data["nodes"].append({"id": 700, "type": "Reroute", "inputs": [{"link": 970}]})
    data["links"] += [[970, 700, 0, 700, 0, "*"], [971, 700, 0, 3, 0, "*"]]
    node(data, "KSampler")["inputs"][0]["link"] = 971
    return data


def ambiguous(data: Json) -> Json:
    two = [{"name": name, "type": "MODEL", "link": 960} for name in "ab"]
    data["nodes"].append({"id": 600, "type": "BatchX", "mode": 4, "inputs": two, "outputs": [{"type": "MODEL"}]})
    data["links"].append([961, 600, 0, 3, 0, "MODEL"])
    node(data, "KSampler")["inputs"][0]["link"] = 961
    return data


@pytest.mark.parametrize(("message", "change"), HOSTILE, ids=[f"{n}-{entry[0]}" for n, entry in enumerate(HOSTILE)])
def test_a_hostile_workflow_is_one_message(message: str, change: Callable[[Json], Json]) -> None:
    with pytest.raises(GraphError) as caught:
        read_graph(change(load("t2v-euler-normal-3")), where="a.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("a.json: ")
    assert str(caught.value).isprintable()


def test_values_of_a_subgraph_that_do_not_fit_its_widgets_are_not_guessed() -> None:
    data = switched_on("video_wan2_2_14B_i2v")
    next(entry for entry in data["nodes"] if entry["id"] == 129)["widgets_values"].pop()
    with pytest.raises(GraphError, match="values of a subgraph: 11 for 12 widgets"):
        read_graph(data)


PLACES = st.lists(st.integers(0, 40), min_size=1, max_size=7)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 130), st.floats(), st.text(max_size=3), st.just([]), st.just({})
)


@given(st.sampled_from(["t2v-custom-sampler", "i2v-euler-normal-3", "wan22-t2v-20-10", *sorted(LIGHTNING)]), st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_workflow_is_read_or_refused_with_one_message(name: str, data: st.DataObject) -> None:
    workflow = json.loads(json.dumps(TEMPLATES[name])) if name in LIGHTNING else load(name)
    for _ in range(data.draw(st.integers(1, 4))):
        at: Any = workflow
        for place in data.draw(PLACES):
            below = at.values() if isinstance(at, dict) else at
            holders = [entry for entry in below if isinstance(entry, (dict, list)) and entry]
            if not holders:
                break
            at = holders[place % len(holders)]
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        at[key] = data.draw(VALUES)
    try:
        read = read_graph(workflow)
    except GraphError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert isinstance(read, Settings)
