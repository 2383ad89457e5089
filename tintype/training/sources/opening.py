"""What kind of place of pictures a user means, told from the place itself."""

from __future__ import annotations

import re
from pathlib import Path

from tintype.errors import TrainingError
from tintype.training.sources.folder import PictureFolder
from tintype.training.sources.source import PictureSource
from tintype.training.sources.tars import TarShards

ON_THE_HUB = "hf:"
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
SAVED_DATASET = ("dataset_dict.json", "dataset_info.json")


def open_source(place: str | Path) -> PictureSource:
    """The pictures at a place.

        photos/                      pictures with metadata.jsonl or text files beside them
        shards/ | a.tar | {000..012}.tar      WebDataset shards
        saved/ | parquet/            what ``datasets`` saved, or Parquet files
        hf:lambda/naruto             a name on the Hub; only this form asks the network

    Raises TrainingError where nothing is, or nothing that is understood.
    """
    text = str(place)
    if text.startswith(ON_THE_HUB):
        from tintype.training.sources.tables import from_hub

        return from_hub(text.removeprefix(ON_THE_HUB))
    if text.endswith(".tar"):
        return TarShards(_named(text), text)
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise TrainingError(
            f"There is no folder {text!r} to take pictures from. Expected a folder of pictures or of shards, "
            f"a .tar file, or {ON_THE_HUB}NAME for a dataset on the Hub."
        )
    if any((folder / name).is_file() for name in SAVED_DATASET):
        from tintype.training.sources.tables import from_disk

        return from_disk(folder)
    if next(folder.rglob("*.parquet"), None) is not None:
        from tintype.training.sources.tables import from_parquet

        return from_parquet(folder)
    shards = sorted(folder.glob("*.tar"))
    return TarShards(shards, text) if shards else PictureFolder(folder)


def _named(text: str) -> list[Path]:
    """``a/{000..012}.tar`` -> thirteen paths."""
    braces = BRACES.search(text)
    names = [text]
    if braces:
        first, last = braces[1], braces[2]
        numbers = range(int(first), int(last) + 1)
        names = [text[: braces.start()] + f"{n:0{len(first)}d}" + text[braces.end() :] for n in numbers]
    missing = [name for name in names if not Path(name).is_file()]
    if missing or not names:
        raise TrainingError(f"{len(missing)} of {len(names)} shards are not there, first {(missing or [text])[0]}.")
    return [Path(name) for name in names]
