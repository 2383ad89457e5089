"""Textual inversion: a word of a prompt stands for learnt vectors (Gal et al. 2022, arXiv 2208.01618).

Files come in six forms: A1111's .pt (``string_to_param``) and its pictures that carry one, a dict from a word to a
tensor (Hugging Face), ``emb_params`` (sd-scripts), and ``clip_l`` with ``clip_g`` (SDXL).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tintype.adapters.embedding_pictures import read_picture
from tintype.errors import CheckpointError, SettingsError
from tintype.layouts.pickle_reader import PickleFile
from tintype.layouts.state_dict import items_of
from tintype.layouts.stored_tensors import StoredTensor
from tintype.layouts.tensor_files import is_pickle, open_tensors
from tintype.text.conditioner import Conditioner
from tintype.text.tokenizer import Tokenizer

WIDTHS = {(768,): "SD 1", (1024,): "SD 2", (768, 1280): "SDXL"}
MAX_VECTORS = 75


@dataclass(frozen=True)
class Embedding:
    """The word that the file itself is called by, and its vectors (n d), one tensor for each text tower."""

    token: str
    vectors: tuple[Tensor, ...] = field(repr=False)

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each tower that it is for."""
        return tuple(each.shape[1] for each in self.vectors)


class AttachedEmbedding:
    """A word that a conditioner knows for now; ``detach`` makes it forget, without a trace."""

    def __init__(self, conditioner: Conditioner, token: str, vectors: tuple[Tensor, ...]) -> None:
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
            _replace(table, torch.cat([table.weight.data, each.to(table.weight)]))
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


def load_embedding(path: str | Path) -> Embedding:
    """Reads a file of any of the six forms. CheckpointError for anything else."""
    path = Path(path)
    return embedding_of(path, path.stem, read_picture(path) if path.suffix.lower() == ".png" else _tensors(path))


def embedding_of(path: Path, name: str, tensors: Mapping[str, Tensor]) -> Embedding:
    """The embedding that tensors of a file make; ``name`` is its word unless the file has one."""
    if {"clip_l", "clip_g"} <= tensors.keys():
        token, vectors = name, (tensors["clip_l"], tensors["clip_g"])
    elif len(tensors) == 1:
        key, tensor = next(iter(tensors.items()))
        token, vectors = name if key in ("*", "emb_params") else key, (tensor,)
    else:
        names = ", ".join(sorted(tensors)[:4])
        raise CheckpointError(
            f"{path} is no textual inversion: expected one tensor, or clip_l and clip_g; got {names}."
        )
    vectors = tuple(each[None] if each.ndim == 1 else each for each in vectors)
    fits = all(each.ndim == 2 and each.is_floating_point() and len(each) == len(vectors[0]) for each in vectors)
    if not fits or not 0 < len(vectors[0]) <= MAX_VECTORS:
        shapes = ", ".join(str(tuple(each.shape)) for each in vectors)
        raise CheckpointError(f"{path} is no textual inversion: expected 1 to {MAX_VECTORS} vectors; got {shapes}.")
    if not all(each.float().isfinite().all() for each in vectors):
        raise CheckpointError(f"{path} holds numbers that are not finite; it is damaged.")
    return Embedding(token, vectors)


def _tensors(path: Path) -> dict[str, Tensor]:
    if is_pickle(path):
        file = PickleFile(path)
        params = file.tree.get("string_to_param") if isinstance(file.tree, dict) else None
        if params is not None:
            return {str(name): file.tensor(each) for name, each in items_of(params) if isinstance(each, StoredTensor)}
        return dict(file.tensors())
    return dict(open_tensors(path).tensors())


def _replace(table: nn.Embedding, weight: Tensor) -> None:
    table.weight = nn.Parameter(weight, requires_grad=False)
    table.num_embeddings = len(weight)


def _widths(widths: tuple[int, ...]) -> str:
    return " and ".join(map(str, widths))
