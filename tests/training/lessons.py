"""What tests of lessons share: a few pictures with captions, and a lesson from its preparation to its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tintype.training.lesson import Lesson
from tintype.training.sources import PictureSource, open_source


def coloured(folder: Path, subject: str) -> PictureSource:
    """Four pictures of a rectangle on a ground, in three shapes, each with a caption of its own."""
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate([(64, 64), (64, 64), (100, 64), (64, 100)]):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:] = rng.integers(0, 256, 3)
        pixels[20:50, 10:50] = rng.integers(0, 256, 3)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {subject} number {number}")
    return open_source(folder)


def taught(lesson: Lesson, stop_at: int | None = None) -> list[float]:
    """The losses of a lesson that is prepared, learnt (to the end or to ``stop_at`` pictures) and saved."""
    with lesson:
        list(lesson.prepare())
        training, losses = lesson.training(), []
        for progress in training:
            losses.append(progress.loss)
            if progress.seen == stop_at:
                training.stop()
        lesson.save()
    return losses
