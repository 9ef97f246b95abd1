"""The length of prompts is bounded before a text is made, at each place where a trigger word is put in."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parity.case.load import DEMO
from pipelines.aitoolkit.job import read_job
from pipelines.comfyui_text import MAX_WEIGHT, segments
from pipelines.errors import CaseError, UnreproducibleError
from pipelines.prompts import MAX_CHARACTERS, with_trigger
from pipelines.reference.request import Request, check_prompts

LONGEST = "a" * MAX_CHARACTERS


def test_a_prompt_at_the_limit_and_one_character_more() -> None:
    assert with_trigger("[trigger]" * 100, "x" * (MAX_CHARACTERS // 100)) == "x" * MAX_CHARACTERS
    assert with_trigger(LONGEST, None) == LONGEST
    assert with_trigger("[trigger]" * 6000, "x") == "x" * 6000
    with pytest.raises(ValueError, match="has 50001 characters, more than the limit of 50000"):
        with_trigger(LONGEST + "a", None)
    with pytest.raises(ValueError, match=r"has 50001 characters with 500 for each of 100 \[trigger\]"):
        with_trigger("[trigger]" * 100 + "a", "x" * 500)


def test_the_long_text_is_never_made() -> None:
    prompt, trigger = "[trigger]" * 5000, "x" * 6000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="has 30000000 characters"):
            with_trigger(prompt, trigger)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def request(**item: Any) -> Request:
    body = {"model": "wan21_14b", "loras": [{"path": "x"}], "prompts": [{"prompt": "a"}, {"prompt": "b"} | item]}
    return Request.model_validate(body)


def test_a_request_names_the_prompt() -> None:
    assert check_prompts(request(prompt="[trigger]" * 100, trigger_word="x" * 500)) is None
    where, message = check_prompts(request(prompt="[trigger]" * 101, trigger_word="x" * 500)) or ((), "")
    assert where == ("prompts", 1, "prompt")
    assert message.startswith("has 50500 characters")


@pytest.mark.parametrize("key", ["prompt", "neg", "trigger_word"])
def test_each_text_of_a_request_has_the_limit(key: str) -> None:
    assert getattr(request(**{key: LONGEST}).prompts[1], key) == LONGEST
    with pytest.raises(ValueError, match=f"prompts.1.{key}\n  String should have at most 50000 characters"):
        request(**{key: LONGEST + "a"})


@pytest.mark.parametrize(
    ("process", "key"),
    [
        ({"trigger_word": "x" * 500, "sample": {"prompts": ["a", "[trigger]" * 101]}}, "sample.prompts[1].prompt"),
        ({"trigger_word": "x" * 500, "sample": {"samples": [{"prompt": "[trigger]" * 101}]}}, "sample.samples[0]"),
        ({"sample": {"prompts": ["a" * 50_001]}}, "sample.prompts[0].prompt"),
        ({"trigger_word": "x" * 50_001, "sample": {"prompts": ["a"]}}, "trigger_word"),
        ({"sample": {"prompts": ["a"], "neg": "n" * 50_001}}, "sample.neg"),
        ({"sample": {"samples": [{"prompt": "a", "neg": "n" * 50_001}]}}, "sample.samples[0].neg"),
    ],
)
def test_a_job_names_file_line_and_key(tmp_path: Path, process: dict[str, Any], key: str) -> None:
    path = tmp_path / "config.yaml"
    whole = {"model": {"name_or_path": "x"}} | process
    path.write_text("job: extension\n" + json.dumps({"config": {"name": "job", "process": [whole]}})[1:-1])
    with pytest.raises(CaseError) as caught:
        read_job(path)
    assert str(caught.value).startswith(f"{path}:2: config.process[0].{key}")
    assert "more than the limit of 50000" in str(caught.value)


def test_a_jobs_name_is_not_multiplied_without_end(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    process = {"model": {"name_or_path": "x"}, "sample": {"prompts": ["[name]" * 20_000]}}
    path.write_text(json.dumps({"config": {"name": "n" * 1000, "process": [process]}}))
    with pytest.raises(CaseError, match=r"config\.name: has 1000 characters, which .* each of 20000 \[name\]"):
        read_job(path)
    deep = '", "b": ' + "[" * 50_000 + "]" * 50_000 + ', "c": "'
    path.write_text(json.dumps({"config": {"name": deep, "process": [process | {"sample": {"prompts": ["[name]"]}}]}}))
    with pytest.raises(CaseError, match=r"breaks ai-toolkit's \[name\] tags"):
        read_job(path)


@pytest.mark.parametrize("encoding", ["diffusers", "comfyui"])
def test_no_tokenizer_is_given_a_longer_text(encoding: Any) -> None:
    import torch

    from pipelines.engine.text import encode

    with pytest.raises(UnreproducibleError, match="a prompt has 50001 characters"):
        encode(None, LONGEST + "a", encoding, torch.device("cpu"))


def test_tokens_are_counted_before_the_encoder_runs() -> None:
    """With the demo's own tokenizer, and an encoder that would fail."""
    import torch

    from pipelines.engine.text import MAX_TOKENS, encode
    from pipelines.engine.torch_setup import declare_missing_torchvision_operators

    declare_missing_torchvision_operators()
    from transformers import AutoTokenizer

    folder = DEMO / "models" / "tiny-wan-t2v" / "tokenizer"
    pipe = SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True), transformer=None)
    a_word = len(pipe.tokenizer("a", add_special_tokens=False).input_ids)
    text = "a " * (MAX_TOKENS // a_word)
    with pytest.raises(UnreproducibleError, match=rf"has {MAX_TOKENS // a_word * a_word + 1} tokens, .* 4096 are not"):
        encode(pipe, text, "comfyui", torch.device("cpu"))


def test_weights_of_comfyui_are_finite() -> None:
    assert segments(f"(a:{MAX_WEIGHT:.0f})")[0].weight == MAX_WEIGHT
    for text in ("(a:1001)", f"(a:{'9' * 400})", "(" * 100 + "a" + ")" * 100, "(" * 20_000 + "a" + ")" * 20_000):
        with pytest.raises(UnreproducibleError, match="a weight above 1000"):
            segments(text)
    assert segments("(" * 20_000 + ")" * 20_000) == ()
