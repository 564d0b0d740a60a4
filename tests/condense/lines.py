"""Made-up lines for the laws of this room."""

from __future__ import annotations

from hypothesis import strategies as st

FRAGMENTS = (  # noqa: SIM905
    "2026-01-02T03:04:05Z|2026-01-02 03:04:05,123 +0100|01-02 03:04:05|2/Jan/2026:03:04:05 +0000|Jan  2 03:04:05 gw|"
    "Mon Jan 12 03:04:05 2026,|"
    "Jan 2 03:04:05 gw sshd[7]: |03:04:05|3:04|2026-01-02|00:1b:44:11:3a:b7|00:00:00:00:00:00|"
    "0x7f00|0x0|10.0.0.1|127.0.0.1|8.8.8.8|8.8.8.8:443|0.0.0.0|224.0.0.1|fe80::1|2001:db8::1|::1|1.2.3|a.example:50000|"
    "4f9d1c2a|4F9D1C2A|deadbeef|00000000|1.5|0|0.0|-1|42|123456|5 ms|12kB|1h2m3s|1/2/3|640x480|1_2|R00-M1-N2:J12-U11|"
    "core.17|blk_-1608999687919862906|job_2017060920_01|rdd_1_2|from a port|from 8.8.8.8 port 22|src_port=|dst_port:|"
    "status|"
    'exit code|error=|errno: -|port |user |[17]|[0]|HTTP/1.1" 200|uid=0|user7|7zip.org|3com.example|22/tcp|<n>|<time>|'
    '<ip:public>|<n|ip:|\x01|\x02|\ue000|\u202e|é|５|µs|audit(1364481363.243:24287)|COMMAND=|cmd: "a 7" |CMD (|'
    "0b6c2f1e-8a44-4d0e-9b57-0d5f3f0e7a11|c7:27:0a:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd"
).split("|")
WORDS = st.sampled_from(FRAGMENTS) | st.from_regex(r"[\da-f]{1,9}", fullmatch=True)


def joined(glue: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(WORDS, st.sampled_from(glue)), max_size=7).map(lambda p: "".join(a + b for a, b in p))


TANGLED = joined(["", " ", " ", ":", "=", "-", ".", ",", "/", "x", "_", "[", "]", "(", '"', "\n", "@", "a", "5"])
LOG_LIKE = joined([" ", ", ", "=", " (", ") ", '"', "; "])
ANY = st.text(max_size=60) | TANGLED
