"""The pages that start from a symptom: `parity explain --symptom` prints them, docs/troubleshooting.md holds them all.

A page is a Markdown file in `symptoms/`: its title, a line `words:` with further words that people use for it, what it
usually is, the commands that decide it, and what to change. After a change of one:
`python -m parity.factors.troubleshooting >docs/troubleshooting.md`.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UsageError

_PAGES = Path(__file__).parent / "symptoms"

SYMPTOMS = (
    "better-than-inference",
    "lora-does-nothing",
    "lora-too-strong-or-weak",
    "motion-speed",
    "colours",
    "frames-or-flicker",
    "black-or-noise",
    "works-in-comfyui",
    "other-video-after-update",
    "other-video-each-time",
    "unpairable",
    "gate-red-nothing-changed",
    "download-stalls",
    "out-of-memory",
    "run-hangs",
)
"""The names of the pages: first what the video shows, then what the commands do."""

_MOST = 4
"""So many pages are named at most."""
_IN_TITLE, _IN_WORDS, _IN_TEXT = 3.0, 2.0, 0.3
_FILLERS = """
a an and any as at be but by do does for from have i in is it its my no not of on or so than that the then there this to
too was what when why with you
"""
_HEAD = """\
What is seen, what it usually is, the command that decides it, and what to change. `parity explain --symptom` prints the
same pages and finds them by words: `parity explain --symptom the lora does nothing`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One page."""

    name: str
    title: str
    text: str
    """The page in Markdown, with its title as a heading of level 1; links are relative to docs/."""
    words: frozenset[str]
    """The words of its title and its line `words:`, in lower case."""
    weights: dict[str, float]
    """How much each stem says for this page: most in its title, least in its text."""

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines that decide it, without their comments."""
        return tuple(re.findall(r"^    (parity .*?)(?: +#.*)?$", self.text, re.MULTILINE))


def read_symptom(name: str) -> Symptom:
    """Read a page by its name, one of `SYMPTOMS`."""
    title, words, text = (_PAGES / f"{name}.md").read_text(encoding="utf-8").split("\n", 2)
    weights = dict.fromkeys(_stems(text), _IN_TEXT)
    weights |= dict.fromkeys(_stems(words.removeprefix("words:")), _IN_WORDS)
    weights |= dict.fromkeys(_stems(title), _IN_TITLE)
    return Symptom(
        name=name,
        title=title.removeprefix("# "),
        text=f"{title}\n{text}",
        words=frozenset(_words(f"{title} {words.removeprefix('words:')}")),
        weights=weights,
    )


def find_symptoms(words: str) -> list[Symptom]:
    """Find the pages that fit what somebody sees, best first; all of them for no words.

    Raises UsageError, which suggests a word or lists the titles, if no page fits.
    """
    pages = [read_symptom(name) for name in SYMPTOMS]
    if not words.strip():
        return pages
    if words in SYMPTOMS:
        return [read_symptom(words)]
    asked = set(_stems(words))
    scores = {page.name: _score(page, asked, pages) for page in pages}
    best = max(scores.values())
    if best < _IN_TEXT:
        raise UsageError(f"no symptom fits {words!r}{_suggestion(words, pages)}")
    fitting = [page for page in pages if scores[page.name] >= best / 2]
    return sorted(fitting, key=lambda page: -scores[page.name])[:_MOST]


def document() -> str:
    """Return docs/troubleshooting.md: all pages under one heading."""
    pages = [read_symptom(name) for name in SYMPTOMS]
    links = [f"- [{page.title}](#{_anchor(page.title)})" for page in pages]
    sections = [re.sub(r"^#", "##", page.text, flags=re.MULTILINE).rstrip() for page in pages]
    return "\n\n".join(["# Troubleshooting", _HEAD, "\n".join(links), *sections]) + "\n"


def _score(page: Symptom, asked: set[str], pages: list[Symptom]) -> float:
    """Add the weights of the words that page and question share; a word that many pages have counts less."""
    shared = (word for word in asked if word in page.weights)
    return sum(page.weights[word] / _spread(word, pages) for word in shared)


def _spread(word: str, pages: list[Symptom]) -> float:
    """The square root of how many pages have a word in their title or list of words, at least 1."""
    return math.sqrt(max(1, sum(page.weights.get(word, 0.0) >= _IN_WORDS for page in pages)))


def _suggestion(words: str, pages: list[Symptom]) -> str:
    known = sorted({word for page in pages for word in page.words})
    near = [word for asked in _words(words) for word in difflib.get_close_matches(asked, known, n=1, cutoff=0.7)]
    if near:
        return f"; did you mean {' '.join(near)}?"
    return "; try other words, or one of: " + ", ".join(page.name for page in pages)


def _words(text: str) -> list[str]:
    """The words of a text in lower case, without fillers."""
    return [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _FILLERS.split()]


def _stems(text: str) -> list[str]:
    """The words of a text without the endings -s, -ed, -ing and the like."""
    return [re.sub(r"(?<=\w{3})(?:ing|ed|es|s|e)$", "", word).replace("colour", "color") for word in _words(text)]


def _anchor(title: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    print(document(), end="")
