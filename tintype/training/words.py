"""Captions as the noise predictor is told them. A caption is text, not a prompt: no syntax in it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from tintype.models import TextEncoder
from tintype.models.layers import sinusoidal_embedding
from tintype.pipeline.conditions import SIZE_DIM
from tintype.text.conditioner import Conditioner, Reading
from tintype.text.prompt import Chunks, framed
from tintype.text.tokenizer import Tokenizer
from tintype.types import Conditioning

Sizes = tuple[int, int, int, int, int, int]
"""What SDXL is told of a picture: its height and width, (top, left) of the crop, height and width of the crop."""


class Words(Protocol):
    """Captions, and the sizes of their pictures -> what the UNet is told."""

    def __call__(self, captions: Sequence[str], sizes: Sequence[Sizes]) -> Conditioning:
        """Of captions and their pictures' sizes, a batch."""
        ...

    def text(self, captions: Sequence[str]) -> Conditioning:
        """What depends on the captions alone, and so can be stored."""
        ...

    def with_sizes(self, text: Conditioning, sizes: Sequence[Sizes]) -> Conditioning:
        """What ``text`` gave, and the sizes."""
        ...


class NoWords:
    """For a noise predictor without text."""

    def __call__(self, captions: Sequence[str], sizes: Sequence[Sizes]) -> Conditioning:
        """Nothing."""
        return Conditioning(None)

    def text(self, captions: Sequence[str]) -> Conditioning:
        """Nothing."""
        return Conditioning(None)

    def with_sizes(self, text: Conditioning, sizes: Sequence[Sizes]) -> Conditioning:
        """Nothing."""
        return text


class OneTower:
    """A text tower in training or just trained, after its final norm, as Stable Diffusion 1 has it."""

    def __init__(self, encoder: TextEncoder, tokenizer: Tokenizer) -> None:
        self.encoder, self.tokenizer = encoder.eval().requires_grad_(False), tokenizer

    def __call__(self, captions: Sequence[str], sizes: Sequence[Sizes]) -> Conditioning:
        """(b 77 d)."""
        return self.text(captions)

    def text(self, captions: Sequence[str]) -> Conditioning:
        """(b 77 d)."""
        with torch.no_grad():
            device = self.encoder.token_embedding.weight.device
            return Conditioning(self.encoder(token_ids(self.tokenizer, captions).to(device)).final)

    def with_sizes(self, text: Conditioning, sizes: Sequence[Sizes]) -> Conditioning:
        """Sizes are not told."""
        return text


class Towers:
    """The text towers of a loaded model, one or two, with the sizes that SDXL is told beside the text.

    ``learnt`` says that gradients go through them.
    """

    def __init__(self, conditioner: Conditioner, *, takes_sizes: bool, learnt: bool = False) -> None:
        self.conditioner, self.takes_sizes, self.learnt = conditioner, takes_sizes, learnt

    def __call__(self, captions: Sequence[str], sizes: Sequence[Sizes]) -> Conditioning:
        """The context (b 77 d) and for SDXL the vector."""
        return self.with_sizes(self.text(captions), sizes)

    def text(self, captions: Sequence[str]) -> Conditioning:
        """The context (b 77 d) and the pooled text, without sizes. The empty caption is zeros where the model's is."""
        with torch.set_grad_enabled(self.learnt and torch.is_grad_enabled()):
            towers = self.conditioner.towers
            chunks = tuple(tuple(_one_chunk(caption, tower.tokenizer) for caption in captions) for tower in towers)
            text = self.conditioner.encode(Reading(chunks, ()))
        if self.conditioner.zeros_for_none:
            said = torch.tensor([bool(caption) for caption in captions])
            text = text.map(lambda t: t * said.to(t).reshape(-1, *(1,) * (t.ndim - 1)))
        return text

    def with_sizes(self, text: Conditioning, sizes: Sequence[Sizes]) -> Conditioning:
        """The pooled text and the six sizes as waves, (b pooled) -> (b pooled + 6 * 256); SDXL, section 2.2."""
        if not self.takes_sizes or text.vector is None:
            return replace(text, vector=None)
        told = torch.tensor(sizes, dtype=torch.float32, device=text.vector.device)  # (b 6)
        waves = sinusoidal_embedding(told.flatten(), SIZE_DIM).reshape(len(told), -1)  # (6b 256) -> (b 1536)
        return replace(text, vector=torch.cat([text.vector.float(), waves], dim=-1))


def token_ids(tokenizer: Tokenizer, captions: Sequence[str]) -> Tensor:
    """Captions as one chunk each, (b 77); what does not fit is cut off."""
    return torch.tensor([_one_chunk(caption, tokenizer).chunks[0].ids for caption in captions])


def _one_chunk(caption: str, tokenizer: Tokenizer) -> Chunks:
    pieces = tokenizer.encode(caption)[: tokenizer.max_length - 2]
    return Chunks((framed([(piece, 1.0) for piece in pieces], tokenizer),), len(pieces))
