"""API graphs of real ComfyUI into settings; what is damaged, hostile or not supported is one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.comfyui.graph import read_graph
from pipelines.comfyui.settings import LoraEntry, Save, Settings, Stage
from pipelines.errors import GraphError
from tests.support.paths import DATA

RECORDINGS = DATA / "comfyui"
PROMPTS = sorted(RECORDINGS.glob("*/*/prompt.json"))

Graph = dict[str, Any]


def load(name: str) -> Graph:
    graph: Graph = json.loads((RECORDINGS / name / "float32" / "prompt.json").read_text(encoding="utf-8"))
    return graph


_MEADOW = "p0stcard a red square moving right across a meadow"
_POSTCARD = LoraEntry(name="p0stcard_shapes.safetensors", strength=1.0)
_T2V = Settings(
    stages=(
        Stage(
            node="3",
            unet="shapes-t2v.safetensors",
            loras=(_POSTCARD,),
            shift=3.0,
            sampler="euler",
            schedule="normal",
            steps=20,
            cfg=4.0,
            seed=1,
        ),
    ),
    prompt=_MEADOW,
    negative_prompt="",
    text_encoder="shapes-t2v-te.safetensors",
    vae="shapes-t2v-vae.safetensors",
    width=96,
    height=64,
    length=9,
    fps=8.0,
    save=Save(node="SaveVideo", format="mp4", quality=23),
)
_PREVIEWED = replace(_T2V, fps=None, save=Save(node="PreviewImage", format="png", lossless=True))


def stage(base: Settings, **changes: Any) -> Settings:
    return replace(base, stages=tuple(replace(entry, **changes) for entry in base.stages))


_I2V = replace(
    stage(_T2V, unet="shapes-i2v.safetensors", loras=(), seed=42),
    prompt="a red circle moving right across a meadow",
    text_encoder="shapes-i2v-te.safetensors",
    vae="shapes-i2v-vae.safetensors",
    clip_vision="shapes-i2v-clip.safetensors",
    clip_crop="none",
    image="ctrl-shapes.png",
)


def wan22(kind: str, split: int, cfg: float, **changes: Any) -> Settings:
    def expert(noise: str, **more: Any) -> Stage:
        return Stage(
            unet=f"tiny-wan22-{kind}-{noise}.safetensors",
            loras=(LoraEntry(name=f"tiny22_{kind}_{noise}_noise.safetensors", strength=1.0),),
            shift=5.0,
            sampler="euler",
            schedule="normal",
            steps=20,
            cfg=cfg,
            **more,
        )

    stages = (
        expert("high", node="57", seed=42, end=split, leftover_noise=True),
        expert("low", node="58", seed=0, start=split, add_noise=False),
    )
    encoder, vae = f"tiny-wan22-{kind}-te.safetensors", f"tiny-wan22-{kind}-vae.safetensors"
    return replace(_T2V, stages=stages, text_encoder=encoder, vae=vae, **changes)


_GUITAR: dict[str, Any] = {"prompt": "woman playing the guitar, on stage", "fps": 15.0}
EXPECTED = {
    "i2v-euler-normal-3": _I2V,
    "i2v-exact-size": replace(_I2V, clip_crop="center", image="ctrl-shapes-96x64.png"),
    "t2v-cfg-1": stage(_T2V, cfg=1.0),
    "t2v-custom-sampler": stage(_T2V, basic_scheduler=True),
    "t2v-custom-unipc": stage(_T2V, sampler="uni_pc", schedule="simple", shift=8.0, basic_scheduler=True),
    "t2v-euler-normal-3": _T2V,
    "t2v-euler-simple-8": stage(_T2V, schedule="simple", shift=8.0),
    "t2v-fp8": stage(_T2V, weight_dtype="fp8_e4m3fn"),
    "t2v-lora-0.5": stage(_T2V, loras=(replace(_POSTCARD, strength=0.5),)),
    "t2v-lora-loader-clip": _T2V,
    "t2v-no-lora": replace(stage(_T2V, loras=()), prompt="a red square moving right across a meadow"),
    "t2v-no-shift-node": stage(_T2V, shift=None),
    "t2v-odd-size": replace(_T2V, width=100, height=72, length=12),
    "t2v-two-loras": stage(
        _T2V,
        loras=(replace(_POSTCARD, strength=0.8), LoraEntry(name="p0stcard_low_vram.safetensors", strength=0.3)),
    ),
    "t2v-unipc-simple-8": stage(_T2V, sampler="uni_pc", schedule="simple", shift=8.0),
    "t2v-weighted-prompt": replace(_T2V, prompt="p0stcard a (red square:1.4) moving right across a meadow"),
    "wan22-i2v-20-10": wan22(
        "i2v", 10, 4.0, prompt="p3r5on waving", negative_prompt="blurry", image="ctrl-w22.png", fps=16.0
    ),
    "wan22-t2v-20-10": wan22("t2v", 10, 5.0, **_GUITAR),
    "wan22-t2v-as-preview": wan22("t2v", 8, 5.0, **_GUITAR),
}


def expected(name: str) -> Settings:
    """What the recording of that name was made with."""
    if name.startswith("t2v-sampler-"):
        return stage(_PREVIEWED, sampler=name.removeprefix("t2v-sampler-"), schedule="simple", shift=8.0)
    if name.startswith("t2v-sched-"):
        return stage(_PREVIEWED, schedule=name.removeprefix("t2v-sched-"), shift=5.0)
    return EXPECTED[name]


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_every_recording_is_read_to_the_settings_it_was_made_with(path: Path) -> None:
    assert read_graph(path.read_text(encoding="utf-8")) == expected(path.parts[-3])


def test_the_file_name_says_which_save_node_wrote_it() -> None:
    graph = load("t2v-euler-normal-3")
    for name, save, fps in [
        ("t2v-euler-normal-3-float32_00001_.mp4", Save(node="SaveVideo", format="mp4", quality=23), 8.0),
        ("x/t2v-euler-normal-3-float32_00003_.webp", Save(node="SaveAnimatedWEBP", format="webp", quality=80), 8.0),
        ("t2v-euler-normal-3-float32_00002_.webm", Save(node="SaveWEBM", format="webm", quality=32), 8.0),
        ("t2v-euler-normal-3-float32_00001_.png", Save(node="SaveAnimatedPNG", format="png", lossless=True), 8.0),
        ("renamed.mov", Save(node="SaveVideo", format="mp4", quality=23), 8.0),
    ]:
        read = read_graph(graph, filename=name)
        assert (read.save, read.fps) == (save, fps), name


def second_video(graph: Graph) -> Graph:
    """The same graph beside itself, with another seed and prefix."""
    other = {f"9{key}": deepcopy(node) for key, node in graph.items()}
    for node in other.values():
        node["inputs"] = {k: [f"9{v[0]}", v[1]] if isinstance(v, list) else v for k, v in node["inputs"].items()}
    other["93"]["inputs"]["seed"] = 7
    for node in other.values():
        if "filename_prefix" in node["inputs"]:
            node["inputs"]["filename_prefix"] = "video/second-%date:yyyy%"
    return graph | other


def test_of_two_videos_in_one_graph_the_name_decides_and_nothing_else() -> None:
    graph = second_video(load("t2v-euler-simple-8"))
    assert read_graph(graph, filename="t2v-euler-simple-8-float32_00004_.mp4").stages[0].seed == 1
    assert read_graph(graph, filename="second-2026_00001_.mp4").stages[0].seed == 7
    for name in (None, "renamed.mp4"):
        with pytest.raises(GraphError, match=r"saves several videos.*SaveVideo \d+, 9\d+"):
            read_graph(graph, filename=name)


def math(expression: str, **values: float) -> Graph:
    names = {f"values.{name}": value for name, value in values.items()}
    return {"class_type": "ComfyMathExpression", "inputs": {"expression": expression, **names}}


def test_values_come_through_primitives_switches_reroutes_and_expressions() -> None:
    graph = load("t2v-euler-normal-3")
    graph["128:1"] = {"class_type": "PrimitiveInt", "inputs": {"value": 30}, "_meta": {"title": "Steps"}}
    graph["128:2"] = {"class_type": "PrimitiveInt", "inputs": {"value": 4}}
    graph["128:3"] = {"class_type": "PrimitiveBoolean", "inputs": {"value": False}}
    graph["128:4"] = {
        "class_type": "ComfySwitchNode",
        "inputs": {"switch": ["128:3", 0], "on_false": ["128:1", 0], "on_true": ["128:2", 0]},
    }
    graph["128:5"] = math("floor(a * b) + 1", b=16)
    graph["128:5"]["inputs"]["values.a"] = ["128:6", 0]
    graph["128:6"] = {"class_type": "PrimitiveFloat", "inputs": {"value": 5.0}}
    graph["128:7"] = {"class_type": "Reroute", "inputs": {"": ["37", 0]}}
    graph["128:8"] = {  # the LoRA's side of the switch is off, and a node that is not understood is on it
        "class_type": "ComfySwitchNode",
        "inputs": {"switch": ["128:3", 0], "on_false": ["128:7", 0], "on_true": ["128:9", 0]},
    }
    graph["128:9"] = {"class_type": "SomethingNew", "inputs": {"model": ["50", 0]}}
    graph["3"]["inputs"]["steps"] = ["128:4", 0]
    graph["40"]["inputs"]["length"] = ["128:5", 1]
    graph["48"]["inputs"] |= {"model": ["128:8", 0], "shift": 5.000000000000001}
    read = read_graph(graph)
    assert (read.stages[0].steps, read.length, read.stages[0].loras, read.stages[0].shift) == (30, 81, (), 5.0)
    graph["128:3"]["inputs"]["value"] = True
    with pytest.raises(GraphError, match="not supported yet: SomethingNew 128:9"):
        read_graph(graph)


def test_what_is_beside_the_path_to_the_pixels_is_not_looked_at() -> None:
    graph = load("t2v-euler-normal-3")
    graph["99"] = {"class_type": "PreviewAny", "inputs": {"source": ["nowhere", 0]}}
    graph["98"] = {"class_type": "LoadAudio", "inputs": {"audio": "a.wav"}}
    video = next(node for node in graph.values() if node["class_type"] == "CreateVideo")
    video["inputs"]["audio"] = ["98", 0]
    text = json.dumps(graph)
    assert read_graph(text) == _T2V
    assert read_graph(text[:-1] + ', "97": {"class_type": "X", "inputs": {}, "is_changed": [NaN]}}') == _T2V
    assert read_graph({"prompt": graph, "client_id": "x"}) == _T2V


def test_a_strength_of_zero_is_no_lora_and_the_last_shift_wins() -> None:
    graph = load("t2v-two-loras")
    first = next(node for node in graph.values() if node["class_type"] == "LoraLoaderModelOnly")
    first["inputs"]["strength_model"] = 0.0
    sampling = next(key for key, node in graph.items() if node["class_type"] == "ModelSamplingSD3")
    graph["x"] = {"class_type": "ModelSamplingSD3", "inputs": {"shift": 5.0, "model": [sampling, 0]}}
    graph["3"]["inputs"]["model"] = ["x", 0]
    read = read_graph(graph)
    assert len(read.stages[0].loras) == 1
    assert read.stages[0].shift == 5.0


def test_other_nodes_that_are_understood() -> None:
    graph = load("t2v-euler-normal-3")
    decode = next(node for node in graph.values() if node["class_type"] == "VAEDecode")
    decode["class_type"] = "VAEDecodeTiled"
    decode["inputs"] |= {"tile_size": 256, "overlap": 64}
    for node in list(graph.values()):
        for name, value in node["inputs"].items():
            slot = {"37": 0, "38": 1, "39": 2}.get(value[0]) if isinstance(value, list) else None
            if slot is not None:
                node["inputs"][name] = ["c", slot]
    graph["c"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "all.safetensors"}}
    graph["g"] = {"class_type": "BasicGuider", "inputs": {"model": ["48", 0], "conditioning": ["6", 0]}}
    graph["n"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": 2**64 - 1}}
    graph["s"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}}
    graph["b"] = {
        "class_type": "BasicScheduler",
        "inputs": {"scheduler": "beta", "steps": 6, "denoise": 0.5, "model": ["48", 0]},
    }
    graph["3"] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {"noise": ["n", 0], "guider": ["g", 0], "sampler": ["s", 0], "sigmas": ["b", 0]}
        | {"latent_image": ["40", 0]},
    }
    decode["inputs"]["samples"] = ["3", 1]
    graph = {key: node for key, node in graph.items() if not node["class_type"].startswith(("Save", "CreateVideo"))}
    graph["v"] = {
        "class_type": "VHS_VideoCombine",
        "inputs": {"images": ["8", 0], "frame_rate": 16, "filename_prefix": "a", "format": "video/h264-mp4", "crf": 17},
    }
    read = read_graph(graph)
    only = read.stages[0]
    assert {only.unet, read.text_encoder, read.vae} == {"all.safetensors"}
    assert (only.seed, only.cfg, only.schedule, only.steps, only.denoise) == (2**64 - 1, 1.0, "beta", 6, 0.5)
    assert read.save == Save(node="VHS_VideoCombine", format="mp4", quality=17, truncates=False)
    assert read.fps == 16
    assert len(read.notes) == 2
    assert "256" in " ".join(read.notes)
    assert "denoised_output" in " ".join(read.notes)


def combined(**inputs: object) -> Settings:
    """What is read off a graph whose video VideoHelperSuite saved."""
    graph = load("t2v-cfg-1")
    graph = {key: node for key, node in graph.items() if not node["class_type"].startswith(("Save", "CreateVideo"))}
    graph["v"] = {
        "class_type": "VHS_VideoCombine",
        "inputs": {"images": ["8", 0], "frame_rate": 16.0, "filename_prefix": "a", "loop_count": 0} | inputs,
    }
    return read_graph(graph)


@pytest.mark.parametrize(
    ("inputs", "kind", "quality"),
    [
        ({"format": "video/h264-mp4"}, "mp4", 19),
        ({"format": "video/h264-mp4", "crf": 30, "pix_fmt": "yuv420p", "save_metadata": True}, "mp4", 30),
        ({"format": "video/nvenc_h264-mp4"}, "mp4", None),
        ({"format": "video/webm", "crf": 20}, "webm", 20),
        ({"format": "image/gif"}, "gif", None),
        ({"format": "image/webp"}, "webp", None),
    ],
)
def test_formats_of_videohelpersuite(inputs: dict[str, object], kind: str, quality: int | None) -> None:
    read = combined(**inputs)
    assert (read.save.format, read.save.quality, read.save.truncates, read.notes) == (kind, quality, False, ())


@pytest.mark.parametrize("inputs", [{"format": "video/ProRes"}, {"format": "image/gif", "pingpong": True}])
def test_what_videohelpersuite_does_beyond_that_is_refused(inputs: dict[str, object]) -> None:
    with pytest.raises(GraphError, match=r"VHS_VideoCombine v: .*not supported yet"):
        combined(**inputs)


def test_inputs_of_later_versions_are_refused_if_linked_and_said_otherwise() -> None:
    graph = load("i2v-euler-normal-3")
    of("CreateVideo")(graph)["inputs"] |= {"bit_depth": 8, "color_space": "sRGB"}
    of("LoadImage")(graph)["inputs"] |= {"upload": "image"}
    assert read_graph(graph) == _I2V
    of("CreateVideo")(graph)["inputs"]["bit_depth"] = 10
    of("KSampler")(graph)["inputs"]["mood"] = "good"
    assert read_graph(graph).notes == (
        "bit_depth of CreateVideo 57: not known here, not looked at",
        "mood of KSampler 3: not known here, not looked at",
    )
    of("WanImageToVideo")(graph)["inputs"]["ref_pad_image"] = ["52", 0]
    with pytest.raises(GraphError, match="inputs that are not supported yet: ref_pad_image of WanImageToVideo 50"):
        read_graph(graph)


def of(kind: str) -> Callable[[Graph], Graph]:
    return lambda graph: next(node for node in graph.values() if node["class_type"] == kind)


def put(kind: str, **inputs: object) -> Callable[[Graph], None]:
    return lambda graph: of(kind)(graph)["inputs"].update(inputs)


def add(key: str, kind: str, **inputs: object) -> Callable[[Graph], None]:
    return lambda graph: graph.update({key: {"class_type": kind, "inputs": inputs}})


def both(*changes: Callable[[Graph], object]) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        for entry in changes:
            entry(graph)

    return change


MISTAKES: list[tuple[str, Callable[[Graph], object], str]] = [
    ("t2v-euler-normal-3", put("KSampler", steps=0), "KSampler 3: steps must be from 1 to 10000, is 0"),
    ("t2v-euler-normal-3", put("KSampler", steps=2.5), "steps must be a whole number, is 2.5"),
    ("t2v-euler-normal-3", put("KSampler", steps="20"), 'steps must be a number, is "20"'),
    ("t2v-euler-normal-3", put("KSampler", steps=True), "steps must be a number, is true"),
    ("t2v-euler-normal-3", put("KSampler", cfg=float("nan")), "cfg must be a finite number"),
    ("t2v-euler-normal-3", put("KSampler", seed=2**64), "seed must be from 0 to 18446744073709551615"),
    ("t2v-euler-normal-3", put("KSampler", denoise=1.5), "denoise must be from 0 to 1, is 1.5"),
    ("t2v-euler-normal-3", put("KSampler", sampler_name=["x"]), "sampler_name must be text, is a list"),
    ("t2v-euler-normal-3", lambda graph: graph["3"]["inputs"].pop("cfg"), "KSampler 3: has no cfg"),
    ("t2v-euler-normal-3", put("KSampler", model=["99", 0]), "input model leads to node 99, which is not there"),
    ("t2v-euler-normal-3", put("KSampler", model=["38", 0]), "gives CLIP, not MODEL"),
    ("t2v-euler-normal-3", put("KSampler", model=["37", 4]), "which has no such output, not MODEL"),
    ("t2v-euler-normal-3", put("KSampler", model=1), "input model is not connected"),
    ("t2v-euler-normal-3", put("KSampler", latent_image=["3", 0]), "its latent depends on itself"),
    ("t2v-euler-normal-3", put("ModelSamplingSD3", model=["48", 0]), "its model depends on itself"),
    ("t2v-euler-normal-3", put("KSampler", steps=["48", 0]), "steps comes from ModelSamplingSD3 48"),
    ("t2v-euler-normal-3", put("CLIPLoader", type="sd3"), 'type must be wan, is "sd3"'),
    ("t2v-euler-normal-3", put("UNETLoader", weight_dtype="int4"), "weight_dtype must be default or fp8_e4m3fn"),
    ("t2v-euler-normal-3", put("EmptyHunyuanLatentVideo", width=8), "width must be from 16 to 16384"),
    ("t2v-euler-normal-3", put("VAEDecode", samples=["40", 0]), "which no sampler has worked on"),
    (
        "t2v-euler-normal-3",
        both(
            put("KSampler", steps=["m", 1]),
            add("m", "ComfyMathExpression", expression="a + 1", **{"values.a": ["m", 1]}),
        ),
        "depends on itself",
    ),
    (
        "t2v-euler-normal-3",
        both(put("KSampler", steps=["m", 1]), add("m", "ComfyMathExpression", expression="9 / 2")),
        "gives 4.5, no whole number",
    ),
    (
        "t2v-euler-normal-3",
        both(put("KSampler", model=["r", 0]), add("r", "Reroute", x=["r", 0])),
        "more than 50 reroutes and switches",
    ),
    (
        "t2v-euler-normal-3",
        both(put("KSampler", model=["s", 0]), add("s", "ComfySwitchNode", switch=True, on_false=["37", 0])),
        "is set to on_true, which is not connected",
    ),
    (
        "t2v-euler-normal-3",
        both(put("VAEDecode", samples=["u", 0]), add("u", "LatentUpscale", samples=["3", 0])),
        "not supported yet: LatentUpscale u",
    ),
    (
        "t2v-euler-normal-3",
        both(
            put("KSampler", positive=["z", 0]),
            put("ModelSamplingSD3", model=["t", 0]),
            add("z", "ConditioningZeroOut", conditioning=["6", 0]),
            add("t", "TorchCompileModel", model=["50", 0]),
        ),
        "not supported yet: ConditioningZeroOut z; TorchCompileModel t",
    ),
    ("t2v-custom-sampler", put("BasicScheduler", model=["50", 0]), "a schedule of another shift"),
    ("wan22-t2v-20-10", lambda graph: graph["58"]["inputs"].update(add_noise="enable"), "adding noise to what another"),
    ("wan22-t2v-20-10", lambda graph: graph["57"]["inputs"].update(add_noise="disable"), "first sampler that adds no"),
    ("wan22-t2v-20-10", lambda graph: graph["58"]["inputs"].update(positive=["7", 0]), "different prompts or images"),
    ("i2v-euler-normal-3", lambda graph: graph["50"]["inputs"].pop("start_image"), "without a start_image"),
    ("i2v-euler-normal-3", put("KSampler", positive=["6", 0]), "not of the same WanImageToVideo"),
    (
        "i2v-euler-normal-3",
        both(add("i", "LoadImage", image="other.png"), put("CLIPVisionEncode", image=["i", 0])),
        "CLIPVisionEncode 51: another image than the video's start_image",
    ),
    ("i2v-euler-normal-3", put("CLIPVisionEncode", image=["52", 1]), "gives MASK, not IMAGE"),
]


@pytest.mark.parametrize(("name", "change", "message"), MISTAKES, ids=[message for _, _, message in MISTAKES])
def test_a_graph_that_cannot_be_read_is_one_message(name: str, change: Callable[[Graph], object], message: str) -> None:
    graph = load(name)
    change(graph)
    with pytest.raises(GraphError) as caught:
        read_graph(graph, where="a.png")
    assert str(caught.value).startswith("a.png: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no readable JSON"),
        ("[]", "is no ComfyUI graph"),
        ("{}", "has no nodes"),
        ('{"3": 1}', "node 3 has no class_type"),
        ('{"3": {"class_type": "KSampler", "inputs": []}}', "node 3 has no class_type"),
        ('{"3": {"class_type": "KSampler", "inputs": {}}}', "no node that is known to save"),
        ("[" * 100_000, "is no readable JSON"),
        ('{"a": ' + "9" * 5000 + "}", "is no readable JSON"),
        (json.dumps({str(n): {"class_type": "X", "inputs": {}} for n in range(4001)}), "more than 4000"),
        ('"' + "x" * (17 << 20) + '"', "17 MiB of JSON"),
        ('{"3\\u001b[31m": {"class_type": "SaveImage", "inputs": {"images": ["\\n\\n", 0]}}}', r"leads to node"),
    ],
    ids=lambda text: text[:30],
)
def test_text_that_is_no_graph_is_one_message(text: str, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        read_graph(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_many_values_that_depend_on_each_other_take_no_time() -> None:
    graph = load("t2v-euler-normal-3")
    for n in range(40):  # each twice on the one before: 2^40 without remembering
        graph[f"m{n}"] = math("min(a, b)", a=20, b=20)
        if n:
            graph[f"m{n}"]["inputs"] |= {"values.a": [f"m{n - 1}", 1], "values.b": [f"m{n - 1}", 1]}
    graph["3"]["inputs"]["steps"] = ["m39", 1]
    assert read_graph(graph).stages[0].steps == 20


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.one_of(st.sampled_from(["3", "6", "8", "37", "48", "57"]), st.integers(-1, 3)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(
    st.sampled_from(["t2v-euler-normal-3", "wan22-i2v-20-10", "t2v-custom-sampler", "i2v-euler-normal-3"]), st.data()
)
@settings(max_examples=150, deadline=None)
def test_a_mutated_graph_is_read_or_refused_with_one_message(name: str, data: st.DataObject) -> None:
    graph = load(name)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(graph)))
        node = graph[key]
        how = data.draw(st.sampled_from(["remove", "kind", "value", "link", "node"]))
        inputs = sorted(node["inputs"]) if isinstance(node, dict) and isinstance(node.get("inputs"), dict) else []
        if how == "node" or not inputs:
            graph[key] = data.draw(LEAVES)
        elif how == "remove":
            del node["inputs"][data.draw(st.sampled_from(inputs))]
        elif how == "kind":
            node["class_type"] = data.draw(st.sampled_from(sorted(of_all(graph))))
        elif how == "value":
            node["inputs"][data.draw(st.sampled_from(inputs))] = data.draw(LEAVES)
        else:
            node["inputs"][data.draw(st.sampled_from(inputs))] = [data.draw(st.sampled_from(sorted(graph))), 0]
    try:
        read = read_graph(graph)
    except GraphError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert isinstance(read, Settings)


def of_all(graph: Graph) -> set[str]:
    return {
        node["class_type"] for node in graph.values() if isinstance(node, dict) and isinstance(node["class_type"], str)
    }
