"""Case files of an imported job: one a preview, readable, never written over."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from parity.importing.folder import JobImport
from parity.importing.pairing import Pairing
from pipelines.errors import CaseError, UsageError
from pipelines.files.content import real_path, write_atomically
from pipelines.files.document import read
from pipelines.hub import is_hub_id

State = Literal["new", "unchanged", "kept"]
"""kept: the file is there and says something else than would be written now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """The case file of one preview."""

    pairing: Pairing
    path: Path
    state: State
    text: str
    """As it would be written now."""


class _Text(str):
    """Free text, always in quotes: a prompt may look like a number, a list or a comment."""

    __slots__ = ()


class _Row(list[str]):
    """A list on one line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)  # lists stand indented, as in hand-written cases


_Dumper.add_representer(
    _Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)
_Dumper.add_representer(
    _Row, lambda dumper, row: dumper.represent_sequence("tag:yaml.org,2002:seq", row, flow_style=True)
)


def default_out(job_name: str) -> Path:
    """`cases/<job name>`."""
    return Path("cases") / _plain(job_name)


def _plain(name: str) -> str:
    """A job's name as part of a case id."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "job"


def plan_case_files(read_in: JobImport, out: Path) -> list[CaseFile]:
    """The case file of every pairing, and whether it is there already. Writes nothing.

    A case is known by the preview it names, whatever its file is called and whatever else stands in it. Raises
    UsageError if `out` is no folder.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; give a folder for the cases")
    known = _known(out)
    taken = {path for paths in known.values() for path in paths}
    files = []
    for pairing in read_in.pairings:
        text = case_text(read_in, pairing, out)
        there = known.get(_real(pairing.preview.path), [])
        if there:
            path = there[0]
            same = path.read_text(encoding="utf-8") == text
            files.append(CaseFile(pairing=pairing, path=path, state="unchanged" if same else "kept", text=text))
            continue
        path = _free_name(read_in, pairing, out, taken)
        # What stands there under this name says of no preview that it is about it: broken, or somebody else's.
        state: State = "kept" if path.exists() else "new"
        taken.add(path)
        files.append(CaseFile(pairing=pairing, path=path, state=state, text=text))
    return files


def write_case_files(files: Sequence[CaseFile]) -> None:
    """Write the new ones. Raises UsageError where that is not possible."""
    for file in files:
        if file.state == "new":
            try:
                write_atomically(file.path, file.text.encode())
            except OSError as error:
                raise UsageError(f"{file.path}: cannot be written: {error.strerror or error}") from None


def _known(out: Path) -> dict[Path, list[Path]]:
    """Preview -> the case files below `out` that name it."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(out.rglob("*.yaml")):
        try:
            video = read(path).data["preview"]["video"]
            found.setdefault(_real(path.parent / video), []).append(path)
        except (CaseError, KeyError, TypeError, ValueError):  # no case, or a name no file can have
            continue
    return found


def _real(path: Path) -> Path:
    """Without `..` and links on the way; the file's own name is kept, because it says the step."""
    return real_path(path.parent) / path.name


def _free_name(read_in: JobImport, pairing: Pairing, out: Path, taken: set[Path]) -> Path:
    """`<job>-<step>-<prompt>.yaml`; later previews of the same step and prompt add their time."""
    name = pairing.preview.name
    step = "final" if name.step is None else f"{name.step:09d}"
    stem = f"{_plain(read_in.job.name)}-{step}-{name.index}"
    first = min(
        (it for it in read_in.previews if (it.name.step, it.name.index) == (name.step, name.index)),
        key=lambda it: it.name.drawn,
    )
    plain = out / f"{stem}.yaml"
    if first.path == pairing.preview.path and plain not in taken:
        return plain
    return out / f"{stem}-{pairing.preview.path.name.partition('_')[0]}.yaml"


def case_text(read_in: JobImport, pairing: Pairing, out: Path) -> str:
    """A case file. The same job gives the same text, wherever it is called from."""
    job, name = read_in.job, pairing.preview.name
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
    keys: dict[str, Any] = {"model": read_in.model.id}
    if read_in.checkpoint is not None:
        source = read_in.checkpoint
        keys["checkpoint"] = source if is_hub_id(source) else _relative(Path(source), out)
    keys["preview"] = preview
    if pairing.request is not None:
        keys["request"] = _request(read_in, pairing, out)
    if read_in.pipeline != "reference":
        keys["pipeline"] = read_in.pipeline
    if read_in.expect is not None and pairing.unpairable is None:
        keys["expect"] = _Row(read_in.expect)
    kind = "i2v" if read_in.model.needs_control_image else "t2v"
    tags = [kind, f"prompt-{name.index}", "final" if name.step is None else f"step-{name.step}"]
    keys["tags"] = _Row([*tags, *(["unpairable"] if pairing.unpairable is not None else [])])
    body = yaml.dump(keys, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    return "".join(f"# {line}\n" for line in _comments(read_in, pairing)) + body


def _comments(read_in: JobImport, pairing: Pairing) -> list[str]:
    name = pairing.preview.name
    when = "drawn without a step" if name.step is None else f"step {name.step}"
    title = "".join(letter if letter.isprintable() else " " for letter in read_in.job.name)
    lines = [
        f"{' '.join(title.split())}, {when}, prompt {name.index}. Written by `parity import`; yours to "
        "edit: importing again leaves it as it is."
    ]
    if read_in.model_assumed:
        lines.append(f"model: assumed; {read_in.job.arch} has others as well, see `parity import --model`.")
    if pairing.unpairable is not None:
        lines.append("Reported, never drawn. Once the reason is gone, delete `unpairable`, or this file and import.")
    elif pairing.request is None:
        lines.append("Drawn before training, without a LoRA; the API takes no request without one.")
    else:
        lines += [f"LoRA: {note}." for note in pairing.lora.notes]
    return lines


def _request(read_in: JobImport, pairing: Pairing, out: Path) -> Mapping[str, Any]:
    """The request with its files named instead of held."""
    assert pairing.request is not None
    data = pairing.request.model_dump(exclude_none=True)
    for item in data["prompts"]:
        for key in ("prompt", "neg"):
            item[key] = _Text(item[key])
        if pairing.control_image is not None:
            item["ctrl_img"] = _relative(pairing.control_image, out)
    for lora, (path, _) in zip(data["loras"], pairing.lora.of_experts(read_in.job), strict=True):
        lora["path"] = _relative(path, out)
    return data


def _relative(path: Path, out: Path) -> str:
    """From the case file's folder, so that both can be moved together."""
    return Path(os.path.relpath(_real(path), real_path(out))).as_posix()
