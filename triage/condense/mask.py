"""Hide what cannot change a verdict, so that lines which differ only in it share a question.

Hidden: times and durations; UUIDs, hardware addresses, addresses in memory, ids of requests, blocks and jobs; process
ids, counters, sizes; ports of clients; rack and board numbers; a host's short name in a syslog header (hosts are
counted beside the verdict). Network addresses keep their class.

Never hidden: user names, commands, paths, domains, hashes (32 hex digits and more, and what is called a hash),
versions, ports that may be a service's, zero, and what stands after a word such as status, code, error or user, whose
value is what it says. Digits of other scripts than ASCII's are letters here.

Promise: masking twice changes nothing more.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple


class Mask(NamedTuple):
    name: str
    pattern: str  # what Rust's regular expressions and Python's both read
    instead: str
    needs: str = ""  # a cheaper pattern that is found wherever `pattern` is


_MARK = "\x01"  # "here begins no plain number": masks of addresses look for it, masks of numbers shun it
_PORT = "\x02"  # "here begins the port of a host"

_HEX = "[0-9a-fA-F]"
_APART = "\\x00\\x02-,<-@\\[-^`{-\\x7f"  # ASCII that is no part of a word, but for . / : ; - and the mark
# What may stand before a value of its own, that is no part of a word, path or domain.
_BEFORE = r"""(^|[\t-\r =:(\[{,;"'#|])"""
_PAIR = "(?:[1-9a-fA-F][0-9a-fA-F]|0[1-9a-fA-F])"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,:][0-9]{1,9})?"
_ZONE = r"(?:Z\b| (?:UTC|GMT|[AaPp][Mm])\b| ?[+-][0-9]{2}:?[0-9]{2}\b|\b)"
_SYSLOG = rf"{_MONTH} {{1,2}}[0-9]{{1,2}} {_CLOCK}(?: [0-9]{{4}})?"
_NAMED = "[0-9A-Za-z][0-9A-Za-z_-]*"  # a host's own short name: with a dot it is a domain
_LOGS = r"( (?:[0-9A-Za-z_][0-9A-Za-z_./()-]*\[(?:<n>|0)\]|kernel): )"
_LEVELS = "(?i:emerg|alert|crit|fatal|severe|err|warn|notice|info|debug|trace|audit|fail|success)"
_TIMES = (
    Mask(
        "hardware address",
        rf"(^|[{_APART}./;])(?:{_PAIR}(?::{_HEX}{{2}}){{5,14}}|{_HEX}{{2}}:{_PAIR}(?::{_HEX}{{2}}){{4,13}}"
        rf"|{_PAIR}(?:-{_HEX}{{2}}){{5}}|{_HEX}{{2}}-{_PAIR}(?:-{_HEX}{{2}}){{4}})\b",
        "${1}<mac>",
        needs=f"(?:[:-]{_HEX}{{2}}){{4}}",
    ),
    Mask(
        "time of a syslog header with its priority, marked",
        rf"^(<[0-9]{{1,3}}>){_SYSLOG} ",
        f"${{1}}<time>{_MARK} ",
        needs="^<[0-9]",
    ),
    Mask("time of a syslog header, marked", rf"^{_SYSLOG} ", f"<time>{_MARK} "),
    Mask("date and time", rf"\b[0-9]{{4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,2}}[T ,:-]{_CLOCK}{_ZONE}", "<time>"),
    Mask("date and time with dots", r"\b[0-9]{4}(?:-[0-9]{2}){3}(?:\.[0-9]{2}){2}\.[0-9]{1,9}\b", "<time>"),
    Mask("compact date and time", r"\b[0-9]{8}[- ][0-9]{1,2}(?::[0-9]{1,2}){2}(?:[.,:][0-9]{1,9})?\b", "<time>"),
    Mask("basic date and time", r"\b[0-9]{8}T[0-9]{6}(?:\.[0-9]{1,9})?(?:Z\b|\b)", "<time>"),
    Mask("short date and time", rf"\b[0-9]{{1,2}}[-/.][0-9]{{1,2}}(?:[-/.][0-9]{{2,4}})?,? {_CLOCK}{_ZONE}", "<time>"),
    Mask("web server time", rf"\b[0-9]{{1,2}}/{_MONTH}/[0-9]{{4}}:{_CLOCK}{_ZONE}", "<time>"),
    Mask("mail time", rf"\b(?:{_DAY}, )?[0-9]{{1,2}}[ -]{_MONTH}[ -][0-9]{{4}} {_CLOCK}{_ZONE}", "<time>"),
    Mask("syslog time", rf"\b(?:{_DAY} )?{_MONTH} {{1,2}}[0-9]{{1,2}} {_CLOCK}(?: [0-9]{{4}}\b|\b)", "<time>"),
    Mask("audit time", r"\b[0-9]{10}\.[0-9]{3}:[0-9]+\b", "<time>"),
    Mask("clock", rf"\b{_CLOCK}\b", "<time>"),
    Mask("time in digits", r"^[0-9]{6} [0-9]{6} ", "<time> "),
    Mask("seconds since 1970", r"^[0-9]{10} ", "<n> "),
    Mask(
        "process and thread of a logcat line",
        r"^(<time> +)[1-9][0-9]*( +)[1-9][0-9]*( +[A-Z] )",
        "${1}<n>${2}<n>${3}",
    ),
    Mask("process id", r"\[0*[1-9][0-9]*\]", "[<n>]"),
    Mask("block id", r"\bblk_-?[0-9]{5,}(?:_[0-9]+)?\b", "blk_<n>"),
)

_NUMBER = r"(?:0*[1-9][0-9]*(?:\.[0-9]+)?|0+\.0*[1-9][0-9]*)(?:[eE][-+]?[0-9]+)?"  # never zero
_NUMBERS = rf"{_NUMBER}(?:[x/_]{_NUMBER})*"
_UNIT = r"(?:[numµ]?s|secs?|seconds?|mins?|hrs?|[kKMGT]i?[Bb]|bytes?|B|[kMGT]?Hz|[kMG]bps)"
# Words whose value is its meaning: alone, after an underscore, or (the second list) also at the end of another word.
_CODES = (
    "err|error|event id|ret|rc|retval|return(?:ed)?(?: value)?|exit(?:ed)?(?: with)?(?: value)?|[aefs]{0,2}uid"
    "|[efs]{0,2}gid|signal|sig|level|res|result|reason|response|hresult|dsn"
    "|(?:d(?:e?st(?:ination)?)?|s(?:ou)?rc?(?:ce)?|ip|remote|local|server|listen)?_?ports?|[ds]pt"
    "|login|as|account|acct|commit|(?:terminated|ended|failed|finished|completed|died) with"
    "|md5|sha-?(?:1|256|384|512)?|hash(?:es)?|digest|checksum|crc|fingerprint"
)
_CODE = (
    rf"""(?i:(?:(?:\b|_)(?:{_CODES})|code|status|errno|event_?id|type|user(?:[_ ]?name|[_ ]?id)?)"""
    r"""["']?[ =:]{1,3}[\["'(<]?-?|http(?:/[0-9.]+)?["']? )"""
)
_HOST = (
    r"(?:\.[0-9A-Za-z-]+|\blocalhost|//[0-9A-Za-z_-]+|@[0-9A-Za-z_-]+|[0-9a-fA-F:]\]|<ip:[a-z]+>\]?|::|\*"
    r"|\b(?i:to|from|at|on|via|host|server) [0-9A-Za-z_-]+):"
)
_START6 = rf"(^|[{_APART}/;]|addr:)"
_MARKS = (
    Mask("level in a syslog header, kept", rf"^((?:<[0-9]{{1,3}}>)?<time>){_MARK}( {_LEVELS})", "${1}${2}"),
    Mask("host of a syslog header", rf"^((?:<[0-9]{{1,3}}>)?<time>){_MARK} {_NAMED}{_LOGS}", "${1} <host>${2}"),
    Mask(
        "host of a header before a syslog header",
        rf"^(<n> [0-9]{{4}}\.[0-9]{{2}}\.[0-9]{{2}} ){_NAMED}( <time> ){_NAMED}[/@]{_NAMED}{_LOGS}",
        "${1}<host>${2}<host>${3}",
    ),
    Mask(
        "hardware location",
        rf"{_BEFORE}R[0-9]{{2}}(?:-M[0-9](?:-[A-Z0-9]{{1,3}})*(?::[A-Z][0-9]{{2}}-[A-Z][0-9]{{2}})?)?\b",
        "${1}<location>",
    ),
    Mask("core dump", rf"{_BEFORE}core\.[1-9][0-9]*\b", "${1}core.<n>"),
    Mask(
        "job id",
        r"\b(appattempt|application|attempt|container|job|task)_[0-9]{10,}(?:_[0-9a-z]+)+\b",
        "${1}_<id>",
        needs="_[0-9]{10}",
    ),
    Mask(
        "data block", r"\b(rdd|broadcast)_[0-9]+(?:_(?:piece)?[0-9]+)*\b", "${1}_<id>", needs="(?:rdd|broadcast)_[0-9]"
    ),
    Mask(
        "date",
        rf"{_BEFORE}(?:19|20)[0-9]{{2}}[-/.](?:0[0-9]|1[0-2])[-/.](?:[0-2][0-9]|3[01])(\.?(?:[{_APART}:;]|$))",
        "${1}<time>${2}",
        needs="[-/.][01][0-9][-/.][0-3][0-9]",
    ),
    Mask("loopback address, version 6", rf"{_START6}::1\b", "${1}<ip:loopback>", needs=":[0-9a-fA-F]{0,4}:"),
    Mask(
        "private address, version 6",
        rf"{_START6}(?i:fe[89ab]|f[cd]{_HEX}){_HEX}:(?:{_HEX}{{0,4}}:){{0,6}}{_HEX}{{0,4}}(?:%[0-9a-z]+)?",
        "${1}<ip:private>",
        needs=":[0-9a-fA-F]{0,4}:",
    ),
    Mask(
        "many at once, version 6",
        rf"{_START6}[fF][fF]0{_HEX}:(?:{_HEX}{{0,4}}:){{0,6}}{_HEX}{{0,4}}",
        "${1}<ip:multicast>",
        needs=":[0-9a-fA-F]{0,4}:",
    ),
    Mask(
        "public address, version 6",
        rf"{_START6}[23]{_HEX}{{3}}"
        rf"(?:(?::{_HEX}{{1,4}}){{7}}|(?::{_HEX}{{1,4}}){{0,6}}::(?:{_HEX}{{1,4}}(?::{_HEX}{{1,4}}){{0,5}})?)",
        "${1}<ip:public>",
        needs=":[0-9a-fA-F]{0,4}:",
    ),
    Mask("what a code word names, kept", _CODE, f"${{0}}{_MARK}"),
    Mask("port of a host, kept", rf"({_HOST})([0-9]{{1,5}}\b)", f"${{1}}{_PORT}${{2}}", needs=":[0-9]"),
    Mask(
        "name that begins with digits, kept",
        r"\b[0-9a-f]*[0-9][0-9a-f]*(?:[.@-](?:[0-9A-Za-z_]|<[a-z:]+>)+)*[.@-][A-Za-z<\x80-\U0010ffff]",
        f"{_MARK}${{0}}",
    ),
    Mask(
        "path, service or user that begins with digits, kept",
        r"\b[0-9]+/[A-Za-z._\x80-\U0010ffff]|\b[0-9a-f]+ from [0-9a-fA-F.:]+ port ",
        f"{_MARK}${{0}}",
    ),
    Mask("dotted number, marked", r"\b[0-9]+(?:\.[0-9]+){2,}", f"{_MARK}${{0}}"),
    Mask(
        "uuid",
        rf"\b(?:{_PAIR}{_HEX}{{6}}|{_HEX}{{6}}{_PAIR})-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}\b",
        "<uuid>",
        needs=f"-{_HEX}{{4}}-",
    ),
    Mask("clock without seconds", rf"{_BEFORE}[0-2]?[0-9]:[0-5][0-9]\b", "${1}<time>", needs="[0-9]:[0-9]"),
    Mask("duration", rf"{_BEFORE}(?:[0-9.]+(?:[dhm]|[numµ]?s)){{2,}}\b", "${1}<time>", needs="[dhms][0-9.]"),
    Mask("number, or some", rf"{_BEFORE}[-+]?(?:{_NUMBERS}\b|{_NUMBER}({_UNIT})\b)", "${1}<n>${2}"),
)

_SOURCE = rf"""(?i:\bfrom [^ ]+ port |\b(?:s(?:ou)?(?:rce|rc)?[_ ]?|ip)port["']?[ =:]{{1,3}}["']?|\bspt=){_MARK}?"""
# Linux and IANA hand these out to whoever asks; below them a port may be a service's.
_EPHEMERAL = "(?:3276[89]|327[7-9][0-9]|32[89][0-9]{2}|3[3-9][0-9]{3}|[4-6][0-9]{4})"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# Around an address, which else is part of a name or of a longer number.
_START = rf"(^|[{_APART}/:;]|::ffff:){_MARK}+"
_END = rf"(\.?(?:[{_APART}/:;]|$))"
_SHARED = r"100\.(?:6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])"  # RFC 6598
_NUMBERS_AND_IDS = (
    Mask("source port", rf"({_SOURCE}){_NUMBERS}\b", "${1}<n>"),
    Mask("port of a client", rf"{_PORT}{_EPHEMERAL}\b", "<n>"),
    Mask("loopback address", rf"{_START}127(?:\.{_OCTET}){{3}}{_END}", "${1}<ip:loopback>${2}"),
    Mask(
        "private address",
        rf"{_START}(?:(?:192\.168|169\.254|172\.(?:1[6-9]|2[0-9]|3[01])|{_SHARED})(?:\.{_OCTET}){{2}}"
        rf"|10(?:\.{_OCTET}){{3}}){_END}",
        "${1}<ip:private>${2}",
    ),
    Mask(
        "many at once",
        rf"{_START}(?:2(?:2[4-9]|3[0-9])(?:\.{_OCTET}){{3}}|255(?:\.255){{3}}){_END}",
        "${1}<ip:multicast>${2}",
        needs=f"{_MARK}2[235]",
    ),
    Mask(
        "public address",
        rf"{_START}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]?)(?:\.{_OCTET}){{3}}{_END}",
        "${1}<ip:public>${2}",
    ),
    Mask("hex address", rf"(^|[{_APART}./:;-])0[xX]0*[1-9a-fA-F]{_HEX}*\b", "${1}<hex>"),
    Mask(
        "zeros, or a word with a number, kept",
        rf"{_BEFORE}(0{{8,}}\b|(?:[a-f]{{1,12}}|[A-F]{{1,12}})[0-9]{{0,11}}\b)",
        f"${{1}}{_MARK}${{2}}",
    ),
    Mask("request id", rf"{_BEFORE}(?:[0-9a-f]{{8,31}}|[0-9A-F]{{8,31}})\b", "${1}<id>"),
    Mask("number that no person types", r"_-?[0-9]{16,}\b", "_<n>"),
    Mask("marks", f"[{_MARK}{_PORT}]", ""),
)

STAGES: Final = ((Mask("mark of our own", f"[{_MARK}{_PORT}]", "<mark>"), *_TIMES), _MARKS, _NUMBERS_AND_IDS)
"""The masks in order, each of which sees what the ones before it left. After each stage many texts have become one."""

MASKS: Final = tuple(mask for stage in STAGES for mask in stage)

_NAMED_COMMAND = r"""(?i:command(?:[_ ]?line)?|cmd(?:_?line)?|proctitle|argv|exec(?:ve|uting)?)["']? ?[=:(]"""
_SHELL = (
    r"\b(?i:(?:cmd|powershell|pwsh|bash|sh)(?:\.exe)? [-/](?:c|k|enc|command)\b"
    r"|(?:chmod|chown|kill|nc|ncat|netcat|iptables|wget|curl) [-/0-9a-z])"
)
VERBATIM: Final = (
    rf"""{_NAMED_COMMAND}(?: ?"(?:[^"\\]|\\.)*"| ?[^\t-\r {{\["][^\n]*)|{_SHELL}[^\n]*"""
    rf"""|\b(?:(?:{_HEX}{{2}}:){{15,}}{_HEX}{{2}}|(?:00:){{5}}00)\b"""
)
"""Commands to the end of their quotes or line, fingerprints in pairs, nobody's hardware address: no mask sees them."""

VERBATIM_NEEDS: Final = (_NAMED_COMMAND, _SHELL, f"(?::{_HEX}{{2}}){{8}}|(?::00){{5}}")
"""One of these is found wherever VERBATIM is."""

VERSION: Final = "masks-" + hashlib.blake2b(repr((MASKS, VERBATIM)).encode(), digest_size=4).hexdigest()
"""Changes with the masks, by itself."""

PLACEHOLDERS: Final = (
    "<time>", "<uuid>", "<mac>", "<host>", "<hex>", "<location>", "<id>", "<n>", "<mark>",
    "<ip:loopback>", "<ip:private>", "<ip:public>", "<ip:multicast>",
)  # fmt: skip
