"""The illustrated page in a browser: every control operated, at three widths, in two languages; no errors."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.browser import ARE_THERE, REASON, Browser
from tests.unit.illustrate.test_page import TWO_HUNDRED, hostile
from tests.unit.illustrate.tiny import tiny

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(1800),  # the first test waits for four pages
    pytest.mark.skipif(not ARE_THERE, reason=REASON),
]
PROMPTS = [
    "paradise cosmic beach",
    "a purple castle in the mountains at night",
    "a (red:1.3) pirate ship on the sea, rain",
]
WIDTHS = [390, 820, 1440]


@pytest.fixture(scope="module")
def browser():
    with Browser() as window:
        yield window


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of the box: three prompts, one of them turned by all dials' small form; and one run from a picture."""
    import tintype
    from tintype.illustrate import illustrate

    folder, sd = tmp_path_factory.mktemp("pages"), tintype.load()
    found = []
    for number, prompt in enumerate(PROMPTS):
        made = illustrate(sd, prompt, seed=number, steps=6, language="zh" if number == 1 else "en")
        found.append(made.save(folder / f"{number}.html"))
    start = Image.radial_gradient("L").convert("RGB").resize((128, 128))
    made = illustrate(sd, "a lighthouse", image=start, strength=0.7, steps=6, seed=1)
    return [*found, made.save(folder / "picture.html")]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("number", range(4))
def test_nothing_leaves_the_window_and_nothing_is_complained_of(browser, pages, number, width):
    for dark in (False, True):
        browser.resize(width, dark=dark)
        browser.open(pages[number].as_uri())
        browser.wait("document.documentElement.classList.contains('js')")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run("return [...document.images].every((image) => image.complete && image.naturalWidth)")
        assert browser.complaints() == []


@pytest.fixture
def page(browser, pages):
    browser.resize(1440)
    browser.open(pages[0].as_uri())
    browser.wait("document.documentElement.classList.contains('js')")
    yield browser
    assert browser.complaints() == []


KEYS = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "home": "\ue011", "end": "\ue010"}


def press(page, selector: str, *keys: str) -> None:
    """Keys with the focus on an element."""
    page.type(selector, "".join(KEYS.get(key, key) for key in keys))


def click(page, selector: str) -> None:
    """Scroll to an element and click on it, as a person does."""
    page.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector)
    page.click(selector)


def step(page) -> int:
    return page.run("return Number(document.querySelector('.controls [data-time]').value)")


def box(page, selector: str) -> str:
    return page.run("return document.querySelector(arguments[0]).getAttribute('viewBox')", selector)


def test_the_slider_moves_every_film_and_the_numbers(page):
    press(page, ".controls [data-time]", "home")
    assert step(page) == 0
    before = [box(page, f"[data-film={name}]") for name in ("estimate", "x", "noise", "cond", "uncond", "guidance")]
    equation = page.run("return document.querySelector('[data-out=equation]').textContent")
    press(page, ".controls [data-time]", "right", "right")
    assert step(page) == 2
    after = [box(page, f"[data-film={name}]") for name in ("estimate", "x", "noise", "cond", "uncond", "guidance")]
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert equation != page.run("return document.querySelector('[data-out=equation]').textContent")
    assert page.run("return document.querySelector('[data-out=step]').textContent") == "3 / 6"
    press(page, ".controls [data-time]", "end")
    assert step(page) == 5


def test_play_runs_to_the_end_and_stops(page):
    press(page, ".controls [data-time]", "home")
    click(page, "[data-play]")
    page.wait("document.querySelector('[data-play]').getAttribute('aria-pressed') === 'true'")
    page.wait("document.querySelector('.controls [data-time]').value === '5'", 20)
    page.wait("document.querySelector('[data-play]').getAttribute('aria-pressed') === 'false'", 5)


def test_keys_work_where_time_is_in_sight_and_only_there(page):
    page.run("document.querySelector('#time').scrollIntoView({behavior: 'instant'})")
    press(page, "body", "home")
    assert step(page) == 0
    press(page, "body", "right")
    assert step(page) == 1
    press(page, "body", " ")
    page.wait("document.querySelector('[data-play]').getAttribute('aria-pressed') === 'true'")
    press(page, "body", " ")
    page.run("document.querySelector('#recap').scrollIntoView({behavior: 'instant'})")
    here = step(page)
    press(page, "body", "home")
    assert step(page) == here


def overlay(page) -> str:
    return page.run("return document.querySelector('[data-stage] canvas').toDataURL()")


def test_words_resolutions_steps_and_places_of_the_heat_map(page):
    seen = set()
    for number in (0, 1, 2):
        click(page, f"[data-word='{number}']")
        assert (
            page.run(f"return document.querySelector('[data-word=\"{number}\"]').getAttribute('aria-pressed')")
            == "true"
        )
        seen.add(overlay(page))
    assert len(seen) == 3
    choose = (
        "const s = document.querySelector('[data-view]'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))"
    )
    for view in range(1, page.run("return document.querySelectorAll('[data-view] option').length") - 1):
        page.run(choose, str(view))
        seen.add(overlay(page))
    page.run(choose, "step")
    press(page, "[data-heat-step] input", "home")
    first = overlay(page)
    press(page, "[data-heat-step] input", "end")
    assert overlay(page) != first
    ranking = "return document.querySelector('[data-ranking]').textContent"
    click(page, "[data-stage]")
    middle = page.run(ranking)
    assert "paradise" in middle
    press(page, "[data-stage]", *["left"] * 4, *["up"] * 6)
    assert page.run(ranking) != middle


def test_layers_can_be_chosen_by_place_and_step(page):
    shown = ".detail .film"
    names = set()
    for number in range(page.run("return document.querySelectorAll('[data-pick-layer]').length")):
        click(page, f"[data-pick-layer='{number}']")
        names.add((page.run("return document.querySelector('[data-layer=name]').textContent"), box(page, shown)))
    assert len(names) == page.run("return document.querySelectorAll('[data-pick-layer]').length")
    before = box(page, shown)
    page.run(
        "const s = document.querySelector('[data-layer-step]'); s.value = '0'; s.dispatchEvent(new Event('change'))"
    )
    assert box(page, shown) != before


def test_the_box_opens_in_five_depths(page):
    visible = (
        "return [...document.querySelectorAll('#opening .inside *')].filter((e) => e.offsetParent !== null).length"
    )
    counts = []
    for depth in range(1, 6):
        page.run("document.querySelector(arguments[0]).click()", f"input[name=depth][value='{depth}']")
        counts.append(page.run(visible))
    assert counts == sorted(set(counts))


def test_answers_open_and_the_contents_lead_to_every_part(page):
    click(page, "#recap details summary")
    assert page.run("return document.querySelector('#recap details').open")
    for name in page.run("return [...document.querySelectorAll('.contents a')].map((a) => a.hash)"):
        click(page, f".contents a[href='{name}']")
        page.wait(f"Math.abs(document.querySelector('{name}').getBoundingClientRect().top) < 900")


def test_without_script_the_stills_are_there(browser, pages):
    browser.resize(820)
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages[0].as_uri())
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("return getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert browser.run("return document.querySelector('.film').getBoundingClientRect().width") > 50


def test_hostile_texts_open_no_dialog(browser, tmp_path):
    from tintype.illustrate import page, record

    recording = record(tiny("sd1").text2img("a paradise cosmic beach", seed=7, steps=2)).recording()
    for text in TWO_HUNDRED[::10]:
        place = page(hostile(recording, text)).save(tmp_path / "<img src=x onerror=alert(1)>.html")
        browser.open(place.as_uri())
        browser.wait("document.documentElement.classList.contains('js')")
        assert browser.complaints() == [], text
