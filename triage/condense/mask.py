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
_ZONE = r"(?:Z\b| ?[+-]\d{2}:?\d{2}\b|\b)"
_OCTETS = r"\.\d{1,3}\.\d{1,3}\.\d{1,3}\b"
_HEX = "[0-9a-fA-F]"
# What may stand before a number that is a value of its own, and no part of a word, path or domain.
_BEFORE = r"""(^|[\s=:(\[{,;"'#|])"""
_NUMBER = r"(?:0*[1-9]\d*(?:\.\d+)?|0+\.\d*[1-9]\d*)"  # never zero
_NUMBERS = rf"{_NUMBER}(?:[x/]{_NUMBER})*"
# Words whose number is its meaning, alone, after an underscore, or (the long ones) at the end of another word.
_CODES = (
    "error|event id|port|d(?:st|est)?_?port|dpt|exit(?:ed(?: with)?)?|rc|[ea]?uid|e?gid|signal|sig|level|type|res"
    "|result|reason"
)
_CODE = rf"""(?:(?:\b|_)(?:{_CODES})|code|status|errno|event_?id)["']?[ =:]{{1,3}}["']?"""
_SOURCE_PORT = r"""\bfrom \S+ port |\bs(?:ou)?(?:rce|rc)?[_ ]?port["']?[ =:]{1,3}["']?|\bspt="""
_NAME = r"[0-9a-f]+(?:[.@-](?:\w|<[a-z:]+>)+)*[.@-][A-Za-z<]"
_UNIT = r"(?:[numµ]?s|secs?|seconds?|[kKMGT]i?B|bytes?|B)"
_KEPT = "\ue000"  # stands before what is kept, so that it begins nothing, until the last mask takes it away

MASKS: Final = (
    Mask("mark of our own", _KEPT, ""),
    Mask("uuid", rf"\b{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}\b", "<uuid>"),
    Mask("hardware address", rf"\b(?:(?:{_HEX}{{2}}:){{5}}|(?:{_HEX}{{2}}-){{5}}){_HEX}{{2}}\b", "<mac>"),
    Mask("date and time", rf"\b\d{{4}}[-/.]\d{{2}}[-/.]\d{{2}}[T ,-]{_CLOCK}{_ZONE}", "<time>"),
    Mask("date and time with dots", r"\b\d{4}-\d{2}-\d{2}-\d{2}\.\d{2}\.\d{2}\.\d{1,9}\b", "<time>"),
    Mask("compact date and time", rf"\b\d{{8}}[- ]{_CLOCK}\b", "<time>"),
    Mask("short date and time", rf"\b\d{{1,2}}[-/.]\d{{2}}(?:[-/.]\d{{2,4}})? {_CLOCK}\b", "<time>"),
    Mask("web server time", rf"\b\d{{1,2}}/{_MONTH}/\d{{4}}:{_CLOCK}{_ZONE}", "<time>"),
    Mask("syslog time", rf"\b(?:{_DAY} )?{_MONTH} {{1,2}}\d{{1,2}} {_CLOCK}(?: \d{{4}}\b|\b)", "<time>"),
    Mask("clock", rf"\b{_CLOCK}\b", "<time>"),
    Mask("date", r"\b(?:19|20)\d{2}[-/.](?:0\d|1[0-2])[-/.](?:[0-2]\d|3[01])\b", "<time>"),
    Mask("audit time", r"\baudit\(\d+\.\d+:\d+\)", "audit(<time>)"),
    Mask("source port", rf"(?i)({_SOURCE_PORT}){_NUMBERS}\b", "$1<n>"),
    Mask("code, kept", rf"(?i)({_CODE}-?)((?:0x)?[0-9a-f]+\b)", f"$1{_KEPT}$2"),
    Mask("request status, kept", r'(HTTP/[\d.]+" )(\d{3})\b', f"$1{_KEPT}$2"),
    Mask("name that begins with digits, kept", rf"{_BEFORE}({_NAME})", f"$1{_KEPT}$2"),
    Mask("hex address", rf"(^|[^\w{_KEPT}])0[xX]{_HEX}+\b", "$1<hex>"),
    Mask("loopback address", rf"\b127{_OCTETS}", "<ip:loopback>"),
    Mask(
        "private address",
        r"\b(?:10\.\d{1,3}|192\.168|169\.254|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b",
        "<ip:private>",
    ),
    Mask("public address", rf"\b\d{{1,3}}{_OCTETS}", "<ip:public>"),
    Mask("private address, version 6", rf"\b(?i:fe[89ab]|f[cd][0-9a-f]){_HEX}?:[0-9a-fA-F:]{{2,}}\b", "<ip:private>"),
    Mask(
        "public address, version 6",
        rf"\b(?:[23]{_HEX}{{3}}(?::{_HEX}{{1,4}}){{0,5}}:(?::{_HEX}{{1,4}}){{1,6}}"
        rf"|(?:{_HEX}{{1,4}}:){{3,7}}(?::?{_HEX}{{1,4}}){{1,4}})\b",
        "<ip:public>",
    ),
    Mask("process id", r"\[0*[1-9]\d*\]", "[<n>]"),
    Mask("request id", rf"{_BEFORE}[0-9a-f]{{8,31}}\b", "$1<id>"),
    Mask("size or duration", rf"{_BEFORE}[-+]?{_NUMBER}( ?{_UNIT})\b", "$1<n>$2"),
    Mask("number, or some", rf"{_BEFORE}[-+]?{_NUMBERS}\b", "$1<n>"),
    Mask("hardware location", r"\bR\d{2}(?:-M\d(?:-[A-Z0-9]{1,3})*(?::[A-Z]\d{2}-[A-Z]\d{2})?)?\b", "<location>"),
    Mask("core dump", rf"\bcore\.{_NUMBER}\b", "core.<n>"),
    Mask("long number in a name", r"([_.-])-?\d{5,}(?:\.\d+)?\b", "$1<n>"),
    Mask("kept", _KEPT, ""),
)  # fmt: skip
"""In order: each sees what the ones before it left."""

_WITHIN = {
    "<time>": r"\d+\.\d+:\d+",
    "<hex>": rf"0[xX]{_HEX}+\b",
    "<id>": r"[0-9a-f]{8,31}\b",
    "<n>": rf"[-+]?{_NUMBER}(?:[x/]{_NUMBER})+\b(?![.:]\d)|[-+]?{_NUMBER}\b|[-+]?{_NUMBER}(?= ?{_UNIT}\b)"
    r"|-?\d+(?:\.\d+)?\b",
}
"""What masks that keep something around their placeholder put it in place of. Python's syntax."""

_PLACEHOLDERS = ("time", "uuid", "mac", "hex", "location", "ip:loopback", "ip:private", "ip:public", "id", "n")
PLACEHOLDER: Final = f"<(?:{'|'.join(_PLACEHOLDERS)})>"
STANDS_FOR: Final = {
    placeholder: "|".join(
        [placeholder, *(mask.pattern for mask in MASKS if mask.instead == placeholder), _WITHIN.get(placeholder, "")]
    ).rstrip("|")
    for placeholder in (f"<{name}>" for name in _PLACEHOLDERS)
}
"""placeholder -> a pattern (Python's syntax) of what it may stand for."""


def masked(text: pl.Expr) -> pl.Expr:
    """`text` (String) with every mask applied."""
    for mask in MASKS:
        text = text.str.replace_all(mask.pattern, mask.instead)
    return text
