"""What a comparison comes to, in one sentence. Copies are no evidence: it rests on templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ALPHA: Final = 0.05


def finding(agreement: Mapping[str, Any], against: Mapping[str, Any] | None) -> str:
    """Which run is better, or that the data cannot tell. One decides better that is right on more templates (McNemar, p
    below ALPHA), ranks better that has the larger ROC area (interval of the difference without zero), and is better
    that does both."""
    if against is None:
        return _without_labels(agreement)
    right = against["correct"]["seen"]["templates"]
    area = against["roc_area"]["templates"]["difference"]
    by_right = _sign(right["only_a"] - right["only_b"]) if right["p"] < ALPHA else 0
    by_area = 0
    if area["low"] is not None and (area["low"] > 0 or area["high"] < 0):
        by_area = _sign(area["value"])
    counts = (
        f"of {right['n']:,} templates {right['only_a']:,} are right in A only and {right['only_b']:,} in B only "
        f"(p = {right['p']:.2g})"
    )
    ranking = (
        "the ROC areas cannot be compared"
        if area["value"] is None
        else f"the ROC area of A is {abs(area['value']):.3f} {'above' if area['value'] >= 0 else 'below'} that of B"
        + (f" (A minus B: {area['low']:.3f} to {area['high']:.3f})" if area["low"] is not None else "")
    )
    told = f"{counts}; {ranking}."
    if by_right * by_area < 0:
        return f"{_name(by_right)} decides better and {_name(by_area)} ranks better: {told}"
    if by_right and by_area:
        return f"{_name(by_right)} is better: {told}"
    if by_right:
        return f"{_name(by_right)} decides better, and the data cannot tell which ranks better: {told}"
    if by_area:
        return f"{_name(by_area)} ranks better, and the data cannot tell which decides better: {told}"
    return f"The data cannot tell which is better: {told}"


def _without_labels(agreement: Mapping[str, Any]) -> str:
    if not agreement["changed_lines"]:
        return f"All {agreement['lines']:,} verdicts are the same."
    shown = agreement["shown"]["templates"]
    counts = (
        f"{shown['only_a']:,} templates are shown by A only and {shown['only_b']:,} by B only (p = {shown['p']:.2g})"
    )
    if shown["p"] < ALPHA:
        more = "A" if shown["only_a"] > shown["only_b"] else "B"
        return f"{more} shows more: {counts}; which is better only labels can say."
    return f"The data cannot tell whether one shows more: {counts}; which is better only labels can say."


def _name(sign: int) -> str:
    return "A" if sign > 0 else "B"


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
