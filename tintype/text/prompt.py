"""A prompt as the text encoder reads it: chunks of 77 ids, each with its own start, end and padding.

CLIP reads 77 positions: a start token, up to 75 pieces of words, an end token, padding. A longer prompt is cut into
several such chunks, whose features are later joined along the sequence (the way of A1111's web UI), or truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tintype.text.tokenizer import Tokenizer

LongPrompt = Literal["chunk", "truncate"]


@dataclass(frozen=True)
class Fragment:
    """A piece of a prompt and how much it should count. The text is tokenised by itself."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Chunk:
    """What one pass of the text encoder reads; both tuples have the encoder's length (77).

    Start, end and padding have weight 1.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Chunks:
    """A whole prompt as chunks, at least one, and what should be said about it."""

    chunks: tuple[Chunk, ...]
    num_tokens: int
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.chunks)


def fragments(prompt: str) -> list[Fragment]:
    """The prompt's fragments with their weights.

    This is the one place that reads prompt syntax. There is none yet: the prompt is one fragment of weight 1, taken
    literally. What follows already carries weights per token and needs no change for emphasis.
    """
    return [Fragment(prompt)]


def chunk(prompt: str, tokenizer: Tokenizer, *, long_prompt: LongPrompt = "chunk") -> Chunks:
    """Cuts a prompt into chunks. An empty prompt is one chunk without words.

    ``long_prompt`` says what happens beyond the first chunk: "chunk" keeps it in further chunks, "truncate" drops it;
    either is told in ``notices``.
    """
    tokens = [(index, fragment.weight) for fragment in fragments(prompt) for index in tokenizer.encode(fragment.text)]
    room = tokenizer.max_length - 2
    notices: tuple[str, ...] = ()
    kept = tokens
    if len(tokens) > room and long_prompt == "truncate":
        lost = tokenizer.decode(index for index, _ in tokens[room:])
        kept = tokens[:room]
        notices = (f'The prompt has {len(tokens)} tokens and one chunk holds {room}; left out: "{lost}".',)
    elif len(tokens) > room:
        notices = (f"The prompt has {len(tokens)} tokens; it is read in {-(-len(tokens) // room)} chunks of {room}.",)
    starts = range(0, max(len(kept), 1), room)
    return Chunks(tuple(framed(kept[i : i + room], tokenizer) for i in starts), len(tokens), notices)


def pad(chunks: Chunks, num_chunks: int, tokenizer: Tokenizer) -> tuple[Chunk, ...]:
    """The chunks followed by chunks of the empty prompt, ``num_chunks`` in all.

    Prompts of one batch, and its negative prompts, need one length; a chunk that says nothing is what the text
    encoder knows for "nothing".
    """
    missing = num_chunks - len(chunks)
    if missing < 0:
        raise ValueError(f"The prompt has {len(chunks)} chunks and cannot be padded to {num_chunks}.")
    return chunks.chunks + (framed([], tokenizer),) * missing


def framed(tokens: Sequence[tuple[int, float]], tokenizer: Tokenizer) -> Chunk:
    """Ids with their weights, at most 75 of them, between start and end, padded to the encoder's length."""
    ids = [tokenizer.start, *(index for index, _ in tokens), tokenizer.end]
    weights = [1.0, *(weight for _, weight in tokens), 1.0]
    rest = tokenizer.max_length - len(ids)
    return Chunk(tuple(ids + [tokenizer.pad] * rest), tuple(weights + [1.0] * rest))
