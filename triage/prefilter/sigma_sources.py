"""Log sources: which of Sigma's an event belongs to, by what the event itself carries.

Windows and Sysmon by channel, provider and event id; audit records of cloud services by the fields that only they have
together; other events by a name, such as the canonical `service` column holds. An event that tells nothing has none.
"""

from __future__ import annotations

import functools
from typing import Any

LogSource = tuple[str | None, str | None, str | None]
"""(product, category, service)."""

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
NAMES: dict[str, tuple[LogSource, ...]] = {
    **{name: (("linux", None, name),) for name in _LINUX},
    "crond": (("linux", None, "cron"),),
    **{name: ((None, "webserver", name), (None, None, name)) for name in ("apache", "nginx", "iis")},
    "httpd": ((None, "webserver", "apache"), (None, None, "apache")),
    "squid": ((None, "proxy", None),),
    **{name: ((None, name, None),) for name in ("webserver", "proxy", "dns", "firewall", "antivirus", "database")},
}


def sees(rule: LogSource, event: LogSource) -> bool:
    """Whether a rule written for one log source sees events of the other: what the rule leaves open may be anything."""
    return all(wanted is None or wanted == is_ for wanted, is_ in zip(rule, event, strict=True))


def of_record(fields: dict[str, Any]) -> tuple[LogSource, ...]:
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
        found += of_name(dataset)
    return (*found, *_of_cloud(fields))


def _of_cloud(fields: dict[str, Any]) -> list[LogSource]:  # noqa: PLR0912  one branch for each service
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


def _of_m365(fields: dict[str, Any]) -> list[LogSource]:
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
def of_name(service: str) -> tuple[LogSource, ...]:
    """The log sources that a name tells: one of ours, or product.service, product.category."""
    name = service.lower()
    if name in NAMES:
        return NAMES[name]
    product, dot, rest = name.partition(".")
    if not dot:
        return ((name, None, name),) if name in ("okta", "linux", "macos", "windows") else ()
    return ((product, None, rest), (product, rest, None), (product, None, name))
