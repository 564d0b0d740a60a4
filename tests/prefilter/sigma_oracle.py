"""What Sigma's specification says a detection means, in the plainest Python: slow, and written without our compiler.

https://sigmahq.io/sigma-specification (rules, modifiers). Where it leaves a case open, docs/jobs.md says ours: JSON
null and an empty list are a missing field, a list meets a test by any of its values, a value that is not text is
compared as JSON writes it.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import operator
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

Record = dict[str, Any]
Detection = dict[str, Any]
DASHES = "-/\N{EN DASH}\N{EM DASH}\N{HORIZONTAL BAR}"
ORDER = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}
FLAGS = {"i": re.I, "ignorecase": re.I, "m": re.M, "multiline": re.M, "s": re.S, "dotall": re.S}


def holds(condition: Any, detection: Detection, record: Record) -> bool:
    """`condition`: the name of a selection, or (not, x), (and, x, y), (or, x, y), (1 | any | all, pattern)."""
    match condition:
        case str(name):
            return selected(detection[name], record)
        case ("not", part):
            return not holds(part, detection, record)
        case ("and", *parts):
            return all(holds(part, detection, record) for part in parts)
        case ("or", *parts):
            return any(holds(part, detection, record) for part in parts)
        case (quantifier, pattern):
            names = [n for n in detection if fnmatchcase(n, "[!_]*" if pattern == "them" else pattern)]
            return (all if quantifier == "all" else any)([selected(detection[name], record) for name in names])
    raise AssertionError(condition)


def written(condition: Any) -> str:
    match condition:
        case str(name):
            return name
        case ("not", part):
            return f"not ({written(part)})"
        case ("and" | "or" as word, *parts):
            return f" {word} ".join(f"({written(part)})" for part in parts)
        case (quantifier, pattern):
            return f"{quantifier} of {pattern}"
    raise AssertionError(condition)


def selected(selection: Any, record: Record) -> bool:
    """A map is met by all of its items, a list by any of its members; a plain value is a keyword."""
    if isinstance(selection, dict):
        return all(met(key, value, record) for key, value in selection.items())
    if isinstance(selection, list):
        return any(selected(one, record) for one in selection)
    return met("", selection, record)


def met(key: str, value: Any, record: Record) -> bool:
    field, *modifiers = key.split("|")
    values = value if isinstance(value, list) else [value]
    answers = [one(field, modifiers, each, record) for each in values or [None]]
    answer = all(answers) if "all" in modifiers else any(answers)
    return not answer if "neq" in modifiers else answer


def one(field: str, modifiers: list[str], value: Any, record: Record) -> bool:  # noqa: PLR0911
    have = list(texts(record.get(field) if field else record))
    if "exists" in modifiers:
        return bool(have) == value
    if "re" in modifiers:
        flags = sum({FLAGS[name] for name in modifiers if name in FLAGS}, re.RegexFlag(0))
        head = r"\A" if "startswith" in modifiers else ""
        tail = r"(?=\n?\Z)" if "endswith" in modifiers else ""
        return any(re.search(f"{head}(?:{value}){tail}", text, flags) for text in have)
    if "cidr" in modifiers:
        return any(inside(text, value) for text in have)
    for name, compares in ORDER.items():
        if name in modifiers:
            return any(compares(float(text), value) for text in have if is_number(text))
    if "fieldref" in modifiers:
        pairs = [(a.lower(), b.lower()) for a in have for b in texts(record.get(value))]
        if "contains" in modifiers:
            return any(b in a for a, b in pairs)
        if "startswith" in modifiers:
            return any(a.startswith(b) for a, b in pairs)
        return any(a.endswith(b) if "endswith" in modifiers else a == b for a, b in pairs)
    if value is None:
        return not have
    if isinstance(value, bool):
        return any(text.lower() == str(value).lower() for text in have)
    if isinstance(value, int | float) and field:
        return any(float(text) == value for text in have if is_number(text))
    pattern = spelled(str(value), modifiers, keyword=not field)
    case = 0 if "cased" in modifiers else re.IGNORECASE
    return any(re.fullmatch(pattern, text, re.DOTALL | case) for text in have)


def texts(value: Any) -> Iterator[str]:
    """Every value in it, as text."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)
    elif value is not None:
        yield value if isinstance(value, str) else json.dumps(value)


def is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def inside(text: str, network: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any(one in ipaddress.ip_network(network) for one in (address, mapped) if one is not None)


def spelled(value: str, modifiers: list[str], *, keyword: bool) -> str:
    """The regular expression of a value: its characters, `*` and `?` where they are not escaped, then each modifier."""
    marks = marked(value)  # (character, whether it is a wildcard)
    alternatives = [("", marks, "")]
    for name in modifiers:
        if name == "contains":
            alternatives = [(".*", middle, ".*") for _, middle, _ in alternatives]
        elif name == "startswith":
            alternatives = [(before, middle, ".*") for before, middle, _ in alternatives]
        elif name == "endswith":
            alternatives = [(".*", middle, after) for _, middle, after in alternatives]
        elif name == "windash":
            alternatives = [(before, dashed(middle), after) for before, middle, after in alternatives]
        elif name in ("wide", "utf16be", "utf16", "base64", "base64offset"):
            plain = ["".join(character for character, _ in middle) for _, middle, _ in alternatives]
            alternatives = [("", [(c, False) for c in text], "") for p in plain for text in encoded(p, name, modifiers)]
    around = ".*" if keyword else ""
    return "|".join(around + before + regex(middle) + after + around for before, middle, after in alternatives)


def marked(value: str) -> list[tuple[str, bool]]:
    """A backslash before *, ? or a backslash takes its meaning away; before anything else it is a backslash."""
    found, i = [], 0
    while i < len(value):
        if value[i] == "\\" and value[i + 1 : i + 2] in ("*", "?", "\\"):
            found.append((value[i + 1], False))
            i += 2
        else:
            found.append((value[i], value[i] in "*?"))
            i += 1
    return found


def dashed(marks: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """A dash that begins a word, and no word ends before it, may be any of the five."""
    found = []
    for i, (character, special) in enumerate(marks):
        before, after = "".join(marks[i - 1][0] if i else ""), "".join(m[0] for m in marks[i + 1 : i + 2])
        begins = character in "-/" and not is_word(before) and is_word(after)
        found.append((DASHES if begins else character, special))
    return found


def is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def regex(marks: list[tuple[str, bool]]) -> str:
    wild = {"*": ".*", "?": "."}
    return "".join(wild[c] if special else f"[{re.escape(c)}]" if c == DASHES else re.escape(c) for c, special in marks)


def encoded(plain: str, name: str, modifiers: list[str]) -> list[str]:
    """The base64 forms of a text in the encoding that stands before; the encodings by themselves are for base64."""
    if not name.startswith("base64"):
        return [plain]
    raw = plain.encode()
    for before in modifiers[: modifiers.index(name)]:
        if before in ("wide", "utf16be", "utf16"):
            order = "utf-16be" if before == "utf16be" else "utf-16le"
            raw = (b"\xff\xfe" if before == "utf16" else b"") + plain.encode(order)
    if name == "base64":
        return [base64.b64encode(raw).decode()]
    # The characters that depend on the text alone, when it begins 0, 1 or 2 bytes into a group of three.
    return [
        base64.b64encode(bytes(i) + raw + bytes(3)).decode()[(8 * i + 5) // 6 : 8 * (i + len(raw)) // 6]
        for i in range(3)
    ]
