"""What a picture says of how it was made, read without trusting it: from our record, or else from A1111's text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tintype.errors import ImageError, SettingsError
from tintype.images import MAX_PIXELS, Picture, read_picture
from tintype.pipeline.a1111 import wanted
from tintype.pipeline.embedded import read_embedded
from tintype.pipeline.infotext import has_values, parse
from tintype.pipeline.settings import Settings

MAX_IMAGES = 1000
"""In one run; a record that speaks of more is not believed."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHORT_HASH = re.compile(r"[0-9a-f]{10,64}")
_OPTIONS: dict[str, type] = {"prediction": str, "zero_terminal_snr": bool, "ema": bool, "variant": str}


@dataclass(frozen=True)
class Recollection:
    """A picture and what it says of itself.

    ``settings`` are of the whole run and ``index`` is this picture's place in it. ``record`` is our own as it stands
    in the file, None where only A1111's text was there; ``model_hash`` the begin of a SHA-256, or all of it.
    ``estimates`` is given for a run that was stopped: after how many estimates of the picture. ``notices`` name what
    the text asks for and cannot be done.
    """

    path: Path
    picture: Picture
    settings: Settings
    index: int = 0
    estimates: int | None = None
    record: Mapping[str, Any] | None = None
    model: str | None = None
    model_hash: str | None = None
    vae: str | None = None
    vae_hash: str | None = None
    lora_hashes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    pixels_sha256: str | None = None
    notices: tuple[str, ...] = ()

    @property
    def alone(self) -> Settings | None:
        """The settings that draw this picture without the others of its run; None where it was the only one."""
        settings = self.settings
        if settings.num_images == 1 or settings.latents_sha256 is not None:
            return None
        place = self.index // settings.batch_size
        negative = settings.negative_prompts
        return replace(
            settings,
            prompt=settings.prompts[place],
            negative_prompt=negative and negative[place],
            seed=(settings.seed or 0) + self.index,
            batch_size=1,
        )


def recall(path: str | Path) -> Recollection:
    """What the picture at ``path`` says of how it was made.

    Raises:
        ImageError: no picture, one that says nothing, or one by a program whose pictures cannot be repeated.
        SettingsError: settings that cannot be.
    """
    path = Path(path).expanduser()
    found = read_embedded(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF, which found.notices tells
        picture = read_picture(path)
    if found.record is not None:
        recalled = _from_record(path, picture, found.record)
    elif found.parameters is not None and has_values(found.parameters):
        recalled = _from_text(path, picture, found.parameters)
    elif found.program is not None:
        raise ImageError(
            f"{path} was made by {found.program}, which keeps its own kind of record; such a picture cannot be "
            "repeated here. Only those of Tintype and of A1111's web UI and its kin can."
        )
    else:
        why = " ".join(found.notices) or (
            "Its text holds no settings." if found.parameters else "Its file holds no text about that."
        )
        raise ImageError(f"{path} does not say how it was made. {why}")
    _check_bounds(recalled)
    return replace(recalled, notices=found.notices + recalled.notices)


def _from_record(path: Path, picture: Picture, record: Mapping[str, Any]) -> Recollection:
    try:
        settings = Settings.from_dict(record.get("settings") or {})
    except SettingsError as error:
        by = str(record.get("tintype", "an unknown version"))[:40]
        raise SettingsError(f"The record in {path}, of Tintype {by}, cannot be read: {error}") from error
    index, stopped = record.get("index", 0), record.get("stopped_after")
    estimates = record.get("estimates", stopped)
    counts = [index] if stopped is None else [index, stopped, estimates]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        raise ImageError(f"The record in {path} is damaged: index {index!r}, stopped after {stopped!r}.")
    if index >= settings.num_images or settings.seed is None:
        raise ImageError(
            f"The record in {path} is damaged: picture {index} of {settings.num_images}, seed {settings.seed}."
        )
    load, loras = record.get("load"), record.get("loras")
    return Recollection(
        path,
        picture,
        settings,
        index,
        estimates if stopped is not None else None,
        record,
        _text(record.get("model")),
        _hash(record.get("model_sha256")),
        None,
        _hash(record.get("vae_sha256")),
        {name: value for name, value in loras.items() if _hash(value)} if isinstance(loras, dict) else {},
        {key: load[key] for key, kind in _OPTIONS.items() if isinstance(load.get(key), kind)}
        if isinstance(load, dict)
        else {},
        _hash(record.get("pixels_sha256")),
    )


def _from_text(path: Path, picture: Picture, text: str) -> Recollection:
    asked = wanted(parse(text))
    settings = asked.settings
    if settings.width is None or settings.height is None:
        settings = replace(settings, width=picture.rgb.width, height=picture.rgb.height)
    if settings.seed is None:
        raise ImageError(f"The text in {path} names no seed; without it nothing can be repeated.")
    return Recollection(
        path,
        picture,
        settings,
        model=asked.model,
        model_hash=asked.model_hash,
        vae=asked.vae,
        vae_hash=asked.vae_hash,
        lora_hashes=asked.lora_hashes,
        notices=asked.notices,
    )


def _check_bounds(recalled: Recollection) -> None:
    """Refuse what no picture of this size can have needed, before memory is taken for it."""
    settings = recalled.settings
    if settings.num_images > MAX_IMAGES:
        raise ImageError(f"{recalled.path} says that it is of a run of {settings.num_images:,} pictures; not believed.")
    pixels = (settings.width or 0) * (settings.height or 0)
    if pixels > max(MAX_PIXELS // 4, 4 * recalled.picture.rgb.width * recalled.picture.rgb.height):
        raise ImageError(f"{recalled.path} says that it was drawn at {settings.width}x{settings.height}; not believed.")


def is_short_hash(text: str | None) -> bool:
    """Whether a hash is the begin of a SHA-256. The web UI's older ones, of 8 digits, are of another kind."""
    return text is not None and _SHORT_HASH.fullmatch(text) is not None


def _hash(value: object) -> str | None:
    return value if isinstance(value, str) and _SHA256.fullmatch(value) else None


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None
