"""``tintype studio``: the page in the browser where pictures develop."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from tintype.cli.draw import load_model
from tintype.cli.terminal import say
from tintype.errors import MissingExtraError

PORT = 8420


def studio(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model's file or folder; without it, the model in the box.")
    ] = None,
    port: Annotated[int, typer.Option(help="Where it listens; 0 for any that is free.", min=0, max=65535)] = PORT,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of its pictures.")] = Path("outputs"),
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps ...  [default: a GPU if there is one]")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="How many CPU threads to use.  [default: one a core]", min=1)
    ] = None,
) -> None:
    """Draw in the browser: a page on this machine, for this machine alone."""
    try:
        from tintype.studio.serve import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tintype"):
            raise
        raise MissingExtraError(f'The studio needs {error.name}: pip install "tintype[studio]".') from error

    sd = load_model(model, device, dtype, threads, stays=True)
    for notice in sd.notices:
        say(notice)

    def ready(address: str) -> None:
        say(f"The studio is open at {address} (Ctrl-C closes it).")
        if open_page:
            webbrowser.open(address)

    serve(sd, output, port, ready)
