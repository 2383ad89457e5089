"""Settings on their way between the page and a run: what the studio draws, and numbers that a browser can hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tintype.errors import SettingsError
from tintype.pipeline.settings import Settings
from tintype.text.tags import split_loras

LARGEST_SIDE = 2048

LARGEST_NUMBER = 2**53 - 1
"""Beyond it a number of JavaScript is not exact: larger seeds travel as text."""


def settings_from(values: Any) -> Settings:
    """The settings that the page sends.

    Raises:
        SettingsError: what cannot be drawn, or not here: several pictures in one run, too large ones, files by path.
    """
    if isinstance(values, dict) and isinstance(seed := values.get("seed"), str) and seed.isdecimal():
        values = values | {"seed": int(seed[:30])}
    settings = Settings.from_dict(values)
    if settings.num_images != 1:
        raise SettingsError("The studio draws one picture a run; give one prompt and a batch_size of 1.")
    for name in ("width", "height"):
        side = getattr(settings, name)
        if side is not None and side > LARGEST_SIDE:
            raise SettingsError(f"{name} is {side}; expected at most {LARGEST_SIDE} in the studio.")
    if settings.mask_sha256 is not None or settings.latents_sha256 is not None:
        raise SettingsError("This picture was drawn with a mask or with given noise, which the studio does not keep.")
    loras = (*settings.loras, *split_loras(settings.prompts[0])[1])
    for name in (*(name for name, _ in loras), *settings.embeddings):
        if name != name.strip(" .") or any(sign in name for sign in "/\\~:\0"):
            raise SettingsError(f"{name!r} is a path; in the studio give the name of a file in the model's folders.")
    return settings


def settings_to_page(settings: Settings) -> dict[str, Any]:
    """The settings of one picture as the page takes them; ``settings_from`` takes them back."""
    seed = settings.seed
    return settings.to_dict() | {"seed": str(seed) if seed is not None and seed > LARGEST_NUMBER else seed}


def settings_of_one(settings: Settings, index: int) -> Settings:
    """The settings that draw one picture of a batch alone, by the rule of seeds."""
    which, negative = index // settings.batch_size, settings.negative_prompts
    return replace(
        settings,
        prompt=settings.prompts[which],
        negative_prompt=None if negative is None else negative[which],
        seed=settings.seeds[index],
        batch_size=1,
    )
