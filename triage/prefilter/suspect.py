"""What else to ask of a text that talks to its reader: the text without what it says to it.

The second question is how the model judges the line when nobody tells it how. The whole and each framing are asked,
and the worst answer counts, so that what a line says can raise its verdict and never lower it.

Promises: framings depend on the text and the built-in rules alone; a text that none of these suspects has none; no
framing is suspected itself. Covers what the rules find: words that persuade and that no rule knows stay, but what
stands before, and after, what was found is asked alone too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import polars as pl

from triage.prefilter.operators import Operators
from triage.prefilter.plain import plain_with_places
from triage.prefilter.rules import INJECTION_TAG, Rule, load
from triage.prefilter.sift import hits
from triage.prefilter.when import When
from triage.records import digest_of

LEAST_LETTERS: Final = 12
"""A framing with fewer letters says nothing that could be judged."""
_MOST_ROUNDS: Final = 4  # what is left after a cut may meet a rule anew; after so many rounds it is left out
_DRAFTS: Final = 4

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters: in no text that is meant to be read
_MARKS: Final = str.maketrans(_OPEN + _CLOSE, "\ufffd\ufffd")
_QUOTES: Final = "\"'`"
# Where a sentence or a field ends: what is said to the reader goes no further.
_END = re.compile(r"""[.!?](?=["'\s]|$)|[|;\t\n\r]|\\[nrt]|-->|[)\]}](?=\s|$)|(?=\s[\w.-]{1,40}=)""")
_BEGIN = re.compile(r"""[.!?]\s|[|;\t\n\r]|\\[nrt]|<!--|\s(?:[\[({]|#+|-{2,3}|[–—/]{1,2})\s?|\s[\w.-]{1,40}=""")

Span = tuple[int, int]


@cache
def _rules() -> tuple[Rule, ...]:
    return tuple(rule for rule in load([]) if INJECTION_TAG in rule.tags)


VERSION: Final = digest_of(["1", [rule.model_dump(mode="json") for rule in _rules()]])[:16]
"""Of all that the framings of a text depend on beside it."""


def framings(texts: pl.Series) -> list[tuple[str, ...]]:
    """For each of `texts` (no nulls) the texts to ask beside it, four at most, none of them twice and none suspected:

    it without the sentences, quotes or fields in which it speaks to its reader; without no more than the words that
    were found; what stands before the first of these; what stands after the last.
    """
    at = _suspected(texts)
    whole = [texts[row] for row in at]
    drafts = [draft for text, spans in zip(whole, _spans(whole), strict=True) for draft in _drafts(text, spans)]
    again = _suspected_of(drafts, range(len(drafts)))
    for _ in range(_MOST_ROUNDS):
        for place, spans in zip(again, _spans([drafts[place][0] for place in again]), strict=True):
            text, widely = drafts[place]
            drafts[place] = _without(text, spans, widely=widely), widely
        again = _suspected_of(drafts, again)
    refused = {*again}
    found: list[tuple[str, ...]] = [()] * len(texts)
    for number, (row, text) in enumerate(zip(at, whole, strict=True)):
        own = range(number * _DRAFTS, (number + 1) * _DRAFTS)
        kept = dict.fromkeys(drafts[place][0] for place in own if place not in refused)
        found[row] = tuple(one for one in kept if one != text and sum(map(str.isalpha, one)) >= LEAST_LETTERS)
    return found


def _suspected_of(drafts: Sequence[tuple[str, bool]], places: Sequence[int]) -> list[int]:
    """Those of the places where the draft is suspected."""
    return [places[row] for row in _suspected(pl.Series([drafts[place][0] for place in places], dtype=pl.String))]


def _drafts(text: str, spans: Sequence[Span]) -> list[tuple[str, bool]]:
    """The framings of a text, and of each whether what is found in it again is cut out widely."""
    if not spans:
        return [("", True)] * _DRAFTS
    return [
        (_without(text, spans, widely=True), True),
        (_without(text, spans, widely=False), False),
        (text[: spans[0][0]].strip(), True),
        (text[spans[-1][1] :].strip(), True),
    ]


def _without(text: str, spans: Sequence[Span], *, widely: bool) -> str:
    cut = _joined([_widened(text, span) for span in spans] if widely else spans)
    starts, ends = [0, *(end for _, end in cut)], [*(start for start, _ in cut), len(text)]
    # A space where something was: words that it kept apart stay apart.
    return " ".join(part for start, end in zip(starts, ends, strict=True) if (part := text[start:end].strip()))


def _widened(text: str, span: Span) -> Span:
    """To where the sentence, quotes or field of the span ends, and back to where it begins, if anything shows that."""
    start, stop = span
    for quote in _QUOTES:
        opening = text.rfind(quote, 0, start)
        # An opening quote has an even number of its kind before it, and no letter: it's no apostrophe.
        if opening < 0 or text.count(quote, 0, opening) % 2 or (opening and text[opening - 1].isalpha()):
            continue
        closing = text.find(quote, stop)
        if closing >= 0:
            return opening + 1, closing
    begun = [found.end() for found in _BEGIN.finditer(text, 0, start)]
    ended = _END.search(text, stop)
    return (begun[-1] if begun else start), (max(ended.end(), stop) if ended else len(text))


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The spans in order, those that meet as one."""
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _suspected(texts: pl.Series) -> list[int]:
    """The places of the texts that a rule suspects."""
    if texts.is_empty():
        return []
    return hits(pl.DataFrame({"message": texts}), _rules())["row"].unique().sort().to_list()


def _spans(texts: Sequence[str]) -> list[list[Span]]:
    """Where in each text the rules' expressions match, in order, those that meet as one."""
    if not texts:
        return []
    read = [plain_with_places(text) for text in texts]
    spans: list[list[Span]] = [[] for _ in texts]
    for test in _tests():
        seen = pl.Series(
            [(folded if test.plain else text).translate(_MARKS) for (folded, _), text in zip(read, texts, strict=True)],
            dtype=pl.String,
        )
        met = seen.is_not_null()
        for pattern in test.matches or ():
            met = met & seen.str.contains(pattern)
        if not met.any():
            continue
        # The first expressions of several only say where the last one is looked for.
        marked = seen.filter(met).str.replace_all((test.matches or [""])[-1], f"{_OPEN}${{0}}{_CLOSE}")
        for row, one in zip(met.arg_true(), marked, strict=True):
            spans[row] += _marked(one, read[row][1] if test.plain else range(len(texts[row]) + 1))
    return [_joined(some) for some in spans]


def _marked(text: str, places: Sequence[int]) -> Iterator[Span]:
    """The spans between marks, as places in the text that was marked."""
    place = start = 0
    for character in text:
        if character == _OPEN:
            start = place
        elif character == _CLOSE:
            yield places[start], places[place]
        else:
            place += 1


def _tests() -> Iterator[Operators]:
    """The tests of the message by expression, of all rules."""
    for rule in _rules():
        for when in _parts(rule.when):
            if when.message and when.message.matches:
                yield when.message


def _parts(when: When) -> Iterator[When]:
    yield when
    for part in (*(when.all_ or ()), *(when.any_ or ())):
        yield from _parts(part)
