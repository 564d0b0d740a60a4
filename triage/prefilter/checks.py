"""Hold rules to their own tests: what `triage rules check` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from triage.errors import WrongInput
from triage.prefilter.rules import Written, written
from triage.prefilter.sift import hits


@dataclass(slots=True)
class Checked:
    """What was found. `failed`: what is not sound and what does not do as its test says, each a line of its own."""

    rules: int = 0
    tests: int = 0
    examples: int = 0
    untested: list[tuple[str, str]] = field(default_factory=list)  # (file and line, rule's id)
    failed: list[WrongInput] = field(default_factory=list)


def check(paths: Sequence[str]) -> Checked:
    """Load the built-in rules and those of `paths`, and run every test that stands in them."""
    checked = Checked()
    for found in written(paths):
        if isinstance(found, WrongInput):
            checked.failed.append(found)
            continue
        rule = found.rule
        checked.rules += 1
        checked.tests += len(rule.tests)
        checked.examples += sum(1 for test in rule.tests for _ in test.examples)
        if not rule.tests:
            checked.untested.append((found.where(), rule.id))
        checked.failed += _failures(found)
    return checked


def _failures(found: Written) -> Iterator[WrongInput]:
    rule = found.rule
    for number, test in enumerate(rule.tests):
        for name, place, example in test.examples:
            if unread := sorted(set(example.source) - set(rule.sources)):
                yield WrongInput(
                    f"rule {rule.id!r}: the example has the column {unread[0]!r}, which the rule does not read",
                    where=found.where("test", number, name, place),
                    expected=f"columns of {', '.join(rule.sources) or 'none'}",
                )
        events, of = test.slice(rule.sources)
        hit = set(hits(events, [rule])["row"].to_list())
        met: dict[tuple[str, int], list[bool]] = {}
        for row, example_of in enumerate(of):
            met.setdefault(example_of, []).append(row in hit)
        for (name, place), each in met.items():
            if all(one == (name == "match") for one in each):
                continue
            wanted = "a match" if name == "match" else "no match"
            count = f" of all {len(each)} events, {sum(each)} matched" if len(each) > 1 else ""
            yield WrongInput(
                f"rule {rule.id!r}: {name} {place + 1} of test {number + 1} fails",
                where=found.where("test", number, name, place),
                expected=wanted + count,
            )
