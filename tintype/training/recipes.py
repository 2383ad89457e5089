"""Recipes: what is trained, on how many pictures, how fast. Few dials, all typed.

``dataclasses.replace(SMALL.denoiser, lr=1e-4)`` makes a variant; so does ``lr=1e-4`` on the command line.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from tintype.errors import SettingsError
from tintype.models import (
    PIXELS,
    AutoencoderConfig,
    DiscriminatorConfig,
    ImageEncoderConfig,
    TextEncoderConfig,
    UNetConfig,
    presets,
    without_text,
)
from tintype.scenes import FULL as FULL_VOCABULARY
from tintype.scenes import SMALL as SMALL_VOCABULARY
from tintype.scenes import Vocabulary
from tintype.training.growing import grown_config

PRECISIONS = ("fp32", "bf16", "fp16")
"""What networks compute in; weights, averages and optimizers are fp32 always."""

SHARDS = ("ddp", "fsdp")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all trainings share. Progress, warm-up and cool-down are counted in pictures seen."""

    pictures: int  # seen in all
    batch_size: int
    lr: float
    warmup: int  # over which the learning rate grows from 0
    cooldown: int = 0  # over which it falls to 0 at the end
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip_norm: float = 1.0  # of the gradient
    ema: float | None = None  # decay per step; None keeps no average
    seed: int = 0
    save_every: int = 20_000  # pictures
    precision: str | None = None  # "fp32" | "bf16" | "fp16", to compute in; None: bf16 where the device has it natively
    accumulate: int = 1  # pieces of a batch that are computed one after the other: less memory
    checkpointing: bool = False  # blocks are computed twice and not remembered: less memory, a third more work
    shard: str | None = None  # over processes: "ddp", a copy in each, the default; "fsdp", a part of the model in each

    def __post_init__(self) -> None:
        for name, allowed in (("precision", PRECISIONS), ("shard", SHARDS)):
            if getattr(self, name) not in (None, *allowed):
                raise SettingsError(f"{name}={getattr(self, name)}: expected {', '.join(allowed)} or none.")
        if self.accumulate < 1:
            raise SettingsError(f"accumulate={self.accumulate}: expected 1 or more pieces of a batch.")

    def lr_at(self, seen: int) -> float:
        """The learning rate after ``seen`` pictures."""
        rise = min(1.0, (seen + self.batch_size) / self.warmup) if self.warmup else 1.0
        fall = min(1.0, (self.pictures - seen) / self.cooldown) if self.cooldown else 1.0
        return self.lr * min(rise, fall)


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(Recipe):
    """Text and image towers, contrastively."""

    text: TextEncoderConfig
    image: ImageEncoderConfig
    twins: float = 0.0  # share of pictures that bring along the same scene with its subject elsewhere

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate > 1:
            raise SettingsError(
                f"accumulate={self.accumulate}: CLIP compares all pictures of a batch with each other, and so cannot "
                "see them in pieces. checkpointing=true needs less memory too, and several processes share a batch."
            )


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(Recipe):
    """Pictures to latents and back, on square crops of ``crop`` pixels."""

    autoencoder: AutoencoderConfig
    crop: int
    begin: str | None = None  # a model, by folder, file or name, whose autoencoder this begins as
    l2_weight: float = 1.0  # beside L1
    kl_weight: float = 0.03  # the paper's 1e-6 leaves latents of any size; this keeps them near the unit normal
    perceptual_weight: float = 0.0  # of the distance in the features of the same chain's CLIP; 0: CLIP is not needed
    adversarial_weight: float = 0.0  # against the other parts of the error; 0: there is no discriminator
    adversarial_after: int = 0  # pictures, from which on the discriminator learns and is heard
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adversarial_weight and (self.accumulate > 1 or self.precision == "fp16"):
            raise SettingsError(
                f"accumulate={self.accumulate}, precision={self.precision}: against a discriminator both sides are "
                "weighed by gradients of the whole batch, in fp32 or bf16. Expected accumulate=1 and not fp16."
            )


@dataclass(frozen=True, kw_only=True)
class NoiseRecipe(Recipe):
    """What all trainings of noise prediction share."""

    weighting: str | None = None  # None | "min_snr"
    caption_dropout: float = 0.1  # share of pictures shown without their caption, for guidance
    offset_noise: float = 0.0  # how much of the noise is one number for a whole channel


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe(NoiseRecipe):
    """Noise prediction, in latents or in pixels, steered by text or by nothing."""

    unet: UNetConfig  # as it is in latents and with text
    begin: str | None = None  # a model whose UNet this begins as: of the same shape, or with the finest level less
    text: bool = True
    pixels: bool = False  # diffusion as it began: no autoencoder
    prediction: str = "v"  # "eps" | "v" | "x0"
    zero_terminal_snr: bool = False  # the last timestep is all noise; not with eps

    @property
    def network(self) -> UNetConfig:
        """The UNet that is trained."""
        unet = self.unet if self.text else without_text(self.unet)
        channels = PIXELS.latent_channels
        return replace(unet, in_channels=channels, out_channels=channels) if self.pixels else unet


@dataclass(frozen=True, kw_only=True)
class LessonRecipe(NoiseRecipe):
    """What a model that is there is taught, and how its pictures are prepared."""

    size: int | None = None  # of pictures, by their area; None: as the model draws
    buckets: bool = True  # pictures keep their shape, about
    crops: int = 1  # places of each picture, chosen beforehand
    flip: bool = False
    max_broken: float = 0.05  # share of pictures that may be unreadable
    text_encoder: bool = False  # learns too


@dataclass(frozen=True, kw_only=True)
class LoraRecipe(LessonRecipe):
    """A LoRA: on the transformers of the UNet, and where asked for on more."""

    rank: int = 8
    alpha: float | None = None  # None: as large as the rank
    convolutions: bool = False


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(LessonRecipe):
    """All weights of the UNet, and where asked for of the text encoders."""


@dataclass(frozen=True, kw_only=True)
class ChainRecipe:
    """Everything that it takes to train a Stable Diffusion from nothing."""

    size: int  # pixels along each side
    vocabulary: Vocabulary
    pictures: int  # drawn and kept for training
    vocab_size: int  # entries of the tokenizer, at most
    clip: ClipRecipe
    autoencoder: AutoencoderRecipe
    denoiser: DenoiserRecipe
    seed: int = 0
    data: str | None = None  # a place of pictures with captions to learn from; None: scenes are drawn
    flip: bool = False  # of those pictures: each is seen as it is and mirrored

    def of_data(self, data: str, size: int | None = None, flip: bool = False) -> ChainRecipe:
        """The same networks and dials for anybody's pictures, squares of ``size`` pixels.

        SettingsError for a size that the networks cannot halve often enough.
        """
        size = size or self.size
        patch, factor = self.clip.image.patch_size, self.autoencoder.autoencoder.factor
        grid = math.lcm(patch, factor * 2 ** (len(self.denoiser.unet.channels) - 1))
        if size < grid or size % grid:
            raise SettingsError(f"size is {size}; expected a multiple of {grid}, which this recipe's networks divide.")
        return replace(
            self,
            data=data,
            size=size,
            flip=flip,
            clip=replace(self.clip, image=replace(self.clip.image, image_size=size)),
            autoencoder=replace(self.autoencoder, crop=min(self.autoencoder.crop, size)),
        )

    def begun(self, model: str) -> ChainRecipe:
        """The same for an autoencoder and a noise predictor that begin as those of ``model``, and keep its words."""
        return replace(
            self,
            autoencoder=replace(self.autoencoder, begin=model),
            denoiser=replace(self.denoiser, begin=model),
        )


SMALL = ChainRecipe(
    size=128,
    vocabulary=SMALL_VOCABULARY,
    pictures=60_000,
    vocab_size=1024,
    clip=ClipRecipe(
        pictures=110_000,
        batch_size=128,
        lr=5e-4,
        warmup=10_000,
        cooldown=30_000,
        twins=0.5,
        text=presets.SMALL_TEXT,
        image=presets.SMALL_IMAGE,
    ),
    autoencoder=AutoencoderRecipe(
        pictures=110_000,
        batch_size=32,
        lr=8e-4,
        warmup=3_000,
        cooldown=38_000,
        ema=0.998,
        autoencoder=presets.SMALL_AUTOENCODER,
        crop=64,
    ),
    denoiser=DenoiserRecipe(
        pictures=130_000,
        batch_size=32,
        lr=4e-4,
        warmup=10_000,
        cooldown=45_000,
        ema=0.9985,
        unet=presets.SMALL_UNET,
    ),
)
"""Pictures of 128x128, from nothing: where the model in the box began."""

FULL = replace(
    SMALL,
    vocabulary=FULL_VOCABULARY,
    pictures=32_000,
    clip=replace(SMALL.clip, pictures=90_000),
    denoiser=replace(SMALL.denoiser, pictures=150_000, cooldown=50_000),
)
"""The same for all that the painter can draw: what SMALL's compute makes of it is in docs/evaluation.md."""

LARGE = replace(
    SMALL,
    size=256,
    pictures=16_000,
    clip=replace(SMALL.clip, image=replace(presets.SMALL_IMAGE, image_size=256)),
    autoencoder=replace(
        SMALL.autoencoder,
        pictures=34_000,
        batch_size=8,
        lr=4e-4,
        warmup=400,
        cooldown=16_000,
        save_every=4_000,
        crop=128,
    ),
    denoiser=replace(
        SMALL.denoiser,
        pictures=170_000,
        lr=3.5e-4,
        warmup=3_000,
        cooldown=70_000,
        save_every=8_000,
        unet=grown_config(presets.SMALL_UNET, 64),
    ),
)
"""Pictures of 256x256, to be begun as the model that SMALL leaves: the last that the model in the box learnt."""

TINY = ChainRecipe(
    size=64,
    vocabulary=SMALL_VOCABULARY,
    pictures=256,
    vocab_size=768,
    clip=replace(
        SMALL.clip,
        pictures=2_048,
        batch_size=32,
        warmup=128,
        cooldown=512,
        text=replace(presets.SMALL_TEXT, dim=64, num_layers=2, num_heads=2, mlp_dim=128, projection_dim=64),
        image=replace(
            presets.SMALL_IMAGE, image_size=64, dim=64, num_layers=2, num_heads=2, mlp_dim=128, projection_dim=64
        ),
    ),
    autoencoder=replace(
        SMALL.autoencoder,
        pictures=1_536,
        batch_size=8,
        lr=2e-3,
        warmup=64,
        cooldown=512,
        ema=0.9,
        autoencoder=AutoencoderConfig(channels=(8, 16, 16, 32), layers_per_block=1, norm_groups=4),
        crop=32,
    ),
    denoiser=replace(
        SMALL.denoiser,
        pictures=2_048,
        batch_size=32,
        lr=2e-3,
        warmup=128,
        cooldown=512,
        ema=0.95,
        unet=UNetConfig(
            channels=(32, 64),
            layers_per_block=1,
            transformer_depth=(0, 1),
            num_heads=(2, 2),
            context_dim=64,
            norm_groups=8,
        ),
    ),
)

CHAINS = {"small": SMALL, "full": FULL, "large": LARGE, "tiny": TINY}
"""The recipes by name."""

LORAS = {
    "box": LoraRecipe(pictures=3_200, batch_size=8, lr=1e-3, warmup=160, cooldown=800, weighting="min_snr", ema=0.99),
    "sd": LoraRecipe(
        pictures=6_000,
        batch_size=4,
        lr=2e-4,
        warmup=400,
        cooldown=2_000,
        rank=16,
        weighting="min_snr",
        checkpointing=True,
    ),
    "tiny": LoraRecipe(pictures=64, batch_size=4, lr=3e-3, warmup=0, rank=4),
}
"""LoRA recipes by name: for the model in the box, for Stable Diffusion 1, 2 and XL, and a try of seconds."""

FINETUNES = {
    "box": FinetuneRecipe(
        pictures=32_000, batch_size=32, lr=1e-4, warmup=1_600, cooldown=12_000, save_every=8_000, ema=0.998
    ),
    "sd": FinetuneRecipe(
        pictures=40_000, batch_size=8, lr=1e-5, warmup=1_600, weighting="min_snr", ema=0.9995, checkpointing=True
    ),
    "tiny": FinetuneRecipe(pictures=64, batch_size=4, lr=1e-4, warmup=0),
}
"""Recipes to fine-tune by name: for the model in the box, for Stable Diffusion 1, 2 and XL, and a try of seconds."""

R = TypeVar("R", bound=Recipe)


def adjusted(recipe: R, changes: dict[str, str]) -> R:
    """The recipe with dials given as text, ``{"lr": "1e-4"}``, read by the type of each field.

    Raises SettingsError for a name that is no simple dial of this recipe, or a value of the wrong type.
    """
    types = typing.get_type_hints(type(recipe))
    dials = {f.name: types[f.name] for f in fields(recipe) if types[f.name] in _READERS}
    values: dict[str, Any] = {}
    for name, text in changes.items():
        if name not in dials:
            raise SettingsError(f"{type(recipe).__name__} has no dial {name!r}. It has: {', '.join(sorted(dials))}.")
        try:
            values[name] = _READERS[dials[name]](text)
        except ValueError as error:
            raise SettingsError(f"{name}={text!r}: expected {dials[name]}.") from error
    return replace(recipe, **values)


def _read_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read_optional(read: Callable[[str], Any]) -> Any:
    return lambda text: None if text.lower() == "none" else read(text)


_READERS: dict[Any, Any] = {
    int: int,
    int | None: _read_optional(int),
    float: float,
    str: str,
    bool: _read_bool,
    bool | None: _read_optional(_read_bool),
    float | None: _read_optional(float),
    str | None: _read_optional(str),
}
