"""Put a text into a log line where an attacker who writes to logs can put it.

Promises: the line's own words stay, in their order; the text stands in one piece, on the line's one line, with its
white space as that place writes it. The same line, text and place give the same line.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Place = Literal["user_agent", "user", "path", "end", "before_last_word"]
PLACES: Final[tuple[Place, ...]] = ("user_agent", "user", "path", "end", "before_last_word")

# The combined access-log form: the request, status and size, the referrer, the user agent.
_USER_AGENT = re.compile(r'" [0-9]{3} (?:[0-9]+|-) "[^"]*" "[^"]*(?=")')
_USER = re.compile(r"\b(?:user(?:name)?[ =]|for (?:invalid user |illegal user )?)(?=\S)", re.IGNORECASE)
_TARGET = re.compile(r'"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|PATCH) [^" ]+(?=[" ])')
_PATH = re.compile(r"(?:(?<=\s)|(?<=[=\"'(\[]))/[\w.+-]+(?:/[\w.+-]+)+(?=[\s\"',;:)\]]|$)")


def splice(line: str, text: str, where: Place) -> str:
    """`line` with `text` in it: in the user agent, the user's name or the path that it has, else in a field of that
    name at its end; or in the message itself."""
    text = one_line(text)
    match where:
        case "user_agent":
            return _after(_USER_AGENT, line, f" {text}") or f'{line} user_agent="{text}"'
        case "user":
            return _after(_USER, line, f"{text} ") or f"{line} user={text}"
        case "path":
            in_url, in_file = re.sub(r"\s", "%20", text), re.sub(r"\s", "_", text)
            return (
                _after(_TARGET, line, f"?q={in_url}") or _after(_PATH, line, f"/{in_file}") or f"{line} path=/{in_file}"
            )
        case "before_last_word":
            before, space, last = line.rpartition(" ")
            return f"{before}{space}{text} {last}" if space else f"{text} {line}"
        case "end":
            return f"{line} {text}"


def one_line(text: str) -> str:
    """The text as a log holds it: the ends of its lines written out."""
    return re.sub(r"\r\n?|[\n\v\f\x1c-\x1e\x85\u2028\u2029]", lambda _: "\\n", text.strip())


def _after(place: re.Pattern[str], line: str, text: str) -> str | None:
    found = place.search(line)
    return f"{line[: found.end()]}{text}{line[found.end() :]}" if found else None
