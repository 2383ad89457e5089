"""The files of textual inversions, read without torch.

They come in six forms: A1111's .pt (``string_to_param``) and its pictures that carry one, a dict from a word to a
tensor (Hugging Face), ``emb_params`` (sd-scripts), and ``clip_l`` with ``clip_g`` (SDXL).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tintype.adapters.embedding_pictures import read_picture
from tintype.errors import CheckpointError
from tintype.layouts.pickle_reader import PickleFile
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.layouts.state_dict import items_of
from tintype.layouts.stored_tensors import StoredTensor
from tintype.layouts.tensor_files import TensorFile, is_pickle, open_tensors

WIDTHS = {(768,): "SD 1", (1024,): "SD 2", (768, 1280): "SDXL"}
MAX_VECTORS = 75
MAX_WIDTH = 8192


@dataclass(frozen=True)
class Embedding:
    """The word that the file itself is called by, and its vectors, (n d) float32, for each text tower."""

    token: str
    vectors: tuple[NDArray[np.float32], ...] = field(repr=False)

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each tower that it is for."""
        return tuple(each.shape[1] for each in self.vectors)


def load_embedding(path: str | Path) -> Embedding:
    """Reads a file of any of the six forms. CheckpointError for anything else."""
    path = Path(path)
    if path.suffix.lower() == ".png":
        found = read_picture(path)
        shapes = {name: each.shape for name, each in found.items()}
        return _embedding(path, path.stem, shapes, lambda name: found[name])
    if is_pickle(path):
        file = PickleFile(path)
        params = file.tree.get("string_to_param") if isinstance(file.tree, dict) else None
        if params is not None:
            stored = {str(name): each for name, each in items_of(params) if isinstance(each, StoredTensor)}
            return _embedding(path, path.stem, _weights(path, stored), lambda name: file.numbers_of(stored[name]))
    else:
        file = open_tensors(path)
    return embedding_of(file, path.stem, {name: name for name in file.infos})


def embedding_of(file: TensorFile, word: str, names: Mapping[str, str]) -> Embedding:
    """The embedding that tensors of a file make; ``names``: their names in it, by those that an embedding has."""
    infos = {short: file.infos[name] for short, name in names.items()}
    return _embedding(file.path, word, _weights(file.path, infos), lambda short: file.numbers(names[short]))


def _weights(path: Path, infos: Mapping[str, TensorInfo]) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors, all of which are numbers with a fraction."""
    for name, info in infos.items():
        if not info.dtype.is_floating_point:
            raise CheckpointError(f"{path} is no textual inversion: {name} is of type {info.dtype}.")
    return {name: info.shape for name, info in infos.items()}


def _embedding(
    path: Path, word: str, shapes: Mapping[str, tuple[int, ...]], read: Callable[[str], NDArray]
) -> Embedding:
    """Reads an embedding after its names and shapes were looked at. ``word`` is its own unless the file has one."""
    if {"clip_l", "clip_g"} <= shapes.keys():
        token, names = word, ("clip_l", "clip_g")
    elif len(shapes) == 1:
        (name,) = names = tuple(shapes)
        token = word if name in ("*", "emb_params") else name
    else:
        there = ", ".join(sorted(shapes)[:4])
        raise CheckpointError(
            f"{path} is no textual inversion: expected one tensor, or clip_l and clip_g; got {there}."
        )
    if not _are_vectors([shapes[name] for name in names]):
        got = ", ".join(str(shapes[name]) for name in names)
        raise CheckpointError(f"{path} is no textual inversion: expected 1 to {MAX_VECTORS} vectors; got {got}.")
    vectors = tuple(np.atleast_2d(read(name)).astype(np.float32) for name in names)
    if not all(np.isfinite(each).all() for each in vectors):
        raise CheckpointError(f"{path} holds numbers that are not finite; it is damaged.")
    return Embedding(token, vectors)


def _are_vectors(shapes: Iterable[tuple[int, ...]]) -> bool:
    """Whether each is (d), or (n d), with one n from 1 to 75."""
    counts = set()
    for shape in shapes:
        if len(shape) not in (1, 2) or not 0 < shape[-1] <= MAX_WIDTH:
            return False
        counts.add(shape[0] if len(shape) == 2 else 1)
    return len(counts) == 1 and 0 < counts.pop() <= MAX_VECTORS
