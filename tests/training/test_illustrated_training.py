"""The illustrated page of a training: the article's figures of learning, from the run's own pictures and weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.illustrate.pages import parse
from tintype.cli.illustrate import illustrate
from tintype.errors import SettingsError, TrainingError
from tintype.illustrate.figures.course import sheets
from tintype.illustrate.learning import TrainingRow
from tintype.illustrate.page_of_training import illustrate_training, training_chapters, training_page
from tintype.illustrate.strings import strings
from tintype.illustrate.training_run import read_run
from tintype.models import normalize_pixels
from tintype.training import Chain
from tintype.training.pictures import to_signed
from tintype.training.watching import Moments, ProvenanceKeeper, SheetDrawer, read_chain_recipe, sheet_of, watched
from tintype.training.watching.watcher import read_about
from tintype.training.words import token_ids

ARTICLE = {14: "example-1", 15: "example-2", 16: "dataset", 17: "training-step", 21: "autoencoder", 22: "forward"}
ARTICLE |= {26: "captions", 27: "clip-embed", 28: "clip-compare", 29: "clip-compare", 31: "dataset"}


def learn(chain: Chain, stage: str, pictures: int) -> None:
    recipe = replace(getattr(chain.recipe, stage), pictures=pictures)
    training = getattr(chain, f"{stage}_training")(recipe)
    drawer = SheetDrawer(sheet_of(chain, training), Moments(at=(pictures // 2,)))
    assert list(watched(training, [ProvenanceKeeper(chain.recipe, chain.folder), drawer]))


@pytest.fixture(scope="module")
def folder(prepared, recipe, tmp_path_factory) -> Path:
    """A run of three short trainings, watched; the noise predictor of another kind than the recipe's."""
    folder = tmp_path_factory.mktemp("illustrated")
    for name in ("pictures", "tokenizer"):
        (folder / name).symlink_to(prepared / name)
    chain = Chain(replace(recipe, denoiser=replace(recipe.denoiser, prediction="eps")), folder)
    learn(chain, "clip", 96)
    learn(chain, "autoencoder", 24)
    list(chain.cache_latents())
    learn(chain, "denoiser", 64)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return read_run(folder)


@pytest.fixture(scope="module")
def made(run):
    return training_page(run)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_each_figure_of_learning_is_there_with_real_data(made):
    document = parse(made.html)
    figures = {e.attributes["id"]: e for e in document.walk() if e.tag == "figure" and e.attributes.get("id")}
    for number, anchor in ARTICLE.items():
        assert str(number) in (figures[anchor].attributes["data-article"] or "").split()
        assert any(e.tag in ("img", "svg", "table") for e in figures[anchor].walk())
    for stage in ("clip", "autoencoder", "denoiser"):
        assert f"course-{stage}" in figures and f"sheets-{stage}" in figures
    assert (
        json.loads(json.dumps(made.numbers))["parts"]["course"]["repeat"]["denoiser"]["recipe"]["prediction"] == "eps"
    )
    assert len(made.html) < 2_000_000
    assert not [
        e for e in document.walk() for key in ("src", "href") if (e.attributes.get(key) or "").startswith("http")
    ]


def test_the_rows_and_the_step_are_the_runs_own(run, folder):
    chain = Chain(read_chain_recipe(folder), folder)
    learnt = run.learnt
    assert [row.caption for row in learnt.rows] == [caption for _, caption in chain.rows(12)]
    assert all(torch.equal(row.pixels, pixels) for row, (pixels, _) in zip(learnt.rows, chain.rows(12), strict=True))
    step = learnt.step
    assert step.loss_before == pytest.approx(sum(e.loss for e in step.examples) / len(step.examples), rel=1e-4)
    assert step.loss_after < step.loss_before
    assert step.grad_norm == pytest.approx(sum(norm**2 for norm in step.grad_norms.values()) ** 0.5)
    for example in step.examples:  # a network that predicts noise: its error is the loss
        assert example.loss == pytest.approx(float((example.predicted - example.noise).square().mean()), rel=1e-3)


def test_the_similarities_before_the_step_are_those_of_the_runs_clip(run, folder):
    chain = Chain(read_chain_recipe(folder), folder)
    rows, agreement = chain.rows(8), run.learnt.agreement
    clip = chain.clip()
    with torch.no_grad():
        pixels = normalize_pixels(to_signed(torch.stack([pixels for pixels, _ in rows])))
        image, text = clip(pixels, token_ids(chain.tokenizer(), [caption for _, caption in rows]))
    torch.testing.assert_close(agreement.steps[0].similarity, image @ text.T, rtol=1e-4, atol=1e-5)
    assert agreement.own
    assert agreement.loss < agreement.steps[0].loss
    assert not torch.equal(agreement.steps[1].similarity, agreement.steps[0].similarity)


def test_nothing_in_the_folder_is_changed(folder, tmp_path):
    before, chance = listing(folder), torch.get_rng_state()
    stages = []
    page = illustrate_training(folder, language="zh", progress=stages.append)
    assert listing(folder) == before
    assert torch.equal(torch.get_rng_state(), chance)
    assert stages == ["reading the run", "a step of CLIP, on a copy", "through the autoencoder and back",
                      "a step of the noise predictor, on a copy"]  # fmt: skip
    assert 'lang="zh"' in page.html and "训练的过程" in page.html and "The course of it" not in page.html


def test_the_slider_goes_over_all_sheets(run):
    figure = sheets(run.stages[1])
    assert figure.data["labels"][0].startswith("after 0 pictures: PSNR")
    assert [label.split()[1] for label in figure.data["labels"]] == ["0", "16", "24"]
    (film,) = figure.films.values()
    assert film.count == 3
    assert figure._repr_html_().count("<image") == 1


def test_a_run_that_has_only_begun_shows_what_there_is(run, folder, tmp_path):
    for name in ("pictures", "tokenizer", "clip", "recipe.json"):
        (tmp_path / name).symlink_to(folder / name)
    begun = read_run(tmp_path)
    assert [chapter.name for chapter in training_chapters(begun, strings())] == ["course", "learning", "agreeing"]
    (tmp_path / "alone").mkdir()
    for path in (folder / "denoiser").iterdir():
        (tmp_path / "alone" / path.name).symlink_to(path)
    alone = training_page(read_run(tmp_path / "alone"))  # as a LoRA's folder: a training and nothing beside it
    assert set(alone.numbers["parts"]) == {"course"}
    assert "Only the course of this training" in alone.html


def test_words_from_outside_never_become_code(run):
    hostile = "</script><img src=x onerror=alert(1)>"
    learnt = replace(run.learnt, rows=tuple(TrainingRow(r.number, r.image, hostile) for r in run.learnt.rows))
    stages = tuple(replace(stage, name=hostile, about=stage.about | {"prompts": [hostile]}) for stage in run.stages)
    html = training_page(replace(run, name=hostile, learnt=learnt, stages=stages)).html
    assert "<img src=x" not in html
    assert sum(e.tag == "script" for e in parse(html).walk()) == 2


def test_what_cannot_be_is_told_in_one_line(tmp_path):
    with pytest.raises(TrainingError, match="no training in it"):
        read_run(tmp_path)
    with pytest.raises(TrainingError, match="no training in it"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="give it no prompt"):
        illustrate(prompt="a beach", output=None, image=None, mask=None, strength=None, training=tmp_path)
    with pytest.raises(SettingsError, match="Give a prompt"):
        illustrate(prompt=None, output=None, image=None, mask=None, strength=None)


def test_from_the_command_line(folder, tmp_path, capsys):
    place = tmp_path / "page.html"
    illustrate(training=folder, output=place, numbers=tmp_path / "numbers.json")
    said = capsys.readouterr()
    assert said.out.split() == [str(place), str(tmp_path / "numbers.json")]
    assert "a step of CLIP, on a copy" in said.err
    assert "training-step" in json.loads((tmp_path / "numbers.json").read_text())["parts"]["learning"]
    assert place.read_text().startswith("<!doctype html>")


def test_a_noise_predictor_of_pixels_without_text_has_its_page(folder, recipe, tmp_path):
    for name in ("pictures", "tokenizer", "clip"):
        (tmp_path / name).symlink_to(folder / name)
    small = replace(recipe.denoiser.unet, channels=(8, 8), norm_groups=4)
    kind = replace(recipe.denoiser, pixels=True, text=False, batch_size=4, unet=small)
    chain = Chain(replace(recipe, denoiser=kind), tmp_path)
    learn(chain, "denoiser", 4)
    assert read_about(tmp_path / "denoiser")["prompts"] == [""] * 8
    run = read_run(tmp_path)
    assert run.trip is None
    assert [chapter.name for chapter in training_chapters(run, strings())] == ["course", "learning", "agreeing"]
    assert "denoiser" in training_page(run).numbers["parts"]["course"]["repeat"]
