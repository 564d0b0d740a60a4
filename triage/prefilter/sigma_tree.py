"""The condition of a Sigma rule as a tree of tests, and the tree as a polars expression.

A test looks at one field. The folded (lower-case) form of field `f` stands in column `FOLD + f`. A field whose events
hold several values is a list column, and a test is met by any of its values. A missing field meets no test but
`null` and `exists: false`. Texts are compared by their lower-case forms unless `cased`; regular expressions as written.

Promises: trees are plain frozen values, picklable and the same on every worker; `needed` names words one of which
every event has that meets the tree, so that a rule need only look at events that hold one.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import polars as pl

FOLD = "~"
KEYWORDS = "(keywords)"
"""The column that keywords search: the message, or all values of a JSON record."""

Words = frozenset[tuple[str, str]]
"""(field, lower-case text that its value holds)."""


@dataclass(frozen=True, slots=True)
class Test:
    """`name`: equals, contains, starts, ends, like, matches, bool, number, lt, lte, gt, gte, null, exists, cidr,
    equals_field, contains_field, starts_field or ends_field. `like` has a regular expression over the whole value, and
    in `words` the texts in it."""

    field: str
    name: str
    value: str | int | float | bool | None = None
    cased: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Tree


Tree = Test | All | Either | Not


def fold(text: str) -> str:
    """Lower case by letters: a final sigma is a sigma."""
    return "".join(letter.lower() for letter in text).replace("ς", "σ")


def folded(text: pl.Expr) -> pl.Expr:
    """The same of a column."""
    return text.str.to_lowercase().str.replace_all("ς", "σ", literal=True)


def tests(tree: Tree) -> Iterator[Test]:
    """Every test of the tree, in order."""
    if isinstance(tree, Test):
        yield tree
    else:
        for part in (tree.part,) if isinstance(tree, Not) else tree.parts:
            yield from tests(part)


def columns(tree: Tree) -> tuple[str, ...]:
    """The columns that the tree's expression reads, folded ones too."""
    names: dict[str, None] = {}
    for test in tests(tree):
        names[_column(test)] = None
        if test.name.endswith("_field"):
            names[_mark(test) + str(test.value)] = None
    return tuple(names)


def fields_of(tree: Tree) -> set[str]:
    """The fields that the tree asks for."""
    return {name.removeprefix(FOLD) for name in columns(tree)}


_FOLDABLE = {"equals", "contains", "starts", "ends", "like", "bool"}


def _mark(test: Test) -> str:
    return FOLD if not test.cased and (test.name in _FOLDABLE or test.name.endswith("_field")) else ""


def _column(test: Test) -> str:
    return _mark(test) + test.field


def expression(tree: Tree, listed: Collection[str] = ()) -> pl.Expr:
    """True or false for every row, never null. `listed`: the columns that are lists."""
    if isinstance(tree, Not):
        return ~expression(tree.part, listed)
    if isinstance(tree, All):
        return pl.all_horizontal(expression(part, listed) for part in tree.parts)
    if isinstance(tree, Either):
        return reduce(or_, (_any_of(part, listed) for part in _gathered(tree.parts)))
    return _any_of((tree,), listed)


def _gathered(parts: tuple[Tree, ...]) -> list[tuple[Tree, ...]]:
    """The alternatives, with those together that one look at the text decides."""
    groups: dict[Any, list[Tree]] = {}
    for part in parts:
        alike = isinstance(part, Test) and part.name in ("equals", "contains") and part.value != ""
        key = (_column(part), part.name) if alike and isinstance(part, Test) else id(part)
        groups.setdefault(key, []).append(part)
    return [tuple(group) for group in groups.values()]


def _any_of(group: tuple[Tree, ...], listed: Collection[str]) -> pl.Expr:
    first = group[0]
    if not isinstance(first, Test):
        return expression(first, listed)
    column = _column(first)
    if first.name in ("null", "exists"):
        absent = pl.col(column).is_null()
        return absent if first.name == "null" or not first.value else ~absent
    if first.name.endswith("_field"):
        return _against_field(first, listed)
    check: Callable[[pl.Expr], pl.Expr]
    if len(group) > 1:
        words = [str(test.value) for test in group if isinstance(test, Test)]
        check = _IN[first.name](words)
    else:
        check = functools.partial(_CHECKS[first.name], value=first.value)
    if column in listed:
        return pl.col(column).list.eval(check(pl.element())).list.any().fill_null(False)
    return check(pl.col(column)).fill_null(False)


def _compared(text: pl.Expr, test: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    number = text.cast(pl.Float64, strict=False)
    return number.is_finite() & test(number)


def _inside(text: pl.Expr, value: Any) -> pl.Expr:
    network = ipaddress.ip_network(str(value), strict=False)

    def holds(values: pl.Series) -> pl.Series:
        return pl.Series([_is_inside(network, one) for one in values], dtype=pl.Boolean)

    return text.map_batches(holds, return_dtype=pl.Boolean, is_elementwise=True)


def _is_inside(network: ipaddress.IPv4Network | ipaddress.IPv6Network, text: str | None) -> bool | None:
    if text is None:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if network.version == 4 and isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped in network
    return address in network


_CHECKS: dict[str, Callable[..., pl.Expr]] = {
    "equals": lambda text, value: text == value,
    "contains": lambda text, value: text.str.contains(value, literal=True),
    "starts": lambda text, value: text.str.starts_with(value),
    "ends": lambda text, value: text.str.ends_with(value),
    "like": lambda text, value: text.str.contains(value),
    "matches": lambda text, value: text.str.contains(value),
    "bool": lambda text, value: text == str(value).lower(),
    "number": lambda text, value: _compared(text, lambda number: number == value),
    "lt": lambda text, value: _compared(text, lambda number: number < value),
    "lte": lambda text, value: _compared(text, lambda number: number <= value),
    "gt": lambda text, value: _compared(text, lambda number: number > value),
    "gte": lambda text, value: _compared(text, lambda number: number >= value),
    "cidr": _inside,
}
_IN: dict[str, Callable[[list[str]], Callable[[pl.Expr], pl.Expr]]] = {
    "equals": lambda words: lambda text: text.is_in(words),
    "contains": lambda words: lambda text: text.str.contains_any(words),
}
_FIELD_CHECKS: dict[str, tuple[Callable[[pl.Expr, pl.Expr], pl.Expr], Callable[[str, str], bool]]] = {
    "equals_field": (lambda a, b: a == b, lambda a, b: a == b),
    "contains_field": (lambda a, b: a.str.contains(b, literal=True), lambda a, b: b in a),
    "starts_field": (lambda a, b: a.str.starts_with(b), str.startswith),
    "ends_field": (lambda a, b: a.str.ends_with(b), str.endswith),
}


def _against_field(test: Test, listed: Collection[str]) -> pl.Expr:
    one, other = _column(test), _mark(test) + str(test.value)
    quick, plain = _FIELD_CHECKS[test.name]
    if one not in listed and other not in listed:
        return quick(pl.col(one), pl.col(other)).fill_null(False)

    def each(pair: dict[str, Any]) -> bool:
        left, right = ([v] if isinstance(v, str) else v or [] for v in (pair["one"], pair["other"]))
        return any(plain(a, b) for a in left for b in right if a is not None and b is not None)

    both = pl.struct(one=pl.col(one), other=pl.col(other))
    return both.map_elements(each, return_dtype=pl.Boolean, skip_nulls=False).fill_null(False)


SHORTEST = 2
"""Words with fewer letters are in too many values to be worth a look."""
SETS = 3
"""A fourth set of words spares less than it costs to look for them."""


def needed(tree: Tree, price: Callable[[tuple[str, str]], float]) -> tuple[Words, ...]:
    """Sets of words: an event that meets the tree holds a word of each. The cheapest, SETS of them at most."""
    if isinstance(tree, Not):
        return ()
    if isinstance(tree, Test):
        if tree.name not in _FOLDABLE - {"bool"}:
            return ()
        texts = tree.words if tree.name == "like" else (str(tree.value),)
        known = [(tree.field, text) for text in map(fold, texts) if len(text) >= SHORTEST]
        return (frozenset({min(known, key=price)}),) if known else ()
    parts = [needed(part, price) for part in tree.parts]
    if isinstance(tree, All):
        sets = dict.fromkeys(words for part in parts for words in part)
        return tuple(sorted(sets, key=lambda words: sum(map(price, words)))[:SETS])
    return (frozenset().union(*(part[0] for part in parts)),) if parts and all(parts) else ()
