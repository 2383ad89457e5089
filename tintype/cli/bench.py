"""``tintype bench``: how fast a model is on this machine, as a table to paste."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tintype.cli.draw import AUTO, check_speed, load_model
from tintype.cli.terminal import say
from tintype.errors import TintypeError

if TYPE_CHECKING:
    from torch import Tensor

    from tintype.pipeline.stable_diffusion import StableDiffusion
    from tintype.types import Denoise, Sigma

PROMPT = "a lighthouse on a cliff above the sea at sunset"


def bench(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A file, a folder, or a Hub name; without it, the model in the box."),
    ] = None,
    steps: Annotated[int, typer.Option(help="How many steps a picture takes.", min=1)] = 20,
    width: Annotated[int | None, typer.Option(help="Pixels, a multiple of 8 from 64 up.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels, a multiple of 8 from 64 up.")] = None,
    repeats: Annotated[int, typer.Option(help="How many pictures are drawn.", min=1)] = 3,
    whole: Annotated[bool, typer.Option("--whole/--no-whole", help="Also a whole process, from the shell.")] = True,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps ...  [default: a GPU if there is one]")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="How many CPU threads to use.  [default: one a core]", min=1)
    ] = None,
    speed: Annotated[str, typer.Option(help="auto (the fastest that this machine has), fast or plain.")] = AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Tell everything as one JSON object.")] = False,
) -> None:
    """Measure how fast a model is on this machine."""
    check_speed(speed)
    asked = {"--model": model, "--device": device, "--dtype": dtype, "--threads": threads, "--speed": speed}
    asked |= {"--width": width, "--height": height, "--steps": steps}
    with _progress((repeats if whole else 0) + 2 * repeats + 1) as advance:
        # Before anything is loaded here: a process counts the memory of the one that started it as its own.
        seconds, memory = _whole(asked, repeats, advance) if whole else ([], None)
        sd = load_model(model, device, dtype, threads, speed)
        size: dict[str, Any] = {"width": width, "height": height}
        advance("one step, not counted")
        sd.text2img(PROMPT, seed=0, steps=1, **size).images  # noqa: B018
        parts = measure(sd, steps, repeats, lambda: advance("pictures"), **size)
    for notice in sd.obstacles:
        say(notice)
    if whole:
        parts["whole process, from the shell"] = seconds
    facts = _facts(sd, sd.text2img(PROMPT, seed=0, **size).settings.size, steps)
    if as_json:
        typer.echo(json.dumps({"machine": facts, "seconds": parts, "peak_bytes": memory}))
    else:
        typer.echo("\n".join(_table(facts, parts, memory)))


def measure(
    sd: StableDiffusion, steps: int, repeats: int, done: Callable[[], None], **size: Any
) -> dict[str, list[float]]:
    """The seconds of whole pictures and of each part while they are drawn. ``done`` is told of each picture."""
    clock = _Clock(sd)
    for _ in range(repeats):
        with clock.measuring("text encoder, prompt and negative prompt"), sd.turn():
            sd.conditioner([PROMPT, ""])
        with clock.measuring(f"a picture, {steps} steps"):
            run = sd.text2img(PROMPT, seed=0, steps=steps, **size).wrap(clock.wrapper("UNet, one step with guidance"))
            latents = run.latents
            with clock.measuring("decoding"):
                sd.images(latents)
        done()
        with clock.measuring("a picture, 4 steps without guidance"):
            sd.text2img(PROMPT, seed=0, steps=4, guidance_scale=1.0, **size).images  # noqa: B018
        done()
    return clock.seconds


class _Clock:
    """Seconds by what they were spent on."""

    def __init__(self, sd: StableDiffusion) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._device = sd.device

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        """Counts the block, to the end of what the device was told in it."""
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds.setdefault(what, []).append(time.perf_counter() - start)

    def wrapper(self, what: str) -> Callable[[Denoise], Denoise]:
        """For ``Run.wrap``: counts each estimate."""

        def wrap(denoise: Denoise) -> Denoise:
            def timed(x: Tensor, sigma: Sigma) -> Tensor:
                with self.measuring(what):
                    return denoise(x, sigma)

            return timed

        return wrap

    def _wait(self) -> None:
        import torch

        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)


def _whole(asked: dict[str, Any], repeats: int, advance: Callable[[str], None]) -> tuple[list[float], int | None]:
    """The seconds of whole ``tintype text2img``, and the most memory that one took; TintypeError where one fails."""
    import subprocess
    import tempfile

    said = [str(word) for option in asked.items() if option[1] is not None for word in option]
    command = [sys.executable, "-m", "tintype", "text2img", PROMPT, "--seed", "0", *said]
    seconds = []
    for _ in range(repeats):
        advance("whole processes")
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="tintype-") as folder:
            done = subprocess.run([*command, "-o", f"{folder}/a.png"], capture_output=True, text=True)
        if done.returncode:
            raise TintypeError(f"A whole process failed: {done.stderr.strip()[-500:]}")
        seconds.append(time.perf_counter() - start)
    return seconds, _children_peak()


def _children_peak() -> int | None:
    """The most memory that a process started here had in use; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@contextmanager
def _progress(parts: int) -> Iterator[Callable[[str], None]]:
    """A function that is told what begins; on a terminal it shows how far everything is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=parts)

        def advance(what: str) -> None:
            progress.update(task, description=what, advance=1)

        yield advance


def _facts(sd: StableDiffusion, size: tuple[int, int], steps: int) -> dict[str, Any]:
    import platform

    import torch

    from tintype.pipeline.provenance import machine_class
    from tintype.version import __version__

    return {
        "model": sd.name,
        "size": f"{size[0]} x {size[1]}",
        "steps": steps,
        "processor": processor(),
        "machine": machine_class(sd.device),
        "device": sd.device.type,
        "dtype": str(sd.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "speed": sd.profile,
        "tintype": __version__,
        "torch": torch.__version__,
        "system": platform.system(),
    }


def processor() -> str:
    """The processor's name, as the system calls it."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _table(facts: dict[str, Any], seconds: dict[str, list[float]], memory: int | None) -> Iterator[str]:
    import statistics

    f = facts
    yield f"{f['model']}, {f['size']}, {f['dtype']}, {f['speed']}: {f['processor']} ({f['machine']}), {f['device']},"
    yield f"{f['threads']} threads, torch {f['torch']}, tintype {f['tintype']}"
    yield ""
    yield "| | seconds | least to most |"
    yield "| --- | ---: | ---: |"
    for name, each in seconds.items():
        yield f"| {name} | {statistics.median(each):.3f} | {min(each):.3f} to {max(each):.3f} |"
    if memory is not None:
        yield f"| most memory of the process | {memory / 1e9:.2f} GB | |"
