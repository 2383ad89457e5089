"""``tintype evaluate``: what a model can do, each figure beside a baseline."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tintype.cli.bars import watch_ticks
from tintype.cli.terminal import say
from tintype.cli.threads import set_threads
from tintype.errors import SettingsError

if TYPE_CHECKING:
    from tintype.evaluation import Evaluation, Report

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A model's folder or file, a name on the Hub, or the folder of a training run.  [default: the box]",
        show_default=False,
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write a page: .html or .md.", show_default=False)]
Json = Annotated[Path | None, typer.Option("--json", help="Write all figures as JSON.", show_default=False)]
Fast = Annotated[bool, typer.Option("--fast", help="Few pictures: minutes instead of an hour, wide intervals.")]
Pictures = Annotated[
    int | None, typer.Option(help="Of every group of prompts; the rest in proportion.  [default: 256]", min=4)
]
Keep = Annotated[
    Path | None,
    typer.Option(help="Where generated pictures are kept; the same command continues there.", show_default=False),
]
Card = Annotated[bool, typer.Option("--card", help="Put the report into the model's README.md.")]
Threads = Annotated[int | None, typer.Option(help="How many CPU threads to use.  [default: one a core]", min=1)]


def evaluate(
    model: Model = None,
    output: Output = None,
    json_file: Json = None,
    fast: Fast = False,
    pictures: Pictures = None,
    keep: Keep = None,
    card: Card = False,
    threads: Threads = None,
) -> None:
    """Measure a model: autoencoder, CLIP, denoiser, and whether its pictures show what the words say."""
    from tintype.evaluation import FAST, THOROUGH, Effort, Evaluation, add_to_card, examine, write_page
    from tintype.speed.memory import keep_freed_memory

    if output is not None and output.suffix not in (".html", ".md"):
        raise SettingsError(f"{output.name}: a report is written as .html or .md.")
    set_threads(threads)
    keep_freed_memory()
    effort = Effort.of(pictures) if pictures is not None else FAST if fast else THOROUGH
    examined = examine(model)
    if card and examined.folder is None:
        raise SettingsError("--card writes into a model's folder; this model has none.")
    examined.model.speed()
    with tempfile.TemporaryDirectory(prefix="tintype-") as scratch:
        report = _measured(Evaluation(examined, keep or Path(scratch), effort))
    _show(report)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        say(f"Wrote {json_file}")
    if output is not None:
        write_page(report, output)
        say(f"Wrote {output}")
    if card and examined.folder is not None:
        add_to_card(report, examined.folder / "README.md")
        say(f"Wrote {examined.folder / 'README.md'}")


def _measured(evaluation: Evaluation) -> Report:
    watch_ticks((tick.what, tick.done, tick.of) for tick in evaluation)
    return evaluation.report


def _show(report: Report) -> None:
    """One table on stdout."""
    from rich.console import Console
    from rich.table import Table

    from tintype.evaluation.page import COLUMNS, row, told

    console = Console(width=None if sys.stdout.isatty() else 160)
    for part, figures in report.parts.items():
        table = Table(title=part, title_justify="left", box=None, pad_edge=False)
        for name, justify in zip(COLUMNS, ("left", "right", "left", "left", "right", "left"), strict=True):
            table.add_column(name, justify=justify)
        for figure in figures:
            table.add_row(*row(figure))
        console.print(table)
        console.print()
    for what in report.not_measured:
        console.print(what, soft_wrap=True)
    console.print(told(report), soft_wrap=True)
