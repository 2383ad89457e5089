"""Emphasis: how two dialects are read, and what weights do to features."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tintype.models import TextEncoder, TextEncoderConfig
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.emphasis import a1111_fragments, comfy_fragments, multiplied, plain
from tintype.text.prompt import chunk
from tintype.text.tokenizer import Tokenizer

A1111 = {
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(unbalanced": [("unbalanced", 1.1)],
    "unbalanced) too]": [("unbalanced) too]", 1.0)],
    r"\(literal\] \\": [("(literal] \\", 1.0)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1.0),
        ("house", 1.3 * 1.1**2),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.5 * 1.1),
        (", sun, ", 1.1),
        ("sky", 1.1**4),
        (".", 1.1),
    ],
    "": [],
    "(a:b)": [("a:b", 1.1)],
    "(a:-0.5)": [("a", -0.5)],
    "[[a]]": [("a", 1.1**-2)],
    "at 12:30 (sharp: 1.2 )": [("at 12:30 ", 1.0), ("sharp", 1.2)],
}
COMFY = {
    "normal [text]": [("normal [text]", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "((a:1.3)) (b (c:0.5) d:2)": [("a", 1.3), (" ", 1.0), ("b ", 2.0), ("c", 0.5), (" d", 2.0)],
    "((a) b:2)": [("a", 2.2), (" b", 2.0)],
    r"\(literal\)": [("(literal)", 1.0)],
    "(open": [("(open", 1.0)],
    "close)": [("close)", 1.0)],
    "(a:b)": [("a:b", 1.1)],
}


@pytest.mark.parametrize(
    ("read", "prompt", "expected"),
    [(a1111_fragments, *item) for item in A1111.items()] + [(comfy_fragments, *item) for item in COMFY.items()],
)
def test_dialects(read, prompt, expected):
    found = [(fragment.text, fragment.weight) for fragment in read(prompt)]
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


def test_break():
    found = a1111_fragments("a BREAK (b BREAK c:1.2)BREAKER")
    assert [(f.text, f.weight, f.breaks) for f in found] == [
        ("a", 1.0, False),
        ("", 1.0, True),
        ("b", 1.2, False),
        ("", 1.0, True),
        ("c", 1.2, False),
        ("BREAKER", 1.0, False),
    ]


@given(st.text(alphabet="ab ()[]:\\1.5,BREAK", max_size=60))
def test_any_text_is_read(text):
    for read in (a1111_fragments, comfy_fragments):
        assert all(fragment.text or fragment.breaks for fragment in read(text))


@given(st.text(alphabet="ab c,.:1", max_size=40))
def test_text_without_brackets_is_itself(text):
    assert plain(text) == text and plain(text, "comfy") == text


def test_many_brackets_take_no_time():
    assert len(a1111_fragments("(" * 5000 + "a" + ")" * 5000)) == 1
    assert comfy_fragments("(" * 5000 + "a")


@pytest.fixture(scope="module")
def conditioner():
    torch.manual_seed(0)
    encoder = TextEncoder(TextEncoderConfig(dim=32, num_layers=2, num_heads=2, mlp_dim=32))
    encoder.token_embedding.weight.data.normal_()
    encoder.position_embedding.weight.data.normal_()
    return Conditioner(Tower(Tokenizer.clip(), encoder))


def features(conditioner, *prompts, **options):
    with torch.no_grad():
        return conditioner(prompts, **options).context


def test_weights_of_one_change_nothing(conditioner):
    bare = features(conditioner, "a red house")
    for dialect in ("a1111", "comfy"):
        assert torch.equal(features(conditioner, "a (red:1.0) house", emphasis=dialect), bare)


def test_a1111s_arithmetic(conditioner):
    """Written out from its description: every feature times its token's weight, then the mean put back."""
    bare = features(conditioner, "a red house")[0]
    weights = torch.ones(77)
    weights[2] = 1.3  # start, a, red
    expected = bare * weights[:, None]
    expected = expected * (bare.mean() / expected.mean())
    torch.testing.assert_close(features(conditioner, "a (red:1.3) house")[0], expected)


def test_comfys_arithmetic(conditioner):
    bare, empty = features(conditioner, "a red house")[0], features(conditioner, "")[0]
    expected = bare.clone()
    expected[2] = empty[2] + 1.3 * (bare[2] - empty[2])
    torch.testing.assert_close(features(conditioner, "a (red:1.3) house", emphasis="comfy")[0], expected)


@pytest.mark.parametrize("dialect", ["a1111", "comfy"])
def test_a_prompt_does_not_depend_on_its_batch(conditioner, dialect):
    alone = features(conditioner, "a (red:1.3) house", emphasis=dialect)
    together = features(conditioner, "a (red:1.3) house", "a (blue:0.2) (sea:3)", "plain", emphasis=dialect)
    torch.testing.assert_close(together[:1], alone)
    assert torch.equal(together[2:], features(conditioner, "plain", "plain", "plain", emphasis=dialect)[2:])


def test_emphasis_holds_in_its_own_chunk_only(conditioner):
    bare, weighted = (features(conditioner, f"{text} BREAK a house") for text in ("a red sea", "a (red:1.5) sea"))
    assert bare.shape == (1, 154, 32)
    assert torch.equal(bare[:, 77:], weighted[:, 77:]) and not torch.equal(bare[:, :77], weighted[:, :77])


def test_break_starts_a_chunk():
    words = Tokenizer.clip()
    chunks = chunk("a cat BREAK a dog", words)
    assert [words.decode(part.ids) for part in chunks.chunks] == ["a cat", "a dog"]
    assert chunks.notices == ()


def test_a_long_prompt_is_cut_behind_a_comma():
    words = Tokenizer.clip()

    def pieces(prompt):
        return [words.decode(part.ids) for part in chunk(prompt, words).chunks]

    first, second = pieces("cat " * 60 + ", " + "dog " * 30)
    assert first.endswith("cat ,") and second.startswith("dog")
    far, _ = pieces("cat " * 40 + ", " + "dog " * 60)  # more than 20 tokens back
    assert far.count("dog") == 34
    behind, after = pieces("cat " * 60 + ", " + "dog " * 14 + ", dog")  # the comma itself is the one too many
    assert behind.count("dog") == 14 and after.startswith(",")
    assert "81 tokens" in chunk("cat " * 81, words).notices[0]


def test_what_falls_off_is_named():
    words = Tokenizer.clip()
    cut = chunk("cat " * 75 + "a green dog", words, long_prompt="truncate")
    assert len(cut) == 1 and 'left out: "a green dog"' in cut.notices[0]
    assert 'left out: "b"' in chunk("a BREAK b", words, long_prompt="truncate").notices[0]


@pytest.mark.parametrize("prompt", ["[a|b]", "[a:b:0.5]", "a AND b"])
def test_what_is_not_understood_is_said(prompt):
    words = Tokenizer.clip()
    assert "ordinary words" in chunk(prompt, words).notices[0]
    assert chunk(prompt, words, emphasis="comfy").notices == ()


def test_unknown_words_are_told_without_signs():
    import tintype

    sd = tintype.load()
    notices = sd.text2img("((astronaut:1.3)) [beach]", seed=1).notices
    assert any("astronaut" in notice and "1.3" not in notice for notice in notices)


def test_a_mean_of_nothing_is_not_restored():
    """An encoder with a fresh last normalisation; in one whose weights were learnt no mean is 0."""
    features = torch.tensor([[[1.0, -1.0], [2.0, -2.0]]])
    assert torch.equal(multiplied(features, torch.tensor([[1.0, 1.5]])), torch.tensor([[[1.0, -1.0], [3.0, -3.0]]]))
