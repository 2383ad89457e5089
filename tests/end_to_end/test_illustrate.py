"""The page of the box: each figure of the article is in it, with real data."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from tests.contracts.repository import ROOT
from tests.unit.illustrate.pages import parse
from tests.unit.illustrate.tiny import tiny
from tintype.checkpoints.folder import save_folder

ROW = re.compile(r"^\|\s*(\d+)\s*\|[^|]+\|\s*([\w-]+)\s*\|[^|]+\|$", re.M)
LISTED = [(int(number), anchor) for number, anchor in ROW.findall((ROOT / "docs" / "illustrate.md").read_text())]


@pytest.fixture(scope="module")
def made(sd):
    from tintype.illustrate import illustrate

    return illustrate(sd, "paradise cosmic beach", seed=7, steps=6)


@pytest.fixture(scope="module")
def figures(made):
    return {e.attributes["id"]: e for e in parse(made.html).walk() if e.tag == "figure" and "id" in e.attributes}


def test_the_list_has_all_35():
    assert [number for number, _ in LISTED] == list(range(1, 36))


@pytest.mark.parametrize(("number", "anchor"), LISTED)
def test_each_figure_of_the_article_is_there_with_real_data(figures, made, number, anchor):
    figure = figures[anchor]
    assert str(number) in (figure.attributes["data-article"] or "").split()
    elements = list(figure.walk())
    pictures = [e for e in elements if e.tag == "img" and len(e.attributes["src"] or "") > 100]
    films = [e for e in elements if "data-film" in e.attributes]
    drawn = [e for e in elements if e.attributes.get("class") in ("anatomy", "matrix")]
    assert pictures or films or drawn, "nothing is drawn"
    assert not [e for e in elements if e.attributes.get("class") == "said" and not films], "it is said to be missing"
    caption = figure.children[-1].all_text()
    assert re.search(r"\d", caption) or number == 26, f"no live number in: {caption}"


def test_the_page_is_small_enough(made):
    assert len(made.html.encode()) < 6e6


def test_from_the_command_line_with_a_picture_and_numbers(tintype_command, tmp_path):
    save_folder(tiny("sd1"), tmp_path / "model")
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(tmp_path / "beach.png")
    result = tintype_command(
        "illustrate", "a red lighthouse", "--image", "beach.png", "--strength", "0.6", "--steps", "4", "--seed", "3",
        "--lang", "zh", "--json", "numbers.json", "-o", "page.html", "--threads", "1", "--model", "model",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["page.html", "numbers.json"]
    root = parse((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [e.attributes["lang"] for e in root.walk() if e.tag == "html"] == ["zh"]
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["seed"] == 3
    assert len(numbers["parts"]["time"]["player"]["steps"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strength", "0.5"], "--image"),
        (["-o", "page.png"], ".html"),
        (["--lang", "tlh"], "en, zh"),
        (["--steps", "0"], "steps"),
    ],
)
def test_what_cannot_be_is_told_before_a_model_is_loaded(tintype_command, arguments, words):
    result = tintype_command("illustrate", "a beach", *arguments)
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
