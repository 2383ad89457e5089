"""The studio's one folder: what was made, each picture with its settings; and the pictures that were dropped.

A picture is only ever asked for by the name of a file in the folder, and never found through it anywhere else.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from tintype.errors import ImageError
from tintype.images import read_picture
from tintype.pipeline.outputs import read_record, save_image
from tintype.pipeline.provenance import save_picture
from tintype.pipeline.run import Run
from tintype.pipeline.settings import Settings
from tintype.studio.exchange import settings_of_one, settings_to_page

MOST_SHOWN = 60
"""Of the strip; older pictures stay in the folder."""

DROPPED = "dropped"
"""The folder within the folder for pictures to start from, named by the hash of their pixels."""

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Made:
    """A picture of the strip."""

    name: str
    width: int
    height: int
    model: str
    settings: dict[str, Any]
    stopped_after: int | None
    page: str | None = None
    """The name of its illustrated page, where there is one."""


class Gallery:
    """Pictures in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[str, float], Made | None] = {}  # records that were read
        self._lock = threading.Lock()

    def save(self, run: Run) -> Made:
        """Decode and keep the picture of a run."""
        path, _ = save_picture(run, 0, self.folder)
        made = self.made(path.name)
        assert made is not None, "what was just written has settings"
        return made

    def recent(self) -> list[Made]:
        """The latest pictures that have settings, the newest first."""
        newest = sorted(self._files(), reverse=True)
        found = (self.made(name) for _, name in newest)
        return list(islice((made for made in found if made is not None), MOST_SHOWN))

    def made(self, name: str) -> Made | None:
        """A picture by its name, or None where there is none with settings of one picture."""
        path = self.find(name, ".png")
        if path is None:
            return None
        key = (name, path.stat().st_mtime)
        with self._lock:
            if key not in self._known:
                self._known[key] = _read(path)
            made = self._known[key]
        page = path.with_suffix(".html")
        has_page = made is not None and self.find(page.name, ".html") is not None
        return None if made is None else replace(made, page=page.name if has_page else None)

    def find(self, name: str, suffix: str) -> Path | None:
        """The file of this name, if it is a plain file that lies in the folder itself."""
        path = self.folder / name
        if path.name != name or path.parent != self.folder or name.startswith(".") or path.suffix != suffix:
            return None
        try:
            return path if not path.is_symlink() and path.is_file() else None
        except OSError:  # a name that is too long for any file
            return None

    def drop(self, data: bytes) -> dict[str, Any]:
        """Keep a picture to start from, and tell the name that it has from now on."""
        picture = read_picture(data)
        place = self.folder / DROPPED / f"{picture.sha256}.png"
        if not place.is_file():
            save_image(picture.rgb, place)
        return {
            "sha256": picture.sha256,
            "width": picture.rgb.width,
            "height": picture.rgb.height,
            "notices": list(picture.notices),
        }

    def dropped(self, sha256: str) -> Path:
        """The picture that was dropped under this name.

        Raises:
            ImageError: it is not there any more, or never was.
        """
        place = self.folder / DROPPED / f"{sha256}.png"
        if not _HASH.fullmatch(sha256) or place.is_symlink() or not place.is_file():
            raise ImageError("The picture to start from is not in the studio's folder any more; drop it again.")
        return place

    def _files(self) -> Iterator[tuple[int, str]]:
        """(time, name) of each picture."""
        for path in self.folder.glob("*.png"):
            with contextlib.suppress(OSError):  # it was taken away just now
                if self.find(path.name, ".png"):
                    yield path.stat().st_mtime_ns, path.name


def _read(path: Path) -> Made | None:
    """What the file says of itself; None where it is not of one picture of ours."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            record = read_record(image) or {}
        settings = settings_of_one(Settings.from_dict(record.get("settings", {})), int(record.get("index", 0)))
        stopped = None if record.get("stopped_after") is None else int(record["stopped_after"])
    except (OSError, ValueError, TypeError, AttributeError, IndexError):  # whatever a foreign file says
        return None
    return Made(path.name, width, height, str(record.get("model", "")), settings_to_page(settings), stopped)
