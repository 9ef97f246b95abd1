"""A run as one self-contained HTML page that opens from disk and needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from parity.results.case import NOT_RUN, Run, Status
from parity.results.pair import PairResult
from pipelines.files.content import write_atomically
from pipelines.files.words import shorten
from reports import overview, view
from reports.baseline_view import accept_command
from reports.case_view import CaseView, case_views, tiers
from reports.diagnosis_charts import DECIBELS
from reports.explain import explained, symptoms_of
from reports.pieces import Pieces, data
from reports.room import SLACK, Level, share
from reports.stills import albums, embed

_LONG_WORD = re.compile(r"(\S{14,})")
_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[_./=,(-])(?=\w)")
"""Where a long word may break: at a capital letter, and after a sign."""
_LONGEST_PIECE = 24
"""Letters after which it breaks where there is neither."""
_PAGE = Path(__file__).parent / "page"
_CASE_NAMES = {"preview": "Preview", "output": "Output"}
_PAIR_NAMES = {"preview": "A", "output": "B"}
"""What the two sides are called."""
_LONGEST = 500
"""The most characters of a sentence about a case whose details do not fit."""
_SIGNS: dict[Status, str] = {
    "passed": "✓",
    "drifted": "✗",
    "expected_drift": "≈",
    "smoke": "~",
    "unpairable": "⊘",
    "error": "!",
}
_STYLES = (
    "report.css",
    "navigate.css",
    "overview.css",
    "answer.css",
    "viewer.css",
    "counterfactuals.css",
    "baseline.css",
    "approvals.css",
    "explain.css",
    "pair.css",
)
_SCRIPTS = (
    "store.js",
    "settings.js",
    "stills.js",
    "difference.js",
    "stage.js",
    "curves.js",
    "player.js",
    "strip.js",
    "fullscreen.js",
    "viewer.js",
    "answer.js",
    "counterfactuals.js",
    "copy.js",
    "overview.js",
    "thumbnails.js",
    "baseline.js",
    "approvals.js",
    "navigate.js",
    "keys.js",
    "report.js",
)
"""One script in this order; the last one starts it."""


class _Scripts(NamedTuple):
    """The scripts of the page. None of their names becomes global."""

    head: str
    """Before anything is shown."""
    page: str
    """After the overview."""
    cases: str
    """After all cases."""


def render(run: Run, folder: Path, *, max_bytes: int = 25 << 20, pair: PairResult | None = None) -> str:
    """The page. `folder` is that of results.json, to which artifacts are relative.

    It stays within `max_bytes`, unless these are too few for a page without any case: cases that passed give up their
    details first, and stills, those of failures first, take what is left. The page names what it left out.
    With `pair` the run holds one case that stands for two files, and the page is about these alone.
    """
    return _encoded(run, folder, max_bytes, pair).decode()


def write_report(run: Run, folder: Path, path: Path, *, max_bytes: int = 25 << 20) -> None:
    """Write the page of `render` to `path`, atomically."""
    write_atomically(path, _encoded(run, folder, max_bytes, None))


def _encoded(run: Run, folder: Path, max_bytes: int, pair: PairResult | None) -> bytes:
    order = view.ordered(run)
    cases = case_views(order, albums([case for _, case in order], folder))
    context = _context(run, cases, max_bytes, folder, pair)
    pieces = Pieces(run, _environment(), context, dict.fromkeys(range(len(cases)), Level.COUNTED))
    room = max_bytes - len(_page(context, cases, pieces))
    while True:
        _fill(cases, pieces, room, shorten=pair is None)
        page = _page(context, cases, pieces)
        excess = len(page) - max_bytes
        if excess <= 0 or not (
            any(pieces.levels.values()) if pair is None else any(one.stills.images for one in cases)
        ):
            return page
        room -= excess  # it grew by more than was set aside, as with long names


def _fill(cases: Sequence[CaseView], pieces: Pieces, room: int, *, shorten: bool) -> None:
    """Decide what the page holds of each case, and embed their stills, in `room` bytes."""
    embed([one.stills for one in cases], 0)
    if shorten:
        pieces.levels, room = share(cases, pieces, room)
    else:
        pieces.levels = dict.fromkeys(pieces.levels, Level.WHOLE)
        room -= sum(pieces.of(one, Level.WHOLE) + SLACK for one in cases)
    books = [one.stills for one in cases if pieces.levels[one.index] is Level.WHOLE]
    embed(books, room)


def _page(context: Mapping[str, Any], cases: Sequence[CaseView], pieces: Pieces) -> bytes:
    """The page with what `pieces` hold of the cases."""
    listed = pieces.listed(cases)
    counted = Counter(one.case.status for one in cases if pieces.levels[one.index] is Level.COUNTED)
    texts = (
        _environment()
        .get_template("template.html")
        .generate(
            context,
            pieces=pieces,
            cases=cases,
            listed=listed,
            counted={status: counted[status] for status in view.ORDER if counted[status]},
            brief=[one for one in listed if pieces.levels[one.index] is Level.BRIEF],
            tiers=tiers(listed),
            approvals=pieces.approvals(listed),
        )
    )
    page = bytearray()
    for text in texts:
        page += text.encode("utf-8", "replace")  # a file name that is no UTF-8 reaches messages as lone surrogates
    return bytes(page)


def _context(
    run: Run, cases: Sequence[CaseView], max_bytes: int, folder: Path, pair: PairResult | None
) -> dict[str, Any]:
    """What all templates of the page may use."""
    limit = f"{max_bytes / (1 << 20):.3g} MiB" if max_bytes >= 1 << 20 else f"{max_bytes / 1024:.3g} KiB"
    return {
        "run": run,
        "explained": explained(one.case for one in cases),
        "symptoms_of": symptoms_of,
        "counts": view.counts(run),
        "factor_counts": view.factor_counts(run),
        "pair": pair,
        "names": _CASE_NAMES if pair is None else _PAIR_NAMES,
        "verdict": view.verdict(run) if pair is None else pair.sentence,
        "metrics": view.METRICS,
        "columns": overview.columns([one.case for one in cases], [one.stills for one in cases]),
        "thumbnails": lambda one: overview.thumbnails(one.case, one.stills, limit),
        "reason": lambda one: overview.reason(one.case, one.answer),
        "not_run": NOT_RUN,
        "all_identical": view.all_identical,
        "curve_summary": view.curve_summary,
        "limits": view.limits,
        "repeat_floor": view.repeat_floor,
        "evidence": view.evidence,
        "server_facts": view.server_facts,
        "file_facts": view.file_facts,
        "decibels": DECIBELS,
        "flatten": view.flatten,
        "text": view.text,
        "badge": _badge,
        "reproduce": lambda case: view.reproduce(case, run.environment),
        "command": shlex.join(run.command),
        "results": view.results_files(run, folder),
        "accept": accept_command(run, folder),
        "quote": shlex.quote,
        "tidy": view.tidy,
        "without_home": view.without_home,
        "moment": view.moment,
        "limit": limit,
        "style": Markup(_joined(_STYLES)),
        "scripts": _scripts(),
        "hash": _hash,
        "stills_data": lambda book: data(json.dumps(book.data())),
    }


def _joined(names: Sequence[str]) -> str:
    return "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in names)


def _scripts() -> _Scripts:
    parts = (("head.js",), _SCRIPTS, ("cases.js",))
    return _Scripts(*(Markup(f"(() => {{\n'use strict';\n{_joined(names)}}})();") for names in parts))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,  # it would look at the files of the templates for every case
    )
    environment.filters |= {"breakable": _breakable, "shortened": lambda text: shorten(text, _LONGEST)}
    return environment


@cache
def _badge(status: Status) -> Markup:
    """A status as a coloured chip with its sign."""
    sign, words = _SIGNS[status], status.replace("_", " ")
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(status, sign, words)


@lru_cache(maxsize=1 << 14)  # cases repeat their values, and a page is rendered twice
def _breakable(text: str) -> Markup:
    """A text whose long words may break where a reader would break them: FlowMatch|Euler|Discrete|Scheduler."""
    plain_and_long = _LONG_WORD.split(text)
    plain_and_long[1::2] = ["\0".join(_pieces(word)) for word in plain_and_long[1::2]]
    return Markup(str(escape("".join(plain_and_long))).replace("\0", "<wbr>"))


def _pieces(word: str) -> list[str]:
    parts = _BREAKS.split(word)
    return [part[at : at + _LONGEST_PIECE] for part in parts for at in range(0, len(part), _LONGEST_PIECE)]


def _hash(source: str) -> str:
    """The hash for the page's Content-Security-Policy, which allows our script and styles and nothing else."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
