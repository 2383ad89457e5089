"""Curves for TensorBoard, beside our own: event files through tensorboardX, which needs no TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from tintype.errors import MissingExtraError
from tintype.training.loop import Progress, Training
from tintype.training.watching.watcher import sheets_of

EVENTS = "events"


class EventWriter:
    """Losses, metrics and sheets into ``events/`` of the training's folder. Steps are pictures seen.

    Raises:
        MissingExtraError: tensorboardX is not installed.
    """

    def __init__(self) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                'Event files for TensorBoard are written by tensorboardX: pip install "tintype[tensorboard]".'
            ) from error
        self._open = SummaryWriter
        self._writer: Any = None
        self._saved = 0
        self._shown: set[int] = set()

    def begin(self, training: Training) -> None:
        """A new file; what an earlier one has of steps that are trained again is hidden by TensorBoard."""
        self._saved = training.saved
        self._shown = {seen for seen, _ in sheets_of(training.folder) if training.seen}
        purge = training.seen + 1 if training.seen else None
        self._writer = self._open(str(training.folder / EVENTS), purge_step=purge, flush_secs=10)

    def after(self, training: Training, progress: Progress) -> None:
        """A point of each curve."""
        values = {"loss": progress.loss, "lr": progress.lr, "gradient": progress.grad_norm, **progress.metrics}
        values["pictures_per_second"] = progress.pictures_per_second
        for name, value in values.items():
            self._writer.add_scalar(name, value, progress.seen)
        if training.saved != self._saved:
            self._saved = training.saved
            self._sheets(training)

    def end(self, training: Training) -> None:
        """All is on disk."""
        self._sheets(training)
        self._writer.close()

    def _sheets(self, training: Training) -> None:
        for seen, path in sheets_of(training.folder):
            if seen not in self._shown:
                self._shown.add(seen)
                pixels = np.asarray(Image.open(path).convert("RGB"))  # (H W 3)
                self._writer.add_image("sheet", pixels, seen, dataformats="HWC")
        self._writer.flush()
