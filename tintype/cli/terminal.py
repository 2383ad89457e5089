"""What all commands say, and how; and how they hear Ctrl-C."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import typer

INTERRUPTED = 130
"""The exit status after Ctrl-C, by the shell's custom."""

SECONDS_BETWEEN_LINES = 2.0
"""Of progress, where there is no terminal to draw a bar on."""

LARGE_BYTES = 1_000_000
"""A file that is worth a line when it is fetched."""


def speaks() -> bool:
    """Whether this process talks: where a launcher has started several, the first does."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """A line for the person at the terminal; stdout is for results."""
    if speaks():
        typer.echo(text, err=True)


def give(result: object) -> None:
    """A result, on stdout."""
    if speaks():
        typer.echo(result)


def complain(text: str) -> None:
    """What went wrong, from whichever process it happened to."""
    typer.echo(f"tintype: {text}" if speaks() else f"tintype, process {os.environ['RANK']}: {text}", err=True)


def printable(text: str) -> str:
    """A text of unknown origin without what a terminal would obey: control characters become question marks."""
    return "".join(character if character.isprintable() else "?" for character in text)


class Stoppable(Protocol):
    """Work that can be told to end in good order: a run, a training."""

    def stop(self) -> None: ...  # noqa: D102


@contextmanager
def stop_on_interrupt(work: Stoppable) -> Iterator[None]:
    """The first Ctrl-C stops the work and keeps what is there; the second one ends the program."""

    def stop(*_: object) -> None:
        work.stop()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def stop_together(work: Stoppable) -> Iterator[None]:
    """Among several processes, Ctrl-C or SIGTERM for any of them stops the work of all.

    A launcher passes on what the terminal has sent already, so a second signal changes nothing; and it kills those that
    have not ended half a minute later.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, lambda *_: work.stop()) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def say_download() -> Callable[[str, int, int], None]:
    """Hears how far the files of a download are, and says so of the large ones: now and then, and at the end."""
    said = 0.0

    def hear(name: str, here: int, whole: int) -> None:
        nonlocal said
        if whole < LARGE_BYTES or (here < whole and time.monotonic() - said < SECONDS_BETWEEN_LINES):
            return
        said = time.monotonic()
        say(f"Fetching {name}: {here / 1e6:,.0f} of {whole / 1e6:,.0f} MB")

    return hear
