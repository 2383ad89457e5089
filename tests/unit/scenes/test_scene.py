from dataclasses import replace

import numpy as np
import pytest

from tintype.errors import SettingsError
from tintype.scenes import FULL, SMALL, Scene, is_held_out, sample
from tintype.scenes.scene import is_held_out_pair
from tintype.scenes.vocabulary import COLOURLESS, settings_of

SHIP = Scene("beach", "sunset", "cosmic", "pirate ship", "red", "left", 1, "flat", 7)


def pairs_of(vocabulary):
    coloured = [subject for subject in vocabulary.subjects if subject not in COLOURLESS]
    return {
        "subject+setting": [(s, g) for s in vocabulary.subjects for g in vocabulary.settings if g in settings_of(s)],
        "colour+subject": [(c, s) for s in coloured for c in vocabulary.colours],
        "style+setting": [(y, g) for y in vocabulary.styles for g in vocabulary.settings],
    }


def test_a_scene_survives_json():
    assert Scene.from_dict(SHIP.to_dict()) == SHIP


@pytest.mark.parametrize(
    "change",
    [
        {"setting": "moonbase"},
        {"time": "noonish"},
        {"sky": "hail"},
        {"subject": "astronaut"},
        {"colour": "beige"},
        {"place": "up"},
        {"place": None},
        {"count": 0},
        {"count": 2},
        {"style": "oil"},
        {"setting": "city"},
        {"subject": None},
        {"subject": "palm tree"},
        {"seed": -1},
        {"seed": 1.5},
    ],
)
def test_what_cannot_be_painted_is_refused(change):
    with pytest.raises(SettingsError):
        replace(SHIP, **change)


def test_the_refusal_says_what_was_got_and_what_there_is():
    with pytest.raises(SettingsError, match=r"'hail'.*'rain'"):
        replace(SHIP, sky="hail")
    with pytest.raises(SettingsError, match="seed"):
        Scene.from_dict({"setting": "beach"})


@pytest.mark.parametrize("vocabulary", [SMALL, FULL], ids=["small", "full"])
def test_at_most_a_tenth_of_the_pairs_is_held_out(vocabulary):
    for kind, pairs in pairs_of(vocabulary).items():
        held = [pair for pair in pairs if is_held_out_pair(*pair)]
        assert len(held) <= 0.1 * len(pairs), kind
        assert held or (kind == "style+setting" and vocabulary is SMALL)


@pytest.mark.parametrize("vocabulary", [SMALL, FULL], ids=["small", "full"])
def test_held_out_pairs_are_sampled_only_on_demand(vocabulary):
    rng = np.random.default_rng(0)
    assert not any(is_held_out(sample(rng, vocabulary)) for _ in range(1500))
    assert all(is_held_out(sample(rng, vocabulary, held_out=True)) for _ in range(100))
    mixed = [is_held_out(sample(rng, vocabulary, held_out=None)) for _ in range(1500)]
    assert 0.02 < np.mean(mixed) < 0.3


def test_the_held_out_rule_never_changes():
    """Models are trained on the rest; another rule would measure them on what they have seen."""
    held = [pair for pair in pairs_of(SMALL)["subject+setting"] if is_held_out_pair(*pair)]
    assert held == [("hot-air balloon", "city"), ("rocket", "desert"), ("rocket", "mountains")]


def test_samples_stay_in_the_vocabulary_and_use_all_of_it():
    rng = np.random.default_rng(1)
    scenes = [sample(rng, SMALL) for _ in range(2000)]
    assert {scene.setting for scene in scenes} == set(SMALL.settings)
    assert {scene.sky for scene in scenes} == set(SMALL.skies)
    assert {scene.subject for scene in scenes} == {None, *SMALL.subjects}
    assert {scene.colour for scene in scenes} == {None, *SMALL.colours}
    assert {scene.count for scene in scenes} == {0, 1}
    assert {scene.style for scene in scenes} == {"flat"}
    assert np.mean([scene.subject is None for scene in scenes]) == pytest.approx(1 / 12, abs=0.025)


def test_the_same_generator_gives_the_same_scenes():
    first, second = ([sample(rng) for _ in range(20)] for rng in (np.random.default_rng(9), np.random.default_rng(9)))
    assert first == second
