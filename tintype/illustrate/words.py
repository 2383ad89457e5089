"""The prompt as the text encoder read it: every position with its text, weight and kind, and its row of heat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tintype.adapters.lora import applied
from tintype.illustrate.recording import Token
from tintype.pipeline.conditions import imitates_guidance
from tintype.pipeline.settings import Settings
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.prompt import Chunk, chunk, pad
from tintype.text.tags import split_loras
from tintype.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Words:
    """The tokens of one picture's prompt, those that were cut off, and how many rows of heat there are."""

    prompt: str
    tokens: tuple[Token, ...]
    cut: tuple[Token, ...]
    num_entries: int

    def groups(self) -> Tensor:
        """(s e) fp32, 1 where a position of the context belongs to an entry."""
        groups = torch.zeros(len(self.tokens), self.num_entries)
        for token in self.tokens:
            groups[token.position, token.entry] = 1
        return groups


def words_of(model: StableDiffusion, settings: Settings, prompt: str) -> Words:
    """``prompt`` as the first text encoder reads it in a run with these settings; the second has the same words."""
    read, tokenizer = model.conditioner.read, model.conditioner.towers[0].tokenizer
    texts = [split_loras(each)[0] for each in (*settings.prompts, *(settings.negative_prompts or ()))]
    num_chunks = read(texts, settings.long_prompt, settings.emphasis).num_chunks
    plain = split_loras(prompt)[0]
    whole = chunk(plain, tokenizer, emphasis=settings.emphasis)
    used = chunk(plain, tokenizer, long_prompt=settings.long_prompt, emphasis=settings.emphasis)
    tokens, entries = _numbered(pad(used, num_chunks, tokenizer), tokenizer)
    rest, _ = _numbered(whole.chunks[len(used) :], tokenizer)
    first = 1 + max((token.word for token in tokens if token.word is not None), default=-1)
    cut = tuple(
        replace(token, position=-1, entry=-1, word=first + token.word) for token in rest if token.word is not None
    )
    return Words(plain, tokens, cut, entries)


def _numbered(chunks: Sequence[Chunk], tokenizer: Tokenizer) -> tuple[tuple[Token, ...], int]:
    """The tokens of some chunks, and how many entries they have: one each, and one for the padding of a chunk."""
    tokens: list[Token] = []
    entry, word = 0, -1
    for number, part in enumerate(chunks):
        texts, end = _texts(tokenizer, part.ids), _end(part, tokenizer)
        begins = True  # a new word
        for place, (index, weight) in enumerate(zip(part.ids, part.weights, strict=True)):
            kind = "start" if place == 0 else "word" if place < end else "end" if place == end else "padding"
            if kind == "word":
                word += begins
                begins = texts[place].endswith(" ")
            elif place <= end + 1:
                begins = True
            if kind != "padding" or place == end + 1:
                entry += 1
            of_word = word if kind == "word" else None
            tokens.append(Token(texts[place], index, kind, len(tokens), number, of_word, weight, entry - 1))
    return tuple(tokens), entry


def _end(part: Chunk, tokenizer: Tokenizer) -> int:
    """Where the end token of a chunk stands. The padding behind it may be the same token."""
    length = len(part.ids)
    while length > 1 and part.ids[length - 1] == tokenizer.pad:
        length -= 1
    return length if tokenizer.pad == tokenizer.end else length - 1


def _texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Each id as readable text, words that were added (textual inversion) by their names, once for each vector."""
    added = {index: name for name, numbers in tokenizer.added.items() for index in numbers}
    last = {numbers[-1] for numbers in tokenizer.added.values()}
    return [added[index] + " " * (index in last) if index in added else tokenizer.tokens([index])[0] for index in ids]


def contexts(model: StableDiffusion, settings: Settings, scale: float, prompt: int) -> tuple[Tensor, Tensor | None]:
    """The text features (s d) of the ``prompt``-th prompt, and those to steer away from, fp32 on the CPU.

    The text encoders are called again, as the run has called them, with its LoRAs on.
    """
    texts = [split_loras(each)[0] for each in settings.prompts]
    how = {"clip_skip": settings.clip_skip, "long_prompt": settings.long_prompt, "emphasis": settings.emphasis}
    with model.turn(), _loras(model, settings):
        if scale == 1 or imitates_guidance(model):
            context = model.conditioner(texts, **how).context
            return _one(context, prompt), None
        pair = model.conditioner.pair(texts, settings.negative_prompts, **how)
    return _one(pair.cond.context, prompt), _one(pair.uncond.context, prompt)


@contextmanager
def _loras(model: StableDiffusion, settings: Settings) -> Iterator[None]:
    tags = split_loras(settings.prompts[0])[1]
    attached = [model.attach(name, strength) for name, strength in (*settings.loras, *tags)]
    for each in attached:
        each.detach()
    with applied(attached):
        yield


def _one(context: Tensor | None, prompt: int) -> Tensor:
    assert context is not None, "a text encoder gives a context"
    return context[prompt].float().cpu()
