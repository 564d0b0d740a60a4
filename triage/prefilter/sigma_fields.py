"""What a Sigma rule sees of an event: its fields by the names that rules use, and the log sources it comes from.

Fields come from the message: a JSON record (its leaves by dotted path; those of the usual envelopes of Windows events
by their own names), or a text in the combined access-log form, Squid's, or auditd's. Log sources follow from what the
event itself carries (channel, provider and event id; the marks of cloud audit records; the form of the text), or from
the canonical `service` column (`sshd`, `nginx`, `aws.cloudtrail`, `linux.process_creation`).

Promises: an event that carries nothing of the kind has no log source, and no Sigma rule sees it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import orjson

from triage.prefilter import sigma_sources
from triage.prefilter.sigma_sources import NAMES, LogSource

VERSION = 1
"""To be raised when a change here changes what rules see."""

Fields = dict[str, Any]

# The envelopes whose members rules name directly, the first that has a name wins; then the whole record by path.
_ENVELOPES = (
    ("Event", "EventData"), ("Event", "UserData"), ("Event", "System"), ("EventData",), ("UserData",), ("System",),
    ("winlog", "event_data"), ("winlog", "user_data"),
)  # fmt: skip
_RENAMED = {
    "winlog.channel": "Channel",
    "winlog.event_id": "EventID",
    "winlog.provider_name": "Provider_Name",
    "winlog.computer_name": "Computer",
    "SourceName": "Provider_Name",
    "ProviderName": "Provider_Name",
    "EventID.#text": "EventID",
}
_DEEPEST = 64
"""Records nested deeper are a list of their leaves there: whoever writes logs does not choose our stack."""

_ACCESS = re.compile(
    r'(?:(?P<vhost>[\w.:-]+) )?(?P<ip>[0-9a-fA-F.:]+|[\w.-]+) \S+ (?P<user>\S+) \[[^\]]+\] "(?P<method>[A-Z]+) '
    r'(?P<target>[^"\s]+)(?: (?P<version>HTTP/[\d.]+))?" (?P<status>\d{3}) (?P<bytes>\d+|-)'
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?'
)
_SQUID = re.compile(
    r"\d{9,}\.\d{3} +\d+ (?P<ip>\S+) [A-Z_]+/(?P<status>\d{3}) (?P<bytes>\d+) (?P<method>[A-Z_]+) (?P<target>\S+) \S+ "
    r"[A-Z_]+/\S+ \S+"
)
_AUDIT = re.compile(r"(?:node=\S+ )?type=(?P<type>[A-Z_0-9]+) msg=audit\([\d.:]+\): ?(?P<rest>.*)", re.DOTALL)
_PAIR = re.compile(r"""(?<![\w-])([\w-]+)=("[^"]*"|'[^']*'|\S*)""")
_UNTRUSTED = re.compile(r"a\d+|name|comm|exe|cwd|proctitle|path|cmd|data")
_CISCO = re.compile(r"%([A-Z][A-Z0-9_]*)-[0-7]-([A-Z0-9_]+):")
_CISCO_SERVICES = {"BGP": "bgp", "LDP": "ldp", "PARSER": "aaa", "AAA": "aaa", "SEC_LOGIN": "aaa"}
_PROGRAM = re.compile(
    r"(?:<\d+>)?(?:\w{3} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S+) \S+ ([\w-]+)(?:\([\w-]+\))?(?:\[\d+\])?:"
)


def read(message: str | None, service: str | None) -> tuple[Fields, tuple[LogSource, ...]]:
    """(fields by name, the log sources that the event belongs to)."""
    record: Any = None
    if message and message.startswith("{"):
        try:
            record = orjson.loads(message)
        except orjson.JSONDecodeError:
            record = None
    if isinstance(record, dict):
        fields = _flat(record)
        sources = sigma_sources.of_record(fields)
    else:
        fields, sources = _of_text(message or "")
    if service:
        sources = (*sources, *sigma_sources.of_name(service))
    return fields, sources


def leaves(value: Any) -> list[str]:
    """Every text, number and boolean in `value`, however deep, as text: where keywords are looked for."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left.extend(reversed(one.values()))
        elif isinstance(one, list):
            left.extend(reversed(one))
        elif one is not None:
            found.append(as_text(one))
    return found


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _flat(record: dict[str, Any]) -> Fields:
    fields: Fields = {}
    done: set[int] = set()
    for path in _ENVELOPES:
        if path[0] not in record:
            continue
        inner: Any = record
        for step in path:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            done.add(id(inner))
            if path[-1].lower() in ("userdata", "user_data") and len(inner) == 1:
                only = next(iter(inner.values()))
                inner = only if isinstance(only, dict) else inner
            _walk("", inner, fields, done)
            _named_data(inner.get("Data"), fields)
        elif isinstance(inner, list):
            _named_data(inner, fields)
    _walk("", record, fields, done)
    for old, new in _RENAMED.items():
        if old in fields:
            fields.setdefault(new, fields[old])
    _derive(fields)
    return fields


def _walk(prefix: str, record: dict[str, Any], fields: Fields, done: Collection[int] = (), depth: int = 0) -> None:
    """The leaves of `record` by dotted path (an XML element's attributes after an underscore), but for what is done."""
    for key, value in record.items():
        kind = type(value)
        if kind is str or kind is int:
            fields.setdefault(prefix + key, value)
        elif value is None:
            continue
        elif depth > _DEEPEST and kind in (dict, list):
            fields.setdefault(prefix + key, leaves(value))
        elif kind is dict:
            if id(value) not in done:
                _walk(f"{prefix[:-1]}_" if key == "#attributes" else f"{prefix}{key}.", value, fields, done, depth + 1)
        elif kind is list and value and isinstance(value[0], dict):
            several: dict[str, list[Any]] = {}
            for one in value:
                below: Fields = {}
                if isinstance(one, dict):
                    _walk(f"{prefix}{key}.", one, below, (), depth + 1)
                for inner, text in below.items():
                    if inner not in several:
                        several[inner] = [*_as_list(fields.get(inner))]
                    several[inner] += _as_list(text)
            fields.update(several)
        else:
            fields.setdefault(prefix + key, value)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _named_data(data: Any, fields: Fields) -> None:
    """`[{"@Name": "Image", "#text": "..."}]`, as converters from XML write EventData."""
    for one in data if isinstance(data, list) else ():
        if isinstance(one, dict):
            attributes = one.get("#attributes")
            holder = attributes if isinstance(attributes, dict) else one
            name = holder.get("Name") or holder.get("@Name") or holder.get("name")
            if isinstance(name, str) and one.get("#text") is not None:
                fields.setdefault(name, one["#text"])


def _derive(fields: Fields) -> None:
    """What the same event is called elsewhere: the hashes of Sysmon's one field, and process creation in Security."""
    hashes = fields.get("Hashes")
    if isinstance(hashes, str):
        for part in hashes.split(","):
            name, _, value = part.partition("=")
            fields.setdefault("Imphash" if name == "IMPHASH" else name.lower(), value)
    if "NewProcessName" in fields and str(fields.get("EventID")) == "4688":
        fields.setdefault("Image", fields["NewProcessName"])
        if fields.get("ParentProcessName") is not None:
            fields.setdefault("ParentImage", fields["ParentProcessName"])
        if fields.get("SubjectUserName") is not None:
            fields.setdefault("User", f"{fields.get('SubjectDomainName', '')}\\{fields['SubjectUserName']}")


def _of_text(message: str) -> tuple[Fields, tuple[LogSource, ...]]:
    if access := _ACCESS.match(message):
        target = access["target"]
        stem, _, query = target.partition("?")
        fields = {
            "c-ip": access["ip"],
            "cs-username": access["user"],
            "cs-method": access["method"],
            # SigmaHQ's web rules write paths and queries alike as `cs-uri-query`, so it is the whole target.
            "cs-uri-query": target,
            "c-uri": target,
            "cs-uri": target,
            "c-uri-query": query,
            "cs-uri-stem": stem,
            "c-uri-stem": stem,
            "cs-version": access["version"],
            "sc-status": access["status"],
            "sc-bytes": access["bytes"],
            "cs-host": access["vhost"],
            **dict.fromkeys(("cs-referer", "cs-referrer"), access["referer"]),
            **dict.fromkeys(("cs-user-agent", "c-useragent"), access["agent"]),
        }
        return {k: v for k, v in fields.items() if v is not None}, ((None, "webserver", None),)
    if squid := _SQUID.match(message):
        target = squid["target"]
        host = re.match(r"(?:\w+://)?(?:[^/@]*@)?([^/:]+)", target)
        path = target.partition("?")
        fields = {
            "c-ip": squid["ip"],
            "cs-method": squid["method"],
            "c-uri": target,
            "cs-uri": target,
            "c-uri-stem": path[0],
            "c-uri-query": path[2],
            "cs-host": host[1] if host else "",
            "sc-status": squid["status"],
            "sc-bytes": squid["bytes"],
        }
        if (dot := path[0].rpartition("/")[2].rpartition("."))[1]:
            fields["c-uri-extension"] = dot[2]
        return fields, ((None, "proxy", None),)
    if audit := _AUDIT.match(message):
        pairs = {"type": audit["type"]}
        for name, value in _PAIR.findall(audit["rest"]):
            pairs.setdefault(name, _audit_value(audit["type"], name, value))
        return dict(pairs), (("linux", None, "auditd"),)
    if cisco := _CISCO.search(message):
        own = _CISCO_SERVICES.get(cisco[1])
        return {}, (("cisco", None, "syslog"), *((("cisco", None, own),) if own else ()))
    if (program := _PROGRAM.match(message)) and program[1].lower() in NAMES:
        return {}, (*NAMES[program[1].lower()], ("linux", None, "syslog"))
    return {}, ()


def _audit_value(kind: str, name: str, value: str) -> str:
    """Quoted, or, for what a user may have chosen, hexadecimal without quotes."""
    if value[:1] in ("'", '"'):
        return value[1:-1]
    untrusted = _UNTRUSTED.fullmatch(name) and not (kind == "SYSCALL" and re.fullmatch(r"a\d", name))
    if untrusted and len(value) % 2 == 0 and re.fullmatch(r"[0-9A-F]{2,}", value):
        return bytes.fromhex(value).decode("utf-8", "backslashreplace").replace("\0", " ")
    return value
