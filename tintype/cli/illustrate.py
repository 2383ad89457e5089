"""``tintype illustrate``: draw a picture, and write the page of how it was made."""

import functools
import inspect
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tintype.cli.draw import LOADING, check_speed, drawing_options, load_model, lora_of, spacing_of, tiling_of
from tintype.cli.terminal import say
from tintype.errors import SettingsError

if TYPE_CHECKING:
    from tintype.illustrate.run_page import Page

LEFT_OUT = ("prompts", "output", "batch_size", "preview", "as_json")
"""Options of drawing that a page has no use for, or has in another form."""


def _sharing(command: Any) -> Any:
    """The command with the options that all ways to draw share."""
    own = list(inspect.signature(command).parameters.values())[:-1]  # without **settings
    shared = [p for p in inspect.signature(drawing_options).parameters.values() if p.name not in LEFT_OUT]
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own, *shared)]

    @functools.wraps(command)
    def with_options(**options: Any) -> None:
        command(**options)

    with_options.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


@_sharing
def illustrate(
    *,
    prompt: Annotated[str | None, typer.Argument(help="What to draw.", metavar="PROMPT", show_default=False)] = None,
    training: Annotated[
        Path | None, typer.Option(help="The folder of a training run, to tell what was learnt there.", metavar="DIR")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page's file name.  [default: outputs/PROMPT-SEED.html]"),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    mask: Annotated[Path | None, typer.Option(help="With --image: white is repainted, black is kept.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="With --image: above 0 up to 1, how much is drawn anew.")
    ] = None,
    language: Annotated[str, typer.Option("--lang", help="en or zh.")] = "en",
    full: Annotated[bool, typer.Option("--full", help="Everything in full, without the bound of 6 MB.")] = False,
    dials: Annotated[
        bool, typer.Option("--dials", help="Also 1 to 500 steps, guidance scales, and another prompt: takes long.")
    ] = False,
    other: Annotated[str | None, typer.Option(help="With --dials: the prompt to show beside this one.")] = None,
    numbers: Annotated[Path | None, typer.Option("--json", help="A file for the numbers of the page.")] = None,
    **settings: Any,
) -> None:
    """Draw a picture, and the page of how it was made: one file that opens anywhere. Or the page of a training."""
    start = time.perf_counter()
    _check(output, image, mask, strength)
    if training is not None:
        if prompt is not None or image is not None or dials or other is not None:
            raise SettingsError("--training makes the page of a training run and draws nothing: give it no prompt.")
        _write(
            _page_of_training(training, language, full, start), output or training / "illustrated.html", numbers, start
        )
        return
    if prompt is None:
        raise SettingsError("What is to be drawn? Give a prompt, or the folder of a training run with --training.")
    from tintype.illustrate.run_page import illustrate as draw_page
    from tintype.illustrate.strings import strings
    from tintype.pipeline.outputs import slug
    from tintype.pipeline.settings import Settings

    strings(language)
    model, device, dtype, threads = (settings.pop(name) for name in ("model", "device", "dtype", "threads"))
    loading = {name: settings.pop(name) for name in LOADING}
    tiling = tiling_of(settings.pop("tile"))
    check_speed(speed := settings.pop("speed"))
    settings["embeddings"] = settings["embeddings"] or ()
    settings["spacing"] = spacing_of(settings["spacing"])
    settings["loras"] = [lora_of(text) for text in settings["loras"] or ()]
    Settings(prompt=prompt, **settings)  # what cannot be is told before a model is loaded
    if strength is not None:
        settings["strength"] = strength
    sd = load_model(model, device, dtype, threads, speed, **loading)
    sd.tiling = tiling
    page = draw_page(
        sd,
        prompt,
        image=image,
        mask=mask,
        language=language,
        full=full,
        dials=dials,
        other=other,
        progress=_told(start),
        **settings,
    )
    place = output or Path("outputs") / f"{slug(prompt)}-{page.numbers['seed']}.html"
    _write(page, place, numbers, start)


def _page_of_training(folder: Path, language: str, full: bool, start: float) -> "Page":
    from tintype.illustrate.page_of_training import illustrate_training

    return illustrate_training(folder, language=language, full=full, progress=_told(start))


def _told(start: float) -> Callable[[str], None]:
    return lambda stage: say(f"{time.perf_counter() - start:5.1f} s  {stage}")


def _write(page: "Page", place: Path, numbers: Path | None, start: float) -> None:
    typer.echo(page.save(place))
    if numbers is not None:
        numbers.parent.mkdir(parents=True, exist_ok=True)
        numbers.write_text(json.dumps(page.numbers, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        typer.echo(numbers)
    say(f"{time.perf_counter() - start:.1f} s, {len(page.html.encode()) / 1e6:.1f} MB")


def _check(output: Path | None, image: Path | None, mask: Path | None, strength: float | None) -> None:
    """Tell what cannot be before a model is loaded for it."""
    if image is None and (mask is not None or strength is not None):
        raise SettingsError("--mask and --strength say how a picture is altered; give the picture with --image.")
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"The page is one HTML file; expected a name that ends in .html, not {output.name!r}.")
