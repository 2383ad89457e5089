"""Textual inversion: a word of a prompt stands for learnt vectors (Gal et al. 2022, arXiv 2208.01618)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tintype.adapters.embedding_files import WIDTHS, Embedding, load_embedding
from tintype.errors import CheckpointError, SettingsError
from tintype.text.conditioner import Conditioner
from tintype.text.tokenizer import Tokenizer


class AttachedEmbedding:
    """A word that a conditioner knows for now; ``detach`` makes it forget, without a trace."""

    def __init__(self, conditioner: Conditioner, token: str, vectors: Sequence[Tensor | NDArray[np.float32]]) -> None:
        self.token = token.lower()
        self._towers = conditioner.towers
        self._attached = True
        known = {id(tower.tokenizer): tower.tokenizer for tower in self._towers}
        if any(self.token in tokenizer.added for tokenizer in known.values()):
            raise SettingsError(f"{token!r} is already the name of an embedding; detach it or choose another token.")
        self._begins = [tower.encoder.token_embedding.num_embeddings for tower in self._towers]
        self._count = len(vectors[0])
        for tower, begin, each in zip(self._towers, self._begins, vectors, strict=True):
            table = tower.encoder.token_embedding
            _replace(table, torch.cat([table.weight.data, torch.as_tensor(each).to(table.weight)]))
            tower.tokenizer.added[self.token] = tuple(range(begin, begin + self._count))

    def detach(self) -> None:
        """Takes the word and its vectors off again. A second time does nothing."""
        if not self._attached:
            return
        self._attached = False
        tokenizers: dict[int, Tokenizer] = {}
        for tower in self._towers:
            table = tower.encoder.token_embedding
            begin = tower.tokenizer.added[self.token][0]
            _replace(table, torch.cat([table.weight.data[:begin], table.weight.data[begin + self._count :]]))
            tokenizers[id(tower.tokenizer)] = tower.tokenizer
        for tokenizer in tokenizers.values():
            begin = tokenizer.added.pop(self.token)[0]
            # Those that were attached later move up into the gap.
            for name, ids in tokenizer.added.items():
                if ids[0] > begin:
                    tokenizer.added[name] = tuple(index - self._count for index in ids)


def attach_embedding(conditioner: Conditioner, path: str | Path, token: str | None = None) -> AttachedEmbedding:
    """Lets ``token`` in prompts stand for a file's vectors; None is the file's own word, or its name.

    Capitals do not count, as in all of CLIP's text. Detach before the model is saved.

    Raises:
        CheckpointError: the file is damaged, holds no embedding, or is for another family.
        SettingsError: the token is empty or taken.
    """
    embedding = fitting(conditioner, path, token)
    return AttachedEmbedding(conditioner, embedding.token, embedding.vectors)


def fitting(conditioner: Conditioner, path: str | Path, token: str | None = None) -> Embedding:
    """A file's embedding, read and compared with a model, under ``token`` or its own word. Raises as above."""
    embedding = load_embedding(path)
    token = (embedding.token if token is None else token).strip()
    if not token:
        raise SettingsError("The token of an embedding is empty; expected a word.")
    return fits_to(conditioner, path, replace(embedding, token=token))


def fits_to(conditioner: Conditioner, path: str | Path, embedding: Embedding) -> Embedding:
    """The embedding. CheckpointError where it was made for another family."""
    expected = tuple(tower.encoder.config.dim for tower in conditioner.towers)
    if embedding.widths != expected:
        family = WIDTHS.get(embedding.widths, "another model")
        raise CheckpointError(
            f"{path} is an embedding for {family} (vectors {_widths(embedding.widths)} wide); "
            f"this model's are {_widths(expected)} wide."
        )
    return embedding


@contextmanager
def embedded(conditioner: Conditioner, embeddings: Sequence[Embedding]) -> Iterator[None]:
    """Within the block the words of the embeddings are known. Call it under the model's lock."""
    attached: list[AttachedEmbedding] = []
    try:
        for each in embeddings:
            attached.append(AttachedEmbedding(conditioner, each.token, each.vectors))
        yield
    finally:
        for each in reversed(attached):
            each.detach()


def stands_in(word: str, prompt: str) -> bool:
    """Whether a prompt has the word, as ``Tokenizer.encode`` sees it."""
    return _alone(word).search(prompt) is not None


def without(words: Iterable[str], prompt: str) -> str:
    """A prompt without these words."""
    for word in words:
        prompt = _alone(word).sub("", prompt)
    return prompt


def _alone(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)


def _replace(table: nn.Embedding, weight: Tensor) -> None:
    table.weight = nn.Parameter(weight, requires_grad=False)
    table.num_embeddings = len(weight)


def _widths(widths: tuple[int, ...]) -> str:
    return " and ".join(map(str, widths))
