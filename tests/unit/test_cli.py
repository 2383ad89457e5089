"""The command line: what it writes, what it tells, and how it fails."""

from __future__ import annotations

import inspect
import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.pipeline.tiny import tiny_model
from tintype import cli
from tintype.checkpoints.folder import save_folder
from tintype.checkpoints.load import load
from tintype.pipeline.outputs import read_record
from tintype.pipeline.settings import Settings
from tintype.speed import best_profile, tile

ROOT = Path(__file__).resolve().parents[2]
TINTYPE = [sys.executable, "-m", "tintype"]


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_folder(tiny_model(), folder)
    return str(folder)


@pytest.fixture
def tintype(model, tmp_path, monkeypatch, capsys):
    """Call the command line in this process, in an empty folder: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: object) -> tuple[int, str, str]:
        options = () if command.startswith("-") else ("--model", model)
        with pytest.raises(SystemExit) as ended:
            cli.app([command, *options, *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code or 0, out, err

    return call


@pytest.fixture
def process(model, tmp_path):
    """The arguments of a process of its own, for what cannot be seen from inside."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"cwd": tmp_path, "env": environment, "text": True}


@pytest.fixture
def picture(tmp_path) -> Path:
    Image.radial_gradient("L").convert("RGB").resize((80, 64)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def test_it_writes_a_picture_and_tells_only_its_path(tintype):
    status, out, _ = tintype("text2img", "a red boat", "--seed", 7)
    assert status == 0
    assert out == f"{Path('outputs') / 'a-red-boat-7.png'}\n"
    assert Image.open(out.strip()).size == (64, 64)


def test_it_never_overwrites(tintype, tmp_path):
    paths = [tintype("text2img", "a red boat", "--seed", 7)[1].strip() for _ in range(3)]
    assert len(set(paths)) == 3
    assert len(list((tmp_path / "outputs").iterdir())) == 3
    (tmp_path / "mine.png").write_text("precious")
    status, out, _ = tintype("text2img", "a red boat", "-o", "mine.png")
    assert (status, out) == (0, "mine-2.png\n")
    assert (tmp_path / "mine.png").read_text() == "precious"


def test_json(tintype):
    status, out, _ = tintype(
        "text2img", "a red boat", "--prompt", "a house", "-n", 2, "--seed", 7, "--steps", 2, "--json"
    )
    told = json.loads(out)
    assert status == 0
    assert out.count("\n") == 1
    assert told["seeds"] == [7, 8, 9, 10]
    assert [Path(path).name for path in told["paths"]] == [
        "a-red-boat-7.png",
        "a-red-boat-8.png",
        "a-house-9.png",
        "a-house-10.png",
    ]
    assert all(Path(path).is_file() for path in told["paths"])
    assert Settings.from_dict(told["settings"]).prompts == ("a red boat", "a house")
    assert told["seconds"] > 0
    assert told["notices"] == []
    assert told["stopped_after"] is None


def test_the_picture_holds_the_settings_that_repeat_it(tintype, model):
    _, out, _ = tintype("text2img", "a red boat", "--sampler", "euler_a", "-n", 2)
    path = out.split()[1]
    record = read_record(path)
    assert record["index"] == 1
    assert record["dtype"] == str(load(model).dtype).removeprefix("torch.")
    again = load(model).speed(record["speed"]).run(Settings.from_dict(record["settings"])).images[record["index"]]
    assert again.tobytes() == Image.open(path).tobytes()


def test_every_setting_is_an_option():
    given = set(inspect.signature(cli.inpaint).parameters)
    computed = {"version", "image_sha256", "mask_sha256", "latents_sha256"}
    assert {field.name for field in fields(Settings)} - computed <= given


def test_all_options_at_once(tintype):
    status, out, err = tintype(
        *("text2img", "a red boat", "--negative-prompt", "moon", "--width", 72, "--height", 80, "--steps", 9),
        *("--guidance-scale", 3, "--guidance-rescale", 0.5, "--guidance-interval", 0.1, 5, "--seed", 2**64 - 1),
        *("--sampler", "euler", "--eta", 0.5, "--spacing", "14,5,1,0", "--batch-size", 1, "--clip-skip", 2),
        *("--long-prompt", "truncate", "--original-size", 64, 64, "--crop", 0, 0, "--target-size", 64, 64),
        *("--device", "cpu", "--dtype", "bf16", "--json"),
    )
    assert status == 0
    assert err.count("\n") == 1
    assert "without effect" in err  # the sizes, for this model
    settings = Settings.from_dict(json.loads(out)["settings"])
    assert (settings.width, settings.height, settings.steps) == (72, 80, 3)
    assert settings.spacing == (14.0, 5.0, 1.0, 0.0)
    assert settings.guidance_interval == (0.1, 5.0)
    assert settings.seed == 2**64 - 1


def test_every_option_of_load_is_an_option():
    given = set(inspect.signature(cli.inpaint).parameters)
    assert set(inspect.signature(load).parameters) - {"source", "progress"} <= given


def test_how_a_model_is_loaded(tintype, model):
    plain = json.loads(tintype("text2img", "a red boat", "--seed", 1, "--steps", 2, "--json")[1])["paths"][0]
    for options in (["--prediction", "v"], ["--prediction", "v", "--zero-terminal-snr"], ["--prediction", "x0"]):
        told = json.loads(tintype("text2img", "a red boat", "--seed", 1, "--steps", 2, "--json", *options)[1])
        assert Image.open(told["paths"][0]).tobytes() != Image.open(plain).tobytes(), options
    same = ["--vae", model, "--no-zero-terminal-snr", "--offline"]
    told = json.loads(tintype("text2img", "a red boat", "--seed", 1, "--steps", 2, "--json", *same)[1])
    assert Image.open(told["paths"][0]).tobytes() == Image.open(plain).tobytes()


@pytest.mark.parametrize(("said", "sizes"), [("auto", []), ("off", []), ("64", [64])])
def test_tiles(tintype, monkeypatch, said, sizes):
    found, decode = [], tile.decode_in_tiles
    monkeypatch.setattr(tile, "decode_in_tiles", lambda *given: found.append(given[-1]) or decode(*given))
    status, _, _ = tintype("text2img", "a red boat", "--steps", 1, "--tile", said)
    assert (status, found) == (0, sizes)


@pytest.mark.parametrize(("said", "expected"), [("auto", None), ("fast", "fast"), ("plain", "plain")])
def test_speed_is_recorded(tintype, model, said, expected):
    expected = expected or best_profile(load(model).device, load(model).dtype)
    status, out, _ = tintype("text2img", "a red boat", "--steps", 1, "--speed", said)
    assert (status, read_record(out.strip())["speed"]) == (0, expected)
    status, _, err = tintype("again", out.strip())
    assert status == 0 and "identical: every pixel is as it was drawn" in err


def test_a_speed_that_is_none_is_told_before_a_model_is_loaded(tintype):
    status, _, err = tintype("text2img", "a red boat", "--speed", "warp", "-m", "nowhere")
    assert status == 1 and err == "tintype: speed is 'warp'; expected plain or fast.\n"


def test_img2img_and_inpaint(tintype, picture):
    status, out, _ = tintype("img2img", picture, "a red boat", "--strength", 0.5, "-o", "out.webp")
    assert (status, out) == (0, "out.webp\n")
    assert Image.open("out.webp").size == (80, 64)
    mask = Image.new("L", (80, 64), 0)
    mask.paste(255, (0, 0, 40, 64))
    mask.save("mask.png")
    status, out, _ = tintype("inpaint", picture, "mask.png", "a red boat", "--mask-blur", 2)
    kept = np.asarray(mask) == 0
    assert status == 0
    assert np.array_equal(np.asarray(Image.open(out.strip()))[kept], np.asarray(Image.open(picture))[kept])


def test_notices_go_to_stderr(tintype, picture):
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save("clear.png")
    status, out, err = tintype("img2img", "clear.png", "a red boat " * 40, "--json")
    assert status == 0
    assert "transparent" in err
    assert "chunks" in err
    assert len(json.loads(out)["notices"]) == 2


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["text2img", "a", "--width", "100"], "multiple of 8"),
        (["text2img", "a", "--sampler", "eular"], "euler"),
        (["text2img", "a", "--spacing", "1,x"], "sigmas"),
        (["text2img", "a", "--model", "no/such/folder"], "no/such/folder"),
        (["text2img", "a", "--device", "abacus"], "abacus"),
        (["text2img", "a", "--dtype", "int8"], "float32"),
        (["text2img", "a", "--zero-terminal-snr"], "zero terminal SNR"),
        (["text2img", "a", "--prediction", "flow"], "flow"),
        (["text2img", "a", "--ema"], "ema"),
        (["text2img", "a", "--variant", "fp8"], "fp8"),
        (["text2img", "a", "--revision", "main"], "revision"),
        (["text2img", "a", "--vae", "no/such.safetensors"], "no/such.safetensors"),
        (["text2img", "a", "--model", "somebody/something", "--offline"], "somebody/something"),
        (["text2img", "a", "--tile", "on"], "auto, off"),
        (["text2img", "a", "--tile", "8"], "64"),
        (["text2img", "a", "-o", "a.bmp"], ".bmp"),
        (["text2img", "a", "-o", "in.png/sub"], "cannot be written"),
        (["img2img", "missing.png", "a"], "missing.png"),
        (["img2img", "in.png", "a", "--strength", "0.01"], "no step"),
        (["inpaint", "in.png", "in.png", "a", "--strength", "2"], "strength"),
    ],
)
def test_errors_are_one_line_and_status_1(tintype, picture, arguments, what):
    status, out, err = tintype(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("tintype: ")
    assert err.count("\n") == 1
    assert what in err
    assert not Path("outputs").exists()


def test_wrong_usage_is_status_2(tintype):
    status, _, err = tintype("text2img", "a", "--no-such-option")
    assert status == 2
    assert "--no-such-option" in err
    assert tintype("text2img", "a", "--seed", "x")[0] == 2


def test_a_prompt_that_looks_like_an_option(tintype):
    status, out, _ = tintype("text2img", "--", "--seed")
    assert status == 0
    assert Path(out.strip()).name.startswith("seed-")


def test_version(tintype):
    assert tintype("--version")[1].strip() == "0.1.0"


def test_interrupted_it_keeps_what_is_there(model, process):
    command = [*TINTYPE, "text2img", "a red boat", "--model", model, "--seed", "1", "--steps", "1000", "--json"]
    command += ["--width", "512", "--height", "512", "--sampler", "heun"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **process)
    line = running.stderr.readline()
    assert line.startswith("step ")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    told = json.loads(out)
    assert running.returncode == 130
    assert 0 < told["stopped_after"] < 1000
    assert f"stopped after {told['stopped_after']} of 1000" in err
    assert "Traceback" not in err
    path = process["cwd"] / told["paths"][0]
    assert Image.open(path).size == (512, 512)
    assert read_record(path)["stopped_after"] == told["stopped_after"]


def test_on_a_terminal_a_bar_and_only_the_path_on_stdout(model, process):
    ours, theirs = pty.openpty()
    command = [*TINTYPE, "text2img", "a red boat", "--model", model, "--seed", "1", "--preview", "off"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, **process)
    os.close(theirs)
    out, _ = running.communicate(timeout=60)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert (running.returncode, out) == (0, "outputs/a-red-boat-1.png\n")
    assert "drawing" in shown
    assert "4/4" in shown


@pytest.mark.parametrize("command", [[], ["text2img"], ["img2img"], ["inpaint"]])
def test_help_answers_without_torch(command):
    code = (
        "import sys; from tintype.cli import app\n"
        "try: app()\nexcept SystemExit as end: status = end.code\n"
        "sys.exit(status or ('torch' in sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, env=environment)
    assert ended.returncode == 0
    assert b"Usage" in ended.stdout
    assert time.perf_counter() - started < 3  # that it is under 0.3 s is a contract with its own, calmer test
