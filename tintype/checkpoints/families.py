"""The families of Stable Diffusion: what their networks are shaped like, and how they are put together.

A folder states most of this in its configuration files. A single file states nothing but names and shapes; what
remains is known by family. The values are those of the published configurations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tintype.diffusion import Schedule
from tintype.errors import CheckpointError
from tintype.models import AutoencoderConfig, TextEncoderConfig, UNetConfig, presets
from tintype.pipeline.settings import Defaults

if TYPE_CHECKING:
    from tintype.models import TextEncoder
    from tintype.text.conditioner import Conditioner, Tower
    from tintype.text.tokenizer import Tokenizer
    from tintype.text.vocabulary import Vocabulary

REFINER = (
    "This is an SDXL refiner: it finishes the pictures of another model, is told an aesthetic score and reads only "
    "one text encoder. Refiners are not supported; give the SDXL base model, which draws by itself."
)
EDITOR = (
    "This UNet takes 8 channels: latents beside those of a picture to be edited (InstructPix2Pix). Such models are not "
    "supported; use img2img or inpaint with an ordinary or an inpainting model."
)
MISFIT = (
    "The UNet takes {channels} channels and gives {out}; with an autoencoder whose latents have {latents}, expected "
    "{latents}, or {wide} for a model that repaints, and {latents} out."
)

INPAINTING_EXTRA = 1
"""Beside latents and masked latents, an inpainting UNet takes the mask: 4 + 4 + 1 channels."""


@dataclass(frozen=True)
class TextTower:
    """A text encoder of a family and what the UNet sees of it; ``layer``, ``final_norm``, ``pooled`` as in ``Tower``.

    ``pad`` is the token that fills a chunk up.
    """

    encoder: TextEncoderConfig
    pad: str = "<|endoftext|>"
    layer: int = 1
    final_norm: bool = True
    pooled: bool = False

    def __call__(self, tokenizer: Tokenizer, encoder: TextEncoder) -> Tower:
        """The tower with its weights."""
        from tintype.text.conditioner import Tower  # needs torch, which the look at a file's header does not

        return Tower(tokenizer, encoder, self.layer, self.final_norm, self.pooled)


@dataclass(frozen=True)
class Family:
    """One of the world's families of checkpoints.

    ``schedule`` and ``defaults`` are what single files are run with. ``zeros_for_none``: no negative prompt is a
    context of zeros.
    """

    name: str
    unet: UNetConfig = field(repr=False)
    autoencoder: AutoencoderConfig = field(repr=False)
    towers: tuple[TextTower, ...] = field(repr=False)
    schedule: Schedule = field(repr=False)
    defaults: Defaults
    zeros_for_none: bool = False

    def conditioner(
        self,
        tokenizers: Sequence[Tokenizer],
        encoders: Sequence[TextEncoder],
        *,
        zeros_for_none: bool | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> Conditioner:
        """Tokenizers and text encoders, one for each tower, put together as this family does."""
        from tintype.text.conditioner import Conditioner

        parts = zip(self.towers, tokenizers, encoders, strict=True)
        towers = (tower(tokenizer, encoder) for tower, tokenizer, encoder in parts)
        zeros = self.zeros_for_none if zeros_for_none is None else zeros_for_none
        return Conditioner(*towers, zeros_for_none=zeros, vocabulary=vocabulary)


SD1 = Family(
    "SD 1",
    presets.SD1_UNET,
    presets.SD1_AUTOENCODER,
    (TextTower(presets.SD1_TEXT),),
    Schedule.scaled_linear(sampler="pndm"),
    Defaults(512, 512),
)
SD2 = Family(
    "SD 2",
    presets.SD2_UNET,
    presets.SD1_AUTOENCODER,
    (TextTower(presets.SD2_TEXT, pad="!"),),
    Schedule.scaled_linear(sampler="ddim", prediction="v"),
    Defaults(768, 768),
)
SDXL = Family(
    "SDXL",
    presets.SDXL_UNET,
    presets.SDXL_AUTOENCODER,
    (
        TextTower(presets.SDXL_TEXT_1, layer=2, final_norm=False),
        TextTower(presets.SDXL_TEXT_2, pad="!", layer=2, final_norm=False, pooled=True),
    ),
    Schedule.scaled_linear(sampler="euler", spacing="leading"),
    Defaults(1024, 1024, guidance_scale=5.0),
    zeros_for_none=True,
)
FAMILIES = {family.name: family for family in (SD1, SD2, SDXL)}


def family_of(unet: UNetConfig) -> Family:
    """The family that a UNet belongs to, by what it is told; also of a small relative.

    Raises:
        CheckpointError: for the refiner, which is told of another anatomy.
    """
    if unet.vector_dim is not None:
        if unet.context_dim == 1280 and unet.vector_dim == 2560:
            raise CheckpointError(REFINER)
        return SDXL
    return SD2 if unet.context_dim == presets.SD2_UNET.context_dim else SD1


def name_of(unet: UNetConfig) -> str:
    """What a UNet is, in words: "SD 1", "SDXL inpainting", "SD 1 LCM, of another size", "an SDXL refiner"."""
    try:
        family = family_of(unet)
    except CheckpointError:
        return "an SDXL refiner"
    name = family.name
    if unet.in_channels == 2 * unet.out_channels + INPAINTING_EXTRA:
        name += " inpainting"
    elif unet.in_channels == 2 * unet.out_channels:
        name += " for editing (InstructPix2Pix)"
    name += " LCM" if unet.guidance_dim else ""
    return name if unet.channels == family.unet.channels else f"{name}, of another size"


def check_channels(unet: UNetConfig, autoencoder: AutoencoderConfig) -> None:
    """CheckpointError unless the UNet takes latents alone, or those of an inpainting model, and gives latents."""
    latents = autoencoder.latent_channels
    if unet.in_channels == 2 * latents and unet.out_channels == latents:
        raise CheckpointError(EDITOR)
    wide = 2 * latents + INPAINTING_EXTRA
    if unet.in_channels not in (latents, wide) or unet.out_channels != latents:
        raise CheckpointError(
            MISFIT.format(channels=unet.in_channels, out=unet.out_channels, latents=latents, wide=wide)
        )


def with_prediction(schedule: Schedule, prediction: str | None, zero_terminal_snr: bool | None) -> Schedule:
    """The schedule with what a user, or a file's metadata, knows better. SettingsError for what cannot be."""
    changes = {"prediction": prediction, "zero_terminal_snr": zero_terminal_snr}
    return replace(schedule, **{name: value for name, value in changes.items() if value is not None})
