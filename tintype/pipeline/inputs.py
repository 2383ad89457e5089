"""What a run starts from beside words: a picture, a mask, noise; read, checked and fitted to one size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from tintype.errors import ImageError, SettingsError
from tintype.images import (
    Source,
    cover,
    feather,
    mask_hash,
    mask_to_tensor,
    read_mask,
    read_picture,
    size_on_grid,
)
from tintype.pipeline.settings import Settings

IMG2IMG_STRENGTH = 0.75
INPAINT_STRENGTH = 1.0
MASK_BLUR = 4


@dataclass(frozen=True)
class Inputs:
    """The materials of a run, as large as the picture to be drawn."""

    image: Image.Image | None = None  # 8-bit RGB, W x H
    mask: Tensor | None = None  # (1 1 H W), 1 = repaint
    weight: Tensor | None = None  # (1 1 H W), how much of the new picture is seen at last
    latents: Tensor | None = None  # (b 4 h w) unit noise
    notices: tuple[str, ...] = ()


def read_inputs(
    settings: Settings, image: Source | None, mask: Source | None, latents: Tensor | None
) -> tuple[Settings, Inputs]:
    """Read what is there, and complete the settings by it: sizes, strength, hashes.

    Raises:
        ImageError: a picture that cannot be read, a mask of another shape than the picture.
        SettingsError: another picture than the settings record; a strength without a picture; a mask without one.
    """
    noise = None if latents is None else _checked_noise(latents)
    settings = _record(settings, "latents", None if noise is None else _noise_hash(noise))
    if image is None:
        if mask is not None:
            raise SettingsError("Got a mask and no picture; give image= too.")
        for name in ("image", "mask"):
            settings = _record(settings, name, None)
        for name in ("strength", "mask_blur"):
            if getattr(settings, name) is not None:
                raise SettingsError(f"{name} is of pictures that start from a picture; leave it out, or give image=.")
        return settings, Inputs(latents=noise)

    picture = read_picture(image)
    settings = _record(settings, "image", picture.sha256)
    width, height = size_on_grid(picture.rgb)
    settings = replace(settings, width=settings.width or width, height=settings.height or height)
    fitted = cover(picture.rgb, *settings.size)
    if mask is None:
        if settings.mask_blur is not None:
            raise SettingsError("mask_blur is of inpainting; leave it out, or give mask=.")
        settings = replace(_record(settings, "mask", None), strength=settings.strength or IMG2IMG_STRENGTH)
        return settings, Inputs(fitted, latents=noise, notices=picture.notices)

    grey = _same_shape(read_mask(mask), picture.rgb)
    settings = _record(settings, "mask", mask_hash(grey))
    blur = MASK_BLUR if settings.mask_blur is None else settings.mask_blur
    settings = replace(settings, strength=settings.strength or INPAINT_STRENGTH, mask_blur=blur)
    area = mask_to_tensor(cover(grey, *settings.size))  # (1 1 H W)
    notices = picture.notices
    if not area.any():
        notices += ("The mask has no white in it: nothing is repainted.",)
    return settings, Inputs(fitted, area, feather(area, blur), noise, notices)


def check_noise_shape(latents: Tensor | None, shape: tuple[int, int, int, int]) -> None:
    """Raise ``SettingsError`` unless start noise, where it was given, is (b c h w)."""
    if latents is not None and tuple(latents.shape) != shape:
        raise SettingsError(
            f"latents has the shape {tuple(latents.shape)}; expected {shape}: "
            "a picture for each prompt times batch_size, and height and width by 8."
        )


def _record(settings: Settings, name: str, sha256: str | None) -> Settings:
    """The settings with the hash of what was given; an error where they record another one."""
    recorded = getattr(settings, f"{name}_sha256")
    if recorded is not None and recorded != sha256:
        got = f"{name}= is another one ({sha256[:12]}...)" if sha256 else f"{name}= is not given"
        raise SettingsError(
            f"These settings are of a run with {name} {recorded[:12]}..., and {got}. Give the same, "
            f"or, to use another, dataclasses.replace(settings, {name}_sha256=None)."
        )
    return replace(settings, **{f"{name}_sha256": sha256})


def _same_shape(mask: Image.Image, picture: Image.Image) -> Image.Image:
    """The mask at the picture's size. One of another shape would land in the wrong place."""
    if mask.size == picture.size:
        return mask
    scale = picture.width / mask.width
    if abs(mask.height * scale - picture.height) > max(1.0, scale):
        raise ImageError(
            f"The mask is {mask.width}x{mask.height} and the picture {picture.width}x{picture.height} "
            "(as it is seen upright); expected one of the same shape."
        )
    return mask.resize(picture.size, Image.Resampling.BOX)


def _checked_noise(latents: Tensor) -> Tensor:
    if not isinstance(latents, Tensor) or latents.ndim != 4 or not latents.is_floating_point():
        raise SettingsError("latents must be a floating-point tensor, (b 4 h w), of unit-normal noise.")
    noise = latents.detach().to("cpu", torch.float32, copy=True)  # the caller's tensor may change later
    if not torch.isfinite(noise).all():
        raise SettingsError("latents holds NaN or infinity; expected unit-normal noise.")
    return noise


def _noise_hash(noise: Tensor) -> str:
    header = f"float32 {tuple(noise.shape)}\n".encode()
    return hashlib.sha256(header + noise.contiguous().numpy().tobytes()).hexdigest()
