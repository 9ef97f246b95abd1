"""What to change, as code that runs: keys of a request where one can be sent, else Python for a diffusers pipeline.

The Python is for `pipe`, a loaded WanPipeline or WanImageToVideoPipeline of diffusers 0.42.1, and holds the preview's
values; tests run it beside the engine. Values come from configs and files of others: each goes through `repr` or JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from parity.factors.catalogue import CATALOGUE, likeliest_first
from parity.factors.code_block import Block
from parity.factors.code_blocks import MAKERS
from parity.factors.code_keys import in_one_request, request_keys, to_json
from parity.results.diagnosis import Snippet
from pipelines.drift import Factor, is_factor
from pipelines.recipe import Recipe


def code_of(factor: Factor, recipe: Recipe) -> Snippet | None:
    """The change that gives one factor the value of `recipe`, the preview's; None if no code can."""
    return combined([factor], recipe)


def combined(factors: Iterable[str], recipe: Recipe) -> Snippet | None:
    """The changes for several factors in one piece; None if no code can do any of them.

    Names that no recipe holds, such as `environment`, are left out. It is JSON if a request can ask for all of them. In
    Python, what no code can change is said in a comment, and what a request to a server asks for is repeated as such.
    """
    names = likeliest_first({name for name in factors if is_factor(name)})
    found = ((name, request_keys(name, recipe)) for name in names)
    keys = {name: asked for name, asked in found if asked is not None}
    if names and len(keys) == len(names):
        return Snippet(language="json", text=to_json(in_one_request(keys.values())))
    made = (make(frozenset(names), recipe) for make in MAKERS)
    blocks = [block for block in made if block is not None]
    if not blocks:
        return None
    parts, helpers = ["\n".join(_imports(blocks))], set[str]()
    for place, group in groupby(blocks, key=lambda block: block.place):
        parts.append("\n".join((f"# {place}", *_lines(group, helpers))))
    done = frozenset[Factor]().union(*(block.factors for block in blocks))
    notes = [_comment(f"{name}: {CATALOGUE[name].fix(recipe)}") for name in names if name not in done]
    if keys:
        notes.append(
            _comment(f"In a request to an inference server: {to_json(in_one_request(keys.values()), indent=None)}")
        )
    return Snippet(language="python", text="\n\n".join(part for part in (*parts, "\n".join(notes)) if part))


def _imports(blocks: Iterable[Block]) -> list[str]:
    """The statements that import what the blocks need, each module once, Python's own first."""
    names: dict[str, set[str]] = {}
    for block in blocks:
        for module, _, name in (item.partition(":") for item in block.imports):
            names.setdefault(module, set()).update([name] if name else [])
    ordered = sorted(names, key=lambda module: (module not in ("io", "urllib.request"), bool(names[module]), module))
    return [
        f"from {module} import {', '.join(sorted(names[module]))}" if names[module] else f"import {module}"
        for module in ordered
    ]


def _lines(blocks: Iterable[Block], defined: set[str]) -> Iterator[str]:
    """The lines of blocks, with the functions that they call before they are called first."""
    for block in blocks:
        for helper in block.helpers:
            if helper not in defined:
                yield from (*helper.splitlines(), "")
                defined.add(helper)
        yield from block.lines


def _comment(text: str) -> str:
    """One line, whatever the text holds."""
    return "# " + "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
