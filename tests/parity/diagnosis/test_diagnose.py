"""Diagnosis: how much each factor matters, the smallest set of fixes, the first divergence, and the cost."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from parity.case.load import DEMO, Case, load_case
from parity.case.progress import Quiet
from parity.diagnosis.counterfactuals import make_plan
from parity.diagnosis.quick import make_quick_plan
from parity.diagnosis.ranking import rank
from parity.results.case import CaseResult
from parity.results.diagnosis import Closeness, Diagnosis, FactorCost, Thoroughness, Trial
from parity.results.json_text import from_json
from parity.run.options import Options
from parity.run.resume import still_holds
from parity.run.session import Session
from parity.run.task import Task
from parity.selftest.planted import PLANTS, Plant
from parity.selftest.workshop import Workshop
from parity.terminal.diagnosis import diagnosis_text
from pipelines.drift import differing_factors
from pipelines.engine.engine import Engine
from tests.conftest import CaseFiles
from tests.parity.run.test_runner import KNOWN, preview_keys
from tests.support.oracle import JOBS, assert_recorded
from tests.support.pasted import generate_with
from tests.support.prepared import python


@pytest.fixture(scope="module")
def workshop(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("planted"), engine)


def plant(factor: str, value: str | None = None) -> Plant:
    return next(p for p in PLANTS if p.factor == factor and value in (None, p.value))


def run(case: Case, engine: Engine, out: Path, how: Thoroughness = "full", budget: float | None = None) -> CaseResult:
    with Session(Options(out=out, device="cpu", task=Task(diagnose=how, budget=budget)), engine) as session:
        return session.run_case(case, Quiet())


def diagnosed(
    case: Case, engine: Engine, out: Path, how: Thoroughness = "full", budget: float | None = None
) -> Diagnosis:
    diagnosis = run(case, engine, out, how, budget).diagnosis
    assert diagnosis is not None
    assert diagnosis.cost is not None
    return diagnosis


def test_the_reference_server_against_a_real_preview(cases: CaseFiles, engine: Engine, tmp_path: Path) -> None:
    job = "i2v_basic"  # it has every part that T2V has
    path = cases.write(
        model=JOBS[job],
        checkpoint=str(DEMO / "models" / "tiny-wan-i2v"),
        preview=preview_keys(job),
        request=str(DEMO / "requests" / f"{job}.json"),
        pipeline="reference",
    )
    before = engine.work.denoising_steps
    killed = Killed(tmp_path / "results.json")
    with Session(Options(out=tmp_path, device="cpu", task=Task(diagnose="full")), engine) as session:
        result = session.run_case(load_case(path), killed)
    check_killed(killed, load_case(path), tmp_path)
    diagnosis = result.diagnosis
    assert diagnosis is not None
    assert [cost.factor for cost in diagnosis.factors] == KNOWN
    assert [cost.rank for cost in diagnosis.factors] == [1, 2, 3]
    assert [cost.level for cost in diagnosis.factors] == ["visible", "rounding", "rounding"]
    assert diagnosis.smallest_set == tuple(KNOWN)
    assert diagnosis.cost is not None
    assert diagnosis.cost.spent == diagnosis.cost.planned == 8  # 2k + 2
    assert diagnosis.cost.denoising_steps == engine.work.denoising_steps - before == 8 * 6
    assert [step.taken for step in diagnosis.waterfall] == [None, *KNOWN]
    assert all(step.trial is not None for step in diagnosis.waterfall)
    for cost in diagnosis.factors:
        for trial in (cost.gain, cost.loss):
            assert trial is not None
            assert trial.to_recipe is not None
            assert trial.to_recipe.psnr is not None
            assert trial.to_preview.ssim is not None
    assert diagnosis.explained is True
    assert diagnosis.residue is None
    assert diagnosis.sentence.startswith("fully explained: fixing scheduler, lora_application, precision reproduces")
    # "What to change", pasted under the pipeline that the server loads: the trainer's own frames, without this engine.
    assert all(cost.code is not None for cost in diagnosis.factors)
    assert_recorded(generate_with(diagnosis.code, load_case(path).inference), "preview", job, 0)
    check_stills(result, tmp_path)


class Killed(Quiet):
    """Reads what a run that is killed now would leave."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.left: list[CaseResult] = []

    def trial_started(self, *_: object) -> None:
        self.left += from_json(self.results.read_text(encoding="utf-8")).cases


def check_killed(killed: Killed, case: Case, out: Path) -> None:
    """A diagnosis that was killed is not finished, and every folder of stills that it names is whole."""
    assert len(killed.left) >= 6
    task = Task(diagnose="full")
    for result in killed.left:
        assert not still_holds(result, case, task)
        for trial in result.diagnosis.trials().values() if result.diagnosis is not None else ():
            assert trial.stills is not None
            assert len(list((out / trial.stills).iterdir())) >= 5


def check_stills(result: CaseResult, out: Path) -> None:
    """Every distinct video of a diagnosis has stills of the same frames, which are those that were compared."""
    assert result.diagnosis is not None
    trials = result.diagnosis.trials()
    assert trials["as_is"].stills == result.artifacts["output_frames"]
    folders = {trial.file_sha256: trial.stills for trial in trials.values()}
    assert len(set(folders.values())) == len(folders) == 8
    assert all(trial.stills == folders[trial.file_sha256] for trial in trials.values())
    psnr = result.metrics["psnr"].per_frame
    worst = min(range(len(psnr)), key=lambda frame: psnr[frame] or 99)
    kept = {0, worst, len(psnr) - 1}
    for trial in trials.values():
        assert trial.stills is not None
        names = {int(path.stem) for path in (out / trial.stills).iterdir()}
        assert kept <= names
        assert len(names) == 5 or trial is trials["as_is"]
    preview, recipe, request = (
        result.artifacts["preview_frames"],
        str(trials["recipe"].stills),
        str(trials["as_is"].stills),
    )
    still = f"{worst:04d}.webp"
    assert (out / recipe / still).read_bytes() == (out / preview / still).read_bytes()
    assert (out / request / still).read_bytes() != (out / preview / still).read_bytes()


def test_the_first_divergence_distinguishes_schedule_noise_weights_and_decode(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    def origin(name: str, *plants: Plant) -> dict[str, bool | None]:
        found = diagnosed(load_case(workshop.case("t2v", plants, name)), engine, tmp_path / name).origin
        assert found is not None
        sentences[name] = found.sentence
        return {gap.stage: gap.equal for gap in found.stages}

    sentences: dict[str, str] = {}
    schedule = origin("schedule", plant("scheduler", "UniPC"))
    assert (schedule["noise"], schedule["prompt"], schedule["sigmas"], schedule["decode"]) == (True, True, False, True)
    assert "schedules differ" in sentences["schedule"]
    noise = origin("noise", plant("seed"))
    assert (noise["noise"], noise["prompt"], noise["sigmas"]) == (False, True, True)
    assert "different noise" in sentences["noise"]
    weights = origin("weights", plant("lora_scale"))
    assert (weights["noise"], weights["sigmas"], weights["first_prediction"]) == (True, True, False)
    assert "from equal inputs the first prediction differs" in sentences["weights"]
    text = origin("text", plant("prompt"))
    assert (text["noise"], text["prompt"], text["negative_prompt"]) == (True, False, True)
    assert "different prompt embeddings" in sentences["text"]
    vae = origin("vae", plant("precision", "float32"))
    assert vae["decode"] is False
    assert "the same latents decode differently" in sentences["vae"]


def test_latents_are_followed_step_by_step(workshop: Workshop, engine: Engine, tmp_path: Path) -> None:
    case = load_case(workshop.case("t2v", [plant("scheduler", "shift 5")], "steps"))
    origin = diagnosed(case, engine, tmp_path).origin
    assert origin is not None
    assert origin.first_step == 1
    assert len(origin.latent_gaps) == case.preview.steps
    assert all(gap > 0 for gap in origin.latent_gaps)
    assert {side: len(sigmas) for side, sigmas in origin.sigmas.items()} == {"preview": 7, "inference": 7}
    assert origin.sigmas["preview"] != origin.sigmas["inference"]


def test_equal_recipes_are_generated_once(workshop: Workshop, engine: Engine, tmp_path: Path) -> None:
    case = load_case(workshop.case("t2v", [plant("seed"), plant("fps")], "reuse"))
    plan = make_plan(case)
    assert len(plan.experiments) == 4
    assert plan.cost == 2  # fps reaches only the file, and with one factor left gain and loss are the ends
    diagnosis = diagnosed(case, engine, tmp_path)
    assert diagnosis.cost is not None
    assert (diagnosis.cost.spent, diagnosis.cost.denoising_steps) == (2, 12)
    assert {cost.factor: cost.level for cost in diagnosis.factors} == {"seed": "visible", "fps": "file only"}
    assert diagnosis.smallest_set == ("seed", "fps")


def test_text_is_encoded_once(workshop: Workshop, tmp_path: Path) -> None:
    """Two prompts, one negative: three encodings for four generations with two texts each."""
    engine = Engine("cpu")
    case = load_case(workshop.case("t2v", [plant("prompt"), plant("lora_scale")], "texts"))
    diagnosed(case, engine, tmp_path)
    assert engine.work.encodings == 3
    assert engine.work.loads == 1
    engine.close()


def test_gains_alone_cost_less(workshop: Workshop, engine: Engine, tmp_path: Path) -> None:
    names = ("seed", "lora_scale", "precision")
    case = load_case(workshop.case("t2v", [plant(name) for name in names], "gains"))
    diagnosis = diagnosed(case, engine, tmp_path, "gains")
    assert diagnosis.cost is not None
    assert diagnosis.cost.spent == 5  # k + 2
    assert diagnosis.factors[0].factor == "seed"
    assert all(cost.loss is None and cost.gain is not None for cost in diagnosis.factors)
    assert all("only gains" in (cost.not_measured or "") for cost in diagnosis.factors)


def test_a_budget_is_kept_and_reported(workshop: Workshop, engine: Engine, tmp_path: Path) -> None:
    names = ("seed", "lora_scale", "precision")
    case = load_case(workshop.case("t2v", [plant(name) for name in names], "budget"))
    diagnosis = diagnosed(case, engine, tmp_path, budget=4)
    assert diagnosis.cost is not None
    assert diagnosis.cost.spent == 4
    assert diagnosis.stopped == "budget"
    assert diagnosis.smallest_set is None
    assert [cost.factor for cost in diagnosis.factors if cost.gain is not None] == ["seed", "lora_scale"]
    assert all("budget" in (cost.not_measured or "") for cost in diagnosis.factors)
    assert "not generated" in diagnosis_text(diagnosis)


def test_a_factor_without_effect_is_left_out_of_the_smallest_set(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    """With the LoRA at scale 0 on both sides, its application cannot matter."""
    path = workshop.case("t2v", [plant("lora_application", "side path"), plant("guidance"), plant("steps")], "idle")
    keys, config = yaml.safe_load(path.read_text()), yaml.safe_load((path.parent / "config.yaml").read_text())
    keys["request"]["loras"][0]["network_multiplier"] = 0.0
    keys["preview"]["config"] = "idle.config.yaml"
    config["config"]["process"][0]["sample"]["network_multiplier"] = 0
    (path.parent / "idle.config.yaml").write_text(yaml.safe_dump(config))
    path.write_text(yaml.safe_dump(keys))
    case = load_case(path)
    assert set(differing_factors(case.preview, case.inference)) == {"lora_application", "guidance", "steps"}
    diagnosis = diagnosed(case, engine, tmp_path)
    assert {cost.factor: cost.level for cost in diagnosis.factors}["lora_application"] == "none"
    assert diagnosis.smallest_set is not None
    assert set(diagnosis.smallest_set) == {"guidance", "steps"}
    assert "without fixing lora_application" in diagnosis.smallest_set_evidence
    assert diagnosis.cost is not None
    assert diagnosis.cost.spent <= 8


def test_a_preview_of_another_config_is_not_called_explained(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    """Must-fail: the preview of the other prompt, whose recipe is not in the case."""
    path = workshop.case("t2v", [plant("seed")], "other")
    keys = yaml.safe_load(path.read_text())
    keys["preview"]["sample"] = 0
    path.write_text(yaml.safe_dump(keys))
    diagnosis = diagnosed(load_case(path), engine, tmp_path)
    assert diagnosis.explained is False
    assert diagnosis.residue is not None
    assert diagnosis.residue.psnr is not None
    assert "lies outside the recipes" in diagnosis.sentence


def test_quick_ranks_as_the_full_diagnosis_for_two_generations(
    workshop: Workshop, engine: Engine, tmp_path: Path
) -> None:
    plants = [plant(name) for name in ("seed", "lora_scale", "precision", "guidance", "fps")]
    case = load_case(workshop.case("t2v", plants, "quick"))
    plan = make_quick_plan(case)
    assert plan.cost <= 2
    before = engine.work
    steps, decodes = before.denoising_steps, before.decodes
    result = run(case, engine, tmp_path, "quick")
    assert engine.work.denoising_steps - steps == (1 + len(plan.generated)) * plan.steps <= 2 * case.preview.steps
    assert engine.work.decodes == decodes
    assert result.diagnosis is not None
    assert result.diagnosis.factors[0].factor == "seed"
    assert result.bit_identical is None
    assert "nothing generated (--quick)" in result.verdict
    full = diagnosed(case, engine, tmp_path / "full")
    assert full.factors[0].factor == "seed"


def test_factors_are_ranked_by_their_loss() -> None:
    def cost(factor: str, level: str, psnr: float | None) -> FactorCost:
        found = Closeness(identical=psnr is None, psnr=psnr)
        trial = Trial(to_preview=found, to_recipe=found, raw_sha256="", file_sha256="", denoising_steps=6)
        return FactorCost(factor=factor, preview="", inference="", fix="", level=level, loss=trial)  # type: ignore[arg-type]

    costs = [
        cost("fps", "file only", None),
        cost("prompt", "rounding", 47.0),
        cost("lora_scale", "visible", 40.0),
        cost("precision", "rounding", 46.5),
        cost("seed", "visible", 22.0),
        cost("frame_count", "frames do not pair", None),
    ]
    ranked = rank(costs, None)
    assert [c.factor for c in ranked] == ["frame_count", "seed", "lora_scale", "prompt", "precision", "fps"]
    assert [c.rank for c in ranked] == [1, 2, 3, 4, 5, 6]


class Stops(Quiet):
    """An engine that raises Ctrl-C at the n-th generation."""

    def __init__(self, at: int) -> None:
        self.left = at

    def trial_started(self, label: str, steps: int) -> None:  # noqa: ARG002
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [2, 4, 6])
def test_an_interrupted_diagnosis_keeps_what_it_knows(
    workshop: Workshop, engine: Engine, tmp_path: Path, at: int
) -> None:
    names = ("seed", "lora_scale", "precision")
    case = load_case(workshop.case("t2v", [plant(name) for name in names], "stopped"))
    with Session(Options(out=tmp_path, device="cpu", task=Task(diagnose="full")), engine) as session:
        with pytest.raises(KeyboardInterrupt):
            session.run_case(case, Stops(at))
        kept = from_json(session.results_path.read_text(encoding="utf-8")).cases
    assert [result.id for result in kept] == ["stopped"]
    diagnosis = kept[0].diagnosis
    assert diagnosis is not None
    assert diagnosis.stopped == "interrupted"
    measured = [cost for cost in diagnosis.factors if cost.gain is not None or cost.loss is not None]
    assert len(measured) == {2: 0, 4: 1, 6: 3}[at]
    assert diagnosis.sentence.startswith("interrupted; so far:")
    assert kept[0].metrics["psnr"].mean is not None


@pytest.mark.process
def test_ctrl_c_on_the_command_line(tmp_path: Path, workshop: Workshop) -> None:
    path = workshop.case("t2v", [plant("seed"), plant("lora_scale"), plant("precision")], "signal")
    command = [*python(), "-m", "parity", "diagnose", str(path), "--out", str(tmp_path), "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "only seed fixed" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, errors = process.communicate(timeout=120)
    said.append(errors)
    assert process.returncode == 130, "".join(said)
    assert "interrupted; so far" in errors
    assert "Traceback" not in errors
    assert "report.html" in rest
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["cases"][0]["diagnosis"]["stopped"] == "interrupted"


def test_the_command_says_plan_table_and_what_to_change(
    workshop: Workshop, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from parity.cli.main import main

    path = workshop.case("t2v", [plant("scheduler", "UniPC")], "command")
    assert main(["diagnose", str(path), "--out", str(tmp_path), "--device", "cpu"]) == 1
    said = capfd.readouterr().err
    plan = "plan: up to 2 generations (2 endpoints, 1 with one factor fixed, 1 with one broken, 2 saved by reuse), 12 "
    assert f"{plan}denoising steps: scheduler\n" in said
    assert "pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)" in said
    assert "fully explained: fixing scheduler reproduces the preview bit for bit" in said
    assert said.index("plan:") < said.index("fully explained")


def test_run_with_diagnose(workshop: Workshop, tmp_path: Path) -> None:
    from parity.cli.main import main

    path = workshop.case("t2v", [plant("fps")], "run")
    assert main(["run", str(path), "--diagnose", "--out", str(tmp_path), "--device", "cpu"]) == 0
    (result,) = from_json((tmp_path / "results.json").read_text(encoding="utf-8")).cases
    assert result.diagnosis is not None
    assert result.diagnosis.explained is True
    assert [(cost.factor, cost.level) for cost in result.diagnosis.factors] == [("fps", "file only")]
    assert "file only" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "0.5"], "at least 1 generation"),
        (["--budget", "many"], "must be at least 1 generation, not many"),
        (["--quick", "--search"], "not allowed with"),
    ],
)
def test_bad_arguments_are_one_message(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from parity.cli.main import main

    with pytest.raises(SystemExit) as stopped:
        main(["diagnose", str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
