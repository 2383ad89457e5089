"""The weights of one network in a folder: one file, or shards with an index; plain or a variant such as fp16."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tintype.errors import CheckpointError
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.layouts.tensor_files import TensorFile, open_tensors

if TYPE_CHECKING:
    from torch import Tensor

MAX_SHARD_BYTES = 10_000_000_000  # where diffusers begins to cut
MAX_NAME = 200
MAX_INDEX_BYTES = 2_000_000  # SDXL's would have 200,000


@dataclass(frozen=True)
class Weights:
    """The tensors of one network, of one file or several. Only their headers are read so far."""

    files: tuple[TensorFile, ...]

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user should be told of the files."""
        return tuple(notice for file in self.files for notice in file.notices)

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and type of every tensor."""
        return {name: info for file in self.files for name, info in file.infos.items()}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one after the other, as views of the mapped files."""
        for file in self.files:
            yield from file.tensors()

    def on_meta(self) -> dict[str, Tensor]:
        """Every tensor's shape and type as a tensor without memory."""
        return {name: info.on_meta() for name, info in self.infos.items()}


def open_weights(folder: str | Path, stem: str, variant: str | None = None) -> Weights:
    """Opens ``<stem>.safetensors`` in ``folder``, or its shards; with a variant ``<stem>.<variant>.safetensors``.

    Where there are none, the pickles that were written before: ``<stem>.bin``, which are read without running them.
    ``stem`` is "diffusion_pytorch_model" for what diffusers wrote and "model" for what transformers wrote. Raises
    ``CheckpointError`` that says what is there instead.
    """
    folder = Path(folder)
    for name in weight_names(stem, variant):
        if (folder / name).is_file():
            return _open_shards(folder / name) if name.endswith(".json") else Weights((open_tensors(folder / name),))
    raise CheckpointError(_what_is_there(folder, next(weight_names(stem, variant)), stem))


def weight_names(stem: str, variant: str | None) -> Iterator[str]:
    """The names that a network's weights, or the index of its shards, may have, best first."""
    middle = f".{variant}" if variant else ""
    for name, suffix in zip(_stems(stem), ("safetensors", "bin"), strict=True):
        yield f"{name}{middle}.{suffix}"
        # diffusers and transformers write the first form; the second is found on the Hub too.
        yield f"{name}.{suffix}.index{middle}.json"
        if variant:
            yield f"{name}{middle}.{suffix}.index.json"


def find_variants(names: Iterable[str], stem: str) -> list[str]:
    """The variants among the names of weight files, in order; "" for files of none."""
    pattern = re.compile(rf"(?:{'|'.join(_stems(stem))})(?:\.(\w+))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)")
    return sorted({match[1] or "" for name in names if (match := pattern.fullmatch(name))})


def _stems(stem: str) -> tuple[str, str]:
    """What safetensors and what pickles are called: transformers changed the name with the format."""
    return stem, "pytorch_model" if stem == "model" else stem


def write_weights(
    folder: Path,
    stem: str,
    tensors: Mapping[str, Tensor],
    *,
    variant: str | None = None,
    max_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Writes one file, or where the tensors take more than ``max_bytes``, shards and their index."""
    middle = f".{variant}" if variant else ""
    shards = _shards(tensors, max_bytes)
    if len(shards) == 1:
        _write(folder / f"{stem}{middle}.safetensors", shards[0])
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"{stem}{middle}-{number:05}-of-{len(shards):05}.safetensors"
        _write(folder / name, shard)
        weight_map |= dict.fromkeys(shard, name)
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": weight_map}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / f"{stem}.safetensors.index{middle}.json").write_text(text, encoding="utf-8", newline="\n")


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, path, metadata={"format": "pt"})  # transformers asks for the format
    path.chmod(0o644)  # the library makes its files readable by their owner alone


def _shards(tensors: Mapping[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, in as many parts as needed. A tensor is never cut."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > max_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def read_index(index: Path) -> dict[str, str]:
    """The shard that each tensor is in. ``CheckpointError`` where that is not a file beside the index."""
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"it is {index.stat().st_size:,} bytes long, which no index is")
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if (
            not isinstance(weight_map, dict)
            or not weight_map
            or not all(isinstance(name, str) for name in weight_map.values())
        ):
            raise TypeError("weight_map should give a file name for each tensor")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index} cannot be read: {repr(error)[:300]}.") from error
    for name in sorted(set(weight_map.values())):
        # An index may come from anywhere; it must not be able to name other files of this machine.
        is_beside = name == Path(name).name and name not in ("", ".", "..") and not {"\\", "\0"} & set(name)
        if not is_beside or len(name) > MAX_NAME or not name.endswith((".safetensors", ".bin")):
            raise CheckpointError(f"{index} names {name[:100]!r}: shards must be .safetensors or .bin files beside it.")
    return weight_map


def _open_shards(index: Path) -> Weights:
    weight_map = read_index(index)
    names = sorted(set(weight_map.values()))
    files = tuple(open_tensors(index.parent / name) for name in names)
    found = {tensor: file.path.name for file in files for tensor in file.infos}
    if sum(len(file.infos) for file in files) != len(found):
        raise CheckpointError(f"{index}: a tensor stands in more than one shard.")
    if found != weight_map:
        wrong = sorted(set(found.items()) ^ set(weight_map.items()))
        raise CheckpointError(f"{index} and its shards disagree, first on {wrong[0][0]} in {wrong[0][1]}.")
    return Weights(files)


def _what_is_there(folder: Path, wanted: str, stem: str) -> str:
    if not folder.is_dir():
        return f"{folder} is missing; it should hold {wanted}."
    there = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.endswith("config.json"))
    if variants := find_variants(there, stem):
        return f"{folder / wanted} is missing, but the folder has {say_variants(variants)}: ask for that."
    return f"{folder / wanted} is missing; the folder has {', '.join(there[:6]) or 'no weights'}."


def say_variants(variants: Iterable[str]) -> str:
    """Variants as one would ask for them."""
    return " or ".join(f"variant={variant!r}" if variant else "weights without a variant" for variant in variants)
