"""``tintype convert`` and ``tintype inspect``: what a model's files are, and in which form."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tintype.cli.again import tell_picture
from tintype.cli.terminal import say

if TYPE_CHECKING:
    from tintype.checkpoints.inspection import Report

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".avif")
SHOWN = 100
"""Characters of a metadata value."""


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
    if path.suffix.lower() in PICTURES and path.is_file():
        tell_picture(path, as_json)
        return
    from tintype.checkpoints.inspection import inspect as inspect_file

    report = inspect_file(path)
    typer.echo(json.dumps(report.to_dict()) if as_json else "\n".join(_lines(report)))


def _lines(report: "Report") -> list[str]:
    lines = [
        f"{report.path}: {report.what}",
        f"  form        {report.form}",
        f"  family      {report.family or 'none'}",
        f"  predicts    {report.prediction or 'not known'}{f' ({report.evidence})' if report.evidence else ''}",
    ]
    for part in report.parts:
        lines.append(
            f"  {part.name:<15} {part.parameters:>13,} parameters in {part.tensors:,} tensors, "
            f"{' and '.join(part.precisions)}"
        )
    for key, value in report.metadata.items():
        flat = " ".join(value.split())
        lines.append(f"  metadata    {key}: {flat if len(flat) <= SHOWN else flat[:SHOWN] + ' ...'}")
    if report.unknown:
        rest = f" and {len(report.unknown) - 3} more" if len(report.unknown) > 3 else ""
        lines.append(f"  not known   {', '.join(report.unknown[:3])}{rest}")
    lines += [f"  note        {notice}" for notice in report.notices]
    lines.append(f"  loads       {'yes' if report.loads else 'no: ' + (report.why_not or '')}")
    return lines
