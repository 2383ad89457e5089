"""What the painter can paint: two vocabularies, and which of their words go together."""

import re
from dataclasses import dataclass

from tintype.scenes import words


@dataclass(frozen=True)
class Vocabulary:
    """The values that each attribute of a scene may take."""

    settings: tuple[str, ...]
    times: tuple[str, ...]
    skies: tuple[str, ...]
    subjects: tuple[str, ...]
    colours: tuple[str, ...]
    places: tuple[str, ...]
    counts: tuple[int, ...]
    styles: tuple[str, ...]


FULL = Vocabulary(
    settings=tuple(words.SETTINGS),
    times=tuple(words.TIMES),
    skies=tuple(words.SKIES),
    subjects=tuple(words.SUBJECTS),
    colours=tuple(words.COLOURS),
    places=tuple(words.PLACES),
    counts=tuple(words.NUMBERS),
    styles=tuple(words.STYLES),
)

SMALL = Vocabulary(
    settings=("beach", "sea", "desert", "mountains", "forest", "city"),
    times=FULL.times,
    skies=FULL.skies,
    subjects=(
        "pirate ship",
        "sailing boat",
        "pyramid",
        "cat",
        "house",
        "palm tree",
        "hot-air balloon",
        "castle",
        "rocket",
        "lighthouse",
    ),
    colours=FULL.colours,
    places=FULL.places,
    counts=(1,),
    styles=("flat",),
)

COLOURLESS = frozenset({"palm tree", "pine tree", "snowman", "moon", "camel"})
"""Subjects that always wear their own colours."""

MANY = frozenset(
    {"sailing boat", "cat", "palm tree", "hot-air balloon", "pine tree", "tent", "flower", "mushroom", "bird", "house"}
)
"""Subjects of which there may be two or three."""

BOATS = frozenset({"pirate ship", "sailing boat"})
FLYERS = frozenset({"hot-air balloon", "moon"})

WATERS = frozenset({"sea", "lake", "beach"})
"""Settings where boats may be."""


def settings_of(subject: str | None) -> tuple[str, ...]:
    """The settings in which a subject may stand: boats near water, cars on land, all others anywhere."""
    if subject in BOATS:
        return tuple(setting for setting in FULL.settings if setting in WATERS)
    if subject == "car":
        return tuple(setting for setting in FULL.settings if setting != "sea")
    return FULL.settings


def known_words(vocabulary: Vocabulary) -> tuple[str, ...]:
    """All lower-case content words that captions of ``vocabulary`` can contain, sorted."""
    phrases: list[str] = [*words.FRAMES]
    for setting in vocabulary.settings:
        phrases += words.SETTINGS[setting].nouns + words.SETTINGS[setting].adjectives
    for table, names in ((words.TIMES, vocabulary.times), (words.SKIES, vocabulary.skies)):
        for name in names:
            phrases += table[name].adjectives + table[name].phrases + table[name].tags
    for subject in vocabulary.subjects:
        many = subject in MANY and max(vocabulary.counts, default=0) > 1
        phrases += [noun for pair in words.SUBJECTS[subject] for noun in pair[: 2 if many else 1]]
    phrases += [word for colour in vocabulary.colours for word in words.COLOURS[colour]]
    phrases += [phrase for place in vocabulary.places for phrase in words.PLACES[place]]
    phrases += [number for count in vocabulary.counts for number in words.NUMBERS[count]]
    phrases += [phrase for style in vocabulary.styles for phrase in words.STYLES[style]]
    found = {word for phrase in phrases for word in split_words(phrase)}
    return tuple(sorted(found - words.FUNCTION_WORDS))


def split_words(text: str) -> list[str]:
    """The lower-case words of a text; a hyphen joins."""
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text.lower())
