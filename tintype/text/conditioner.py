"""Strings -> Conditioning: the prompt is cut into chunks, each goes through the text encoder, features are joined.

How the families differ is only in arguments. Stable Diffusion 1 and 2 have one tower and take what it says after its
final norm; SDXL has two, takes the layer before the last without the final norm from both, joined by channel, and the
second one's pooled feature. (SD 2's encoder is published without its last layer, so "the last" is right there too.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tintype.errors import SettingsError
from tintype.models import TextEncoder
from tintype.text.emphasis import Emphasis, moved_from, multiplied, plain
from tintype.text.prompt import Chunk, Chunks, LongPrompt, chunk, framed, pad
from tintype.text.tokenizer import Tokenizer
from tintype.text.vocabulary import Vocabulary
from tintype.types import Conditioning


@dataclass(frozen=True)
class Tower:
    """A tokenizer, its text encoder, and what the UNet was trained to see of it.

    ``layer`` counts from the end: 1 is the output of the last layer, 2 of the one before. ``final_norm`` says whether
    it goes through the encoder's final norm. ``pooled`` adds the whole text's feature to ``Conditioning.vector``.
    """

    tokenizer: Tokenizer
    encoder: TextEncoder
    layer: int = 1
    final_norm: bool = True
    pooled: bool = False


@dataclass(frozen=True)
class Reading:
    """Prompts as chunks of ids, for each tower; nothing has been computed yet."""

    chunks: tuple[tuple[Chunks, ...], ...]  # by tower, by prompt
    notices: tuple[str, ...]
    emphasis: Emphasis = "a1111"

    @property
    def num_chunks(self) -> int:
        """The length, in chunks, of the longest prompt."""
        return max((len(prompt) for tower in self.chunks for prompt in tower), default=1)


@dataclass(frozen=True)
class Encoded:
    """What prompts and negative prompts became, of one length, and what should be said about them."""

    cond: Conditioning
    uncond: Conditioning
    notices: tuple[str, ...]


class Conditioner:
    """Strings -> Conditioning, with one or more towers; with none, of a model without text, it takes empty prompts.

    ``zeros_for_none``: no negative prompt is a context of zeros (SDXL), and not the encoding of "". ``vocabulary``
    is what a small model was trained with; words outside it are told in the notices.
    """

    def __init__(self, *towers: Tower, zeros_for_none: bool = False, vocabulary: Vocabulary | None = None) -> None:
        self.towers = towers
        for tower in towers:
            tower.encoder.eval().requires_grad_(False)
        self.zeros_for_none = zeros_for_none
        self.vocabulary = vocabulary

    def __call__(
        self,
        prompts: Sequence[str],
        *,
        clip_skip: int | None = None,
        num_chunks: int | None = None,
        long_prompt: LongPrompt = "chunk",
        emphasis: Emphasis = "a1111",
    ) -> Conditioning:
        """The conditioning of a batch of prompts, all padded to one number of chunks by chunks of the empty prompt.

        The context is (b 77k d), k the longest prompt's number of chunks, or ``num_chunks``. ``clip_skip`` counts as
        A1111's web UI does: None and 1 are the model's own layer, 2 the layer before it (diffusers calls that 1), in
        either case followed by the final norm where the model has it. SettingsError when there is no such layer.
        """
        return self.encode(self.read(prompts, long_prompt, emphasis), clip_skip=clip_skip, num_chunks=num_chunks)

    def pair(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str] | None = None,
        *,
        clip_skip: int | None = None,
        long_prompt: LongPrompt = "chunk",
        emphasis: Emphasis = "a1111",
    ) -> Encoded:
        """Prompts, and what to steer away from, of one length. None is the empty prompt, or zeros (SDXL)."""
        cond = self.read(prompts, long_prompt, emphasis)
        uncond = self.read([""] * len(prompts) if negative_prompts is None else negative_prompts, long_prompt, emphasis)
        num_chunks = max(cond.num_chunks, uncond.num_chunks)
        encoded = self.encode(uncond, clip_skip=clip_skip, num_chunks=num_chunks)
        if negative_prompts is None and self.zeros_for_none:
            encoded = encoded.map(torch.zeros_like)
        return Encoded(
            self.encode(cond, clip_skip=clip_skip, num_chunks=num_chunks),
            encoded,
            tuple(dict.fromkeys(cond.notices + uncond.notices + self.unknown(prompts, emphasis))),
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioner:
        """Moves the text encoders, or changes what they compute in."""
        for tower in self.towers:
            tower.encoder.to(device=device, dtype=dtype)
        return self

    def check(self, prompts: Sequence[str]) -> None:
        """SettingsError for words that a model without text could not hear."""
        words = next((prompt for prompt in prompts if prompt.strip()), None)
        if words is not None and not self.towers:
            raise SettingsError(f'The prompt is {words!r:.60}; this model was trained without text, expected "".')

    def unknown(self, prompts: Sequence[str], emphasis: Emphasis = "a1111") -> tuple[str, ...]:
        """A notice for each word that the model never saw; none for a model that does not list its words."""
        if self.vocabulary is None:
            return ()
        return tuple(
            dict.fromkeys(notice for prompt in prompts for notice in self.vocabulary.notices(plain(prompt, emphasis)))
        )

    def read(self, prompts: Sequence[str], long_prompt: LongPrompt = "chunk", emphasis: Emphasis = "a1111") -> Reading:
        """Prompts -> chunks of ids, with notices of what was cut."""
        self.check(prompts)
        chunks = tuple(
            tuple(chunk(prompt, tower.tokenizer, long_prompt=long_prompt, emphasis=emphasis) for prompt in prompts)
            for tower in self.towers
        )
        notices = dict.fromkeys(notice for tower in chunks for prompt in tower for notice in prompt.notices)
        return Reading(chunks, tuple(notices), emphasis)

    def encode(self, reading: Reading, *, clip_skip: int | None = None, num_chunks: int | None = None) -> Conditioning:
        """Chunks of ids -> features. See ``__call__``."""
        num_chunks = num_chunks or reading.num_chunks
        contexts, pooled = [], []
        for tower, prompts in zip(self.towers, reading.chunks, strict=True):
            padded = [pad(prompt, num_chunks, tower.tokenizer) for prompt in prompts]
            ids = torch.tensor([part.ids for prompt in padded for part in prompt])  # (b*k 77)
            features = tower.encoder(ids.to(tower.encoder.token_embedding.weight.device))
            context = self._layer(tower, features.hidden, clip_skip)  # (b*k 77 d)
            context = self._weighted(tower, context, padded, reading.emphasis, clip_skip)
            contexts.append(context.unflatten(0, (-1, num_chunks)).flatten(1, 2))  # (b 77k d)
            if tower.pooled:
                pooled.append(features.pooled[::num_chunks])  # the first chunk speaks for the prompt, (b d)
        context = torch.cat(contexts, dim=-1) if contexts else None
        return Conditioning(context, torch.cat(pooled, dim=-1) if pooled else None)

    def _weighted(
        self, tower: Tower, context: Tensor, prompts: list[tuple[Chunk, ...]], emphasis: Emphasis, clip_skip: int | None
    ) -> Tensor:
        """The features (b*k s d) of chunks whose words have weights; those of other chunks stay, bit for bit."""
        weights = torch.tensor([part.weights for prompt in prompts for part in prompt]).to(context)  # (b*k s)
        chosen = (weights != 1).any(dim=1)
        if not chosen.any():
            return context
        if emphasis == "comfy":
            ids = torch.tensor([framed([], tower.tokenizer).ids], device=context.device)
            empty = self._layer(tower, tower.encoder(ids).hidden, clip_skip)  # (1 s d)
            changed = moved_from(context[chosen], weights[chosen], empty)
        else:
            changed = multiplied(context[chosen], weights[chosen])
        return context.index_copy(0, chosen.nonzero().flatten(), changed)

    def _layer(self, tower: Tower, hidden: tuple[Tensor, ...], clip_skip: int | None) -> Tensor:
        """The features that the UNet is to see, (b s d), of those after each layer."""
        skipped = 0 if clip_skip is None else clip_skip - 1
        if not 0 <= skipped <= len(hidden) - 1 - tower.layer:
            raise SettingsError(
                f"clip_skip is {clip_skip}; this model's text encoder has {len(hidden) - 1} layers, "
                f"so it can be 1 to {len(hidden) - tower.layer}."
            )
        features = hidden[-tower.layer - skipped]
        return tower.encoder.final_norm(features) if tower.final_norm else features
