"""What all commands say, and how."""

import typer

INTERRUPTED = 130
"""The exit status after Ctrl-C, by the shell's custom."""

SECONDS_BETWEEN_LINES = 2.0
"""Of progress, where there is no terminal to draw a bar on."""


def say(text: str) -> None:
    """A line for the person at the terminal; stdout is for results."""
    typer.echo(text, err=True)
