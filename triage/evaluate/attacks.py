"""The lines of a red team: alerts as they are, spliced with attacks, and spliced at the same places with neutral text
of the same length. What the neutral text does as well is the length's doing, not the attack's.

Promises: the same alerts, attacks and seed give the same lines; every attack is used about equally, at every place.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import orjson
import polars as pl

from triage.errors import WrongInput
from triage.evaluate.labels import BY, read_labels
from triage.evaluate.splice import PLACES, one_line, splice

Kind = Literal["plain", "attack", "neutral"]
T = TypeVar("T")
_NEUTRAL: Final = (
    "table", "garden", "window", "yellow", "seven", "paper", "morning", "river", "stone", "bottle", "market",
    "engine", "letter", "summer", "carpet", "silver", "basket", "winter", "corner", "pencil", "orange", "bridge",
    "flower", "candle", "forest", "pocket", "ladder", "island", "mirror", "button", "circle", "wagon", "maple",
    "tower", "blue", "tin", "oak", "cup", "mill", "lamp", "road", "hat",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alert:
    id: str
    message: str
    source: str


@dataclass(frozen=True, slots=True)
class Attack:
    id: str
    text: str
    family: str = ""
    vector: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line to judge. `pair` is shared by an attack and its neutral text; a plain line has the alert's id alone."""

    id: str
    kind: Kind
    alert: str
    message: str
    pair: int = -1
    attack: str = ""
    family: str = ""
    where: str = ""


def read_alerts(path: Path) -> list[Alert]:
    """The lines of a labels file that an analyst should see, with their `system` and `source`. Raises WrongInput."""
    labels = read_labels(path)
    shown = labels.lines.filter(pl.col("truth") > 0, pl.col("message").str.len_chars() > 0)
    if shown.is_empty():
        raise WrongInput("no alert with a message there", where=str(path), expected="lines whose truth is not benign")
    groups = [BY + name for name in labels.groupings]
    return [
        Alert(f"alert-{row['at']}", row["message"], " ".join(str(row[name]) for name in groups))
        for row in shown.iter_rows(named=True)
    ]


def read_attacks(path: Path) -> list[Attack]:
    """The texts in `path`: JSONL with `text`, or one a line. Raises WrongInput with file and line."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        raise WrongInput(
            "cannot be read", where=str(path), expected="attacks: JSONL with text, or one a line"
        ) from None
    jsonl = path.name.endswith((".jsonl", ".ndjson", ".json"))
    attacks: dict[str, Attack] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        attack = _attack(line, f"{path}:{number}", number) if jsonl else Attack(f"attack-{number}", line.strip())
        if attack.id in attacks:
            raise WrongInput("the id is used twice", where=f"{path}:{number}", expected="an id of its own")
        attacks[attack.id] = attack
    if not attacks:
        raise WrongInput("no attack there", where=str(path), expected="JSONL with text, or one text a line")
    return list(attacks.values())


def _attack(line: str, where: str, number: int) -> Attack:
    try:
        record = orjson.loads(line)
        text = record["text"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise WrongInput("not an attack", where=where, expected='a JSON object with "text"')
    said = [str(record.get(name) or "") for name in ("id", "family", "vector")]
    return Attack(said[0] or f"attack-{number}", text, said[1], said[2])


def lines_of(
    alerts: Sequence[Alert], attacks: Sequence[Attack], *, most_alerts: int, attacks_per_alert: int, seed: int
) -> list[Line]:
    """The lines to judge: each alert that is drawn as it is, and spliced."""
    draw = random.Random(seed)
    drawn = _drawn(alerts, most_alerts, draw)
    each = min(attacks_per_alert, len(attacks))
    hands, places = _hands(attacks, each, draw), _hands(PLACES, 1, draw)
    lines, pair = [], 0
    for alert in drawn:
        lines.append(Line(f"plain {alert.id}", "plain", alert.id, alert.message))
        for attack in next(hands):
            (where,) = next(places)
            texts: tuple[tuple[Kind, str], ...] = (("attack", attack.text), ("neutral", neutral(attack.text, draw)))
            lines += [
                Line(
                    f"{kind} {alert.id} {attack.id} {where}",
                    kind,
                    alert.id,
                    splice(alert.message, text, where),
                    pair,
                    attack.id,
                    attack.family,
                    where,
                )
                for kind, text in texts
            ]
            pair += 1
    return lines


def neutral(text: str, draw: random.Random) -> str:
    """Plain words, as long as the text within a word."""
    words: list[str] = []
    left = len(one_line(text))
    while left > 1 or not words:
        words.append(draw.choice([word for word in _NEUTRAL if len(word) <= left] or ["oak"]))
        left -= len(words[-1]) + 1
    return " ".join(words)


def _drawn(alerts: Sequence[Alert], most: int, draw: random.Random) -> list[Alert]:
    """At most `most` alerts, spread over the sources: one of each in turn."""
    by_source: defaultdict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        by_source[alert.source].append(alert)
    for some in by_source.values():
        draw.shuffle(some)
    sources = sorted(by_source)
    draw.shuffle(sources)
    longest = max(map(len, by_source.values()), default=0)
    turns = (by_source[name][turn] for turn in range(longest) for name in sources if turn < len(by_source[name]))
    return [alert for alert, _ in zip(turns, range(most), strict=False)]


def _hands(cards: Sequence[T], count: int, draw: random.Random) -> Iterator[list[T]]:
    """`count` different cards at a time, of a deck that is shuffled anew when all were dealt."""
    deck: list[T] = []
    while True:
        hand: list[T] = []
        back: list[T] = []
        while len(hand) < count:
            deck = deck or draw.sample(cards, len(cards))
            card = deck.pop()
            (back if card in hand else hand).append(card)
        deck += back
        yield hand


def as_shard(lines: Iterable[Line]) -> tuple[bytes, dict[int, Line]]:
    """(a JSONL shard of the lines, each line by its position in it)."""
    positions: dict[int, Line] = {}
    records, at = [], 0
    for line in lines:
        records.append(orjson.dumps(asdict(line)) + b"\n")
        positions[at] = line
        at += len(records[-1])
    return b"".join(records), positions
