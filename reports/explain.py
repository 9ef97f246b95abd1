"""The pages of `parity explain` inside a report: those of the factors and symptoms that the run shows, each once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from parity.factors.catalogue import PAGES, explain
from parity.factors.troubleshooting import SYMPTOMS, read_symptom
from parity.results.case import CaseResult
from pipelines.files.words import capital

_COMMAND = re.compile(r"parity explain (\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedPage:
    """One page."""

    title: str
    factor: str
    """The factor it is about; empty: it is about a symptom."""
    html: Markup
    """Its text below the title."""


def explained(cases: Iterable[CaseResult]) -> dict[str, ExplainedPage]:
    """The pages for what a run shows, by the name of the factor or symptom: first the factors, likeliest first."""
    cases = tuple(cases)
    factors, symptoms = set[str](), set[str]()
    for case in cases:
        factors |= _factors(case)
        symptoms |= set(symptoms_of(case))
    texts: dict[str, str] = {name: explain(name) for name in PAGES if name in factors}
    texts |= {name: read_symptom(name).text for name in SYMPTOMS if name in symptoms}
    return {name: _page(name, text, texts) for name, text in texts.items()}


def _factors(case: CaseResult) -> set[str]:
    """Every factor that the page names for a case."""
    names = {finding.factor for finding in case.findings} | set(case.expect or ())
    if case.diagnosis is not None:
        names |= {cost.factor for cost in case.diagnosis.factors}
    if case.search is not None:
        names |= {setting.name for setting in case.search.settings if setting.changed}
    return names


def symptoms_of(case: CaseResult) -> Sequence[str]:
    """The troubleshooting pages that fit what is known of a case."""
    found = {
        "black-or-noise": any(finding.factor == "broken_output" for finding in case.findings),
        "other-video-each-time": case.repeat is not None and not case.repeat.identical,
        "other-video-after-update": case.baseline is not None
        and case.baseline.failed
        and bool(case.baseline.environment),
        "unpairable": case.status == "unpairable",
        "out-of-memory": "out of memory" in (case.error or ""),
    }
    return [name for name, fits in found.items() if fits]


def _page(name: str, text: str, included: Collection[str]) -> ExplainedPage:
    tokens = _MARKDOWN.parse(text)
    title, body = tokens[1].content, tokens[3:]  # each page begins with its title
    factor = name if title.startswith(f"{name}: ") else ""
    if factor:
        title = capital(title.removeprefix(f"{name}: "))
    for token in body:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1:]) + 1}"  # the title is a heading of the report
        if token.children:
            token.children = [new for child in token.children for new in _linked(child, included)]
    return ExplainedPage(
        title=title, factor=factor, html=Markup(_MARKDOWN.renderer.render(body, _MARKDOWN.options, {}))
    )


def _linked(token: Token, included: Collection[str]) -> list[Token]:
    """Make a link to another page of the report of the command that prints it. Links to files are text."""
    if token.type in ("link_open", "link_close"):
        return []
    match = _COMMAND.fullmatch(token.content) if token.type == "code_inline" else None
    if match is None or match[1] not in included:
        return [token]
    opening = Token("link_open", "a", 1, attrs={"href": f"#explain-{match[1]}"})
    return [opening, Token("text", "", 0, content=match[1]), Token("link_close", "a", -1)]


def _code(_renderer: RendererHTML, tokens: Sequence[Token], index: int, *_options: Any) -> str:
    """A block of code that scrolls by itself, also with the keyboard."""
    return f'<pre tabindex="0"><code>{escape(tokens[index].content)}</code></pre>\n'


_MARKDOWN = MarkdownIt("commonmark", {"html": False})
_MARKDOWN.add_render_rule("fence", _code)
_MARKDOWN.add_render_rule("code_block", _code)
