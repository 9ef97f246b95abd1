"""What of a model the trainer quantized for a preview, by model and version, and its accuracy recovery adapter.

Every rule holds for ostris/ai-toolkit at 27a03a91 (0.12.26) unless a line names another version.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pipelines.aitoolkit.job import Job
from pipelines.aitoolkit.remarks import Remarks
from pipelines.aitoolkit.versions import CHANGES, ChangeName, Origin
from pipelines.catalog import Model
from pipelines.files.content import present
from pipelines.files.digests import sha256_file
from pipelines.hub import is_hub_id
from pipelines.lora_files import is_lokr
from pipelines.quantization import Quantization, RecoveryAdapter

_KEPT = ("condition_embedder", "proj_out")
"""The layers of Wan 2.2 that stay in full precision since e7951ad2 (2026-07-10, in 0.10.22); Wan 2.1 keeps none."""

_TURNS_ACTIVATIONS = "convrot"
"""The qtypes whose fast kernels on a GPU quantize activations too (read, not run)."""


def trainer_quantization(job: Job, model: Model, origin: Origin) -> tuple[Quantization, Remarks]:
    """What is quantized, with the file of the adapter, and what had to be assumed about it. Raises WeightsError."""
    adapter = None if job.recovery_adapter is None else _adapter(job, job.recovery_adapter)
    named = job.quantization if origin.follows("qtype") else _always_qfloat8(job.quantization)
    found = dataclasses.replace(
        named,
        kept=_KEPT if model.arch.startswith("wan22") and origin.follows("wan22_exclusions") else (),
        adapter=adapter,
    )
    return found, Remarks(notes=_notes(job, found, origin))


def quantization_changes(job: Job, model: Model) -> tuple[ChangeName, ...]:
    """The changes in ai-toolkit's history that would make a quantized preview another one."""
    excludes = job.quantization.transformer and job.recovery_adapter is None and model.arch.startswith("wan22")
    changes: tuple[ChangeName, ...] = ("wan22_exclusions",) if excludes else ()
    return changes if job.quantization == _always_qfloat8(job.quantization) else (*changes, "qtype")


def _always_qfloat8(named: Quantization) -> Quantization:
    """What ai-toolkit did with `quantize` and `quantize_te` before f5aa4232 (2025-03-20), which brought `qtype`."""
    return Quantization(named.transformer and "qfloat8", named.text_encoder and "qfloat8")


def _notes(job: Job, found: Quantization, origin: Origin) -> tuple[str, ...]:
    """What may differ from the numbers that this version generates."""
    notes = []
    qtypes = {found.transformer, found.text_encoder} - {None}
    if "float8" in qtypes and origin.follows("torchao_0_17") and not origin.follows("torchao_0_10_again"):
        notes.append(
            f"ai-toolkit asked for torchao 0.17.0 from {CHANGES['torchao_0_17'].label} to "
            f"{CHANGES['torchao_0_10_again'].label}, whose float8 rounds differently; that of torchao 0.10.0 is used"
        )
    if job.device != "cpu" and any(qtype.startswith(_TURNS_ACTIVATIONS) for qtype in qtypes if qtype):
        notes.append(
            "generated on a GPU: convrot quantizes activations too where the GPU's matrix units allow it; "
            "wan-parity quantizes the weights alone, as ai-toolkit does without such a GPU"
        )
    return tuple(notes)


def _adapter(job: Job, named: str) -> RecoveryAdapter:
    """The adapter that a job names: a path, also one of another machine, or owner/repository/file on the Hub.

    ai-toolkit looks into its working directory, then on the Hub. Looked for here: the path itself, then the job's
    folder by path and by name, then the Hub's cache.
    """
    places = (Path(named), job.folder / named, job.folder / Path(named).name, _in_cache(named))
    for path in places:
        if path is not None and present(path) and path.is_file():
            return recovery_adapter(path)
    return RecoveryAdapter(path=Path(named), sha256=None)


def recovery_adapter(path: Path) -> RecoveryAdapter:
    """Identify an adapter's file by content. Raises WeightsError if it cannot be read."""
    return RecoveryAdapter(path=path, sha256=sha256_file(path), network="lokr" if is_lokr(path) else "lora")


def _in_cache(named: str) -> Path | None:
    """A file `owner/repository/file` that the Hub's cache holds; nothing is downloaded."""
    owner, _, rest = named.partition("/")
    repository, _, file = rest.partition("/")
    if not is_hub_id(f"{owner}/{repository}") or not file or "/" in file:
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(f"{owner}/{repository}", file)
    return Path(cached) if isinstance(cached, str) else None
