"""The previews that a process of the trainer generated before a given one: each left its mark in the weights.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) and at ab1ee4df^ (0.9.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.job_folder import LoraFiles, PreviewFile, VideoName, find_lora, find_previews, samples_folder
from pipelines.aitoolkit.remarks import Remarks
from pipelines.errors import CaseError, UnreproducibleError, WeightsError
from pipelines.files.words import plural
from pipelines.lora_files import lora_file
from pipelines.recipe import EarlierMerge


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The previews of one step: all prompts are generated with one merge of the LoRA."""

    step: int | None
    last_index: int


def rounds_before(previews: Sequence[PreviewFile], video: VideoName, *, all_processes: bool = False) -> list[Round]:
    """The rounds before a preview's own in the same process, oldest first; `previews` are the folder's, oldest first.

    A process never comes to a step twice, so a step that is not higher than the one before begins another process. One
    that was interrupted and went on without a step lost cannot be told from one that ran through.
    """
    found: list[Round] = []
    for name in (preview.name for preview in previews):
        if name.generated_at >= video.generated_at:
            break
        before = found[-1] if found else None
        if before is not None and before.step == name.step and before.last_index < name.index:
            found[-1] = Round(step=before.step, last_index=name.index)
            continue
        if before is not None and not all_processes and not _goes_on(before.step, name.step):
            found = []
        found.append(Round(step=name.step, last_index=name.index))
    if found and found[-1].step == video.step and found[-1].last_index < video.index:
        found.pop()  # the preview's own round
    elif found and not all_processes and not _goes_on(found[-1].step, video.step):
        return []
    return found


def _goes_on(before: int | None, after: int | None) -> bool:
    """A preview without a step is the last one, after training."""
    return before is not None and (after is None or after > before)


def earlier_merges(
    job: Job, video: VideoName | None, scale: float, said: int | None = None
) -> tuple[tuple[EarlierMerge, ...], Remarks]:
    """What was merged and unmerged before a preview whose LoRA is merged at `scale`, and what had to be assumed.

    `said`: the number of earlier rounds, by the case. Without it the samples folder is read, in half precision only:
    in float32 the residue is 93 to 100 dB (measured on the demo's shapes), and nothing is guessed for so little.
    Raises CaseError if `said` is more than the folder holds.
    """
    if said == 0 or (said is None and job.dtype == "float32"):
        return (), Remarks()
    if video is None or not samples_folder(job.folder).is_dir():
        if said:
            raise CaseError(f"earlier_previews {said}: there are no previews in {samples_folder(job.folder)}")
        return (), Remarks(notes=(_unknown(job, "which ones is not known"),))
    found = rounds_before(find_previews(job.folder)[0], video, all_processes=said is not None)
    if said is not None and said > len(found):
        held = plural(len(found), "earlier step")
        raise CaseError(f"earlier_previews {said}: {samples_folder(job.folder)} holds {held} with previews")
    rounds = found if said is None else found[-said:]
    merges: list[EarlierMerge] = []
    for each in rounds:
        weights = find_lora(job, each.step)
        if weights.missing:
            return (), Remarks(notes=(_unknown(job, f"{weights.missing}"),))
        try:
            merge = _merge(job, weights, scale)
        except (UnreproducibleError, WeightsError) as error:
            return (), Remarks(notes=(_unknown(job, str(error)),))
        merges += [merge] if merge.files else []  # step 0: an untrained LoRA adds zeros, which leave no residue
    if not merges or said is not None:
        return tuple(merges), Remarks()
    steps = ", ".join(str(each.step) for each in rounds)
    return tuple(merges), Remarks(
        notes=(
            f"assumed to come from one process with the earlier previews of step {steps}, whose LoRAs were merged and "
            "unmerged before; if training was interrupted in between, set preview.earlier_previews",
        )
    )


def _merge(job: Job, weights: LoraFiles, scale: float) -> EarlierMerge:
    return EarlierMerge(tuple(lora_file(path, expert) for path, expert in weights.of_experts(job)), scale)


def _unknown(job: Job, why: str) -> str:
    return (
        f"every earlier preview of the same process merged and unmerged its LoRA in {job.dtype}, which leaves rounding "
        f"errors in the base weights: 47.5 to 49.4 dB on raw frames, nothing for the first preview; {why}"
    )
