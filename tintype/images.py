"""Pictures at the edge of the system: files and PIL images in, tensors inside, PIL images out.

Inside, pixels are floats in [-1, 1], (b 3 H W) with H and W multiples of 8; at the edge they are 8-bit RGB. A mask
is (1 1 H W), 1 where the picture is to be repainted and 0 where it stays.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tintype.errors import ImageError

if TYPE_CHECKING:  # pictures are read and looked at without torch, which takes seconds to import
    from torch import Tensor

Source = str | PathLike | bytes | Image.Image
"""Where a picture comes from: a path, the bytes of a file, or a PIL image."""

GRID = 8
"""One cell of the latents is 8 by 8 pixels."""

SMALLEST = 64
"""The least width and height of a picture that is drawn."""

MAX_PIXELS = 100_000_000
"""Larger pictures are refused before any pixel is decoded: a small file may unfold to gigabytes."""

DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")

UNDECIDED = (*DEEP_GREY, "1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""The modes in which depth or transparency is still to be seen to; all others become RGB at once."""


@dataclass(frozen=True)
class Picture:
    """A picture as it was read: upright 8-bit RGB, with what had to be done to make it so."""

    rgb: Image.Image
    notices: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The hash of the pixels, whatever file they came in."""
        return pixel_hash(self.rgb)


def read_picture(source: Source) -> Picture:
    """Read a picture of any common kind as upright 8-bit RGB.

    EXIF rotation is applied, alpha is composited on white (with a notice), 16-bit grey is scaled to 8 bits; palette,
    grey and CMYK are converted.

    Raises:
        ImageError: no such file, not a picture, damaged, empty, or larger than ``MAX_PIXELS``.
    """
    image = _decoded(source)
    if image.mode in DEEP_GREY:
        return Picture(_eight_bit(image).convert("RGB"))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers).convert("RGB")
        if np.asarray(layers)[..., 3].min() < 255:
            return Picture(rgb, ("The picture has transparent parts; they were laid on white.",))
        return Picture(rgb)
    return Picture(image.convert("RGB"))


def read_mask(source: Source) -> Image.Image:
    """Read a mask as 8-bit grey, "L": 255 = repaint, 0 = keep; grey is cut at one half. What is transparent is kept.

    Raises:
        ImageError: as for ``read_picture``.
    """
    image = _decoded(source)
    if image.mode in DEEP_GREY:
        grey = _eight_bit(image)
    elif image.has_transparency_data:
        layers = image.convert("RGBA")
        grey = Image.alpha_composite(Image.new("RGBA", image.size, "black"), layers).convert("L")
    else:
        grey = image.convert("L")
    return grey.point([0] * 128 + [255] * 128)


def size_on_grid(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a picture, each rounded down to a multiple of 8 and not less than 64."""
    width, height = (max(SMALLEST, side - side % GRID) for side in image.size)
    return width, height


def cover(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize until the picture just covers width x height, and cut out the centre. Never distorts.

    A picture that only exceeds the size by less than one grid cell a side is cropped, not resampled.
    """
    if (width, height) == image.size:
        return image
    if (width, height) == size_on_grid(image) and image.width >= width and image.height >= height:
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))
    filter = Image.Resampling.BOX if image.mode == "L" else Image.Resampling.LANCZOS
    return ImageOps.fit(image, (width, height), filter)


def to_tensor(image: Image.Image) -> Tensor:
    """8-bit RGB -> (1 3 H W), fp32 in [-1, 1]."""
    import torch

    pixels = torch.from_numpy(np.array(image, dtype=np.float32))  # (H W 3)
    return (pixels / 127.5 - 1).permute(2, 0, 1)[None]  # (H W 3) -> (1 3 H W)


def to_image(pixels: Tensor) -> Image.Image:
    """(3 H W) in [-1, 1] -> 8-bit RGB, rounded to the nearest level."""
    import torch

    levels = ((pixels.detach().float().cpu() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())  # (3 H W) -> (H W 3)


def mask_to_tensor(mask: Image.Image) -> Tensor:
    """8-bit grey -> (1 1 H W), fp32, 1 = repaint and 0 = keep; grey that resizing made is cut at one half again."""
    import torch

    levels = torch.from_numpy(np.array(mask, dtype=np.uint8))  # (H W)
    return (levels >= 128).float()[None, None]


def mask_to_latents(mask: Tensor, factor: int = GRID) -> Tensor:
    """(1 1 H W) -> (1 1 h w), ``factor`` pixels a side: a cell is repainted where any pixel of it is.

    So thin masks are not lost.
    """
    from torch.nn.functional import max_pool2d

    return max_pool2d(mask, factor)


def feather(mask: Tensor, width: int) -> Tensor:
    """The weight of the new picture, (1 1 H W): 0 where the mask is 0, rising to 1 over ``width`` pixels inside it.

    The seam lies wholly within the repainted part; nothing outside it changes. A mask that is thinner than that all
    over has a steeper seam, so that its middle is still repainted in full.

    Args:
        mask: (1 1 H W), 0 or 1.
        width: pixels over which the weight rises; 0 returns the mask.
    """
    import torch
    from torch.nn.functional import max_pool2d

    layers = [mask]
    while len(layers) <= width:
        inner = -max_pool2d(-layers[-1], kernel_size=3, stride=1, padding=1)  # one pixel less on every side
        if not inner.any():
            break
        layers.append(inner)
    return torch.stack(layers).mean(0)


def paste(image: Image.Image, original: Image.Image, weight: Tensor) -> Image.Image:
    """``image`` where weight is 1, ``original``, bit-identical, where it is 0, and their mixture between.

    Args:
        image: 8-bit RGB, W x H.
        original: 8-bit RGB, W x H.
        weight: (1 1 H W) in [0, 1].
    """
    alpha = weight[0, 0, :, :, None].cpu().numpy()  # (H W 1)
    new, old = (np.array(picture, dtype=np.float32) for picture in (image, original))  # (H W 3)
    return Image.fromarray(np.rint(old + (new - old) * alpha).astype(np.uint8))


def psnr(a: Image.Image, b: Image.Image) -> float:
    """How alike two pictures of one size are, in dB: infinite where they are equal, below about 20 not alike."""
    error = np.square(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def mask_hash(mask: Image.Image) -> str:
    """SHA-256 of a mask's pixels."""
    return pixel_hash(mask)


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of a picture's mode, size and pixels, whatever file they came in."""
    header = f"{image.mode} {image.width}x{image.height}\n".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit or float grey -> 8-bit grey.

    White is 65535; in the modes that do not say their range ("I", "F") it is 255 or 1 where no value is larger.
    """
    values = np.nan_to_num(np.array(image, dtype=np.float32))  # (H W)
    if image.mode == "F":
        values = values * (255 if values.max(initial=0) <= 1 else 1)
    elif image.mode != "I" or values.max(initial=0) > 255:
        values = values / 257  # 65535 = 255 * 257
    return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))


def _decoded(source: Source) -> Image.Image:
    """The picture with all its pixels in memory, upright, its size checked before they were decoded."""
    if not isinstance(source, str | PathLike | bytes | Image.Image):
        raise ImageError(
            f"Got {type(source).__name__} as a picture; expected a path, the bytes of a file or a PIL image."
        )
    name = "The picture" if isinstance(source, bytes | Image.Image) else f"{str(source)!r}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is checked below
            image = source if isinstance(source, Image.Image) else _open(source)
            if not image.width * image.height:
                raise ImageError(f"{name} is {image.width}x{image.height}: it has no pixels.")
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{name} is {image.width}x{image.height}; expected at most {MAX_PIXELS:,} pixels. Make it smaller."
                )
            image.load()
            image = ImageOps.exif_transpose(image)
            return image if image.mode in UNDECIDED else image.convert("RGB")
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"There is no file {name}.") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not a picture of a known kind; PNG, JPEG and WebP are some.") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels. Make it smaller.") from None
    except Exception as error:  # decoders raise anything on a damaged file: SyntaxError, struct.error, EOFError ...
        raise ImageError(f"{name} cannot be read: {error}") from error


def _open(source: str | PathLike | bytes) -> Image.Image:
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source))
