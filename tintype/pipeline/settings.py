"""Everything that decides a picture, beside the model: one frozen record that can be stored and run again."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal

from tintype.errors import SettingsError

VERSION = 1
"""The version of the record. It rises when the meaning of a field changes."""

MAX_SEED = 2**64 - 1
MAX_STEPS = 1000
GRID = 8  # pixels along one side of a latent
SMALLEST = 64  # pixels

Pair = tuple[int, int]


@dataclass(frozen=True)
class Defaults:
    """What a model draws when nothing is said: belongs to the model, fills the gaps in Settings."""

    width: int = 512
    height: int = 512
    steps: int = 50
    guidance_scale: float = 7.5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keywords of ``text2img``, ``img2img`` and ``inpaint``.

    None means the model's own value. ``Run.settings`` has every None filled in that matters, and the seed, so that
    ``sd.run(settings)`` repeats the run.

    Raises:
        SettingsError: a value that cannot be; the message says what was got, what was expected and what to do.
    """

    prompt: str | Sequence[str]
    """One prompt, or several: each gives ``batch_size`` pictures."""
    negative_prompt: str | Sequence[str] | None = None
    """What to steer away from; one for all prompts, or one for each. SDXL tells None from ""."""
    width: int | None = None
    """Pixels, a multiple of 8 from 64 up."""
    height: int | None = None
    """Pixels, a multiple of 8 from 64 up."""
    steps: int | None = None
    """How many steps a whole run has, 1 to 1000. ``strength`` takes the last part of them."""
    guidance_scale: float | None = None
    """How strongly the prompt pulls; 1 is without guidance, and half the work."""
    guidance_rescale: float = 0.0
    """0 to 1: how much of the contrast that guidance adds is taken back (arXiv 2305.08891, section 3.4)."""
    guidance_interval: tuple[float, float] | None = None
    """(low, high) sigma: guidance only within it (arXiv 2404.07724)."""
    seed: int | None = None
    """Of the first picture, 0 to 2**64 - 1; the following ones count up. None: a random one of 32 bits."""
    noise: Literal["cpu", "philox"] = "cpu"
    """Whose start noise the seed means: torch's on a CPU, or an NVIDIA GPU's, as A1111's web UI takes by default."""
    sampler: str | None = None
    eta: float | None = None
    """0 to 1: how much fresh noise each step adds. None: the sampler's own."""
    spacing: str | Sequence[float] | None = None
    """A name, or the sigmas themselves, falling."""
    batch_size: int = 1
    """Pictures for each prompt."""
    clip_skip: int | None = None
    """The text encoder's layer, counted from the end as A1111's web UI does. None and 1: as the model was trained."""
    long_prompt: Literal["chunk", "truncate"] = "chunk"
    """Beyond 75 tokens: further chunks, or cut off."""
    emphasis: Literal["a1111", "comfy"] = "a1111"
    """By whose arithmetic ``(word:1.3)`` counts."""
    loras: Sequence[tuple[str, float]] = ()
    """LoRA files for this run alone: (name or path, strength)."""
    embeddings: Sequence[str] = ()
    """Textual inversions for this run alone, by name or path. Those that a prompt names in its words are found too."""
    original_size: Pair | None = None
    """SDXL: (height, width) that the picture pretends to have had."""
    crop: Pair | None = None
    """SDXL: (top, left) where the picture pretends to have been cut."""
    target_size: Pair | None = None
    """SDXL: (height, width)."""
    strength: float | None = None
    """Of pictures that start from a picture, above 0 up to 1: the share of the steps that is run."""
    mask_blur: int | None = None
    """inpaint: pixels over which new and old mix, inside the repainted part."""
    image_sha256: str | None = None
    """The picture that was started from, by its pixels."""
    mask_sha256: str | None = None
    latents_sha256: str | None = None
    """The start noise, where it was given."""
    version: int = VERSION

    def __post_init__(self) -> None:
        self._set("prompt", _texts("prompt", self.prompt))
        if self.negative_prompt is not None:
            self._set("negative_prompt", _texts("negative_prompt", self.negative_prompt))
        if isinstance(self.negative_prompt, tuple) and len(self.negative_prompt) != len(self.prompts):
            raise SettingsError(
                f"Got {len(self.negative_prompt)} negative prompts for {len(self.prompts)} prompts; "
                "give one string for all, or as many as there are prompts."
            )
        for name in ("width", "height"):
            self._integer(name, SMALLEST, None)
            if getattr(self, name) is not None and getattr(self, name) % GRID:
                side = getattr(self, name)
                raise SettingsError(
                    f"{name} is {side}; expected a multiple of {GRID}. The nearest are "
                    f"{side - side % GRID} and {side - side % GRID + GRID}."
                )
        self._integer("steps", 1, MAX_STEPS)
        self._number("guidance_scale", 0.0, None)
        self._number("guidance_rescale", 0.0, 1.0)
        self._number("eta", 0.0, 1.0)
        self._integer("batch_size", 1, None)
        self._integer("clip_skip", 1, None)
        self._integer("mask_blur", 0, 1000)
        self._integer("seed", 0, MAX_SEED)
        if self.seed is not None and self.seed + self.num_images - 1 > MAX_SEED:
            raise SettingsError(
                f"seed is {self.seed} and there are {self.num_images} pictures, whose seeds count up from it: the last "
                f"would pass 2**64 - 1. Take a seed of at most {MAX_SEED - self.num_images + 1}."
            )
        self._number("strength", 0.0, 1.0)
        if self.strength == 0:
            raise SettingsError("strength is 0, which would change nothing; expected more than 0 and at most 1.")
        if self.long_prompt not in ("chunk", "truncate"):
            raise SettingsError(f"long_prompt is {self.long_prompt!r}; expected 'chunk' or 'truncate'.")
        if self.emphasis not in ("a1111", "comfy"):
            raise SettingsError(f"emphasis is {self.emphasis!r}; expected 'a1111' or 'comfy'.")
        if self.noise not in ("cpu", "philox"):
            raise SettingsError(f"noise is {self.noise!r}; expected 'cpu' or 'philox'.")
        self._loras()
        if isinstance(self.embeddings, str) or not all(isinstance(name, str) and name for name in self.embeddings):
            raise SettingsError(f"embeddings is {self.embeddings!r}; expected names or paths: ['style.safetensors'].")
        self._set("embeddings", tuple(self.embeddings))
        for name in ("sampler", "image_sha256", "mask_sha256", "latents_sha256"):
            if not isinstance(getattr(self, name), str | None):
                raise SettingsError(f"{name} is {getattr(self, name)!r}; expected a string.")
        self._interval()
        self._spacing()
        for name in ("original_size", "crop", "target_size"):
            self._pair(name)
        if self.version != VERSION:
            raise SettingsError(
                f"These settings are of version {self.version!r}; this Tintype writes and reads version {VERSION}. "
                "Run them with the Tintype that wrote them, or a newer one."
            )

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts, one or more."""
        return (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt)

    @property
    def negative_prompts(self) -> tuple[str, ...] | None:
        """A negative prompt for each prompt, or None."""
        if isinstance(self.negative_prompt, str):
            return (self.negative_prompt,) * len(self.prompts)
        return None if self.negative_prompt is None else tuple(self.negative_prompt)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        if self.width is None or self.height is None:
            raise SettingsError("The size is not chosen yet; a run's own settings have it.")
        return self.width, self.height

    @property
    def num_images(self) -> int:
        """How many pictures a run with these settings draws."""
        return len(self.prompts) * self.batch_size

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture: image p * batch_size + i has seed + p * batch_size + i."""
        if self.seed is None:
            raise SettingsError("The seed is not chosen yet; a run's own settings have it.")
        return tuple(range(self.seed, self.seed + self.num_images))

    def filled(self, defaults: Defaults) -> Settings:
        """These settings with a model's values where width, height, steps or guidance scale are None."""
        gaps = {name: getattr(defaults, name) for name in _names(Defaults) if getattr(self, name) is None}
        return replace(self, **gaps)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        values = ((name, getattr(self, name)) for name in _names(Settings))
        return {name: _as_json(value) for name, value in values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """The settings that ``to_dict`` wrote.

        Raises:
            SettingsError: also for names that are not known, and for a version that is not ours.
        """
        if not isinstance(values, dict):
            raise SettingsError(f"Got {type(values).__name__} as settings; expected a dictionary.")
        unknown = sorted(map(str, set(values) - set(_names(cls))))
        if unknown and values.get("version", VERSION) == VERSION:
            raise SettingsError(f"Unknown settings: {', '.join(unknown)}. Known are {', '.join(_names(cls))}.")
        if "prompt" not in values:
            raise SettingsError("These settings have no prompt.")
        return cls(**{name: value for name, value in values.items() if name in _names(cls)})

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # frozen, but this is still construction

    def _integer(self, name: str, least: int, most: int | None) -> None:
        value = getattr(self, name)
        if value is None and name != "batch_size":
            return
        try:
            value = operator.index(_no_bool(value))  # numpy's integers become Python's
        except TypeError:
            raise SettingsError(f"{name} is {value!r}; expected a whole number {_range(least, most)}.") from None
        self._set(name, value)
        if value < least or (most is not None and value > most):
            raise SettingsError(f"{name} is {value}; expected a whole number {_range(least, most)}.")

    def _number(self, name: str, least: float, most: float | None) -> None:
        value = getattr(self, name)
        if value is None and name != "guidance_rescale":
            return
        value = _float(name, value, _range(least, most))
        self._set(name, value)
        if value < least or (most is not None and value > most):
            raise SettingsError(f"{name} is {value}; expected a number {_range(least, most)}.")

    def _interval(self) -> None:
        if self.guidance_interval is None:
            return
        expected = "(low, high), two sigmas with 0 <= low < high"
        low, high = _floats("guidance_interval", self.guidance_interval, expected, length=2)
        if not 0 <= low < high:
            raise SettingsError(f"guidance_interval is {(low, high)}; expected {expected}.")
        self._set("guidance_interval", (low, high))

    def _spacing(self) -> None:
        if self.spacing is None or isinstance(self.spacing, str):
            return
        expected = "a name, or sigmas, each less than the one before, the first above 0 and the last not below 0"
        sigmas = _floats("spacing", self.spacing, expected)
        falling = all(high > low for high, low in pairwise(sigmas))
        if not sigmas or not falling or sigmas[0] <= 0 or sigmas[-1] < 0:
            raise SettingsError(f"spacing is {sigmas}; expected {expected}.")
        self._set("spacing", sigmas)

    def _loras(self) -> None:
        expected = "pairs of a name or path and a strength: [('style.safetensors', 0.8)]"
        try:
            pairs = [(name, strength) for name, strength in self.loras]
            if isinstance(self.loras, str) or not all(isinstance(name, str) and name for name, _ in pairs):
                raise TypeError
        except (TypeError, ValueError):
            raise SettingsError(f"loras is {self.loras!r}; expected {expected}.") from None
        self._set("loras", tuple((name, _float("loras", strength, "as strength")) for name, strength in pairs))

    def _pair(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        try:
            first, second = (operator.index(part) for part in value)
            if min(first, second) < 0:
                raise ValueError
        except (TypeError, ValueError):
            raise SettingsError(f"{name} is {value!r}; expected two whole numbers, not negative.") from None
        self._set(name, (first, second))


def _as_json(value: Any) -> Any:
    return [_as_json(part) for part in value] if isinstance(value, tuple) else value


def _names(record: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record))


def _texts(name: str, value: object) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and value and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise SettingsError(f"{name} is {value!r}; expected a string, or a list of at least one.")


def _no_bool(value: Any) -> Any:
    """To Python True is a whole number; to us it is a slip."""
    return None if isinstance(value, bool) else value


def _float(name: str, value: object, expected: str) -> float:
    try:
        if isinstance(value, bool | str | bytes) or not math.isfinite(value):  # pyright: ignore[reportArgumentType]
            raise TypeError
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, OverflowError):
        raise SettingsError(f"{name} is {value!r}; expected a number {expected}.") from None


def _floats(name: str, value: object, expected: str, length: int | None = None) -> tuple[float, ...]:
    try:
        numbers = tuple(_float(name, number, expected) for number in value)  # pyright: ignore[reportGeneralTypeIssues]
        if length is not None and len(numbers) != length:
            raise TypeError
    except TypeError:
        raise SettingsError(f"{name} is {value!r}; expected {expected}.") from None
    return numbers


def _range(least: float, most: float | None) -> str:
    return f"from {least} up" if most is None else f"from {least} to {most}"
