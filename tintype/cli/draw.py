"""``tintype text2img``, ``img2img`` and ``inpaint``: parse, call, show.

Results go to stdout, one path a line or one JSON object; everything that is said goes to stderr.
"""

import functools
import inspect
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tintype.cli.preview import PreviewOption, chosen_preview, preview_kind, watch_develop
from tintype.cli.terminal import INTERRUPTED, SECONDS_BETWEEN_LINES, say, say_download, stop_on_interrupt
from tintype.cli.threads import set_threads
from tintype.errors import SettingsError

if TYPE_CHECKING:
    import torch

    from tintype.pipeline.run import Run
    from tintype.pipeline.stable_diffusion import StableDiffusion
    from tintype.speed import Tiling

AUTO = "auto"
"""The speed profile that is best on this machine."""

LOADING = ("vae", "prediction", "zero_terminal_snr", "ema", "lean", "variant", "revision", "offline")
"""The options that say how a model is loaded, by their names in ``tintype.load``."""


def drawing_options(
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="TEXT", help="One more prompt, with pictures of its own; repeatable."),
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to steer away from.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A file, a folder, or a Hub name; without it, the model in the box."),
    ] = None,
    vae: Annotated[str | None, typer.Option(help="Another autoencoder: a file, a folder, or a Hub name.")] = None,
    prediction: Annotated[str | None, typer.Option(help="eps, v or x0, where the model's own word is wrong.")] = None,
    zero_terminal_snr: Annotated[
        bool | None, typer.Option("--zero-terminal-snr/--no-zero-terminal-snr", help="The schedule ends in noise.")
    ] = None,
    ema: Annotated[bool, typer.Option("--ema", help="The averaged weights of a file that holds both.")] = False,
    lean: Annotated[
        bool | None,
        typer.Option(
            "--lean/--no-lean",
            help="Weights in half precision stay so: less memory, a little slower.  [default: where memory is short]",
        ),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="fp16, for a folder's files of that name.")] = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit of a Hub name.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what was fetched before.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder, or the picture's file name.  [default: outputs]")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Pixels, a multiple of 8 from 64 up.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels, a multiple of 8 from 64 up.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps, 1 to 1000.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="How strongly the prompt pulls; 1 is not at all.")
    ] = None,
    guidance_rescale: Annotated[float, typer.Option(help="0 to 1: the contrast that guidance adds, taken back.")] = 0.0,
    guidance_interval: Annotated[
        tuple[float, float] | None, typer.Option(help="Guide only between two sigmas.", metavar="LOW HIGH")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first picture.  [default: random]")] = None,
    noise: Annotated[str, typer.Option(help="Whose start noise the seed means: cpu, or philox, a GPU's.")] = "cpu",
    sampler: Annotated[str | None, typer.Option(help="ddim, euler, euler_a, heun, dpmpp_2m ...")] = None,
    eta: Annotated[float | None, typer.Option(help="0 to 1: the fresh noise of each step.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="leading, trailing, linspace, karras, or falling sigmas: 14,5,1,0.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-n", help="Pictures for each prompt.")] = 1,
    clip_skip: Annotated[int | None, typer.Option(help="The text encoder's layer from the end; 1 is the last.")] = None,
    long_prompt: Annotated[str, typer.Option(help="What to do beyond 75 tokens: chunk or truncate.")] = "chunk",
    emphasis: Annotated[str, typer.Option(help="Whose arithmetic (word:1.3) follows: a1111 or comfy.")] = "a1111",
    loras: Annotated[
        list[str] | None, typer.Option("--lora", metavar="NAME[:STRENGTH]", help="A LoRA, by name or path; repeatable.")
    ] = None,
    embeddings: Annotated[
        list[str] | None,
        typer.Option("--embedding", metavar="NAME", help="A textual inversion, by name or path; repeatable."),
    ] = None,
    original_size: Annotated[tuple[int, int] | None, typer.Option(help="SDXL.", metavar="HEIGHT WIDTH")] = None,
    crop: Annotated[tuple[int, int] | None, typer.Option(help="SDXL.", metavar="TOP LEFT")] = None,
    target_size: Annotated[tuple[int, int] | None, typer.Option(help="SDXL.", metavar="HEIGHT WIDTH")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps ...  [default: a GPU if there is one]")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="How many CPU threads to use.  [default: one a core]", min=1)
    ] = None,
    speed: Annotated[str, typer.Option(help="auto (the fastest that this machine has), fast or plain.")] = "auto",
    tile: Annotated[
        str,
        typer.Option(help="Decode in tiles: auto (above 768x768), off, or a size in pixels."),
    ] = "auto",
    preview: PreviewOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell everything as one JSON object.")] = False,
) -> None:
    """The options that all ways to draw share. Never called: only its signature counts."""


def _drawing(command: Callable[..., "Run"]) -> Callable[..., None]:
    """A command out of ``command(sd, ..., **settings) -> Run``: with the shared options, it loads, draws and shows."""
    own = [p for p in inspect.signature(command).parameters.values() if p.kind is p.KEYWORD_ONLY]
    shared = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(drawing_options).parameters.values()]

    @functools.wraps(command)
    def draw(
        *,
        prompt: str,
        prompts: list[str] | None,
        model: str | None,
        output: Path | None,
        device: str | None,
        dtype: str | None,
        threads: int | None,
        speed: str,
        tile: str,
        preview: str | None,
        as_json: bool,
        spacing: str | None,
        loras: list[str] | None,
        embeddings: list[str] | None,
        **options: Any,
    ) -> None:
        start = time.perf_counter()
        loading = {name: options.pop(name) for name in LOADING}
        options["prompt"] = (prompt, *prompts) if prompts else prompt
        options["spacing"] = spacing_of(spacing)
        options["loras"] = [lora_of(text) for text in loras or ()]
        options["embeddings"] = embeddings or ()
        tiling = tiling_of(tile)
        check_speed(speed)
        preview = chosen_preview(preview)
        _check(output, {name: value for name, value in options.items() if name not in ("image", "mask")})
        sd = load_model(model, device, dtype, threads, speed, **loading)
        sd.tiling = tiling
        run = command(sd, **options)
        for notice in run.notices:
            say(notice)
        if model is None and run.unknown:
            say(f"For any words: tintype {command.__name__} --model FOLDER-OF-A-BIG-CHECKPOINT {shlex.quote(prompt)}")
        with stop_on_interrupt(run):
            watch(run, preview)
            paths = _save(run, output)
        _tell(run, paths, time.perf_counter() - start, as_json)

    draw.__signature__ = inspect.Signature([*own, *shared])  # pyright: ignore[reportAttributeAccessIssue]
    draw.__annotations__ = {p.name: p.annotation for p in (*own, *shared)}
    return draw


Prompt = Annotated[str, typer.Argument(help="What to draw.", metavar="PROMPT", show_default=False)]
Picture = Annotated[str, typer.Argument(help="The picture to start from.", metavar="IMAGE", show_default=False)]
Strength = Annotated[float | None, typer.Option(help="Above 0 up to 1: how much is drawn anew.")]


@_drawing
def text2img(sd: "StableDiffusion", *, prompt: Prompt, **settings: Any) -> "Run":
    """Draw a picture from words."""
    return sd.text2img(prompt, **settings)


@_drawing
def img2img(
    sd: "StableDiffusion", *, image: Picture, prompt: Prompt, strength: Strength = None, **settings: Any
) -> "Run":
    """Draw a picture from a picture and words."""
    return sd.img2img(image, prompt, strength=strength, **settings)


@_drawing
def inpaint(
    sd: "StableDiffusion",
    *,
    image: Picture,
    mask: Annotated[str, typer.Argument(help="White is repainted, black is kept.", metavar="MASK", show_default=False)],
    prompt: Prompt,
    strength: Strength = None,
    mask_blur: Annotated[int | None, typer.Option(help="Pixels over which new and old mix, inside the mask.")] = None,
    **settings: Any,
) -> "Run":
    """Repaint a part of a picture."""
    return sd.inpaint(image, mask, prompt, strength=strength, mask_blur=mask_blur, **settings)


def _check(output: Path | None, settings: dict[str, Any]) -> None:
    """Tell what cannot be before a model is loaded for it."""
    from tintype.pipeline.outputs import output_place
    from tintype.pipeline.settings import Settings

    Settings(**settings)
    output_place(output, "picture")


def load_model(
    model: str | None,
    device: str | None,
    dtype: str | None,
    threads: int | None,
    speed: str = AUTO,
    stays: bool = False,
    **options: Any,
) -> "StableDiffusion":
    """The model that a command's options ask for; its hash is computed from now on, for the pictures that it draws.

    ``options``: those of ``tintype.load``. ``stays``: the process waits for more to do, and gives freed memory back.
    """
    import tintype
    from tintype.speed import best_profile
    from tintype.speed.memory import keep_freed_memory

    set_threads(threads)
    if not stays:
        keep_freed_memory()
    place, precision = device_named(device), dtype_named(dtype)
    sd = tintype.load(model, device=place, dtype=precision, progress=say_download(), **options)
    if sd.origin is not None:
        sd.origin.begin_hashing()
    return sd.speed(best_profile(sd.device, sd.dtype) if speed == AUTO else speed)


def check_speed(speed: str) -> None:
    """SettingsError for what ``--speed`` cannot be."""
    from tintype.speed import check_profile

    if speed != AUTO:
        check_profile(speed)


def device_named(name: str | None) -> "torch.device | None":
    """A device by its name; None for None. SettingsError for one that cannot be used."""
    import torch

    try:
        return None if name is None else torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # what torch raises for a name, and for what is not built in
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"The device {name!r} cannot be used: {reason}") from error


def dtype_named(name: str | None) -> "torch.dtype | None":
    """A precision by its name; None for None. SettingsError for an unknown one."""
    import torch

    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    names |= {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name is not None and name not in names:
        raise SettingsError(f"dtype is {name!r}; expected one of {', '.join(names)}.")
    return None if name is None else names[name]


def spacing_of(text: str | None) -> str | list[float] | None:
    """A name as it is; numbers with commas as sigmas."""
    if text is None or "," not in text:
        return text
    try:
        return [float(sigma) for sigma in text.split(",")]
    except ValueError:
        raise SettingsError(f"spacing is {text!r}; expected a name, or sigmas with commas: 14.6,5,1,0.") from None


def tiling_of(text: str) -> "Tiling | None":
    """What ``--tile`` says: auto, off, or the size of tiles into which every picture is then taken apart."""
    from tintype.speed import Tiling

    if text in ("auto", "off"):
        return Tiling() if text == "auto" else None
    if not text.isdecimal():
        raise SettingsError(f"tile is {text!r}; expected auto, off, or a number of pixels.")
    return Tiling(size=int(text), above=0)


def lora_of(text: str) -> tuple[str, float]:
    """A name or path, and behind the last colon a strength; without one, 1."""
    name, _, strength = text.rpartition(":")
    try:
        return (name, float(strength)) if name else (text, 1.0)
    except ValueError:  # a path with a colon in it
        return text, 1.0


def watch(run: "Run", preview: str = "off") -> None:
    """Run to the end, showing how far it is, and the picture where the terminal can."""
    if (kind := preview_kind(preview)) is not None:
        watch_develop(run, preview, kind)
        return
    if not sys.stderr.isatty():
        told = time.monotonic()
        for step in run:
            if time.monotonic() - told >= SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                say(f"step {step.index + 1} of {len(run)}")
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("drawing", total=len(run))
        for _ in run:
            progress.advance(task)


def _save(run: "Run", output: Path | None) -> list[Path]:
    """Decode and write every picture, with what made it."""
    from tintype.pipeline.provenance import save_picture

    paths = []
    for index in range(len(run.images)):
        path, notices = save_picture(run, index, output)
        for notice in notices:
            say(notice)
        paths.append(path)
    return paths


def _tell(run: "Run", paths: list[Path], seconds: float, as_json: bool) -> None:
    stopped = run.steps_done < len(run)
    if as_json:
        result = {
            "paths": [str(path) for path in paths],
            "seeds": list(run.seeds),
            "settings": run.settings.to_dict(),
            "seconds": round(seconds, 3),
            "notices": list(run.notices),
            "stopped_after": run.steps_done if stopped else None,
        }
        typer.echo(json.dumps(result))
    else:
        for path in paths:
            typer.echo(path)
    if stopped:
        say(f"stopped after {run.steps_done} of {len(run)} steps")
        raise typer.Exit(INTERRUPTED)
