"""A report as Markdown, as a page of its own, and as a section of a model's card."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from tintype.errors import SettingsError
from tintype.evaluation.figures import PERCENT, Figure, Report

HEADING = "## Evaluation"
NEXT = "\n## "
COLUMNS = ("", "measured", "95 %", "beside", "of", "")


def row(figure: Figure) -> tuple[str, str, str, str, str, str]:
    """A figure as the cells of a table."""
    interval = "" if figure.interval is None else " to ".join(map(figure.said, figure.interval))
    beside = ", ".join(f"{name} {figure.said(value)}" for name, value in figure.beside.items())
    return (figure.name, figure.said(figure.value), interval, beside, f"{figure.of:,}", figure.note)


def told(report: Report) -> str:
    """How the pictures were drawn."""
    settings = report.settings
    return (
        f"Pictures of {settings['size']}x{settings['size']} in {settings['steps']} steps, guidance "
        f"{settings['guidance_scale']:g}, unselected: picture i of a group has seed i."
    )


def markdown(report: Report) -> str:
    """The report as Markdown, its title left off."""
    lines = [told(report)]
    for part, figures in report.parts.items():
        lines += ["", f"### {part}", "", _line(COLUMNS), "| --- | ---: | --- | --- | ---: | --- |"]
        lines += [_line(row(figure)) for figure in figures]
    if report.not_measured:
        lines += ["", "### Not measured", "", *(f"- {what}" for what in report.not_measured)]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def write_page(report: Report, path: Path) -> None:
    """The report into a file; its ending says how: ``.md`` or ``.html``.

    Raises:
        SettingsError: another ending.
    """
    title = f"Evaluation of {report.model}"
    if path.suffix == ".md":
        text = f"# {title}\n\n{markdown(report)}"
    elif path.suffix == ".html":
        text = _page(report, title)
    else:
        raise SettingsError(f"{path.name}: a report is written as .html or .md.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def add_to_card(report: Report, card: Path) -> None:
    """The report as the section "Evaluation" of a card, in place of the one that is there."""
    text = card.read_text(encoding="utf-8") if card.exists() else f"# {report.model}\n"
    section = f"{HEADING}\n\n{markdown(report)}"
    before, found, after = text.partition(f"\n{HEADING}\n")
    _, more, rest = after.partition(NEXT)
    kept = f"{NEXT}{rest}" if found and more else ""
    card.write_text(f"{before.rstrip()}\n\n{section}{kept}", encoding="utf-8")


STYLE = """
:root { color-scheme: light dark; --ink: #1c1b22; --paper: #fbfaf7; --dim: #6a6875; --line: #dedbd2; --bar: #3465a4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eceaf2; --paper: #17161c; --dim: #a09dad; --line: #35333f; --bar: #7fa8e6; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 500; }
td:nth-child(2), td:nth-child(6) { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td:nth-child(2) { font-weight: 600; }
td:nth-child(3), td:last-child { color: var(--dim); }
svg { display: block; width: 9rem; height: 1rem; }
"""


def _page(report: Report, title: str) -> str:
    said = html.escape(title)
    parts = "".join(_table(part, figures) for part, figures in report.parts.items())
    missing = "".join(f"<li>{html.escape(what)}</li>" for what in report.not_measured)
    missing = f"<h2>Not measured</h2><ul>{missing}</ul>" if missing else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{said}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><h1>{said}</h1><p>{html.escape(told(report))} Bars: the measured share, its 95 % interval, and strokes "
        f"for what stands beside.</p>\n{parts}{missing}</body></html>\n"
    )


def _table(part: str, figures: list[Figure]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", "measured", "95 %", "", "beside", "of", ""))
    rows = []
    for figure in figures:
        name, value, interval, beside, of, note = map(html.escape, row(figure))
        cells = (name, value, interval, _bar(figure), beside, of, note)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n")
    return f"<h2>{html.escape(part)}</h2><table><tr>{head}</tr>\n{''.join(rows)}</table>\n"


def _bar(figure: Figure) -> str:
    """A share as a bar, with its interval and strokes at the baselines; nothing for other figures."""
    if figure.unit != PERCENT:
        return ""
    low, high = figure.interval or (figure.value, figure.value)
    strokes = "".join(
        f'<path d="M{100 * value:.1f} 0V16" stroke="currentColor" stroke-width=".8"><title>{html.escape(name)}</title>'
        "</path>"
        for name, value in figure.beside.items()
    )
    return (
        '<svg viewBox="0 0 100 16" preserveAspectRatio="none"><rect width="100" height="16" fill="var(--line)"/>'
        f'<rect y="3" width="{100 * figure.value:.1f}" height="10" fill="var(--bar)"/>'
        f'<path d="M{100 * low:.1f} 8H{100 * high:.1f}" stroke="var(--paper)" stroke-width="1.5"/>{strokes}</svg>'
    )
