"""The autoencoder's halves by strips of rows, for speed.

Whole, each of a block's eight layers writes a map of all pixels, 67 MB at 512x512, and the next one reads it from
memory, after the system has found that memory page by page. By strips, what one layer leaves is in the cache when the
next one wants it, and only what comes out of a convolution becomes a map. `tile` has the layers; there they save
memory, at the price of computing the largest map twice. Here that map is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tintype.models.autoencoder import Decoder, Encoder
from tintype.speed.held import become
from tintype.speed.tile import decoder_by_strips, encoder_by_strips

SIZE = 256
"""A strip is as large in memory as so many by so many pixels of the finest level; a smaller picture is one strip, and
taken whole."""


class EncoderByStrips(Encoder):
    """An encoder. Where gradients are asked for it is the plain one."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        height, width = x.shape[2:]
        if torch.is_grad_enabled() or height * width <= SIZE**2:
            return Encoder.forward(self, x)
        return encoder_by_strips(self, x, SIZE)


class DecoderByStrips(Decoder):
    """A decoder. Where gradients are asked for it is the plain one."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        height, width = (side * 2 ** (len(self.up) - 1) for side in x.shape[2:])
        if torch.is_grad_enabled() or height * width <= SIZE**2:
            return Decoder.forward(self, x)
        return decoder_by_strips(self, x, SIZE, lean=False)


KINDS: tuple[tuple[type[nn.Module], type[nn.Module]], ...] = ((Encoder, EncoderByStrips), (Decoder, DecoderByStrips))


def take_by_strips(network: nn.Module) -> None:
    """The halves of an autoencoder, where the network is one, by strips from now on."""
    become(network, dict(KINDS))


def take_whole(network: nn.Module) -> None:
    """The halves plain again."""
    become(network, {by_strips: plain for plain, by_strips in KINDS})
