"""What A1111's words mean here: our settings as its text, and its text as our settings, as far as it goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tintype.diffusion import SAMPLERS, Schedule, a1111_names, resolve
from tintype.errors import SettingsError
from tintype.pipeline.infotext import Infotext, parse_pairs
from tintype.pipeline.settings import MAX_SEED, Settings

Number = TypeVar("Number", int, float)

OF_TIMESTEPS = ("ddim", "pndm", "unipc")
"""Samplers that the web UI spaces in one way of their own, whatever the schedule type."""

NOT_DONE = {
    "Hires": "the second pass in a larger size (Hires fix) is not drawn; this is the first",
    "Face restoration": "faces are not restored",
    "Variation seed": "variation seeds are not mixed in; the noise is that of the seed alone",
    "Seed resize from": "the noise is of this size",
    "ENSD": "the seed of the sampler's fresh noise is our own",
    "Tiling": "the picture does not tile",
    "Refiner": "the refiner does not take over",
    "TI hashes": "embeddings are not attached; their names are read as words",
    "Hypernet": "hypernetworks are not supported",
    "Token merging": "no tokens are merged",
    "NGMS": "guidance is computed at every step",
    "Image CFG scale": "models that edit pictures by instruction are not supported",
    "Schedule max sigma": "the noise levels are the model's",
    "Schedule min sigma": "the noise levels are the model's",
    "Schedule rho": "rho is 7",
    "Emphasis": 'emphasis is computed as in its "Original"',
    "ControlNet": "there is no control picture",
    "ADetailer": "nothing is drawn over afterwards",
    "FP8 weight": "weights are not rounded to fp8",
    "Conditional mask weight": "the mask counts in full",
}
"""By the first words of a value's name: what is not done."""

WITHOUT_EFFECT = {"Version", "User", "Batch size", "Batch pos", "Init image hash", "Model", "Model hash", "VAE"}
WITHOUT_EFFECT |= {"VAE hash", "Lora hashes", "Schedule type", "Discard penultimate sigma", "App", "Pad conds"}

_OTHER_TAGS = re.compile(r"<(?!lora:)[a-z]\w*:[^<>]*>", re.IGNORECASE)
_EDITING = re.compile(r"(?<!\\)\[[^\[\]]*:\s*[\d.]+\s*\]|(?<!\\)\[[^\[\]|]*\|[^\[\]]*\]")
_AND = re.compile(r"\bAND\b")


@dataclass(frozen=True)
class Wanted:
    """What a text asks for: settings, and what must be found beside them."""

    settings: Settings
    model: str | None = None
    model_hash: str | None = None
    vae: str | None = None
    vae_hash: str | None = None
    lora_hashes: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def wanted(text: Infotext) -> Wanted:
    """The settings that a text of the web UI means, with a notice for each thing that it names and we do not do.

    Raises:
        SettingsError: a value that cannot be, or a sampler that is not known.
    """
    values, notices = dict(text.values), []
    chosen, spacing = sampler_and_spacing(values.pop("Sampler", "Euler"), values.get("Schedule type"), notices)
    prompt = _OTHER_TAGS.sub("", text.prompt)
    if prompt != text.prompt:
        notices.append(f"left out of the prompt: {', '.join(_OTHER_TAGS.findall(text.prompt))[:200]}")
    if _EDITING.search(prompt) or _AND.search(prompt):
        notices.append("the prompt changes during the run ([a:b:0.5], [a|b]) or mixes several (AND): read as words")
    noise = values.pop("RNG", "GPU")
    if noise not in ("GPU", "NV", "CPU"):
        raise SettingsError(f"The picture's text has RNG {noise[:40]!r}; known are GPU, NV and CPU.")
    if SAMPLERS[chosen].eta:
        notices.append(f"the fresh noise of each {chosen} step is our own, not the web UI's")
    eta = _number(values, "Eta DDIM", float) if chosen in OF_TIMESTEPS else _number(values, "Eta", float)
    hires = any(name.startswith("Hires") for name in values)
    strength = _number(values, "Denoising strength", float)
    seed = _number(values, "Seed", int)
    settings = Settings(
        prompt=prompt,
        negative_prompt=text.negative_prompt or None,
        width=_number(values, "Size-1", int),
        height=_number(values, "Size-2", int),
        steps=_number(values, "Steps", int),
        guidance_scale=_number(values, "CFG scale", float),
        seed=None if seed is None else seed & MAX_SEED,
        noise="cpu" if noise == "CPU" else "philox",
        sampler=chosen,
        spacing=spacing,
        eta=eta,
        clip_skip=_number(values, "Clip skip", int),
        strength=None if hires else strength,
        mask_blur=_number(values, "Mask blur", int),
    )
    if strength is not None and not hires:
        notices.append("of a picture, the web UI counts its steps in another way: up to one step differs")
    return Wanted(
        settings,
        values.get("Model"),
        values.get("Model hash"),
        values.get("VAE"),
        values.get("VAE hash"),
        parse_pairs(values.get("Lora hashes", "")),
        tuple(notices) + tuple(_not_done(values)),
    )


def sampler_and_spacing(name: str, schedule_type: str | None, notices: list[str]) -> tuple[str, str | None]:
    """Our sampler and spacing for the web UI's names.

    Before its version 1.9 there was no schedule type: steps were spaced uniformly, unless the sampler's name said so.
    """
    if name.casefold().startswith("dpm++ 2m sde heun"):
        notices.append(f"{name[:60]}: drawn by its midpoint form, DPM++ 2M SDE")
        name = name[: -len(" Heun")] if name.casefold().endswith("heun") else "DPM++ 2M SDE" + name[17:]
    try:
        chosen, spacing = resolve(name[:60])
    except SettingsError as error:
        raise SettingsError(f"The picture was drawn by the sampler {name[:60]!r}, which is not here: {error}") from None
    if chosen.name in OF_TIMESTEPS:
        return chosen.name, None if chosen.name == "unipc" else "leading"
    if schedule_type is not None:
        try:
            chosen, spacing = resolve(chosen, schedule_type[:60])
        except SettingsError:
            notices.append(f"Schedule type {schedule_type[:60]}: not known here, the steps are spaced uniformly")
    return chosen.name, spacing if isinstance(spacing, str) else "linspace"


def names_of(settings: Settings, schedule: Schedule) -> tuple[str, str | None]:
    """The web UI's names of a run's sampler and of its spacing, which has none where it was given as sigmas."""
    name, schedule_type = a1111_names(
        settings.sampler or "ddim", settings.spacing or schedule.curve or schedule.spacing
    )
    return name, "Automatic" if settings.sampler in OF_TIMESTEPS else schedule_type


def values_of(
    settings: Settings, index: int, schedule: Schedule, *, model: str, hashes: Mapping[str, str | None], version: str
) -> dict[str, Any]:
    """The last line of the text of one picture of a complete run, in the web UI's order.

    ``hashes`` has "model", "vae" and each LoRA's "lora NAME", those that are known.
    """
    width, height = settings.size
    loras = {name.removeprefix("lora "): value for name, value in hashes.items() if name.startswith("lora ") and value}
    sampler = SAMPLERS[settings.sampler or "ddim"]
    name, schedule_type = names_of(settings, schedule)
    other_eta = None if settings.eta in (None, sampler.eta) else f"{settings.eta:g}"
    return {
        "Steps": settings.steps,
        "Sampler": name,
        "Schedule type": schedule_type,
        "CFG scale": f"{settings.guidance_scale:g}",
        "Seed": (settings.seed or 0) + index,
        "Size": f"{width}x{height}",
        "Model hash": (hashes.get("model") or "")[:10] or None,
        "Model": model or None,
        "VAE hash": (hashes.get("vae") or "")[:10] or None,
        "Denoising strength": None if settings.strength is None else f"{settings.strength:g}",
        "Clip skip": settings.clip_skip if (settings.clip_skip or 1) > 1 else None,
        "RNG": "CPU" if settings.noise == "cpu" else "NV",
        "Mask blur": settings.mask_blur,
        "Lora hashes": ", ".join(f"{name}: {value[:12]}" for name, value in loras.items()) or None,
        "Eta DDIM" if sampler.name in OF_TIMESTEPS else "Eta": other_eta,
        "Version": f"tintype {version}",
    }


def _number(values: dict[str, str], name: str, kind: Callable[[str], Number]) -> Number | None:
    text = values.pop(name, None)
    if text is None:
        return None
    try:
        return kind(text[:40])
    except ValueError:
        raise SettingsError(f"The picture's text has {name} {text[:40]!r}; expected a number.") from None


def _not_done(values: Mapping[str, str]) -> list[str]:
    """A notice for each value that is left over."""
    notices: dict[str, list[str]] = {}
    for name, value in values.items():
        if name in WITHOUT_EFFECT:
            continue
        why = next((why for start, why in NOT_DONE.items() if name.startswith(start)), "not understood, left out")
        notices.setdefault(why, []).append(f"{name.removesuffix('-1').removesuffix('-2')} {value[:60]}")
    return [f"{', '.join(named)[:200]}: {why}" for why, named in notices.items()]
