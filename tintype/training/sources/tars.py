"""WebDataset shards: tar files in which a picture and its words stand under one name, ``00042.jpg 00042.txt``.

Local shards that are not compressed, as the format asks. Their headers are read once and every picture after that by
its place, so that order does not depend on streaming and a training resumes exactly. Only pictures, text and JSON
are looked at; shards may hold pickles too, and those are never read.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tintype.errors import ImageError, TrainingError
from tintype.training.sources.source import PICTURE_ENDINGS, Item, captions_in, captions_of_lines

WORDS = (".txt", ".caption", ".json")


@dataclass(frozen=True)
class _Place:
    shard: Path
    start: int
    size: int

    def bytes(self) -> bytes:
        with self.shard.open("rb") as file:
            file.seek(self.start)
            found = file.read(self.size)
        if len(found) < self.size:
            raise ImageError(f"{self.shard} ends inside this picture: {len(found)} of {self.size} bytes are there.")
        return found


@dataclass
class _Sample:
    name: str
    picture: _Place | None = None
    words: dict[str, _Place] = field(default_factory=dict)


class TarShards:
    """The pictures of tar files, in the order of the shards and within each as they stand.

    Raises TrainingError for a file that is no tar, or when there is no picture in any.
    """

    def __init__(self, shards: list[Path], name: str) -> None:
        self.name = name
        self.places: list[_Place] = []
        self.items: list[Item] = []
        notices: list[str] = []
        for shard in shards:
            for sample in _samples(shard, notices):
                if sample.picture is not None:
                    self.places.append(sample.picture)
                    self.items.append(Item(f"{shard.name}:{sample.name}", _captions(sample), size=sample.picture.size))
        if not self.items:
            raise TrainingError(f"No picture in {name}: expected members like 00042.jpg with 00042.txt beside them.")
        self.notices = tuple(notices)

    def read(self, index: int) -> bytes:
        """Raises ImageError where the shard ends before the picture does."""
        return self.places[index].bytes()


def _samples(shard: Path, notices: list[str]) -> Iterator[_Sample]:
    """Members of one name that stand together. A name ends at the first dot after the last slash."""
    current: _Sample | None = None
    for name, place in _members(shard, notices):
        folder, slash, file = name.rpartition("/")
        stem, dot, ending = file.partition(".")
        key, ending = folder + slash + stem, (dot + ending).lower()
        if current is None or current.name != key:
            if current is not None:
                yield current
            current = _Sample(key)
        if ending in PICTURE_ENDINGS and current.picture is None:
            current.picture = place
        elif ending in WORDS:
            current.words[ending] = place
    if current is not None:
        yield current


def _members(shard: Path, notices: list[str]) -> Iterator[tuple[str, _Place]]:
    try:
        tar = tarfile.open(shard, "r:")  # noqa: SIM115 (closed below)
    except (tarfile.TarError, OSError) as error:
        raise TrainingError(f"{shard} is no tar file ({error}). Compressed shards must be unpacked first.") from error
    with tar:
        count = 0
        while True:
            try:
                member = tar.next()
            except tarfile.TarError as error:
                notices.append(f"{shard} is damaged behind its first {count} members ({error})")
                return
            if member is None:
                return
            count += 1
            if member.isfile():
                yield member.name, _Place(shard, member.offset_data, member.size)


def _captions(sample: _Sample) -> tuple[str, ...]:
    try:
        for ending in (".txt", ".caption"):
            if ending in sample.words:
                return captions_of_lines(sample.words[ending].bytes().decode("utf-8-sig"))
        if ".json" in sample.words:
            record = json.loads(sample.words[".json"].bytes())
            return (captions_in(record) or ()) if isinstance(record, dict) else ()
    except (ValueError, ImageError):  # its picture stands; the words cannot be read
        return ()
    return ()
