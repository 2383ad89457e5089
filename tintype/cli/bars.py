"""Bars of counted work: on a terminal a bar, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain as chain_of
from itertools import groupby

from tintype.cli.terminal import SECONDS_BETWEEN_LINES, say, speaks


def watch_count(what: str, counts: Iterator[int], total: int) -> None:
    """Work that yields how much is done."""
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


@contextmanager
def _bar(what: str, total: int):
    """A progress bar on a terminal, a line now and then elsewhere. Gives ``show(done, text)``."""
    if not speaks():
        yield lambda done, text: None
        return
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
