"""The pages of a training in a browser: run.html and the illustrated one, at three widths, every control operated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.browser import ARE_THERE, REASON, Browser
from tintype.illustrate.page_of_training import illustrate_training
from tintype.training import Chain
from tintype.training.recipes import TINY
from tintype.training.watching import Moments, PageWriter, ProvenanceKeeper, SheetDrawer, sheet_of, watched

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not ARE_THERE, reason=REASON),
]
WIDTHS = [390, 820, 1440]
ARROW_LEFT, HOME = "\ue012", "\ue011"


@pytest.fixture(scope="module")
def browser():
    with Browser() as window:
        yield window


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Of one short run: its own page, and the illustrated one in both languages."""
    folder = tmp_path_factory.mktemp("run")
    chain = Chain(replace(TINY, pictures=48), folder)
    list(chain.draw_pictures())
    chain.train_tokenizer()
    for stage, pictures in (("clip", 256), ("autoencoder", 128), ("denoiser", 256)):
        if stage == "denoiser":
            list(chain.cache_latents())
        training = getattr(chain, f"{stage}_training")(replace(getattr(chain.recipe, stage), pictures=pictures))
        drawer = SheetDrawer(sheet_of(chain, training), Moments.of(pictures))
        list(watched(training, [ProvenanceKeeper(chain.recipe, folder), drawer, PageWriter(folder)]))
    found = [folder / "run.html"]
    for language in ("en", "zh"):
        found.append(illustrate_training(folder, language=language).save(folder / f"{language}.html"))
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("number", range(3))
def test_nothing_leaves_the_window_and_nothing_is_complained_of(browser, pages, number, width):
    for dark in (False, True):
        browser.resize(width, dark=dark)
        browser.open(pages[number].as_uri())
        browser.wait("document.readyState == 'complete'")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run("return [...document.images].every((image) => image.complete && image.naturalWidth)")
        assert browser.complaints() == []


def state(browser, stage: str) -> tuple[str, str]:
    """What the window of a film shows, and what is said of it."""
    return tuple(
        browser.run(
            "const figure = document.getElementById(arguments[0]);"
            "return [figure.querySelector('svg.film').getAttribute('viewBox'), figure.querySelector('output').value]",
            f"sheets-{stage}",
        )
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("stage", ["clip", "autoencoder", "denoiser"])
def test_the_slider_shows_every_sheet_in_turn(browser, pages, stage, width):
    browser.resize(width)
    browser.open(pages[1].as_uri())
    browser.wait("document.documentElement.classList.contains('js')")
    slider = f"#sheets-{stage} input"
    assert browser.run("return document.querySelector(arguments[0]).getBoundingClientRect().width", slider) > 150
    last = state(browser, stage)
    browser.type(slider, HOME)
    first = state(browser, stage)
    assert first[1].startswith("after 0 pictures") and not last[1].startswith("after 0 ")
    count = int(browser.run("return document.querySelector(arguments[0]).max", slider)) + 1
    seen = [first]
    for place in range(1, count):
        browser.run(
            "const slider = document.querySelector(arguments[0]); slider.value = arguments[1];"
            "slider.dispatchEvent(new Event('input'))",
            slider,
            place,
        )
        seen.append(state(browser, stage))
    assert len(set(seen)) == count == 9
    assert seen[-1] == last
    browser.type(slider, ARROW_LEFT)
    assert state(browser, stage) == seen[-2]
    spoken = browser.run("return document.querySelector(arguments[0]).getAttribute('aria-valuetext')", slider)
    assert spoken == seen[-2][1]
    assert browser.complaints() == []


def test_recipe_and_environment_open(browser, pages):
    browser.resize(820)
    for page in pages[:2]:
        browser.open(page.as_uri())
        browser.wait("document.readyState == 'complete'")
        for number in range(browser.run("return document.querySelectorAll('details').length")):
            browser.run("document.querySelectorAll('summary')[arguments[0]].click()", number)
        assert browser.run("return [...document.querySelectorAll('details')].every((each) => each.open)")
        assert '"batch_size"' in browser.run("return document.body.innerText")
        assert browser.run("return document.documentElement.scrollWidth") <= 820
        assert browser.complaints() == []
