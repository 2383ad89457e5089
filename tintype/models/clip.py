"""CLIP: a text transformer and an image transformer that were taught to agree.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (arXiv 2103.00020).
Stable Diffusion uses the text tower's features of every token; training uses both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.models.attention import Attention, causal_mask
from tintype.models.configs import ImageEncoderConfig, TextEncoderConfig


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x): the GELU of OpenAI's weights."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


@dataclass(frozen=True)
class TextFeatures:
    """What the text tower makes of token ids.

    hidden:  (b s d) after the embeddings and after each layer, num_layers + 1 of them, without the final norm
    final:   (b s d) the last of them after the final norm: what Stable Diffusion 1 is steered by
    pooled:  (b d) ``final`` at the end token, projected where the tower has a projection
    """

    hidden: tuple[Tensor, ...]
    final: Tensor
    pooled: Tensor


def small(*shape: int) -> Tensor:
    """Random numbers of the size that CLIP's embeddings begin with, standard deviation 0.02.

    Uniform, since normal draws on the meta device, where loading builds networks, import a compiler: 1.5 s.
    """
    return torch.empty(shape).uniform_(-0.02 * math.sqrt(3), 0.02 * math.sqrt(3))


def embedding(count: int, dim: int) -> nn.Embedding:
    """A table of ``count`` vectors to be learnt."""
    return nn.Embedding.from_pretrained(small(count, dim), freeze=False)


class MLP(nn.Module):
    """Two linear layers, (b n dim) -> (b n dim)."""

    def __init__(self, dim: int, mlp_dim: int, activation: str) -> None:
        super().__init__()
        self.up = nn.Linear(dim, mlp_dim)
        self.down = nn.Linear(mlp_dim, dim)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class TransformerLayer(nn.Module):
    """Attention, then MLP, each after its norm and with a way past it, (b n dim) -> (b n dim)."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, activation: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads=num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_dim, activation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attention(normed, self.attention.project(normed), mask)
        return x + self.mlp(self.norm2(x))


def end_positions(ids: Tensor, end_id: int) -> Tensor:
    """(b s) -> (b,): where each text's end token stands first, for padding may repeat it."""
    return (ids == end_id).int().argmax(dim=-1)


class TextEncoder(nn.Module):
    """Token ids (b s) -> features of every token. Each token sees those before it."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = embedding(config.vocab_size, config.dim)
        self.position_embedding = embedding(config.length, config.dim)
        self.layers = nn.ModuleList(
            TransformerLayer(config.dim, config.num_heads, config.mlp_dim, config.activation)
            for _ in range(config.num_layers)
        )
        self.final_norm = nn.LayerNorm(config.dim)
        self.projection = nn.Linear(config.dim, config.projection_dim, bias=False) if config.projection_dim else None

    def forward(self, ids: Tensor) -> TextFeatures:
        """(b s) ids with s at most ``config.length`` -> `TextFeatures`."""
        x = self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]
        mask = causal_mask(ids.shape[1], like=x)
        hidden = [x]
        for layer in self.layers:
            hidden.append(layer(hidden[-1], mask))
        final = self.final_norm(hidden[-1])
        end = end_positions(ids, self.config.end_id)
        pooled = final[torch.arange(len(ids), device=ids.device), end]  # (b s d) -> (b d)
        if self.projection is not None:
            pooled = self.projection(pooled)
        return TextFeatures(tuple(hidden), final, pooled)


class ImageEncoder(nn.Module):
    """Pictures (b 3 H W), normalised as CLIP does (`normalize_pixels`) -> one feature each, (b projection_dim)."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.grid = config.image_size // config.patch_size
        num_patches = self.grid**2
        self.patch_embedding = nn.Conv2d(3, config.dim, config.patch_size, stride=config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(small(config.dim))
        self.position_embedding = embedding(num_patches + 1, config.dim)
        self.norm_in = nn.LayerNorm(config.dim)
        self.layers = nn.ModuleList(
            TransformerLayer(config.dim, config.num_heads, config.mlp_dim, config.activation)
            for _ in range(config.num_layers)
        )
        self.final_norm = nn.LayerNorm(config.dim)
        self.projection = nn.Linear(config.dim, config.projection_dim, bias=False) if config.projection_dim else None

    def features(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(b 3 H W) -> the tokens before and after each layer, each (b 1+n d): the class token, then the patches.

        A picture smaller than ``image_size`` stands where the middle of a whole one would.
        """
        patches = self.patch_embedding(pixels)  # (b d h w)
        positions = self._positions(*patches.shape[2:])
        first = self.class_embedding.expand(len(pixels), 1, -1)
        x = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1) + positions  # (b d h w) -> (b 1+n d)
        hidden = [self.norm_in(x)]
        for layer in self.layers:
            hidden.append(layer(hidden[-1]))
        return tuple(hidden)

    def _positions(self, height: int, width: int) -> Tensor:
        """Of the class token and the middle (height, width) of the grid, (1+n d)."""
        first, grid = self.position_embedding.weight.split([1, self.grid**2])
        top, left = (self.grid - height) // 2, (self.grid - width) // 2
        grid = grid.unflatten(0, (self.grid, self.grid))[top : top + height, left : left + width]
        return torch.cat([first, grid.flatten(0, 1)])

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = self.final_norm(self.features(pixels)[-1][:, 0])  # (b 1+n d) -> (b d)
        return pooled if self.projection is None else self.projection(pooled)


class CLIP(nn.Module):
    """Both towers and the learned temperature of their agreement."""

    def __init__(self, text: TextEncoderConfig, image: ImageEncoderConfig) -> None:
        super().__init__()
        self.text = TextEncoder(text)
        self.image = ImageEncoder(image)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # section 2.5 of the paper

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (b 3 H W) and captions (b s) -> directions of unit length, each (b d)."""
        image = F.normalize(self.image(pixels).float(), dim=-1)
        text = F.normalize(self.text(ids).pooled.float(), dim=-1)
        return image, text


PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def normalize_pixels(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1], (b 3 H W), to the scale that CLIP's image towers are used to."""
    mean = torch.tensor(PIXEL_MEAN, dtype=pixels.dtype, device=pixels.device)[:, None, None]
    std = torch.tensor(PIXEL_STD, dtype=pixels.dtype, device=pixels.device)[:, None, None]
    return ((pixels + 1) / 2 - mean) / std
