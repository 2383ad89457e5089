"""The weights of one network in a folder: one file, or shards with an index; plain or a variant such as fp16."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tintype.errors import CheckpointError
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.layouts.tensor_files import TensorFile, open_tensors

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
    middle = f".{variant}" if variant else ""
    old = "pytorch_model" if stem == "model" else stem  # transformers changed the name with the format
    for name, suffix in ((stem, "safetensors"), (old, "bin")):
        single = folder / f"{name}{middle}.{suffix}"
        if single.is_file():
            return Weights((open_tensors(single),))
        # diffusers and transformers write the first form; the second is found on the Hub too.
        for index in (f"{name}.{suffix}.index{middle}.json", f"{name}{middle}.{suffix}.index.json"):
            if (folder / index).is_file():
                return _open_shards(folder / index)
    raise CheckpointError(_what_is_there(folder, f"{stem}{middle}.safetensors", (stem, old)))


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


def _open_shards(index: Path) -> Weights:
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
    names = sorted(set(weight_map.values()))
    for name in names:
        # An index may come from anywhere; it must not be able to name other files of this machine.
        is_beside = name == Path(name).name and name not in ("", ".", "..") and not {"\\", "\0"} & set(name)
        if not is_beside or len(name) > MAX_NAME or not name.endswith((".safetensors", ".bin")):
            raise CheckpointError(f"{index} names {name[:100]!r}: shards must be .safetensors or .bin files beside it.")
    files = tuple(open_tensors(index.parent / name) for name in names)
    found = {tensor: file.path.name for file in files for tensor in file.infos}
    if sum(len(file.infos) for file in files) != len(found):
        raise CheckpointError(f"{index}: a tensor stands in more than one shard.")
    if found != weight_map:
        wrong = sorted(set(found.items()) ^ set(weight_map.items()))
        raise CheckpointError(f"{index} and its shards disagree, first on {wrong[0][0]} in {wrong[0][1]}.")
    return Weights(files)


def _what_is_there(folder: Path, wanted: str, stems: tuple[str, str]) -> str:
    if not folder.is_dir():
        return f"{folder} is missing; it should hold {wanted}."
    there = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.endswith("config.json"))
    if variants := find_variants(there, stems):
        known = " or ".join(f"variant={variant!r}" for variant in variants if variant) or "no variant"
        return f"{folder / wanted} is missing, but the folder has {known}: ask for that."
    return f"{folder / wanted} is missing; the folder has {', '.join(there[:6]) or 'no weights'}."


def find_variants(names: Iterable[str], stems: Iterable[str]) -> list[str]:
    """The variants among the names of weight files, in order; "" for files of none."""
    pattern = re.compile(rf"(?:{'|'.join(stems)})(?:\.(\w+))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)")
    return sorted({match[1] or "" for name in names if (match := pattern.fullmatch(name))})
