"""``tintype train``: teach every part, one command each or all in a row. Ctrl-C saves; the same command continues.

``torchrun -m tintype train ...`` runs each command in several processes: they share what is drawn, encoded and learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tintype.cli.bars import watch_count
from tintype.cli.terminal import give, say
from tintype.cli.threads import set_threads
from tintype.cli.watch import Sheets, TensorBoard, moments_of, watch_alone, watch_stage
from tintype.errors import SettingsError

if TYPE_CHECKING:
    from tintype.training import Chain, Lesson
    from tintype.training.watching import Sheet

STAGES = ("clip", "autoencoder", "denoiser")

train = typer.Typer(
    help="Teach a part of a Stable Diffusion, or all of them. Ctrl-C saves; the same command continues.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Recipe = Annotated[str, typer.Argument(help="small, full, large, or tiny for a minute's try.", metavar="RECIPE")]
Changes = Annotated[
    list[str] | None,
    typer.Argument(
        help="data=FOLDER, size=128, flip=true for pictures of your own; dials of the recipe, such as lr=1e-4.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
LessonRecipe = Annotated[
    str, typer.Argument(help="box, sd (1, 2 and XL), or tiny for a try of seconds.", metavar="RECIPE")
]
LessonChanges = Annotated[
    list[str] | None,
    typer.Argument(
        help="data=FOLDER, model=FILE, steps=400, and dials such as lr=1e-4 text_encoder=true.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
LessonFolder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where all is kept.  [default: runs/DATA-lora or -finetune]", show_default=False),
]
Folder = Annotated[
    Path | None, typer.Option(help="Where everything is kept.  [default: runs/RECIPE]", show_default=False)
]
Threads = Annotated[int | None, typer.Option(help="How many CPU threads to use.  [default: one a core]", min=1)]
Shard = Annotated[str, typer.Option(help="Make only the i-th of n shares: several machines can share the work.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder to write the model to.")]


@train.command()
def tokenizer(recipe: Recipe, changes: Changes = None, folder: Folder = None) -> None:
    """Byte pairs from captions."""
    chain, _ = _chain(recipe, changes, folder, None)
    _by_the_first(lambda: say(f"{len(chain.train_tokenizer())} tokens"))


@train.command()
def pictures(recipe: Recipe, changes: Changes = None, folder: Folder = None, shard: Shard = "0/1") -> None:
    """Draw the scenes to learn from, or with data=FOLDER bring anybody's pictures to size."""
    chain, _ = _chain(recipe, changes, folder, 1)
    _pictures(chain, *_shard(shard))


@train.command()
def clip(
    recipe: Recipe,
    changes: Changes = None,
    folder: Folder = None,
    threads: Threads = None,
    sheets: Sheets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """The text and the image tower, from pictures and captions."""
    _stage("clip", recipe, changes, folder, threads, sheets, tensorboard)


@train.command()
def autoencoder(
    recipe: Recipe,
    changes: Changes = None,
    folder: Folder = None,
    threads: Threads = None,
    sheets: Sheets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Pictures to latents and back."""
    _stage("autoencoder", recipe, changes, folder, threads, sheets, tensorboard)


@train.command()
def latents(
    recipe: Recipe, changes: Changes = None, folder: Folder = None, threads: Threads = None, shard: Shard = "0/1"
) -> None:
    """Encode the pictures, once."""
    chain, _ = _chain(recipe, changes, folder, threads)
    _encode(chain, *_shard(shard))


@train.command()
def denoiser(
    recipe: Recipe,
    changes: Changes = None,
    folder: Folder = None,
    threads: Threads = None,
    sheets: Sheets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """The noise predictor, steered by text."""
    _stage("denoiser", recipe, changes, folder, threads, sheets, tensorboard)


@train.command()
def judge(
    changes: Changes = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the judge here.")] = None,
    folder: Path = Path("runs/judge"),
    threads: Threads = None,
    tensorboard: TensorBoard = False,
) -> None:
    """The network that `tintype evaluate` reads pictures with, from freshly drawn scenes."""
    from tintype.evaluation.teaching import RECIPE, judge_training, write_judge
    from tintype.training import adjusted

    set_threads(threads)
    training = judge_training(adjusted(RECIPE, dict(map(_change, changes or []))), folder)
    watch_alone("judge", training, None, None, tensorboard)
    if output is not None:
        write_judge(training, output)
        give(output)


@train.command()
def model(recipe: Recipe, output: Output, folder: Folder = None) -> None:
    """Put the trained parts together: a folder that tintype and diffusers load."""
    chain, _ = _chain(recipe, None, folder, None)
    _by_the_first(lambda: _save(chain, output))


@train.command(name="all")
def everything(
    recipe: Recipe,
    changes: Changes = None,
    folder: Folder = None,
    threads: Threads = None,
    sheets: Sheets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """The whole chain, from nothing to a model in FOLDER/model. What is there already is not made again."""
    chain, others = _chain(recipe, changes, folder, threads)
    moments, begin = moments_of(sheets), others.pop("begin", None)
    if others:
        raise SettingsError(f"{', '.join(others)}: all stages together take only {', '.join(OF_THE_CHAIN)} and begin.")
    _pictures(chain, 0, 1)
    if begin is None:
        _by_the_first(chain.tokenizer)
        watch_stage("clip", chain.clip_training(chain.recipe.clip), chain, moments, tensorboard)
    else:
        chain.recipe = chain.recipe.begun(begin)
    watch_stage("autoencoder", chain.autoencoder_training(chain.recipe.autoencoder), chain, moments, tensorboard)
    _encode(chain, 0, 1)
    watch_stage("denoiser", chain.denoiser_training(chain.recipe.denoiser), chain, moments, tensorboard)
    _by_the_first(lambda: _save(chain, chain.folder / "model"))


@train.command()
def lora(
    recipe: LessonRecipe,
    changes: LessonChanges = None,
    folder: LessonFolder = None,
    threads: Threads = None,
    sheets: Sheets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """A LoRA for a model that is there, from a folder of pictures."""
    _teach("lora", recipe, changes, folder, threads, sheets, tensorboard)


@train.command()
def finetune(
    recipe: LessonRecipe,
    changes: LessonChanges = None,
    folder: LessonFolder = None,
    threads: Threads = None,
    sheets: Sheets = None,
    tensorboard: TensorBoard = False,
) -> None:
    """All of a loaded model's UNet, from a folder of pictures: a whole model in FOLDER/model."""
    _teach("finetune", recipe, changes, folder, threads, sheets, tensorboard)


@train.command()
def cache(
    recipe: LessonRecipe,
    changes: LessonChanges = None,
    folder: LessonFolder = None,
    threads: Threads = None,
    shard: Shard = "0/1",
) -> None:
    """Prepare the latents and text features for a LoRA or a fine-tuning, and train nothing yet."""
    with _lesson("lora", recipe, changes, folder, threads) as lesson:
        _prepare(lesson, *_shard(shard))


def _teach(
    what: str,
    recipe: str,
    changes: list[str] | None,
    folder: Path | None,
    threads: int | None,
    sheets: str | None,
    tensorboard: bool,
) -> None:
    moments = moments_of(sheets)
    with _lesson(what, recipe, changes, folder, threads) as lesson:
        _prepare(lesson, 0, 1)
        sheet = None if moments is None or moments.never else _paintings(lesson)
        watch_alone(what, lesson.training(), sheet, moments, tensorboard)
        for path in lesson.save():
            give(path)


def _paintings(lesson: Lesson) -> Sheet:
    """What the model paints with what it has learnt so far: the first captions of its pictures."""
    from tintype.training.watching import Paintings, first_captions

    return Paintings(lesson.painter, first_captions(lesson.source, 4))


def _prepare(lesson: Lesson, part: int, parts: int) -> None:
    for notice in lesson.source.notices:
        say(f"{lesson.source.name}: {notice}")
    silent = sum(not item.captions for item in lesson.source.items)
    if silent:
        say(f"{silent} of {len(lesson.source.items)} pictures have no caption")
    _share_out("encoding", lesson.prepare, len(lesson.source.items), part, parts)
    _tell_skipped(lesson.folder / "latents")


def _lesson(what: str, recipe: str, changes: list[str] | None, folder: Path | None, threads: int | None) -> Lesson:
    """Of ``data=`` the pictures, of ``model=`` the model (the one in the box), of ``steps=`` the length; dials."""
    import torch

    import tintype
    from tintype.training import FINETUNES, LORAS, FinetuneLesson, FinetuneRecipe, LoraLesson, LoraRecipe, adjusted
    from tintype.training.processes import processes
    from tintype.training.sources import open_source

    recipes: Mapping[str, LoraRecipe | FinetuneRecipe] = LORAS if what == "lora" else FINETUNES
    if recipe not in recipes:
        raise SettingsError(f"There is no recipe {recipe!r} for {what}; there are {', '.join(recipes)}.")
    given = dict(map(_change, changes or []))
    data, source, steps = given.pop("data", None), given.pop("model", None), _number("steps", given.pop("steps", None))
    if data is None:
        raise SettingsError("There must be pictures to learn from: data=FOLDER.")
    dials = adjusted(recipes[recipe], given)
    if steps is not None:
        dials = replace(dials, pictures=steps * dials.batch_size)
    set_threads(threads)
    device = None if processes().alone else processes().device
    sd = tintype.load(source, device=device, dtype=None if torch.cuda.is_available() else torch.float32)
    pictures, folder = open_source(data), folder or Path("runs") / f"{Path(data).name}-{what}"
    if isinstance(dials, LoraRecipe):
        return LoraLesson(sd, pictures, dials, folder)
    return FinetuneLesson(sd, pictures, dials, folder)


def _save(chain: Chain, output: Path) -> None:
    """The model, half as large on disk as in memory, with its card."""
    import torch

    from tintype.checkpoints.folder import save_folder
    from tintype.training.card import measure, write_card, write_short_card

    save_folder(chain.model(), output, dtype=torch.bfloat16, overwrite=True)
    if chain.source is None and chain.denoiser_recipe.text and not chain.denoiser_recipe.pixels:
        write_card(chain, output, measure(chain))
    else:
        write_short_card(chain, output)
    give(output)


def _stage(
    stage: str,
    recipe: str,
    changes: list[str] | None,
    folder: Path | None,
    threads: int | None,
    sheets: str | None,
    tensorboard: bool,
) -> None:
    from tintype.training import adjusted

    moments = moments_of(sheets)
    chain, others = _chain(recipe, changes, folder, threads)
    dials = adjusted(getattr(chain.recipe, stage), others)
    watch_stage(stage, getattr(chain, f"{stage}_training")(dials), chain, moments, tensorboard)


OF_THE_CHAIN = ("data", "size", "flip")
"""Keys that say what all stages learn from. They are given once and kept in the run's folder."""


def _chain(
    recipe: str, changes: list[str] | None, folder: Path | None, threads: int | None
) -> tuple[Chain, dict[str, str]]:
    """The chain, and those changes that are for one stage."""
    from tintype.training import CHAINS, Chain
    from tintype.training.identity import kept
    from tintype.training.processes import processes

    if recipe not in CHAINS:
        raise SettingsError(f"There is no recipe {recipe!r}; there are {', '.join(CHAINS)}.")
    set_threads(threads)
    folder = folder or Path("runs") / recipe
    given = dict(map(_change, changes or []))
    stated = {name: given.pop(name) for name in OF_THE_CHAIN if name in given}
    with processes().first_goes_ahead():
        said = kept(folder / "data.json", stated)
    chosen = CHAINS[recipe]
    if said:
        if "data" not in said:
            raise SettingsError("size and flip are of anybody's pictures; say where they are: data=FOLDER.")
        chosen = chosen.of_data(said["data"], _number("size", said.get("size")), said.get("flip") == "true")
    return Chain(chosen, folder), given


def _number(name: str, text: str | None) -> int | None:
    if text is not None and not text.isdecimal():
        raise SettingsError(f"{name}={text!r}: expected a whole number.")
    return None if text is None else int(text)


def _pictures(chain: Chain, part: int, parts: int) -> None:
    """Draw, or bring to size; and say what was left out."""
    for notice in chain.source.notices if chain.source else ():
        say(f"{chain.source.name}: {notice}" if chain.source else notice)
    what = "drawing" if chain.source is None else "pictures"
    _share_out(what, chain.draw_pictures, chain.num_pictures, part, parts)
    if chain.source is not None:
        _tell_skipped(chain.folder / "pictures")


def _encode(chain: Chain, part: int, parts: int) -> None:
    _share_out("encoding", chain.cache_latents, chain.num_pictures, part, parts)


def _share_out(what: str, make: Callable[..., Iterator[int]], total: int, part: int, parts: int) -> None:
    """The ``part``-th of ``parts`` shares of some work, shared in its turn by the processes of this group."""
    from tintype.training.processes import processes

    group = processes()
    watch_count(what, make(part=part * group.count + group.index, parts=parts * group.count), total)
    group.wait()


def _by_the_first(work: Callable[[], object]) -> None:
    """Done once, while other processes wait."""
    from tintype.training.processes import processes

    with processes().first_goes_ahead():
        if processes().is_first:
            work()


def _tell_skipped(folder: Path) -> None:
    from tintype.training.broken import skipped

    count = len(skipped(folder))
    if count:
        say(f"{count} pictures could not be read; they are listed in {folder / 'skipped.jsonl'}")


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
