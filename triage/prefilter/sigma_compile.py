"""Sigma rules from their files to what `sigma.Ruleset` runs. pySigma parses rules, values, modifiers and conditions.

Promises: what cannot be expressed exactly is refused, by the rule's id and with the reason; nothing is approximated.
A hit of a high or critical rule settles as escalate, of a low or medium one (or one without a level) as review; an
informational one marks. Fetches nothing: pySigma's ATT&CK data, which it would download, is not touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import polars as pl
import yaml
from sigma.collection import SigmaCollection
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule as Parsed
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from triage.errors import WrongInput
from triage.prefilter.sigma import Ruleset, SigmaRule
from triage.prefilter.sigma_exact import Inexact, Tied, carry_out
from triage.prefilter.sigma_regex import END, rust
from triage.prefilter.sigma_tree import KEYWORDS, All, Either, Not, Test, Tree, columns, expression, fold

# libyaml where it is there: ten times as fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EXACT = 1 << 53  # larger numbers are not exact as Float64

_CATEGORY = {
    "webserver": "web", "proxy": "web", "antivirus": "malware", "network_connection": "network", "dns": "network",
    "dns_query": "network", "firewall": "network",
}  # fmt: skip


class _Refused(Exception):
    """This rule has no exact form here; the message says why."""


def load(paths: Sequence[str]) -> Ruleset:
    """The rules of `paths` (files, or folders with *.yml and *.yaml below them), in order.

    Raises WrongInput for a path that is missing or a file that is not YAML. A rule that cannot be run is in `refused`.
    """
    rules: dict[str, SigmaRule] = {}
    refused: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of Python's own engine, which pySigma asks whether it can read
        _load(paths, rules, refused)
    return Ruleset(tuple(rules.values()), tuple(refused.items()))


def _load(paths: Sequence[str], rules: dict[str, SigmaRule], refused: dict[str, str]) -> None:
    for path in _files(paths):
        for document in _documents(path):
            rule_id = str(document.get("id") or f"{path.name} without id")
            try:
                if rule_id in rules:
                    raise _Refused("the id is used twice")
                rules[rule_id] = _compiled(document)
            except _Refused as why:
                refused[rule_id] = str(why)
            except SigmaError as why:
                refused[rule_id] = " ".join(str(why).split())


def _files(paths: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix in (".yml", ".yaml")) if path.is_dir() else [path]
        if not inside:
            raise WrongInput("no Sigma rules there", where=str(path), expected="*.yml", next="check [prefilter] sigma")
        files += inside
    return files


def _documents(path: Path) -> list[dict[str, Any]]:
    """The rules of one file, those that stand only for a correlation marked so."""
    try:
        documents = [one for one in yaml.load_all(path.read_bytes(), _Loader) if one is not None]
    except FileNotFoundError:
        raise WrongInput("no such file", where=str(path), expected="a Sigma rule", next="check the path") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as problem:
        raise WrongInput(f"not YAML: {problem}", where=str(path), expected="a Sigma rule") from None
    if not all(isinstance(one, dict) for one in documents):
        raise WrongInput("not a Sigma rule", where=str(path), expected="a YAML map with title, logsource and detection")
    for one in documents:
        correlation = one.get("correlation")
        if isinstance(correlation, dict) and not correlation.get("generate", one.get("generate")):
            named = correlation.get("rules") or []
            for other in documents:
                if {other.get("id"), other.get("name")} & set(map(str, named if isinstance(named, list) else [named])):
                    other["action"] = "correlated"
    return documents


def _compiled(document: dict[str, Any]) -> SigmaRule:
    if "correlation" in document:
        raise _Refused("correlation rules look at more than one event")
    if "filter" in document:
        raise _Refused("filter rules are not applied")
    if "action" in document:
        why = (
            "stands only for a correlation rule" if document["action"] == "correlated" else "rule collections by action"
        )
        raise _Refused(why)
    if not document.get("id"):
        raise _Refused("no id")
    if "timeframe" in (document.get("detection") or ()):
        raise _Refused("a time frame looks at more than one event")
    (parsed,) = SigmaCollection.from_dicts([document]).rules
    assert isinstance(parsed, Parsed)
    try:
        for detection in parsed.detection.detections.values():
            carry_out(detection)
    except Inexact as why:
        raise _Refused(str(why)) from None
    trees = [_tree(condition.parsed) for condition in parsed.detection.parsed_condition]
    tree = trees[0] if len(trees) == 1 else Either(tuple(trees))
    try:
        pl.DataFrame(schema=dict.fromkeys(columns(tree), pl.String)).select(expression(tree))
    except pl.exceptions.PolarsError as problem:
        raise _Refused(str(problem).splitlines()[0]) from None
    level = parsed.level.name.lower() if parsed.level else None
    source = parsed.logsource
    return SigmaRule(
        id=str(parsed.id),
        logsource=(source.product, source.category, source.service),
        tree=tree,
        settle=None if level == "informational" else "escalate" if level in ("high", "critical") else "review",
        mark=True if level == "informational" else None,
        because=parsed.title,
        severity=cast(Literal["informational", "low", "medium", "high", "critical"] | None, level),
        category=_CATEGORY.get(source.category or ""),
        tags=tuple(map(str, parsed.tags)),
    )


def _tree(condition: Any) -> Tree:
    match condition:
        case ConditionAND():
            return All(tuple(map(_tree, condition.args)))
        case ConditionOR():
            return Either(tuple(map(_tree, condition.args)))
        case ConditionNOT():
            return Not(_tree(condition.args[0]))
        case ConditionFieldEqualsValueExpression():
            return _test(condition.field, condition.value)
        case ConditionValueExpression():
            return _test(None, condition.value)
        case _:
            raise _Refused(f"the condition holds {type(condition).__name__}")


def _test(field: str | None, value: Any) -> Tree:  # noqa: PLR0911, PLR0912  one arm for each of pySigma's kinds of value
    """One value of one field; `field` is None for a keyword, which is looked for anywhere in the message."""
    name = KEYWORDS if field is None else field
    match value:
        case SigmaExpansion():
            return Either(tuple(_test(field, one) for one in value.values))
        case SigmaString():
            return _text(name, value, anywhere=field is None)
        case SigmaBool() | SigmaNull() | SigmaCIDRExpression() | SigmaCompareExpression() if field is None:
            raise _Refused(f"a keyword of the kind {type(value).__name__}")
        case SigmaRegularExpression():
            return _regular_expression(name, value)
        case SigmaTimestampPart():
            raise _Refused("parts of a time are not compared")
        case SigmaNumber():
            if field is None:
                return Test(name, "contains", str(value.number))
            return Test(name, "number", _exact(value.number))
        case SigmaCompareExpression():
            if isinstance(value.number, SigmaTimestampPart) or value.op.name.lower() not in ("lt", "lte", "gt", "gte"):
                raise _Refused(f"the comparison {value.op.name.lower()} of {type(value.number).__name__}")
            return Test(name, value.op.name.lower(), _exact(value.number.number))
        case SigmaBool():
            return Test(name, "bool", value.boolean)
        case SigmaNull():
            return Test(name, "null")
        case SigmaExists():
            return Test(name, "exists", value.exists)
        case SigmaCIDRExpression():
            return Test(name, "cidr", str(value.network))
        case SigmaFieldReference():
            kind = {(False, False): "equals", (True, False): "starts", (False, True): "ends", (True, True): "contains"}
            return Test(name, kind[value.starts_with, value.ends_with] + "_field", value.field)
        case _:
            raise _Refused(f"values of the kind {type(value).__name__}")


def _exact(number: float) -> float:
    if abs(number) >= _EXACT:
        raise _Refused("a number too large to be compared exactly")
    return number


def _text(name: str, value: SigmaString, *, anywhere: bool) -> Test:  # noqa: PLR0911  one arm for each place of wildcards
    cased = isinstance(value, SigmaCasedString)
    parts: list[str | SpecialChars] = []
    for part in value.s:
        if isinstance(part, str):
            text = part if cased else fold(part)
            parts[-1:] = [parts[-1] + text] if parts and isinstance(parts[-1], str) else [*parts[-1:], text]
        elif isinstance(part, SpecialChars):
            if part != SpecialChars.WILDCARD_MULTI or parts[-1:] != [part]:
                parts.append(part)
        else:
            raise _Refused("placeholders (expand) have no values here")
    many = SpecialChars.WILDCARD_MULTI
    if anywhere:
        parts = [*([] if parts[:1] == [many] else [many]), *parts, *([] if parts[-1:] == [many] else [many])]
    match parts:
        case []:
            return Test(name, "equals", "", cased)
        case [SpecialChars.WILDCARD_MULTI] | [SpecialChars.WILDCARD_MULTI, SpecialChars.WILDCARD_MULTI]:
            return Test(name, "exists", True)
        case [str(text)]:
            return Test(name, "equals", text, cased)
        case [SpecialChars.WILDCARD_MULTI, str(text), SpecialChars.WILDCARD_MULTI]:
            return Test(name, "contains", text, cased)
        case [str(text), SpecialChars.WILDCARD_MULTI]:
            return Test(name, "starts", text, cased)
        case [SpecialChars.WILDCARD_MULTI, str(text)]:
            return Test(name, "ends", text, cased)
    body = "".join(_literal(part) if isinstance(part, str) else ".*" if part == many else "." for part in parts)
    return Test(name, "like", rf"(?s)\A{body}\z", cased, tuple(part for part in parts if isinstance(part, str)))


def _literal(text: str) -> str:
    return "".join("\\" + letter if letter in r"\.+*?()|[]{}^$#&-~" else letter for letter in text)


def _regular_expression(name: str, value: SigmaRegularExpression) -> Test:
    if value.contains_placeholder():
        raise _Refused("placeholders (expand) have no values here")
    flags = "".join(sorted(SigmaRegularExpression.sigma_to_re_flag[flag] for flag in value.flags))
    try:
        pattern = rust(str(value.regexp), multiline="m" in flags)
    except ValueError as why:
        raise _Refused(f"regular expression: {why}") from None
    if isinstance(value, Tied):
        pattern = (r"\A" if value.start else "") + f"(?:{pattern})" + (END if value.end else "")
    pattern = (f"(?{flags})" if flags else "") + pattern
    try:
        pl.DataFrame({"x": [""]}).select(pl.col("x").str.contains(pattern))
    except pl.exceptions.PolarsError as problem:
        reasons = [line.removeprefix("error: ") for line in str(problem).splitlines() if line.startswith("error: ")]
        raise _Refused(f"regular expression: {reasons[0] if reasons else 'not one of Rust'}") from None
    return Test(name, "matches", pattern, cased=True)
