"""What is measured of each part, on a model after a few steps."""

import math

import torch

from tintype.evaluation.autoencoding import autoencoder_figures
from tintype.evaluation.contrast import captions_with_others, clip_figures
from tintype.evaluation.crowds import frechet_figures, nearest_figures
from tintype.evaluation.denoising import TIMES, denoiser_figures
from tintype.evaluation.examined import labels
from tintype.evaluation.fidelity import asked_for, chance, fidelity_figures
from tintype.evaluation.groups import SEEN, WHOLE, Group, scenes_of_group
from tintype.evaluation.reader import load_judge
from tintype.evaluation.teaching import drawn
from tintype.scenes import SMALL, Scene
from tintype.training.measures import bicubic, found_among, psnr


def figures_of(work):
    ticks = []
    while True:
        try:
            ticks.append(next(work))
        except StopIteration as end:
            assert ticks
            return end.value


def as_drawn(examined, name: str, scenes: list[Scene]) -> Group:
    """A model that draws as the painter does."""
    return Group(name, scenes, ((drawn(scenes, examined.size) + 1) * 127.5).round().to(torch.uint8))


def test_the_autoencoder_is_beside_as_many_numbers(examined):
    figures = figures_of(autoencoder_figures(examined, 4))
    assert [f.name for f in figures[:2]] == ["PSNR, flat", "SSIM, flat"]
    assert len(figures) == 2 + 4
    for figure in figures[:2]:
        assert figure.interval[0] <= figure.value <= figure.interval[1]
        assert figure.beside["bicubic, as many numbers"] > figure.value  # two steps of training are few


def test_bicubic_has_as_many_numbers():
    x = torch.rand(2, 3, 128, 128) * 2 - 1
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 3, 3), size=(128, 128), mode="bicubic").clamp(-1, 1)
    assert psnr(bicubic(x, 8, 4), x).max() < 12 < 30 < psnr(bicubic(smooth, 8, 4), smooth).min()
    assert psnr(bicubic(x, 8, 16), x).min() > psnr(bicubic(x, 8, 4), x).max()


def test_psnr_is_of_each_picture():
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 2.0)])
    torch.testing.assert_close(psnr(a, b), torch.tensor([20.0, 0.0]))


def test_equal_captions_count_as_found():
    similarity = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.5], [1.0, 0.5, 0.0]])
    assert found_among(similarity, ["a", "a", "b"]) == [True, True, False]
    assert found_among(similarity, ["a", "b", "c"], 2) == [False, False, False]
    assert found_among(similarity, ["a", "b", "c"], 3) == [True, True, True]


def test_the_loss_is_measured_at_each_level_with_three_kinds_of_words(examined):
    figures = figures_of(denoiser_figures(examined, 6))
    assert len(figures) == len(TIMES)
    assert all(set(f.beside) == {"another's caption", "no caption"} and math.isfinite(f.value) for f in figures)
    assert figures_of(denoiser_figures(examined, 6)) == figures  # its chance is its own


def test_clip_is_measured_among_pools(examined):
    figures = figures_of(clip_figures(examined, examined.towers, (8, 16), 4))
    assert [f.name for f in figures[:2]] == ["retrieval at 1 among 8", "retrieval at 5 among 8"]
    assert figures[1].beside == {"chance": 5 / 8}
    assert {f.name for f in figures[4:]} >= {"reads the setting", "reads the weather"}


def test_only_what_can_be_painted_is_offered():
    ship = Scene("beach", "day", "clear", "pirate ship", "red", "left", 1, "flat", seed=0)
    assert len(captions_with_others(ship, "setting", SMALL)) == 2  # beach and sea
    assert len(captions_with_others(ship, "time", SMALL)) == 4
    assert captions_with_others(ship, "style", SMALL) == captions_with_others(ship, "style", SMALL)[:1]


def test_a_natural_colour_is_not_asked_for():
    own = Scene("beach", "day", "clear", "cat", None, "left", 1, "flat", seed=0)
    known = asked_for([own])
    assert known["colour"].item() == -1
    assert known["place"].item() == 0
    assert chance("colour", SMALL) == 1 / 6
    assert chance("sky", SMALL) == 1 / 6
    assert chance("subject", SMALL) == 1 / 11


def test_the_painter_is_as_faithful_as_the_painter(examined):
    """The model's place taken by the painter itself, then by the painter with the prompts of others."""
    scenes = scenes_of_group(examined, WHOLE, 24)
    figures = {
        f.name.split(",")[0]: f
        for f in figures_of(fidelity_figures(examined, as_drawn(examined, WHOLE, scenes), load_judge()))
    }
    assert all(f.value == f.beside["drawn"] for f in figures.values())
    assert figures["setting"].value > 0.7
    group = Group(WHOLE, scenes, as_drawn(examined, WHOLE, scenes[5:] + scenes[:5]).pictures)
    others = {f.name.split(",")[0]: f for f in figures_of(fidelity_figures(examined, group, load_judge()))}
    assert others["setting"].value < 0.5 < 0.7 < others["setting"].beside["drawn"]
    assert others["everything"].value < 0.1


def test_drawn_pictures_are_as_near_as_drawn_pictures(examined):
    """Both the floor and the nearest training picture, with the painter in the model's place."""
    scenes = scenes_of_group(examined, SEEN, 16)
    group = as_drawn(examined, SEEN, scenes)
    [distance] = figures_of(frechet_figures(examined, [group], load_judge(), 32))
    assert distance.value == distance.beside["drawn, the same scenes"]
    for figure in figures_of(nearest_figures(examined, group, load_judge())):
        assert abs(figure.value - figure.beside["a fresh drawing"]) < 0.01 * figure.value
    copied = [examined.curriculum.scenes[labels(scene)][0] for scene in scenes]
    copy = Group(SEEN, scenes, as_drawn(examined, SEEN, copied).pictures)
    assert all(
        f.value < 0.02 * f.beside["a fresh drawing"] for f in figures_of(nearest_figures(examined, copy, load_judge()))
    )
