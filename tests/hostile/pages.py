"""HTML and Markdown as their readers see them: a hostile run must have the elements of a harmless one, no others."""

from __future__ import annotations

import json
import re
from collections import Counter

from markdown_it import MarkdownIt

from tests.support.report_cases import Page

_RUNS = ("javascript:", "vbscript:", "data:")
_ADDRESSES = ("href", "action", "formaction", "xlink:href", "data", "background", "ping", "poster")
_SHOWN = ("src", "srcset", "poster")

# What GitHub makes a mention or a reference of, in text that is not code.
_MENTION = re.compile(r"@octocat|(?<!\w)#1\b|GH-2|owner/repo#3")

Skeleton = Counter[tuple[str, tuple[str, ...]]]
"""How often each element occurs with each set of attributes."""


def skeleton(page: Page) -> Skeleton:
    found = Counter((tag, tuple(sorted(attributes))) for tag, attributes in page.elements)
    del found["wbr", ()]  # where a long word may break, which depends on its signs
    return found


def page_problems(name: str, data: bytes, twin: bytes | None) -> list[str]:
    """List what a string did to an HTML page. `twin`: the page of a harmless run with the same values present."""
    page = Page(data.decode(errors="replace"))
    found = _markup_problems(name, page)
    if twin is not None:
        found += _differences(name, page, Page(twin.decode()))
    for place, script in enumerate(page.scripts):
        if "<!--" in script or re.search("</?script", script, re.IGNORECASE):
            found.append(f"{name}: script {place} holds what ends or begins one")
    for tag, attributes in page.elements:
        if tag == "script" and attributes.get("type") == "application/json":
            try:
                page.json(attributes.get("id") or "")
            except ValueError as error:
                found.append(f"{name}: the data of {attributes.get('id')!a} is no JSON: {error}")
    return found


def markdown_problems(name: str, data: bytes, twin: bytes | None) -> list[str]:
    """The same for Markdown, as GitHub renders it before it takes out what it does not allow."""
    page = _rendered(data.decode(errors="replace"))
    found = _markup_problems(name, page)
    if twin is not None:
        found += _differences(name, page, _rendered(twin.decode()))
    outside = re.sub(r"(?s)<(code|pre)[ >].*?</\1>", "", _html(data.decode(errors="replace")))
    mention = _MENTION.search(outside)
    if mention is not None:
        found.append(f"{name}: a mention: {outside[max(0, mention.start() - 60) : mention.end() + 20]!a}")
    return found


def _html(text: str) -> str:
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def _rendered(text: str) -> Page:
    return Page(_html(text))


def _markup_problems(name: str, page: Page) -> list[str]:
    """What no page of ours has, with or without a harmless one beside it."""
    found = []
    for tag, attributes in page.elements:
        for attribute, value in attributes.items():
            plain = re.sub(r"[\0-\x20\x7f-\x9f\u200b-\u200f\u2028\u2029]", "", value or "").lower()
            if attribute.startswith("on"):
                found.append(f"{name}: <{tag} {attribute}={value!a}>")
            elif attribute in _ADDRESSES and plain.startswith(_RUNS) and not _is_ours(tag, plain):
                found.append(f"{name}: <{tag} {attribute}={(value or '')[:100]!a}>")
            elif attribute in _SHOWN and plain and not plain.startswith("data:image/"):
                found.append(f"{name}: <{tag} {attribute}={(value or '')[:100]!a}> is loaded from elsewhere")
            elif attribute == "style" and ("url(" in plain or "expression(" in plain):
                found.append(f"{name}: <{tag} style={(value or '')[:100]!a}>")
    return found[:3]


def _is_ours(tag: str, address: str) -> bool:
    """The page's own icon."""
    return tag == "link" and address in ("data:,", "data:")


def _differences(name: str, page: Page, harmless: Page) -> list[str]:
    mine, theirs = skeleton(page), skeleton(harmless)
    found = []
    for words, more in (("more", mine - theirs), ("fewer", theirs - mine)):
        if more:
            some = json.dumps([[tag, *attributes] for tag, attributes in sorted(more)[:3]])
            found.append(f"{name}: {more.total()} elements {words} than in a harmless run, such as {some}")
    return found
