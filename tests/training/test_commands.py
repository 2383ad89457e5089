"""``tintype train`` as typed: stages, dials, shares of the work, Ctrl-C, and the whole chain to a model's folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tintype.cli import app
from tintype.training.watching import read_chain_recipe

ROOT = Path(__file__).resolve().parents[2]

# The smallest chain of all, under the name that the command line asks for.
SMALLEST = """
import sys
from dataclasses import replace
from tintype.training import recipes
tiny = recipes.TINY
recipes.CHAINS["tiny"] = replace(
    tiny,
    pictures=48,
    clip=replace(tiny.clip, pictures=64),
    autoencoder=replace(tiny.autoencoder, pictures=32),
    denoiser=replace(tiny.denoiser, pictures=64),
)
from tintype.cli import app
app()
"""


def command(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SMALLEST, "train", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_all_makes_a_model_with_its_card_and_does_nothing_twice(tmp_path):
    first = command("all", "tiny", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "runs/tiny/model"
    model = tmp_path / "runs/tiny/model"
    measured = json.loads((model / "measured.json").read_text())
    assert measured["clip_chance"] == pytest.approx(1 / 256)
    assert {"README.md", "curves.png", "recipe.json", "vocabulary.json", "model_index.json"} <= {
        path.name for path in model.iterdir()
    }
    assert "trained on" in (model / "README.md").read_text()
    weights = (model / "unet/diffusion_pytorch_model.safetensors").read_bytes()
    run = tmp_path / "runs/tiny"
    page = (run / "run.html").read_text()
    for stage in ("clip", "autoencoder", "denoiser"):
        assert f'<section id="{stage}">' in page
        assert len(list((run / stage / "sheets").glob("*.png"))) >= 2
    assert read_chain_recipe(run).pictures == 48

    again = command("all", "tiny", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "loss" not in again.stderr
    assert (model / "unet/diffusion_pytorch_model.safetensors").read_bytes() == weights

    on = command("all", "tiny", "begin=runs/tiny/model", "--folder", "runs/on", folder=tmp_path)
    assert on.returncode == 0, on.stderr
    assert on.stdout.strip() == "runs/on/model"
    assert not (tmp_path / "runs/on/clip").exists()
    assert "of the model that this began as" in (tmp_path / "runs/on/model/README.md").read_text()
    words = "text_encoder/model.safetensors"
    assert (tmp_path / "runs/on/model" / words).read_bytes() == (model / words).read_bytes()


def photos(folder: Path) -> None:
    folder.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white", "black", "pink")):
        Image.new("RGB", (70 + 10 * number, 80), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"all {colour}\nnothing but {colour}")


def test_all_on_anybodys_pictures(tmp_path):
    photos(tmp_path / "photos")
    for number in range(30):  # enough that one in twenty may be broken
        Image.new("RGB", (64, 64), (8 * number, 0, 0)).save(tmp_path / f"photos/more{number}.png")
    (tmp_path / "photos/broken.png").write_bytes(b"\x89PNG broken")
    done = command("all", "tiny", "data=photos", "size=64", "flip=true", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 pictures could not be read" in done.stderr
    run = tmp_path / "runs/tiny"
    (skipped,) = [json.loads(line) for line in (run / "pictures/skipped.jsonl").read_text().splitlines()]
    assert skipped["skipped"] == "broken.png"
    words = json.loads((run / "model/vocabulary.json").read_text())["words"]
    assert words == ["all", "black", "blue", "but", "green", "nothing", "pink", "red", "white"]
    assert "37 pictures with captions" in (run / "model/README.md").read_text()
    other = command("clip", "tiny", "data=elsewhere", folder=tmp_path)
    assert other.returncode == 1 and "begun with data=photos, not elsewhere" in other.stderr


def test_shares_of_the_work_add_up(tmp_path):
    for part in (0, 1):
        assert command("pictures", "tiny", "--shard", f"{part}/2", folder=tmp_path).returncode == 0
    assert [path.name for path in sorted((tmp_path / "runs/tiny/pictures").glob("*.safetensors"))] == [
        "00000.safetensors"
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("clip", "huge"), "no recipe 'huge'; there are small, full, large, tiny"),
        (("clip", "tiny", "speed=3"), "no dial 'speed'"),
        (("clip", "tiny", "lr"), "expected KEY=VALUE"),
        (("clip", "tiny"), "No data in runs/tiny/pictures"),
        (("pictures", "tiny", "--shard", "2/2"), "i from 0 to n - 1"),
        (("pictures", "tiny", "size=64"), "say where they are: data=FOLDER"),
        (("pictures", "tiny", "data=.", "size=72"), "expected a multiple of 16"),
        (("clip", "tiny", "--sheets", "few"), "expected a count of pictures"),
        (("all", "tiny", "lr=1"), "take only data, size, flip"),
        (("lora", "huge"), "no recipe 'huge' for lora; there are box, sd, tiny"),
        (("lora", "tiny", "rank=4"), "must be pictures to learn from: data=FOLDER"),
        (("finetune", "huge"), "no recipe 'huge' for finetune; there are box, sd, tiny"),
        (("finetune", "tiny", "data=signs", "rank=4"), "FinetuneRecipe has no dial 'rank'"),
        (("lora", "tiny", "data=nowhere", "steps=few"), "expected a whole number"),
        (("lora", "tiny", "data=nowhere"), "There is no folder 'nowhere'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(["train", *arguments])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_ctrl_c_saves_and_says_so(chain, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tintype", "train", "denoiser", "tiny", "pictures=1000000", f"--folder={chain.folder}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "denoiser" in process.stderr.readline()  # it trains
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait() == 130
    assert "saved after" in said and "the same command continues" in said
    assert list((chain.folder / "denoiser").glob("state-*"))
