"""What each part can do at the moment, as one picture: paintings, reconstructions, similarities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tintype.images import to_image
from tintype.models import CLIP, Autoencoder, normalize_pixels
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.scenes import complete
from tintype.text.tokenizer import Tokenizer
from tintype.training.card import UNSEEN_SEED
from tintype.training.chain import Chain
from tintype.training.loop import Training
from tintype.training.measures import found_among, psnr
from tintype.training.pictures import scene_of, to_signed
from tintype.training.sources import PictureSource
from tintype.training.tasks import ContrastiveTask, DiffusionTask, ReconstructionTask
from tintype.training.words import token_ids

PAINTINGS, STEPS = 8, 12
ROWS = 6
PAIRS, CELL = 16, 24
GROUND = (250, 249, 246)
NIGHT, LIGHT = np.array((8.0, 22.0, 54.0)), np.array((240.0, 248.0, 255.0))


class Sheet(Protocol):
    """Draws what a model can do with the weights that it has now."""

    @property
    def about(self) -> dict[str, Any]:
        """What is always drawn, for the captions: its ``kind``, and more."""
        ...

    def draw(self) -> tuple[Image.Image, dict[str, Any]]:
        """The picture, and what was measured on it."""
        ...


def sheet_of(chain: Chain, training: Training) -> Sheet:
    """The sheet for a stage of a chain."""
    task = training.task
    if isinstance(task, ContrastiveTask):
        rows = chain.rows(PAIRS)
        return Similarities(task.model, [pixels for pixels, _ in rows], [words for _, words in rows], task.tokenizer)
    if isinstance(task, ReconstructionTask):
        return Reconstructions(task.model, [pixels for pixels, _ in chain.rows(ROWS)])
    assert isinstance(task, DiffusionTask), "a chain has three tasks"
    with torch.random.fork_rng():  # networks are made with random weights before they are filled
        sd = chain.model(task.network)
    sd.schedule = task.denoiser.schedule
    return Paintings(sd, prompts_of(chain) if sd.conditioner.towers else [""] * PAINTINGS)


def prompts_of(chain: Chain) -> list[str]:
    """What to paint: scenes that are not in the training set; of anybody's pictures, their own first captions."""
    if chain.source is None:
        vocabulary = chain.recipe.vocabulary
        return [complete(scene_of(UNSEEN_SEED, index, vocabulary)) for index in range(PAINTINGS)]
    return first_captions(chain.source, PAINTINGS)


def first_captions(source: PictureSource, count: int) -> list[str]:
    """So many different captions, the first of each picture; where none has any, the empty one."""
    captions = dict.fromkeys(words for item in source.items for words in item.captions[:1])
    return list(captions)[:count] or [""]


class Paintings:
    """Prompts, each from a seed of its own that stays the same from sheet to sheet."""

    def __init__(self, sd: StableDiffusion, prompts: Sequence[str], *, steps: int = STEPS) -> None:
        self.sd, self.prompts, self.steps = sd, list(prompts), steps
        self.about: dict[str, Any] = {"kind": "paintings", "prompts": self.prompts, "seed": 0, "steps": steps}

    def draw(self) -> tuple[Image.Image, dict[str, Any]]:
        """Four in a row. The prompts are words of captions, which mean nothing but themselves."""
        plain = [prompt.replace("(", r"\(").replace(")", r"\)") for prompt in self.prompts]
        images = self.sd.text2img(plain, seed=0, steps=self.steps).images
        return _tiled(images, 4), {}


class Reconstructions:
    """Pictures above, what came through the autoencoder in the middle, four times the difference below."""

    def __init__(self, autoencoder: Autoencoder, pictures: Sequence[Tensor]) -> None:
        self.autoencoder = autoencoder
        self.pixels = to_signed(torch.stack(list(pictures)))  # (n 3 H W)
        self.about: dict[str, Any] = {"kind": "reconstructions", "pictures": len(pictures)}

    def draw(self) -> tuple[Image.Image, dict[str, Any]]:
        """A column for each picture; measured is the mean PSNR."""
        device = next(self.autoencoder.parameters()).device
        with torch.no_grad():
            pixels = self.pixels.to(device)
            rebuilt = self.autoencoder.decode(self.autoencoder.encode(pixels).mean).float().clamp(-1, 1)
        difference = (2 * (rebuilt - pixels).abs() - 1).clamp(-1, 1)  # 4 * |error| / 2, brought to [-1, 1]
        images = [to_image(each.cpu()) for part in (pixels, rebuilt, difference) for each in part]
        return _tiled(images, len(self.pixels)), {"psnr": psnr(rebuilt, pixels).mean().item()}


class Similarities:
    """Pictures down the side, captions across: each with each, light where they agree. Pairs are on the diagonal."""

    def __init__(self, clip: CLIP, pictures: Sequence[Tensor], captions: Sequence[str], tokenizer: Tokenizer) -> None:
        self.clip, self.captions = clip, list(captions)
        self.pixels = to_signed(torch.stack(list(pictures)))  # (n 3 H W)
        self.ids = token_ids(tokenizer, captions)
        self.about: dict[str, Any] = {"kind": "similarities", "captions": self.captions}

    def draw(self) -> tuple[Image.Image, dict[str, Any]]:
        """Cosines from the least (dark) to the largest; measured is how many pictures find their caption."""
        device = self.clip.logit_scale.device
        with torch.no_grad():
            image, text = self.clip(normalize_pixels(self.pixels.to(device)), self.ids.to(device))
        similarity = (image @ text.T).float().cpu()  # (n n)
        count = len(similarity)
        share = (similarity - similarity.min()) / (similarity.max() - similarity.min()).clamp(min=1e-12)
        colours = NIGHT + share.numpy()[..., None] * (LIGHT - NIGHT)  # (n n 3)
        matrix = Image.fromarray(colours.round().astype(np.uint8)).resize(
            (CELL * count, CELL * count), Image.Resampling.NEAREST
        )
        side = F.interpolate(self.pixels, size=(CELL - 2, CELL - 2), mode="bilinear", antialias=True)
        sheet = Image.new("RGB", (CELL * (count + 1), CELL * count), GROUND)
        sheet.paste(matrix, (CELL, 0))
        for row, each in enumerate(side):
            sheet.paste(to_image(each), (0, row * CELL + 1))
        right = found_among(similarity, self.captions)
        rounded = [[round(value, 4) for value in row] for row in similarity.tolist()]
        return sheet, {"found": sum(right), "of": count, "similarity": rounded}


def _tiled(images: Sequence[Image.Image], across: int) -> Image.Image:
    """Pictures of one size in rows of ``across``, with a little room between them."""
    width, height = images[0].size
    down = -(-len(images) // across)
    sheet = Image.new("RGB", (across * (width + 4) - 4, down * (height + 4) - 4), GROUND)
    for place, image in enumerate(images):
        sheet.paste(image, (place % across * (width + 4), place // across * (height + 4)))
    return sheet
