"""`parity import`: write a case for every preview of an ai-toolkit job."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from parity.cli.options import factors
from pipelines.errors import UsageError
from pipelines.files.words import cannot_read


def add(parsers: Any) -> None:
    """Add `parity import`."""
    command = parsers.add_parser(
        "import",
        help="write a case for every preview of an ai-toolkit job",
        description="Reads a job folder as ai-toolkit leaves it (config.yaml, samples/, *.safetensors), pairs every "
        "preview with its prompt, step, LoRA file and control image, and writes a case file for each. Existing files "
        "are never overwritten: importing again adds what is new. A preview that cannot be reproduced, because its "
        "LoRA was pruned, say, becomes a case that is reported as unpairable, with the reason.",
        epilog="examples:\n  parity import ~/ai-toolkit/output/my_job\n"
        "  parity import output/my_job --step last --prompt 0 --out cases/guitar\n"
        "  parity import output/my_job --toolkit 0.12.26 --dry-run\n"
        "  parity run cases/my_job --tag step-2000\n\n"
        "exit codes:\n  0  every preview has its case\n"
        "  2  bad usage, no job, or a model that is not supported; nothing was written\n",
    )
    command.add_argument("job", type=Path, metavar="JOB_DIR", help="the folder with config.yaml and samples/")
    command.add_argument("--out", type=Path, metavar="DIR", help="default: cases/<job name>")
    command.add_argument(
        "--step", type=_step, default="all", metavar="last|all|N", help="previews of this training step (default: all)"
    )
    command.add_argument(
        "--prompt", type=_index, action="append", default=[], metavar="N", help="prompt index, from 0 (repeatable)"
    )
    command.add_argument(
        "--toolkit", metavar="VERSION", help="ai-toolkit version or commit, for previews whose LoRA does not record it"
    )
    command.add_argument("--model", metavar="ID", help="API model id (`parity models`), if the job fits several models")
    command.add_argument("--checkpoint", metavar="DIR|ID", help="folder or Hub id of the weights, if not the config's")
    command.add_argument(
        "--pipeline",
        choices=("reference", "faithful"),
        default="reference",
        help="the graph under test: the inference server's, or the trainer's (default: reference)",
    )
    command.add_argument(
        "--expect",
        type=factors,
        metavar="FACTORS",
        help="factors known to differ, comma-separated: cases pass while exactly these are found",
    )
    command.add_argument("--dry-run", action="store_true", help="show what would be written, write nothing")
    command.add_argument("--json", action="store_true", help="print cases and notes as JSON")
    command.set_defaults(run=import_job)


def _step(text: str) -> str:
    if text not in ("last", "all") and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be last, all or a step number, not {text!r}")
    return text


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"must be a prompt index from 0, not {text!r}")
    return int(text)


def import_job(options: argparse.Namespace) -> int:
    """Read the job, write its cases, print which preview was paired with which files."""
    from parity.importing.case_files import default_out, plan_case_files, write_case_files
    from parity.importing.folder import ImportOptions, UnsupportedModelError, read_job_folder
    from parity.terminal.as_json import import_json
    from parity.terminal.jobs import import_notes, import_text, unsupported_text

    import_options = ImportOptions(
        step=options.step,
        prompts=tuple(options.prompt),
        model=options.model,
        checkpoint=options.checkpoint,
        toolkit=options.toolkit,
        pipeline=options.pipeline,
        expect=options.expect,
    )
    try:
        job = read_job_folder(options.job, import_options)
    except UnsupportedModelError as error:
        if not options.json:
            print(unsupported_text(error.table))
        raise
    except OSError as error:
        raise UsageError(cannot_read(f"{error.filename or options.job}", error)) from None
    out = options.out or default_out(job.job.name)
    files = plan_case_files(job, out)
    if not options.dry_run:
        write_case_files(files)
    if options.json:
        print(import_json(job, files, out, import_notes(job, files, out), dry_run=options.dry_run))
    else:
        print(import_text(job, files, out, options.dry_run))
    return 0
