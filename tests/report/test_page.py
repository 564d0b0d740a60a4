"""A page stands alone, and nothing that a line, a label or a path says can act on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.columns import DISPOSITIONS
from triage.report.evaluation_page import comparison_page, evaluation_page
from triage.report.page import cell, page, paragraph, section, table, text
from triage.report.plots import Series, plot

HOSTILE = "<script>alert(1)</script>\"'&<img src=http://evil.example/x onerror=x>\x1b[31m\u202e</table></style>"
VOID = {"meta", "circle", "line", "path", "polyline"}
KNOWN = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "table", "caption", "thead", "tbody",
    "tr", "th", "td", "span", "div", "figure", "figcaption", "svg", "path", "text", "line", "polyline", "circle",
}  # fmt: skip


class Elements(HTMLParser):
    """Every element and attribute of a page; fails on one that is not closed in order."""

    def __init__(self, whole: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(whole)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def stands_alone(whole: str) -> None:
    elements = Elements(whole)
    assert set(elements.names) <= KNOWN
    assert not [
        name for name, _ in elements.attributes if name.startswith("on") or name in ("src", "href", "xlink:href")
    ]
    markup = re.sub(r">[^<]*<", "><", whole)  # what is between elements is text
    assert not re.search(r"https?:|//|url\(|@import|javascript:", markup)
    assert "default-src 'none'" in whole
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", whole)


@given(st.text(st.characters() | st.sampled_from("<>&\"'\x00\x1b\u202e\n"), max_size=40))
def test_whatever_a_text_holds_it_stays_text(value: str) -> None:
    whole = page(value, paragraph(value), section(value, table((value,), [[cell(value)]], caption=value)))
    whole = whole.replace("</body>", plot(value, [Series(value, [(0, 0), (1, 1)])], across=value, up=value) + "</body>")
    stands_alone(whole)
    assert text(value) in whole


def figure(value: float | None = 0.5) -> dict[str, float | None]:
    return {"value": value, "low": None if value is None else 0.4, "high": None if value is None else 0.6}


def figures() -> dict[str, Any]:
    names = (
        "precision", "recall", "f1", "roc_area", "pr_area", "recall_at_1", "recall_at_5", "recall_at_20", "brier",
        "calibration_error",
    )  # fmt: skip
    return {
        "n": 3,
        "truth": {"benign": 1, "review": 1, "escalate": 1},
        "shown": 2,
        "model_spoke": 3,
        "confusion": {name: dict.fromkeys(DISPOSITIONS, 1) for name in ("benign", "review", "escalate")},
        **{name: figure() for name in names},
        "escalate_roc_area": figure(None),
        "reliability": [{"n": 1.5, "p_seen": 0.2, "seen": 0.3}, {"n": 1.5, "p_seen": 0.8, "seen": None}],
    }


RUN = {"run_id": HOSTILE, "state": "done", "model": HOSTILE, "model_digest": "0" * 64, "prompt": HOSTILE}
JOINED = {
    "truth_column": HOSTILE,
    "joined_on": "message",
    "labelled": 9,
    "no_truth": 1,
    "ambiguous": 1,
    "conflicting": 1,
    "not_found": 3,
    "not_found_as_settled": 2,
    "rows_settled": 1,
}
CURVES = {"roc": [(0, 0), (1, 1)], "budget": [(0, 0), (1, 1)]}


def evaluation(with_lines: bool = True) -> dict[str, Any]:
    both = {"lines": figures(), "templates": figures()}
    curves = {"lines": CURVES, "templates": CURVES}
    missed = {
        "truth": "review", "disposition": "benign", "score": 0.1, "decided_by": "model", "event_id": "e", "rows": 2,
        "group": HOSTILE, "message": HOSTILE, "template_id": "t",
    }  # fmt: skip
    above = {unit: {name: figure() for name in ("a", "b", "difference")} for unit in ("lines", "templates")}
    return {
        "output": HOSTILE,
        "labels": HOSTILE,
        "run": RUN,
        **JOINED,
        "overall": both,
        "groups": {HOSTILE: {HOSTILE: both}},
        "baselines": {"level": {**both, "curves": curves, "above": above}, "tfidf": {"reason": HOSTILE}},
        "curves": curves,
        "misses": {"missed": [missed], "false_alarms": [missed | {"message": None}]} if with_lines else None,
    }


def comparison() -> dict[str, Any]:
    only = {"a": 1, "b": 2, "only_a": 0, "only_b": 1, "p": 1.0}
    by = {"lines": only, "templates": only}
    areas = {unit: {name: figure() for name in ("a", "b", "difference")} for unit in ("lines", "templates")}
    cost = dict.fromkeys(
        ("rows_in", "rows_settled", "questions", "prompt_tokens", "cached_tokens", "output_tokens", "engine_seconds"), 1
    )
    side = {"output": HOSTILE, **RUN, "cost": cost | {"tokens_per_second": None}}
    changed = {"disposition_a": "benign", "disposition_b": "review", "rows": 2, "event_id": None, "message": HOSTILE}
    return {
        "finding": HOSTILE,
        "a": side,
        "b": side,
        "lines": 5,
        "templates": 4,
        "joined_on": "event_id",
        "same": 3,
        "changed_lines": 2,
        "changed_templates": 1,
        "only_a": 1,
        "only_b": 1,
        "settled_in_a": 1,
        "settled_in_b": 0,
        "mean_abs_change_p_benign": None,
        "dispositions": {name: dict.fromkeys(DISPOSITIONS, 1) for name in DISPOSITIONS},
        "shown": by,
        "changed": [changed],
        "against_labels": {**JOINED, "correct": {"seen": by, "exact": by}, "roc_area": areas},
    }


@pytest.mark.parametrize("whole", [evaluation_page(evaluation()), comparison_page(comparison())])
def test_no_word_of_a_file_acts_and_nothing_is_fetched(whole: str) -> None:
    stands_alone(whole)
    assert "&lt;script&gt;alert(1)" in whole
    assert "\\x1b[31m\\u202e" in whole


def test_lines_stand_in_the_tables_of_lines_alone_and_can_be_left_out() -> None:
    document = evaluation()
    document["misses"]["missed"][0]["message"] = "the only text of a line"
    assert evaluation_page(document).count("the only text of a line") == 1
    assert "Worst misses" not in evaluation_page(evaluation(with_lines=False))


def test_a_long_line_is_cut() -> None:
    document = evaluation()
    document["misses"]["missed"][0]["message"] = "x" * 5000
    assert "x" * 401 not in evaluation_page(document)


def test_a_figure_that_is_not_known_is_a_dash_never_a_number() -> None:
    whole = evaluation_page(evaluation())
    assert "<td>–</td>" in whole
    assert "nan" not in whole.lower().replace("finance", "")
