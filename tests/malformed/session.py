"""Inputs are made, run and judged, each in a temporary folder."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.malformed.execute import Command, Run, run_all
from tests.malformed.inputs import Input
from tests.malformed.judge import Snapshot, message, problems, snapshot

LIMIT_S = {False: 30.0, True: 90.0}
"""Seconds after which a command counts as hung: without torch, with it."""

_BATCH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one input."""

    item: Input
    run: Run
    said: str
    """The first line of the message."""
    problems: tuple[str, ...]


def judged(
    inputs: Sequence[Input],
    whole: Path,
    scratch: Path,
    command: Command | None = None,
    *,
    at_once: int = 2,
    limit_s: float | None = None,
) -> Iterator[Verdict]:
    """Try all inputs. `whole`: a workplace to copy, `scratch`: a folder for the copies.

    `command`: default `parity`. `limit_s`: default LIMIT_S.
    """
    for torch in (False, True):
        mine = [item for item in inputs if item.torch is torch]
        if not mine:
            continue
        run = command or parity(torch)
        gc.collect()
        gc.freeze()  # so that a child's collector copies no pages of what it shares
        for start in range(0, len(mine), _BATCH):
            yield from _batch(mine[start : start + _BATCH], whole, scratch, run, limit_s or LIMIT_S[torch], at_once)


def parity(torch: bool) -> Command:
    """Return the command with everything it would import already imported, so that no child has to."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "WAN_PARITY_CACHE": ""}
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)
    from parity.cli.main import main
    from parity.importing import folder  # noqa: F401

    if torch:
        from parity.run import session as runner  # noqa: F401
        from pipelines.engine import fingerprint
        from pipelines.engine.torch_setup import declare_missing_torchvision_operators

        declare_missing_torchvision_operators()
        import diffusers
        import peft  # noqa: F401
        import transformers

        fingerprint.code()
        assert all((diffusers.WanPipeline, diffusers.AutoencoderKLWan, transformers.UMT5EncoderModel))
    return main


def _batch(
    items: Sequence[Input], whole: Path, scratch: Path, command: Command, limit_s: float, at_once: int
) -> Iterator[Verdict]:
    folders, before = [], list[Snapshot]()
    for number, item in enumerate(items):
        folder = scratch / f"{number:02}"
        shutil.copytree(whole, folder)
        item.damage(folder / item.target)
        folders.append(folder)
        before.append(snapshot(folder))
    work = [(folder, item.command) for folder, item in zip(folders, items, strict=True)]
    for number, run in run_all(work, command, limit_s=limit_s, at_once=at_once):
        item, folder = items[number], folders[number]
        found = problems(item, run, folder, before[number])
        said = (message(run, folder) or [""])[0].splitlines()[:1]
        yield Verdict(item=item, run=run, said=said[0] if said else "", problems=tuple(found))
    shutil.rmtree(scratch)
    scratch.mkdir()
