"""What a template hides of an event, and the event's own words for words of its template.

Promises: `filled(template, slots(template, message)) == message` for every message and its template; every answer is a
substring of the message; no message, template or quote makes any of it slow (all is linear in their lengths).
"""

from __future__ import annotations

import re
from typing import Final

from triage.condense.mask import MASKS, PLACEHOLDERS

PLACEHOLDER: Final = "|".join(map(re.escape, PLACEHOLDERS))
_PLACEHOLDER: Final = re.compile(f"({PLACEHOLDER})")

_HEX = "[0-9a-fA-F]"
_ADDRESS = rf"[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}|{_HEX}{{0,4}}:[0-9a-fA-F:]*(?:%[0-9a-z]+)?"
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
# Beside what the masks without a group put a placeholder in place of. Longest first.
_SHAPES = {
    "<time>": r"[0-9]{4}(?:[-/.][0-9]{2}){2}|[0-9]{6} [0-9]{6}|[0-9]{1,2}:[0-9]{2}|(?:[0-9.]+(?:[dhm]|[numµ]?s))+",
    "<location>": r"R[0-9]{2}(?:-M[0-9](?:-[A-Z0-9]{1,3})*(?::[A-Z][0-9]{2}-[A-Z][0-9]{2})?)?",
    "<mac>": rf"{_HEX}{{2}}(?:[:-]{_HEX}{{2}})+",
    "<host>": "[0-9A-Za-z_-]+(?:[/@][0-9A-Za-z_-]+)?",
    "<hex>": f"0[xX]{_HEX}+",
    "<id>": rf"{_HEX}{{8,31}}\b|[0-9]+(?:_[0-9a-z]+)*",
    "<n>": rf"[-+]?{_NUMBER}(?:[x/_]{_NUMBER})*",
    "<ip:loopback>": _ADDRESS,
    "<ip:private>": _ADDRESS,
    "<ip:public>": _ADDRESS,
    "<ip:multicast>": _ADDRESS,
}
STANDS_FOR: Final = {
    name: "|".join(
        [name, *(mask.pattern for mask in MASKS if mask.instead == name), *([_SHAPES[name]] if name in _SHAPES else [])]
    )
    for name in PLACEHOLDERS
}
"""placeholder -> a pattern of what it stands for in most messages."""
_STANDS_FOR: Final = {name: re.compile(pattern) for name, pattern in STANDS_FOR.items()}


def slots(template: str, message: str) -> list[str]:
    """What each placeholder of `template`, in order, stands for in `message`. Raises ValueError where `message` is not
    of `template`."""
    parts = _PLACEHOLDER.split(template)
    ends = _by_shape(parts, message)
    if ends is None:
        ends = _by_text(parts, message)
    if ends is None:
        raise ValueError("the message is not of the template")
    return [message[start:stop] for start, stop in ends]


def filled(template: str, slots: list[str]) -> str:
    """`template` with its placeholders replaced in order."""
    parts = _PLACEHOLDER.split(template)
    parts[1::2] = slots
    return "".join(parts)


def span(words: str, template: str) -> tuple[int, int] | None:
    """Where `words`, white space at its ends aside, first stand in `template`; None where they do not, or hold nothing
    but placeholders."""
    words = words.strip()
    start = template.find(words)
    if start < 0 or not "".join(_PLACEHOLDER.split(words)[::2]).strip():
        return None
    return start, start + len(words)


def by_span(start: int, stop: int, template: str, message: str) -> str:
    """The words of `message` for `template[start:stop]`. A placeholder that is cut counts as a whole. Raises ValueError
    where `message` is not of `template`."""
    parts = _PLACEHOLDER.split(template)
    own = list(parts)
    own[1::2] = slots(template, message)
    first = last = None
    at = at_message = 0
    for number, (part, words) in enumerate(zip(parts, own, strict=True)):
        whole = number % 2
        if at < stop and start < at + len(part):
            begin = at_message if whole else at_message + max(start - at, 0)
            end = at_message + (len(words) if whole else min(stop - at, len(part)))
            first, last = begin if first is None else first, end
        at, at_message = at + len(part), at_message + len(words)
    return message[first:last] if first is not None else ""


def quoted(words: str, template: str, message: str) -> str | None:
    """The words of `message` for `words` of its `template`; None where they are not in it, or hold only placeholders.
    Raises ValueError where `message` is not of `template`."""
    found = span(words, template)
    return by_span(*found, template, message) if found else None


def _by_shape(parts: list[str], message: str) -> list[tuple[int, int]] | None:
    """Where the slots are, each taken for as long as its kind goes. None where the rest does not follow."""
    ends = []
    at = 0
    for number, part in enumerate(parts):
        if number % 2:
            found = _STANDS_FOR[part].match(message, at)
            if not found:
                return None
            ends.append(found.span())
            at = found.end()
        elif message.startswith(part, at):
            at += len(part)
        else:
            return None
    return ends if at == len(message) else None


def _by_text(parts: list[str], message: str) -> list[tuple[int, int]] | None:
    """Where the slots are when the text between them is found as far to the left as can be: which finds a way
    wherever there is one."""
    if not message.startswith(parts[0]):
        return None
    if len(parts) == 1:
        return [] if parts[0] == message else None
    ends = []
    at = len(parts[0])
    for part in parts[2:-1:2]:
        found = message.find(part, at)
        if found < 0:
            return None
        ends.append((at, found))
        at = found + len(part)
    last = len(message) - len(parts[-1])
    if last < at or not message.endswith(parts[-1]):
        return None
    return [*ends, (at, last)]
