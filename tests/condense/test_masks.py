"""Masks hide what cannot change a verdict and nothing else, the same in any company."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.condense.lines import ANY, LOG_LIKE, TANGLED
from triage.condense import passes
from triage.condense.mask import MASKS, VERBATIM

PAIRS = [pair.split("\n") for pair in (Path(__file__).parent / "masks.txt").read_text("utf-8").strip().split("\n\n")]
TIMES = [mask for mask in MASKS if mask.instead == "<time>" and mask.needs == ""]
MASKS_AS_ONE = [
    mask if mask not in TIMES else mask._replace(pattern="|".join(f"(?:{one.pattern})" for one in TIMES))
    for mask in MASKS
    if mask not in TIMES[1:]
]
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
CARRIERS = (
    "Mar  2 08:15:30 gw1 app[4711]: {} was seen at 10.0.0.1",
    "{} from 203.0.113.7 port 51022 took 12 ms",
    "opened {}, 512 bytes",
    "id=17 what={} n=3",
    '{{"what": "{}", "took": 12}}',
    "login for {}: denied",
    "[{}]",
    "{}",
)


def masked(*lines: str) -> list[str]:
    return passes.masked(pl.Series(lines, dtype=pl.String)).to_list()


@pytest.mark.parametrize(("line", "template"), PAIRS)
def test_masks_do_what_the_golden_file_says(line: str, template: str) -> None:
    assert masked(line) == [template]


@given(st.lists(ANY, max_size=40))
@settings(max_examples=80, deadline=None)
def test_masking_twice_changes_nothing_more(lines: list[str]) -> None:
    once = masked(*lines)
    assert masked(*once) == once


@given(st.lists(ANY, min_size=1, max_size=20), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_fast_passes_give_what_one_mask_after_the_other_gives(lines: list[str], times: int) -> None:
    """Stages, threads and short cuts change nothing."""
    texts = pl.Series(lines * times, dtype=pl.String)
    one_by_one = passes.alone(pl.Series(lines, dtype=pl.String)).to_list()
    assert passes.masked(texts).to_list() == one_by_one * times


@given(st.lists(TANGLED | LOG_LIKE, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_masks_mean_in_polars_what_they_mean_in_python(lines: list[str]) -> None:
    """An implementation of its own, by Python's regular expressions."""
    lines = [line.encode("ascii", "replace").decode() for line in lines]

    def by_python(text: str) -> str:
        for _, pattern, instead, _ in MASKS_AS_ONE:
            text = re.sub(pattern, re.sub(r"\$\{(\d)\}", r"\\g<\1>", instead), text)
        return text

    def around(text: str, places: int) -> str:
        found = re.search(VERBATIM, text)
        if not found:
            return by_python(text)
        if not places:
            return text
        return by_python(text[: found.start()]) + found[0] + around(text[found.end() :], places - 1)

    assert masked(*lines) == [around(line, 8) for line in lines]


def classes(text: str) -> list[str]:
    return re.findall("<ip:([a-z]+)>", text)


@given(st.ip_addresses())
@settings(max_examples=300, deadline=None)
@example(ipaddress.ip_address("127.0.0.1"))
@example(ipaddress.ip_address("172.31.255.255"))
@example(ipaddress.ip_address("172.32.0.0"))
@example(ipaddress.ip_address("169.254.1.1"))
@example(ipaddress.ip_address("100.64.0.1"))
@example(ipaddress.ip_address("100.128.0.1"))
@example(ipaddress.ip_address("255.255.255.255"))
@example(ipaddress.ip_address("::1"))
@example(ipaddress.ip_address("fe80::1"))
@example(ipaddress.ip_address("fd00:1::"))
@example(ipaddress.ip_address("ff02::fb"))
@example(ipaddress.ip_address("2001:db8:85a3::8a2e:370:7334"))
def test_an_address_keeps_its_class_and_loses_the_rest(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Documentation's networks count as public, what routers share (RFC 6598) and link-local as private."""
    if address.version == 4:
        expected = (
            []
            if address in ipaddress.ip_network("0.0.0.0/8")
            else ["loopback"]
            if address.is_loopback
            else ["multicast"]
            if address.is_multicast or str(address) == "255.255.255.255"
            else ["private"]
            if any(address in ipaddress.ip_network(net) for net in PRIVATE)
            else ["public"]
        )
    else:
        first = int(address) >> 112
        expected = (
            ["loopback"]
            if address.is_loopback
            else ["multicast"]
            if first >> 8 == 0xFF and first & 0xF0 == 0
            else ["private"]
            if address.is_link_local or first >> 9 == 0xFC >> 1
            else ["public"]
            if first >> 13 == 1
            else None
        )
        assume(expected is not None)
    for carrier in ("{}", "from {} to", "peer={},", "[{}]", '"{}"', "({})", "at {}."):
        (template,) = masked(carrier.format(address))
        assert classes(template) == expected
        assert bool(expected) != (str(address) in template)


LABEL = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
DIGITS = st.from_regex(r"[a-z]{1,8}[-_.]?[0-9]{1,8}", fullmatch=True)
KEPT = {
    "user": st.from_regex(r"(svc|user|admin|[b-z][a-z]{1,7})[-_.]?[0-9]{0,6}", fullmatch=True),
    "path": st.lists(LABEL | DIGITS | st.from_regex(r"[0-9]{1,6}", fullmatch=True), min_size=1, max_size=4).map(
        lambda parts: "/" + "/".join(parts)
    ),
    "windows path": st.lists(LABEL | DIGITS, min_size=1, max_size=3).map(
        lambda parts: "C:\\" + "\\".join(parts) + ".exe"
    ),
    "domain": st.tuples(
        st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True), LABEL, st.just("example")
    ).map(".".join),
    "mail": st.tuples(st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), LABEL).map(
        lambda pair: f"{pair[0]}@{pair[1]}.example"
    ),
    "hash": st.sampled_from([32, 40, 64]).flatmap(lambda n: st.from_regex(rf"[0-9a-f]{{{n}}}", fullmatch=True)),
    "command": st.tuples(
        st.sampled_from(["COMMAND=/bin/kill", "cmd: /bin/kill", 'CommandLine="kill']),
        st.from_regex(r"-[0-9]{1,2} [0-9]{1,5}"),
    ).map(lambda pair: " ".join(pair) + '"' * (pair[0].startswith("CommandL"))),
    "service port": st.integers(0, 32767).map(lambda port: f"203.0.113.9:{port}"),
    "named port": st.integers(0, 65535).map(lambda port: f"dst_port={port}"),
    "exit status": st.integers(-128, 255).map(lambda code: f"exited with status {code}"),
    "status code": st.integers(100, 599).map(lambda code: f'HTTP/1.1" {code}'),
    "numbered user": st.integers(0, 70000).map(lambda number: f"invalid user {number}"),
    "zero or not": st.sampled_from(["0 errors", "7 errors"]),
}


@pytest.mark.parametrize("kind", KEPT)
@given(data=st.data(), carrier=st.sampled_from(CARRIERS))
@settings(max_examples=60, deadline=None)
def test_what_carries_meaning_is_never_hidden(kind: str, data: st.DataObject, carrier: str) -> None:
    one, other = (data.draw(KEPT[kind]) for _ in range(2))
    first, second = masked(carrier.format(one), carrier.format(other))
    assert (first == second) == (one == other)
