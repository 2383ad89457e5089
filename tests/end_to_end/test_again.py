"""Pictures of the model in the box, drawn again: by the command line and in Python, in all formats, bit by bit."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import tintype
from tintype.pipeline.outputs import read_record
from tintype.pipeline.provenance import parameters_of, save_picture

PROMPT = "a red pirate ship on a beach at sunset"


def text_alone(run, path: Path, text: str | None = None) -> Path:
    """The picture as another program would write it, with A1111's text and nothing of ours."""
    info = PngInfo()
    info.add_text("parameters", text or parameters_of(run, 0))
    run.images[0].save(path, pnginfo=info)
    return path


def test_the_command_repeats_a_batch_of_the_command(tintype_command, tmp_path):
    drawn = tintype_command("text2img", PROMPT, "--seed", 7, "--steps", 6, "-n", 2, "-o", "ship.png", "--threads", 1)
    assert drawn.returncode == 0, drawn.stderr
    path = tmp_path / drawn.stdout.split()[1]
    result = tintype_command("again", path.name, "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["identical"] is True and told["differences"] == []
    assert "identical: every pixel is as it was drawn" in result.stderr
    assert Image.open(tmp_path / told["path"]).tobytes() == Image.open(path).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_every_format_remembers(sd, tmp_path, suffix):
    run = sd.text2img(PROMPT, seed=3, steps=6, sampler="dpmpp_2m", spacing="karras", negative_prompt="night")
    path, notices = save_picture(run, 0, tmp_path / f"a{suffix}")
    repeated = tintype.again(path)  # the box is found by its hash
    assert repeated.model.name == "box" and notices == ()
    assert repeated.identical and repeated.image.tobytes() == run.images[0].tobytes()
    print(f"{suffix}: {repeated.verdict}")
    assert repeated.psnr == inf if suffix == ".png" else 28 < repeated.psnr < 60


@pytest.mark.parametrize("sampler", ["euler_a", "dpmpp_sde", "unipc", "pndm"])
def test_solvers_that_draw_noise_or_keep_history(sd, tmp_path, sampler):
    path, _ = save_picture(sd.text2img(PROMPT, seed=3, steps=6, sampler=sampler), 0, tmp_path / "a.png")
    assert tintype.again(path, model=sd).identical


def test_pictures_from_pictures(sd, tmp_path):
    beach = sd.text2img("a beach", seed=1, steps=6).images[0]
    beach.save(tmp_path / "beach.png")
    mask = Image.new("L", beach.size, 0)
    mask.paste(255, (0, 0, 64, 128))
    path, _ = save_picture(sd.img2img(beach, PROMPT, seed=3, steps=8, strength=0.6), 0, tmp_path / "a.png")
    with pytest.raises(tintype.SettingsError, match="--image"):
        tintype.again(path, model=sd)
    assert tintype.again(path, model=sd, image=tmp_path / "beach.png").identical
    path, _ = save_picture(sd.inpaint(beach, mask, PROMPT, seed=3, steps=6), 0, tmp_path / "b.png")
    assert tintype.again(path, model=sd, image=beach, mask=mask).identical


def test_a_stopped_run(sd, tmp_path):
    run = sd.text2img(PROMPT, seed=3, steps=9, sampler="heun")
    for step in run:
        if step.index == 3:
            run.stop()
    path, _ = save_picture(run, 0, tmp_path / "a.png")
    assert read_record(path)["stopped_after"] == 4
    assert tintype.again(path, model=sd).identical


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "ddim", "spacing": "leading"},
        {"sampler": "euler", "spacing": "linspace", "noise": "philox"},
        {"sampler": "dpmpp_2m", "spacing": "karras", "negative_prompt": "night"},
        {"sampler": "euler_a", "spacing": "exponential", "clip_skip": 2},
    ],
    ids=lambda settings: settings["sampler"],
)
def test_the_web_uis_text_is_enough(sd, tmp_path, settings):
    run = sd.text2img(PROMPT, seed=3, steps=6, **settings)
    path = text_alone(run, tmp_path / "a.png")
    repeated = tintype.again(path, dtype=sd.dtype)  # by the ten digits of its hash; a text is silent on precision
    assert repeated.recalled.record is None
    assert repeated.identical, repeated.verdict


def test_a_text_of_the_web_ui_as_published(sd, tmp_path):
    text = (
        "a red boat, (a beach:1.2)\nNegative prompt: night\nSteps: 6, Sampler: Euler a, Schedule type: Automatic, "
        "CFG scale: 4, Seed: 965400086, Size: 128x128, Model hash: 45dee52b, Model: v1-5, Version: v1.10.1"
    )
    path = text_alone(sd.text2img("a boat", steps=2, seed=1), tmp_path / "a.png", text)
    with pytest.raises(tintype.CheckpointError, match="45dee52b"):
        tintype.again(path)
    repeated = tintype.again(path, model=sd)
    settings = repeated.settings
    assert (settings.noise, settings.sampler, settings.spacing) == ("philox", "euler_a", "linspace")
    assert repeated.verdict.startswith("as far as the text tells")
    assert any("model was v1-5 (45dee52b), now box" in notice for notice in repeated.notices)


def test_errors_and_inspection_at_the_command_line(tintype_command, sd, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "nobody.png")
    result = tintype_command("again", "nobody.png")
    assert (result.returncode, result.stdout) == (1, "")
    assert "does not say how it was made" in result.stderr and "Traceback" not in result.stderr
    path, _ = save_picture(sd.text2img("a red boat", seed=3, steps=2), 0, tmp_path / "a.jpg")
    result = tintype_command("inspect", path.name)
    assert result.returncode == 0, result.stderr
    assert "Steps: 2, Sampler: DDIM" in result.stdout
    assert f"tintype again {path.name}" in result.stdout
