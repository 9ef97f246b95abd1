"""The previews and LoRA files in an ai-toolkit job's folder, and which preview was generated with which LoRA.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.aitoolkit.job import Job
from pipelines.errors import WeightsError
from pipelines.files import strict_json
from pipelines.files.words import listed
from pipelines.lora_files import read_header
from pipelines.lora_keys import sort_keys
from pipelines.recipe import Expert

# BaseSDTrainProcess.sample and GenerateImageConfig.get_image_path. `format` is jpg, png or webp; several frames: webp.
_VIDEO_NAME = re.compile(r"(?P<ms>\d{13})_(?:_(?P<step>\d{9}))?_(?P<index>\d+)\.\w+")

# BaseSDTrainProcess.save; Wan 2.2 14B splits its network into one file an expert (wan22_14b_model.py: save_lora).
# Beside an adapter or embedding the network's files are called NAME_LoRA (named_lora).
_CHECKPOINT_NAME = r"{name}(?:_LoRA)?(?:_(?P<step>\d{{9}}))?(?:_(?P<expert>high|low)_noise)?\.safetensors"

JOB_CONFIGS = ("config.yaml", "config.yml", "config.json", ".job_config.json")
"""The names of a config in a job's folder: ai-toolkit writes the first into each, its UI the last; the others are the
user's own."""

_LONGEST_VERSION = 100
"""Characters. The version is written into every case; longer text is not a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoName:
    """The parts of a sample's file name: `<ms>__<step:09d>_<index>.webp`."""

    generated_at: datetime
    step: int | None
    """The step; None: the name has none, and the LoRA is the final one."""
    index: int


def parse_video_name(name: str) -> VideoName | None:
    """The parts of a file name; None if the file was renamed."""
    match = _VIDEO_NAME.fullmatch(name)
    if match is None:
        return None
    generated_at = datetime.fromtimestamp(int(match["ms"]) / 1000, tz=UTC)
    return VideoName(
        generated_at=generated_at, step=int(match["step"]) if match["step"] else None, index=int(match["index"])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewFile:
    """A video that the trainer generated."""

    path: Path
    name: VideoName


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFiles:
    """The weights of one step: a file, or one an expert."""

    paths: tuple[Path, ...] = ()
    """Empty: the preview was generated without a LoRA, or `missing` says why there is none. High noise comes first."""
    experts: tuple[Expert, ...] = ()
    """The expert that each file is for; empty for a single file, for both experts or the only trained one."""
    missing: str | None = None
    """The reason why the weights behind a preview are not available."""
    notes: tuple[str, ...] = ()
    """The assumptions that had to be made."""

    def of_experts(self, job: Job) -> tuple[tuple[Path, Expert | None], ...]:
        """Each file with its expert; a file that holds both comes twice. None: the model has one transformer."""
        if self.experts:
            return tuple(zip(self.paths, self.experts, strict=True))
        return tuple((path, expert) for path in self.paths for expert in job.experts or (None,))


def samples_folder(job_folder: Path) -> Path:
    return job_folder / "samples"


def find_previews(job_folder: Path) -> tuple[list[PreviewFile], list[str]]:
    """The previews, oldest first, and the names of files that are not previews.

    The folders `.tmp` (being written) and `.thumbs` beside them are skipped.
    """
    previews, strangers = [], []
    for path in sorted(samples_folder(job_folder).iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        name = parse_video_name(path.name)
        if name is None:
            strangers.append(path.name)
        else:
            previews.append(PreviewFile(path=path, name=name))
    return sorted(previews, key=lambda preview: (preview.name.generated_at, preview.name.index)), strangers


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A later preview of the same step and prompt."""

    by: PreviewFile
    restarted: bool
    """Training went back in between, so the LoRA of the step may have been written over."""


def generated_again(preview: PreviewFile, previews: Sequence[PreviewFile]) -> Again | None:
    """The later preview, if the trainer came to a preview's step and prompt a second time.

    It does so with the same weights when a finished job is started again, or under `force_first_sample`. A lower step
    generated in between gives a restart away.
    """
    name = preview.name
    later = [other for other in previews if other.name.generated_at > name.generated_at]
    same = (other for other in later if (other.name.step, other.name.index) == (name.step, name.index))
    by = next(same, None)
    if by is None:
        return None
    between = [other.name.step for other in later if other.name.generated_at < by.name.generated_at]
    return Again(by=by, restarted=any(step is not None and step < (name.step or 0) for step in between))


def find_lora(job: Job, step: int | None) -> LoraFiles:
    """The weights a preview of `step` was generated with. `step` None: the final ones.

    The trainer saves before it generates, so the file of a step holds the preview's weights. The last one is generated
    after training, when the weights were saved without a step in the name. A file that was renamed is taken if it says
    of itself that it is this job's at this step.
    """
    found = _find_by_name(job, step)
    if found.missing is None or step == 0:
        return found
    others = _other_loras(job)
    own = [path for path in others if step is not None and _says_it_is(path, job, step)]
    if len(own) == 1 and not job.experts:
        return LoraFiles(
            paths=(own[0],), notes=(f"{own[0].name} was renamed: it says that it is {job.name} at step {step}",)
        )
    if not others:
        return found
    names = listed([path.name for path in others], 5)
    return LoraFiles(
        missing=f"{found.missing}; if it was renamed, set preview.lora to it: beside the config lie {names}"
    )


def _find_by_name(job: Job, step: int | None) -> LoraFiles:
    if step == 0:
        if job.pretrained_lora is not None:
            return LoraFiles(
                missing=f"generated before training, with network.pretrained_lora_path {job.pretrained_lora}; "
                "name that file as preview.lora"
            )
        return LoraFiles(notes=("generated before training (step 0): the untrained LoRA changes nothing",))
    found = _checkpoints(job)
    if step in found:
        return _checking_experts(job, found[step])
    final = found.get(None)
    if final is None:
        return LoraFiles(missing=_why_missing(job, step, False))
    saved_at, last = training_step(final.paths[0]), _last_step(job.folder)
    file = final.paths[0].name
    if step is None or saved_at == step:
        return _checking_experts(job, final)
    if saved_at is not None:
        return LoraFiles(missing=f"{_why_missing(job, step, True)}; {file} is of step {saved_at}")
    if last not in (None, step):
        return LoraFiles(
            missing=f"{_why_missing(job, step, True)}; {file} does not say its step, the last preview is of step {last}"
        )
    return _checking_experts(job, final, f"{file} does not say its step; assumed to be of step {step}, the preview's")


def _other_loras(job: Job) -> list[Path]:
    """The LoRA files beside the config that are not named as the job's."""
    pattern = re.compile(_CHECKPOINT_NAME.format(name=re.escape(job.name)))
    found = []
    for path in sorted(job.folder.glob("*.safetensors")):
        try:
            if pattern.fullmatch(path.name) is None and sort_keys(read_header(path).shapes).layers:
                found.append(path)
        except WeightsError:
            continue
    return found


def _says_it_is(path: Path, job: Job, step: int) -> bool:
    """True if a LoRA's metadata name the job and the step (`ss_output_name`, `training_info`)."""
    return read_header(path).metadata.get("ss_output_name") == job.name and training_step(path) == step


def training_step(path: Path) -> int | None:
    """The step in a LoRA's metadata (`training_info`)."""
    try:
        return int(_metadata(path, "training_info")["step"])
    except (KeyError, TypeError, ValueError):
        return None


def toolkit_version(path: Path) -> str | None:
    """The ai-toolkit version in a LoRA's metadata (`software`): 0.1.0 in all files older than 2025-06-24."""
    try:
        software = _metadata(path, "software")
        version = str(software["version"])
        return version if software["name"] == "ai-toolkit" and len(version) <= _LONGEST_VERSION else None
    except (KeyError, TypeError, ValueError):
        return None


def all_lora_files(job: Job) -> list[Path]:
    """Every LoRA file the job has left."""
    return [path for files in _checkpoints(job).values() for path in files.paths]


def step_files(job: Job, before: int | None) -> list[LoraFiles]:
    """The LoRAs with a step in their names that come before a step, by step. None: all of them."""
    found = {step: files for step, files in _checkpoints(job).items() if step is not None}
    return [files for step, files in sorted(found.items()) if before is None or step < before]


def _metadata(path: Path, key: str) -> Any:
    """An entry of a LoRA's metadata. Raises KeyError or ValueError if it is missing or the file cannot be read."""
    try:
        return strict_json.loads(read_header(path).metadata[key], constants=True)
    except WeightsError as error:
        raise ValueError(str(error)) from None


def _checkpoints(job: Job) -> dict[int | None, LoraFiles]:
    """LoRA files by the step in their names; None: the final ones."""
    pattern = re.compile(_CHECKPOINT_NAME.format(name=re.escape(job.name)))
    found: dict[int | None, dict[Expert | None, Path]] = {}
    for path in sorted(job.folder.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        expert: Any = match["expert"]
        found.setdefault(int(match["step"]) if match["step"] else None, {})[expert] = path
    return {step: _of_one_step(files) for step, files in found.items()}


def _of_one_step(files: dict[Expert | None, Path]) -> LoraFiles:
    """A whole file wins over a pair: the trainer writes the one or the other."""
    if None in files:
        return LoraFiles(paths=(files[None],))
    experts: tuple[Expert, ...] = ("high", "low")
    present = tuple(expert for expert in experts if expert in files)
    return LoraFiles(paths=tuple(files[expert] for expert in present), experts=present)


def lora_given(job: Job, path: Path) -> LoraFiles:
    """The weights in a file that the user names: of a pair either one, with the other beside it."""
    match = re.fullmatch(r"(.+)_(high|low)_noise(\.\w+)", path.name)
    if not job.experts or match is None:
        return LoraFiles(paths=(path,))
    pair: dict[Expert | None, Path] = {
        expert: path.with_name(f"{match[1]}_{expert}_noise{match[3]}") for expert in job.experts
    }
    present = {expert: file for expert, file in pair.items() if file.is_file()}
    return _checking_experts(job, _of_one_step(present or {"high" if match[2] == "high" else "low": path}))


def _checking_experts(job: Job, files: LoraFiles, *notes: str) -> LoraFiles:
    """The files, if each expert that the job trains has one. One file alone may hold both.

    The file of an expert it does not train was left by an earlier run, and is not loaded for previews (load_lora).
    """
    if not job.experts or not files.experts:
        if len(job.experts) > 1:
            notes += (f"{files.paths[0].name} holds both experts' weights; the server takes a file for each: split it",)
        return dataclasses.replace(files, notes=notes)
    present = dict(zip(files.experts, files.paths, strict=True))
    absent = [expert for expert in job.experts if expert not in present]
    if absent:
        lost = re.sub("_(high|low)_noise", f"_{absent[0]}_noise", files.paths[0].name)
        return LoraFiles(missing=f"half of the LoRA is missing: {lost} is not beside {files.paths[0].name}")
    paths = tuple(present[expert] for expert in job.experts)
    return LoraFiles(paths=paths, experts=job.experts, notes=notes)


def _why_missing(job: Job, step: int | None, there_is_a_final_one: bool) -> str:
    """The reason: never saved, or saved and removed (BaseSDTrainProcess.clean_up_saves keeps the newest few)."""
    side = f"_{job.experts[0]}_noise" if job.experts else ""
    final = f"{job.name}{side}.safetensors"
    if step is None:
        return f"no LoRA for this preview: there is no {final}"
    name = f"{job.name}_{step:09d}{side}.safetensors"
    if not there_is_a_final_one:
        return f"no LoRA for this preview: neither {name} nor {final} (old ones are removed)"
    if job.save_every and step % job.save_every:
        return f"no LoRA of step {step}: {name} was never saved (save.save_every {job.save_every})"
    kept = f"ai-toolkit keeps the newest {job.saves_kept}" if job.saves_kept else "old ones are removed"
    return f"the LoRA of step {step} was pruned: there is no {name} ({kept})"


def _last_step(job_folder: Path) -> int | None:
    """The step of the newest sample."""
    if not samples_folder(job_folder).is_dir():
        return None
    previews, _ = find_previews(job_folder)
    return previews[-1].name.step if previews else None
