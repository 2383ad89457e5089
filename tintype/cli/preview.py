"""The picture that develops in the terminal: ``--preview off|fast|full``.

``fast`` is the linear map from latents to colours, and never takes more than a hundredth of the time of the run: a
picture that took a while to show is followed by another no sooner than a hundred times that. ``full`` decodes.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tintype.cli.terminal_pictures import Kind, paint, terminal_kind, wipe
from tintype.errors import SettingsError

if TYPE_CHECKING:
    from PIL import Image

    from tintype.pipeline.run import Run
    from tintype.types import Step

PREVIEWS = ("off", "fast", "full")

SHARE = 0.008
"""Of the time of a run that fast previews may take."""

FIRST_SECONDS = 0.003
"""What the first picture is reckoned to take."""

COLUMNS = 64
"""The picture is at most this wide, and as the terminal is."""

BAR = 24

PreviewOption = Annotated[
    str | None, typer.Option(help="Watch it develop: off, fast, full.  [default: fast on a terminal]")
]


def chosen_preview(asked: str | None) -> str:
    """The preview that is asked for; unasked, ``fast`` where a person watches.

    Raises:
        SettingsError: an unknown one.
    """
    if asked is not None and asked not in PREVIEWS:
        raise SettingsError(f"preview is {asked!r}; expected one of {', '.join(PREVIEWS)}.")
    if asked is not None:
        return asked
    return "fast" if sys.stderr.isatty() and not os.environ.get("CI") else "off"


def preview_kind(chosen: str) -> Kind | None:
    """How the terminal shows pictures; None where none are to be shown, or it cannot."""
    can_write = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
    if chosen == "off" or not sys.stderr.isatty() or not can_write or os.name == "nt":
        return None
    return terminal_kind(os.environ, asks=sys.stdin is not None and sys.stdin.isatty())


def watch_develop(run: Run, chosen: str, kind: Kind) -> None:
    """Run to the end, with the picture as it develops above a bar. At the end nothing of it is left."""
    screen = Screen(run, chosen == "full", kind)
    try:
        for step in run:
            screen.show(step)
    finally:
        screen.clear()


class Screen:
    """A few lines of the terminal that are painted over and over: the picture, and the bar below it."""

    def __init__(self, run: Run, full: bool, kind: Kind) -> None:
        from tintype.illustrate.previews import latent_colours

        self._run, self._full = run, full
        self._kind: Kind = kind
        self._colours = latent_colours(run.model)
        self._start = time.monotonic()
        self._next = self._start + (0.0 if full else FIRST_SECONDS / SHARE)
        self._rows = 0  # of the picture that stands there

    def show(self, step: Step) -> None:
        """Bring the lines up to date."""
        began = time.monotonic()
        picture = ""
        if began >= self._next:
            picture = self._paint(self._images(step))
        above = f"\x1b[{self._rows}A" if picture and self._rows else ""
        if picture:
            self._rows = self._size[1]
            room = "\r\n" * self._rows + f"\x1b[{self._rows}A"  # scrolls where the screen ends here
            picture = f"\r{above}{room}\x1b7{picture}\x1b8\x1b[{self._rows}B"
        sys.stderr.write(f"{picture}\r{self._bar(step)}\x1b[K")
        sys.stderr.flush()
        if picture and not self._full:
            now = time.monotonic()
            self._next = now + (now - began) / SHARE

    def clear(self) -> None:
        """Take everything away again."""
        above = f"\x1b[{self._rows}A" if self._rows else ""
        sys.stderr.write(f"{wipe(self._kind) if self._rows else ''}\r{above}\x1b[J")
        sys.stderr.flush()

    def _images(self, step: Step) -> list[Image.Image]:
        from tintype.illustrate.previews import preview_images

        if self._full:
            return self._run.model.images(step.denoised)
        factor = 4 if self._kind in ("kitty", "iterm", "sixel") else 1
        return preview_images(step.denoised, self._colours, factor)

    def _paint(self, images: list[Image.Image]) -> str:
        from PIL import Image

        width, height = images[0].size
        sheet = Image.new("RGB", (width * len(images), height))
        for index, image in enumerate(images):
            sheet.paste(image, (index * width, 0))
        room = shutil.get_terminal_size()
        columns = min(COLUMNS, 32 * len(images), room.columns - 1)
        rows = max(1, round(columns * sheet.height / sheet.width / 2))
        if rows > room.lines - 3:
            rows = max(1, room.lines - 3)
            columns = max(1, min(columns, round(2 * rows * sheet.width / sheet.height)))
        self._size = (columns, rows)
        return paint(sheet, columns, rows, self._kind)

    def _bar(self, step: Step) -> str:
        done, whole = step.index + 1, len(self._run)
        full = BAR * done // whole
        passed = time.monotonic() - self._start
        left = passed / done * (whole - done)
        return f"drawing {'━' * full}{'─' * (BAR - full)} {done}/{whole} {_clock(passed)}, {_clock(left)} left"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
