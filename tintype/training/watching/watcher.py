"""Who looks on while a training runs, and how nothing is disturbed by it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from tintype.errors import SettingsError
from tintype.training.loop import Progress, Training
from tintype.training.watching.sheets import Sheet

SHEETS = "sheets"
SHARES = 8
"""Sheets of a training, where nothing is said of their number; the first one, before it begins, not counted."""


class Watcher(Protocol):
    """Is told when a training begins, after each of its steps, and when it has ended and is saved."""

    def begin(self, training: Training) -> None: ...  # noqa: D102

    def after(self, training: Training, progress: Progress) -> None: ...  # noqa: D102

    def end(self, training: Training) -> None: ...  # noqa: D102


def watched(training: Training, watchers: Sequence[Watcher]) -> Iterator[Progress]:
    """The steps of a training, each shown to the watchers first. Nobody is bothered where nothing is left to learn."""
    if training.seen >= training.recipe.pictures:
        return
    for watcher in watchers:
        watcher.begin(training)
    for progress in training:
        for watcher in watchers:
            watcher.after(training, progress)
        yield progress
    for watcher in watchers:
        watcher.end(training)


@contextmanager
def as_used(training: Training) -> Iterator[None]:
    """Within the block the model has its averaged weights and is ready for use; after it all is as it was, to the bit.

    That is the weights, which of the layers are in training, and the state of chance.
    """
    model = training.task.model
    weights = training.ema.weights if training.ema else {}
    modes = {module: module.training for network in (model, training.task.network) for module in network.modules()}
    learnt = {name: parameter.detach() for name, parameter in model.named_parameters() if name in weights}
    before = {name: parameter.clone() for name, parameter in learnt.items()}
    with torch.random.fork_rng(), torch.no_grad():
        try:
            for name, parameter in learnt.items():
                parameter.copy_(weights[name])
            for network in (model, training.task.network):
                network.eval()
            yield
        finally:
            for name, parameter in learnt.items():
                parameter.copy_(before[name])
            for module, mode in modes.items():
                module.training = mode


@dataclass(frozen=True)
class Moments:
    """When to look: every so many pictures, or when so many were seen."""

    every: int | None = None
    at: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: str) -> Moments:
        """``2000`` is every 2,000 pictures; ``500,2000,`` and ``500,2000`` are these counts; ``none`` is never."""
        if text == "none":
            return cls()
        parts = [part.strip() for part in text.split(",")]
        numbers = [int(part) for part in parts if part.isdecimal() and int(part)]
        if not numbers or len(numbers) < len([part for part in parts if part]):
            raise SettingsError(f"{text!r}: expected a count of pictures, several with commas, or none.")
        return cls(every=numbers[0]) if len(parts) == 1 else cls(at=tuple(numbers))

    @classmethod
    def of(cls, pictures: int) -> Moments:
        """A handful over a whole training."""
        return cls(every=max(1, pictures // SHARES))

    @property
    def never(self) -> bool:
        """Whether there are none."""
        return self.every is None and not self.at

    def passed(self, before: int, after: int) -> bool:
        """Whether one lies in the pictures from ``before`` (not counted) to ``after``."""
        if self.every is not None:
            return after // self.every > before // self.every
        return any(before < moment <= after for moment in self.at)


class SheetDrawer:
    """Draws sheets by the averaged weights: at the start, at ``moments`` and at the end.

    They go into ``sheets/`` of the training's folder; what each shows stands in ``sheets/about.json``.
    """

    def __init__(self, sheet: Sheet, moments: Moments) -> None:
        self.sheet, self.moments = sheet, moments
        self._seen = 0
        self._drawn = -1

    def begin(self, training: Training) -> None:
        """One of random weights, where the training begins."""
        self._seen = training.seen
        if training.seen == 0:
            self._draw(training)

    def after(self, training: Training, progress: Progress) -> None:
        """One where a moment has come."""
        if self.moments.passed(self._seen, progress.seen):
            self._draw(training)
        self._seen = progress.seen

    def end(self, training: Training) -> None:
        """The last one."""
        if training.seen == training.recipe.pictures and self._drawn != training.seen:
            self._draw(training)

    def _draw(self, training: Training) -> None:
        folder = training.folder / SHEETS
        folder.mkdir(parents=True, exist_ok=True)
        with as_used(training):
            image, found = self.sheet.draw()
        self._drawn = training.seen
        with replaced(folder / f"{training.seen:012d}.png") as beside:
            image.save(beside, format="PNG")
        about = read_about(training.folder)
        sheets = {**about.get("sheets", {}), str(training.seen): found}
        write_json(folder / "about.json", {**self.sheet.about, "sheets": sheets})


def sheets_of(folder: Path) -> list[tuple[int, Path]]:
    """The sheets of a training's folder: after how many pictures, and where."""
    return [(int(path.stem), path) for path in sorted((folder / SHEETS).glob("[0-9]*.png"))]


def read_about(folder: Path) -> dict:
    """What the sheets of a training's folder show; empty where there are none."""
    path = folder / SHEETS / "about.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path: Path, value: Any) -> None:
    """Writes a value that readers never meet in halves; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as beside:
        beside.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A place to write to, which takes the name ``path`` when all is written: readers never meet half a file."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
