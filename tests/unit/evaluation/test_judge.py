import json
from dataclasses import replace

import torch

from tintype.evaluation.reader import ATTRIBUTES, NOT_THERE, WEIGHTS, labels_of, load_judge, read
from tintype.evaluation.teaching import RECIPE, UNSEEN_SEED, JudgeTask, accuracies, drawn, judge_training
from tintype.scenes import FULL, SMALL, Scene, sample
from tintype.training.draws import Draw

SHIP = Scene("beach", "sunset", "cosmic", "pirate ship", "red", "left", 1, "flat", seed=7)


def test_the_judge_is_small():
    assert WEIGHTS.stat().st_size <= 3e6
    assert sum(p.numel() for p in load_judge().parameters()) < 1.5e6


def test_the_judge_reads_drawn_scenes():
    shares = {name: right / of for name, (right, of) in accuracies(load_judge(), SMALL, 128).items()}
    bars = {"setting": 0.9, "time": 0.85, "sky": 0.85, "subject": 0.8, "colour": 0.7, "place": 0.9, "style": 0.95}
    assert all(shares[name] >= bar for name, bar in bars.items()), shares


def test_its_card_says_what_it_measures():
    record = json.loads((WEIGHTS.parent / "measured.json").read_text())
    for name, words in (("small", SMALL), ("full", FULL)):
        said = record["right_and_of"][name]
        for attribute, (right, of) in accuracies(load_judge(), words, 64).items():
            share = said[attribute][0] / said[attribute][1]
            assert abs(right / of - share) < 4 * (0.25 / of) ** 0.5 * max(0.4, (1 - share) ** 0.5), attribute


def test_labels_are_of_what_is_there():
    bare = Scene("beach", "day", "clear", None, None, None, 0, "flat", seed=0)
    found = labels_of([SHIP, bare])
    assert ATTRIBUTES["colour"][found["colour"][0]] == "red"
    assert ATTRIBUTES["subject"][found["subject"][1]] == "nothing"
    assert [found[name][1].item() for name in ("colour", "place", "count")] == [NOT_THERE] * 3


def test_pictures_of_any_size_are_read_alike():
    scenes = [sample(Draw(UNSEEN_SEED, 1, i).rng("scene"), SMALL) for i in range(32)]
    small, large = (read(load_judge(), drawn(scenes, size)) for size in (128, 256))
    assert (small["setting"] == large["setting"]).float().mean() > 0.9


def test_left_is_right_in_the_mirror():
    views = JudgeTask(load_judge()).batch([Draw(3, 0, i) for i in range(6)])
    place, mirrored = views.labels["place"].chunk(2)
    there = place != NOT_THERE
    assert there.any()
    assert torch.equal(mirrored[there], 2 - place[there])
    assert torch.equal(mirrored[~there], place[~there])
    assert torch.equal(*views.labels["setting"].chunk(2))


def test_its_training_resumes_bit_exactly(tmp_path):
    recipe = replace(RECIPE, batch_size=4, warmup=0, cooldown=0)
    losses = [p.loss for p in judge_training(replace(recipe, pictures=16), tmp_path / "a")]
    list(judge_training(replace(recipe, pictures=8), tmp_path / "b"))
    resumed = judge_training(replace(recipe, pictures=16), tmp_path / "b")
    assert [p.loss for p in resumed] == losses[2:]
    assert len(losses) == 4
