"""Tensors as pictures: ramps of colour, grids of channels, strips of numbers, films of frames, data URIs.

The colours are those of "The Illustrated Stable Diffusion": blue text, pink latents, gold autoencoder, orange pixels,
purple attention, mint noise amount. Every ramp rises in lightness, so that it can be read without colours.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from tintype.illustrate.figures.html import element

RAMPS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "blue": ((8, 22, 54), (24, 74, 153), (74, 149, 226), (168, 211, 250), (240, 248, 255)),
    "pink": ((38, 8, 30), (122, 20, 78), (214, 62, 122), (246, 150, 184), (255, 238, 243)),
    "gold": ((24, 16, 2), (110, 70, 4), (214, 152, 20), (250, 210, 100), (255, 248, 222)),
    "purple": ((18, 8, 46), (76, 40, 150), (139, 92, 222), (201, 176, 250), (247, 242, 255)),
    "mint": ((4, 34, 26), (10, 96, 72), (28, 168, 124), (134, 222, 186), (236, 253, 245)),
    "orange": ((40, 14, 4), (146, 54, 8), (236, 112, 32), (255, 180, 120), (255, 243, 232)),
}
"""Stops from low to high, evenly spaced, 8-bit RGB."""

CLIP_STD = 2.5
"""Standard deviations from the mean at which a ramp ends."""

FRAME_COLUMNS = 10

LOSSY = (92, 85, 76, 64, 50, 36, 24, 14)
"""Qualities that are tried, best first: the first that fits its bound is taken."""

LARGE = 300_000
"""Pixels above which a picture with a bound is never kept without loss."""

SHOWN = 256
"""The longer side, at most, of a picture that takes less than ``LARGE_BYTES``: it is shown no larger than that."""

LARGE_BYTES = 60_000

SMALL_BYTES = 9_000
"""The most that a picture takes where nothing else is said."""


def ramp(values: np.ndarray, name: str) -> np.ndarray:
    """Values in [0, 1] of any shape -> the same shape and 3, 8-bit."""
    stops = np.array(RAMPS[name], dtype=np.float32)  # (k 3)
    where = np.linspace(0, 1, len(stops))
    flat = np.clip(np.nan_to_num(values), 0, 1)
    return np.stack([np.interp(flat, where, stops[:, c]) for c in range(3)], -1).round().astype(np.uint8)


def scaled(values: Tensor, bound: float | None = None) -> np.ndarray:
    """Values about zero -> [0, 1], with 0 in the middle; ``bound`` is where the ends lie, else 2.5 std."""
    array = values.detach().float().cpu().numpy()
    bound = bound or CLIP_STD * float(np.sqrt(np.mean(array**2))) or 1.0
    return np.clip(array / (2 * bound) + 0.5, 0, 1)


def channels(latents: Tensor, name: str = "pink", bound: float | None = None) -> Image.Image:
    """Latents (c h w) -> their channels as tiles, two in a row, on one scale."""
    planes = ramp(scaled(latents, bound), name)  # (c h w 3)
    across = 2 if len(planes) > 1 else 1
    rows = [
        np.concatenate(list(planes[i : i + across]), 1) for i in range(0, len(planes) - len(planes) % across, across)
    ]
    return Image.fromarray(np.concatenate(rows, 0))


def heat(values: Tensor, name: str = "purple", top: float | None = None) -> Image.Image:
    """A map (h w) of values from 0 up as colours, the largest value (or ``top``) brightest."""
    array = values.detach().float().cpu().numpy()
    return Image.fromarray(ramp(array / (top or float(array.max()) or 1.0), name))


def over(picture: Image.Image, values: Tensor, top: float | None = None) -> Image.Image:
    """A heat map laid over a picture: where it is low the picture is dim and grey, where it is high it shines."""
    array = values.detach().float().cpu().numpy()
    share = Image.fromarray((np.clip(array / (top or float(array.max()) or 1.0), 0, 1) * 255).astype(np.uint8))
    weight = np.asarray(share.resize(picture.size, Image.Resampling.BICUBIC), dtype=np.float32)[..., None] / 255
    rgb = np.asarray(picture.convert("RGB"), dtype=np.float32)
    grey = rgb.mean(-1, keepdims=True) * 0.28 + np.array([26, 16, 52], dtype=np.float32)
    return Image.fromarray((grey * (1 - weight) + rgb * weight).clip(0, 255).astype(np.uint8))


def difference(one: Image.Image, other: Image.Image, name: str = "orange", top: float = 64) -> Image.Image:
    """Where two pictures differ, and how much: the mean over red, green and blue, ``top`` of 255 levels brightest."""
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float32) for image in (one, other))
    return Image.fromarray(ramp(np.abs(a - b).mean(-1) / top, name))


def strip(values: Tensor, name: str = "blue", width: int = 256, height: int | None = None) -> Image.Image:
    """A table (n d) of numbers as a strip: a row of pixels for each of n, and d pooled to at most ``width``."""
    table = values.detach().float().cpu()
    if table.ndim == 1:
        table = table[None]
    if table.shape[1] > width:
        table = torch.nn.functional.adaptive_max_pool1d(table[None], width)[0]
    image = Image.fromarray(ramp(scaled(table - table.mean()), name))
    return image if height is None else image.resize((image.width, height), Image.Resampling.NEAREST)


def encode(image: Image.Image, most: int | None = None) -> tuple[str, bytes]:
    """(media type, bytes): without loss where that fits ``most`` bytes, else as well as fits, as WebP.

    A picture that fits at no quality is kept at the lowest one. Large ones are not tried without loss.
    """
    image = image if image.mode == "RGBA" else image.convert("RGB")
    if most is None or image.width * image.height <= LARGE:
        best = _webp(image, lossless=True, quality=50)
        if most is None or len(best) <= most:
            return "image/webp", best
    low, high = 0, len(LOSSY) - 1  # the best quality that fits is between them, by halving
    found: dict[int, bytes] = {}
    while low < high:
        middle = (low + high) // 2
        found[middle] = _webp(image, quality=LOSSY[middle])
        low, high = (low, middle) if len(found[middle]) <= most else (middle + 1, high)
    return "image/webp", found.get(low) or _webp(image, quality=LOSSY[low])


def _webp(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", method=2, **options)  # 3 takes half as long again for a hundredth fewer bytes
    return file.getvalue()


def data_uri(image: Image.Image, most: int | None = None) -> str:
    """A picture as a ``data:`` address."""
    media, content = encode(image, most)
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def picture(
    image: Image.Image, alt: str, *, class_: str | None = None, most: int | None = SMALL_BYTES, **attributes
) -> Markup:
    """An ``img`` with the picture inside it. Small ones are shown with sharp pixels."""
    if most is not None and most < LARGE_BYTES and max(image.size) > SHOWN:
        image = image.copy()
        image.thumbnail((SHOWN, SHOWN))
    small = max(image.size) <= 96
    classes = " ".join(filter(None, ["pixels" if small else None, class_]))
    return element(
        "img",
        src=data_uri(image, most),
        alt=alt,
        width=image.width,
        height=image.height,
        class_=classes or None,
        **attributes,
    )


@dataclass(frozen=True)
class Film:
    """Frames of one size on one sheet, in rows of ``FRAME_COLUMNS``."""

    sheet: Image.Image
    count: int
    size: tuple[int, int]

    @classmethod
    def of(cls, frames: Sequence[Image.Image]) -> Film:
        """A film of at least one frame; all have the first one's size."""
        width, height = frames[0].size
        across = min(FRAME_COLUMNS, len(frames))
        sheet = Image.new("RGB", (across * width, math.ceil(len(frames) / across) * height))
        for index, frame in enumerate(frames):
            sheet.paste(frame, (index % across * width, index // across * height))
        return cls(sheet, len(frames), (width, height))

    def window(self, name: str, alt: str, *, frame: int = -1, offset: int = 0, class_: str = "") -> Markup:
        """An SVG that shows one frame of the sheet ``name``. The script moves its view box; without it ``frame`` stays.

        ``offset``: this window shows so many frames later than the others.
        """
        width, height = self.size
        left, top = self.place(frame)
        return element(
            "svg",
            element("title", alt),
            element("use", href=f"#sheet-{name}"),
            viewBox=f"{left} {top} {width} {height}",
            preserveAspectRatio="xMidYMid slice",
            class_=f"film {'pixels' if max(self.size) <= 160 else ''} {class_}".strip(),
            role="img",
            data_film=name,
            data_offset=offset or None,
            data_count=self.count,
            data_across=self.sheet.width // width,
        )

    def place(self, frame: int) -> tuple[int, int]:
        """(left, top) of a frame on the sheet."""
        index, across = frame % self.count, self.sheet.width // self.size[0]
        return index % across * self.size[0], index // across * self.size[1]

    def definition(self, name: str, most: int | None) -> Markup:
        """The sheet itself, to stand once in the document."""
        size = {"width": self.sheet.width, "height": self.sheet.height}
        return element("image", id=f"sheet-{name}", href=data_uri(self.sheet, most), **size)


def sheets(films: Mapping[str, Film], most: Mapping[str, int | None] | None = None) -> Markup:
    """The sheets of films, of which windows anywhere in the document show frames."""
    found = [film.definition(name, (most or {}).get(name)) for name, film in films.items()]
    return element("svg", element("defs", found), class_="sheets", width=0, height=0, aria_hidden="true")
