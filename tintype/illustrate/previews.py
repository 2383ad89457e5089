"""What latents look like without the decoder: a linear map from each latent to the mean colour of its 8 x 8 pixels.

A decoder is far from linear, but the mean colour of a cell nearly is: a matrix of 4 x 3 and a bias explain most of
its variance, and cost nothing beside a step. The map is fitted by least squares to what the model's own decoder
answers; for the latents of Stable Diffusion 1 and 2 and of SDXL, which most models share, it is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tintype.images import to_image
from tintype.models import PIXELS, Autoencoder, presets
from tintype.pipeline.stable_diffusion import StableDiffusion

FILE = "latent_colours.json"
"""Beside a model's folders, where its maker has fitted the map; and in the cache, by fingerprint, where not."""

NUM_PICTURES, SIDE = 12, 128
"""Of the synthetic pictures to which an unknown autoencoder is fitted."""


@dataclass(frozen=True)
class LatentColours:
    """colour = latent @ matrix + bias, in [-1, 1], for latents of unit variance."""

    matrix: tuple[tuple[float, float, float], ...]  # (c 3)
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    r2: float | None = None
    """The share of the variance of the cells' colours that the map explains; None where the map was not fitted here."""
    fingerprint: str = ""
    """Of the autoencoder that it belongs to; empty where it belongs to a family."""


SD1 = LatentColours(
    (
        (0.337366, 0.216344, 0.257386),
        (0.165636, 0.386828, 0.046994),
        (-0.267803, 0.237036, 0.223517),
        (-0.178022, -0.200862, -0.678514),
    ),
    (-0.017478, -0.055834, -0.105825),
)
"""Stable Diffusion 1 and 2, as stable-diffusion.cpp has it."""

SDXL = LatentColours(
    ((0.3920, 0.4054, 0.4549), (-0.2634, -0.0196, 0.0653), (0.0568, 0.1687, -0.0755), (-0.3112, -0.2359, -0.2076)),
)
"""SDXL, as Fooocus and ComfyUI have it."""

THEMSELVES = LatentColours(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), (0.0, 0.0, 0.0), 1.0)
"""Of a model that works on pixels."""

KNOWN = {presets.SD1_AUTOENCODER: SD1, presets.SDXL_AUTOENCODER: SDXL, PIXELS: THEMSELVES}


def preview(latents: Tensor, colours: LatentColours) -> Tensor:
    """Latents of about unit variance, (b c h w) -> their colours, (b 3 h w) fp32, about [-1, 1]."""
    matrix, bias = (torch.tensor(part, device=latents.device) for part in (colours.matrix, colours.bias))
    return torch.einsum("bchw,cr->brhw", latents.float(), matrix) + bias[:, None, None]


def preview_images(latents: Tensor, colours: LatentColours, factor: int = 1) -> list[Image.Image]:
    """(b c h w) -> b pictures of one pixel a latent, or ``factor`` times as large, smoothly."""
    pixels = preview(latents, colours)
    if factor > 1:
        pixels = F.interpolate(pixels, scale_factor=factor, mode="bicubic")  # (b 3 h w) -> (b 3 fh fw)
    return [to_image(one) for one in pixels]


def latent_colours(sd: StableDiffusion) -> LatentColours:
    """A model's map: the known one of its family, or the one stored with it or in the cache, or a fit, stored there.

    Only a fit takes time: a few calls of the autoencoder on small pictures.
    """
    known = KNOWN.get(sd.autoencoder.config)
    if known is not None:
        return known
    mark = fingerprint(sd.autoencoder)
    beside = [sd.source / FILE] if sd.source is not None and sd.source.is_dir() else []
    for place in (*beside, _cache(mark)):
        found = read_colours(place)
        if found is not None and found.fingerprint == mark:
            return found
    found = fit_colours(sd)
    with contextlib.suppress(OSError):  # a disk that is full or locked: the next program fits again
        write_colours(found, _cache(mark))
    return found


def fit_colours(sd: StableDiffusion, pictures: Tensor | None = None) -> LatentColours:
    """The map that comes nearest, in least squares, to the mean colours that the model's decoder gives.

    Args:
        sd: the model.
        pictures: (b 3 H W) in [-1, 1], like those that the model draws; None for synthetic ones.
    """
    latents, cells = [], []
    for picture in (synthetic_pictures() if pictures is None else pictures).split(1):
        latents.append(sd.encode(picture).cpu())
        decoded = sd.decode(latents[-1]).cpu().clamp(-1, 1)
        cells.append(F.avg_pool2d(decoded, sd.autoencoder.factor))  # (1 3 H W) -> (1 3 h w)
    x = torch.cat([part.flatten(2).mT.flatten(0, 1) for part in latents]).double()  # (1 c h w) -> (n c)
    y = torch.cat([part.flatten(2).mT.flatten(0, 1) for part in cells]).double()  # (1 3 h w) -> (n 3)
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    solution = torch.linalg.lstsq(torch.cat([x, ones], 1), y).solution  # (c+1 3)
    residual = y - x @ solution[:-1] - solution[-1]
    r2 = 1 - residual.square().sum() / (y - y.mean(0)).square().sum().clamp_min(1e-12)
    *matrix, bias = (tuple(round(number, 6) for number in row) for row in solution.tolist())
    return LatentColours(tuple(matrix), bias, round(r2.item(), 4), fingerprint(sd.autoencoder))


@cache
def synthetic_pictures(number: int = NUM_PICTURES, side: int = SIDE) -> Tensor:
    """(number 3 side side) in [-1, 1]: patches of colour of all sizes, soft and hard, the same at every call.

    Each is a sum of smooth noise of several scales, half of them cut into a few levels, which makes edges.
    """
    generator = torch.Generator().manual_seed(0)
    pictures = []
    for index in range(number):
        field = torch.randn(1, 3, 1, 1, generator=generator).mul(0.5).expand(1, 3, side, side)
        for cells in (2, 4, 8, 16):
            noise = torch.randn(1, 3, cells, cells, generator=generator) / cells**0.5
            field = field + F.interpolate(noise, size=(side, side), mode="bicubic")
        if index % 2:
            field = torch.round(2 * field) / 2
        pictures.append(field.tanh())
    return torch.cat(pictures)


def fingerprint(autoencoder: Autoencoder) -> str:
    """A name for an autoencoder's latents: a hash of its shape and of the layers next to the latents."""
    digest = hashlib.sha256(repr(autoencoder.config).encode())
    layers = (autoencoder.encoder.conv_out, autoencoder.quant_conv, autoencoder.post_quant_conv)
    for layer in (*layers, autoencoder.decoder.conv_in, autoencoder.decoder.conv_out):
        weight = layer.weight.detach().to("cpu", torch.bfloat16)  # the same name in whatever it computes
        digest.update(weight.contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:16]


def read_colours(place: Path) -> LatentColours | None:
    """What ``write_colours`` wrote; None where there is no such file, or another thing."""
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
        matrix = tuple(_row(row) for row in values["matrix"])
        r2 = values["r2"]
        return LatentColours(
            matrix, _row(values["bias"]), None if r2 is None else float(r2), str(values["fingerprint"])
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_colours(colours: LatentColours, place: Path) -> None:
    """Store a map as JSON. The file appears whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.write_text(json.dumps(asdict(colours)) + "\n", encoding="utf-8")
    beside.replace(place)


def _row(numbers: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, numbers)
    return red, green, blue


def _cache(name: str) -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "tintype" / "latent_colours" / f"{name}.json"
