"""Plots as inline SVG: both axes from 0 to 1; lines differ in dashes as well as in colour, for print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from triage.report.page import Markup, join, text

Point = tuple[float, float]

_SIDE: Final = 260  # of the plotting area, in units of the view box
_LEFT, _TOP, _BELOW, _RIGHT = 44, 10, 56, 12
_STROKES: Final = (("var(--a)", ""), ("var(--b)", "6 3"), ("var(--c)", "2 3"))


@dataclass(frozen=True)
class Series:
    """One line of a plot; with `sizes` each point is a disc of that share of the largest."""

    name: str
    points: Sequence[Point]
    sizes: Sequence[float] = ()


def plot(title: str, series: Sequence[Series], *, across: str, up: str, diagonal: bool = True) -> Markup:
    """At most three series; the axes are named `across` and `up`, and `diagonal` is the line of equality."""
    legend = 14 * len(series)
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BELOW + legend
    parts = [*_grid(across, up)]
    if diagonal:
        parts.append(_line([(0, 0), (1, 1)], "var(--line)", "", 1.2))
    for number, (one, (colour, dashes)) in enumerate(zip(series, _STROKES, strict=False)):
        parts.append(_line(one.points, colour, dashes, 1.8))
        most = max(one.sizes, default=1.0) or 1.0
        parts += [
            Markup(
                f'<circle cx="{_x(x)}" cy="{_y(y)}" r="{2 + 3 * (size / most) ** 0.5:.1f}" fill="{colour}" '
                'fill-opacity="0.75"/>'
            )
            for (x, y), size in zip(one.points, one.sizes, strict=False)
        ]
        at = _TOP + _SIDE + 48 + 14 * number
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(
            Markup(
                f'<line x1="{_LEFT}" x2="{_LEFT + 26}" y1="{at}" y2="{at}" stroke="{colour}" stroke-width="2"{dash}/>'
                f'<text x="{_LEFT + 33}" y="{at + 4}">{text(one.name)}</text>'
            )
        )
    drawn = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(title)}">{join(parts, "")}</svg>'
    return Markup(f"<figure><figcaption>{text(title)}</figcaption>{drawn}</figure>")


def side_by_side(*plots: Markup) -> Markup:
    return Markup(f'<div class="plots">{join(plots)}</div>')


def _grid(across: str, up: str) -> list[Markup]:
    parts = []
    for step in range(6):
        at = step / 5
        parts.append(
            Markup(
                f'<path d="M{_x(at)} {_y(0)}V{_y(1)}M{_x(0)} {_y(at)}H{_x(1)}" stroke="#eef0f2" fill="none"/>'
                f'<text x="{_x(at)}" y="{_y(0) + 15:.1f}" text-anchor="middle">{at:g}</text>'
                f'<text x="{_x(0) - 6:.1f}" y="{_y(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
            )
        )
    middle = _TOP + _SIDE / 2
    return [
        *parts,
        Markup(f'<path d="M{_x(0)} {_y(1)}V{_y(0)}H{_x(1)}" stroke="var(--c)" fill="none"/>'),
        Markup(f'<text x="{_x(0.5)}" y="{_y(0) + 32:.1f}" text-anchor="middle">{text(across)}</text>'),
        Markup(f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{text(up)}</text>'),
    ]


def _line(points: Sequence[Point], colour: str, dashes: str, width: float) -> Markup:
    path = " ".join(f"{_x(x)},{_y(y)}" for x, y in points)
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return Markup(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * value, 1)


def _y(value: float) -> float:
    return round(_TOP + _SIDE * (1 - value), 1)
