"""What `parity import` prints: what was paired with what, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from parity.importing.case_files import CaseFile
from parity.importing.folder import JobImport
from parity.terminal.text import table
from pipelines.aitoolkit.job_folder import LoraFiles, PreviewFile

_KEPT = "kept as it is"


def import_text(read_in: JobImport, files: Sequence[CaseFile], out: Path, dry_run: bool) -> str:
    """Table, counts, and notes."""
    assumed = ", assumed" if read_in.model_assumed else ""
    common = _common_toolkit(files)
    toolkit = "" if common is None else f", ai-toolkit {common}"
    head = f"{read_in.job.name}: {read_in.model.id}{assumed}{toolkit}; {_previews(files)} -> {out}"
    rows = [_heading(read_in, common), *(_row(read_in, file, common) for file in files)]
    parts = [head, table(rows)]
    parts.append(_counts(files, dry_run))
    parts += _notes(read_in, files, out)
    parts += [] if dry_run else [f"next: parity plan {shlex.quote(str(out))}"]
    return "\n".join(parts)


def unsupported_text(paired: Sequence[tuple[PreviewFile, LoraFiles]]) -> str:
    """The table for a job whose model cannot be run: no cases, but what belongs to what."""
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
    """What stands above the table instead of in each row; None: they differ."""
    versions = {file.pairing.toolkit or "unknown" for file in files}
    return next(iter(versions)) if len(versions) == 1 else None


def _heading(read_in: JobImport, common_toolkit: str | None) -> tuple[str, ...]:
    toolkit = () if common_toolkit is not None else ("toolkit",)
    image = ("control image",) if read_in.model.needs_control_image else ()
    return ("preview", "step", "prompt", "", "LoRA", *image, *toolkit, "case file", "state")


def _row(read_in: JobImport, file: CaseFile, common_toolkit: str | None) -> tuple[str, ...]:
    pairing = file.pairing
    image: tuple[str, ...] = ()
    if read_in.model.needs_control_image:
        image = (pairing.control_image.name if pairing.control_image else "missing",)
    state = _KEPT if file.state == "kept" else file.state
    return (
        pairing.preview.path.name,
        _step(pairing.preview),
        str(pairing.preview.name.index),
        _shorten(pairing.prompt) if pairing.prompt is not None else "not in the config",
        _lora(pairing.lora),
        *image,
        *(() if common_toolkit is not None else (pairing.toolkit or "unknown",)),
        file.path.name,
        f"{state}; unpairable: {pairing.unpairable}" if pairing.unpairable is not None else state,
    )


def _step(preview: PreviewFile) -> str:
    return "final" if preview.name.step is None else str(preview.name.step)


def _lora(files: LoraFiles) -> str:
    if files.missing is not None:
        return "gone"
    return " + ".join(path.name for path in files.paths) or "none (before training)"


def _shorten(text: str, limit: int = 28) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _previews(files: Sequence[CaseFile]) -> str:
    return f"{len(files)} preview{'' if len(files) == 1 else 's'}"


def _counts(files: Sequence[CaseFile], dry_run: bool) -> str:
    count = {state: sum(file.state == state for file in files) for state in ("new", "unchanged", "kept")}
    unpairable = sum(file.pairing.unpairable is not None for file in files)
    parts = [f"{count['new']} {'to be written (--dry-run)' if dry_run else 'written'}"]
    parts += [f"{count[state]} {word}" for state, word in (("unchanged", "unchanged"), ("kept", _KEPT)) if count[state]]
    return ", ".join(parts) + (f"; {unpairable} unpairable" if unpairable else "")


def _notes(read_in: JobImport, files: Sequence[CaseFile], out: Path) -> list[str]:
    """What the user should know or decide, a line each."""
    notes = []
    if any(file.state == "kept" for file in files):
        notes.append(
            f"{_KEPT}: edited, or job or options are others now; delete a file and import again to have it written anew"
        )
    if read_in.model_assumed:
        notes.append(f"model: {read_in.job.arch} has others as well; --model says which one (`parity models`)")
    if any(file.pairing.toolkit is None for file in files):
        notes.append("toolkit: no LoRA says the ai-toolkit version; --toolkit does, e.g. --toolkit 0.12.26")
    if read_in.other_toolkits:
        notes.append(
            f"toolkit: by the LoRA files {', '.join(read_in.other_toolkits)}; --toolkit is for those that say none"
        )
    if read_in.strangers:
        shown = ", ".join(read_in.strangers[:5]) + (", …" if len(read_in.strangers) > 5 else "")
        notes.append(f"passed over in samples/, not named by ai-toolkit: {shown}")
    notes += dict.fromkeys(f"LoRA: {note}" for file in files for note in file.pairing.notes)
    if any(file.pairing.unpairable is not None for file in files):
        folder = shlex.quote(str(out))
        notes.append(f"unpairable cases are reported, not drawn; without them: parity run {folder} -k 'not unpairable'")
    return notes
