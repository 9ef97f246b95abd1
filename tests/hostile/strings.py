"""The hostile strings: what a terminal, a CI, a browser, Markdown, a shell, a spreadsheet or a parser might obey.

Each is a payload in a frame. Which frames a payload gets is chance, but the same in every run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Hostile:
    """A hostile string, with a name of its own that is harmless to print."""

    name: str
    text: str

    @property
    def huge(self) -> bool:
        return len(self.text) >= MEGABYTE

    @property
    def is_whole(self) -> bool:
        """False if it holds half a character, which no file holds unless it is escaped."""
        return not any("\ud800" <= letter <= "\udfff" for letter in self.text)


PAYLOADS = {
    # GitHub's runner, Azure, TeamCity, GitLab
    "error command": "::error file=README.md::owned",
    "stop commands": "::stop-commands::x",
    "add mask": "::add-mask::parity",
    "set output": "::set-output name=a::b",
    "group": "::group::owned",
    "old error": "##[error]owned",
    "old command": "##[set-env name=PATH]owned",
    "azure": "##vso[task.setvariable variable=a]owned",
    "azure build": "##vso[task.complete result=Succeeded;]done",
    "teamcity": "##teamcity[buildProblem description='owned']",
    "gitlab section": "section_start:1:owned[collapsed=true]\r\x1b[0Kowned",
    # terminals
    "csi colour": "\x1b[31mowned\x1b[0m",
    "csi clear": "\x1b[2J\x1b[H",
    "csi up": "\x1b[1A\x1b[2Kparity: all well",
    "osc title": "\x1b]0;owned\x07",
    "osc link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "osc clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "dcs": '\x1bP$q"p\x1b\\',
    "c1 csi": "\x9b31mowned",
    "c1 osc": "\x9d0;owned\x9c",
    "carriage return": "real\rparity: 8 of 8 passed",
    "backspace": "drifted\b\b\b\b\b\b\bpassed ",
    "bell": "\a\a\a",
    "nul": "a\0b",
    "delete": "a\x7fb",
    "form feed": "a\x0c::error::owned",
    "vertical tab": "a\x0b::error::owned",
    "separators": "a\x1c::error::1\x1d::error::2\x1e::error::3\x1f",
    "shift out": "\x0eowned\x0f",
    # Unicode
    "right to left": "\u202egnp.exe\u202c",
    "isolate": "\u2066owned\u2069\u2067x\u2069",
    "marks": "a\u200eb\u200fc\u061cd",
    "zero width": "pa\u200bri\u200cty\u2060\ufeff",
    "line separator": "a\u2028::error::owned",
    "paragraph separator": "a\u2029::error::owned",
    "next line": "a\x85::error::owned",
    "lone surrogate": "a\ud800b",
    "low surrogate": "\udfff\udc80",
    "not utf-8": "a\udcff\udcfeb",
    "combining": "Z" + "\u0351\u035b\u0310" * 40,
    "noncharacter": "\ufffe\uffff\U0010ffff",
    "fullwidth": "\uff1cscript\uff1e\uff1a\uff1aerror\uff1a\uff1a",
    # HTML
    "script": "<script>alert(1)</script>",
    "img": '"><img src=x onerror=alert(1)>',
    "img single": "'><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover=alert(1) x="',
    "attribute bare": " onfocus=alert(1) autofocus ",
    "script end": "</script><script>alert(1)</script>",
    "comment": "<!--<script>",
    "comment end": "--><svg onload=alert(1)>",
    "cdata end": "]]><img src=x onerror=alert(1)>",
    "cdata": "<![CDATA[x]]>",
    "textarea end": "</textarea></title></style><svg/onload=alert(1)>",
    "iframe": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "javascript": "javascript:alert(document.domain)",
    "javascript hidden": "java\tscript:alert(1)//",
    "data url": "data:text/html,<script>alert(1)</script>",
    "entity": "&lt;script&gt;&#60;img&#62;&amp;",
    "doctype": "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>&b;",
    "polyglot": "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=alert() )//%0D%0A%0d%0a//</stYle/</titLe/</teXtarEa/</"
    "scRipt/--!>\\x3csVg/<sVg/oNloAd=alert()//>\\x3e",
    # Markdown
    "image": "![x](https://evil.example/a.png)",
    "link": "[click](javascript:alert(1))",
    "autolink": "<https://evil.example> https://evil.example www.evil.example",
    "mention": "@octocat fixes #1 GH-2 owner/repo#3 a@evil.example",
    "table": "a | b | c |\n| --- | --- | --- |\n| owned | x | y |",
    "backticks": "``` \n# owned\n```",
    "tick": "`owned` **owned** _owned_ ~~owned~~ $owned$",
    "heading": "\n\n# owned\n\n- [ ] owned\n",
    "details": "</details><details open><summary>owned</summary>",
    "footnote": "[^1] [^1]: owned\n\n[x]: javascript:alert(1)",
    # spreadsheets, shells, templates, formats, paths
    "formula": '=HYPERLINK("https://evil.example","click")',
    "formula at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "shell": "$(touch owned); `touch owned` | touch owned & #",
    "option": "--help",
    "percent": "%0A::error::owned%0D%25",
    "template": "{{7*7}}${7*7}#{7*7}<%= 7*7 %>{% raw %}",
    "format": "{0.__class__.__mro__}{}{a}{0!r:>999999999}",
    "printf": "%s%s%n%(a)s%999999999d",
    "yaml tag": "!!python/object/apply:os.system [touch owned]",
    "yaml": "a: &a [*a]\n? - {",
    "traversal": "../../../../etc/passwd",
    "windows": "C:\\..\\CON\\\\evil.example\\share",
    "url": "file:///etc/passwd",
    "url credentials": "http://user:secret@evil.example/\r\nX-Owned: 1",
    "header": "a\r\nSet-Cookie: owned=1\r\n\r\n<html>",
    "empty": "",
    "white": " \t\n ",
}
"""The payloads by name."""

_FRAMES = {
    "alone": "{}",
    "on a line of its own": "no\n{}",
    "between lines": "no\n{}\nyes",
    "after CR": "no\r{}",
    "after CR LF": "no\r\n{}\r\n",
    "after white space": "\n \t {}",
    "after NEL": "no\x85{}",
    "after LS": "no\u2028{}",
    "after VT": "no\x0b{}",
    "after ESC": "no\x1b[2K\n{}",
    "in a file name": "{}.safetensors",
    "in quotes": "\"'{}'\"",
    "after zero width": "\n\u200b{}",
    "twice": "{0}\n{0}",
    "in the middle": "a woman {} on stage",
    "behind 300 letters": "x" * 300 + "\n{}",
}

_EACH = 7
"""The number of strings made of each payload."""


def _huge() -> list[Hostile]:
    """What is as long as a video, or as deep as a parser's stack."""
    texts = {
        "a megabyte of letters": "A" * MEGABYTE,
        "a megabyte of commands": "\n::error::owned" * (MEGABYTE // 15 + 1),
        "a megabyte of ESC": "\x1b[31m" * (MEGABYTE // 5 + 1),
        "a megabyte of tags": "<b>" * (MEGABYTE // 3 + 1),
        "a megabyte of brackets": "[" * MEGABYTE,
        "a megabyte of words": "owned " * (MEGABYTE // 6 + 1),
    }
    return [Hostile(name, text) for name, text in texts.items()]


def _strings() -> tuple[Hostile, ...]:
    chosen = random.Random(22)
    found = []
    for name, payload in PAYLOADS.items():
        frames = ["alone", *chosen.sample([frame for frame in _FRAMES if frame != "alone"], _EACH - 1)]
        for frame in frames:
            text = _FRAMES[frame].replace("{0}", payload).replace("{}", payload, 1)
            found.append(Hostile(name if frame == "alone" else f"{name} {frame}", text))
    chosen.shuffle(found)
    return (*found, *_huge())


STRINGS = _strings()
"""All of them: more than 500, in a fixed order that puts different kinds side by side, the huge ones last."""
