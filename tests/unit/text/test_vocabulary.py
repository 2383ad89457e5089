"""The box says which words it never saw, and what is close."""

from __future__ import annotations

import pytest

from tintype.errors import CheckpointError
from tintype.text.vocabulary import Vocabulary, unknown_words

WORDS = "beach boat cosmic house hot-air balloon moon palm planets red rocket sea ship sunset town cat watercolour"
KNOWN = WORDS.split()


def test_known_prompt_says_nothing():
    for prompt in (
        "",
        "A red ship on the sea, at SUNSET!",
        "the cat's 3 planets (cosmic)",
        "a hot-air balloon",
        "1 2 3",
    ):
        assert unknown_words(prompt, KNOWN) == []


@pytest.mark.parametrize(
    ("word", "close"),
    [
        ("astronaut", "rocket"),
        ("astronauts", "rocket"),
        ("boats", "boat"),
        ("dog", "cat"),
        ("ocean", "sea"),
        ("city", "town"),
        ("houss", "house"),
        ("watercolor", "watercolour"),
    ],
)
def test_unknown_word_and_what_is_close(word, close):
    ((unknown, suggestions),) = unknown_words(f"a {word} on the beach", KNOWN)
    assert unknown == word
    assert suggestions[0] == close
    assert set(suggestions) <= set(KNOWN)


def test_words_of_other_scripts_are_unknown_and_far():
    assert unknown_words("红色的船 xyzzy xyzzy", KNOWN) == [("红色的船", ()), ("xyzzy", ())]


def test_it_learns_the_words_of_captions():
    before = Vocabulary(("beach",), {"settings": ("beach",)})
    after = before.with_words_of(["A Zeppelin's crew", "the zeppelin over a beach"])
    assert after.words == ("beach", "crew", "zeppelin") and after.attributes == before.attributes
    assert before.notices("a zeppelin") and not after.notices("the crew of a zeppelin")


def test_notices_and_file(tmp_path):
    vocabulary = Vocabulary(("beach", "planet", "rocket"), {"settings": ("beach",)})
    vocabulary.save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert loaded == vocabulary
    assert loaded.notices("an astronaut on a beach") == ("never saw: astronaut; close: rocket, planet",)
    assert loaded.notices("xyzzy beach") == ("never saw: xyzzy",)
    assert Vocabulary.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"words": 3}', '{"words": [], "attributes": 1}'])
def test_damaged_file_is_a_typed_error(tmp_path, content):
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"vocabulary\.json"):
        Vocabulary.load(tmp_path)
