"""``tintype again``: a picture drawn once more from what its file says, and how close it came."""

import dataclasses
import json
import math
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tintype.cli.preview import PreviewOption, chosen_preview
from tintype.cli.terminal import INTERRUPTED, printable, say, say_download, stop_on_interrupt
from tintype.cli.threads import set_threads

if TYPE_CHECKING:
    from tintype.checkpoints.again import Again


def again(
    picture: Annotated[Path, typer.Argument(help="A picture of Tintype's or of A1111's web UI.", metavar="PICTURE")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model's file or folder, where it is not found by its hash.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder, or the picture's file name.  [default: outputs]")
    ] = None,
    image: Annotated[str | None, typer.Option(help="The picture that it was drawn from.")] = None,
    mask: Annotated[str | None, typer.Option(help="The mask of an inpainted picture.")] = None,
    vae: Annotated[str | None, typer.Option(help="Another autoencoder, where it is not found by its hash.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ...  [default: where it was drawn]")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.  [default: as it was drawn]")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.  [default: as it was drawn]", min=1)] = None,
    preview: PreviewOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell everything as one JSON object.")] = False,
) -> None:
    """Draw a picture again from what its file says, and tell whether it came out the same."""
    import tintype
    from tintype.cli.draw import device_named, dtype_named, watch
    from tintype.pipeline.outputs import output_place
    from tintype.pipeline.provenance import save_picture
    from tintype.speed.memory import keep_freed_memory

    start = time.perf_counter()
    preview = chosen_preview(preview)
    output_place(output, "picture")
    _set_threads(picture, threads)
    keep_freed_memory()
    repeated = tintype.again(
        picture,
        model=model,
        vae=vae,
        image=image,
        mask=mask,
        device=device_named(device),
        dtype=dtype_named(dtype),
        progress=say_download(),
    )
    for run in repeated.runs():
        with stop_on_interrupt(run):
            watch(run, preview)
    if repeated.stopped:
        say("stopped; nothing was written")
        raise typer.Exit(INTERRUPTED)
    assert repeated.run is not None
    path, notices = save_picture(repeated.run, repeated.index, output)
    for notice in (*repeated.notices, *repeated.run.notices, *notices):
        say(printable(notice))
    say(printable(repeated.verdict))
    typer.echo(json.dumps(_told(repeated, path, time.perf_counter() - start)) if as_json else path)


def _told(repeated: "Again", path: Path, seconds: float) -> dict[str, Any]:
    distance = repeated.psnr
    return {
        "path": str(path),
        "identical": repeated.identical,
        "psnr": None if distance is None or math.isinf(distance) else round(distance, 2),
        "verdict": repeated.verdict,
        "differences": list(repeated.differences),
        "notices": list(repeated.notices),
        "seconds": round(seconds, 3),
    }


def _set_threads(picture: Path, threads: int | None) -> None:
    """As many as are asked for, or as the picture was drawn with, where this machine has as many."""
    from tintype.pipeline.recollection import recall

    if threads is None:
        recorded = (recall(picture).record or {}).get("threads")
        if isinstance(recorded, int) and 1 <= recorded <= (os.cpu_count() or 1):
            threads = recorded
    set_threads(threads)


def tell_picture(path: Path, as_json: bool) -> None:
    """What a picture says of how it was made, for ``tintype inspect``."""
    from tintype.pipeline.embedded import read_embedded

    found = read_embedded(path)
    if as_json:
        typer.echo(json.dumps({"path": str(path)} | dataclasses.asdict(found)))
        return
    by = "Tintype" if found.record else found.program or ("A1111's web UI or its kin" if found.parameters else None)
    typer.echo(f"{path}: a picture" + (f", made by {by}" if by else " that does not say how it was made"))
    for line in (found.parameters or "").splitlines():
        typer.echo(f"  parameters  {printable(line)}")
    for key, value in (found.record or {}).items():
        shown = value if isinstance(value, str) else json.dumps(value)
        typer.echo(f"  {printable(key):<14} {printable(shown)}")
    for notice in found.notices:
        typer.echo(f"  note        {printable(notice)}")
    if found.record:
        typer.echo(f"  again       tintype again {shlex.quote(str(path))}")
