"""Show log text so that it cannot act on the terminal or page that shows it.

Covered: control characters (ANSI escapes among them), bidirectional overrides, invisible and unassigned characters,
line ends. Each becomes its escape, `\\x1b` or `\\u202e`. Not covered: letters that look like other letters.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def escaped(text: str, limit: int | None = None) -> str:
    """`text` on one line, of at most `limit` characters, the last one `…` where it was cut."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    out = "".join(c if unicodedata.category(c) not in _UNSEEN else _escape(c) for c in text)
    if limit is not None and len(out) > limit:
        out = out[: limit - 1] + "…"
    return out


def _escape(character: str) -> str:
    code = ord(character)
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if character in known:
        return known[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
