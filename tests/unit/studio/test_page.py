"""The page in a real browser: everything on it operated, at three widths, and nothing said on the console."""

from __future__ import annotations

import json
import urllib.request

import pytest
from PIL import Image

from tests import browser
from tests.unit.studio.test_studio import png

pytestmark = [pytest.mark.proof, pytest.mark.skipif(not browser.ARE_THERE, reason=browser.REASON)]

DRAWN = "!document.getElementById('draw').hidden && document.getElementById('made').children.length"
HOSTILE = [
    *(
        "<img src=x onerror=window.ran=1>",
        "<script>window.ran=1</script>",
        '"><svg onload=window.ran=1>',
        "</textarea><script>",
    ),
    *(
        "javascript:window.ran=1",
        "{{window.ran=1}}",
        "${window.ran=1}",
        "' onmouseover='window.ran=1",
        "\u202e\u0000<b>",
    ),
]


@pytest.fixture(scope="module")
def window():
    with browser.Browser() as window:
        yield window


@pytest.fixture
def page(window, address):
    window.resize(1440)
    window.open(f"{address}/")
    window.wait("document.getElementById('sampler').options.length > 0")
    yield window
    assert window.complaints() == []
    window.open("about:blank")  # or pictures would still be asked for when this test's server is gone
    window.complaints()


def fill(page, field: str, value: object) -> None:
    page.run("document.getElementById(arguments[0]).value = arguments[1]", field, str(value))


def drawn(page, count: int) -> None:
    page.wait(f"{DRAWN} === {count}")


def test_words_become_a_picture_that_comes_again(page, folder):
    fill(page, "prompt", "a red boat")
    fill(page, "seed", 7)
    page.click("#draw")
    drawn(page, 1)
    assert page.run("return document.getElementById('picture').src").endswith("/pictures/a-red-boat-7.png")
    page.wait("document.getElementById('picture').naturalWidth === 64")
    assert "seed 7" in page.run("return document.querySelector('.how').textContent")
    fill(page, "prompt", "something else")
    page.click(".again")
    drawn(page, 2)
    first, second = (Image.open(folder / name) for name in ("a-red-boat-7.png", "a-red-boat-7-2.png"))
    assert first.tobytes() == second.tobytes()
    assert page.run("return document.getElementById('prompt').value") == "a red boat"
    page.click("#random")
    assert page.run("return document.getElementById('seed').value") == ""


def test_a_picture_is_illustrated(page, address, folder):
    fill(page, "prompt", "a red boat")
    fill(page, "seed", 7)
    page.click("#draw")
    drawn(page, 1)
    page.click(".illustrate")
    page.wait("!document.querySelector('.page').hidden", seconds=120)
    assert page.run("return document.querySelector('.illustrate').hidden")
    place = page.run("return document.querySelector('.page').href")
    assert place == f"{address}/pages/a-red-boat-7.html" and (folder / "a-red-boat-7.html").is_file()
    page.open(place)
    page.wait("document.querySelectorAll('figure').length > 20")


def test_it_develops_and_stop_keeps_what_is_there(page):
    fill(page, "steps", 900)
    page.click("#draw")
    page.wait(
        "document.getElementById('picture').src.startsWith('data:') && document.getElementById('progress').value > 1"
    )
    assert page.run("return document.activeElement.id") == "stop"
    page.press("\ue00c")  # Escape
    drawn(page, 1)
    assert "of 900 steps" in page.run("return document.querySelector('.how').textContent")


def test_the_keyboard_draws(page):
    page.run("document.getElementById('prompt').focus()")
    page.press("\ue009\ue007")  # Control, Enter
    drawn(page, 1)


def test_an_error_is_one_line_and_the_page_goes_on(page):
    fill(page, "width", 72)
    page.run("document.getElementById('width').step = 1")
    fill(page, "width", 100)
    page.click("#draw")
    page.wait("!document.getElementById('trouble').hidden")
    assert "multiple of 8" in page.run("return document.getElementById('trouble').textContent")
    assert all("400" in line for line in page.complaints())  # the browser's own note of the answer
    fill(page, "width", 64)
    page.click("#draw")
    drawn(page, 1)
    assert page.run("return document.getElementById('trouble').hidden")


def test_a_picture_is_dropped_and_altered(page, tmp_path):
    (tmp_path / "in.png").write_bytes(png((96, 64)))
    page.type("#file", str(tmp_path / "in.png"))
    page.wait("document.getElementById('start-picture').naturalWidth === 96")
    assert page.run("return [width.value, height.value, document.getElementById('strength').value]") == [
        "96",
        "64",
        "0.6",
    ]
    page.click("#draw")
    drawn(page, 1)
    assert "60 % anew" in page.run("return document.querySelector('.how').textContent")
    page.click("#remove")
    assert page.run("return document.getElementById('start').hidden")
    page.click(".alter")
    page.wait("!document.getElementById('start').hidden")
    page.run(
        """const data = new DataTransfer(); data.items.add(new File([Uint8Array.from(arguments[0])], "x.png"));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }))""",
        list(png((64, 80))),
    )
    page.wait("document.getElementById('start-picture').naturalHeight === 80")


def test_hostile_words_are_words(page, address):
    for prompt in HOSTILE:
        body = json.dumps({"prompt": prompt, "negative_prompt": prompt}).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{address}/api/runs", body, headers)) as answer:
            job = json.load(answer)["id"]
        with urllib.request.urlopen(f"{address}/api/jobs/{job}/events") as answer:
            assert b"event: made" in answer.read()
    page.run("window.dispatchEvent(new Event('focus'))")
    drawn(page, len(HOSTILE))
    said = page.run("return [...document.querySelectorAll('.said')].map(p => p.textContent)")
    assert sorted(said) == sorted(HOSTILE)
    page.run("document.querySelectorAll('.look').forEach(button => button.click())")
    assert page.run(
        "return window.ran === undefined && document.querySelectorAll('.card script, .card b').length === 0"
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 820, 1440])
def test_it_fits(page, width, dark, tmp_path):
    page.resize(width, dark=dark)
    page.click("#draw")
    drawn(page, 1)
    assert page.run("return document.documentElement.scrollWidth") <= width
    small = page.run(
        "return [...document.querySelectorAll('button, input, select, textarea')].filter(e => e.offsetParent && "
        "!e.classList.contains('unseen') && Math.min(e.offsetWidth, e.offsetHeight) < 24).map(e => e.outerHTML)"
    )
    assert small == []  # what a finger can touch: WCAG 2.2, target size
    page.screenshot(tmp_path / "page.png", whole=True)
    assert Image.open(tmp_path / "page.png").width == width


def test_everything_has_a_name(page):
    page.click("#draw")
    drawn(page, 1)
    nodes = page.devtools("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "combobox", "spinbutton", "slider", "link", "image", "progressbar"}
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
    ]
    assert nameless == []


def test_two_tabs_get_their_own_pictures(page, address):
    fill(page, "seed", 1)
    fill(page, "steps", 40)
    page.click("#draw")
    with browser.Browser() as other:
        other.open(f"{address}/")
        other.wait("document.getElementById('sampler').options.length > 0")
        fill(other, "seed", 2)
        other.click("#draw")
        other.wait("document.getElementById('picture').src.includes('-2.png')")
    page.wait("document.getElementById('picture').src.includes('-1.png')")
