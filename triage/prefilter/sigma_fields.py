"""What a Sigma rule sees of an event: its fields by the names that rules use, and the log sources it comes from.

Fields come from the message: a JSON record (its leaves by dotted path; those of the usual envelopes of Windows events
by their own names), or a text in the combined access-log form, Squid's, or auditd's. Log sources follow from what the
event itself carries (channel, provider and event id; the marks of cloud audit records; the form of the text), or from
the canonical `service` column (`sshd`, `nginx`, `aws.cloudtrail`, `linux.process_creation`).

Promises: an event that carries nothing of the kind has no log source, and no Sigma rule sees it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

VERSION = 1
"""To be raised when a change here changes what rules see."""

LogSource = tuple[str | None, str | None, str | None]
"""(product, category, service)."""

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
_SYSMON, _SECURITY = "microsoft-windows-sysmon/operational", "security"
_POWERSHELL, _CLASSIC = "microsoft-windows-powershell/operational", "windows powershell"
# Category -> (channel, event id, what EventType must be); from the Sysmon schema and Sigma's log source guide.
_CATEGORIES: dict[str, tuple[tuple[str, int, tuple[str, ...]], ...]] = {
    "process_creation": ((_SYSMON, 1, ()), (_SECURITY, 4688, ())),
    "file_change": ((_SYSMON, 2, ()),),
    "network_connection": ((_SYSMON, 3, ()),),
    "process_termination": ((_SYSMON, 5, ()),),
    "driver_load": ((_SYSMON, 6, ()),),
    "image_load": ((_SYSMON, 7, ()),),
    "create_remote_thread": ((_SYSMON, 8, ()),),
    "raw_access_thread": ((_SYSMON, 9, ()),),
    "process_access": ((_SYSMON, 10, ()),),
    "file_event": ((_SYSMON, 11, ()),),
    "registry_add": ((_SYSMON, 12, ("CreateKey",)),),
    "registry_delete": ((_SYSMON, 12, ("DeleteKey", "DeleteValue")),),
    "registry_set": ((_SYSMON, 13, ()),),
    "registry_rename": ((_SYSMON, 14, ()),),
    "registry_event": ((_SYSMON, 12, ()), (_SYSMON, 13, ()), (_SYSMON, 14, ())),
    "create_stream_hash": ((_SYSMON, 15, ()),),
    "sysmon_status": ((_SYSMON, 4, ()), (_SYSMON, 16, ())),
    "pipe_created": ((_SYSMON, 17, ()), (_SYSMON, 18, ())),
    "wmi_event": ((_SYSMON, 19, ()), (_SYSMON, 20, ()), (_SYSMON, 21, ())),
    "dns_query": ((_SYSMON, 22, ()),),
    "file_delete": ((_SYSMON, 23, ()), (_SYSMON, 26, ())),
    "clipboard_capture": ((_SYSMON, 24, ()),),
    "process_tampering": ((_SYSMON, 25, ()),),
    "file_block_executable": ((_SYSMON, 27, ()),),
    "file_block_shredding": ((_SYSMON, 28, ()),),
    "file_executable_detected": ((_SYSMON, 29, ()),),
    "sysmon_error": ((_SYSMON, 255, ()),),
    "ps_module": ((_POWERSHELL, 4103, ()), ("powershellcore/operational", 4103, ())),
    "ps_script": ((_POWERSHELL, 4104, ()), ("powershellcore/operational", 4104, ())),
    "ps_classic_start": ((_CLASSIC, 400, ()),),
    "ps_classic_provider_start": ((_CLASSIC, 600, ()),),
    "ps_classic_script": ((_CLASSIC, 800, ()),),
}
_KERNEL_FILE = {10: "file_rename", 11: "file_rename", 12: "file_access", 19: "file_rename", 26: "file_delete"}
# Channels that pySigma's own table leaves out.
_MORE_CHANNELS = {
    "iis-configuration": ["Microsoft-IIS-Configuration/Operational"],
    "ldap": ["Microsoft-Windows-LDAP-Client/Debug"],
    "dns-server-analytic": ["Microsoft-Windows-DNS-Server/Analytical"],
}
_LINUX = ("sshd", "sudo", "su", "cron", "crond", "syslog", "auditd", "auth", "vsftpd", "clamav", "guacamole")
_NAMES: dict[str, tuple[LogSource, ...]] = {
    **{name: (("linux", None, name),) for name in _LINUX},
    "crond": (("linux", None, "cron"),),
    **{name: ((None, "webserver", name), (None, None, name)) for name in ("apache", "nginx", "iis")},
    "httpd": ((None, "webserver", "apache"), (None, None, "apache")),
    "squid": ((None, "proxy", None),),
    **{name: ((None, name, None),) for name in ("webserver", "proxy", "dns", "firewall", "antivirus", "database")},
}

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
_PAIR = re.compile(r"""([\w-]+)=("[^"]*"|'[^']*'|\S*)""")
_UNTRUSTED = re.compile(r"a\d+|name|comm|exe|cwd|proctitle|path|cmd|data")
_CISCO = re.compile(r"%([A-Z][A-Z0-9_]*)-[0-7]-([A-Z0-9_]+):")
_CISCO_SERVICES = {"BGP": "bgp", "LDP": "ldp", "PARSER": "aaa", "AAA": "aaa", "SEC_LOGIN": "aaa"}
_PROGRAM = re.compile(
    r"(?:<\d+>)?(?:\w{3} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S+) \S+ ([\w-]+)(?:\([\w-]+\))?(?:\[\d+\])?:"
)


def read(message: str | None, service: str | None) -> tuple[Fields, tuple[LogSource, ...], dict[str, Any] | None]:
    """(fields by name, the log sources that the event belongs to, the record where the message is one in JSON)."""
    record: Any = None
    if message and message.startswith("{"):
        try:
            record = orjson.loads(message)
        except orjson.JSONDecodeError:
            record = None
    if isinstance(record, dict):
        fields = _flat(record)
        sources = _of_record(fields)
    else:
        fields, sources = _of_text(message or "")
    if service:
        sources = (*sources, *_named(service))
    return fields, sources, record if isinstance(record, dict) else None


def sees(rule: LogSource, event: LogSource) -> bool:
    """Whether a rule written for one log source sees events of the other: what the rule leaves open may be anything."""
    return all(wanted is None or wanted == is_ for wanted, is_ in zip(rule, event, strict=True))


def leaves(value: Any) -> list[str]:
    """Every text, number and boolean in `value`, as text: where keywords are looked for."""
    if isinstance(value, Mapping):
        return [leaf for one in value.values() for leaf in leaves(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [] if value is None else [as_text(value)]


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _flat(record: dict[str, Any]) -> Fields:
    fields: Fields = {}
    done: set[int] = set()
    for path in _ENVELOPES:
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


def _walk(prefix: str, record: dict[str, Any], fields: Fields, done: Collection[int] = ()) -> None:
    """The leaves of `record` by dotted path (an XML element's attributes after an underscore), but for what is done."""
    for key, value in record.items():
        kind = type(value)
        if kind is dict:
            if id(value) not in done:
                _walk(f"{prefix[:-1]}_" if key == "#attributes" else f"{prefix}{key}.", value, fields, done)
        elif kind is list and value and isinstance(value[0], dict):
            for one in value:
                below: Fields = {}
                if isinstance(one, dict):
                    _walk(f"{prefix}{key}.", one, below)
                for inner, text in below.items():
                    fields[inner] = [*_as_list(fields.get(inner)), *_as_list(text)]
        elif value is not None:
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


def _of_record(fields: Fields) -> tuple[LogSource, ...]:
    channel, provider = fields.get("Channel"), fields.get("Provider_Name")
    if channel is not None or provider is not None:
        event_type = fields.get("EventType")
        key = (str(channel or ""), str(provider or ""), str(fields.get("EventID")), str(event_type))
        return _of_windows(*key)
    found: list[LogSource] = []
    for product in ("product", "category", "service"):
        if f"logsource.{product}" in fields:
            triple = tuple(fields.get(f"logsource.{name}") for name in ("product", "category", "service"))
            return (tuple(None if part is None else str(part) for part in triple),)  # type: ignore[return-value]
    dataset = fields.get("event.dataset")
    if isinstance(dataset, str):
        found += _named(dataset)
    return (*found, *_of_cloud(fields))


def _of_cloud(fields: Fields) -> list[LogSource]:  # noqa: PLR0912  one branch for each service
    """Audit records of cloud services, by the fields that only they have together."""
    found: list[LogSource] = []
    category = str(fields.get("category", "")).lower()
    if "eventVersion" in fields and str(fields.get("eventSource", "")).endswith(".amazonaws.com"):
        found.append(("aws", None, "cloudtrail"))
    if "cloudaudit.googleapis.com" in str(fields.get("logName", "")):
        found.append(("gcp", None, "gcp.audit"))
    if "id.applicationName" in fields and "id.customerId" in fields:
        found.append(("gcp", None, f"google_workspace.{fields['id.applicationName']}"))
    if str(fields.get("apiVersion", "")).startswith("audit.k8s.io/"):
        found.append(("kubernetes", "application", "audit"))
    if {"eventType", "outcome.result", "actor.id", "published"} <= fields.keys():
        found.append(("okta", None, "okta"))
    if {"action", "actor", "org"} <= fields.keys():
        found.append(("github", None, "audit"))
    if {"auditType.category", "auditType.action"} & fields.keys():
        found.append(("bitbucket", None, "audit"))
    if {"Workload", "Operation", "RecordType"} <= fields.keys():
        found += [("m365", None, "audit"), *_of_m365(fields)]
    if category in ("auditlogs", "signinlogs", "noninteractiveusersigninlogs"):
        found.append(("azure", None, "auditlogs" if category == "auditlogs" else "signinlogs"))
        if str(fields.get("loggedByService", fields.get("properties.loggedByService", ""))) == "PIM":
            found.append(("azure", None, "pim"))
    elif "operationName" in fields and {"resourceId", "resourceid", "subscriptionId"} & fields.keys():
        found.append(("azure", None, "activitylogs"))
    if "riskEventType" in fields:
        found.append(("azure", None, "riskdetection"))
    if "riskEventTypes" in fields and "riskState" in fields:
        found.append(("azure", None, "pim"))
    if "_path" in fields and "ts" in fields:
        found.append(("zeek", None, str(fields["_path"])))
    if "logtype" in fields and "node_id" in fields:
        found.append(("opencanary", "application", None))
    if {"devid", "logid", "type"} <= fields.keys():
        found.append(("fortigate", None, str(fields["type"])))
    return found


def _of_m365(fields: Fields) -> list[LogSource]:
    compliance = str(fields.get("Workload")) == "SecurityComplianceCenter"
    return [("m365", None, "threat_management"), ("m365", None, "threat_detection")] if compliance else []


@functools.lru_cache(maxsize=4096)
def _of_windows(channel: str, provider: str, event_id: str, event_type: str) -> tuple[LogSource, ...]:
    channel = channel.lower()
    if channel in ("linux-sysmon/operational",) or provider == "Linux-Sysmon":
        return tuple(("linux", category, "sysmon") for category in _categories(_SYSMON, event_id, event_type))
    if not channel and provider == "Microsoft-Windows-Sysmon":
        channel = _SYSMON
    if channel == "rpcfw":
        return (("rpc_firewall", "application", None),)
    if provider == "Microsoft-Windows-Kernel-File" and event_id.isdigit() and int(event_id) in _KERNEL_FILE:
        return (("windows", _KERNEL_FILE[int(event_id)], None),)
    services: list[str | None] = list(_services().get(channel, ()))
    categories = _categories(channel, event_id, event_type)
    return tuple(("windows", c, s) for s in services or [None] for c in categories or [None])


def _categories(channel: str, event_id: str, event_type: str) -> list[str | None]:
    return [
        category
        for category, ways in _CATEGORIES.items()
        for way_channel, way_id, types in ways
        if (way_channel, str(way_id)) == (channel, event_id) and (not types or event_type in types)
    ]


@functools.cache
def _services() -> dict[str, list[str]]:
    """Lower-case channel -> Sigma's services, from pySigma's own table."""
    from sigma.pipelines.common import windows_logsource_mapping  # loaded only where there are Sigma rules

    table: dict[str, list[str]] = {}
    for service, channels in [*windows_logsource_mapping.items(), *_MORE_CHANNELS.items()]:
        for channel in [channels] if isinstance(channels, str) else channels:
            table.setdefault(channel.lower(), [])
            if service not in table[channel.lower()]:
                table[channel.lower()].append(service)
    return table


@functools.lru_cache(maxsize=4096)
def _named(service: str) -> tuple[LogSource, ...]:
    """The log sources that a name tells: one of ours, or product.service, product.category."""
    name = service.lower()
    if name in _NAMES:
        return _NAMES[name]
    product, dot, rest = name.partition(".")
    if not dot:
        return ((name, None, name),) if name in ("okta", "linux", "macos", "windows") else ()
    return ((product, None, rest), (product, rest, None), (product, None, name))


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
    if (program := _PROGRAM.match(message)) and program[1].lower() in _NAMES:
        return {}, (*_NAMES[program[1].lower()], ("linux", None, "syslog"))
    return {}, ()


def _audit_value(kind: str, name: str, value: str) -> str:
    """Quoted, or, for what a user may have chosen, hexadecimal without quotes."""
    if value[:1] in ("'", '"'):
        return value[1:-1]
    untrusted = _UNTRUSTED.fullmatch(name) and not (kind == "SYSCALL" and re.fullmatch(r"a\d", name))
    if untrusted and len(value) % 2 == 0 and re.fullmatch(r"[0-9A-F]{2,}", value):
        return bytes.fromhex(value).decode("utf-8", "backslashreplace").replace("\0", " ")
    return value
