"""Case files of an imported job: one per preview, readable, never overwritten."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from parity.case.schema import CASE_FILE_NAME, is_case_schema, schema_text
from parity.importing.folder import JobImport
from parity.importing.pairing import Pairing
from pipelines.errors import CaseError, UsageError
from pipelines.files.content import real_path, write_atomically
from pipelines.files.document import read
from pipelines.files.words import cannot_write
from pipelines.hub import is_hub_id

_FOR_EDITORS = f"# yaml-language-server: $schema={CASE_FILE_NAME}\n"
"""The first line of a case. Editors with the YAML language server then complete keys and check values."""

State = Literal["new", "unchanged", "kept"]
"""`kept` means that the file exists and differs from what would be written now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """The case file of one preview."""

    pairing: Pairing
    path: Path
    state: State
    text: str
    """The text that would be written now."""


class _Text(str):
    """Free text, which is always quoted, because a prompt may look like a number, a list or a comment."""

    __slots__ = ()


class _Row(list[str]):
    """A list that is written on one line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)  # lists are indented, as in hand-written cases


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)
_Dumper.add_representer(
    _Row, lambda dumper, row: dumper.represent_sequence("tag:yaml.org,2002:seq", row, flow_style=True)
)


def default_out(job_name: str) -> Path:
    """Return `cases/<job name>`."""
    return Path("cases") / _plain(job_name)


def _plain(name: str) -> str:
    """Return the name of a job in a form that can be part of a case id."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "job"


def plan_case_files(job_import: JobImport, out: Path) -> list[CaseFile]:
    """Plan the case file of every pairing, with its state. Writes nothing.

    An existing case is recognized by the preview it names, whatever its file is called and whatever else it contains.
    Raises UsageError if `out` is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; pass a folder for the cases")
    known = _known(out)
    taken = {path for paths in known.values() for path in paths}
    files = []
    for pairing in job_import.pairings:
        text = case_text(job_import, pairing, out)
        existing = known.get(_real(pairing.preview.path), [])
        if existing:
            path = existing[0]
            same = _without_schema(path.read_text(encoding="utf-8")) == _without_schema(text)
            files.append(CaseFile(pairing=pairing, path=path, state="unchanged" if same else "kept", text=text))
            continue
        path = _free_name(job_import, pairing, out, taken)
        # An existing file of this name that does not name the preview is broken, or was written by somebody else.
        state: State = "kept" if path.exists() else "new"
        taken.add(path)
        files.append(CaseFile(pairing=pairing, path=path, state=state, text=text))
    return files


def write_case_files(files: Sequence[CaseFile]) -> None:
    """Write the new files, and for editors the schema beside them. Raises UsageError if one cannot be written."""
    texts = {file.path: file.text for file in files if file.state == "new"}
    for schema in {file.path.parent / CASE_FILE_NAME for file in files}:
        if _is_ours(schema) if schema.exists() else any(path.parent == schema.parent for path in texts):
            texts[schema] = schema_text("case")
    for path, text in texts.items():
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise UsageError(cannot_write(path, error)) from None


def _is_ours(schema: Path) -> bool:
    """Return False for a file that somebody else wrote under the schema's name."""
    try:
        return is_case_schema(schema.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False


def _without_schema(text: str) -> str:
    """A case's text without the line for editors, which cases of earlier versions lack."""
    return text.removeprefix(_FOR_EDITORS)


def _known(out: Path) -> dict[Path, list[Path]]:
    """Map each preview to the case files below `out` that name it."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(out.rglob("*.yaml")):
        try:
            video = read(path).data["preview"]["video"]
            found.setdefault(_real(path.parent / video), []).append(path)
        except (CaseError, KeyError, TypeError, ValueError):  # not a case, or not a valid file name
            continue
    return found


def _real(path: Path) -> Path:
    """Resolve `..` and links in the folders; the file keeps its own name, because that contains the step."""
    return real_path(path.parent) / path.name


def _free_name(job_import: JobImport, pairing: Pairing, out: Path, taken: set[Path]) -> Path:
    """Return `<job>-<step>-<prompt>.yaml`; later previews of the same step and prompt add their time."""
    name = pairing.preview.name
    step = "final" if name.step is None else f"{name.step:09d}"
    stem = f"{_plain(job_import.job.name)}-{step}-{name.index}"
    first = min(
        (other for other in job_import.previews if (other.name.step, other.name.index) == (name.step, name.index)),
        key=lambda preview: preview.name.generated_at,
    )
    plain = out / f"{stem}.yaml"
    if first.path == pairing.preview.path and plain not in taken:
        return plain
    return out / f"{stem}-{pairing.preview.path.name.partition('_')[0]}.yaml"


def case_text(job_import: JobImport, pairing: Pairing, out: Path) -> str:
    """Return the text of a case file. It depends only on the job, not on the current folder."""
    job, name = job_import.job, pairing.preview.name
    preview: dict[str, Any] = {
        "config": _relative(job.document.path, out),
        "sample": name.index,
        "video": _relative(pairing.preview.path, out),
    }
    if pairing.toolkit is not None:
        preview["toolkit"] = _Text(pairing.toolkit)
    if pairing.control_image is not None and pairing.control_image_moved:
        preview["control_image"] = _relative(pairing.control_image, out)
    if pairing.unpairable is not None:
        preview["unpairable"] = _Text(pairing.unpairable)
    keys: dict[str, Any] = {"model": job_import.model.id}
    if job_import.checkpoint is not None:
        source = job_import.checkpoint
        keys["checkpoint"] = source if is_hub_id(source) else _relative(Path(source), out)
    keys["preview"] = preview
    if pairing.request is not None:
        keys["request"] = _request(job_import, pairing, out)
    if job_import.pipeline != "reference":
        keys["pipeline"] = job_import.pipeline
    if job_import.expect is not None and pairing.unpairable is None:
        keys["expect"] = _Row(job_import.expect)
    kind = "i2v" if pairing.from_image else "t2v"
    tags = [kind, f"prompt-{name.index}", "final" if name.step is None else f"step-{name.step}"]
    keys["tags"] = _Row([*tags, *(["unpairable"] if pairing.unpairable is not None else [])])
    body = yaml.dump(keys, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    return _FOR_EDITORS + "".join(f"# {line}\n" for line in _comments(job_import, pairing)) + body


def _comments(job_import: JobImport, pairing: Pairing) -> list[str]:
    name = pairing.preview.name
    when = "generated without a step" if name.step is None else f"step {name.step}"
    title = "".join(letter if letter.isprintable() else " " for letter in job_import.job.name)
    lines = [
        f"{' '.join(title.split())}, {when}, prompt {name.index}. Written by `parity import`. You can "
        "edit it: importing again does not overwrite it."
    ]
    if job_import.model_assumed:
        lines.append(f"The model is assumed: {job_import.job.arch} stands for several, see `parity import --model`.")
    if pairing.unpairable is not None:
        lines.append(
            "Reported, never generated. Once the reason is fixed, delete `unpairable`, or this file and import."
        )
    elif pairing.request is None:
        lines.append("Generated before training, without a LoRA; the API accepts no request without one.")
    else:
        lines += [f"LoRA: {note}." for note in pairing.lora.notes]
    return lines


def _request(job_import: JobImport, pairing: Pairing, out: Path) -> Mapping[str, Any]:
    """Return the request with file paths in place of file contents."""
    assert pairing.request is not None
    data = pairing.request.model_dump(exclude_none=True)
    for item in data["prompts"]:
        for key in ("prompt", "neg"):
            item[key] = _Text(item[key])
        if pairing.control_image is not None:
            item["ctrl_img"] = _relative(pairing.control_image, out)
    for lora, (path, _) in zip(data["loras"], pairing.lora.of_experts(job_import.job), strict=True):
        lora["path"] = _relative(path, out)
    return data


def _relative(path: Path, out: Path) -> str:
    """Make a path relative to the case file's folder, so that both can be moved together."""
    return Path(os.path.relpath(_real(path), real_path(out))).as_posix()
