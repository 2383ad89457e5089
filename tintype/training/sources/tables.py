"""Hugging Face's ``datasets``: what ``save_to_disk`` wrote, folders of Parquet files, and names on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tintype.errors import ImageError, MissingExtraError, TrainingError
from tintype.training.sources.source import CAPTION_NAMES, Item, captions_in

SPLIT = "train"


class PictureTable:
    """A dataset with a column of pictures and, where there is one, a column of captions.

    Raises TrainingError where there is no column of pictures.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        datasets = _datasets()
        self.name = name
        columns = dataset.features
        pictures = [column for column, feature in columns.items() if isinstance(feature, datasets.Image)]
        if not pictures:
            raise TrainingError(
                f"{name} has no column of pictures: expected one of type Image, got {', '.join(columns)}."
            )
        self.column = pictures[0]
        self.dataset = dataset.cast_column(self.column, datasets.Image(decode=False))
        words = next((column for column in CAPTION_NAMES if column in columns), None)
        values = dataset[words] if words else [None] * len(dataset)
        self.items = [
            Item(f"row {number}", (captions_in({"text": value}) or ()) if value is not None else ())
            for number, value in enumerate(values)
        ]
        self.notices = () if words else (f"no column is called {' or '.join(CAPTION_NAMES)}: there are no captions",)

    def read(self, index: int) -> bytes | Path:
        """Raises ImageError where the row has no picture."""
        cell = self.dataset[index][self.column]
        if cell and cell["bytes"]:
            return cell["bytes"]
        if cell and cell["path"]:
            return Path(cell["path"])
        raise ImageError(f"row {index} has no picture")


def from_disk(folder: Path) -> PictureTable:
    """What ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote."""
    return PictureTable(_split(_datasets().load_from_disk(str(folder)), str(folder)), str(folder))


def from_parquet(folder: Path) -> PictureTable:
    """Parquet files under a folder, in the order of their names; of several splits those of ``train``."""
    files = sorted(folder.rglob("*.parquet"))
    training = [file for file in files if SPLIT in file.relative_to(folder).as_posix()]
    chosen = [str(file) for file in training or files]
    dataset = _datasets().load_dataset("parquet", data_files={SPLIT: chosen}, split=SPLIT)
    return PictureTable(dataset, str(folder))


def from_hub(name: str) -> PictureTable:
    """A dataset by its name on the Hub, which asks the network unless it is in the cache."""
    try:
        return PictureTable(_datasets().load_dataset(name, split=SPLIT), f"hf:{name}")
    except (OSError, ValueError, RuntimeError) as error:  # datasets' own errors are of these
        raise TrainingError(f"The dataset {name} cannot be had: {error}") from error


def _split(dataset: Any, name: str) -> Any:
    if not isinstance(dataset, dict):
        return dataset
    if SPLIT not in dataset:
        raise TrainingError(f"{name} has the splits {', '.join(dataset)}; expected one called {SPLIT}.")
    return dataset[SPLIT]


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError('Datasets are read by a package: pip install "tintype[data]".') from error
    return datasets
