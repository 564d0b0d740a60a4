"""Text as a person reads it: look-alikes as plain letters, nothing invisible, and spaces for what is written for them.

An attacker who writes a word with Cyrillic, full-width, mathematical or accented letters, or with invisible characters
inside it, means the reader to see the plain word; rules with `plain = true` do too.

Covered: what Unicode calls compatible (NFKD), accents, invisible characters, and single characters that look like one
ASCII letter, quote or dash. Not covered: digits for letters, spaced-out letters, encodings: rules name those.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import polars as pl

PLAIN: Final = "plain."
"""Before the name of a column: that column as a person reads it. Such columns end with the tests of rules."""

_ROWS: Final = (
    # Cyrillic, Greek, Armenian, small capitals and other Latin, Cherokee
    ("аеорсухіјѕһԁԛԝѵкмтвнпгьӏбєзґё", "aeopcyxijshdqwvkmtbhnrblbe3re"),
    ("АВЕКМНОРСТУХІЈЅԌԚԜҮӀЗ", "ABEKMHOPCTYXIJSGQWYI3"),
    ("αβγεηικνορτυχωσμ", "abyenikvoptuxwou"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "ABEZHIKMNOPTYXC"),
    ("օոսհցզրՏՕՍ", "onuhgqpSOU"),
    ("ıɑɡɩʟʀᴀʙᴄᴅᴇꜰɢʜɪᴊᴋᴍɴᴏᴘꜱᴛᴜᴠᴡʏᴢøłđħɓɗɦɨʋʈɾƖƅ", "iagilrabcdefghijkmnopstuvwyzoldhbdhivtrlb"),
    ("ᎠᎡᎢᎥᎪᎫᎬᎳᎷᎻᏀᏃᏏᏒᏚᏞᏟᏢᏙᏦ", "DRTIAJEWMHGZBRSLCPVK"),
    ("“”„‟‘’‚‛ʼ′″–—―−‐‑‒⁃", "\"\"\"\"'''''" + "'\"" + "--------"),
)
LOOK_ALIKES: Final[dict[str, str]] = {
    look: letter for looks, letters in _ROWS for look, letter in zip(looks, letters, strict=True)
} | {
    # Letters in circles and squares that Unicode does not call compatible, and the letters of flags.
    chr(first + place): letter
    for first in (0x1F150, 0x1F170, 0x1F1E6)
    for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}
_FILLERS: Final = "\u115f\u1160\u2800"  # letters and a symbol by their category, and blank
_SPACES: Final = {written: " " * len(written) for written in ("\\n", "\\r", "\\t", "%20", "+", "_")}
"""What stands for white space in JSON, URLs and identifiers; as long as what it is read as."""
_WRITTEN: Final = re.compile("|".join(map(re.escape, _SPACES)))
_UNSEEN: Final = rf"[\p{{Mn}}\p{{Me}}\p{{Cf}}{_FILLERS}]"


def with_plain(events: pl.LazyFrame, columns: Iterable[str]) -> pl.LazyFrame:
    """`events` with each of `columns` as a person reads it, named PLAIN and its name."""
    columns = list(columns)
    # In two steps, for polars would compute the first again wherever the second reads it.
    spaced = events.with_columns(pl.col(name).str.replace_many(_SPACES).alias(PLAIN + name) for name in columns)
    return spaced.with_columns(_folded(pl.col(PLAIN + name)) for name in columns)


def _folded(text: pl.Expr) -> pl.Expr:
    odd = text.str.len_bytes() != text.str.len_chars()
    # Both branches of when are computed for every row: what is already plain is empty in the one that costs.
    some = pl.when(odd).then(text).otherwise(pl.lit(""))
    folded = some.str.normalize("NFKD").str.replace_all(_UNSEEN, "").str.replace_many(LOOK_ALIKES)
    return pl.when(odd).then(folded).otherwise(text)


def plain_with_places(text: str) -> tuple[str, list[int]]:
    """(`text` as a person reads it, for each of its characters and the end the place in `text` that it comes from)."""
    folded: list[str] = []
    places: list[int] = []
    for place, character in enumerate(_WRITTEN.sub(lambda found: _SPACES[found[0]], text)):
        letters = character if character.isascii() else _one(character)
        folded.append(letters)
        places += [place] * len(letters)
    return "".join(folded), [*places, len(text)]


@lru_cache(maxsize=4096)
def _one(character: str) -> str:
    return "".join(LOOK_ALIKES.get(c, c) for c in _seen(unicodedata.normalize("NFKD", character)))


def _seen(characters: Iterable[str]) -> Iterable[str]:
    return (c for c in characters if unicodedata.category(c) not in ("Mn", "Me", "Cf") and c not in _FILLERS)
