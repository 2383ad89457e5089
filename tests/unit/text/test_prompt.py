"""Prompts become chunks of 77 ids; nothing is lost unless asked, and then it is named."""

from __future__ import annotations

import pytest

from tintype.text.prompt import chunk, pad
from tintype.text.tokenizer import Tokenizer

WORDS = ["red", "boat", "moon", "house"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([f"{a} {b}" for a in WORDS for b in WORDS])


def test_short_prompt_is_one_chunk(tokenizer):
    chunks = chunk("red boat", tokenizer)
    assert len(chunks) == 1 and chunks.num_tokens == 2 and chunks.notices == ()
    (only,) = chunks.chunks
    assert only.ids == (tokenizer.start, *tokenizer.encode("red boat"), *[tokenizer.end] * 74)
    assert only.weights == (1.0,) * 77


def test_equals_transformers_padding(tokenizer, tmp_path):
    import transformers

    tokenizer.save(tmp_path)
    reference = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    for prompt in ("", "red boat", "moon " * 75, "moon " * 200):
        expected = reference(prompt, padding="max_length", max_length=77, truncation=True).input_ids
        assert list(chunk(prompt, tokenizer, long_prompt="truncate").chunks[0].ids) == expected


@pytest.mark.parametrize(("count", "expected"), [(0, 1), (1, 1), (75, 1), (76, 2), (150, 2), (151, 3)])
def test_number_of_chunks(tokenizer, count, expected):
    chunks = chunk("moon " * count, tokenizer)
    assert len(chunks) == expected
    assert bool(chunks.notices) == (expected > 1)
    for part in chunks.chunks:
        assert len(part.ids) == len(part.weights) == 77
        assert part.ids[0] == tokenizer.start and part.ids.count(tokenizer.start) == 1
    words = [index for part in chunks.chunks for index in part.ids if index not in (tokenizer.start, tokenizer.end)]
    assert words == tokenizer.encode("moon " * count)


def test_notices_name_what_happened(tokenizer):
    prompt = "red " * 75 + "blue moon"
    (notice,) = chunk(prompt, tokenizer, long_prompt="truncate").notices
    assert '"blue moon"' in notice and "75" in notice
    (notice,) = chunk(prompt, tokenizer, long_prompt="chunk").notices
    assert "2 chunks" in notice


def test_padding_with_empty_chunks(tokenizer):
    chunks = chunk("red boat", tokenizer)
    padded = pad(chunks, 3, tokenizer)
    assert padded[0] == chunks.chunks[0]
    assert padded[1] == padded[2] == chunk("", tokenizer).chunks[0]
    with pytest.raises(ValueError, match="padded to 1"):
        pad(chunk("moon " * 80, tokenizer), 1, tokenizer)
