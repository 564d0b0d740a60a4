"""Where in a TOML document a key stands. `tomllib` tells no lines, and a complaint about a rule needs one.

Promises: for a document that `tomllib` reads, the line of every key, table and list element of it, whatever its strings
and comments hold. Checks nothing: what is not TOML is tomllib's to refuse.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Steps = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r"""\"{3}(?:[^\\]|\\.)*?\"{3,5}(?!\")|'{3}.*?'{3,5}(?!')|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""", re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}\n#]*")


def lines_of(text: str) -> dict[Steps, int]:
    """The line, from 1, on which each key, table and list element of the document begins."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def line_at(lines: dict[Steps, int], steps: Steps) -> int:
    """The line of `steps`, or of the nearest table around it; 1 where there is none."""
    while steps and steps not in lines:
        steps = steps[:-1]
    return lines.get(steps, 1)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Steps, int] = {}
        self.last: dict[Steps, int] = {}  # a list of tables -> the index of its last one
        self.newlines = [found.start() for found in re.finditer("\n", text)]

    def document(self) -> None:
        base: Steps = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                base = self._header()
            else:
                self._pair(base)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"not TOML at character {self.at}")
        self.at = found.end()
        return found[0]

    def _note(self, steps: Steps, start: int) -> None:
        self.lines.setdefault(steps, bisect_right(self.newlines, start - 1) + 1)

    def _header(self) -> Steps:
        start, many = self.at, self.text.startswith("[[", self.at)
        self.at += 1 + many
        base: Steps = ()
        names = self._key()
        for number, name in enumerate(names, start=1):
            base = (*base, name)
            if many and number == len(names):
                self.last[base] = self.last.get(base, -1) + 1
            self._note(base, start)
            if base in self.last:
                base = (*base, self.last[base])
                self._note(base, start)
        self.at += 1 + many
        return base

    def _key(self) -> list[str]:
        names = []
        while True:
            self._skip(_SPACE)
            if self.text[self.at] in "\"'":
                names.append(str(tomllib.loads(f"key = {self._skip(_STRING)}")["key"]))
            else:
                names.append(self._skip(_BARE))
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def _pair(self, base: Steps) -> None:
        start = self.at
        for name in self._key():
            base = (*base, name)
            self._note(base, start)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(base)

    def _value(self, steps: Steps) -> None:
        first = self.text[self.at]
        if first in "\"'":
            self._skip(_STRING)
        elif first == "[":
            self._list(steps)
        elif first == "{":
            self._items(steps)
        else:
            self._skip(_SCALAR)

    def _list(self, steps: Steps) -> None:
        count = 0
        self.at += 1
        while self._next() != "]":
            self._note((*steps, count), self.at)
            self._value((*steps, count))
            count += 1
        self.at += 1

    def _items(self, steps: Steps) -> None:
        self.at += 1
        while self._next() != "}":
            self._pair(steps)
        self.at += 1

    def _next(self) -> str:
        """What comes after blanks and a comma."""
        self._skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_BLANK)
        return self.text[self.at]
