"""Models by their names on the Hub: ``owner/model``, or one file of it, ``owner/model/file`` or ``owner/model:file``.

Only what drawing needs is fetched: the index, and what it names: configurations, tokenizers, and each network's weights
once, as safetensors where there are some. Everything lands in huggingface_hub's own cache, so that other programs find
it. Nothing here opens the network except ``fetch``, which is how one asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from tintype.checkpoints.config_values import INDEX, read_json
from tintype.checkpoints.folder import NOT_READ, OURS
from tintype.errors import CheckpointError
from tintype.layouts.weight_files import find_variants, read_index, say_variants, weight_names

Progress = Callable[[str, int, int], None]
"""Called with a file's name, its bytes that are here, and all of its bytes."""

NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(?:[:/](?P<file>[\w. ()+/-]+))?", re.ASCII)
STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}  # by the library that wrote a part
NETWORK = "config.json"
WITHOUT_WEIGHTS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "FeatureExtractor")  # ends of classes' names
BESIDE = (OURS, "vocabulary.json")  # what this program writes beside the index
SMALL = (
    *(NETWORK, "scheduler_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json"),
)
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


class Repository(Protocol):
    """The files of one model at one version, on the Hub or in the cache."""

    where: str
    names: Collection[str]

    def get(self, name: str) -> Path:
        """Where a file lies here, after fetching it if need be."""
        ...


def is_hub_name(source: str | Path) -> TypeGuard[str]:
    """Whether a text can only mean a model on the Hub, and not a file or folder here that is missing.

    A path that begins in a folder of this machine is meant as a path, so that a slip of the pen asks no network.
    """
    if not isinstance(source, str) or Path(source).exists():
        return False
    match = NAME.fullmatch(source)
    if match is None or ".." in source or source[0] in ".~" or Path(match["repository"]).suffix in SINGLE_FILES:
        return False
    if match["file"] and ":" not in source and not source.endswith(SINGLE_FILES):
        return False
    return ":" in source or not Path(source.split("/")[0]).is_dir()


def fetch(
    name: str,
    *,
    revision: str | None = None,
    variant: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The folder of a model, or the file that was named, from the Hub or its cache.

    An interrupted download is taken up where it ended, and each file's checksum is compared with what the Hub states.

    Args:
        name: ``owner/model``, ``owner/model/file`` or ``owner/model:file``.
        revision: a branch, tag or commit; None for the main branch.
        variant: "fp16" for weights such as ``model.fp16.safetensors``.
        offline: use only what was fetched before. ``HF_HUB_OFFLINE=1`` says the same.
        progress: hears how far each file is.

    Raises:
        CheckpointError: no network, no such model, revision, variant or file, a wrong checksum; it says what to do.
    """
    match = NAME.fullmatch(name)
    if match is None or ".." in name:
        raise CheckpointError(f"{name!r} is no name of a model on the Hub: owner/model, or owner/model:file.")
    from tintype.checkpoints import hub_files  # takes half a second, which those without a Hub name should not pay

    repository: Repository
    if offline or hub_files.is_offline():
        repository = hub_files.Cached(match["repository"], revision)
    else:
        repository = hub_files.Remote(match["repository"], revision, progress)
    if match["file"]:
        if match["file"] not in repository.names:
            raise CheckpointError(f"{repository.where} has no {match['file']}.{_single_files(repository, '')}")
        return repository.get(match["file"])
    if INDEX in repository.names:
        top = repository.get(INDEX)
        wanted = needed_files(read_json(top), repository, variant)
    elif NETWORK in repository.names:  # one network by itself, as autoencoders are offered
        top = repository.get(NETWORK)
        stem = STEMS["diffusers" if "_class_name" in read_json(top) else "transformers"]
        wanted = _weights(repository, "", stem, variant)
    else:
        advice = _single_files(repository, f" Name one as {match['repository']}:FILE.")
        raise CheckpointError(f"{repository.where} is no diffusers folder: it has no {INDEX}.{advice}")
    for file in wanted:
        repository.get(file)
    return top.parent


def needed_files(index: Mapping[str, Any], repository: Repository, variant: str | None) -> Iterator[str]:
    """What drawing needs of a diffusers folder. An index of shards is fetched in order to be read.

    Raises ``CheckpointError`` for a network without weights, or without the variant.
    """
    yield from (name for name in BESIDE if name in repository.names)
    for part, entry in index.items():
        if part in NOT_READ or not re.fullmatch(r"\w+", part):
            continue
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], str):
            continue
        yield from (f"{part}/{name}" for name in SMALL if f"{part}/{name}" in repository.names)
        if entry[0] in STEMS and not entry[1].endswith(WITHOUT_WEIGHTS):
            if f"{part}/{NETWORK}" not in repository.names:
                raise CheckpointError(f"{repository.where}: {part} has no {NETWORK}.")
            yield from _weights(repository, part, STEMS[entry[0]], variant)


def _weights(repository: Repository, part: str, stem: str, variant: str | None) -> Iterator[str]:
    """The weights of the network in a folder, "" for the top, once."""
    beside = f"{part}/" if part else ""
    for name in weight_names(stem, variant):
        if beside + name in repository.names:
            yield beside + name
            if name.endswith(".json"):
                shards = set(read_index(repository.get(beside + name)).values())
                yield from (beside + shard for shard in sorted(shards))
            return
    there = [name.removeprefix(beside) for name in repository.names if name.startswith(beside)]
    wanted = f"weights of variant={variant!r}" if variant else "weights without a variant"
    known = find_variants(there, stem)
    advice = f"it has {say_variants(known)}: ask for that" if known else f"it has {', '.join(sorted(there)[:6])}"
    raise CheckpointError(f"{repository.where}: {part or 'its top'} has no {wanted}; {advice}.")


def _single_files(repository: Repository, advice: str) -> str:
    """The files at its top that could be models by themselves."""
    there = sorted(name for name in repository.names if "/" not in name and name.endswith(SINGLE_FILES))
    if not there:
        return " It has no files of weights either." if advice else ""
    return f" It has {', '.join(there[:8])}{' and others' if len(there) > 8 else ''}.{advice}"
