"""``tintype convert`` and ``tintype inspect``: what a model's files are, and in which form."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tintype.cli.again import tell_picture
from tintype.cli.terminal import say

if TYPE_CHECKING:
    from tintype.checkpoints.inspection import Report

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif")
SHOWN, SHOWN_OF_A_KEY, MOST = 100, 32, 12
"""Characters of a metadata value and of its name, and how many entries."""
WIDTH = 100
"""Of a report that goes to a file."""


def convert(
    source: Annotated[str, typer.Argument(help="A file or a folder; box: the model that ships.", metavar="FROM")],
    target: Annotated[Path, typer.Argument(help="NAME.safetensors, or a folder to be made.", metavar="TO")],
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16.  [default: as the weights are]")
    ] = None,
    vae: Annotated[Path | None, typer.Option(help="A file with another autoencoder to put in.")] = None,
    prediction: Annotated[str | None, typer.Option(help="eps, v or x0, where the file does not say.")] = None,
    zero_terminal_snr: Annotated[
        bool | None, typer.Option("--zero-terminal-snr/--no-zero-terminal-snr", help="The schedule ends in noise.")
    ] = None,
    ema: Annotated[bool, typer.Option("--ema", help="The averaged weights of the UNet.")] = False,
    variant: Annotated[str | None, typer.Option(help="fp16, for a folder's files of that name.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Turn a folder into a single file, or a single file into a folder."""
    from tintype.checkpoints.convert import convert as convert_model
    from tintype.cli.draw import dtype_named

    notices = convert_model(
        None if source == "box" else source,
        target,
        dtype=dtype_named(dtype),
        vae=vae,
        prediction=prediction,
        zero_terminal_snr=zero_terminal_snr,
        ema=ema,
        variant=variant,
        overwrite=overwrite,
    )
    for notice in notices:
        say(notice)
    typer.echo(target)


def inspect(
    path: Annotated[Path, typer.Argument(help="A file of weights, a model's folder, or a picture.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="Tell everything as one JSON object.")] = False,
) -> None:
    """Tell what a file of weights is, without loading it, or how a picture was made."""
    from tintype.adapters.embedding_pictures import has_embedding
    from tintype.checkpoints.inspection import inspect as inspect_file

    suffix = path.suffix.lower()
    if suffix in PICTURES and path.is_file() and not (suffix == ".png" and has_embedding(path)):
        tell_picture(path, as_json)
        return

    report = inspect_file(path)
    if as_json:
        typer.echo(json.dumps(report.to_dict()))
    else:
        _show(report)


def _show(report: "Report") -> None:
    """The report as a card: what it is, its parts, what stands in it, and whether it loads."""
    from rich import box
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(report):
        facts.add_row(label, Text(value))
    parts = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="dim", show_footer=len(report.parts) > 1)
    parts.add_column("part", "all")
    for column, total in (("parameters", "parameters"), ("tensors", "tensors"), ("size", "bytes")):
        whole = sum(getattr(part, total) for part in report.parts)
        shown = size(whole) if total == "bytes" else f"{whole:,}"
        parts.add_column(column, shown, justify="right")
    parts.add_column("precision")
    for part in report.parts:
        numbers = f"{part.parameters:,}", f"{part.tensors:,}", size(part.bytes)
        parts.add_row(part.name, *numbers, ", ".join(part.precisions))
    verdict = Text("loads", "bold green") if report.loads else Text(f"does not load: {report.why_not}", "yellow")
    rows = [facts, *([parts] if report.parts else [Text()]), verdict]
    title = Text(Path(report.path).name, "bold")
    console.print(Panel(Group(*rows), title=title, title_align="left", box=box.ROUNDED, padding=(0, 1)))


def _facts(report: "Report") -> list[tuple[str, str]]:
    from tintype.checkpoints.detect import OURS

    facts = [("is", report.what), ("form", f"{report.form}, {size(report.bytes)}")]
    if report.family:
        facts.append(("family", report.family))
    if report.prediction:
        facts.append(("predicts", f"{report.prediction} ({report.evidence})"))
    facts += report.details.items()
    stated = [
        (key, value) for key, value in sorted(report.metadata.items()) if not (report.details and key.startswith("ss_"))
    ]
    for key, value in stated[:MOST]:
        flat = " ".join(value.split()) if key != OURS else "what shapes cannot say, for this program"
        flat = flat if len(flat) <= SHOWN else f"{flat[:SHOWN]} ..."
        facts.append((key if len(key) <= SHOWN_OF_A_KEY else f"{key[:SHOWN_OF_A_KEY]} ...", flat))
    if len(stated) > MOST:
        facts.append(("metadata", f"and {len(stated) - MOST} more entries: --json shows all"))
    if report.unknown:
        rest = f" and {len(report.unknown) - 3} more" if len(report.unknown) > 3 else ""
        facts.append(("not known", f"{', '.join(report.unknown[:3])}{rest}"))
    return facts + [("note", notice) for notice in report.notices]


def size(count: int) -> str:
    """Bytes as a person reads them."""
    for unit, worth in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= worth:
            return f"{count / worth:.3g} {unit}"
    return f"{count} bytes"
