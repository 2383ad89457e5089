"""A prompt as the text encoder reads it: chunks of 77 ids, each with its own start, end and padding.

CLIP reads 77 positions: a start token, up to 75 pieces of words, an end token, padding. A longer prompt is cut into
several such chunks, whose features are later joined along the sequence (the way of A1111's web UI), or truncated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tintype.text.emphasis import FRAGMENTS, Emphasis, notices
from tintype.text.tokenizer import Tokenizer

LongPrompt = Literal["chunk", "truncate"]
Token = tuple[int, float]
"""An id and how much it counts."""

BACKTRACK = 20


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


def chunk(
    prompt: str, tokenizer: Tokenizer, *, long_prompt: LongPrompt = "chunk", emphasis: Emphasis = "a1111"
) -> Chunks:
    """Cuts a prompt into chunks. An empty prompt is one chunk without words.

    ``long_prompt`` says what happens beyond the first chunk: "chunk" keeps it in further chunks, "truncate" drops it;
    either is told in ``notices``. ``emphasis`` is the dialect by which words are weighted.
    """
    parts: list[list[Token]] = [[]]  # between one BREAK and the next
    for fragment in FRAGMENTS[emphasis](prompt):
        if fragment.breaks:
            parts.append([])
        parts[-1] += [(index, fragment.weight) for index in tokenizer.encode(fragment.text)]
    room = tokenizer.max_length - 2
    comma = tokenizer.vocabulary.get(",</w>")
    cut = [piece for part in parts for piece in _cut(part, room, comma)]
    total = sum(map(len, parts))
    told = notices(prompt, emphasis)
    if len(cut) > 1 and long_prompt == "truncate":
        lost = tokenizer.decode(index for piece in cut[1:] for index, _ in piece)
        told += (f'The prompt has {total} tokens and one chunk holds {room}; left out: "{lost}".',)
        cut = cut[:1]
    elif total > room:
        told += (f"The prompt has {total} tokens; it is read in {len(cut)} chunks of at most {room}.",)
    return Chunks(tuple(framed(piece, tokenizer) for piece in cut), total, told)


def _cut(tokens: list[Token], room: int, comma: int | None) -> list[list[Token]]:
    """Pieces of at most ``room`` tokens. Where a comma is among the last 20, the cut is behind it (A1111's way)."""
    pieces = []
    while len(tokens) > room:
        commas = [place for place in range(max(room - BACKTRACK, 0), room) if tokens[place][0] == comma]
        end = commas[-1] + 1 if commas and tokens[room][0] != comma else room
        pieces.append(tokens[:end])
        tokens = tokens[end:]
    return [*pieces, tokens]


def pad(chunks: Chunks, num_chunks: int, tokenizer: Tokenizer) -> tuple[Chunk, ...]:
    """The chunks followed by chunks of the empty prompt, ``num_chunks`` in all.

    Prompts of one batch, and its negative prompts, need one length; a chunk that says nothing is what the text
    encoder knows for "nothing".
    """
    missing = num_chunks - len(chunks)
    if missing < 0:
        raise ValueError(f"The prompt has {len(chunks)} chunks and cannot be padded to {num_chunks}.")
    return chunks.chunks + (framed([], tokenizer),) * missing


def framed(tokens: Sequence[Token], tokenizer: Tokenizer) -> Chunk:
    """Ids with their weights, at most 75 of them, between start and end, padded to the encoder's length."""
    ids = [tokenizer.start, *(index for index, _ in tokens), tokenizer.end]
    weights = [1.0, *(weight for _, weight in tokens), 1.0]
    rest = tokenizer.max_length - len(ids)
    return Chunk(tuple(ids + [tokenizer.pad] * rest), tuple(weights + [1.0] * rest))
