"""Heat maps are what brute force gives: whole attention weights, kept, summed at the end."""

from __future__ import annotations

import pytest
import torch

from tintype.illustrate import record
from tintype.illustrate.attention_heat import PART_OF_WEIGHTS, HeatRecorder, observed, shares
from tintype.illustrate.heat_maps import enlarged
from tintype.models import Attention
from tintype.pipeline.conditions import conditionings
from tintype.pipeline.inputs import Inputs
from tintype.pipeline.prompts import Prompts

PROMPT = "a paradise cosmic beach"
SIZES = {0: (11, 8), 1: (6, 4), 2: (3, 2)}


def brute_force(model, recording, image):
    """By step, layer: (heads n s), from whole weights of every call, computed again from the recorded x."""
    settings = recording.settings
    cond, _ = conditionings(model, settings, 1.0, Inputs(), Prompts.of(model, settings))
    text = list(model.unet.cross_attentions())
    kept = []
    for step in recording.steps:
        weights = []

        def look(attention, weights=weights):
            def attend(q, k, v, mask=None):
                scores = q.double() @ k.double().transpose(-2, -1) / q.shape[-1] ** 0.5
                weights.append(scores.softmax(-1)[0])
                return type(attention).attend(attention, q, k, v, mask)

            return attend

        for attention in text:
            attention.attend = look(attention)
        x = step.x[None] / (step.sigma**2 + 1) ** 0.5
        with torch.no_grad():
            model.unet(x, torch.tensor([step.timestep]), cond[image : image + 1])
        for attention in text:
            del attention.attend
        kept.append(weights)
    return kept


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_streamed_is_brute_force(models, family):
    model = models[family]
    run = model.text2img(["a red boat", PROMPT], seed=5, batch_size=2, width=64, height=88, steps=3)
    recording = record(run, image=2).recording(decode=0)
    heat, kept = recording.heat, brute_force(model, recording, 2)
    groups = torch.zeros(77, 1 + max(token.entry for token in recording.tokens), dtype=torch.float64)
    for token in recording.tokens:
        groups[token.position, token.entry] = 1
    overall, heads, worst = 0.0, 0, 0.0
    for number, layer in enumerate(heat.layers):
        whole = torch.stack([step[number] for step in kept])  # (steps heads n s)
        maps = (whole @ groups).mean((0, 1)).T.unflatten(1, SIZES[layer.level])  # (e h w)
        worst = max(worst, float((layer.maps - maps).abs().max()))
        if layer.part != "mid":
            overall = overall + enlarged(maps, (11, 8)) * layer.num_heads
            heads += layer.num_heads
    worst = max(worst, float((heat.overall - overall / heads).abs().max()))
    for each in heat.by_step:
        chosen = [
            number
            for number, layer in enumerate(heat.layers)
            if layer.level == each.level and (layer.part == "mid") == each.middle
        ]
        assert each.num_heads == sum(heat.layers[number].num_heads for number in chosen)
        for index, step in enumerate(kept):
            whole = torch.cat([step[number] for number in chosen])  # (heads n s)
            maps = (whole @ groups).mean(0).T.unflatten(1, SIZES[each.level])
            worst = max(worst, float((each.maps[index] - maps).abs().max()))
    print(f"{family}: streamed against brute force {worst:.1e}")
    assert worst < 1e-5


def test_rows_add_up_to_one(models):
    for model in models.values():
        run = model.text2img("a (red:1.3) boat, " * 25 + PROMPT, seed=5, width=72, height=104, sampler="heun", steps=3)
        recording = record(run).recording(decode=0)
        heat = recording.heat
        ones = torch.ones(13, 9)
        torch.testing.assert_close(heat.overall.sum(0), ones, atol=1e-5, rtol=0)
        for index in range(3):
            torch.testing.assert_close(heat.step(index).sum(0), ones, atol=1e-5, rtol=0)
        for layer in heat.layers:
            assert float((layer.maps.sum(0) - 1).abs().max()) < 1e-5
        levels = {(layer.level, layer.part == "mid") for layer in heat.layers}
        for level, middle in levels:
            assert float((heat.resolution(level, middle).sum(0) - 1).abs().max()) < 1e-5
        assert {token.chunk for token in recording.tokens} == {0, 1}


def test_the_middle_is_no_part_of_the_whole(sd):
    heat = record(sd.text2img(PROMPT, seed=5)).recording(decode=0).heat
    parts = [layer.part for layer in heat.layers]
    assert parts == ["down", "down", "mid", "up", "up", "up", "up"]
    without = [layer for layer in heat.layers if layer.part != "mid"]
    total = sum(enlarged(layer.maps, heat.size) * layer.num_heads for layer in without)
    torch.testing.assert_close(heat.overall, total / sum(layer.num_heads for layer in without))
    assert heat.resolution(2, middle=True).shape[1:] == (2, 2)
    with pytest.raises(KeyError, match="level 2"):
        heat.resolution(2)


def test_pieces_of_a_word_are_averaged(sd):
    recording = record(sd.text2img("zebra boat", seed=5)).recording(decode=0)
    assert recording.words == ("zebra", "boat")
    assert len(recording.entries(0)) > 1
    maps = recording.word_maps(recording.heat.overall)
    torch.testing.assert_close(maps[0], recording.heat.overall[list(recording.entries(0))].mean(0))
    empty = record(sd.text2img("", seed=5)).recording(decode=0)
    assert empty.words == ()
    assert empty.word_maps(empty.heat.overall).shape == (0, 8, 8)


def test_weights_are_computed_in_parts(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(3, 50, 8, generator=generator), torch.randn(3, 77, 8, generator=generator)
    mask, groups = torch.randn(3, 50, 77, generator=generator), torch.eye(77)
    whole = shares(q, k, mask, groups)
    expected = (q @ k.transpose(1, 2) / 8**0.5 + mask).softmax(-1).sum(0).T
    torch.testing.assert_close(whole, expected)
    assert PART_OF_WEIGHTS > 3 * 50 * 77
    monkeypatch.setattr("tintype.illustrate.attention_heat.PART_OF_WEIGHTS", 3 * 77 * 7)
    torch.testing.assert_close(shares(q, k, mask, groups), whole)


def test_memory_bounds_what_is_kept_by_step(sd, monkeypatch):
    groups = torch.ones(77, 10)
    everything = HeatRecorder(sd.unet, (8, 8), groups, 20).heat_maps(0).by_step
    assert [(each.level, each.middle) for each in everything] == [(2, True), (1, False), (0, False)]
    monkeypatch.setattr("tintype.illustrate.attention_heat.BY_STEP_BYTES", 4 * 20 * 10 * (4 + 16))
    bounded = HeatRecorder(sd.unet, (8, 8), groups, 20).heat_maps(0).by_step
    assert [(each.level, each.middle) for each in bounded] == [(2, True), (1, False)]


def test_observing_nests_and_leaves_no_trace():
    attention = Attention(8, num_heads=2)
    seen = []
    mine = lambda q, k, v, mask=None: torch.zeros_like(q)  # noqa: E731
    attention.attend = mine
    q = torch.randn(1, 2, 3, 4)
    with observed(attention, lambda *_: seen.append("outer")), observed(attention, lambda *_: seen.append("inner")):
        assert torch.equal(attention.attend(q, q, q), torch.zeros_like(q))
    assert seen == ["outer", "inner"]
    assert attention.attend is mine
    del attention.attend
    with pytest.raises(RuntimeError, match="within"), observed(attention, lambda *_: None):
        raise RuntimeError("within")
    assert "attend" not in vars(attention)
