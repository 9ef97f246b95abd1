"""The text of a prompt: its trigger word put in, and the limits on its length, checked before any text is made."""

from __future__ import annotations

MAX_CHARACTERS = 50_000
"""The most characters of a prompt, negative prompt or trigger word, and of a prompt whose trigger word is put in.

umT5 reads 512 tokens, about 2000 characters of English; a longer text is cut there by ai-toolkit, diffusers and the
reference server, and stays legal. This limit is on what nobody writes: at it a tokenizer of 256,000 pieces (tokenizers
0.23.3) takes 0.1 s and 20 MiB; per megabyte more it takes 0.7 to 2 s and 100 to 260 MiB, whatever the text.
"""

TRIGGER = "[trigger]"
"""What stands for the trigger word in a prompt."""


def replaced(text: str, old: str, new: str) -> str:
    """Return the text with `new` for `old`, as str.replace.

    Raises ValueError if it would be too long, before making it: 60,000 characters can become 36 million.
    """
    count = text.count(old)
    how = f" with {len(new)} for each of {count} {old}" if old != new else ""
    reason = _why_too_long(len(text) + count * (len(new) - len(old)), how)
    if reason is not None:
        raise ValueError(reason)
    return text.replace(old, new)


def with_trigger(text: str, trigger: str | None) -> str:
    """Return a prompt with its trigger word, None for none. Raises ValueError for one that is, or gets, too long."""
    return replaced(text, TRIGGER, TRIGGER if trigger is None else trigger)


def why_too_long(text: str) -> str | None:
    """Say why a text is too long for a prompt; None if it is not."""
    return _why_too_long(len(text))


def _why_too_long(length: int, how: str = "") -> str | None:
    if length <= MAX_CHARACTERS:
        return None
    return f"has {length} characters{how}, more than the limit of {MAX_CHARACTERS}; Wan reads about 2000"
