"""One HTML page that stands alone: no scripts, nothing fetched, light, and fit for print.

Promises: text enters through `text` alone, which escapes what acts on a page and what acts on a terminal; the page
refers to nothing outside itself, and its policy forbids the browser to fetch anything.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from typing import NewType

from triage.report.escape import escaped

Markup = NewType("Markup", str)
"""HTML that is safe to put into a page: made here or in `plots`, never from what a file says."""

_STYLE = """
:root { --ink: #1f2328; --dim: #667079; --line: #d8dde2; --a: #1f4e79; --b: #b0611a; --c: #6b7780; }
* { box-sizing: border-box; }
body { margin: 2rem auto; padding: 0 1.5rem; max-width: 76rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { margin: .3rem 0; max-width: 52rem; }
.dim, caption, .axis { color: var(--dim); }
.finding { font-size: 1.1rem; font-weight: 600; margin: .8rem 0; }
table { border-collapse: collapse; margin: .6rem 0 1rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .22rem .7rem .22rem 0; text-align: right; vertical-align: top; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th { font-weight: 600; border-bottom: 1px solid var(--line); }
td { border-bottom: 1px solid #eef0f2; }
th.left, td.left { text-align: left; white-space: normal; }
td.left:first-child { min-width: 9rem; }
td.line { font: 12.5px/1.45 ui-monospace, monospace; text-align: left; white-space: normal; overflow-wrap: anywhere; }
.range { color: var(--dim); font-size: .85em; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
figure { margin: 0; width: 20rem; }
figcaption { font-weight: 600; margin-bottom: .2rem; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { margin: 0; padding: 0; max-width: none; font-size: 8.5pt; }
  h2, caption { break-after: avoid; } tr, figure { break-inside: avoid; } thead { display: table-header-group; }
}
"""


def text(value: object, limit: int | None = None) -> Markup:
    """Anything as text that cannot act: not on the page, and not on a terminal that it is copied to."""
    return Markup(html.escape(escaped(str(value), limit), quote=True))


def join(parts: Iterable[Markup], between: str = "\n") -> Markup:
    return Markup(between.join(parts))


def page(title: str, *parts: Markup) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
        f"{join(parts)}\n</body>\n</html>\n"
    )


def section(title: str, *parts: Markup) -> Markup:
    return Markup(f"<section>\n<h2>{text(title)}</h2>\n{join(parts)}\n</section>")


def paragraph(value: str, kind: str = "") -> Markup:
    return Markup(f"<p{_class(kind)}>{text(value)}</p>")


def cell(value: object, kind: str = "") -> Markup:
    """A cell of a table; `kind` is left, line (log text) or nothing, for numbers."""
    return Markup(f"<td{_class(kind)}>{text(value)}</td>")


def figure_cell(value: str, interval: str = "") -> Markup:
    """A number and, smaller, its interval."""
    after = f' <span class="range">{text(interval)}</span>' if interval else ""
    return Markup(f"<td>{text(value)}{after}</td>")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Markup]], *, caption: str = "", left: Collection[int] = (0,)
) -> Markup:
    """A table of cells; the heads of the columns numbered in `left` stand on the left."""
    heads = join(
        (Markup(f"<th{_class('left' if n in left else '')}>{text(name)}</th>") for n, name in enumerate(columns)), ""
    )
    body = "\n".join(f"<tr>{join(row, '')}</tr>" for row in rows)
    told = f"<caption>{text(caption)}</caption>" if caption else ""
    return Markup(f"<table>{told}<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>")


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
