"""From a scene to words: many phrasings of what is there, and never of what is not."""

import numpy as np

from tintype.scenes import words
from tintype.scenes.scene import Scene

PARADISE_SKIES = ("clear", "rainbow", "cosmic")

MENTIONED = {"colour": 0.92, "place": 0.7, "setting": 0.92, "time": 0.8, "sky": 0.8, "style": 0.9}
CLEAR_MENTIONED = 0.4
FLAT_MENTIONED = 0.1
CAPITALISED = 0.15


def complete(scene: Scene) -> str:
    """The one canonical caption that names every attribute of the scene."""
    setting = words.SETTINGS[scene.setting]
    where = f"{setting.article} {setting.nouns[0]}"
    parts = [words.TIMES[scene.time].phrases[0], words.SKIES[scene.sky].phrases[0]]
    if scene.subject is None:
        parts.insert(0, where)
    else:
        singular, plural = words.SUBJECTS[scene.subject][0]
        noun = " ".join(filter(None, (scene.colour, singular if scene.count == 1 else plural)))
        number = words.NUMBERS[scene.count][0]
        preposition = f"{words.PLACES[scene.place][0]} of" if scene.place else setting.prepositions[0]
        parts.insert(0, f"{with_article(noun) if number == 'a' else f'{number} {noun}'} {preposition} {where}")
    return f"{_style(scene, words.STYLES[scene.style][0])} of {' '.join(parts)}"


def caption(scene: Scene, rng: np.random.Generator, *, naming: frozenset[str] = frozenset()) -> str:
    """One of many ways to say the scene: a sentence, a row of tags, or adjectives piled on a noun.

    What is in ``naming``, of the names of `MENTIONED`, is left out by none of them where the scene has it.
    """
    draw = rng.random()
    if draw < 0.1:
        text = complete(scene)
    elif draw < 0.6:
        text = _sentence(scene, rng, naming)
    elif draw < 0.82:
        text = _tags(scene, rng, naming)
    else:
        text = _headline(scene, rng, naming)
    return text[0].upper() + text[1:] if rng.random() < CAPITALISED else text


def with_article(noun: str) -> str:
    """``noun`` after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _style(scene: Scene, name: str) -> str:
    """A style with its article; "pixel art" has none."""
    return name if name == scene.style == "pixel art" else with_article(name)


def _choose(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def _synonym(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    """The first word of a list more often than each of the others."""
    return values[0] if rng.random() < 0.5 else _choose(rng, values)


def _mentions(scene: Scene, rng: np.random.Generator, naming: frozenset[str]) -> dict[str, bool]:
    """Which attributes this caption names. The subject is always named, and where there is none, the setting."""
    named = {name: bool(rng.random() < chance) for name, chance in MENTIONED.items()}
    if scene.sky == "clear":
        named["sky"] = bool(rng.random() < CLEAR_MENTIONED)
    if scene.style == "flat":
        named["style"] = bool(rng.random() < FLAT_MENTIONED)
    named |= dict.fromkeys(naming, True)
    named["colour"] &= scene.colour is not None
    named["place"] &= scene.place is not None
    named["setting"] |= scene.subject is None
    return named


def _subject(scene: Scene, rng: np.random.Generator, coloured: bool, bare: bool = False) -> str:
    """The subject with its colour and number; ``bare`` leaves the article off."""
    if scene.subject is None:
        return ""
    pairs = words.SUBJECTS[scene.subject]
    pair = pairs[0] if rng.random() < 0.6 else pairs[int(rng.integers(len(pairs)))]
    noun = pair[0 if scene.count == 1 else 1]
    if coloured and scene.colour is not None:
        noun = f"{_synonym(rng, words.COLOURS[scene.colour])} {noun}"
    if scene.count > 1:
        return f"{_synonym(rng, words.NUMBERS[scene.count])} {noun}"
    if bare:
        return noun
    number = words.NUMBERS[1][0] if rng.random() < 0.9 else _choose(rng, words.NUMBERS[1])
    return with_article(noun) if number == "a" else f"{number} {noun}"


def _setting(scene: Scene, rng: np.random.Generator, adjectives: list[str]) -> str:
    """The setting after its adjectives, without preposition and article."""
    setting = words.SETTINGS[scene.setting]
    if rng.random() < 0.25:
        adjective = _choose(rng, setting.adjectives)
        if adjective != "paradise" or scene.sky in PARADISE_SKIES:
            adjectives = [adjective, *adjectives]
    return " ".join([*adjectives, _synonym(rng, setting.nouns)])


def _sentence(scene: Scene, rng: np.random.Generator, naming: frozenset[str]) -> str:
    """For example "a red pirate ship on the left of a beach at sunset under a cosmic sky"."""
    named = _mentions(scene, rng, naming)
    setting = words.SETTINGS[scene.setting]
    times, skies = words.TIMES[scene.time], words.SKIES[scene.sky]
    adjectives, after = [], []
    if named["sky"]:
        if skies.adjectives and named["setting"] and rng.random() < 0.25:
            adjectives.append(_choose(rng, skies.adjectives))
        else:
            after.append(_synonym(rng, skies.phrases))
    if named["time"]:
        after.append(_synonym(rng, times.phrases))
    if rng.random() < 0.7:
        after.reverse()
    where = _setting(scene, rng, adjectives) if named["setting"] else ""
    subject = _subject(scene, rng, named["colour"])
    if not subject:
        parts = [with_article(where) if setting.article == "a" else f"the {where}", *after]
    else:
        parts = _place_subject(scene, rng, subject, where, named["place"]) + after
    text = " ".join(parts)
    if named["style"]:
        style = _synonym(rng, words.STYLES[scene.style])
        leads = "," not in text and rng.random() < 0.7
        return f"{_style(scene, style)} of {text}" if leads else f"{text}, {style}"
    return f"{_choose(rng, words.FRAMES)} {text}" if "," not in text and rng.random() < 0.12 else text


def _place_subject(scene: Scene, rng: np.random.Generator, subject: str, where: str, placed: bool) -> list[str]:
    """Subject, place and setting in one of their orders."""
    setting = words.SETTINGS[scene.setting]
    full = (with_article(where) if setting.article == "a" else f"the {where}") if where else ""
    located = f"{_choose(rng, setting.prepositions)} {full}" if where else ""
    if not placed or scene.place is None:
        return [part for part in (subject, located) if part]
    place = _synonym(rng, words.PLACES[scene.place])
    order = rng.random()
    if where and order < 0.4:
        return [subject, place, "of", full]
    if order < 0.6:
        return [f"{place},", *(part for part in (subject, located) if part)]
    if order < 0.8 and where:
        return [subject, located, place]
    return [part for part in (subject, place, located) if part]


def _tags(scene: Scene, rng: np.random.Generator, naming: frozenset[str]) -> str:
    """For example "pirate ship, beach, sunset"."""
    named = _mentions(scene, rng, naming)
    tags = []
    if named["setting"]:
        tags.append(_setting(scene, rng, []))
    if named["time"]:
        tags.append(_choose(rng, words.TIMES[scene.time].tags))
    if named["sky"]:
        tags.append(_choose(rng, words.SKIES[scene.sky].tags))
    if named["place"] and scene.place is not None:
        tags.append(_synonym(rng, words.PLACES[scene.place]))
    if named["style"]:
        tags.append(_synonym(rng, words.STYLES[scene.style]))
    rng.shuffle(tags)
    subject = _subject(scene, rng, named["colour"], bare=True)
    if subject:
        tags.insert(0 if rng.random() < 0.8 else int(rng.integers(len(tags) + 1)), subject)
    return ", ".join(tags)


def _headline(scene: Scene, rng: np.random.Generator, naming: frozenset[str]) -> str:
    """For example "paradise cosmic beach" or "cosmic sunset beach with a red pirate ship"."""
    named = _mentions(scene, rng, naming)
    adjectives = []
    if named["sky"] and words.SKIES[scene.sky].adjectives:
        adjectives.append(_synonym(rng, words.SKIES[scene.sky].adjectives))
    if named["time"] and (not adjectives or rng.random() < 0.6):
        adjectives.append(_synonym(rng, words.TIMES[scene.time].adjectives))
    rng.shuffle(adjectives)
    text = _setting(scene, rng, adjectives)
    subject = _subject(scene, rng, named["colour"])
    if subject:
        text = f"{text} with {subject}"
        if named["place"] and scene.place is not None:
            text = f"{text} {_synonym(rng, words.PLACES[scene.place])}"
    return f"{_synonym(rng, words.STYLES[scene.style])}, {text}" if named["style"] else text
