r"""Regular expressions in the syntax that Sigma means (that of PCRE and Python), as Rust's engine writes them.

Only what both read differently is rewritten: `\<` and `\>` are plain letters there, and so are `[`, `&&`, `--` and `~~`
inside a class; `$` also stands before a newline that ends the text. What Rust's engine reads as something else and
cannot express is refused; what it has not (look-around, back-references) it refuses itself.
"""

from __future__ import annotations

import re

_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")
_SCOPED_MULTILINE = re.compile(r"\(\?[a-zA-Z]*-?[a-zA-Z]*m[a-zA-Z]*:")
_EXTENDED = re.compile(r"\(\?[a-zA-Z]*x")
_COUNT = re.compile(r"\{\d*,?\d*\}")
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")
_CLASS = re.compile(r"\[\^?\]?")
END = r"(?:\n?\z)"


def rust(pattern: str, *, multiline: bool = False) -> str:
    """`pattern` for Rust's engine. Raises ValueError, with the reason, for what would mean something else there."""
    if _EXTENDED.search(pattern):
        raise ValueError("extended syntax")
    if _SCOPED_MULTILINE.search(pattern):
        raise ValueError("a part with a meaning of $ of its own")
    flags = _FLAGS.match(pattern)
    end = "$" if multiline or (flags and "m" in flags[1]) else END
    out: list[str] = []
    inside, repeated, i = False, False, 0
    while i < len(pattern):
        piece, becomes = _piece(pattern, i, inside, end)
        counted = not inside and (piece in ("*", "+", "?") or _COUNT.fullmatch(piece) is not None)
        if repeated and piece == "+":
            raise ValueError("possessive quantifiers")
        inside = piece != "]" if inside else piece[0] == "["
        repeated = counted and not repeated and pattern[i - 1 : i] != "("
        out.append(becomes)
        i += len(piece)
    return "".join(out)


def _piece(pattern: str, i: int, inside: bool, end: str) -> tuple[str, str]:
    """(what stands at `i` and belongs together, how Rust's engine writes it)."""
    two, one = pattern[i : i + 2], pattern[i]
    if one == "\\" and len(two) == 2:
        return two, two[1] if two[1] in "<>" else two
    if not inside:
        if one == "[" and (head := _CLASS.match(pattern, i)):
            return head[0], head[0].replace("]", r"\]")
        if count := _COUNT.match(pattern, i):
            return count[0], count[0]
        if one == "$" and end != "$" and pattern[i + 1 : i + 2] not in ("", ")", "|", "$"):
            raise ValueError("$ before more of the pattern")
        return one, end if one == "$" else one
    if one == "[":
        posix = _POSIX.match(pattern, i)
        return (posix[0], posix[0]) if posix else (one, r"\[")
    return one, "\\" + one if two in ("&&", "--", "~~") else one
