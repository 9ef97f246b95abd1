"""The pages of `parity explain` are complete, have one structure, and agree with the fixes and the code."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

import parity.factors.catalogue
from parity.factors.catalogue import CATALOGUE, PAGES, explain
from parity.results.diagnosis import Level
from pipelines.drift import Factor
from pipelines.errors import UsageError
from pipelines.quantization import Quantization
from pipelines.recipe import Asked, LoraApplication, Precision, Recipe, Resize
from pipelines.reference.request import LoraItem, PromptItem, Request
from pipelines.scheduler import flow_schedule
from pipelines.weights import Weights
from tests.support.oracle import sample_recipe, whole_pipeline

FOLDER = Path(parity.factors.catalogue.__file__).parent / "explain"
API_KEYS = {*Request.model_fields, *PromptItem.model_fields, *LoraItem.model_fields}
SERVER = {"## What the reference server does", "## What ai-toolkit and the reference server do"}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def what_to_change(page: str) -> str:
    return page.partition("## What to change\n")[2]


def flat(text: str) -> str:
    """Join the lines: line breaks have no meaning."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_shape_of_all(name: str) -> None:
    lines = explain(name).splitlines()
    assert lines[0].startswith(f"# {name}: ")
    headings = [line for line in lines if re.match("#+ ", line)][1:]
    assert "27a03a91" in explain(name)
    assert "af4aec1" in explain(name)
    assert SERVER & set(headings)
    assert headings[-2:] == ["## What it looks like", "## What to change"]
    assert all(heading.startswith("## ") for heading in headings)
    assert 12 <= len(lines) <= 30
    assert max(map(len, lines)) <= 100
    assert what_to_change(explain(name)).strip()


def test_the_folder_contains_the_pages_and_nothing_else() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.md" for name in PAGES)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("shceduler", "scheduler"), ("lora-scale", "lora_scale"), ("enviroment", "environment")],
)
def test_a_misspelt_factor_is_suggested(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown factor '{wrong}'; did you mean {meant}"):
        explain(wrong)


@pytest.mark.parametrize("name", ["../factors", "scheduler.md", ""])
def test_a_page_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(UsageError, match="unknown factor"):
        explain(name)


@pytest.mark.parametrize("name", PAGES)
def test_code_of_a_page_parses(name: str) -> None:
    page = explain(name)
    python, requests = blocks(page, "python"), blocks(page, "json")
    assert 2 * len(python + requests) == page.count("```"), "a block that is neither python nor json, or not closed"
    for code in python:
        compile(code, name, "exec")
    for text in requests:
        assert keys_of(json.loads(text)) <= API_KEYS


def keys_of(value: Any) -> set[str]:
    items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    own = set(value) if isinstance(value, dict) else set()
    return own.union(*map(keys_of, items))


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_refers_to_exists(name: str) -> None:
    text = flat(explain(name))
    assert set(re.findall(r"`parity explain (\w+)`", text)) <= set(PAGES) - {name}
    assert set(re.findall(r"diagnosis (?:then )?says `([^`]+)`", text)) <= set(get_args(Level))


@pytest.fixture
def preview() -> Recipe:
    return sample_recipe("i2v_basic", 0)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_request_key_of_a_fix_is_on_its_page(preview: Recipe, name: Factor) -> None:
    sent = re.match(r"send (\w+) .* in the request", CATALOGUE[name].fix(preview))
    if sent is not None:
        assert sent[1] in API_KEYS
        page = what_to_change(explain(name))
        assert any(sent[1] in keys_of(json.loads(text)) for text in blocks(page, "json"))


@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        ("scheduler", {"scheduler": flow_schedule("flow_match_euler", 3.0)}, ".*"),
        ("scheduler", {"scheduler": flow_schedule("unipc", 3.0)}, "UniPC.*"),
        ("lora_application", {"lora_application": "side_path"}, r"y \+ .*y\.dtype\)"),
        ("lora_application", {"lora_application": "adapter"}, "pipe.*"),
        ("precision", {"precision": Precision("bfloat16", "cast")}, r"part\.to\(.*?\)"),
        ("resize", {"resize": Resize("lanczos", "stretch")}, "PIL.*LANCZOS"),
        ("vae_tiling", {"vae_tiling": True}, ".*"),
        ("vae_tiling", {"vae_tiling": False}, ".*"),
        ("codec", {}, "quality .*"),
        ("quantization", {"quantization": Quantization()}, ".*"),
        ("lora_file", {"lora_files": (), "lora_scales": ()}, "serve without a LoRA"),
        ("checkpoint", {"weights": Weights("wan", text_encoder="ai-toolkit/umt5_xxl_encoder")}, "ai-toolkit/.*"),
    ],
)
def test_the_code_of_a_fix_is_on_its_page(preview: Recipe, name: Factor, changes: dict[str, Any], code: str) -> None:
    found = re.search(code, CATALOGUE[name].fix(dataclasses.replace(preview, **changes)))
    assert found is not None
    assert found[0] in flat(what_to_change(explain(name)))


@pytest.mark.parametrize("way", get_args(LoraApplication))
def test_each_way_to_apply_a_lora_is_explained(way: str) -> None:
    assert f"For `{way}`" in what_to_change(explain("lora_application"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frame_count", Asked(40, 37)),
        ("frame_count", Asked(40, 41)),
        ("precision", Precision("bfloat16", "cast")),
        ("precision", Precision("bfloat16", "kept")),
        ("resize", Resize("lanczos", "stretch")),
        ("resize", Resize("bicubic", "center")),
        ("quantization", Quantization("qfloat8", "qfloat8")),
    ],
)
def test_findings_are_quoted_as_they_read(name: str, value: object) -> None:
    assert f"`{value}`" in flat(explain(name))


@pytest.mark.draws
def test_code_for_cast_and_merge_does_what_the_engine_does() -> None:
    """Someone will paste it: base weights and LoRA end in the engine's bits, and not in those of a plain load."""
    import torch

    from pipelines.engine import lora, precision

    recipe = dataclasses.replace(sample_recipe("t2v_basic", 0), lora_scales=(0.6,))  # 1 would hide where the scale goes
    ours, theirs = whole_pipeline(recipe), whole_pipeline(recipe)
    precision.cast(ours, recipe.precision)
    names = {"torch": torch, "pipe": theirs, "lora_path": str(recipe.lora_files[0].path), "scale": 0.6}

    def paste(name: str) -> None:
        (code,) = blocks(explain(name), "python")
        exec(compile(code, name, "exec"), names)

    assert not same_weights(ours, theirs)
    paste("precision")
    assert same_weights(ours, theirs)
    lora.apply(ours, recipe)
    assert not same_weights(ours, theirs)
    paste("lora_application")
    assert same_weights(ours, theirs)


def same_weights(one: Any, other: Any) -> bool:
    """Dtypes and bits of all parts."""
    import torch

    pairs = [
        (a, b)
        for part in ("transformer", "text_encoder", "vae")
        for a, b in zip(
            [*getattr(one, part).parameters(), *getattr(one, part).buffers()],
            [*getattr(other, part).parameters(), *getattr(other, part).buffers()],
            strict=True,
        )
    ]
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)
