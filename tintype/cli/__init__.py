"""The command line. Every command imports what it needs when it runs, so that ``--help`` answers at once.

A ``TintypeError`` is one line and exit status 1.
"""

import atexit
import gc
import sys
from typing import Annotated, Any

import typer

from tintype.cli.again import again
from tintype.cli.bench import bench
from tintype.cli.draw import img2img, inpaint, text2img
from tintype.cli.evaluate import evaluate
from tintype.cli.files import convert, inspect
from tintype.cli.illustrate import illustrate
from tintype.cli.studio import studio
from tintype.cli.terminal import complain
from tintype.cli.train import train
from tintype.errors import TintypeError


class CommandLine(typer.Typer):
    """Typer, with errors that users can cause told in one line."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        atexit.register(gc.freeze)  # what torch has made is not looked through object by object: half a second
        try:
            return super().__call__(*args, **kwargs)
        except TintypeError as error:
            complain(str(error))
            sys.exit(1)


app = CommandLine(
    help="Stable Diffusion that shows its work.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help starts three times as fast
    pretty_exceptions_enable=False,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        import tintype

        typer.echo(tintype.__version__)
        raise typer.Exit


@app.callback()
def _tintype(
    version: Annotated[
        bool, typer.Option("--version", help="Tell the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    pass


for command in (text2img, img2img, inpaint, illustrate, again, convert, inspect, evaluate, bench, studio):
    app.command()(command)
app.add_typer(train, name="train")
