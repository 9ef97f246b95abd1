"""What `--json` prints: one object with the version of its shape. Fields are added within a version, never renamed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.baselines.accept import LeftOut, Proposal
    from parity.baselines.accept_smoke import SmokeProposal
    from parity.importing.case_files import CaseFile
    from parity.importing.folder import JobImport

SCHEMA_VERSION = 1


def json_text(**values: Any) -> str:
    """The object as text. Paths become text, and sets lists in alphabetical order."""
    return json.dumps({"schema_version": SCHEMA_VERSION} | values, indent=2, default=_plain)


def _plain(value: object) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def import_json(job: JobImport, files: Sequence[CaseFile], out: Path, notes: Sequence[str], *, dry_run: bool) -> str:
    """The cases of an imported job, in the order of the table."""
    return json_text(
        job=job.job.name,
        model=job.model.id,
        model_assumed=job.model_assumed,
        checkpoint=job.checkpoint,
        folder=out,
        dry_run=dry_run,
        cases=[_case(file) for file in files],
        notes=notes,
    )


def _case(file: CaseFile) -> dict[str, Any]:
    pairing = file.pairing
    return {
        "file": file.path,
        "state": file.state,
        "preview": pairing.preview.path,
        "step": pairing.preview.name.step,
        "sample": pairing.preview.name.index,
        "prompt": pairing.prompt,
        "loras": pairing.lora.paths,
        "control_image": pairing.control_image,
        "toolkit": pairing.toolkit,
        "unpairable": pairing.unpairable,
    }


def accept_json(
    folder: Path,
    proposals: Sequence[Proposal],
    left_out: Sequence[LeftOut],
    written: Sequence[str],
    smokes: Sequence[SmokeProposal] = (),
) -> str:
    """What accepting changes. `written`: the cases whose baselines were written, none if nothing was to be."""
    return json_text(
        folder=folder,
        cases=[
            {
                "case": item.baseline.case,
                "kind": item.kind,
                "changes": item.changes,
                "stills": [still.frame for still in item.baseline.stills],
                "notes": item.notes,
            }
            for item in proposals
        ],
        left_out=[{"case": item.case, "reason": item.reason} for item in left_out],
        written=written,
        smoke=[{"case": item.baseline.case, "kind": item.kind, "changes": item.changes} for item in smokes],
    )
