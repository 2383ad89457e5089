import numpy as np
import pytest

from tintype.scenes import FULL, SMALL, Vocabulary, caption, complete, known_words, moved, sample, words
from tintype.scenes.captions import PARADISE_SKIES
from tintype.scenes.vocabulary import split_words


def content(text):
    return set(split_words(text)) - words.FUNCTION_WORDS


def vocabulary_of(scene):
    """A vocabulary of exactly what one scene shows."""

    def only(value):
        return () if value is None else (value,)

    return Vocabulary(
        settings=(scene.setting,),
        times=(scene.time,),
        skies=(scene.sky,),
        subjects=only(scene.subject),
        colours=only(scene.colour),
        places=only(scene.place),
        counts=only(scene.count or None),
        styles=(scene.style,),
    )


def test_the_small_vocabulary_is_part_of_the_full_one():
    for name in Vocabulary.__dataclass_fields__:
        assert set(getattr(SMALL, name)) <= set(getattr(FULL, name))
    assert set(known_words(SMALL)) < set(known_words(FULL))


def test_the_words_that_people_will_try_first_are_known():
    wanted = "paradise cosmic beach, a pirate ship, a pyramid, a red cat with pointy ears, a castle at sunset"
    assert content(wanted) <= set(known_words(SMALL))
    assert "astronaut" not in known_words(FULL)


@pytest.mark.parametrize("vocabulary", [SMALL, FULL], ids=["small", "full"])
def test_captions_use_every_known_word_and_no_other(vocabulary):
    rng = np.random.default_rng(0)
    said = set()
    for _ in range(8000):
        said |= content(caption(sample(rng, vocabulary, held_out=None), rng))
    assert said == set(known_words(vocabulary))


def test_captions_name_only_what_the_scene_shows():
    rng = np.random.default_rng(1)
    for _ in range(4000):
        scene = sample(rng)
        text = caption(scene, rng)
        assert content(text) <= set(known_words(vocabulary_of(scene))), (text, scene)
        if "paradise" in text.lower():
            assert scene.sky in PARADISE_SKIES


def test_the_complete_caption_names_every_attribute():
    rng = np.random.default_rng(2)
    for _ in range(300):
        scene = sample(rng)
        text = complete(scene)
        assert text == text.lower()
        for value in (scene.style, scene.colour, scene.place):
            assert value is None or value.split()[0] in text
        assert words.SETTINGS[scene.setting].nouns[0] in text
        assert words.TIMES[scene.time].phrases[0] in text
        assert words.SKIES[scene.sky].phrases[0] in text
        if scene.subject:
            assert words.SUBJECTS[scene.subject][0][scene.count > 1] in text


def test_captions_are_of_many_kinds():
    rng = np.random.default_rng(3)
    scene = sample(np.random.default_rng(5))
    texts = [caption(scene, rng) for _ in range(200)]
    assert len(set(texts)) > 120
    assert any(", " in text for text in texts)
    assert any(text[0].isupper() for text in texts)
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) <= 5 and max(lengths) >= 14


def test_captions_are_grammatical_where_programs_often_are_not():
    rng = np.random.default_rng(4)
    for _ in range(4000):
        text = caption(sample(rng, held_out=None), rng).lower()
        assert "  " not in text and " ," not in text and not text.endswith((",", " "))
        assert not any(f"of {start}" in text for start in ("on the left", "in the middle", "on the right"))
        assert not any(f" a {vowel}" in f" {text}" for vowel in "aeio"), text
        assert " an p" not in text


def test_what_must_be_named_is_named_by_every_kind_of_caption():
    rng = np.random.default_rng(0)
    for _ in range(500):
        scene = sample(rng)
        text = caption(scene, rng, naming=frozenset({"place", "colour"})).lower()
        if scene.place is not None:
            assert any(phrase in text for phrase in words.PLACES[scene.place])
        if scene.colour is not None:
            assert any(word in text for word in words.COLOURS[scene.colour])


def test_a_moved_scene_is_worded_the_same_but_for_the_place():
    rng = np.random.default_rng(1)
    for number in range(300):
        scene = sample(rng)
        other = moved(scene, rng)
        if other is None:
            assert scene.place is None
            continue
        assert other.place != scene.place
        naming = frozenset({"place"})
        said = [caption(each, np.random.default_rng(number), naming=naming) for each in (scene, other)]
        assert said[0] != said[1]
        rest = []
        for text, each in zip(said, (scene, other), strict=True):
            phrase = max((phrase for phrase in words.PLACES[each.place] if phrase in text.lower()), key=len)
            rest.append(text.lower().replace(phrase, "@"))
        assert rest[0] == rest[1]
