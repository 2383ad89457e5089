"""What all commands say, and how; and how they hear Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import typer

INTERRUPTED = 130
"""The exit status after Ctrl-C, by the shell's custom."""

SECONDS_BETWEEN_LINES = 2.0
"""Of progress, where there is no terminal to draw a bar on."""


def say(text: str) -> None:
    """A line for the person at the terminal; stdout is for results."""
    typer.echo(text, err=True)


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
