"""A job file is validated whole, in one line that names the file and the key, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from triage import job
from triage.errors import WrongInput

SOUND = '[input]\npaths = ["a/"]\n[output]\npath = "out"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SOUND + "[jugde]\n", ["unknown key 'jugde'", "did you mean 'judge'"]),
        (SOUND + "[judge]\nreviewat = 0.5\n", ["[judge]", "'reviewat'", "did you mean 'review_at'"]),
        (SOUND + "[model]\nnmae = 'x'\n", ["[model]", "did you mean 'name'"]),
        (SOUND + "[run]\nslicebytes = 1\n", ["did you mean 'slice_bytes'"]),
        (SOUND + "format = 'x'\n", ["[output]", "'format'", "one of path"]),
        (SOUND + "[prefilter]\nrule = ['x']\n", ["did you mean 'rules'"]),
        (SOUND.replace("paths", "path"), ["unknown key 'path'", "did you mean 'paths'"]),
        (SOUND + "[input.fields]\nmesage = 'm'\n", ["canonical column 'mesage'", "did you mean 'message'"]),
        (SOUND.replace("[input]", "[[input]]") + "[[input]]\npahts = ['b/']\n", ["did you mean 'paths'"]),
        ("[output]\npath = 'x'\n", ["'input' is missing"]),
        ("[input]\npaths = ['a']\n", ["'output' is missing"]),
        (SOUND.replace('["a/"]', "[]"), ["paths"]),
        (SOUND.replace('["a/"]', '"a/"'), ["paths"]),
        (SOUND + "[judge]\nreview_at = 1.5\n", ["review_at", "less than or equal to 1"]),
        (SOUND + "[judge]\nreview_at = nan\n", ["review_at"]),
        (SOUND + "[judge]\nmax_windows = 0\n", ["max_windows"]),
        (SOUND + "[run]\nslice_bytes = 'many'\n", ["slice_bytes"]),
        (SOUND + "[condense]\nlevel = 'loose'\n", ["level", "'standard', 'exact' or 'off'"]),
        (SOUND + "[model]\nprefix_caching = 'perhaps'\n", ["prefix_caching"]),
        ("input = 3\n[output]\npath = 'x'\n", ["input"]),
        ("output = 3\n[input]\npaths = ['x']\n", ["output"]),
        ("input = []\n[output]\npath = 'x'\n", ["input"]),
        ("[input\n", ["not TOML"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, says: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(WrongInput) as refused:
        job.load(path)
    line = str(refused.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    assert all(words in line for words in says), line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(WrongInput) as refused:
            job.load(path)
        assert str(path) in str(refused.value)


def test_paths_are_relative_to_the_file_and_options_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    text = (
        SOUND.replace('"a/"', '"a/*.jsonl", "/abs/x", "s3://lake/y", "../up"')
        + "[prefilter]\nrules = ['rules/']\nsigma = ['s']\n"
    )
    path = write(tmp_path / "jobs", text)
    monkeypatch.chdir(tmp_path / "elsewhere")
    here = tmp_path / "jobs"
    loaded = job.load(path)
    assert loaded.input[0].paths == [f"{here}/a/*.jsonl", "/abs/x", "s3://lake/y", f"{here}/../up"]
    assert (loaded.output.path, loaded.prefilter.rules) == (str(here / "out"), [str(here / "rules")])
    assert loaded.prefilter.sigma == [str(here / "s")]
    told = job.load(path, inputs=("b", "s3://c"), output="o", model="m")
    assert told.input[0].paths == [str(tmp_path / "elsewhere" / "b"), "s3://c"]
    assert (told.output.path, told.model.name) == (str(tmp_path / "elsewhere" / "o"), "m")


def test_input_stands_once_or_is_repeated_each_with_its_own_fields(tmp_path: Path) -> None:
    fields = "fields = { message = '%s' }\n"
    once = job.load(write(tmp_path, SOUND.replace("[output]", fields % "m" + "[output]")))
    assert [table.fields for table in once.input] == [{"message": "m"}]
    twice = "".join(f"[[input]]\npaths = ['{name}']\n{fields % name}" for name in "ab") + "[output]\npath = 'x'\n"
    tables = job.load(write(tmp_path, twice)).input
    assert [(Path(t.paths[0]).name, t.fields) for t in tables] == [("a", {"message": "a"}), ("b", {"message": "b"})]
    with pytest.raises(WrongInput, match=r"2 \[\[input\]\] tables"):
        job.load(write(tmp_path, twice), inputs=("c",))
