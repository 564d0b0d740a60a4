"""Hide what cannot change a verdict, so that lines which differ only in it share a question.

Covered: times, UUIDs, addresses in memory, request ids, process ids, counters, sizes and durations, source ports,
rack and board numbers; network addresses keep their class (loopback, private, public). Not covered, on purpose: user
names, commands, paths, domains, hashes of files (32 hex digits and more), zero, and numbers after a word such as
status, code, error, uid or port, whose value is what they say.

Promise: masking twice changes nothing more.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import polars as pl

VERSION: Final = "masks-1"


class Mask(NamedTuple):
    name: str
    pattern: str  # Rust regular expression
    instead: str


_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,:]\d{1,9})?"
_ZONE = r"(?:Z\b| ?[+-]\d{2}:?\d{2}\b)?"
_OCTETS = r"\.\d{1,3}\.\d{1,3}\.\d{1,3}\b"
# What may stand before a number that is a value of its own, and no part of a word, path or domain.
_BEFORE = r"""(^|[\s=:(\[{,;"'#|])"""
# Words whose number is its meaning; the mark stands before a number that is kept until the last mask takes it away.
_CODES = "status|code|error|errno|event_?id|port|exit|rc|[ea]?uid|e?gid|signal|sig|level|type|result|res|reason"
_CODE = rf"""\b(?:{_CODES})["']?[ =:]{{1,3}}["']?"""
_UNIT = r"(?:[num\x{b5}]?s|secs?|seconds?|[kKMGT]i?B|bytes?|B)"
_KEPT = "\ue000"

MASKS: Final = (
    Mask("date and time", rf"\b\d{{4}}[-/.]\d{{2}}[-/.]\d{{2}}[T ,-]{_CLOCK}{_ZONE}", "<time>"),
    Mask("date and time with dots", r"\b\d{4}-\d{2}-\d{2}-\d{2}\.\d{2}\.\d{2}\.\d{1,9}\b", "<time>"),
    Mask("compact date and time", rf"\b\d{{8}}[- ]{_CLOCK}\b", "<time>"),
    Mask("short date and time", rf"\b\d{{1,2}}[-/.]\d{{2}}(?:[-/.]\d{{2,4}})? {_CLOCK}", "<time>"),
    Mask("web server time", rf"\b\d{{1,2}}/{_MONTH}/\d{{4}}:{_CLOCK}{_ZONE}", "<time>"),
    Mask("syslog time", rf"\b(?:{_DAY} )?{_MONTH} {{1,2}}\d{{1,2}} {_CLOCK}(?: \d{{4}}\b)?", "<time>"),
    Mask("clock", rf"\b{_CLOCK}\b", "<time>"),
    Mask("date", r"\b(?:19|20)\d{2}[-/.](?:0\d|1[0-2])[-/.](?:[0-2]\d|3[01])\b", "<time>"),
    Mask("audit time", r"\baudit\(\d+\.\d+:\d+\)", "audit(<time>)"),
    Mask("uuid", r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b", "<uuid>"),
    Mask("hardware address", r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b", "<mac>"),
    Mask("hex address", r"\b0[xX][0-9a-fA-F]+\b", "<hex>"),
    Mask("loopback address", rf"\b127{_OCTETS}", "<ip:loopback>"),
    Mask(
        "private address",
        r"\b(?:10\.\d{1,3}|192\.168|169\.254|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b",
        "<ip:private>",
    ),
    Mask("public address", rf"\b\d{{1,3}}{_OCTETS}", "<ip:public>"),
    Mask("private address, version 6", r"\b(?i:fe[89ab]|f[cd][0-9a-f])[0-9a-fA-F]?:[0-9a-fA-F:]{2,}\b", "<ip:private>"),
    Mask("public address, version 6", r"\b(?:[0-9a-fA-F]{1,4}:){3,7}(?::?[0-9a-fA-F]{1,4}){1,4}\b", "<ip:public>"),
    Mask("source port", r"\b(from \S+ port) \d{1,5}\b", "$1 <n>"),
    Mask("process id", r"\[\d+\]", "[<n>]"),
    Mask("request id", rf"{_BEFORE}[0-9a-f]{{8,31}}\b", "$1<id>"),
    Mask("size or duration", rf"{_BEFORE}\d+(?:\.\d+)?( ?{_UNIT})\b", "$1<n>$2"),
    Mask("code, kept", rf"(?i)({_CODE})(-?\d)", f"$1{_KEPT}$2"),
    Mask("request status, kept", r'(HTTP/[\d.]+" )(\d{3})\b', f"$1{_KEPT}$2"),
    Mask("number", rf"{_BEFORE}[-+]?(?:[1-9]\d*(?:\.\d+)?|0\.\d+)\b", "$1<n>"),
    Mask("number in a list", r"(<n>[,x/])\d+\b", "$1<n>"),
    Mask("hardware location", r"\bR\d{2}(?:-M\d(?:-[A-Z0-9]{1,3})*(?::[A-Z]\d{2}-[A-Z]\d{2})?)?\b", "<location>"),
    Mask("core dump", r"\bcore\.\d+\b", "core.<n>"),
    Mask("long number in a name", r"([_.-])-?\d{5,}\b", "$1<n>"),
    Mask("kept", f"{_KEPT}(-?\\d)", "$1"),
)  # fmt: skip
"""In order: each sees what the ones before it left."""

PLACEHOLDER: Final = r"<(?:time|uuid|mac|hex|location|ip:loopback|ip:private|ip:public|id|n)>"


def masked(text: pl.Expr) -> pl.Expr:
    """`text` (String) with every mask applied."""
    for mask in MASKS:
        text = text.str.replace_all(mask.pattern, mask.instead)
    return text
