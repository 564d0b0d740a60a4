"""Sigma rules do what Sigma says, and what cannot be done exactly is refused by id and with the reason."""

from __future__ import annotations

import base64
import ipaddress
import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.prefilter.build import APPLICATION, ID, events, hits, one, ruleset, values
from triage.errors import WrongInput
from triage.prefilter.rules import Rule
from triage.prefilter.sift import sift
from triage.prefilter.sigma_compile import load
from triage.prefilter.sigma_regex import rust

PAIRS = yaml.safe_load((Path(__file__).parent / "sigma_pairs.yaml").read_text("utf-8"))
TEXTS = st.text(alphabet='abAB*?\\ -/.é"', max_size=6)
EXAMPLES = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sigma")


@pytest.mark.parametrize("pair", PAIRS, ids=[pair["name"] for pair in PAIRS])
def test_golden_rules_hit_what_they_must_and_nothing_else(folder: Path, pair: dict[str, Any]) -> None:
    rules = ruleset(folder, pair["detection"], source=pair["source"])
    assert hits(rules, *pair["hits"], *pair["misses"]) == [True] * len(pair["hits"]) + [False] * len(pair["misses"])


def parts(pattern: str) -> list[str]:
    """Sigma's wildcards by its own words: * and ?, escaped by a backslash, which also escapes itself."""
    found, i = [], 0
    while i < len(pattern):
        if pattern[i] == "\\" and pattern[i + 1 : i + 2] in ("*", "?", "\\"):
            found.append(re.escape(pattern[i + 1]))
            i += 2
            continue
        found.append({"*": ".*", "?": "."}.get(pattern[i], re.escape(pattern[i])))
        i += 1
    return found


WRAPS = {"": "{}", "|contains": ".*{}.*", "|startswith": "{}.*", "|endswith": ".*{}"}


@pytest.mark.parametrize("cased", ["", "|cased"])
@pytest.mark.parametrize("modifier", WRAPS)
@given(pattern=TEXTS, fields=st.lists(TEXTS | st.none(), min_size=1, max_size=8))
@EXAMPLES
def test_texts_and_wildcards_do_as_plain_python(
    folder: Path, modifier: str, cased: str, pattern: str, fields: list[str | None]
) -> None:
    wanted = re.compile(WRAPS[modifier].format("".join(parts(pattern))), re.DOTALL | (0 if cased else re.IGNORECASE))
    fields = [*fields, pattern]
    rules = ruleset(folder, one({f"f{modifier}{cased}": pattern}))
    assert values(rules, *fields) == [v is not None and wanted.fullmatch(v) is not None for v in fields]


@given(words=st.lists(TEXTS.filter(bool), min_size=1, max_size=4), fields=st.lists(TEXTS, max_size=8))
@EXAMPLES
def test_lists_are_alternatives_and_all_makes_them_conditions(
    folder: Path, words: list[str], fields: list[str]
) -> None:
    words = [re.sub(r"[*?\\]", "", word) or "a" for word in words]
    fields = [*fields, "".join(words), words[0]]
    plain, every = (
        ruleset(folder, one({"f|contains": words})),
        ruleset(folder, one({"f|contains|all": words if len(set(words)) > 1 else [*words, "a"]})),
    )
    more = words if len(set(words)) > 1 else [*words, "a"]
    assert values(plain, *fields) == [any(w.lower() in v.lower() for w in words) for v in fields]
    assert values(every, *fields) == [all(w.lower() in v.lower() for w in more) for v in fields]


NUMBERS = st.integers(-100, 100) | st.floats(-100, 100).map(lambda x: round(x, 2))


@pytest.mark.parametrize("operator", ["lt", "lte", "gt", "gte", ""])
@given(bound=NUMBERS, fields=st.lists(NUMBERS | st.sampled_from(["", "x", "nan", "inf"]), max_size=8))
@EXAMPLES
def test_numbers_compare_as_numbers(folder: Path, operator: str, bound: float, fields: list[Any]) -> None:
    means: dict[str, Any] = {
        "lt": lambda v: v < bound,
        "lte": lambda v: v <= bound,
        "gt": lambda v: v > bound,
        "gte": lambda v: v >= bound,
        "": lambda v: v == bound,
    }
    rules = ruleset(folder, one({f"f|{operator}" if operator else "f": bound}))
    fields = [*fields, bound, str(bound)]
    expected = [not (isinstance(v, str) and v in ("", "x", "nan", "inf")) and means[operator](float(v)) for v in fields]
    assert values(rules, *fields) == expected


ADDRESSES = st.ip_addresses(v=4).map(str) | st.sampled_from(
    ["10.1.2.3", "10.255.0.1", "192.168.1.7", "::ffff:10.0.0.1", "fe80::1", "10.1.2", "x", ""]
)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.168.1.0/25", "0.0.0.0/0", "127.0.0.1/32", "fe80::/10"])
@given(fields=st.lists(ADDRESSES, min_size=1, max_size=8))
@EXAMPLES
def test_networks_hold_what_python_says_they_hold(folder: Path, network: str, fields: list[str]) -> None:
    def inside(text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address) in ipaddress.ip_network(network)

    assert values(ruleset(folder, one({"f|cidr": network})), *fields) == [inside(v) for v in fields]


@given(secret=st.text("abcXYZ019", min_size=4, max_size=9), before=st.binary(max_size=5), after=st.binary(max_size=5))
@EXAMPLES
def test_base64offset_finds_the_text_at_any_offset(folder: Path, secret: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    assert values(ruleset(folder, one({"f|base64offset|contains": secret})), encoded) == [True]
    wide = base64.b64encode(before + secret.encode("utf-16le") + after).decode()
    assert values(ruleset(folder, one({"f|wide|base64offset|contains": secret})), wide) == [True]


@pytest.mark.parametrize(
    ("item", "hit", "missed"),
    [
        ({"f|windash|contains": " -q "}, ["x -q y", "x /q y", "x \N{EN DASH}q y"], ["x q y"]),
        ({"f|base64": "over there"}, [base64.b64encode(b"over there").decode()], ["over there"]),
        ({"f|re": "a.c$"}, ["xabc"], ["xABC", "abcd"]),
        ({"f|re|i": "a.c$"}, ["xABC"], ["abcd"]),
        ({"f|re|m": "^b$"}, ["a\nb\nc"], ["a b"]),
        ({"f|re": "(?m)b$"}, ["a\nb\nc"], ["bc"]),
        ({"f|re": "b$"}, ["ab", "ab\n"], ["ab\nc", "ab\n\n"]),
        ({"f|re|s": "a.b"}, ["a\nb"], ["ab"]),
        ({"f|re": r"\<b[[]x"}, ["<b[x"], ["b[x"]),
        ({"f": None}, [None], ["", "x"]),
        ({"f": ""}, [""], [None, "x"]),
        ({"f|exists": True}, ["", "x", 0, False], [None]),
        ({"f|exists": False}, [None], ["", "x"]),
        ({"f": "*"}, ["", "x"], [None]),
        ({"f": True}, [True, "true"], [False, None, "yes"]),
        ({"f": 4625}, [4625, "4625", 4625.0], ["46250", 4624, None]),
        ({"f": 1.5}, [1.5, "1.50"], [15, None]),
        ({"f|contains": "ΔΟΣ"}, ["ΟΔΟΣ", "οδος", "ΟΔΟΣ Α"], ["ΟΔΟ"]),
        ({"f|endswith": "ç?"}, ["xÇé"], ["xc1"]),
        ({"f": ["a", "B"]}, ["A", "b", ["x", "b"]], [["x"], [], "ab"]),
        ({"f": r"\\*\share\\"}, ["\\host\\share\\"], ["host"]),
        ({"f|neq": "a"}, ["b", None], ["A"]),
    ],
)
def test_single_modifiers(folder: Path, item: dict[str, Any], hit: list[Any], missed: list[Any]) -> None:
    assert values(ruleset(folder, one(item)), *hit, *missed) == [True] * len(hit) + [False] * len(missed)


def test_a_list_beside_plain_values_meets_the_test_by_any_of_its_values(folder: Path) -> None:
    rules = ruleset(folder, {"sel": {"f|startswith": "a"}, "out": {"f|endswith": "z"}, "condition": "sel and not out"})
    assert values(rules, ["x", "ab"], "ab", ["ab", "z"], None) == [True, True, False, False]


@pytest.mark.parametrize(
    ("detection", "reason"),
    [
        (one({"f|re": "a(?=b)"}), "look-around"),
        (one({"f|re": r"(a)\1"}), "backreferences"),
        (one({"f|re": "a++a"}), "possessive"),
        (one({"f|re": r"a$\n"}), "$ before more"),
        (one({"f|re": "(?m:a$)"}), "a meaning of $ of its own"),
        (one({"f|re": "(?x)a b"}), "extended syntax"),
        (one({"f|cased|fieldref": "g"}), "cased with fieldref"),
        (one([None]), "SigmaNull"),
        (one([True]), "SigmaBool"),
        (one({"f|expand": "%admins%"}), "placeholders"),
        (one({"f": 1 << 60}), "too large"),
        (one({"f|hour": 5}), "parts of a time"),
        ({"sel": {"f": "x"}, "condition": "sel | count() > 5"}, "pipe syntax"),
        ({"sel": {"f": "x"}, "timeframe": "5m", "condition": "sel"}, "time frame"),
        ({"sel": {"f": "x"}, "condition": "sel and other"}, "other"),
        ({"sel": {"f|odd": "x"}, "condition": "sel"}, "odd"),
    ],
)
def test_what_has_no_exact_form_is_refused_by_id_with_the_reason(
    folder: Path, detection: dict[str, Any], reason: str
) -> None:
    rules = ruleset(folder, detection, one({"f": "x"}))
    assert [rule.id for rule in rules.rules] == [ID.format(1)]
    ((refused, why),) = rules.refused
    assert refused == ID.format(0)
    assert reason in why
    assert "\n" not in why


def test_correlations_and_what_stands_only_for_them_are_refused(tmp_path: Path) -> None:
    base = {"title": "base", "id": ID.format(1), "name": "base", "logsource": APPLICATION, "detection": one({"f": "x"})}
    many = {"type": "event_count", "rules": ["base"], "group-by": ["f"], "timespan": "1h", "condition": {"gte": 5}}
    (tmp_path / "c.yml").write_text(
        yaml.safe_dump_all([base, {"title": "many", "id": ID.format(2), "correlation": many}])
    )
    rules = load([str(tmp_path)])
    assert rules.rules == ()
    assert {rule_id for rule_id, _ in rules.refused} == {ID.format(1), ID.format(2)}


@pytest.mark.parametrize(("text", "says"), [("a: [", "not YAML"), ("- a", "not a Sigma rule")])
def test_a_file_that_is_no_rule_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(WrongInput, match=says) as refused:
        load([str(tmp_path)])
    assert str(path) in str(refused.value)
    for missing, what in ((tmp_path / "none.yml", "no such file"), (tmp_path / "sub", "no Sigma rules there")):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(WrongInput, match=what):
            load([str(missing)])


@pytest.mark.parametrize(
    ("level", "outcome", "floor"),
    [
        ("critical", "ruled", 2),
        ("high", "ruled", 2),
        ("medium", "ruled", 1),
        ("low", "ruled", 1),
        ("informational", "asked", 0),
    ],
)
def test_a_level_decides_what_becomes_of_a_hit(folder: Path, level: str, outcome: str, floor: int) -> None:
    rules = ruleset(folder, one({"f": "x"}), level=level, tags=["attack.t1110"])
    assert (rules.rules[0].severity, rules.rules[0].because) == (level, "a test")
    noise = Rule.model_validate(
        {"id": "all", "settle": "benign", "because": "all", "when": {"message": {"contains": ""}}}
    )
    sifted = sift(events({"Channel": "Application", "f": "x"}, "other"), [noise], rules)
    hit, other = sifted.iter_rows(named=True)
    wanted = outcome if level != "informational" else "noise"
    assert (hit["outcome"], hit["floor"], hit["tags"]) == (wanted, floor, ["attack.t1110"])
    assert sorted(hit["rule_ids"]) == sorted([ID.format(0), "all"])
    assert (other["outcome"], other["rule_ids"], other["tags"]) == ("noise", ["all"], [])


def test_loading_touches_nothing_that_pysigma_would_fetch(folder: Path) -> None:
    ruleset(folder, one({"f": "x"}), tags=["attack.t1110"])
    assert not [name for name in sys.modules if name.startswith(("sigma.data", "sigma.plugins"))]


def test_a_ruleset_is_the_same_on_another_worker_and_known_by_what_it_says(folder: Path) -> None:
    rules = ruleset(folder, one({"f|contains": ["a", "b"]}), one({"f|cidr": "10.0.0.0/8"}))
    values(rules, "a")
    again = pickle.loads(pickle.dumps(rules))
    assert again.identity() == rules.identity()
    assert values(again, "xa", "10.1.1.1", "x") == [True, True, False]
    assert ruleset(folder, one({"f|contains": ["a", "c"]})).identity() != rules.identity()


@given(st.lists(TEXTS, min_size=1, max_size=12))
@EXAMPLES
def test_words_only_spare_looking(folder: Path, fields: list[str]) -> None:
    """A rule by itself hits what its tree alone says, whatever the candidates were."""
    detections = [one({"f|contains": "ab"}), one({"f": "a*b"}), {"s": {"f|contains": "a b"}, "condition": "not s"}]
    rules = ruleset(folder, *detections)
    frame = pl.DataFrame({"f": fields}).with_columns(pl.col("f").str.to_lowercase().alias("~f"))
    expected = {
        (row, number)
        for number, rule in enumerate(rules.rules)
        for row, hit in enumerate(frame.select(hit=rule.expression)["hit"])
        if hit
    }
    found = rules.hits(events(*({"Channel": "Application", "f": text} for text in fields)))
    assert set(found.iter_rows()) == expected


def test_hostile_messages_cost_no_more_than_their_length(folder: Path) -> None:
    source = {"product": "linux"}
    rules = ruleset(folder, {"words": ["needle"], "condition": "words"}, source=source)
    deep = '{"event": {"dataset": "linux.sshd"}, "f": ' + '{"a": ' * 900 + '"a needle\\u0021"' + "}" * 900 + "}"
    long = "type=EXECVE msg=audit(1.1:1): " + "a" * 1_000_000 + " needle"
    lists = '{"event": {"dataset": "linux.sshd"}, "f": ' + "[" * 900 + '"needle"' + "]" * 900 + "}"
    many = '{"event": {"dataset": "linux.sshd"}, "f": [' + '{"a": "x"}, ' * 100_000 + '{"a": "needle"}]}'
    assert hits(rules, deep, long, lists, many, '{"event": ', "", "{}") == [True] * 4 + [False] * 3


@pytest.mark.parametrize(("pattern", "text"), [(r"[a&&b]", "&"), (r"[[]", "["), (r"\<", "<"), (r"[]x]", "]")])
def test_regular_expressions_mean_what_they_mean_in_python(pattern: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        assert re.search(pattern, text)
    assert pl.DataFrame({"x": [text]}).select(pl.col("x").str.contains(rust(pattern)))["x"].to_list() == [True]


def test_the_shared_rules_compile_and_hit_their_own_events(shared: Path) -> None:
    """Some rules keep events that were recorded along and that the rule does not describe: eight of them."""
    rules = load([str(shared / "sigma" / name) for name in ("rules", "rules-emerging-threats", "rules-threat-hunting")])
    assert len(rules.refused) <= 0.03 * len(rules.rules)
    kept = [orjson.loads(line) for line in (shared / "sigma" / "regression-dev.jsonl").read_bytes().splitlines()]
    found = rules.hits(events(*(one["event"] for one in kept)))
    pairs = {(row, rules.rules[number].id) for row, number in found.iter_rows()}
    missed = [one["rule_id"] for row, one in enumerate(kept) if (row, one["rule_id"]) not in pairs]
    assert {one["rule_id"] for one in kept} == {rule_id for _, rule_id in pairs} & {one["rule_id"] for one in kept}
    assert len(missed) <= 8
