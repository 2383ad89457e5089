"""A scene: the exact labels of one picture, and how scenes are drawn by lot."""

import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tintype.errors import SettingsError
from tintype.scenes.vocabulary import COLOURLESS, FULL, MANY, Vocabulary, settings_of

WITHOUT_SUBJECT = 1 / 12
NATURAL_COLOUR = 1 / 8
MANY_OF_IT = 1 / 3

HELD_OUT_OF_100 = 8
HELD_OUT_SALT = "tintype 20"


@dataclass(frozen=True)
class Scene:
    """Everything that one picture shows.

    A scene without a subject has ``count`` 0 and neither colour nor place. Two or three subjects spread over the
    picture and have no place. ``colour`` None is a subject in its natural colours.
    """

    setting: str
    time: str
    sky: str
    subject: str | None
    colour: str | None
    place: str | None
    count: int
    style: str
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be painted."""
        _check("setting", self.setting, FULL.settings)
        _check("time", self.time, FULL.times)
        _check("sky", self.sky, FULL.skies)
        _check("subject", self.subject, (None, *FULL.subjects))
        _check("style", self.style, FULL.styles)
        if self.subject is None:
            _check("colour of a scene without subject", self.colour, (None,))
            _check("place of a scene without subject", self.place, (None,))
            _check("count of a scene without subject", self.count, (0,))
        else:
            _check(f"setting of a {self.subject}", self.setting, settings_of(self.subject))
            colours = (None,) if self.subject in COLOURLESS else (None, *FULL.colours)
            _check(f"colour of a {self.subject}", self.colour, colours)
            _check(f"count of a {self.subject}", self.count, FULL.counts if self.subject in MANY else (1,))
            _check("place", self.place, FULL.places if self.count == 1 else (None,))
        if not isinstance(self.seed, int) or self.seed < 0:
            raise SettingsError(f"A scene's seed must be a whole number from 0 up, not {self.seed!r}.")

    def to_dict(self) -> dict[str, Any]:
        """The scene as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Scene":
        """The scene that ``to_dict`` wrote."""
        expected = set(cls.__dataclass_fields__)
        if set(values) != expected:
            raise SettingsError(f"A scene has the fields {sorted(expected)}, not {sorted(values)}.")
        return cls(**values)


def _check(what: str, got: object, allowed: tuple[object, ...]) -> None:
    if got not in allowed:
        raise SettingsError(f"The {what} cannot be {got!r}; choose one of {', '.join(map(repr, allowed))}.")


def sample(rng: np.random.Generator, vocabulary: Vocabulary = FULL, held_out: bool | None = False) -> Scene:
    """Draw a scene by lot; ``held_out``: False avoids the pairs kept out of training, True has one, None is either."""
    while True:
        scene = _sample_any(rng, vocabulary)
        if held_out is None or is_held_out(scene) == held_out:
            return scene


def moved(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The same scene with its subject in another place, drawn by lot; None where no subject has a place."""
    if scene.place is None:
        return None
    return replace(scene, place=_choose(rng, tuple(place for place in FULL.places if place != scene.place)))


def _sample_any(rng: np.random.Generator, vocabulary: Vocabulary) -> Scene:
    subject, colour, place, count = None, None, None, 0
    settings = vocabulary.settings
    if rng.random() >= WITHOUT_SUBJECT:
        subject = _choose(rng, vocabulary.subjects)
        settings = tuple(setting for setting in settings if setting in settings_of(subject))
        if subject not in COLOURLESS and rng.random() >= NATURAL_COLOUR:
            colour = _choose(rng, vocabulary.colours)
        several = [n for n in vocabulary.counts if n > 1]
        count = _choose(rng, several) if several and subject in MANY and rng.random() < MANY_OF_IT else 1
        place = _choose(rng, vocabulary.places) if count == 1 else None
    return Scene(
        setting=_choose(rng, settings),
        time=_choose(rng, vocabulary.times),
        sky=_choose(rng, vocabulary.skies),
        subject=subject,
        colour=colour,
        place=place,
        count=count,
        style=_choose(rng, vocabulary.styles),
        seed=int(rng.integers(2**31)),
    )


def _choose(rng: np.random.Generator, values):
    return values[int(rng.integers(len(values)))]


def is_held_out(scene: Scene) -> bool:
    """Whether the scene contains a pair that training never sees."""
    pairs = [(scene.style, scene.setting)]
    if scene.subject is not None:
        pairs.append((scene.subject, scene.setting))
        if scene.colour is not None:
            pairs.append((scene.colour, scene.subject))
    return any(is_held_out_pair(*pair) for pair in pairs)


def is_held_out_pair(first: str, second: str) -> bool:
    """A fixed lot for (subject, setting), (colour, subject) or (style, setting); the flat style is never held out."""
    if first == "flat":
        return False
    return zlib.crc32(f"{HELD_OUT_SALT}: {first} + {second}".encode()) % 100 < HELD_OUT_OF_100
