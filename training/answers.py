"""What a good explanation of a training line says: the JSON that the explanation pass asks for.

The reason is the line's own `because`. Category and next step come from plain tables over the reason and the line, so
they are coarse; evidence is the words of the line that share most with the reason, or the longest ones.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

_CATEGORIES: Final = (
    ("prompt_injection", r"tells its reader|addresses a (?:model|reader)|instructions to"),
    ("malware", r"malware|virus|trojan|ransom|infected|miner|backdoor|beacon|rootkit|web ?shell|c2\b|botnet"),
    ("web", r"sql|payload|traversal|xss|request|scanner|injection|http|web|url|crawler|probe for"),
    ("privilege", r"privilege|admin(?:istrator)? (?:right|group|role)|root\b|sudo|elevat|superuser|role"),
    (
        "authentication",
        r"log-?ins?\b|logged|password|authenticat|credential|mfa|unknown user|lock(?:ed)? ?out|brute|guess",
    ),
    ("hardware", r"disk|raid|memory error|ecc|fan|temperature|power|psu|battery|node card|link error|controller"),
    ("availability", r"outage|down\b|unavailable|crash|panic|failed to start|not start|stopped|out of memory|quorum"),
    ("configuration", r"polic|config|rule (?:added|changed|removed)|setting|changed|disabled|logs? cleared"),
    ("network", r"firewall|denied|blocked|port|scan|connection|packet|traffic|flood|dns|vpn|tunnel"),
    ("data", r"data|backup|replica|corrupt|exfil|export|table|volume|snapshot|file"),
    ("application", r"error|exception|fault|failed|timeout|job|service"),
)  # fmt: skip

_NEXT: Final = {
    ("authentication", 1): "Ask the user, and look for more attempts from the same source.",
    ("authentication", 2): "Lock the account, block the source, and look for a success after the attempts.",
    ("web", 1): "Look at what else this client asked for, and whether anything was answered.",
    ("web", 2): "Block the client, and check the application and host for traces of success.",
    ("network", 1): "See what the source is and whether it tries other ports or hosts.",
    ("network", 2): "Isolate the host and block the address.",
    ("malware", 1): "Confirm that it was removed, and scan the host again.",
    ("malware", 2): "Isolate the host now and start the incident procedure.",
    ("privilege", 1): "Find the ticket for this change, or undo it.",
    ("privilege", 2): "Disable the account and find out what was done with it.",
    ("configuration", 1): "Find the ticket for this change, or undo it.",
    ("configuration", 2): "Undo the change and find out who made it.",
    ("hardware", 1): "Order a replacement and watch the component.",
    ("hardware", 2): "Move the load away and replace the component now.",
    ("availability", 1): "Find out why, and whether it comes back by itself.",
    ("availability", 2): "Bring the service back now, and tell its owner.",
    ("data", 1): "Check that the data is complete, and repeat the job.",
    ("data", 2): "Stop writes, and restore from the last good copy.",
    ("application", 1): "Have the owner of the application look at the error.",
    ("application", 2): "Call the owner of the application now.",
    ("prompt_injection", 1): "Find out who wrote this text, and judge the line without it.",
    ("prompt_injection", 2): "Find out who wrote this text, and judge the line without it.",
    ("other", 1): "Have the owner of the system look at it today.",
    ("other", 2): "Call the owner of the system now.",
}  # fmt: skip
MOST_EVIDENCE: Final = 80


def category(because: str, text: str) -> str:
    """The first of the table that the reason speaks of, else the line."""
    for where in (because, text):
        for name, words in _CATEGORIES:
            if re.search(words, where, re.IGNORECASE):
                return name
    return "other"


def evidence(because: str, text: str, pieces: list[str]) -> str | None:
    """The piece of the line (its fixed words, in order) that stands in `text` and shares most words with the reason."""
    wanted = set(re.findall(r"[a-z]{4,}", because.lower()))
    usable = [
        piece
        for whole in pieces
        if len(piece := whole.strip(" \t:;,=[]{}()\"'|")[:MOST_EVIDENCE].rstrip()) >= 4 and piece in text
    ]

    def worth(piece: str) -> tuple[int, int]:
        words = set(re.findall(r"[a-z]{4,}", piece.lower()))
        return len(wanted & words), len(re.findall(r"[A-Za-z]", piece))

    return max(usable, key=worth, default=None)


def answer(rank: int, because: str, text: str, pieces: list[str], addressed: bool) -> str:
    """The JSON for a line of label `rank` (1 review, 2 escalate)."""
    kind = "prompt_injection" if addressed and rank == 1 else category(because, text)
    quote = evidence(because, text, pieces)
    severity = ("medium" if kind in ("authentication", "privilege", "web", "malware") else "low", "high")[rank - 1]
    return orjson.dumps(
        {
            "severity": "critical" if rank == 2 and kind in ("malware", "availability") else severity,
            "category": kind,
            "rationale": because[:1].upper() + because[1:160],
            "evidence": [quote] if quote else [],
            "next_step": _NEXT[kind, rank],
        }
    ).decode()
