from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tintype.illustrate import record
from tintype.illustrate.cost import operations
from tintype.illustrate.trials import Inputs, distance, one_picture, strongest, try_prompts, without_word
from tintype.models import attend_by_matmul, attend_with
from tintype.types import Conditioning


@pytest.fixture(scope="module")
def recording(models):
    return record(
        models["sd1"].text2img(["a red boat", "a paradise cosmic beach"], seed=7, batch_size=2), image=3
    ).recording()


@pytest.mark.parametrize(
    ("prompt", "words", "number", "expected"),
    [
        ("paradise cosmic beach", ["paradise", "cosmic", "beach"], 1, "paradise beach"),
        ("Red, red wine", ["red", ",", "red", "wine"], 2, "Red, wine"),
        ("(Cosmic:1.3) beach", ["cosmic", "beach"], 0, "( :1.3) beach"),
        ("redder red", ["redder", "red"], 1, "redder"),
        ("beach", ["sea"], 0, None),
        ("a.c abc", ["a.c", "abc"], 0, "abc"),
    ],
)
def test_a_word_is_left_out_where_it_stands(prompt, words, number, expected):
    assert without_word(prompt, words, number) == expected


def test_the_settings_of_one_picture_draw_it_again(models, recording):
    again = models["sd1"].run(one_picture(recording)).images[0]
    assert distance(again, recording.image) < 0.1  # of 255: a batch of one is rounded otherwise
    assert recording.prompt == "a paradise cosmic beach"


def test_words_are_tried_by_their_share_and_the_model_is_left_as_it_was(models, recording):
    sd = models["sd1"]
    before = [weight.clone() for weight in sd.unet.parameters()]
    tried = try_prompts(sd, recording, words=2)
    ranked = strongest(recording)
    assert [share for _, share in ranked] == sorted((share for _, share in ranked), reverse=True)
    assert [each.word for each in tried.without] == [recording.words[number] for number, _ in ranked[:2]]
    assert tried.same is recording.image
    for each in tried.without:
        assert each.word not in each.drawn.prompt.split()
        assert distance(each.drawn.image, tried.same) == each.drawn.distance > 0
    assert tried.unconditional.prompt == ""
    assert all(torch.equal(a, b) for a, b in zip(before, sd.unet.parameters(), strict=True))


def test_trials_in_one_batch_are_those_drawn_alone(models, recording):
    """Up to rounding; a solver that draws noise of its own is not batched, and each picture has the run's noise."""
    sd = models["sd1"]
    for settings in (recording.settings, replace(recording.settings, sampler="euler_a", eta=1.0)):
        tried = try_prompts(sd, replace(recording, settings=settings), words=2)
        for each in tried.without:
            alone = sd.run(
                replace(one_picture(recording), sampler=settings.sampler, eta=settings.eta, prompt=each.drawn.prompt)
            )
            assert distance(each.drawn.image, alone.images[0]) < 0.1


def test_a_run_from_a_picture_is_itself_the_altered_picture(models, picture):
    given = picture.crop((0, 0, 64, 64))
    run = models["sd1"].img2img(given, "a red boat", strength=0.5, seed=1)
    recorded = record(run).recording()
    tried = try_prompts(models["sd1"], recorded, Inputs(given), words=1)
    assert tried.altered is recorded.image
    assert tried.altered_strength == 0.5
    assert len(tried.without) == 1


@pytest.mark.parametrize("pixels", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_operations_are_those_of_torchs_own_counter(models, recording, pixels):
    sd = models["sd1"]
    context = Conditioning(recording.context[None])
    side = 64 if pixels else 8
    x = torch.zeros(1, 4, side, side)
    with torch.no_grad(), attend_with(sd.unet, attend_by_matmul), FlopCounterMode(display=False) as counter:
        sd.unet(x, torch.zeros(1), sd.unet.prepare(context))
    with torch.no_grad(), FlopCounterMode(display=False) as once:
        sd.unet.prepare(context)
    assert operations(sd, recording)[pixels] == counter.get_total_flops() - once.get_total_flops()
    assert not any(vars(module).get("attend") for module in sd.unet.modules())
    assert operations(models["sdxl"], recording) is None
