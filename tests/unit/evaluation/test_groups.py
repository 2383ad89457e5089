from dataclasses import replace

import pytest
import torch

from tintype.errors import TrainingError
from tintype.evaluation.examined import labels
from tintype.evaluation.groups import PAIR, SEEN, WHOLE, draw_group, drawn_group, scenes_of_group
from tintype.scenes import is_held_out


def test_what_was_trained_on_is_known(examined):
    assert sum(map(len, examined.curriculum.scenes.values())) == 48


def test_the_groups_are_what_they_say(examined):
    seen, whole, pair = (scenes_of_group(examined, name, 20) for name in (SEEN, WHOLE, PAIR))
    known = examined.curriculum.scenes
    assert all(labels(scene) in known for scene in seen)
    assert all(scene.seed not in [each.seed for each in known[labels(scene)]] for scene in seen)
    assert not any(labels(scene) in known or is_held_out(scene) for scene in whole)
    assert all(is_held_out(scene) for scene in pair)
    assert [len({labels(scene) for scene in group}) for group in (seen, whole, pair)] == [20, 20, 20]


def test_more_scenes_begin_with_the_same(examined):
    for name in (SEEN, WHOLE, PAIR):
        assert scenes_of_group(examined, name, 30)[:16] == scenes_of_group(examined, name, 16)


def test_a_group_ends_where_there_is_no_more(examined):
    assert len(scenes_of_group(examined, SEEN, 100)) == len(examined.curriculum.scenes)


def test_pictures_are_drawn_once_and_more_can_follow(examined, tmp_path):
    scenes = scenes_of_group(examined, WHOLE, 18)
    assert list(draw_group(examined, scenes[:16], tmp_path)) == [16]
    first = (tmp_path / "00000.safetensors").stat().st_mtime_ns
    assert list(draw_group(examined, scenes, tmp_path)) == [16, 18]
    assert (tmp_path / "00000.safetensors").stat().st_mtime_ns == first
    group = drawn_group(WHOLE, scenes, tmp_path)
    assert group.pictures.shape == (18, 3, 64, 64)
    alone = examined.model.text2img(
        "a flat illustration of a cat", seed=1
    ).images  # another prompt and seed draw another picture
    assert len(alone) == 1
    with pytest.raises(TrainingError, match="other prompts"):
        drawn_group(WHOLE, scenes[::-1], tmp_path)


def test_pictures_of_another_model_are_refused(examined, tmp_path):
    scenes = scenes_of_group(examined, WHOLE, 2)
    list(draw_group(examined, scenes, tmp_path))
    other = replace(examined.model.defaults, steps=3)
    before, examined.model.defaults = examined.model.defaults, other
    try:
        with pytest.raises(TrainingError, match="steps was 20 and is 3"):
            list(draw_group(examined, scenes, tmp_path))
    finally:
        examined.model.defaults = before


def test_picture_i_has_seed_i(examined, tmp_path):
    from tintype.images import to_tensor
    from tintype.scenes import complete

    scenes = scenes_of_group(examined, WHOLE, 3)
    list(draw_group(examined, scenes, tmp_path))
    third = examined.model.text2img(complete(scenes[2]), seed=2).images[0]
    difference = (drawn_group(WHOLE, scenes, tmp_path).pixels[2:] - to_tensor(third)).abs().max()
    torch.testing.assert_close(difference, torch.tensor(0.0), atol=2 / 255, rtol=0)
