"""A folder of pictures, with its words as the two great camps keep them.

    metadata.jsonl | metadata.csv    Hugging Face's imagefolder: {"file_name": "a/1.png", "text": "a red boat"}
    1.png 1.txt | 1.caption          kohya's trainers: a file beside each picture, each line an alternative
    10_red boat/                     kohya's folders: ten visits in an epoch; without other words, "red boat"

A metadata file speaks for its folder and those below it: pictures that it does not name are left out.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tintype.errors import ImageError, TrainingError
from tintype.training.sources.source import (
    CAPTION_NAMES,
    PICTURE_ENDINGS,
    Item,
    captions_in,
    captions_of_lines,
)

METADATA = ("metadata.jsonl", "metadata.csv")
SIDE_CARS = (".txt", ".caption")
REPEATS = re.compile(r"^(\d+)_(.*)$")


class PictureFolder:
    """The pictures under a folder, sorted by their paths.

    Raises TrainingError where there is none, or where a metadata file cannot be understood.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, str(folder)
        found = sorted(path for path in folder.rglob("*") if path.name in METADATA and path.is_file())
        pictures = [p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_ENDINGS and p.is_file()]
        spoken_for = [path.parent for path in found]
        entries: dict[Path, tuple[str, ...]] = {}
        for path in found:
            entries |= dict(_described(path))
        left_out = 0
        for path in pictures:
            if path in entries:
                continue
            if any(path.is_relative_to(parent) for parent in spoken_for):
                left_out += 1
            else:
                entries[path] = _beside(path)
        if not entries:
            raise TrainingError(
                f"No picture in {folder}: expected files like 1.png (with 1.txt beside it), or a metadata.jsonl."
            )
        self.paths = sorted(entries)
        self.items = [self._item(path, entries[path]) for path in self.paths]
        self.notices = (f"{left_out} pictures that no metadata file names were left out",) if left_out else ()

    def _item(self, path: Path, captions: tuple[str, ...]) -> Item:
        repeats = 1
        for part in path.relative_to(self.folder).parent.parts:
            counted = REPEATS.match(part)
            if counted:
                repeats = int(counted[1])
                captions = captions or captions_of_lines(counted[2].replace("_", " "))
        size = path.stat().st_size if path.is_file() else None
        return Item(path.relative_to(self.folder).as_posix(), captions, repeats, size)

    def read(self, index: int) -> Path:
        """Raises ImageError where the picture is named and not there."""
        path = self.paths[index]
        if not path.is_file():
            raise ImageError(f"{path} is named in a metadata file and is not there.")
        return path


def _beside(path: Path) -> tuple[str, ...]:
    """The words in the file beside a picture."""
    for ending in SIDE_CARS:
        beside = path.with_suffix(ending)
        if beside.is_file():
            return captions_of_lines(_text(beside))
    return ()


def _described(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """(picture, captions) for each line of a metadata file."""
    for number, record in _records(path):
        place = f"{path}, line {number}"
        name = record.get("file_name")
        if not isinstance(name, str):
            raise TrainingError(f"{place} names no picture: expected the key 'file_name', got {', '.join(record)}.")
        captions = captions_in(record)
        if captions is None:
            raise TrainingError(
                f"{place} has no caption: expected one of {', '.join(CAPTION_NAMES)}, got {', '.join(record)}."
            )
        picture = path.parent / name
        if not picture.resolve().is_relative_to(path.parent.resolve()) and not picture.is_symlink():
            raise TrainingError(f"{place} names {name!r}, which lies outside of the folder. Copy the picture into it.")
        yield picture, captions


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = _text(path)
    if path.suffix == ".csv":
        yield from enumerate(csv.DictReader(text.splitlines()), 2)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise TrainingError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise TrainingError(f"{path}, line {number} is {type(record).__name__}; expected an object.")
        yield number, record


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path} is not UTF-8 ({error}). Save it as UTF-8.") from error
