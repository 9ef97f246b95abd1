"""All feeds: every place with its share of the strings, and the selection that CI tries."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hostile import media, records, runs, texts
from tests.hostile.answering import answer_slots
from tests.hostile.session import Feed, Slot
from tests.hostile.strings import STRINGS, Hostile

_MAKERS = (
    texts.case_slots,
    texts.config_slots,
    texts.request_slots,
    texts.project_slots,
    texts.argument_slots,
    texts.variable_slots,
    texts.name_slots,
    records.results_slots,
    records.baseline_slots,
    records.cache_slots,
    media.lora_slots,
    media.graph_slots,
    media.tag_slots,
    media.checkpoint_slots,
    runs.run_slots,
)

_HUGE = tuple(string for string in STRINGS if string.huge)
_SHORT = tuple(string for string in STRINGS if not string.huge)


def all_slots(folder: Path, url: str = "") -> list[Slot]:
    """Every place, in a fixed order. `folder`: a whole workplace. `url`: that of `answering`, if it runs."""
    slots = [slot for make in _MAKERS for slot in make(folder) if slot.places]
    return [*slots, *answer_slots(url)] if url else slots


def all_feeds(folder: Path, url: str, each: int) -> list[Feed]:
    """Every place with `each` strings (those that take many at once: as many sets), all strings used equally often."""
    slots = all_slots(folder, url)
    deck = _deck()
    feeds = []
    for slot in slots:
        feeds += [_fed(slot, deck) for _ in range(each)]
    single = [slot for slot in slots if slot.places == 1 and not slot.torch]
    chosen = random.Random(22)
    for kind in dict.fromkeys(slot.kind for slot in single):
        for string in _HUGE:
            slot = chosen.choice([slot for slot in single if slot.kind == kind])
            feeds.append(Feed(slot=slot, strings=(string,)))
    return sorted(feeds, key=lambda feed: feed.slot.torch)


def few(folder: Path) -> list[Feed]:
    """For CI: what takes many strings at once, and two others of each kind; none of it decodes a video."""
    slots = [slot for slot in all_slots(folder) if not slot.torch and "compare" not in slot.where]
    deck = _deck()
    feeds = []
    for kind in dict.fromkeys(slot.kind for slot in slots):
        many = [slot for slot in slots if slot.kind == kind and slot.places > 4]
        single = [slot for slot in slots if slot.kind == kind and slot.places == 1]
        for slot in (*many[:2], *single[1 :: -(-len(single) // 2) or 1]):
            feeds.append(_fed(slot, deck))
    return feeds


def _fed(slot: Slot, deck: Iterator[Hostile]) -> Feed:
    """The slot with the next strings. Of many at once none has half a character, for which the others were not read."""
    fitting = (string for string in deck if slot.places == 1 or string.is_whole)
    return Feed(slot=slot, strings=tuple(itertools.islice(fitting, slot.places)))


def _deck() -> Iterator[Hostile]:
    """All strings but the huge ones again and again, each time in another order."""
    chosen = random.Random(2222)
    strings: Sequence[Hostile] = _SHORT
    while True:
        yield from strings
        strings = chosen.sample(_SHORT, len(_SHORT))


def for_the_server() -> list[Hostile]:
    """The strings in the order in which the server gets them; huge ones among the first."""
    return [*_SHORT[:3], *_HUGE[:2], *_SHORT[3:]]
