"""A training as a person sees it: live on a terminal, as lines elsewhere; sheets, a page and event files on the way."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from tintype.cli.terminal import INTERRUPTED, SECONDS_BETWEEN_LINES, say, speaks, stop_on_interrupt, stop_together

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tintype.training import Chain, Progress, Training
    from tintype.training.watching import Moments, Sheet, Watcher

Sheets = Annotated[
    str | None,
    typer.Option(
        "--sheets",
        help="Draw a sheet every so many pictures (2000), at these counts (500,2000,8000), or none.",
        metavar="PICTURES",
        show_default=False,
    ),
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Also write event files for TensorBoard.")]

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 32
RECENT = 50
"""Updates by whose pace the time that is left is told."""


def moments_of(sheets: str | None) -> Moments | None:
    """What ``--sheets`` says; None where it was not given."""
    from tintype.training.watching import Moments

    return None if sheets is None else Moments.read(sheets)


def watch_stage(what: str, training: Training, chain: Chain, moments: Moments | None, tensorboard: bool) -> None:
    """A stage of a chain: its sheets, and the page of the whole run."""
    from tintype.training.watching import Moments, PageWriter, ProvenanceKeeper, sheet_of

    if training.seen >= training.recipe.pictures:
        return
    moments = Moments.of(training.recipe.pictures) if moments is None else moments
    sheet = None if moments.never or not draws_sheets(training) else sheet_of(chain, training)
    keeper = ProvenanceKeeper(chain.recipe, chain.folder)
    watch(what, training, [keeper, *_drawers(sheet, moments), *_events(tensorboard), PageWriter(chain.folder)])


def watch_alone(what: str, training: Training, sheet: Sheet | None, moments: Moments | None, tensorboard: bool) -> None:
    """A training that is no stage of a chain."""
    from tintype.training.watching import PageWriter, ProvenanceKeeper

    sheet = sheet if draws_sheets(training) else None
    page = PageWriter(training.folder)
    watch(what, training, [ProvenanceKeeper(), *_drawers(sheet, moments), *_events(tensorboard), page])


def watch(what: str, training: Training, watchers: list[Watcher]) -> None:
    """Train to the end or to Ctrl-C, showing how far it is and how well it goes.

    Of several processes the first one looks and writes, while the others wait.
    """
    from tintype.speed.memory import keep_freed_memory
    from tintype.training.watching import watched

    keep_freed_memory()
    stopping = stop_on_interrupt if training.group.alone else stop_together
    with stopping(training), _display(what, training) as display:
        for progress in watched(training, watchers if training.group.is_first else []):
            display.show(progress)
    if training.seen < training.recipe.pictures:
        say(f"saved after {training.seen} pictures in {training.folder}; the same command continues")
        raise typer.Exit(INTERRUPTED)


def draws_sheets(training: Training) -> bool:
    """Whether this process has the whole model: not where it is split among several, and only the first draws."""
    return training.group.is_first and training.recipe.shard != "fsdp"


def _drawers(sheet: Sheet | None, moments: Moments | None) -> list[Watcher]:
    from tintype.training.watching import SheetDrawer

    return [] if sheet is None or moments is None or moments.never else [SheetDrawer(sheet, moments)]


def _events(wanted: bool) -> list[Watcher]:
    from tintype.training.watching import EventWriter

    return [EventWriter()] if wanted else []


class Display(Protocol):
    """Shows the steps of a training as they come."""

    def show(self, progress: Progress) -> None: ...  # noqa: D102


@contextmanager
def _display(what: str, training: Training) -> Iterator[Display]:
    if not speaks() or not sys.stderr.isatty():
        yield Lines(what, training)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    panel = Panel(what, training, console)
    with Live(panel, console=console, refresh_per_second=4):
        yield panel


class Pace:
    """Pictures per second and the time that is left, by the last updates; saving and sheets count as they come."""

    def __init__(self, training: Training) -> None:
        self.whole = training.recipe.pictures
        self.marks = deque([(time.monotonic(), training.seen)], maxlen=RECENT)

    def mark(self, seen: int) -> None:
        """So many pictures by now."""
        self.marks.append((time.monotonic(), seen))

    @property
    def rate(self) -> float:
        """Pictures per second."""
        (start, first), (end, last) = self.marks[0], self.marks[-1]
        return (last - first) / (end - start) if end > start else 0.0

    @property
    def left(self) -> str:
        """Such as ``1:02:03 left``; a dash before there is a pace."""
        return clock((self.whole - self.marks[-1][1]) / self.rate) + " left" if self.rate else "–"


class Lines:
    """A line now and then, and one at the end."""

    def __init__(self, what: str, training: Training) -> None:
        self.what, self.training, self.pace = what, training, Pace(training)
        self.told = 0.0

    def show(self, progress: Progress) -> None:
        """A line, where the last one is long enough ago."""
        self.pace.mark(progress.seen)
        if progress.notice is not None:
            say(f"{self.what}: {progress.notice}")
        whole = self.training.recipe.pictures
        if time.monotonic() - self.told < SECONDS_BETWEEN_LINES and progress.seen < whole:
            return
        self.told = time.monotonic()
        metrics = "".join(f"  {name} {value:.3g}" for name, value in progress.metrics.items())
        say(
            f"{self.what}: {progress.seen} of {whole}  loss {progress.loss:.4f}{metrics}  "
            f"{progress.pictures_per_second:.0f} pictures/s  {self.pace.left}  {memory(self.training)}"
        )


class Panel:
    """What stands on a terminal while a training runs: rich asks for it a few times a second."""

    def __init__(self, what: str, training: Training, console: Console) -> None:
        self.what, self.training, self.pace, self.console = what, training, Pace(training), console
        self.sparks: dict[str, Spark] = {}
        self.last: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Takes a step in."""
        self.pace.mark(progress.seen)
        for name, value in {"loss": progress.loss, **progress.metrics, "gradient": progress.grad_norm}.items():
            self.sparks.setdefault(name, Spark()).add(value)
        if progress.notice is not None:  # above the panel, and it stays there
            self.console.print(f"{self.what}: {progress.notice}", markup=False, highlight=False, soft_wrap=True)
        self.last = progress

    def __rich_console__(self, console: Console, options: Any) -> Iterator[RenderableType]:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        seen, whole = self.pace.marks[-1][1], self.pace.whole
        head = Table.grid(padding=(0, 2))
        head.add_row(f"[bold]{self.what}[/]", ProgressBar(whole, seen, 32), f"{seen:,} of {whole:,}", self.pace.left)
        yield head
        if self.last is None:
            return
        body = Table.grid(padding=(0, 2))
        for name, spark in self.sparks.items():
            label = name.replace("_", " ")
            body.add_row(f"  {label}", f"{spark.last:.4g}", f"[magenta]{spark}[/]" if name == "loss" else str(spark))
        yield body
        skipped = f"   {self.last.skipped} left out" if self.last.skipped else ""
        yield Text(f"  {self.pace.rate:.3g} pictures/s   {memory(self.training)}   lr {self.last.lr:.2g}{skipped}")


class Spark:
    """A curve as one line of block characters: means over equal runs, halved in number whenever they become many."""

    def __init__(self) -> None:
        self.means: list[float] = []
        self.size, self.sum, self.count = 1, 0.0, 0
        self.last = float("nan")

    def add(self, value: float) -> None:
        """One more; what is not finite is not drawn."""
        self.last = value
        if not abs(value) < float("inf"):
            return
        self.sum, self.count = self.sum + value, self.count + 1
        if self.count == self.size:
            self.means.append(self.sum / self.size)
            self.sum, self.count = 0.0, 0
        if len(self.means) == 2 * SPARK_WIDTH:
            self.means = [(a + b) / 2 for a, b in zip(self.means[::2], self.means[1::2], strict=True)]
            self.size *= 2

    def __str__(self) -> str:
        """From the least value to the largest, lowest to highest block."""
        step = len(self.means) / min(len(self.means), SPARK_WIDTH) if self.means else 1.0
        shown = [self.means[int(place * step)] for place in range(min(len(self.means), SPARK_WIDTH))]
        if not shown:
            return ""
        least, span = min(shown), max(shown) - min(shown)
        return "".join(SPARKS[round((len(SPARKS) - 1) * (v - least) / span) if span else 0] for v in shown)


def clock(seconds: float) -> str:
    """3723 -> "1:02:03"; below an hour "2:03"."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def memory(training: Training) -> str:
    """What the training holds, on its device; of the processor's memory all that this program does."""
    import torch

    device = next(training.task.model.parameters()).device
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        return f"{(whole - free) / 1e9:.1f} of {whole / 1e9:.0f} GB"
    return f"{resident() / 1e9:.2f} GB"


def resident() -> int:
    """Bytes of memory that this program holds; where the system does not tell, the most that it has held."""
    try:
        import resource

        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * resource.getpagesize()
    except (OSError, ImportError):
        pass
    try:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
    except ImportError:
        return 0
