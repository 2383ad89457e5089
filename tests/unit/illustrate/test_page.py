from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest

from tests.unit.illustrate.pages import parse, skeleton
from tintype.illustrate import page, record

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><svg onload=alert(1)>",
    "{{ 7 * 7 }} {% for x in () %}",
    "{prompt.__class__} {0} {}",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "javascript:alert(1)",
    "\u2028\u2029 \x00 \ufeff",
    "**bold** [[blue|text]] `code`",
    "</style><style>*{display:none}",
    "\\u003c/script\\u003e",
    "%3Cscript%3E",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1)>x</a>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<base href=//evil.example>",
]
WRAPPERS = ["{}", "a beach {}", "{} {}", "\n{}\n", "(({}:1.3))", "{}" * 4, "[{}]", "…{}…", "<b>{}", "{}="]


@pytest.fixture(scope="module")
def recording(models):
    run = models["sd1"].text2img("a paradise cosmic beach", seed=7)
    return record(run).recording()


@pytest.fixture(scope="module")
def made(recording):
    return page(recording)


def hostile(recording, text: str):
    """The same recording with every text that comes from outside replaced."""
    tokens = tuple(replace(token, text=text) if token.kind == "word" else token for token in recording.tokens)
    settings = replace(recording.settings, prompt=text, negative_prompt=text)
    layers = tuple(replace(layer, name=text) for layer in recording.layers)
    return replace(
        recording, prompt=text, tokens=tokens, settings=settings, model_name=text, notices=(text, text), layers=layers,
        negative_prompt=text,
    )  # fmt: skip


TWO_HUNDRED = [wrapper.replace("{}", text) for text in HOSTILE for wrapper in WRAPPERS]
TWENTY = [TWO_HUNDRED[11 * number % 200] for number in range(20)]


@pytest.mark.parametrize("texts", [TWENTY, pytest.param(TWO_HUNDRED, marks=pytest.mark.proof)], ids=["20", "200"])
def test_hostile_texts_stay_text(recording, texts):
    """Prompts, words, model names and notices change no element, no attribute and no script of the page."""
    assert len(set(texts)) == len(texts)
    decoded = tuple(each for each in recording.decoded if each.index < 2)
    slim = replace(recording, steps=recording.steps[:2], layers=recording.layers[:6], decoded=decoded)
    plain = page(hostile(slim, "beach")).html
    expected, script = skeleton(parse(plain)), re.findall(r"<script>(.*?)</script>", plain, re.S)
    for text in texts:
        html = page(hostile(slim, text)).html
        root = parse(html)
        assert skeleton(root) == expected, text
        assert re.findall(r"<script>(.*?)</script>", html, re.S) == script, text
        titles = [element.all_text() for element in root.walk() if element.tag == "title"]
        assert text.strip() == "" or text.split()[0].replace("\x00", "\ufffd") in titles[0].replace("\x00", "\ufffd"), (
            text
        )


def test_the_policy_allows_the_own_style_and_script_and_nothing_else(made):
    def hash_of(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    style, script = (re.search(rf"<{tag}>(.*?)</{tag}>", made.html, re.S)[1] for tag in ("style", "script"))
    root = parse(made.html)
    (policy,) = [e.attributes["content"] for e in root.walk() if e.attributes.get("http-equiv")]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["img-src"] == "data:"
    assert parts["style-src"] == hash_of(style)
    assert parts["script-src"] == hash_of(script)
    for element in root.walk():
        assert not {name for name in element.attributes if name.startswith("on") or name == "style"}, element.tag
        for name in ("src", "href"):
            assert (element.attributes.get(name) or "#").startswith(("#", "data:image/webp;base64,"))
    assert not re.search(r"https?://", re.sub(r'xmlns="[^"]*"', "", made.html))


def test_every_picture_and_figure_is_described(made):
    root = parse(made.html)
    for element in root.walk():
        if element.tag == "img":
            assert element.attributes.get("alt"), element.attributes.get("class")
        if element.attributes.get("role") == "img":
            assert [child for child in element.children if child.tag == "title" and child.text]
        if element.tag == "figure" and element.attributes.get("class") != "card":
            drawing, caption = element.children
            assert drawing.attributes["aria-label"]
            assert len(caption.all_text()) > 20


def test_names_are_used_once_and_references_lead_somewhere(made):
    elements = list(parse(made.html).walk())
    names = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(names) == len(set(names))
    for element in elements:
        href = element.attributes.get("href") or ""
        if href.startswith("#"):
            assert href[1:] in names


def test_the_script_knows_every_step_and_every_map(made, recording):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', made.html, re.S)[1])
    assert len(data["player"]["steps"]) == len(recording.steps) == len(data["heat"]["steps"])
    assert data["heat"]["labels"][:4] == ["a", "paradise", "cosmic", "beach"]
    for view in (*data["heat"]["views"], *data["heat"]["steps"]):
        height, width = view["size"]
        assert len(base64.b64decode(view["maps"])) == len(data["heat"]["labels"]) * height * width
    shares = [view["tops"] for view in data["heat"]["views"]]
    assert all(0 <= share <= 1 for row in shares for share in row)
    assert len(data["layers"]["layers"]) == sum(layer.thumbnails is not None for layer in recording.layers)


def test_the_numbers_are_those_of_the_recording(made, recording):
    steps = made.numbers["parts"]["time"]["player"]["steps"]
    assert [step["timestep"] for step in steps] == [f"{step.timestep:g}" for step in recording.steps]
    json.dumps(made.numbers)


def test_a_page_can_be_chinese(recording):
    html = page(recording, language="zh").html
    assert '<html lang="zh">' in html
    assert "噪声" in html


def test_models_without_some_things_have_pages_too(models):
    """Guidance 1, no words, SDXL; an image that is not square."""
    runs = [
        models["sd1"].text2img("", seed=1, guidance_scale=1.0, steps=2),
        models["sdxl"].text2img("a red boat", seed=1, steps=2, width=96, height=64),
        models["sd2"].text2img("a (red:1.3) boat " * 40, seed=1, steps=1, sampler="dpmpp_2m"),
    ]
    for run in runs:
        parse(page(record(run).recording()).html)


def test_figures_show_themselves_alone(recording):
    from tintype.illustrate.figures import time, words
    from tintype.illustrate.figures.looks import looks
    from tintype.illustrate.story import linear_look

    seen = looks(recording, linear_look(recording))
    player = time.player(recording, seen, time.films(recording, seen))
    for figure in (player, words.embedding(recording), words.tokens(recording)):
        root = parse(figure._repr_html_())
        sheets = {e.attributes["id"] for e in root.walk() if (e.attributes.get("id") or "").startswith("sheet-")}
        shown = {e.attributes["href"][1:] for e in root.walk() if e.tag == "use"}
        assert shown <= sheets
