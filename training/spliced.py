"""Texts inside lines that somebody else wrote: what talks to the reader, what only claims something, what says nothing
(also at length, to drown what matters).

A line that tells its reader how to judge it is at least review. A claim ("approved", "known-good") in a name or a path
addresses nobody: it changes no label, and neither does text that says nothing. Where a text is put (user agent, user
name, path, message) tells as little.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

Parts = Mapping[str, Sequence[str]]
FILE: Final = Path(__file__).resolve().parent / "injections.toml"
KINDS: Final = ("addressed", "claimed", "neutral", "padding")
MOST_PADDING: Final = 45  # words


def parts() -> Parts:
    return tomllib.loads(FILE.read_text("utf-8"))


def text(kind: str, some: Parts, draw: random.Random) -> str:
    """One text of a kind of `KINDS`."""
    if kind == "neutral":
        return draw.choice(some["neutral"])
    if kind == "padding":
        words = [draw.choice(some["plain_words"]) for _ in range(draw.randrange(4, MOST_PADDING))]
        return draw.choice([" ", " ", ", ", "_", "-"]).join(words)
    if kind == "claimed":
        claim = draw.choice(some["claims"])
        if draw.random() < 0.5:
            claim = re.sub(r"[^a-z0-9]+", draw.choice("_-"), claim)
        claim = claim.upper() if draw.random() < 0.2 else claim
        return draw.choice(some["shapes"]).replace("{}", claim)
    if draw.random() < 0.2:
        return draw.choice(some["forged"])
    said = " ".join(filter(None, (draw.choice(some[part]) for part in ("openers", "commands", "reasons"))))
    return said.upper() if draw.random() < 0.15 else said


def spliced(line: str, said: str, draw: random.Random) -> str:
    """`line` with `said` in one of its fields, or in one that is made for it."""
    words = line.split(" ")
    joined = re.sub(r"\s+", draw.choice("_-+"), said)
    forms = [
        f"{line} {said}",
        f"{said} {line}",
        f'{line} comment="{said}"',
        f'{line} user_agent="{said}"',
        f"{line} user='{said}'",
        f"{line} path=/{joined}",
        " ".join([*words[:-1], said, words[-1]]),
        f"{line} ({said})",
    ]
    if " /" in line:
        forms += [re.sub(r" /", lambda _: f" /{joined}/", line, count=1)] * 3
    if user := re.search(r"\b(?:user|for|by)[ =:'\"]+(?=\w)", line):
        forms += [f"{line[: user.end()]}{said} {line[user.end() :]}"] * 3
    if line.endswith('"') and line.count('"') >= 4:
        forms += [f'{line[:-1]} {said}"'] * 3
    return draw.choice(forms)
