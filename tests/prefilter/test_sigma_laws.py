"""Laws of Sigma: whatever rule is drawn, it hits what the specification says (`sigma_oracle`), event for event."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prefilter.build import events, hits, one, ruleset
from tests.prefilter.sigma_oracle import DASHES, holds, met, written

EXAMPLES = settings(max_examples=60, deadline=None)
FEWER = settings(max_examples=40, deadline=None)
LETTERS = 'aAbBé19*?\\ -/._"[$(+\n'
TEXTS = st.text(LETTERS, max_size=6)
NUMBERS = st.integers(-20, 20) | st.floats(-20, 20).map(lambda x: round(x, 2))
SCALARS = st.one_of(TEXTS, TEXTS, NUMBERS, st.booleans(), st.none(), st.sampled_from(["1", "1.5", "True", "-3"]))
ANY = st.one_of(SCALARS, SCALARS, SCALARS, st.lists(SCALARS, max_size=3))
RECORDS = st.dictionaries(st.sampled_from("fgh"), ANY, max_size=3)
APPLICATION = {"Channel": "Application"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws")


def agree(folder: Path, items: list[tuple[str, Any]], records: list[dict[str, Any]]) -> None:
    """Each item is a rule; each hits what the oracle says, and nothing else, whatever the others do."""
    found = ruleset(folder, *(one({key: value}) for key, value in items))
    assert found.refused == ()
    records = [{**APPLICATION, **record} for record in records]
    told = set(found.hits(events(*records)).iter_rows())
    for number, (key, value) in enumerate(items):
        expected = [met(key, value, record) for record in records]
        assert [(row, number) in told for row in range(len(records))] == expected, (key, value)


def variants(value: str) -> list[str]:
    """Values near the one that a rule asks for."""
    plain = value.replace("\\*", "*").replace("\\?", "?").replace("\\\\", "\\")
    return [plain, value, plain.swapcase(), f"x{plain}", f"{plain}x", f"x{plain}\nx", plain[1:]]


PLACES = ["", "|contains", "|startswith", "|endswith"]


@pytest.mark.parametrize("cased", ["", "|cased"])
@pytest.mark.parametrize("keyword", [False, True], ids=["field", "keyword"])
@given(value=TEXTS, fields=st.lists(ANY, max_size=5))
@EXAMPLES
def test_texts(folder: Path, cased: str, keyword: bool, value: str, fields: list[Any]) -> None:
    name = "" if keyword else "f"
    orders = [f"{place}{cased}" for place in PLACES] + [f"{cased}{place}" for place in PLACES[1:]]
    items = [(f"{name}{order}", value) for order in dict.fromkeys(orders) if keyword is False or order]
    agree(folder, items, [{}, *({"f": field} for field in [*fields, *variants(value)])])


@given(values=st.lists(st.one_of(TEXTS, NUMBERS, st.booleans(), st.none()), min_size=2, max_size=4), data=st.data())
@EXAMPLES
def test_lists_of_values(folder: Path, values: list[Any], data: st.DataObject) -> None:
    only_texts = [str(value) for value in values]
    records = data.draw(st.lists(st.builds(lambda f: {"f": f}, ANY | st.lists(st.sampled_from(values))), max_size=6))
    records += [{"f": "".join(only_texts)}, {"f": only_texts}, {}]
    items = [("f", values), ("f|all", values), ("f|contains", only_texts), ("f|contains|all", only_texts)]
    agree(folder, [*items, ("f|neq", values), ("f|startswith|neq", only_texts)], records)


@given(bound=NUMBERS, fields=st.lists(ANY, max_size=6))
@EXAMPLES
def test_numbers_booleans_null_and_existence(folder: Path, bound: float, fields: list[Any]) -> None:
    items: list[tuple[str, Any]] = [(f"f|{name}", bound) for name in ("lt", "lte", "gt", "gte")]
    items += [("f", bound), ("f", True), ("f", False), ("f", None), ("f", []), ("f|exists", True), ("f|exists", False)]
    agree(folder, items, [{}, *({"f": f} for f in [*fields, bound, str(bound), bound + 1, -bound, "", [], [None]])])


PIECES = st.sampled_from(
    ["a", "B", "é", ".", "^", "^a", "[ab]", "[^a]", "[]a]", "[a[]", "[&&a]", r"\.", r"\\", r"\n", r"\$",
     "(a|b)", "(?:a|)", "a*", "b+?", "(ab)?", "[a-c]{1,2}", r"\<", r"\bA", "(?i:ab)", " "]
)  # fmt: skip
EXPRESSIONS = st.tuples(
    st.lists(PIECES, min_size=1, max_size=4).map("".join), st.sampled_from(["{}", "{}$", "({}$|b)", "{}|a$"])
).map(lambda drawn: drawn[1].format(drawn[0]))


@given(pattern=EXPRESSIONS, fields=st.lists(st.text("aAbBcé.^$[]&\\<\n ", max_size=5) | st.just(None), max_size=8))
@EXAMPLES
@pytest.mark.filterwarnings("ignore:Possible (set|nested):FutureWarning")
def test_regular_expressions(folder: Path, pattern: str, fields: list[Any]) -> None:
    modifiers = ["", "|i", "|m", "|s", "|i|m|s", "|ignorecase", "|multiline", "|dotall"]
    modifiers += ["|startswith", "|endswith", "|contains", "|m|startswith"]
    items = [(f"f|re{flags}", pattern) for flags in modifiers]
    agree(folder, [*items, ("|re", pattern)], [{}, *({"f": f} for f in [*fields, "ab", "ab\n", "a\nb", ["b", "ab"]])])


SECRETS = st.text("abZ09 *é€\U0001f50d\\", min_size=1, max_size=8)


@given(secret=SECRETS, pads=st.tuples(st.binary(max_size=4), st.binary(max_size=4)), noise=st.lists(TEXTS, max_size=3))
@EXAMPLES
def test_base64(folder: Path, secret: str, pads: tuple[bytes, bytes], noise: list[str]) -> None:
    value = secret.replace("\\", "\\\\").replace("*", "\\*")
    wide = [] if not secret.isascii() else ["wide", "utf16be", "utf16"]
    raws = [secret.encode(), secret.encode("utf-16le"), secret.encode("utf-16be"), secret.encode("utf-16")]
    raws += [pads[0] + raw + pads[1] for raw in raws]
    records = [{"f": base64.b64encode(raw).decode()} for raw in raws]
    records += [{"f": r["f"].swapcase()} for r in records] + [{"f": text} for text in [*noise, secret]]
    items = [
        (f"f|{''.join(part)}", value)
        for before in ["", *(f"{name}|" for name in wide)]
        for part in [(before, "base64"), (before, "base64offset|contains"), (before, "base64|startswith|cased")]
    ]
    agree(folder, [*items, ("f|cased|base64offset|contains", value), ("|base64offset", value)], records)
    # Whoever reads the specification and not the oracle: the text is found wherever it begins.
    padded = [{**APPLICATION, "f": base64.b64encode(pads[0] + secret.encode() + pads[1]).decode()}]
    assert hits(ruleset(folder, one({"f|base64offset|contains": value})), *padded) == [True]


@given(value=st.text("a-/ b*", max_size=6), fields=st.lists(st.text(f"ab {DASHES}", max_size=6), max_size=6))
@EXAMPLES
def test_windash(folder: Path, value: str, fields: list[str]) -> None:
    dashes = [value.replace("-", dash).replace("/", dash) for dash in DASHES]
    orders = ["|windash", "|windash|contains", "|contains|windash", "|windash|cased", "|cased|windash|startswith"]
    agree(folder, [(f"f{order}", value) for order in orders], [{"f": f} for f in [*fields, *dashes, value]])


ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(
    ["10.1.2.3", "10.255.0.1", "192.168.1.7", "192.168.1.200", "::ffff:10.0.0.1", "fe80::1", "10.1.2", "x", "", 10]
)


@given(fields=st.lists(ADDRESSES | st.lists(ADDRESSES, max_size=2), min_size=1, max_size=8))
@FEWER
def test_networks(folder: Path, fields: list[Any]) -> None:
    networks = ["10.0.0.0/8", "192.168.1.0/25", "0.0.0.0/0", "127.0.0.1/32", "fe80::/10", "::/0"]
    items = [("f|cidr", network) for network in networks] + [("f|cidr", networks[:2]), ("f|cidr|all", networks[::2])]
    agree(folder, items, [{}, *({"f": f} for f in fields)])


@given(records=st.lists(RECORDS, min_size=1, max_size=8), same=TEXTS)
@EXAMPLES
def test_other_fields(folder: Path, records: list[dict[str, Any]], same: str) -> None:
    orders = ["fieldref", "fieldref|startswith", "fieldref|endswith", "fieldref|contains", "fieldref|neq"]
    near = [{"f": a, "g": same} for a in variants(same)] + [{"f": [1, same], "g": [same.upper(), "x"]}]
    agree(folder, [*((f"f|{order}", "g") for order in orders), ("f|fieldref", ["g", "h"])], [*records, *near])


ITEMS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["f", "f|contains", "g|startswith", "g|endswith", "h", "f|contains|all", "g|neq"]),
    st.lists(st.sampled_from(["a", "ab", "a*b", "?", "", "b\\*"]), min_size=1, max_size=2),
    min_size=1,
    max_size=3,
)
KEYS = st.lists(st.sampled_from(["ab", "b*a", "*", "A", 1]), min_size=1, max_size=3)
SELECTIONS = st.one_of(
    ITEMS,
    st.lists(ITEMS, min_size=1, max_size=2),
    KEYS,
    KEYS.map(lambda words: {"|all": words}),
    st.tuples(ITEMS, st.sampled_from(["ab", 1])).map(list),
)
NAMES = ["sel_a", "sel_b", "other", "_hidden"]
CONDITIONS = st.recursive(
    st.sampled_from(NAMES)
    | st.tuples(st.sampled_from(["1", "any", "all"]), st.sampled_from(["them", "sel_*", "*_a", "other", "_*"])),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner, inner),
    ),
    max_leaves=6,
)
NEAR = st.one_of(st.sampled_from(["a", "AB", "aab", "abb", "b*", "", 1, None, ["a", "b"], ["ab"]]), ANY)


@given(
    selections=st.tuples(SELECTIONS, SELECTIONS, SELECTIONS, SELECTIONS),
    conditions=st.lists(CONDITIONS, min_size=1, max_size=4),
    records=st.lists(st.dictionaries(st.sampled_from("fgh"), NEAR, max_size=3), min_size=1, max_size=10),
)
@EXAMPLES
def test_conditions(
    folder: Path, selections: tuple[Any, ...], conditions: list[Any], records: list[dict[str, Any]]
) -> None:
    """`a of b` counts selections whose names do not begin with an underscore when it says them; rules share words,
    columns and passes over the events, and each hits what it alone would."""
    detection = dict(zip(NAMES, selections, strict=True))
    found = ruleset(folder, *({**detection, "condition": written(condition)} for condition in conditions))
    assert found.refused == ()
    records = [{**APPLICATION, **record} for record in records]
    told = set(found.hits(events(*records)).iter_rows())
    expected = {
        (row, number)
        for row, record in enumerate(records)
        for number, condition in enumerate(conditions)
        if holds(condition, detection, record)
    }
    assert told == expected
    listed = ruleset(folder, {**detection, "condition": [written(condition) for condition in conditions]})
    assert hits(listed, *records) == [
        any((row, n) in expected for n in range(len(conditions))) for row in range(len(records))
    ]
