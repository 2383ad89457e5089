"""A small model knows what it knows: which words of a prompt its training never showed it, and what is near them.

A model folder may carry ``vocabulary.json``::

    {"words": ["beach", "cosmic", ...], "attributes": {"colours": ["red", ...], ...}}

``words`` are the lower-case content words of its captions, ``attributes`` what it can be asked for, by kind. Models
without the file know no bounds, and nothing is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path

from tintype.errors import CheckpointError
from tintype.text.related_words import RELATED, STOP_WORDS

FILE_NAME = "vocabulary.json"


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model was trained with."""

    words: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def load(folder: str | Path) -> Vocabulary | None:
        """The vocabulary in a model's folder; None where there is no such file."""
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            words = tuple(sorted({str(word).lower() for word in content["words"]}))
            attributes = {str(kind): tuple(map(str, names)) for kind, names in content.get("attributes", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f'{path} cannot be read; expected {{"words": [...]}}: {error!r}') from error
        return Vocabulary(words, attributes)

    def save(self, folder: str | Path) -> None:
        """Writes ``vocabulary.json``."""
        content = {
            "words": list(self.words),
            "attributes": {kind: list(names) for kind, names in self.attributes.items()},
        }
        text = json.dumps(content, ensure_ascii=False, indent=2)
        (Path(folder) / FILE_NAME).write_text(text + "\n", encoding="utf-8", newline="\n")

    def with_words_of(self, captions: Iterable[str]) -> Vocabulary:
        """The same, and the words of more captions."""
        learnt = {word for caption in captions for word in _split(caption)}
        return replace(self, words=tuple(sorted({*self.words, *learnt})))

    def notices(self, prompt: str) -> tuple[str, ...]:
        """One line per unknown word: ``never saw: astronaut; close: rocket, planet``."""
        unknown = unknown_words(prompt, self.words)
        return tuple(
            f"never saw: {word}; close: {', '.join(close)}" if close else f"never saw: {word}"
            for word, close in unknown
        )


def unknown_words(prompt: str, known: Collection[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The content words of a prompt that are not in ``known``, each with at most three known words close to it.

    Each word is listed once, in the prompt's order. A compound with a hyphen is known when its parts are.
    """
    known = {part for word in known for part in _split(word)}
    unknown: list[tuple[str, tuple[str, ...]]] = []
    for word in dict.fromkeys(_split(prompt)):
        parts = word.split("-")
        if word in known or all(part in known or part in STOP_WORDS for part in parts):
            continue
        unknown.append((word, close_words(word, known)))
    return unknown


def close_words(word: str, known: Collection[str], limit: int = 3) -> tuple[str, ...]:
    """Known words close to ``word``: of its stem and of related meaning, or else spelled almost alike."""
    stem = _stem(word)
    close = [other for other in sorted(known) if _stem(other) == stem]
    close += _related(word, known) or _related(stem, known)
    if not close:
        # 0.8 lets one letter in five be wrong: a slip of the keyboard, not another word.
        alike = {other: SequenceMatcher(None, word, other).ratio() for other in sorted(known)}
        close = sorted((other for other, ratio in alike.items() if ratio >= 0.8), key=lambda other: -alike[other])
    return tuple(dict.fromkeys(close))[:limit]


def _related(word: str, known: Collection[str]) -> list[str]:
    """Known words of the word's groups, by how near they stand to it."""
    distances: dict[str, int] = {}
    for group in RELATED:
        forms = [member if member == word else _stem(member) for member in group]
        if word not in forms:
            continue
        place = forms.index(word)
        for i, member in enumerate(group):
            if member in known:
                distances[member] = min(abs(i - place), distances.get(member, len(group)))
    return sorted(distances, key=distances.__getitem__)


def _stem(word: str) -> str:
    """The word without the commonest English endings, enough to join "boats" and "boat", "berries" and "berry"."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _split(text: str) -> list[str]:
    """Lower-case words: letters of any script, a hyphen or an apostrophe inside; without possessives and stop words."""
    words = (
        word.removesuffix("'s") for word in re.findall(r"[^\W\d_]+(?:['-][^\W\d_]+)*", text.lower().replace("’", "'"))
    )
    return [word for word in words if word not in STOP_WORDS and word.split("'")[0] not in STOP_WORDS]
