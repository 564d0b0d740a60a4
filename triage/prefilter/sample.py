"""Draw what is judged only to measure what was not: rows settled as benign by rules, and events that shared a question.

Promises: the same rows whatever engine, rules' order, or number of workers; each row of a kind has the same chance in a
slice; no more than `most` of a kind. Judges nothing.
"""

from __future__ import annotations

import hashlib
import random

import polars as pl

SETTLED, SHARED = "settled", "shared"


def draw(candidates: pl.Series, rate: float, most: int, seed: str) -> pl.Series:
    """Of the rows that are true in `candidates` (Boolean), a random share of `rate`, at most `most`: Boolean, of the
    same length. The same `seed` and candidates, the same rows."""
    generator = random.Random(hashlib.blake2b(seed.encode(), digest_size=8).digest())
    chances = sorted((chance, row) for row in candidates.arg_true() if (chance := generator.random()) < rate)
    drawn = pl.Series([row for _, row in chances[:most]], dtype=pl.UInt32)
    return pl.repeat(False, len(candidates), dtype=pl.Boolean, eager=True).scatter(drawn, True)


def weight(rows: int, drawn: int, rate: float, most: int) -> float:
    """How many rows each drawn one stands for, where `rows` were candidates: the inverse of the chance to be drawn."""
    if drawn == 0:
        return 0.0
    return rows / drawn if drawn == most else 1 / rate
