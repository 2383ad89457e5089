"""The prompts of a run as they are read: without their tags, and with what they ask for beside the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tintype.adapters.lora import Attached, applied
from tintype.adapters.places import EMBEDDINGS, find_embedding, find_embeddings
from tintype.adapters.textual_inversion import (
    Embedding,
    embedded,
    fits_to,
    fitting,
    stands_in,
    without,
)
from tintype.errors import SettingsError, TintypeError
from tintype.pipeline.settings import Settings
from tintype.text.emphasis import plain
from tintype.text.tags import split_loras

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion


@dataclass(frozen=True)
class Prompts:
    """What a run says to its model.

    ``loras`` are attached and off, ``embeddings`` are read; both are on within ``applied`` alone.
    """

    model: StableDiffusion = field(repr=False)
    settings: Settings
    texts: tuple[str, ...]
    negatives: tuple[str, ...] | None = None
    loras: tuple[Attached, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    found: tuple[str, ...] = ()
    """What should be said of embeddings."""

    @classmethod
    def of(cls, model: StableDiffusion, settings: Settings) -> Prompts:
        """Finds and reads what the settings and the prompts name.

        Raises:
            CheckpointError: a LoRA or an embedding that is not there, or was made for another family.
            SettingsError: a tag that is not understood; prompts that ask for different LoRAs.
        """
        model.conditioner.check((*settings.prompts, *(settings.negative_prompts or ())))
        split = [split_loras(prompt) for prompt in settings.prompts]
        asked = {loras for _, loras in split}
        if len(asked) > 1:
            raise SettingsError("The prompts of one run ask for different LoRAs; give them the same, or make two runs.")
        loras = tuple(model.attach(name, strength) for name, strength in (*settings.loras, *asked.pop()))
        for each in loras:
            each.detach()
        known = find_embeddings(model.embedding_folders)
        texts = tuple(_without_prefix(prompt, known) for prompt, _ in split)
        negatives = settings.negative_prompts
        if negatives is not None:
            negatives = tuple(_without_prefix(prompt, known) for prompt in negatives)
        bundled = [fits_to(model.conditioner, each.lora.name, word) for each in loras for word in each.lora.embeddings]
        embeddings, found = _embeddings(model, settings, (*texts, *(negatives or ())), known, bundled)
        return cls(model, settings, texts, negatives, loras, embeddings, found)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the LoRAs and knows the words; call it under the model's lock."""
        with applied(self.loras), embedded(self.model.conditioner, self.embeddings):
            yield

    @property
    def notices(self) -> tuple[str, ...]:
        """What should be said: of LoRAs, of embeddings, of long prompts, of words that the model does not know."""
        settings, conditioner = self.settings, self.model.conditioner
        of_loras = tuple(f"{lora.lora.name}: {lora.report}." for lora in self.loras if lora.report.unmatched)
        with self.model.lock, embedded(conditioner, self.embeddings):
            everything = (*self.texts, *(self.negatives or ()))
            read = conditioner.read(everything, settings.long_prompt, settings.emphasis)
        return of_loras + self.found + read.notices + self.unknown

    @property
    def unknown(self) -> tuple[str, ...]:
        """A notice for each word that the model never saw, where it lists its words."""
        conditioner = self.model.conditioner
        added = {name for tower in conditioner.towers for name in tower.tokenizer.added}
        added |= {embedding.token for embedding in self.embeddings}
        return conditioner.unknown([without(added, text) for text in self.texts], self.settings.emphasis)


def _without_prefix(prompt: str, known: Iterable[str]) -> str:
    """ComfyUI's ``embedding:name`` as A1111's ``name``, where there is one of that name."""
    names = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    suffixes = "|".join(re.escape(suffix) for suffix in EMBEDDINGS)
    return re.sub(rf"\bembedding:({names})(?:{suffixes})?(?!\w)", r"\1", prompt, flags=re.IGNORECASE)


def _embeddings(
    model: StableDiffusion,
    settings: Settings,
    prompts: tuple[str, ...],
    known: Mapping[str, Path],
    bundled: Sequence[Embedding],
) -> tuple[tuple[Embedding, ...], tuple[str, ...]]:
    """The embeddings that were asked for, and those whose files a word of the prompts names; what to say of them."""
    words = [plain(prompt, settings.emphasis) for prompt in prompts]
    taken = {name for tower in model.conditioner.towers for name in tower.tokenizer.added}
    embeddings = [each for each in bundled if any(stands_in(each.token, text) for text in words)]
    taken |= {each.token.lower() for each in embeddings}
    said: list[str] = []
    for name in settings.embeddings:
        embedding = fitting(model.conditioner, find_embedding(name, model.embedding_folders))
        if embedding.token.lower() in taken:
            raise SettingsError(f"Two embeddings have the word {embedding.token!r}; give one of them.")
        taken.add(embedding.token.lower())
        embeddings.append(embedding)
        if not any(stands_in(embedding.token, text) for text in words):
            said.append(f"The embedding {name} is in no prompt; its word is {embedding.token}.")
    for name, path in known.items():
        if name.lower() in taken or not any(stands_in(name, text) for text in words):
            continue
        try:
            embeddings.append(fitting(model.conditioner, path, name))
        except TintypeError as error:
            said.append(f"{name!r} in the prompt is taken as a word: {error}")
            continue
        taken.add(name.lower())
        said.append(f"{name!r} in the prompt stands for the embedding {path}.")
    return tuple(embeddings), tuple(said)
