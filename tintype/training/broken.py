"""Pictures that cannot be read: skipped, each by name and reason, up to a share; beyond it the work ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

from PIL import Image

from tintype.errors import ImageError, TrainingError
from tintype.images import read_picture
from tintype.training.shards import read_records
from tintype.training.sources import PictureSource

MAX_BROKEN = 0.05
NAMED = 3  # of the broken pictures in the message


class Reader:
    """Reads pictures of a source and keeps those apart that cannot be read.

    ``folder`` has the shards that were made before, whose skipped pictures count too. As soon as more than
    ``max_broken`` of the whole source are broken, TrainingError.
    """

    def __init__(self, source: PictureSource, folder: Path, max_broken: float = MAX_BROKEN) -> None:
        self.source, self.max_broken = source, max_broken
        self.broken = skipped(folder)
        self._check()

    def read(self, index: int) -> Image.Image | dict[str, str]:
        """An upright RGB picture; or the record of why there is none."""
        try:
            return read_picture(self.source.read(index)).rgb
        except ImageError as error:
            record = {"skipped": self.source.items[index].name, "why": str(error)}
            self.broken.append(record)
            self._check()
            return record

    def _check(self) -> None:
        if len(self.broken) <= self.max_broken * len(self.source.items):
            return
        first = "; ".join(f"{record['skipped']} ({record['why']})" for record in self.broken[:NAMED])
        raise TrainingError(
            f"{len(self.broken)} of {len(self.source.items)} pictures in {self.source.name} cannot be read, "
            f"which is more than {self.max_broken:.0%}. The first: {first}. "
            "Remove or mend them, or allow more with max_broken."
        )


def skipped(folder: Path) -> list[dict[str, str]]:
    """What the shards of a folder left out: the name of each picture, and why."""
    files = sorted(folder.glob("[0-9]*.jsonl"))
    return [record for file in files for record in read_records(file) if "skipped" in record]


def write_skipped(folder: Path) -> None:
    """Gathers what all shards of ``folder`` left out into ``skipped.jsonl``."""
    beside = folder / f".skipped.{os.getpid()}"
    beside.write_text("".join(json.dumps(record) + "\n" for record in skipped(folder)))
    beside.rename(folder / "skipped.jsonl")
