"""Apply the masks to many texts at once.

Promise: `masked` gives for each text what `alone` gives for it, in any company and with any number of threads.

Three things make it fast and none changes a result: neighbours of the tuple that put the same thing in place are
one regular expression; a mask that needs something rare is tried only on the texts that have it; and after each stage
the texts that have become alike go on as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import groupby
from operator import or_
from typing import Final

import polars as pl

from triage.condense.mask import STAGES, VERBATIM, VERBATIM_NEEDS, Mask

_PLACES: Final = 8
"""How many commands and fingerprints are looked for in a text. What follows the last of them is left as it is, so that
no text of a thousand commands makes a thousand rounds."""

_CUT: Final = f"(?s:^(?<before>.*?))(?<kept>{VERBATIM})(?s:(?<after>.*)$)"

_ENOUGH: Final = 2_000
"""Texts that are worth a thread."""

_ALIKE: Final = 0.9
"""Where a larger share of texts is different, finding those that are alike costs more than it saves."""


def masked(texts: pl.Series) -> pl.Series:
    """`texts` (String, no nulls) with every mask applied, but for what is VERBATIM."""
    return _around_verbatim(texts, _in_stages)


def alone(texts: pl.Series) -> pl.Series:
    """The same by the letter: every mask after the other, on every text."""
    return _around_verbatim(texts, _one_by_one)


def _one_by_one(texts: pl.Series) -> pl.Series:
    for stage in STAGES:
        for pattern, instead, _ in _merged(stage):
            texts = texts.str.replace_all(pattern, instead)
    return texts


def _merged(stage: tuple[Mask, ...]) -> Iterator[tuple[str, str, str]]:
    """(pattern, instead, needs). Of masks that are one expression the leftmost match wins, then the first in order."""
    for (instead, needs), masks in groupby(stage, key=lambda mask: (mask.instead, mask.needs)):
        if "$" in instead:
            yield from ((mask.pattern, mask.instead, mask.needs) for mask in masks)
        else:
            yield "|".join(f"(?:{mask.pattern})" for mask in masks), instead, needs


_PASSES: Final = tuple(tuple(_merged(stage)) for stage in STAGES)


def _in_stages(texts: pl.Series, stage: int = 0) -> pl.Series:
    """Stage by stage, each on what is different of the texts that the one before left."""
    if stage == len(_PASSES):
        return texts
    once = texts.unique(maintain_order=True) if texts.n_unique() < _ALIKE * texts.len() else texts
    left = _in_threads(once, lambda part: _passed(part, stage))
    done = _in_stages(left, stage + 1)
    if once.len() == texts.len():
        return done
    known = pl.DataFrame({"text": once, "masked": done})
    return texts.to_frame("text").join(known, on="text", how="left", maintain_order="left")["masked"]


def _passed(texts: pl.Series, stage: int) -> pl.Series:
    for pattern, instead, needs in _PASSES[stage]:
        if not needs:
            texts = texts.str.replace_all(pattern, instead)
        elif (has := texts.str.contains(needs)).any():
            texts = _put_back(texts, has, texts.filter(has).str.replace_all(pattern, instead))
    return texts


def _in_threads(texts: pl.Series, work: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """polars runs one expression over one series in one thread."""
    parts = min(pl.thread_pool_size(), texts.len() // _ENOUGH)
    if parts < 2:
        return work(texts)
    size = -(-texts.len() // parts)
    with ThreadPoolExecutor(parts) as pool:
        return pl.concat(pool.map(work, (texts.slice(at, size) for at in range(0, texts.len(), size))))


def _around_verbatim(texts: pl.Series, hide: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """`hide` for all that is not VERBATIM, in one call."""
    has = _in_threads(texts, lambda part: reduce(or_, (part.str.contains(needs) for needs in VERBATIM_NEEDS)))
    if not has.any():
        return hide(texts)
    rest = texts.filter(has)
    pieces = []
    for _ in range(_PLACES):
        cut = rest.str.extract_groups(_CUT).struct.unnest()
        pieces += [cut["before"].fill_null(rest), cut["kept"].fill_null("")]
        rest = cut["after"].fill_null("")
        if cut["kept"].is_null().all():
            break
    open_to_masks = [texts.filter(~has), *pieces[::2]]
    hidden = iter(_split(hide(pl.concat(open_to_masks)), [piece.len() for piece in open_to_masks]))
    untouched = next(hidden)
    whole = pl.select(pl.concat_str(part for kept in pieces[1::2] for part in (next(hidden), kept))).to_series()
    return pl.concat([untouched, whole + rest]).gather(pl.concat([(~has).arg_true(), has.arg_true()]).arg_sort())


def _split(texts: pl.Series, lengths: list[int]) -> Iterator[pl.Series]:
    at = 0
    for length in lengths:
        yield texts.slice(at, length)
        at += length


def _put_back(texts: pl.Series, where: pl.Series, new: pl.Series) -> pl.Series:
    """`texts` with `new`, in order, where `where` is true."""
    return pl.select(
        pl.when(where).then(new.gather((where.cum_sum().cast(pl.Int64) - 1).clip(0))).otherwise(texts)
    ).to_series()
