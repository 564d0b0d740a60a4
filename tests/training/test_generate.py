"""The training set is sound, is the same again, and holds nothing of what is kept for measuring."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl
import pytest

from training import generate, words
from triage.columns import LABELS
from triage.condense.template import condense


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return generate.training_set(copies=2, seed=7)


def test_every_slot_can_be_filled() -> None:
    draw = generate.random.Random(1)
    assert all(words.fill(name, draw).strip() for name in words.KNOWN)
    assert all(len(words.values(name)) > 2 for name in words._NAMES)


def test_every_system_says_all_three_and_has_lines_that_mislead(rows: pl.DataFrame) -> None:
    told = rows.group_by("system").agg(pl.col("label").n_unique(), pl.len(), pl.col("hard").sum())
    assert told.height >= 40
    assert told["label"].min() == len(LABELS)
    assert told["hard"].min() >= 5
    assert told["len"].min() >= 40


def test_no_slot_is_left_open(rows: pl.DataFrame) -> None:
    names = "|".join(sorted(words.KNOWN))
    assert rows.filter(pl.col("message").str.contains(rf"\{{(?:{names})\}}"))["message"].to_list() == []


def test_the_same_seed_writes_the_same_and_another_something_else(rows: pl.DataFrame) -> None:
    assert generate.training_set(2, 7).equals(rows)
    assert not generate.training_set(2, 8).equals(rows)


def test_a_line_that_tells_its_reader_what_to_say_is_never_benign(rows: pl.DataFrame) -> None:
    assert "benign" not in set(rows.filter(made="injected")["label"])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('label = "fine"\nbecause = "x"\ntexts = ["x"]', "label, because and texts"),
        ('label = "benign"\nbecause = "x"\ntexts = ["{nobody}"]', "no slot"),
        ('label = "benign"\nbecause = "x"\ntexts = ["{ n"]', "expected"),
        ('label = "benign"\nbecause = "x"\ntexts = ["x"]\nhint = 1', "unknown"),
    ],
)
def test_an_entry_that_is_not_sound_is_named(tmp_path: Path, entry: str, says: str) -> None:
    (tmp_path / "x.toml").write_text(f'system = "x"\n[[line]]\n{entry}\n')
    with pytest.raises(ValueError, match=f"x.toml line 1.*{says}"):
        generate.load(tmp_path)


def test_nothing_of_the_measured_lines_is_in_it(rows: pl.DataFrame, shared: Path) -> None:
    """No labelled line, no line of the real shards and no injected text, whatever the masks hide."""
    messages = []
    for name in ("adjudicated-dev.jsonl", "dev.jsonl"):
        messages += [orjson.loads(line)["message"] for line in (shared / "labelled" / name).read_bytes().splitlines()]
    messages += [
        line
        for path in sorted((shared / "shards").glob("[jp]*/*"))
        for line in (pl.read_ndjson(path) if path.suffix == ".jsonl" else pl.read_parquet(path))["line"]
    ]
    _, templates = condense(pl.DataFrame({"message": messages}), "standard")
    assert not {text for text in templates["template"] if len(text) > 60} & set(rows["text"])
    said = "\n".join(rows["message"])
    injections = (shared / "labelled" / "injections-dev.jsonl").read_bytes().splitlines()
    assert not [text for line in injections if len(text := orjson.loads(line)["text"]) > 30 and text in said]
