"""The output of `parity import`: which preview was paired with which files, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from parity.importing.case_files import CaseFile
from parity.importing.folder import JobImport
from parity.terminal.text import lines, table
from pipelines.aitoolkit.job_folder import LoraFiles, PreviewFile
from pipelines.files.words import listed, plural, shorten
from pipelines.hub import why_offline


def import_text(job: JobImport, files: Sequence[CaseFile], out: Path, dry_run: bool) -> str:
    """The table of previews, counts, and notes."""
    assumed = ", assumed" if job.model_assumed else ""
    common = _common_toolkit(files)
    toolkit = "" if common is None else f", ai-toolkit {common}"
    head = f"{job.job.name}: {job.model.id}{assumed}{toolkit}; {_previews(files)} -> {out}"
    rows = [_heading(job, common), *(_row(job, file, common) for file in files)]
    parts = [head, table(rows)]
    parts.append(_counts(files, dry_run))
    parts += import_notes(job, files, out)
    parts += [] if dry_run else [f"next: parity plan {shlex.quote(str(out))}"]
    return lines(*parts)


def unsupported_text(paired: Sequence[tuple[PreviewFile, LoraFiles]]) -> str:
    """The table for a job whose model cannot be run: there are no cases, but each preview has its prompt and LoRA."""
    rows = [("preview", "step", "prompt", "LoRA")]
    rows += [
        (
            preview.path.name,
            _step(preview),
            str(preview.name.index),
            _lora(files) + (f": {files.missing}" * bool(files.missing)),
        )
        for preview, files in paired
    ]
    return table(rows)


def _common_toolkit(files: Sequence[CaseFile]) -> str | None:
    """The one ai-toolkit version of all previews, shown above the table; None if they differ."""
    versions = {file.pairing.toolkit or "unknown" for file in files}
    return next(iter(versions)) if len(versions) == 1 else None


def _heading(job: JobImport, common_toolkit: str | None) -> tuple[str, ...]:
    toolkit = () if common_toolkit is not None else ("toolkit",)
    image = ("control image",) if job.model.takes_control_image else ()
    return ("preview", "step", "prompt", "", "LoRA", *image, *toolkit, "case file", "state")


def _row(job: JobImport, file: CaseFile, common_toolkit: str | None) -> tuple[str, ...]:
    pairing = file.pairing
    image: tuple[str, ...] = ()
    if job.model.takes_control_image:
        absent = "missing" if pairing.from_image else "none"
        image = (pairing.control_image.name if pairing.control_image else absent,)
    return (
        pairing.preview.path.name,
        _step(pairing.preview),
        str(pairing.preview.name.index),
        shorten(" ".join(pairing.prompt.split()), 28) if pairing.prompt is not None else "not in the config",
        _lora(pairing.lora),
        *image,
        *(() if common_toolkit is not None else (pairing.toolkit or "unknown",)),
        file.path.name,
        file.state + (f"; unpairable: {pairing.unpairable}" if pairing.unpairable is not None else ""),
    )


def _step(preview: PreviewFile) -> str:
    return "final" if preview.name.step is None else str(preview.name.step)


def _lora(files: LoraFiles) -> str:
    if files.missing is not None:
        return "missing"
    return " + ".join(path.name for path in files.paths) or "none (before training)"


def _previews(files: Sequence[CaseFile]) -> str:
    return plural(len(files), "preview")


def _counts(files: Sequence[CaseFile], dry_run: bool) -> str:
    count = {state: sum(file.state == state for file in files) for state in ("new", "unchanged", "kept")}
    unpairable = sum(file.pairing.unpairable is not None for file in files)
    parts = [f"{count['new']} {'to be written (--dry-run)' if dry_run else 'written'}"]
    parts += [f"{count[state]} {state}" for state in ("unchanged", "kept") if count[state]]
    return ", ".join(parts) + (f"; {unpairable} unpairable" if unpairable else "")


def import_notes(job: JobImport, files: Sequence[CaseFile], out: Path) -> list[str]:
    """One line for each thing the user should know or decide."""
    notes = []
    if any(file.state == "kept" for file in files):
        notes.append(
            "kept: differs from what would be written (edited, or job or options changed); delete it to regenerate; "
            "for `expect` alone: parity expect"
        )
    if job.model_assumed:
        notes.append(
            f"model: {job.job.arch} stands for several models; choose another with --model ID (`parity models`)"
        )
    if any(file.pairing.toolkit is None for file in files):
        notes.append("ai-toolkit version unknown; pass --toolkit 0.12.26, or whichever version generated the previews")
    if job.other_toolkits:
        notes.append(
            f"ai-toolkit version: the LoRA files say {', '.join(job.other_toolkits)}; --toolkit only fills in for "
            "files "
            "that do not say"
        )
    if job.ignored:
        notes.append(f"ignored in samples/ (not named as ai-toolkit names files): {listed(job.ignored, 5)}")
    offline = why_offline(job.checkpoint or job.job.checkpoint)
    if offline is not None:
        notes.append(f"weights: {offline}; to generate here, pass a folder with --checkpoint")
    notes += [f"config: {note}" for note in job.job.notes]
    notes += dict.fromkeys(f"not certain: {doubt}" for doubt in job.doubts)
    if job.doubts:
        notes.append(f"if a case drifts for no reason that it names: parity diagnose {shlex.quote(str(out))} --search")
    notes += dict.fromkeys(limit for file in files for limit in file.pairing.limits)
    notes += dict.fromkeys(f"LoRA: {note}" for file in files for note in file.pairing.notes)
    if any(file.pairing.unpairable is not None for file in files):
        folder = shlex.quote(str(out))
        notes.append(
            f"unpairable cases are reported, not generated; to leave them out: parity run {folder} -k 'not unpairable'"
        )
    return notes
