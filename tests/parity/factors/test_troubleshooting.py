"""The pages that start from a symptom: complete, found by the words people use, and their commands are commands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from huggingface_hub import constants

import parity.factors.troubleshooting
from parity.cli.main import main, whole_parser
from parity.factors.catalogue import PAGES
from parity.factors.troubleshooting import SYMPTOMS, document, find_symptoms, read_symptom
from pipelines.aitoolkit.job import SAMPLE_DEFAULTS
from pipelines.catalog import MODELS
from pipelines.errors import UsageError
from tests.support.paths import ROOT

FOLDER = Path(parity.factors.troubleshooting.__file__).parent / "symptoms"


def test_the_folder_contains_the_pages_and_nothing_else() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.md" for name in SYMPTOMS)


def test_the_document_is_current() -> None:
    command = "python -m parity.factors.troubleshooting >docs/troubleshooting.md"
    assert (ROOT / "docs" / "troubleshooting.md").read_text() == document(), f"run: {command}"


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_page_has_the_shape_of_all(name: str) -> None:
    page = read_symptom(name)
    lines = page.text.splitlines()
    assert [line for line in lines if line.startswith("#")] == [f"# {page.title}", "## Decide", "## Change"]
    assert page.commands
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert page.text.partition("## Change\n")[2].strip()


@pytest.mark.parametrize("name", SYMPTOMS)
def test_commands_and_factors_of_a_page_exist(name: str) -> None:
    """Also the commands in the text, unless they leave something out."""
    page = read_symptom(name)
    flat = " ".join(page.text.split())
    inline = [line for line in re.findall(r"`(parity [^`]+)`", flat) if "…" not in line]
    for line in (*page.commands, *inline):
        whole_parser().parse(shlex.split(line)[1:])
    assert set(re.findall(r"`parity explain (\w+)`", flat)) <= set(PAGES)


def test_a_command_that_is_none_is_noticed() -> None:
    with pytest.raises(SystemExit):
        whole_parser().parse(["diagnose", "my_case.yaml", "--quik"])


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("samples look better than inference", "better-than-inference"),
        ("the LoRA does nothing", "lora-does-nothing"),
        ("no effect", "lora-does-nothing"),
        ("LoRA too strong", "lora-too-strong-or-weak"),
        ("Motion is too fast!", "motion-speed"),
        ("colors look washed out", "colours"),
        ("colours are washed out", "colours"),
        ("flickering", "frames-or-flicker"),
        ("41 frames instead of 37", "frames-or-flicker"),
        ("works in ComfyUI but not here", "works-in-comfyui"),
        ("same seed, other video after an update", "other-video-after-update"),
        ("random every run", "other-video-each-time"),
        ("black video", "black-or-noise"),
        ("the download stalls at 99%", "download-stalls"),
        ("CUDA out of memory", "out-of-memory"),
        ("the run hangs", "run-hangs"),
        ("the gate is red and nothing changed", "gate-red-nothing-changed"),
        ("preview unpairable", "unpairable"),
        ("or-noise", "black-or-noise"),
    ],
)
def test_the_words_people_use_find_the_page(words: str, name: str) -> None:
    assert find_symptoms(words)[0].name == name


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_page_is_found_by_name_and_title(name: str) -> None:
    page = read_symptom(name)
    assert [found.name for found in find_symptoms(name)] == [name]
    assert find_symptoms(page.title)[0].name == name


@pytest.mark.parametrize(
    ("words", "said"), [("flikker", "did you mean flicker"), ("xyzzy", "try other words, or one of: better-than")]
)
def test_what_fits_nothing_is_said(words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_symptoms(words)


def test_the_command_prints_the_best_and_names_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--symptom", "video", "flickers"]) == 0
    best, *others = find_symptoms("video flickers")
    said = capsys.readouterr().out
    assert said.startswith(best.text)
    assert re.findall(r"^  parity explain --symptom (\S+)$", said, re.MULTILINE) == [page.name for page in others]
    assert main(["explain", "--symptom"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SYMPTOMS)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json", "--symptom", "out", "of", "memory"]) == 0
    (page, *_) = json.loads(capsys.readouterr().out)["symptoms"]
    assert page["name"] == "out-of-memory"
    assert page["commands"] == list(read_symptom("out-of-memory").commands)
    assert main(["explain", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["factors"]] == list(PAGES)
    assert main(["explain", "seed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["factors"][0]["page"].startswith("# seed: ")


def test_a_symptom_given_as_a_factor_is_recognized(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "flickering"]) == 2
    assert "as a symptom: parity explain --symptom flickering" in capsys.readouterr().err


def test_a_factor_and_a_symptom_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "seed", "--symptom", "random"]) == 2
    assert "not both" in capsys.readouterr().err


def test_figures_of_the_pages_are_those_of_code_and_libraries() -> None:
    """An update of a library, or of a default, must not leave a page behind."""
    texts = {name: " ".join(read_symptom(name).text.split()) for name in SYMPTOMS}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    everything = " ".join(texts.values())
    assert set(re.findall(r"huggingface_hub (\d[\d.]*\d)", everything)) == {pins["huggingface_hub"]}
    assert set(re.findall(r"Diffusers (\d[\d.]*\d)", everything)) == {pins["diffusers"]}
    assert f"after {constants.DEFAULT_DOWNLOAD_TIMEOUT} s" in texts["download-stalls"]

    trainer, server = SAMPLE_DEFAULTS, MODELS["wan21_14b"].defaults
    left_out = texts["better-than-inference"]
    assert f"{trainer['width']}x{trainer['height']}, {trainer['sample_steps']} steps, guidance" in left_out
    assert f"guidance {trainer['guidance_scale']:g}; the reference" in left_out
    assert (
        f"{server.width}x{server.height}, {server.sample_steps} steps, guidance {server.guidance_scale:g}" in left_out
    )

    hardware = (ROOT / "docs" / "hardware.md").read_text()
    assert all(figure in hardware for figure in re.findall(r"[\d.]+ GB", texts["out-of-memory"]))
