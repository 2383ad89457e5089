"""Prompts become one tensor, of one length, equal to what the text encoder says of each chunk."""

from __future__ import annotations

import pytest
import torch

from tintype.errors import SettingsError
from tintype.models import TextEncoder, TextEncoderConfig
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.prompt import chunk
from tintype.text.tokenizer import Tokenizer
from tintype.text.vocabulary import Vocabulary

TOKENIZER = Tokenizer.train([f"{a} {b}" for a in ("red", "blue") for b in ("boat", "moon", "house")])
LONG = "red moon " * 60  # 120 tokens


def encoder(dim: int = 16, seed: int = 0) -> TextEncoder:
    torch.manual_seed(seed)
    config = TextEncoderConfig(
        vocab_size=len(TOKENIZER),
        dim=dim,
        num_layers=3,
        num_heads=2,
        mlp_dim=32,
        end_id=TOKENIZER.end,
        projection_dim=8,
    )
    return TextEncoder(config).requires_grad_(False)


@pytest.fixture(scope="module")
def tower() -> Tower:
    return Tower(TOKENIZER, encoder())


def ids(prompt: str) -> torch.Tensor:
    return torch.tensor([part.ids for part in chunk(prompt, TOKENIZER).chunks])


def test_short_prompts(tower):
    cond = Conditioner(tower)(["red boat", ""])
    assert cond.context.shape == (2, 77, 16) and cond.vector is None and cond.concat is None
    torch.testing.assert_close(cond.context[:1], tower.encoder(ids("red boat")).final)
    torch.testing.assert_close(cond.context[1:], tower.encoder(ids("")).final)


def test_prompts_of_different_length_are_padded_with_empty_chunks(tower):
    context = Conditioner(tower)([LONG, "red boat"]).context
    assert context.shape == (2, 154, 16)
    parts = tower.encoder(ids(LONG)).final  # (2 77 d)
    torch.testing.assert_close(context[0], torch.cat([parts[0], parts[1]]))
    torch.testing.assert_close(context[1, 77:], tower.encoder(ids("")).final[0])


def test_cond_and_uncond_are_padded_alike(tower):
    conditioner = Conditioner(tower)
    encoded = conditioner.pair([LONG, "red boat"])
    assert encoded.cond.context.shape == encoded.uncond.context.shape == (2, 154, 16)
    assert "2 chunks" in encoded.notices[0]
    encoded = conditioner.pair(["red boat"], [LONG])
    assert encoded.cond.context.shape == encoded.uncond.context.shape == (1, 154, 16)
    truncated = conditioner.pair([LONG], long_prompt="truncate")
    assert truncated.cond.context.shape == (1, 77, 16) and "left out" in truncated.notices[0]
    torch.testing.assert_close(truncated.uncond.context, conditioner([""]).context)


def test_clip_skip_counts_from_the_models_own_layer(tower):
    conditioner = Conditioner(tower)
    features = tower.encoder(ids("red boat"))
    own = conditioner(["red boat"]).context
    assert torch.equal(own, conditioner(["red boat"], clip_skip=1).context)
    for skip in (2, 3):
        expected = tower.encoder.final_norm(features.hidden[-skip])
        torch.testing.assert_close(conditioner(["red boat"], clip_skip=skip).context, expected)
    for skip in (0, 4, -1):
        with pytest.raises(SettingsError, match="1 to 3"):
            conditioner(["red boat"], clip_skip=skip)


def test_two_towers_as_in_sdxl(tower):
    second = Tower(TOKENIZER, encoder(dim=24, seed=1), layer=2, final_norm=False, pooled=True)
    first = Tower(TOKENIZER, tower.encoder, layer=2, final_norm=False)
    conditioner = Conditioner(first, second, zeros_for_none=True)
    cond = conditioner([LONG, "red boat"])
    assert cond.context.shape == (2, 154, 40) and cond.vector.shape == (2, 8)
    torch.testing.assert_close(cond.context[1, :77, :16], first.encoder(ids("red boat")).hidden[-2][0])
    torch.testing.assert_close(cond.context[1, :77, 16:], second.encoder(ids("red boat")).hidden[-2][0])
    torch.testing.assert_close(cond.vector, second.encoder(torch.cat([ids(LONG)[:1], ids("red boat")])).pooled)
    assert not conditioner.pair(["red boat"]).uncond.context.any()
    assert conditioner.pair(["red boat"], [""]).uncond.context.any()


def test_unknown_words_are_told():
    vocabulary = Vocabulary(("red", "boat", "moon"))
    conditioner = Conditioner(Tower(TOKENIZER, encoder()), vocabulary=vocabulary)
    assert conditioner.pair(["red boats"], ["ugly"]).notices == ("never saw: boats; close: boat",)
    assert conditioner.pair(["a red boat"]).notices == ()


def test_without_towers_only_nothing_can_be_said():
    conditioner = Conditioner()
    pair = conditioner.pair([""], [" "])
    assert pair.cond.context is None
    with pytest.raises(SettingsError, match=r"'a moon'; this model was trained without text, expected \"\""):
        conditioner.pair(["a moon"])
