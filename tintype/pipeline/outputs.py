"""Pictures on the disk: named after their prompt, with their settings inside, never over another file."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

from tintype.errors import ImageError
from tintype.pipeline.embedded import MAX_EXIF, exif, png_texts, read_embedded

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
OTHER_FORMATS = {".avif", ".bmp", ".gif", ".heic", ".jxl", ".tif", ".tiff"}
SLUG_LENGTH = 60


def slug(text: str) -> str:
    """A prompt as part of a file name: lower-case letters and digits of any script, and hyphens."""
    plain = unicodedata.normalize("NFKC", text).lower()
    words = re.findall(r"[^\W_]+", plain)
    name = ""
    for word in words:
        longer = f"{name}-{word}" if name else word
        if len(longer.encode()) > SLUG_LENGTH:
            break
        name = longer
    return name or "picture"


def output_place(output: str | Path | None, name: str) -> Path:
    """Where a picture is wanted: ``output`` itself if it is the name of a picture, else ``name``.png in that folder.

    Raises:
        ImageError: ``output`` asks for a format that is not written.
    """
    place = Path("outputs" if output is None else output).expanduser()
    suffix = place.suffix.lower()
    if not place.is_dir():
        if suffix in FORMATS:
            return place
        if suffix in OTHER_FORMATS:
            raise ImageError(f"Pictures are not written as {suffix}; expected one of {', '.join(FORMATS)}.")
    return place / f"{name}.png"


def save_image(
    image: Image.Image, place: Path, record: dict[str, Any] | None = None, parameters: str | None = None
) -> Path:
    """Write a picture at ``place``, or where that is taken beside it with a counter, and return where it is.

    The file appears whole: it is written under another name first. No file is ever overwritten, not even one that
    another program makes at the same moment.

    Args:
        image: 8-bit RGB.
        place: a path whose suffix is one of ``FORMATS``; its folder is made.
        record: what made the picture, kept inside it; something that JSON can hold.
        parameters: the same as A1111's web UI writes it. A JPEG has no room for texts of more than 64 KB; ``fits``
            tells.

    Raises:
        ImageError: the disk or its permissions do not let it.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=place.parent, prefix=".tintype-", suffix=place.suffix)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(image, file, FORMATS[place.suffix.lower()], record, parameters)
            os.chmod(beside, 0o666 & ~_umask())  # mkstemp makes files that only their owner may read
            return _give_name(Path(beside), place)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(f"The picture cannot be written to {place.parent}: {error.strerror or error}.") from error


def read_record(source: str | Path | Image.Image) -> dict[str, Any] | None:
    """The ``record`` that a picture was saved with, or None."""
    return read_embedded(source).record


def _write(image: Image.Image, file: Any, format: str, record: dict[str, Any] | None, parameters: str | None) -> None:
    image = image.copy()  # Pillow keeps a save's options on the image, where two threads leave each other's behind
    if format == "PNG":
        image.save(file, format, pnginfo=png_texts(record, parameters))
    else:
        limit = MAX_EXIF if format == "JPEG" else None
        image.save(file, format, quality=95, exif=exif(record, parameters, limit))


def _give_name(beside: Path, place: Path) -> Path:
    """Rename to the first name that is free. A link fails where a file is; a rename would replace it."""
    for number in count(1):
        path = place if number == 1 else place.with_stem(f"{place.stem}-{number}")
        try:
            os.link(beside, path)
            return path
        except FileExistsError:
            continue
        except OSError:  # a file system without links: take the name first, then put the picture in its place
            try:
                path.open("x").close()
            except FileExistsError:
                continue
            os.replace(beside, path)
            return path
    raise AssertionError("unreachable: the numbers do not end")


def _umask() -> int:
    """What the user's new files are to lack; the system only tells it in exchange for another."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
