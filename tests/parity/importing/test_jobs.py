"""`parity import`: pairing of previews, the written case files, and messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from parity.case.load import DEMO, Case, find_case_files, load_cases
from parity.case.progress import Quiet
from parity.case.schema import CASE_FILE_NAME
from parity.cli.main import main
from parity.factors.findings import find_differences
from parity.importing.case_files import default_out
from parity.run.options import Options
from parity.run.session import Session
from pipelines.recipe import to_dict

FIRST = "1795289016732__000000500_0.webp"
SECOND = "1795289017748__000000500_1.webp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A user's disk: a job beside its checkpoint, with the two previews its first run left."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def job(self, name: str) -> Path:
        """A copy of an oracle job."""
        folder = self.root / "jobs" / name
        shutil.copytree(DEMO / "jobs" / name, folder)
        return folder

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """`parity import`: exit code, stdout, stderr."""
        self.capsys.readouterr()
        code = main(["import", *map(str, arguments)])
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    def cases(self, out: Path) -> dict[str, Case]:
        return {case.id: case for case in load_cases(find_case_files([out]))}

    def imported(self, job: Path, *arguments: str) -> dict[str, Case]:
        out = self.root / "out"
        code, _, error = self.run(job, "--out", out, *arguments)
        assert (code, error) == (0, "")
        return self.cases(out)

    def refused(self, *arguments: str | Path) -> str:
        """Return the messages; nothing may be written."""
        out = self.root / "refused"
        code, _, error = self.run(*arguments, "--out", out)
        assert code == 2
        assert not out.exists()
        return error


@pytest.fixture
def disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Disk:
    (tmp_path / "models").symlink_to(DEMO / "models")
    monkeypatch.chdir(tmp_path)
    return Disk(root=tmp_path, capsys=capsys)


def draw(job: Path, ms: int, step: int, index: int) -> Path:
    """Another preview, as far as its name goes."""
    path = job / "samples" / f"{ms}__{step:09d}_{index}.webp"
    shutil.copy(next((job / "samples").glob("*_0.webp")), path)
    return path


def edit(job: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change config.process[0]."""
    path = job / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config["config"]["process"][0])
    path.write_text(json.dumps(config))


def save_lora(job: Path, name: str, step: int | None = None, toolkit: str | None = None, seed: float = 1.0) -> Path:
    """A LoRA as the trainer saves it: step and version in the metadata."""
    source = next(iter(sorted(DEMO.glob(f"jobs/{job.name}/*.safetensors"))))
    metadata = {}
    if step is not None:
        metadata["training_info"] = json.dumps({"step": step, "epoch": 1})
    if toolkit is not None:
        metadata["software"] = json.dumps({"name": "ai-toolkit", "repo": "…", "version": toolkit})
    weights = {key: (value * np.float16(seed)).astype(value.dtype) for key, value in load_file(source).items()}
    save_file(weights, job / name, metadata=metadata)
    return job / name


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is written


@pytest.mark.parametrize(
    ("name", "model", "twins"),
    [
        ("t2v_basic", "wan21_14b", {0: "t2v-guitar-reference", 1: "t2v-trigger-reference"}),
        ("i2v_basic", "wan21_i2v_14b", {0: "i2v-waving-reference"}),
        ("t2v_mixed_scale", "wan21_1b", {}),
        ("wan22_t2v", "wan22_14b_t2v", {0: "wan22-t2v-guitar-reference"}),
        ("wan22_i2v", "wan22_14b_i2v", {0: "wan22-i2v-waving-reference"}),
    ],
)
def test_imported_cases_say_what_the_hand_written_ones_do(
    disk: Disk, name: str, model: str, twins: dict[int, str]
) -> None:
    job = disk.job(name)
    found = disk.imported(job, "--model", model, "--toolkit", "0.12.26")
    assert sorted(case.sample for case in found.values()) == [0, 1]
    by_hand = {case.id: case for case in load_cases(find_case_files([DEMO]))}
    for case in found.values():
        differences = find_differences(case.preview, case.inference)
        more = {"boundary", "conditioning"} if name == "wan22_i2v" else set()
        assert {finding.factor for finding in differences} == {"scheduler", "lora_application", "precision", *more}
        assert case.preview.obstacles == ()
        assert case.inference.lora_files == case.preview.lora_files
        if case.sample in twins:
            twin = by_hand[twins[case.sample]]
            assert case.video.read_bytes() == twin.video.read_bytes()
            assert contents(case.preview) == contents(twin.preview)
            assert contents(case.inference) == contents(twin.inference)


def contents(recipe: Any) -> dict[str, Any]:
    """A recipe without the places its files lie in."""
    said = to_dict(recipe)
    said["lora_files"] = [file["sha256"] for file in said["lora_files"]]
    said["control_image"] = recipe.control_image and recipe.control_image.sha256
    return said


@pytest.mark.draws
def test_an_imported_case_runs(disk: Disk) -> None:
    found = disk.imported(disk.job("t2v_basic"), "--prompt", "1")
    (case,) = found.values()
    with Session(Options(out=disk.root / "run", device="cpu")) as session:
        result = session.run_case(case, Quiet())
    assert result.status == "drifted"
    assert {finding.factor for finding in result.findings} == {"scheduler", "lora_application", "precision"}


def test_paths_in_a_case_are_relative_to_its_file(disk: Disk) -> None:
    job = disk.job("i2v_basic")
    disk.run(job, "--out", disk.root / "deep" / "er", "--prompt", "0")
    keys = yaml.safe_load((disk.root / "deep" / "er" / "tiny_i2v-000000500-0.yaml").read_text())
    assert keys["preview"]["config"] == "../../jobs/i2v_basic/config.yaml"
    assert keys["request"]["loras"] == [{"path": "../../jobs/i2v_basic/tiny_i2v.safetensors", "network_multiplier": 1}]
    assert keys["request"]["prompts"][0]["ctrl_img"] == "../../jobs/i2v_basic/ctrl.png"
    assert keys["request"]["prompts"][0]["prompt"] == "p3r5on waving"
    assert (keys["request"]["prompts"][0]["width"], keys["request"]["prompts"][0]["height"]) == (100, 72)


def test_default_out_is_named_after_the_job(disk: Disk) -> None:
    disk.run(disk.job("t2v_basic"))
    assert len(list((disk.root / "cases" / "tiny_t2v").glob("*.yaml"))) == 2
    assert default_out("my job: ü/1") == Path("cases/my-job-1")
    assert default_out("…") == Path("cases/job")


@pytest.mark.parametrize("prompt", ["1e-4", "- a: [b] # c", 'say "cheese"\nplease', "😀  \\ '", "null", ""])
def test_any_prompt_survives(disk: Disk, prompt: str) -> None:
    job = disk.job("t2v_basic")
    edit(job, lambda process: process["sample"]["prompts"].__setitem__(0, prompt))
    (case,) = disk.imported(job, "--prompt", "0").values()
    assert case.inference.prompt == case.preview.prompt == prompt.strip()


# --- again


def test_importing_again_changes_nothing(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    disk.imported(job)
    before = snapshot(disk.root / "out")
    _, text, _ = disk.run(job, "--out", disk.root / "out")
    assert snapshot(disk.root / "out") == before
    assert "0 written, 2 unchanged" in text


def test_importing_again_adds_what_is_new_and_keeps_what_was_edited(disk: Disk) -> None:
    job, out = disk.job("t2v_basic"), disk.root / "out"
    disk.imported(job)
    edited = out / "tiny_t2v-000000500-0.yaml"
    edited.write_text(edited.read_text() + "expect: [scheduler, lora_application, precision]\n")
    renamed = (out / "tiny_t2v-000000500-1.yaml").rename(out / "mine.yaml")
    before = snapshot(out)
    save_lora(job, "tiny_t2v_000000750.safetensors", step=750)
    draw(job, 1795289117748, 750, 1)
    _, text, _ = disk.run(job, "--out", out)
    after = snapshot(out)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"tiny_t2v-000000750-1.yaml"}
    assert "1 written" in text
    assert "  kept" in row_of(text, FIRST)
    assert renamed.name in row_of(text, SECOND)


@pytest.mark.parametrize("name", ["t2v_basic", "i2v_basic"])
def test_editors_find_the_schema_beside_the_cases(disk: Disk, name: str) -> None:
    disk.imported(disk.job(name))
    for path in (disk.root / "out").glob("*.yaml"):
        first = path.read_text().splitlines()[0]
        written = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        validator = jsonschema_rs.validator_for(json.loads(written.read_text()))
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []
        broken = path.read_text().replace("preview:", "preveiw:")
        assert not validator.is_valid(yaml.safe_load(broken))


def test_a_case_without_the_line_for_editors_is_unchanged(disk: Disk) -> None:
    """Cases of earlier versions, which had neither the line nor the schema beside them."""
    job, out = disk.job("t2v_basic"), disk.root / "out"
    disk.imported(job)
    (out / CASE_FILE_NAME).unlink()
    for path in out.glob("*.yaml"):
        path.write_text(path.read_text().partition("\n")[2])
    before = snapshot(out)
    _, text, _ = disk.run(job, "--out", out)
    assert "0 written, 2 unchanged" in text
    assert snapshot(out) == before


@pytest.mark.parametrize(("found", "kept"), [('{"$id": "urn:wan-parity:case:1"}', False), ('{"mine": 1}', True)])
def test_only_our_own_schema_is_written_over(disk: Disk, found: str, kept: bool) -> None:
    job, out = disk.job("t2v_basic"), disk.root / "out"
    out.mkdir()
    (out / CASE_FILE_NAME).write_text(found)
    disk.imported(job)
    assert ((out / CASE_FILE_NAME).read_text() == found) == kept


def row_of(text: str, preview: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(preview))


def test_a_broken_file_of_that_name_is_not_written_over(disk: Disk) -> None:
    job, out = disk.job("t2v_basic"), disk.root / "out"
    out.mkdir()
    (out / "tiny_t2v-000000500-0.yaml").write_text("{")
    _, text, _ = disk.run(job, "--out", out)
    assert (out / "tiny_t2v-000000500-0.yaml").read_text() == "{"
    assert "  kept" in row_of(text, FIRST)


def test_a_case_of_the_same_name_from_another_job_is_kept_apart(disk: Disk) -> None:
    job, out = disk.job("t2v_basic"), disk.root / "out"
    other = shutil.copytree(job, disk.root / "jobs" / "other")
    disk.imported(job, "--prompt", "0")
    before = snapshot(out)
    found = disk.imported(other, "--prompt", "0")
    assert len(found) == 2
    assert {name: data for name, data in snapshot(out).items() if name in before} == before
    assert {case.video.resolve().parent.parent for case in found.values()} == {job, other}


def test_dry_run_writes_nothing(disk: Disk) -> None:
    code, text, _ = disk.run(disk.job("t2v_basic"), "--out", disk.root / "out", "--dry-run")
    assert code == 0
    assert "2 to be written" in text
    assert not (disk.root / "out").exists()


# --- which preview goes with which LoRA


@pytest.fixture
def long_job(disk: Disk) -> Path:
    """Previews before training, at 250 (pruned), 500, 600 (not saved) and after training, at 750."""
    job = disk.job("t2v_basic")
    (job / "tiny_t2v.safetensors").unlink()
    save_lora(job, "tiny_t2v.safetensors", step=750, toolkit="0.12.26")
    save_lora(job, "tiny_t2v_000000500.safetensors", step=500, toolkit="0.12.20", seed=0.5)
    for ms, step in ((1795289000000, 0), (1795289001000, 250), (1795289020000, 600), (1795289030000, 750)):
        draw(job, ms, step, 0)
    return job


def test_every_preview_gets_the_lora_of_its_step(disk: Disk, long_job: Path) -> None:
    found = disk.imported(long_job)
    assert set(found) == {f"tiny_t2v-{step:09d}-0" for step in (0, 250, 500, 600, 750)} | {"tiny_t2v-000000500-1"}
    loras = {name: [file.path.name for file in case.preview.lora_files] for name, case in found.items()}
    assert loras["tiny_t2v-000000500-0"] == ["tiny_t2v_000000500.safetensors"]
    assert loras["tiny_t2v-000000750-0"] == ["tiny_t2v.safetensors"]
    assert loras["tiny_t2v-000000000-0"] == []
    assert found["tiny_t2v-000000000-0"].preview.obstacles == ()
    for step, reason in ((250, "the LoRA of step 250 was pruned"), (600, "was never saved (save.save_every 250)")):
        assert reason in found[f"tiny_t2v-{step:09d}-0"].preview.obstacles[0]
        assert "unpairable" in found[f"tiny_t2v-{step:09d}-0"].tags
    for case in found.values():
        expected = [] if "unpairable" in case.tags else ["scheduler", "lora_application", "precision"]
        if case.id == "tiny_t2v-000000000-0":
            expected.remove("lora_application")
        assert [finding.factor for finding in find_differences(case.preview, case.inference)] == expected


def test_a_run_reports_what_is_unpairable(disk: Disk, long_job: Path) -> None:
    found = disk.imported(long_job, "--step", "250")
    with Session(Options(out=disk.root / "run", device="cpu")) as session:
        for case in found.values():
            session.run_case(case, Quiet())
        run = session.finish(list(found))
    assert [result.status for result in run.cases] == ["unpairable"]
    assert "the LoRA of step 250 was pruned" in (run.cases[0].error or "")
    assert run.exit_code == 3


def test_the_table_says_what_was_paired(disk: Disk, long_job: Path) -> None:
    _, text, _ = disk.run(long_job, "--out", disk.root / "out")
    for words in (
        FIRST,
        "500",
        "woman playing",
        "tiny_t2v_000000500.safetensors",
        "0.12.20",
        "-000000500-0.yaml",
        "new",
    ):
        assert words in row_of(text, FIRST)
    assert "unpairable: the LoRA of step 250 was pruned" in row_of(text, "1795289001000__000000250_0.webp")
    assert "none (before training)" in row_of(text, "1795289000000__000000000_0.webp")
    assert "6 written; 2 unpairable" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--step", "last"], {(750, 0)}),
        (["--step", "500"], {(500, 0), (500, 1)}),
        (["--step", "all", "--prompt", "1"], {(500, 1)}),
        (["--prompt", "0", "--prompt", "1", "--step", "0"], {(0, 0)}),
    ],
)
def test_step_and_prompt_choose(disk: Disk, long_job: Path, options: list[str], expected: set[tuple[int, int]]) -> None:
    found = disk.imported(long_job, *options)
    assert {(int(case.id.split("-")[1]), case.sample) for case in found.values()} == expected


def test_toolkit_of_the_lora_then_of_the_option(disk: Disk, long_job: Path) -> None:
    def toolkits(case_id: str) -> str | None:
        text = (disk.root / "out" / f"{case_id}.yaml").read_text()
        toolkit: str | None = yaml.safe_load(text)["preview"].get("toolkit")
        return toolkit

    disk.run(long_job, "--out", disk.root / "out", "--toolkit", "0.9.1", "--prompt", "0")
    assert toolkits("tiny_t2v-000000500-0") == "0.12.20"
    assert toolkits("tiny_t2v-000000750-0") == "0.12.26"
    assert toolkits("tiny_t2v-000000000-0") == "0.9.1"  # the files disagree
    shutil.rmtree(disk.root / "out")
    (long_job / "tiny_t2v_000000500.safetensors").unlink()
    disk.run(long_job, "--out", disk.root / "out")
    assert toolkits("tiny_t2v-000000000-0") == "0.12.26"  # the only one there is
    case = disk.cases(disk.root / "out")["tiny_t2v-000000000-0"]
    assert not any("ai-toolkit version not given" in note for note in case.preview.notes)


def test_an_old_toolkit_decides_the_scheduler(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    assert {case.preview.scheduler.family for case in disk.imported(job, "--toolkit", "0.9.1").values()} == {"unipc"}


def test_a_final_lora_without_its_step_goes_to_the_last_previews_only(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    draw(job, 1795289000000, 250, 0)
    found = disk.imported(job)
    assert "does not say its step" in found["tiny_t2v-000000250-0"].preview.obstacles[0]
    assert found["tiny_t2v-000000500-0"].preview.obstacles == ()


def test_a_pruned_lora_that_came_back(disk: Disk, long_job: Path) -> None:
    disk.imported(long_job, "--step", "250")
    save_lora(long_job, "tiny_t2v_000000250.safetensors", step=250)
    _, text, _ = disk.run(long_job, "--out", disk.root / "out", "--step", "250")
    assert "1 kept" in text
    path = disk.root / "out" / "tiny_t2v-000000250-0.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "unpairable: " not in line))
    case = disk.cases(disk.root / "out")["tiny_t2v-000000250-0"]
    assert case.preview.obstacles == ()
    assert case.inference.lora_files[0].path.name == "tiny_t2v_000000250.safetensors"


def test_a_damaged_lora_stops_its_own_previews_only(disk: Disk, long_job: Path) -> None:
    path = long_job / "tiny_t2v.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    found = disk.imported(long_job)
    obstacle = found["tiny_t2v-000000750-0"].preview.obstacles[0]
    assert "tiny_t2v.safetensors: is not a complete safetensors file" in obstacle
    assert found["tiny_t2v-000000500-0"].preview.obstacles == ()


def test_previews_of_a_run_before_a_restart_are_not_paired_with_the_new_lora(disk: Disk, long_job: Path) -> None:
    draw(long_job, 1795289900000, 0, 0)
    again = draw(long_job, 1795289910000, 500, 0)
    found = disk.imported(long_job)
    assert f"generated again as {again.name} after a restart" in found["tiny_t2v-000000500-0"].preview.obstacles[0]
    assert found["tiny_t2v-000000500-0-1795289910000"].preview.obstacles == ()
    _, text, _ = disk.run(long_job, "--out", disk.root / "last", "--step", "last")
    assert "  500  " in row_of(text, again.name)  # the newest step, where 750 is the highest
    assert "000000750" not in text


def test_a_finished_job_started_again_used_the_same_weights(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    again = draw(job, 1795289910000, 500, 0)
    _, text, _ = disk.run(job, "--out", disk.root / "out")
    assert f"{FIRST} was generated again as {again.name}" in text
    assert all(case.preview.obstacles == () for case in disk.cases(disk.root / "out").values())


def test_training_that_started_from_a_lora(disk: Disk, long_job: Path) -> None:
    edit(long_job, lambda process: process["network"].update(pretrained_lora_path="/data/before.safetensors"))
    case = disk.imported(long_job, "--step", "0")["tiny_t2v-000000000-0"]
    assert "/data/before.safetensors" in case.preview.obstacles[0]


def test_step_0_of_a_section_that_is_not_read(disk: Disk, long_job: Path) -> None:
    edit(long_job, lambda process: process.update(first_sample={"prompts": ["else"]}))
    found = disk.imported(long_job)
    assert "first_sample" in found["tiny_t2v-000000000-0"].preview.obstacles[0]
    assert found["tiny_t2v-000000500-0"].preview.obstacles == ()


@pytest.mark.parametrize(
    ("change", "index", "reason"),
    [
        ({"seed": -1, "walk_seed": False}, 0, "seed -1"),
        ({"guidance_scale": 25}, 1, "guidance_scale 25.0 cannot be sent to the API"),
        ({"prompts": ["only one"]}, 1, "the config has no prompt 1, only 1"),
    ],
)
def test_a_preview_that_cannot_be_requested_again(disk: Disk, change: dict[str, Any], index: int, reason: str) -> None:
    job = disk.job("t2v_basic")
    edit(job, lambda process: process["sample"].update(change))
    found = disk.imported(job)
    assert len(found) == 2
    assert reason in found[f"tiny_t2v-000000500-{index}"].preview.obstacles[0]


# --- control images


def test_a_control_image_beside_the_config_is_found(disk: Disk) -> None:
    job = disk.job("i2v_basic")
    named = r"D:\pictures\ctrl.png"
    edit(job, lambda process: process["sample"].update(samples=[{"prompt": text, "ctrl_img": named} for text in "ab"]))
    for case in disk.imported(job).values():
        assert case.preview.control_image is not None
        assert case.preview.control_image == case.inference.control_image


@pytest.mark.parametrize("damage", ["missing", "unreadable"])
def test_a_control_image_that_cannot_be_had(disk: Disk, damage: str) -> None:
    job = disk.job("i2v_basic")
    (job / "ctrl.png").unlink()
    if damage == "unreadable":
        (job / "ctrl.png").write_text("no picture")
    found = disk.imported(job)
    assert len(found) == 2
    for case in found.values():
        assert "./ctrl.png" in case.preview.obstacles[0]
        assert damage in case.preview.obstacles[0] or "is not a readable image" in case.preview.obstacles[0]
    assert "missing" in row_of(disk.run(job, "--out", disk.root / "out")[1], "1795289301080__000000500_0.webp")


# --- which model


@pytest.mark.parametrize(
    ("keys", "expected", "assumed"),
    [
        ({"arch": "wan21"}, "wan21_14b", True),
        ({"arch": "wan21:1b"}, "wan21_1b", False),
        ({"arch": "wan21:14b"}, "wan21_14b", False),
        ({"arch": "wan21", "name_or_path": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"}, "wan21_1b", False),
        ({"arch": None, "name_or_path": "Wan-AI/Wan2.1-T2V-14B-Diffusers"}, "wan21_14b", False),
    ],
)
def test_the_model_by_arch_and_checkpoint(
    disk: Disk, keys: dict[str, str | None], expected: str, assumed: bool
) -> None:
    job = disk.job("t2v_basic")
    edit(job, lambda process: process["model"].update(keys))
    code, text, _ = disk.run(job, "--out", disk.root / "out")
    assert code == 0
    assert ("choose another with --model ID" in text) is assumed
    keys_written = yaml.safe_load((disk.root / "out" / "tiny_t2v-000000500-0.yaml").read_text())
    assert keys_written["model"] == keys_written["request"]["model"] == expected
    assert ("checkpoint" in keys_written) is ("name_or_path" not in keys)  # a base checkpoint is the model's own


def test_a_checkpoint_elsewhere_is_asked_for(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    edit(job, lambda process: process["model"].update(name_or_path="/workspace/wan"))
    error = disk.refused(job)
    for words in ("config.yaml:1:", "model.name_or_path", "/workspace/wan", "--checkpoint"):
        assert words in error
    found = disk.imported(job, "--checkpoint", "models/tiny-wan-t2v")
    assert {case.preview.weights.checkpoint for case in found.values()} == {
        str((DEMO / "models/tiny-wan-t2v").resolve())
    }


def test_wan_22_pairs_the_files_of_both_experts(disk: Disk) -> None:
    job = disk.job("wan22_t2v")
    for expert in ("high", "low"):
        save_lora(job, f"tiny22_t2v_000000250_{expert}_noise.safetensors", step=250, seed=0.5)
    draw(job, 1795289000000, 250, 0)
    _, text, _ = disk.run(job, "--out", disk.root / "out")
    assert "tiny22_t2v_high_noise.safetensors + tiny22_t2v_low_noise.safetensors" in row_of(text, "1795291041907")
    for case_id, case in disk.cases(disk.root / "out").items():
        step = "_000000250" if "250" in case_id else ""
        for recipe in (case.preview, case.inference):
            assert [(file.path.name, file.expert) for file in recipe.lora_files] == [
                (f"tiny22_t2v{step}_high_noise.safetensors", "high"),
                (f"tiny22_t2v{step}_low_noise.safetensors", "low"),
            ]


@pytest.mark.parametrize(
    ("trained", "there", "paired", "said"),
    [
        ({}, ("high", "low"), ["high", "low"], None),
        ({}, ("low",), [], "tiny22_t2v_high_noise.safetensors is not beside tiny22_t2v_low_noise.safetensors"),
        ({}, (), [], "nor tiny22_t2v_high_noise.safetensors"),
        ({"train_low_noise": False}, ("high",), ["high"], None),
        ({"train_high_noise": False}, ("low",), ["low"], None),
        ({"train_high_noise": False}, ("high", "low"), ["low"], None),  # high: of an earlier run
        ({}, ("combined",), ["high", "low"], None),
        ({"train_low_noise": False}, ("combined",), ["high"], None),
    ],
)
def test_wan_22_halves(
    disk: Disk, trained: dict[str, bool], there: tuple[str, ...], paired: list[str], said: str | None
) -> None:
    job = disk.job("wan22_t2v")
    edit(job, lambda process: process["model"].update(model_kwargs=trained))
    for expert in ("high", "low"):
        path = job / f"tiny22_t2v_{expert}_noise.safetensors"
        if "combined" in there and expert == "high":
            path.rename(job / "tiny22_t2v.safetensors")
        elif expert not in there:
            path.unlink()
    code, text, _ = disk.run(job, "--out", disk.root / "out")
    assert code == 0
    case = disk.cases(disk.root / "out")["tiny22_t2v-000000500-0"]
    assert [file.expert for file in case.preview.lora_files] == paired
    if said is None:
        assert (case.preview.obstacles, case.inference.lora_files) == ((), case.preview.lora_files)
    else:
        assert said in " ".join(case.preview.obstacles)
        assert said in text
    assert ("split it" in text) == (there == ("combined",) and not trained)


def test_a_model_that_is_not_run_is_paired_and_refused(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    save_lora(job, "tiny_t2v_000000250.safetensors", step=250)
    draw(job, 1795289000000, 250, 0)
    edit(job, lambda process: process["model"].update(arch="ltx2"))
    code, text, error = disk.run(job, "--out", disk.root / "out")
    assert code == 2
    assert "tiny_t2v_000000250.safetensors" in row_of(text, "1795289000000__000000250_0.webp")
    for words in ("ltx2 is not supported by this version", "wan21_14b", "wan22_5b"):
        assert words in error
    assert not (disk.root / "out").exists()


# --- what is refused


def test_folders_that_are_no_jobs(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    for folder, words in (
        (disk.root / "nowhere", "folder not found: "),
        (job / "config.yaml", f"pass the job's folder, which contains config.yaml and samples/; did you mean {job}?"),
        (job / "tiny_t2v.safetensors", "is a file"),
        (job / "samples", f"did you mean {job}?"),
        (disk.root / "jobs", "it contains 1 job (t2v_basic)"),
        (disk.root / "models", "has no config.yaml"),
    ):
        error = disk.refused(folder)
        assert str(folder) in error
        assert words in error


def test_configs_of_other_names_are_listed(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    shutil.copy(job / "config.yaml", job / "old.yaml")
    (job / "config.yaml").rename(job / "new.yaml")
    assert "2 other files (new.yaml, old.yaml)" in disk.refused(job)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config: [", "config.yaml:1: not valid YAML"),
        ("config: {name: a}", "is not an ai-toolkit job config"),
        ("config: {name: a, process: [{model: {name_or_path: b}}]}", "has no `sample` section"),
    ],
)
def test_configs_that_cannot_be_read(disk: Disk, text: str, words: str) -> None:
    job = disk.job("t2v_basic")
    (job / "config.yaml").write_text(text)
    assert words in disk.refused(job)


def test_no_previews(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    for number, path in enumerate(sorted((job / "samples").iterdir())):
        path.rename(job / "samples" / f"clip{number}.webp")
    error = disk.refused(job)
    assert "2 files (clip0.webp, clip1.webp), none named as ai-toolkit names previews" in error
    assert FIRST in error
    for path in (job / "samples").iterdir():
        path.unlink()
    assert "is empty" in disk.refused(job)
    (job / "samples").rmdir()
    assert "has no samples/ folder" in disk.refused(job)


def test_files_of_other_names_are_skipped_and_reported(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    (job / "samples" / "best one.webp").write_bytes(b"")
    for folder in (".tmp", ".thumbs"):
        (job / "samples" / folder).mkdir()
        shutil.copy(job / "samples" / FIRST, job / "samples" / folder)
    _, text, _ = disk.run(job, "--out", disk.root / "out")
    assert "ignored in samples/ (not named as ai-toolkit names files): best one.webp" in text
    assert "2 written" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--step", "750"], "no preview of that step; steps with previews: 500"),
        (["--prompt", "2"], "the config has 2 prompts, and there are previews of 0, 1"),
        (["--model", "wan21_i2v_14b"], "the job trains wan21, but --model wan21_i2v_14b takes LoRAs of wan21_i2v"),
        (["--model", "wan_14b"], "did you mean wan21_14b?"),
        (["--checkpoint", "/nowhere"], "is a path, and no folder on this machine"),
    ],
)
def test_options_that_fit_nothing(disk: Disk, options: list[str], words: str) -> None:
    assert words in disk.refused(disk.job("t2v_basic"), *options)


@pytest.mark.parametrize("option", [["--step", "first"], ["--step", "-1"], ["--prompt", "one"], ["--prompt", "-1"]])
def test_options_that_are_no_numbers(disk: Disk, option: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["import", str(disk.job("t2v_basic")), *option])
    assert caught.value.code == 2


def test_an_out_that_cannot_be_written(disk: Disk) -> None:
    job = disk.job("t2v_basic")
    (disk.root / "file").write_text("")
    for out in (disk.root / "file", disk.root / "file" / "out"):
        code, _, error = disk.run(job, "--out", out)
        assert code == 2
        assert str(out) in error


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("examples:", "--step last", "--toolkit", "never overwritten", "unpairable"):
        assert words in text
