"""Every position of the context has its token: text, kind, weight, word, and row of heat."""

from __future__ import annotations

import pytest
import torch

from tests.unit.illustrate.tiny import tiny
from tintype.adapters.textual_inversion import AttachedEmbedding
from tintype.illustrate.words import words_of

LONG = "a red boat on a blue sea, " * 30


def words(model, prompt, **settings):
    run = model.text2img(prompt, seed=1, **settings)
    return words_of(model, run.settings, run.settings.prompts[0])


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_start_words_end_padding(models, family):
    found = words(models[family], "a (red:1.5) boat")
    kinds = [token.kind for token in found.tokens]
    assert kinds == ["start", "word", "word", "word", "end"] + ["padding"] * 72
    assert [token.text.strip() for token in found.tokens[1:4]] == ["a", "red", "boat"]
    assert [token.weight for token in found.tokens[1:4]] == [1, 1.5, 1]
    assert [token.position for token in found.tokens] == list(range(77))
    assert [token.entry for token in found.tokens[:7]] == [0, 1, 2, 3, 4, 5, 5]
    assert found.num_entries == 6
    groups = found.groups()
    assert groups.shape == (77, 6)
    assert torch.equal(groups.sum(1), torch.ones(77))
    assert groups[:, 5].sum() == 72


def test_pieces_of_a_word_share_its_number(sd):
    found = words(sd, "zebra boat")
    numbers = [token.word for token in found.tokens if token.kind == "word"]
    assert numbers[0] == 0
    assert numbers.count(0) > 1
    assert numbers[-1] == 1
    assert "".join(token.text for token in found.tokens if token.word == 0).strip() == "zebra"


def test_several_chunks(sd):
    found = words(sd, LONG)
    chunks = 1 + max(token.chunk for token in found.tokens)
    assert chunks > 1
    assert len(found.tokens) == 77 * chunks
    assert [token.kind for token in found.tokens].count("start") == chunks
    assert found.cut == ()
    numbers = [token.word for token in found.tokens if token.word is not None]
    assert numbers == sorted(numbers), "words are counted through all chunks"


def test_what_was_cut_off(sd):
    whole, found = words(sd, LONG), words(sd, LONG, long_prompt="truncate")
    assert len(found.tokens) == 77
    assert found.cut
    assert {token.position for token in found.cut} == {-1}
    read = [token.id for token in (*found.tokens, *found.cut) if token.kind == "word"]
    assert read == [token.id for token in whole.tokens if token.kind == "word"]


def test_a_batch_has_the_chunks_of_its_longest_prompt(sd):
    run = sd.text2img(["a boat", LONG], seed=1)
    short = words_of(sd, run.settings, "a boat")
    assert len(short.tokens) == 77 * (1 + max(token.chunk for token in words(sd, LONG).tokens))
    assert [token.kind for token in short.tokens[77:80]] == ["start", "end", "padding"]
    negative = words(sd, "a boat", negative_prompt=LONG)
    assert len(negative.tokens) == len(short.tokens)


def test_no_words_and_a_whole_chunk_of_them(sd):
    assert [token.kind for token in words(sd, "").tokens[:3]] == ["start", "end", "padding"]
    full = words(sd, "a " * 75)
    assert [token.kind for token in full.tokens] == ["start"] + ["word"] * 75 + ["end"]
    assert full.num_entries == 77


def test_words_that_were_added_have_their_names():
    sd = tiny()
    attached = AttachedEmbedding(sd.conditioner, "my-style", (torch.randn(3, 32),))
    found = words(sd, "a my-style boat")
    assert [token.text for token in found.tokens[2:5]] == ["my-style", "my-style", "my-style "]
    assert {token.word for token in found.tokens[2:5]} == {1}
    attached.detach()
