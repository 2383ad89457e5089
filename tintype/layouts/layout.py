"""One table per format of weights: it gives our names for theirs, theirs for ours, and the few tensors that differ.

A name is a row of segments (``down.0.resnets.1.conv1.weight``). A rename replaces a run of segments; ``*`` stands
for a number and is carried over. Names are translated from left to right, each time by the longest rename that
matches, and what no rename matches is copied. The same table read the other way round translates back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tintype.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A format of weights. Each pair is (ours, theirs).

    ``prefix``       stands before each of their names; names without it belong to other networks of the file
    ``renames``      runs of segments that differ
    ``aliases``      (theirs in older files, theirs), at the start of a name behind the prefix; for reading only
    ``packed``       (ours, parts of ours): their one tensor holds several of ours, one above the other. The table
                     names it as if we had it too: (``to_qkv``, (``to_q``, ``to_k``, ``to_v``))
    ``transposed``   ends of our names whose matrices they store as (in, out)
    ``convolutions`` ends of our names whose matrices (out in) they store as 1x1 convolutions (out in 1 1). When
                     reading, either shape is taken, since both are found under one name
    ``ignorable``    their names that carry nothing
    """

    name: str
    renames: tuple[tuple[str, str], ...]
    prefix: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    packed: tuple[tuple[str, tuple[str, ...]], ...] = ()
    transposed: tuple[str, ...] = ()
    convolutions: tuple[str, ...] = ()
    ignorable: tuple[str, ...] = ()

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors under our names and in our shapes, as views wherever they are views of a file.

        Takes meta tensors too, so that names and shapes can be judged before any weight is read. Raises
        ``CheckpointError`` when two of their names mean one of ours.
        """
        ours: dict[str, Tensor] = {}
        for their_name, tensor in tensors.items():
            if not their_name.startswith(self.prefix):
                continue
            their_name = self._without_alias(their_name.removeprefix(self.prefix))
            if their_name in self.ignorable:
                continue
            for name, part in self._unpack(_translate(their_name, self._to_ours), tensor):
                if name in ours:
                    raise CheckpointError(f"Two tensors of the {self.name} weights mean the same one: {name}.")
                ours[name] = self._shape_to_ours(name, part)
        return ours

    def to_theirs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors under their names and in their shapes. The inverse of ``to_ours``."""
        import torch

        rest = {name: self._shape_to_theirs(name, tensor) for name, tensor in tensors.items()}
        for whole, parts in self.packed:
            for name in [name for name in rest if _has_segments(name, parts[0])]:
                names = [_replace_segments(name, parts[0], part) for part in parts]
                rest[_replace_segments(name, parts[0], whole)] = torch.cat([rest.pop(part) for part in names])
        return {self.prefix + _translate(name, self._to_theirs): tensor for name, tensor in rest.items()}

    def their_name(self, our_name: str) -> str:
        """Their name of one of our tensors that is not packed."""
        return self.prefix + _translate(our_name, self._to_theirs)

    @cached_property
    def _to_ours(self) -> Renames:
        return _by_first_segment((theirs, ours) for ours, theirs in self.renames)

    @cached_property
    def _to_theirs(self) -> Renames:
        return _by_first_segment(self.renames)

    def _without_alias(self, their_name: str) -> str:
        for older, theirs in self.aliases:
            if their_name == older or their_name.startswith(older + "."):
                return theirs + their_name.removeprefix(older)
        return their_name

    def _unpack(self, name: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
        for whole, parts in self.packed:
            if _has_segments(name, whole) and tensor.ndim and tensor.shape[0] % len(parts) == 0:
                names = [_replace_segments(name, whole, part) for part in parts]
                return zip(names, tensor.chunk(len(parts), dim=0), strict=True)
        return [(name, tensor)]

    def _shape_to_ours(self, name: str, tensor: Tensor) -> Tensor:
        if _ends_with(name, self.convolutions) and tensor.shape[2:] == (1, 1):
            tensor = tensor.flatten(1)  # (out in 1 1) -> (out in)
        if _ends_with(name, self.transposed) and tensor.ndim == 2:
            tensor = tensor.T
        return tensor

    def _shape_to_theirs(self, name: str, tensor: Tensor) -> Tensor:
        if _ends_with(name, self.transposed):
            tensor = tensor.T
        if _ends_with(name, self.convolutions):
            tensor = tensor[:, :, None, None]  # (out in) -> (out in 1 1)
        return tensor


Rename = tuple[tuple[str, ...], tuple[str, ...]]
Renames = Mapping[str, list[Rename]]
"""Renames by their first segment, the longest first."""


def _by_first_segment(pairs: Iterable[tuple[str, str]]) -> Renames:
    renames: dict[str, list[Rename]] = {}
    for old, new in pairs:
        pattern = tuple(old.split("."))
        renames.setdefault(pattern[0], []).append((pattern, tuple(new.split("."))))
    for same_start in renames.values():
        same_start.sort(key=lambda rename: -len(rename[0]))
    return renames


def _translate(name: str, renames: Renames) -> str:
    segments = name.split(".")
    translated: list[str] = []
    i = 0
    while i < len(segments):
        for pattern, replacement in renames.get(segments[i], ()):
            found = segments[i : i + len(pattern)]
            if _matches(pattern, found):
                numbers = iter(segment for part, segment in zip(pattern, found, strict=True) if part == "*")
                translated += [next(numbers) if part == "*" else part for part in replacement]
                i += len(pattern)
                break
        else:
            translated.append(segments[i])
            i += 1
    return ".".join(translated)


def _matches(pattern: tuple[str, ...], segments: list[str]) -> bool:
    if len(pattern) != len(segments):
        return False
    pairs = zip(pattern, segments, strict=True)
    return all(part == segment or (part == "*" and segment.isdecimal()) for part, segment in pairs)


def _has_segments(name: str, part: str) -> bool:
    return f".{part}." in f".{name}."


def _replace_segments(name: str, old: str, new: str) -> str:
    return f".{name}.".replace(f".{old}.", f".{new}.")[1:-1]


def _ends_with(name: str, ends: tuple[str, ...]) -> bool:
    return any(name == end or name.endswith("." + end) for end in ends)
