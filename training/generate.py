"""Write the training set: lines of `systems/*.toml` with their slots filled, as a job would put them to the model.

    python training/generate.py OUT.jsonl [--copies 3] [--seed 7]

Each row: `text` (the template, as the model is asked; one in six is the message as it is, as samples are asked),
`message`, `label`, `because`, `system`, `hard`, `made` (plain, headed, wrapped, cut, or with a text of `spliced` in it:
addressed, claimed, neutral), `told` (the explanation that is learnt, null for benign). Rows with the same text are one.
Where the masks make lines of two labels alike, as `1 of 2` and `2 of 2`, the more urgent label is the text's.
Prints the counts and the SHA-256 of what was written: the same files, seed and version of the masks give the same.

Promises: no line is of a real log; the same arguments give the same bytes. Copies differ in what the slots hold and in
what stands around the line, so that the model learns neither.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import string
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training import answers, spliced, words
from triage.columns import LABELS
from triage.condense.template import condense

HERE: Final = Path(__file__).resolve().parent
_FRESH: Final = {"ip", "public_ip", "private_ip", "port", "n", "small", "big", "bytes", "float", "hex", "time", "id"}
"""Slots that may differ where a line has them twice; the others are one thing."""

_LEVELS: Final = ("INFO", "WARN", "ERROR", "DEBUG", "NOTICE")
_MADE: Final = (*["plain"] * 8, *["headed"] * 4, *["wrapped"] * 3, "cut", *["addressed"] * 2, "claimed", "neutral")
_PADDED: Final = ("plain", "headed", "wrapped", "padding", "padding", "padding", "claimed", "addressed")
MIXTURES: Final = {"even": ("plain", _MADE), "padded": (None, _PADDED)}
"""What the first copy of a line is (None: drawn like the others), and what the others are drawn from."""

_AS_IT_IS: Final = 6
"""One text in so many is the message without masks."""


@dataclass(frozen=True, slots=True)
class Line:
    """One text of a system's file."""

    system: str
    label: str
    because: str
    hard: bool
    text: str
    slots: dict[str, list[str]]


def load(folder: Path = HERE / "systems") -> list[Line]:
    """Every text of every system. Raises ValueError, with file and entry, for one that is not sound."""
    lines = []
    for path in sorted(folder.glob("*.toml")):
        document = tomllib.loads(path.read_text("utf-8"))
        own = {name: [str(value) for value in some] for name, some in document.get("slots", {}).items()}
        for number, entry in enumerate(document["line"], start=1):
            where = f"{path.name} line {number}"
            if entry.get("label") not in LABELS or not entry.get("because") or not entry.get("texts"):
                raise ValueError(f"{where}: label, because and texts are needed")
            if unknown := set(entry) - {"label", "because", "texts", "hard"}:
                raise ValueError(f"{where}: unknown {sorted(unknown)}")
            for text in entry["texts"]:
                if missing := {name for name in slots_of(text, where) if name not in own and name not in words.KNOWN}:
                    raise ValueError(f"{where}: no slot {sorted(missing)}")
                lines.append(
                    Line(document["system"], entry["label"], entry["because"], entry.get("hard", False), text, own)
                )
    return lines


def slots_of(text: str, where: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as problem:
        raise ValueError(f"{where}: {problem} in {text[:60]!r}") from None


def filled(line: Line, draw: random.Random) -> str:
    """The line with something in every slot; a value of a slot may hold slots itself."""

    def value(name: str) -> str:
        if name not in line.slots:
            return words.fill(name, draw)
        text = draw.choice(line.slots[name])
        return fill(text) if re.search(r"(?<!\{)\{[a-z0-9_]+\}", text) else text

    once: dict[str, str] = {}

    def fill(text: str) -> str:
        parts = []
        for literal, name, _, _ in string.Formatter().parse(text):
            parts.append(literal)
            if name is not None:
                parts.append(value(name) if name in _FRESH else once.setdefault(name, value(name)))
        return "".join(parts)

    return fill(line.text)


def around(message: str, made: str, parts: spliced.Parts, draw: random.Random) -> str:
    """`message` as another collector would have kept it, or with something in it that somebody else wrote."""
    host = words.fill("host", draw)
    if made == "headed" and not message.startswith(("{", "<", "[")):
        return draw.choice(
            [
                f"{words.fill('syslog_time', draw)} {host} {message}",
                f"{words.fill('iso', draw)} {draw.choice(_LEVELS)} {message}",
                f"<{draw.randrange(8, 190)}>{words.fill('syslog_time', draw)} {host} {message}",
                f"{host} {message}",
            ]
        )
    if made == "wrapped":
        record: dict[str, Any] = {"host": host, "message": message}
        if draw.random() < 0.5:
            record |= {"@timestamp": words.fill("iso", draw)}
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode()
    if made == "cut" and len(message) > 160:
        return message[: draw.randrange(150, len(message))]
    if made in spliced.KINDS:
        return spliced.spliced(message, spliced.text(made, parts, draw), draw)
    return message


def examples(lines: list[Line], parts: spliced.Parts, copies: int, seed: int, mixture: str) -> Iterator[dict[str, Any]]:
    draw = random.Random(seed)
    first, others = MIXTURES[mixture]
    for line in lines:
        for copy in range(copies):
            made = first if first and copy == 0 else draw.choice(others)
            message = filled(line, draw)
            whole = around(message, made, parts, draw)
            made = made if whole != message else "plain"
            # What tells its reader how to judge it is at least review, and is never lowered.
            label = "review" if made == "addressed" and line.label == "benign" else line.label
            because = line.because if label == line.label else "the line tells its reader how to judge it"
            yield {
                "message": whole, "label": label, "because": because, "system": line.system, "hard": line.hard,
                "made": made, "pieces": [piece for piece, _, _, _ in string.Formatter().parse(line.text)],
            }  # fmt: skip


def _told(row: dict[str, Any]) -> str | None:
    rank, addressed = LABELS.index(row["label"]), row["made"] == "addressed"
    return answers.answer(rank, row["because"], row["text"], row["pieces"], addressed) if rank else None


def training_set(copies: int, seed: int, mixture: str = "even") -> pl.DataFrame:
    """The rows, one for each text, of a mixture of `MIXTURES`."""
    rows = pl.DataFrame(list(examples(load(), spliced.parts(), copies, seed, mixture)))
    events, templates = condense(rows, "standard")
    masked = pl.int_range(pl.len()) % _AS_IT_IS != 0
    rows = events.join(templates, on="template_id", maintain_order="left").with_columns(
        text=pl.when(masked).then("template").otherwise("message")
    )
    rank = pl.col("label").replace_strict({label: LABELS.index(label) for label in LABELS}, return_dtype=pl.Int8)
    urgent = rows.with_row_index("at").sort(rank, "at", descending=[True, False]).unique("text", keep="first")
    told = [_told(row) for row in urgent.iter_rows(named=True)]
    whole = urgent.with_columns(told=pl.Series(told, dtype=pl.String)).sort("at")
    return whole.select("text", "message", "label", "because", "system", "hard", "made", "told")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--mixture", choices=list(MIXTURES), default="even")
    given = parser.parse_args()
    rows = training_set(given.copies, given.seed, given.mixture)
    data = b"".join(orjson.dumps(row) + b"\n" for row in rows.iter_rows(named=True))
    given.out.write_bytes(data)
    counts = Counter(rows["label"])
    print(f"{rows.height} texts of {rows['system'].n_unique()} systems: {dict(counts)}; {int(rows['hard'].sum())} hard")
    print(f"made: {dict(Counter(rows['made']))}")
    print(f"sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
