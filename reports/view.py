"""A run as the page shows it: the order of cases, sentences and table rows, without markup."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parity.results.case import FAILING, CaseResult, Evidence, MetricResult, Run, Status, VideoResult
from parity.results.words import METRIC_DIGITS, figure
from pipelines.files.content import real_path
from pipelines.files.words import capital, plural

ORDER: tuple[Status, ...] = (*FAILING, "expected_drift", "smoke", "passed")
"""Failures first."""

_MEANING: dict[Status, tuple[str, str]] = {  # of one case, of several
    "drifted": ("drifted unexpectedly", "drifted unexpectedly"),
    "error": ("could not be run", "could not be run"),
    "unpairable": ("has a preview that cannot be reproduced", "have previews that cannot be reproduced"),
    "expected_drift": ("drifted exactly as expected", "drifted exactly as expected"),
    "smoke": ("is a smoke run, not compared with the preview", "are smoke runs, not compared with the preview"),
    "passed": ("passed", "passed"),
}

EVIDENCE: dict[Evidence, str] = {
    "recipe": "",
    "pixels": "proven by pixels",
    "file": "by the graph in the file",
    "reported": "reported by the server",
    "likely": "likely, by a search",
    "expected": "assumed from the reference profile, not verified",
}
"""The evidence for a finding in words. Empty for a recipe that was read and generated here: it needs none."""

ABSENT = "–"


def evidence(case: CaseResult, kind: Evidence) -> str:
    """The evidence for a finding of a case in words."""
    if case.file is not None and kind == "expected":
        return "assumed, the file does not say it"
    return "likely, as close as rounding lets it be" if case.file is not None and kind == "likely" else EVIDENCE[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricName:
    """The name, unit and digits with which a metric is written."""

    key: str
    label: str
    unit: str = ""
    higher_is_better: bool = True

    @property
    def digits(self) -> int:
        """Decimals."""
        return METRIC_DIGITS[self.key]

    def text(self, value: float | None) -> str:
        """A number with its unit. None, which in a result is infinite, is ∞."""
        return figure(self.key, value)


METRICS = (
    MetricName(key="psnr", label="PSNR", unit="dB"),
    MetricName(key="ssim", label="SSIM"),
    MetricName(key="lpips", label="LPIPS", higher_is_better=False),
    MetricName(key="vmaf", label="VMAF"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value of both recipes."""

    name: str
    preview: str
    inference: str
    differs: bool


def all_identical(metric: MetricResult) -> bool:
    """True if no frame differs, so that there is no curve to look at."""
    return metric.identical_frames == len(metric.per_frame)


def curve_summary(metric: MetricResult, name: MetricName) -> str:
    """A metric's frames in a few words: "2 of 11 frames identical, worst 30.04 dB at frame 6"."""
    total = plural(len(metric.per_frame), "frame")
    if metric.measured is None:
        parts = [f"{metric.identical_frames} of {total} identical"]
    else:
        parts = [f"measured on {len(metric.measured)} of {total}"]
    worst = metric.worst
    if worst is not None and not all_identical(metric):
        parts.append(f"worst {name.text(worst)} at frame {metric.per_frame.index(worst)}")
    return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit of a metric, shown as a horizontal line in its curve."""

    kind: str
    """mean or worst: a tolerance. floor: loss from the codec alone. repeat: difference between two generations."""
    label: str
    value: float


def limits(case: CaseResult, name: MetricName) -> list[Limit]:
    """The lines of a metric's curve: its tolerances and both floors, as far as there are any."""
    floor = case.codec_floor or {}
    lines = (
        ("mean", "tolerance, mean", case.tolerance.get(name.key)),
        (
            "worst",
            "tolerance, worst frame",
            case.tolerance.get(f"{name.key}_min", case.tolerance.get(f"{name.key}_max")),
        ),
        ("floor", "codec floor", floor.get(name.key)),
        ("repeat", "repeat floor", repeat_floor(case, name)),
    )
    return [Limit(kind=kind, label=label, value=value) for kind, label, value in lines if value is not None]


def repeat_floor(case: CaseResult, name: MetricName) -> float | None:
    """A metric between generations of the case's own request; None if they are identical, or there is only one."""
    floor = case.repeat.floor if case.repeat is not None else None
    if floor is None:
        return None
    return {"psnr": floor.psnr_mean, "ssim": floor.ssim_mean}.get(name.key)


def ordered(run: Run) -> list[tuple[int, CaseResult]]:
    """Cases with their place in the run: failures first, the lowest PSNR first among equals."""

    def key(item: tuple[int, CaseResult]) -> tuple[bool, int, float, int]:
        index, case = item
        psnr = case.metrics.get("psnr")
        worst = psnr.min if psnr else None
        return not case.failed, ORDER.index(case.status), float("inf") if worst is None else worst, index

    return sorted(enumerate(run.cases), key=key)


def counts(run: Run) -> dict[Status, int]:
    """Cases per status, failures first, without the statuses no case has."""
    numbers = {status: sum(case.status == status for case in run.cases) for status in ORDER}
    return {status: number for status, number in numbers.items() if number}


def tier(case: CaseResult) -> str:
    """The group of rows of a case (failed, expected_drift, smoke, passed): passed cases must not bury failures."""
    if case.failed:
        return "failed"
    return case.status if case.status in ("passed", "smoke") else "expected_drift"


def factor_counts(run: Run) -> dict[str, int]:
    """Cases per factor found, the most common first."""
    return dict(Counter(finding.factor for case in run.cases for finding in case.findings).most_common())


def reproduce(case: CaseResult, environment: Mapping[str, Any]) -> str:
    """The command that runs this case again with the same options."""
    repeat = () if case.repeat is None else ("--repeat", str(len(case.repeat.drawings)))
    case_file = tidy(case.case_file)
    words = ["parity", "run", case_file, *repeat]
    there = case.target.arguments if case.target is not None else ()
    if case.smoke is not None:
        words += ["--blocks", ",".join(map(str, case.smoke.blocks))]
    if case.search is not None and case.search.of == "preview":
        words = ["parity", "diagnose", "--search", case_file]
    elif case.diagnosis is not None or case.search is not None:  # a diagnosis looks for a server's settings
        modes = {"full": [], "gains": ["--gains"], "quick": ["--quick"]}
        words = ["parity", "diagnose", *modes[case.diagnosis.mode if case.diagnosis else "full"], case_file]
        if repeat:
            words = ["parity", "run", "--diagnose", case_file, *repeat]
    offload = environment.get("offload", "none")
    return shlex.join([*words, *there, *([] if offload == "none" else ["--offload", str(offload)])])


def results_files(run: Run, folder: Path) -> list[str]:
    """The results.json that the page is about, seen from where it is made. `folder` is that of the cases' artifacts."""
    merged = [part["results"] for part in run.environment.get("runs", ()) if "results" in part]
    return [_from_here(Path(file)) for file in merged or [folder / "results.json"]]


def _from_here(path: Path) -> str:
    """A path as it can be typed here, with slashes: of a file below the current folder it is not the whole one."""
    here = real_path(Path.cwd())
    inside = path.is_absolute() and real_path(path).is_relative_to(here)
    return (real_path(path).relative_to(here) if inside else path).as_posix()


def size_text(video: VideoResult) -> str:
    """The size of a video's frames: "832×480"."""
    return f"{video.width}×{video.height}"


def server_facts(case: CaseResult) -> dict[str, Any]:
    """Collect what is known of the server that generated a case, without empty values; empty for a local case."""
    if case.target is None:
        return {}
    known = asdict(case.target)
    del known["arguments"]
    return {name: value for name, value in known.items() if value not in (None, {}, 0)}


def file_facts(case: CaseResult) -> dict[str, Any]:
    """Collect what is known of the file that a case gives as output, without empty values; empty for other cases."""
    if case.file is None:
        return {}
    known = {"file": case.file.path, "made by": case.file.made_by, "ComfyUI graph": case.file.graph or "none was read"}
    return {name: value for name, value in known.items() if value is not None}


_MISSING = 4
"""The most phrases of what is missing in the verdict; JUnit and the terminal have all."""


def verdict(run: Run) -> str:
    """The run in one sentence: what failed, or else how it passed; and another one on what is missing."""
    if not run.missing:
        return _outcome(run)
    more = [f"and {len(run.missing) - _MISSING} more"] if len(run.missing) > _MISSING else []
    return f"{_outcome(run)} {capital('; '.join([*run.missing[:_MISSING], *more]))}."


def _outcome(run: Run) -> str:
    total, numbers = len(run.cases), counts(run)
    if not total:
        return "No case was run." if run.finished else "No case has finished yet."
    failing = {case.status for case in run.cases if case.failed}
    failed = [status for status in numbers if status in failing]
    parts = [(numbers[status], _MEANING[status][numbers[status] > 1]) for status in failed or numbers]
    (first, meaning), *rest = parts
    opening = f"{first} of {plural(total, 'case')} {meaning}"
    return ", ".join([opening, *(f"{number} {meaning}" for number, meaning in rest)]) + "."


def moment(time: str) -> str:
    """A UTC time in ISO 8601 as people read it: "2026-11-22 01:00:45 UTC"; anything else is left unchanged."""
    return f"{time[:10]} {time[11:19]} UTC" if time.endswith(("+00:00", "Z")) and time[10:11] == "T" else time


def times(case: CaseResult) -> dict[str, float]:
    """The time a case took by phase, its diagnosis and search included, with the total last; empty: not known."""
    if case.seconds is None:
        return {}
    phases = {name: time for name, time in case.timings.items() if name != "total"}
    parts = {"diagnosis": case.diagnosis, "search": case.search}
    phases |= {name: part.cost.seconds for name, part in parts.items() if part is not None and part.cost is not None}
    return {**phases, "total": case.seconds}


def tidy(path: str) -> str:
    """A path without detours: `mix/../cases/a.yaml` is `cases/a.yaml`."""
    return posixpath.normpath(path) if path else path


_HOME = re.compile(r"(?:/root|/home/[^/\s]+|/Users/[^/\s]+|[A-Za-z]:\\Users\\[^\\\s]+)(?=[/\\])")


def without_home(text: str) -> str:
    """Why something was not measured, without paths of somebody's home: the page is passed on."""
    return _HOME.sub("~", re.sub(rf" \({_HOME.pattern}[^)]*\)", "", text))


def originals(case: CaseResult) -> list[tuple[str, str]]:
    """The names and paths of the videos beside results.json; none that lies elsewhere."""
    paths = ((name, tidy(case.artifacts[name])) for name in ("preview", "output") if case.artifacts.get(name))
    return [(name, path) for name, path in paths if not path.startswith(("/", "..")) and "\\" not in path]


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested data with their names, e.g. `lora_files[0].sha256`. Numbers in a list stay together."""
    if isinstance(value, Mapping) and value and set(value) != {"asked", "applied"}:
        for key, item in value.items():
            yield from flatten(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)) and not all(isinstance(item, (int, float)) for item in value):
        for index, item in enumerate(value):
            yield from flatten(item, f"{name}[{index}]")
    else:
        yield name, value


def text(value: Any) -> str:
    """A leaf as a person reads it: `{asked: 100, applied: 96}` is "96 (asked 100)"."""
    if isinstance(value, Mapping) and value:
        asked, applied = value["asked"], value["applied"]
        return text(applied) if asked == applied else f"{text(applied)} (asked {text(asked)})"
    if isinstance(value, (list, tuple)) and value:
        return ", ".join(text(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, (list, tuple, Mapping)):
        return "none"
    return str(value) or "(empty)"


def recipe_rows(recipes: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Every field of both recipes, side by side, differences first; with one recipe nothing is marked as different."""
    preview, inference = recipes.get("preview", {}), recipes.get("inference", {})
    both = bool(preview and inference)
    rows = []
    for field in dict.fromkeys([*preview, *inference]):
        left = dict(flatten(preview[field], field)) if field in preview else {}
        right = dict(flatten(inference[field], field)) if field in inference else {}
        for name in dict.fromkeys([*left, *right]):
            if _only_says_none(name, left, right):
                continue
            rows.append(
                Row(
                    name=name,
                    preview=text(left[name]) if name in left else ABSENT,
                    inference=text(right[name]) if name in right else ABSENT,
                    differs=both and _differs(name, left, right),
                )
            )
    return sorted(rows, key=lambda row: not row.differs)


def _only_says_none(name: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """True if a leaf is the empty counterpart of something the other side has in several leaves."""
    here, there = (left, right) if name in left else (right, left)
    return bool(there) and name not in there and text(here[name]) == "none"


def _differs(name: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Compare the applied value, not the requested one, and a file by its content (sha256), not its path."""
    if name not in left or name not in right:
        return True
    if name.endswith((".path", ".source")):
        return False
    pair = (left[name], right[name])
    first, second = (value.get("applied") if isinstance(value, Mapping) else value for value in pair)
    return bool(first != second)
