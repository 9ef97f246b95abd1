"""Runs the cases of a repository as a gate, the same in GitHub's action, in any other CI and by hand.

    python gate.py          run the cases; the exit code is the run's: 0 as expected, 1 drifted, 2 bad usage, 3 not run
    python gate.py key      print a key that changes with the checkpoints that the cases load from the Hub
    python gate.py report   one report of several runs (the folders below $OUT), without torch

What to run comes from environment variables, so that nothing has to be quoted; all may be empty or missing:

    CASES          case files and folders, one a line; the embedded demo if empty
    BASELINES      the folder of accepted results that the cases are compared with
    TAG            only cases with one of these tags, one a line
    K              only cases whose id or tags match this expression
    SHARD          only this part of the cases, e.g. 2/4: one of four machines has it
    BALANCE        the results that the cases are split by; the same for all shards
    DEVICE         auto, cpu, cuda or cuda:n
    OFFLOAD        none, model or sequential
    TIMEOUT        seconds that loading, one step or decoding may take
    DIAGNOSE       on-failure or always: find out why videos differ
    WORKERS        processes at a time, as many as there are GPUs; more than one needs the extra [pytest]
    IF_NO_CASES    error (default) or note: what it is if no case has one of the tags
    OUT            the folder to write to (default: parity-out)

OUT then holds results.json, report.html, artifacts/, junit.xml, summary.md, comment.md (for a pull request), log.txt.
On GitHub the job summary, annotations and the step's outputs are written, too. Needs Python and `parity` on the PATH.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

WEIGHTS = ("adapter", "checkpoint", "text_encoder", "transformers", "vae")
"""The keys of a recipe that name where weights come from."""
SPLIT = ("shard", "balance")
"""The options that `parity fetch` shares."""
CONFINED = "WAN_PARITY_CONFINED"
"""The variable of `parity` that limits what cases may name (SECURITY.md)."""
LOG_LINES, LOG_COLUMNS = 30, 500
"""The end of the log that is shown if there are no results, and the most characters of a line of it."""
LOG_TEXT = 4000
"""The most characters of a message."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to run."""

    cases: tuple[str, ...]
    tags: tuple[str, ...]
    out: Path
    options: tuple[str, ...]
    """Options that `parity run` has, and pytest with `--parity-` before them."""
    part: tuple[str, ...]
    """Those of them that `parity fetch` has, too."""
    expression: str
    diagnose: str
    workers: int
    only_note: bool
    """True if it is no error that no case has one of the tags."""

    @staticmethod
    def of(variables: Mapping[str, str]) -> Settings:
        """Read the environment. Raises ValueError, which names the variable."""

        def value(name: str, default: str = "", among: Sequence[str] = ()) -> str:
            given = variables.get(name, "").strip() or default
            if among and given not in among:
                raise ValueError(f"{name}: must be {' or '.join(filter(None, among))}, not {given!r}")
            return given

        def lines(name: str) -> tuple[str, ...]:
            return tuple(line.strip() for line in variables.get(name, "").splitlines() if line.strip())

        workers = value("WORKERS", "1")
        if not workers.isdecimal() or int(workers) < 1:
            raise ValueError(f"WORKERS: must be a number from 1 on, not {workers!r}")
        if int(workers) > 1 and value("K"):
            raise ValueError("K: can be used with one worker only; with more use TAG")
        named = {name: value(name.upper()) for name in ("baselines", *SPLIT, "device", "offload", "timeout")}
        return Settings(
            cases=lines("CASES"),
            tags=lines("TAG"),
            out=Path(value("OUT", "parity-out")),
            options=_options(named),
            part=_options({name: named[name] for name in SPLIT}),
            expression=value("K"),
            diagnose=value("DIAGNOSE", "never", ("never", "on-failure", "always")),
            workers=int(workers),
            only_note=value("IF_NO_CASES", "error", ("error", "note")) == "note",
        )

    def command(self, tags: Sequence[str]) -> list[str]:
        """The command line that runs the cases with these tags."""
        shared = [*self.options, *(word for tag in tags for word in ("--tag", tag)), "--out", str(self.out)]
        if self.workers == 1:
            how = {"never": [], "on-failure": ["--diagnose-failed"], "always": ["--diagnose"]}[self.diagnose]
            chosen = ["-k", self.expression] if self.expression else []
            return ["parity", "run", *self.cases, *chosen, *shared, *how]
        shared = [f"--parity-{word[2:]}" if word.startswith("--") else word for word in shared]
        how = [] if self.diagnose == "never" else ["--parity-diagnose", self.diagnose]
        cases = [word for case in self.cases for word in ("--parity-cases", case)] or ["--pyargs", "parity"]
        return ["pytest", *cases, "-n", str(self.workers), *shared, *how]

    def fetching(self, tags: Sequence[str]) -> list[str]:
        """The command line that downloads what these cases need."""
        chosen = ["-k", self.expression] if self.expression else []
        return ["parity", "fetch", *self.cases, *chosen, *self.part, *(word for tag in tags for word in ("--tag", tag))]


def _options(named: Mapping[str, str]) -> tuple[str, ...]:
    """Options with their values; without those that are empty."""
    return tuple(word for name, text in named.items() if text for word in (f"--{name}", text))


def main(arguments: Sequence[str]) -> int:
    """Run the gate, or what else was asked for. Returns the exit code."""
    try:
        settings = Settings.of(os.environ)
        jobs = {(): gate, ("key",): key, ("report",): report}
        if tuple(arguments) not in jobs:
            raise ValueError(f"{shlex.join(arguments)}: use no argument, key or report")
        if shutil.which("parity") is None:
            raise ValueError("`parity` is not on the PATH; install wan-parity and activate its environment first")
        settings.out.mkdir(parents=True, exist_ok=True)
        if (folder := confined(os.environ)) is not None:
            os.environ[CONFINED] = folder
            print(f"wan-parity: a fork's cases: they may name files in {folder} alone, and no servers ({CONFINED})")
        return jobs[tuple(arguments)](settings)
    except (ValueError, OSError) as error:
        print(f"wan-parity: {plain(str(error))}", file=sys.stderr)
        append(os.environ.get("GITHUB_OUTPUT"), "exit-code=2\n")
        return 2
    except KeyboardInterrupt:  # what was started got it, too, and wrote the results so far
        return 130


def confined(variables: Mapping[str, str]) -> str | None:
    """The folder that the cases of a fork's pull request may name files in; None: no fork, or the job has decided."""
    if CONFINED in variables or not variables.get("GITHUB_EVENT_PATH"):
        return None
    pull = json.loads(Path(variables["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8")).get("pull_request")
    if not isinstance(pull, dict):
        return None
    places = [(pull.get(side) or {}).get("repo") or {} for side in ("head", "base")]
    head, base = (place.get("full_name") for place in places)
    return None if head is not None and head == base else variables.get("GITHUB_WORKSPACE") or str(Path.cwd())


def gate(settings: Settings) -> int:
    """Run the cases, write what CI shows and say where it is. Returns the run's exit code."""
    for name in ("log.txt", "summary.md", "comment.md"):  # of an earlier run
        (settings.out / name).unlink(missing_ok=True)
    rows = plan(settings)
    if rows is None:
        return without_results(settings, 2)
    known = {tag for row in rows for tag in row["tags"]}
    tags = [tag for tag in settings.tags if tag in known]
    unmatched = [tag for tag in settings.tags if tag not in known]
    there = ", ".join(sorted(known)) or "none"
    note = plain(f"No case has the tag {' or '.join(unmatched)}; there are: {there}.") if unmatched else ""
    if unmatched and not tags:
        return nothing_to_run(settings, note)
    if remote(rows):  # a download has no limit in time, as loading has; what cannot be had fails its cases below
        logged(settings.fetching(tags), settings.out)
    results = settings.out / "results.json"
    before = results.stat().st_mtime_ns if results.exists() else None
    code = logged(settings.command(tags), settings.out)
    if settings.workers > 1:
        code = {4: 2, 5: 2}.get(code, code)  # pytest's numbers of bad usage and of no test
    if not results.exists() or results.stat().st_mtime_ns == before:
        return without_results(settings, code or 3)
    page = ("--out", str(settings.out / "report.html"))
    kinds = {"summary": "summary.md", "comment": "comment.md", "junit": "junit.xml"}
    files = [word for kind, name in kinds.items() for word in (f"--{kind}", str(settings.out / name))]
    if logged(["parity", "report", str(settings.out), *page, *files], settings.out) != 0:
        return without_results(settings, code or 3)
    if note:
        tell(settings.out, f"\n{preformatted(note)}\n")
        print(f"wan-parity: {note}")
    total, failed = counted(settings.out / "junit.xml")
    print(f"wan-parity: {failed} of {total} cases failed; exit code {code}; {settings.out / 'report.html'}")
    outputs(code, settings.out, failed)
    return code


def key(settings: Settings) -> int:
    """Print `key=…` for the checkpoints that come from the Hub; an empty one if there are none, or cases are wrong."""
    done = subprocess.run(planning(settings), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    rows = json.loads(done.stdout) if done.returncode == 0 else []
    named = remote(rows)
    print(f"key={hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16] if named else ''}")
    return 0


def report(settings: Settings) -> int:
    """Merge the runs in the folders below OUT into one report, summary and JUnit file. Returns 2 if there is none."""
    runs = sorted(path.parent for path in (*settings.out.glob("*/results.json"), *settings.out.glob("results.json")))
    if not runs:
        print(f"wan-parity: no results.json below {settings.out}/: no case matched in any job", file=sys.stderr)
        return 2
    named = {"--out": "report.html", "--summary": "summary.md", "--junit": "junit.xml"}
    files = [word for option, name in named.items() for word in (option, str(settings.out / name))]
    github = ["--github"] if os.environ.get("GITHUB_STEP_SUMMARY") else []
    return subprocess.run(["parity", "report", *map(str, runs), *files, *github], check=False).returncode


def planning(settings: Settings) -> list[str]:
    """The command that reads all cases: a mistake in one of them is found before anything is generated."""
    return ["parity", "plan", *settings.cases, "--json"]


def plan(settings: Settings) -> list[Any] | None:
    """What `parity plan` says of every case; None if it refuses them, after its message was logged."""
    done = subprocess.run(planning(settings), capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode == 0:
        rows: list[Any] = json.loads(done.stdout)
        return rows
    print(done.stderr, end="", file=sys.stderr)
    (settings.out / "log.txt").write_text(done.stderr, encoding="utf-8")
    return None


def remote(rows: Sequence[Any]) -> list[str]:
    """The repositories of the Hub that cases load weights from, unless a server generates them."""
    found = {name for row in rows if not row.get("target") for name in weights(row["recipes"])}
    return sorted(name for name in found if not Path(name).exists())


def weights(value: Any, named: bool = False) -> Iterator[str]:
    """Every text below a key that names where weights come from."""
    if isinstance(value, str):
        if named:
            yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from weights(item, named or name in WEIGHTS)
    elif isinstance(value, list):
        for item in value:
            yield from weights(item, named)


def logged(command: Sequence[str], out: Path) -> int:
    """Run a command, its output shown and added to log.txt. Returns its exit code."""
    print(f"$ {shlex.join(command)}", flush=True)
    now = {**os.environ, "PYTHONUNBUFFERED": "1"}  # a line is seen when it is printed, not hours later
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=now)
    except FileNotFoundError:
        raise ValueError(
            f"{command[0]} not found; install wan-parity first (with workers: 'wan-parity[pytest]')"
        ) from None
    assert process.stdout is not None
    with (out / "log.txt").open("ab") as log, process:
        for line in process.stdout:
            log.write(line)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return process.returncode


def counted(file: Path) -> tuple[int, int]:
    """How many cases a JUnit file holds, and how many of them failed."""
    suite = ET.parse(file).getroot()[0]
    return int(suite.attrib["tests"]), int(suite.attrib["failures"]) + int(suite.attrib["errors"])


def nothing_to_run(settings: Settings, note: str) -> int:
    """No case has any of the tags: a note, or an error."""
    code = 0 if settings.only_note else 2
    tell(settings.out, f"## wan-parity: nothing to run\n\n{preformatted(note)}\n")
    print(f"wan-parity: {note} Exit code {code}")
    outputs(code, settings.out, 0, results=False)
    return code


def without_results(settings: Settings, code: int) -> int:
    """Nothing was run: the end of the log is what there is to show."""
    path = settings.out / "log.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    shown = preformatted(*(plain(line[:LOG_COLUMNS]) for line in lines[-LOG_LINES:]))
    text = f"Exit code {code}. The log ends with:\n\n{shown}\n"
    tell(settings.out, f"## wan-parity: no case was run\n\n{text}")
    print(f"wan-parity: no case was run; exit code {code}")
    outputs(code, settings.out, 0, results=False)
    return code


def plain(text: str) -> str:
    """Text that is not ours, on one line and without effects: a log takes `##[` anywhere in a line for a command."""
    visible = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:LOG_TEXT])
    return visible.replace("##", "#\\x23")


def preformatted(*lines: str) -> str:
    """Lines as HTML, in which Markdown finds no links, names and pictures."""
    return "<pre>\n{}\n</pre>".format(html.escape("\n".join(lines), quote=False))


def tell(out: Path, text: str) -> None:
    """Add Markdown to the job summary, and to the files of the summary and the comment."""
    for path in (os.environ.get("GITHUB_STEP_SUMMARY"), str(out / "summary.md"), str(out / "comment.md")):
        append(path, text)


def outputs(code: int, out: Path, failed: int, *, results: bool = True) -> None:
    """Set the step's outputs on GitHub."""
    values = {"exit-code": str(code), "failed": str(failed), "out": str(out)}
    if results:
        values |= {"report": str(out / "report.html"), "results": str(out / "results.json")}
    append(os.environ.get("GITHUB_OUTPUT"), "".join(f"{name}={value}\n" for name, value in values.items()))


def append(path: str | None, text: str) -> None:
    """Add text to a file; no path, no file."""
    if path:
        with Path(path).open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
