"""``tintype train``: teach every part, one command each or all in a row. Ctrl-C saves; the same command continues."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain as chain_of
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tintype.cli.terminal import INTERRUPTED, SECONDS_BETWEEN_LINES, say, stop_on_interrupt
from tintype.errors import SettingsError

if TYPE_CHECKING:
    from tintype.training import Chain, Training

STAGES = ("clip", "autoencoder", "denoiser")

train = typer.Typer(
    help="Teach a part of a Stable Diffusion, or all of them. Ctrl-C saves; the same command continues.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Recipe = Annotated[str, typer.Argument(help="small, or tiny for a minute's try.", metavar="RECIPE")]
Changes = Annotated[
    list[str] | None,
    typer.Argument(help="Dials of the recipe, such as lr=1e-4.", metavar="KEY=VALUE", show_default=False),
]
Folder = Annotated[
    Path | None, typer.Option(help="Where everything is kept.  [default: runs/RECIPE]", show_default=False)
]
Threads = Annotated[int | None, typer.Option(help="How many CPU threads to use.", min=1)]
Shard = Annotated[str, typer.Option(help="Make only the i-th of n shares: several machines can share the work.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder to write the model to.")]


@train.command()
def tokenizer(recipe: Recipe, folder: Folder = None) -> None:
    """Byte pairs from captions."""
    say(f"{len(_chain(recipe, folder, None).train_tokenizer())} tokens")


@train.command()
def pictures(recipe: Recipe, folder: Folder = None, shard: Shard = "0/1") -> None:
    """Draw the scenes to learn from."""
    chain = _chain(recipe, folder, 1)
    part, parts = _shard(shard)
    _watch_count("drawing", chain.draw_pictures(part=part, parts=parts), chain.recipe.pictures)


@train.command()
def clip(recipe: Recipe, changes: Changes = None, folder: Folder = None, threads: Threads = None) -> None:
    """The text and the image tower, from pictures and captions."""
    _stage("clip", recipe, changes, folder, threads)


@train.command()
def autoencoder(recipe: Recipe, changes: Changes = None, folder: Folder = None, threads: Threads = None) -> None:
    """Pictures to latents and back."""
    _stage("autoencoder", recipe, changes, folder, threads)


@train.command()
def latents(recipe: Recipe, folder: Folder = None, threads: Threads = None, shard: Shard = "0/1") -> None:
    """Encode the pictures, once."""
    chain = _chain(recipe, folder, threads)
    part, parts = _shard(shard)
    _watch_count("encoding", chain.cache_latents(part=part, parts=parts), chain.recipe.pictures)


@train.command()
def denoiser(recipe: Recipe, changes: Changes = None, folder: Folder = None, threads: Threads = None) -> None:
    """The noise predictor, steered by text."""
    _stage("denoiser", recipe, changes, folder, threads)


@train.command()
def judge(
    changes: Changes = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the judge here.")] = None,
    folder: Path = Path("runs/judge"),
    threads: Threads = None,
) -> None:
    """The network that `tintype evaluate` reads pictures with, from freshly drawn scenes."""
    import torch

    from tintype.evaluation.teaching import RECIPE, judge_training, write_judge
    from tintype.training import adjusted

    if threads is not None:
        torch.set_num_threads(threads)
    training = judge_training(adjusted(RECIPE, dict(map(_change, changes or []))), folder)
    _watch("judge", training)
    if output is not None:
        write_judge(training, output)
        typer.echo(output)


@train.command()
def model(recipe: Recipe, output: Output, folder: Folder = None) -> None:
    """Put the trained parts together: a folder that tintype and diffusers load."""
    _save(_chain(recipe, folder, None), output)


@train.command(name="all")
def everything(recipe: Recipe, folder: Folder = None, threads: Threads = None) -> None:
    """The whole chain, from nothing to a model in FOLDER/model. What is there already is not made again."""
    chain = _chain(recipe, folder, threads)
    if not (chain.folder / "tokenizer").exists():
        chain.train_tokenizer()
    _watch_count("drawing", chain.draw_pictures(), chain.recipe.pictures)
    _watch("clip", chain.clip_training(chain.recipe.clip))
    _watch("autoencoder", chain.autoencoder_training(chain.recipe.autoencoder))
    _watch_count("encoding", chain.cache_latents(), chain.recipe.pictures)
    _watch("denoiser", chain.denoiser_training(chain.recipe.denoiser))
    _save(chain, chain.folder / "model")


def _save(chain: Chain, output: Path) -> None:
    """The model, half as large on disk as in memory, with its card."""
    import torch

    from tintype.checkpoints.folder import save_folder
    from tintype.training.card import measure, write_card

    save_folder(chain.model(), output, dtype=torch.bfloat16, overwrite=True)
    write_card(chain, output, measure(chain))
    typer.echo(output)


def _stage(stage: str, recipe: str, changes: list[str] | None, folder: Path | None, threads: int | None) -> None:
    from tintype.training import adjusted

    chain = _chain(recipe, folder, threads)
    dials = adjusted(getattr(chain.recipe, stage), dict(map(_change, changes or [])))
    _watch(stage, getattr(chain, f"{stage}_training")(dials))


def _chain(recipe: str, folder: Path | None, threads: int | None) -> Chain:
    import torch

    from tintype.training import CHAINS, Chain

    if recipe not in CHAINS:
        raise SettingsError(f"There is no recipe {recipe!r}; there are {', '.join(CHAINS)}.")
    if threads is not None:
        torch.set_num_threads(threads)
    return Chain(CHAINS[recipe], folder or Path("runs") / recipe)


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"{text!r} changes nothing; expected KEY=VALUE, such as lr=1e-4.")
    return name, value


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise SettingsError(f"shard is {text!r}; expected i/n with i from 0 to n - 1, such as 0/4.")
    return int(part), int(parts)


def _watch_count(what: str, counts: Iterator[int], total: int) -> None:
    with _bar(what, total) as show:
        for ready in counts:
            show(ready, "")


def watch_ticks(ticks: Iterable[tuple[str, int, int]]) -> None:
    """Work of several kinds, told as (what, done, of): a bar for each."""
    for what, group in groupby(ticks, key=lambda tick: tick[0]):
        first = next(group)
        with _bar(what, first[2]) as show:
            for _, done, _ in chain_of((first,), group):
                show(done, "")


def _watch(what: str, training: Training) -> None:
    """Train to the end or to Ctrl-C, showing how far it is and how well it goes."""
    with stop_on_interrupt(training), _bar(what, training.recipe.pictures) as show:
        for step in training:
            metrics = "".join(f"  {name} {value:.3g}" for name, value in step.metrics.items())
            show(step.seen, f"loss {step.loss:.4f}{metrics}  {step.pictures_per_second:.0f} pictures/s")
    if training.seen < training.recipe.pictures:
        say(f"saved after {training.seen} pictures in {training.folder}; the same command continues")
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _bar(what: str, total: int):
    """A progress bar on a terminal, a line now and then elsewhere. Gives ``show(done, text)``."""
    if not sys.stderr.isatty():
        told = 0.0

        def tell(done: int, text: str) -> None:
            nonlocal told
            if time.monotonic() - told >= SECONDS_BETWEEN_LINES or done == total:
                told = time.monotonic()
                say(f"{what}: {done} of {total}  {text}".rstrip())

        yield tell
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, text="")
        yield lambda done, text: progress.update(task, completed=done, text=text)
