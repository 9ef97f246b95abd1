"""Options for running cases, shared by the command line and pytest. Imports nothing heavy."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parity.case.target import TIMEOUT_S, TOKEN_VARIABLE, Given, base_url
from parity.results.shard import MOST_SHARDS
from parity.run.task import STILLS
from pipelines import cpu_kernels
from pipelines.files.words import shorten
from pipelines.offload import OFFLOADS

LEAST_REPEATS, MOST_REPEATS = 2, 16
"""Generations of one request: one cannot be compared, and all are kept in memory and compared pairwise."""
MOST_STILLS = 1000
"""Frames that can be kept of each video; no model generates as many."""
MOST_WORKERS = 4096
REPORT_BYTES = 25 << 20
"""The default size limit of report.html."""
KEPT_STILLS, MOST_KEPT_STILLS = 3, 64
"""Pictures that a baseline keeps of a case."""


def add_running(add_argument: Any, prefix: str = "--") -> None:
    """Add `--out`, `--device` and the other options of a run; for pytest with the prefix `--parity-`."""
    add_argument(f"{prefix}out", type=Path, metavar="DIR", help="default: reports/out/<start time>")
    add_argument(f"{prefix}device", default="auto", help="auto, cpu, cuda or cuda:n (default: auto)")
    add_cpu_kernels(add_argument, prefix)
    add_argument(
        f"{prefix}offload",
        choices=OFFLOADS,
        default="none",
        help="keep weights in CPU memory: a model or a layer at a time on the GPU (default: none)",
    )
    add_argument(
        f"{prefix}resume",
        action="store_true",
        help=f"continue the stopped run in {prefix}out (default: the last run), keeping finished cases",
    )
    add_argument(
        f"{prefix}no-cache",
        action="store_true",
        help="generate every case, even if its frames are cached, and encode its prompts anew (`parity cache`)",
    )
    add_argument(
        f"{prefix}timeout",
        type=seconds,
        metavar="SECONDS",
        help="stop a case if loading, one step or decoding takes longer (default: no limit)",
    )
    add_argument(
        f"{prefix}isolate",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="generate in a process apart: a case that crashes it or runs out of memory is an error of that case, and "
        "the run goes on",
    )


def add_shard(add_argument: Any, prefix: str = "--") -> None:
    """Add `--shard` and `--balance`."""
    add_argument(
        f"{prefix}shard",
        type=_shard,
        metavar="I/N",
        help="run only the I-th of N parts of the cases, e.g. 2/4, one on each machine; `parity shards` shows them, "
        "`parity report` merges the results",
    )
    add_balance(add_argument, prefix)


def add_balance(add_argument: Any, prefix: str = "--") -> None:
    """Add `--balance`."""
    add_argument(
        f"{prefix}balance",
        action=Gather,
        type=Path,
        default=(),
        metavar="RESULTS",
        help="split the cases by the seconds they took in this earlier run (results.json or its folder; repeatable); "
        "the same on every machine (default: estimated from the recipes)",
    )


def add_cpu_kernels(add_argument: Any, prefix: str = "--") -> None:
    """Add `--cpu-kernels`."""
    add_argument(
        f"{prefix}cpu-kernels",
        choices=cpu_kernels.MODES,
        help="portable: the same bits on every x86-64 CPU with AVX2; native: this CPU's own, with bits of their own "
        f"(default: ${cpu_kernels.VARIABLE}, or portable)",
    )


def add_baselines(add_argument: Any, prefix: str = "--") -> None:
    """Add `--baselines`, `--noise-psnr` and `--noise-ssim` of a run."""
    add_argument(
        f"{prefix}baselines",
        type=Path,
        metavar="DIR",
        help="compare each case with what was accepted (`parity baseline accept`): changed fails, unchanged passes, "
        "even if it fails its own tolerance as it did then",
    )
    add_noise(add_argument, f"{prefix}noise")


def add_blocks(add_argument: Any, prefix: str = "--") -> None:
    """Add `--blocks`."""
    add_argument(
        f"{prefix}blocks",
        type=_blocks,
        metavar="N,...",
        help="smoke run: only these transformer blocks of the real checkpoint, without encoders, few steps and frames: "
        "no video, but hashes of all stages to compare with an accepted smoke run; seconds, and little memory",
    )


def _blocks(text: str) -> tuple[int, ...]:
    try:
        blocks = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        blocks = (-1,)
    if blocks[0] < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers of transformer blocks, from 0, e.g. 0 or 0,29")
    return blocks


def add_kept_stills(add_argument: Any, name: str = "--stills") -> None:
    """Add `--stills` of `baseline accept`; another command's `--stills` is of another kind."""
    add_argument(
        name,
        type=_kept_stills,
        default=KEPT_STILLS,
        metavar="N",
        help="small pictures to keep of each accepted output, the frame furthest from the preview first; 0: numbers "
        f"alone (default: {KEPT_STILLS})",
    )


def add_repeat(add_argument: Any, prefix: str = "--") -> None:
    """Add `--repeat`."""
    add_argument(
        f"{prefix}repeat",
        type=_repeats,
        metavar="N",
        help=f"generate every request N times ({LEAST_REPEATS} to {MOST_REPEATS}), once in a fresh process and never "
        "from the cache: is it the same video each time, and if not, how large is the difference?",
    )


def add_target(add_argument: Any, prefix: str = "--") -> None:
    """Add `--target` and the other options about a server."""
    add_argument(
        f"{prefix}target",
        type=_url,
        metavar="URL",
        help="generate every case on this server, which must offer the API (`parity serve`, the reference server, or "
        "another); "
        f"bearer token: ${TOKEN_VARIABLE}",
    )
    add_argument(
        f"{prefix}target-lora-root",
        type=_folder,
        metavar="DIR",
        help="the server's LoRA root as this machine sees it: LoRA paths are sent relative to it",
    )
    add_argument(
        f"{prefix}target-timeout",
        type=seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"limit for a whole request on a server (default: {TIMEOUT_S:g})",
    )


def add_cluster(add_argument: Any) -> None:
    """Add `--on` and `--workers`."""
    add_argument(
        "--on",
        type=_cluster,
        metavar="ray[://HOST:PORT]",
        help="run cases on several workers, each with a GPU of its own that stays loaded: ray starts them on this "
        "machine, or on the Ray cluster that it belongs to ($RAY_ADDRESS); ray://HOST:PORT on another one. Needs pip "
        "install 'wan-parity[cluster]'",
    )
    add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="with --on: so many workers (default: one for each GPU; without GPUs one for each machine)",
    )


def given_target(get: Callable[[str], Any]) -> Given:
    """The target options as given. `get` returns an option's value by its name, e.g. `target_timeout`."""
    return Given(url=get("target"), lora_root=get("target_lora_root"), timeout=get("target_timeout"))


def _url(text: str) -> str:
    try:
        return base_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _cluster(text: str) -> str:
    if re.fullmatch(r"ray|ray://[^/\s]+:\d+", text) is None:
        raise argparse.ArgumentTypeError(f"must be ray or ray://HOST:PORT, e.g. ray://head:10001, not {text!r}")
    return text


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"folder not found: {text}")
    return Path(text)


class Gather(argparse.Action):
    """Gathers the values of a repeated option in a list. `append` would add them to the default, which is a tuple."""

    def __call__(
        self, _: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, __: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(before if isinstance(before, list) else ()), values])


def add_tag(add_argument: Any, prefix: str = "--") -> None:
    """Add `--tag`."""
    add_argument(
        f"{prefix}tag",
        action=Gather,
        default=(),
        metavar="TAG",
        help="only cases with this tag (repeatable: with any of these tags)",
    )


def add_max_size(add_argument: Any, prefix: str = "--") -> None:
    """Add `--max-size`, the limit of the HTML file."""
    add_argument(
        f"{prefix}max-size",
        type=megabytes,
        default=REPORT_BYTES,
        metavar="MB",
        help="maximum size of the HTML file: frames and details of passing cases are left out first, and the "
        "page says so "
        "(default: 25)",
    )


def add_stills(add_argument: Any, prefix: str = "--") -> None:
    """Add `--stills`."""
    add_argument(
        f"{prefix}stills",
        type=_stills,
        default=STILLS,
        metavar="N",
        help="frames to keep of every video that a diagnosis generates, to be shown in the report: the worst one, and "
        f"others spread over the video; 0: none (default: {STILLS})",
    )


def add_results(command: argparse.ArgumentParser) -> None:
    """Add `--results`."""
    command.add_argument(
        "--results",
        action=Gather,
        type=Path,
        default=(),
        metavar="FILE",
        help="results.json, or the folder it is in; repeatable (default: the last full run below reports/out)",
    )


def factors(text: str) -> tuple[str, ...]:
    """Parse names of factors, separated by commas."""
    from parity.factors.catalogue import PAGES
    from pipelines.files.words import did_you_mean

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in PAGES:
            raise argparse.ArgumentTypeError(f"unknown factor {name!r}{did_you_mean(name, list(PAGES))}")
    return names


def above_zero(text: str, unit: str, example: str) -> float:
    """A finite number above 0, for argparse."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of {unit} above 0, e.g. {example}, not {text!r}")
    return value


def megabytes(text: str) -> int:
    """Parse megabytes; returns bytes."""
    return math.ceil(above_zero(text, "megabytes", "25") * (1 << 20))


def seconds(text: str) -> float:
    """Parse seconds, above 0."""
    return above_zero(text, "seconds", "600")


def generations(text: str) -> float:
    """Parse a number of generations, at least 1."""
    value = _number(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"must be at least 1 generation, not {text}")
    return value


def _whole(least: int, most: int, example: int) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number, {least} to {most}, e.g. {example}, not {text!r}")
        return int(text)

    return parse


def _shard(text: str) -> tuple[int, int]:
    """Parse `2/4`."""
    index, slash, of = text.partition("/")
    if slash and all(word.isascii() and word.isdigit() for word in (index, of)):
        try:
            if 1 <= int(index) <= int(of) <= MOST_SHARDS:
                return int(index), int(of)
        except ValueError:  # thousands of digits
            pass
    raise argparse.ArgumentTypeError(
        f"must be I/N, from 1/N to N/N with N at most {MOST_SHARDS}, e.g. 2/4, not {shorten(text, 40)!r}"
    )


number_of_shards = _whole(1, MOST_SHARDS, 4)
_repeats = _whole(LEAST_REPEATS, MOST_REPEATS, 3)
_stills = _whole(0, MOST_STILLS, STILLS)
_workers = _whole(1, MOST_WORKERS, 8)
_kept_stills = _whole(0, MOST_KEPT_STILLS, KEPT_STILLS)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def add_noise(add_argument: Any, prefix: str) -> None:
    """Add `--noise-psnr` and `--noise-ssim`, or those with another prefix."""
    add_argument(
        f"{prefix}-psnr",
        type=_decibel,
        metavar="DB",
        help="mean PSNR between the outputs of one recipe in two environments (default: 46 raw, 35.5 after a lossy "
        "codec)",
    )
    add_argument(
        f"{prefix}-ssim",
        type=_similarity,
        metavar="SSIM",
        help="mean SSIM between the outputs of one recipe in two environments (default: 0.997 raw, 0.94 after a "
        "lossy codec)",
    )


def _decibel(text: str) -> float:
    return _between(text, 0, math.inf, "a number of dB above 0, e.g. 46")


def _similarity(text: str) -> float:
    return _between(text, 0, 1, "a number between 0 and 1, e.g. 0.94")


def _between(text: str, low: float, high: float, wanted: str) -> float:
    value = _number(text)
    if not low < value < high:
        raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
    return value
