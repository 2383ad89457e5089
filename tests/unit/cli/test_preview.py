"""Pictures in the terminal: what is written is the picture, only where it is understood, and costs next to nothing."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.pipeline.tiny import tiny_model
from tintype.checkpoints.folder import save_folder
from tintype.checkpoints.load import load
from tintype.cli import preview, terminal_pictures
from tintype.cli.preview import chosen_preview, watch_develop
from tintype.cli.terminal_pictures import SIXTEEN, paint, terminal_kind
from tintype.errors import SettingsError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def colours_of(text: str) -> np.ndarray:
    """The pixels that a terminal shows for half blocks, (H W 3); numbers of a palette are looked up."""
    levels = (0, 95, 135, 175, 215, 255)
    rows = []
    for line in text.split("\r\n"):
        upper, lower, colour = [], [], [None, None]
        for code, block in re.findall(r"\x1b\[([\d;]*)m|(▀)", line):
            if block:
                upper.append(colour[0])
                lower.append(colour[1])
                continue
            for place, true, numbers, _, index in re.findall(r"([34])8;(?:(2);(\d+;\d+;\d+)|(5);(\d+))", code):
                if true:
                    value = tuple(map(int, numbers.split(";")))
                elif int(index) < 16:
                    value = SIXTEEN[int(index)]
                else:
                    cube = int(index) - 16
                    value = (levels[cube // 36], levels[cube // 6 % 6], levels[cube % 6])
                colour[int(place) - 3] = value
        rows += [upper, lower]
    return np.array(rows)


def test_half_blocks_are_the_picture(picture):
    text = paint(picture, 10, 6, "truecolor")
    assert colours_of(text).tolist() == np.array(picture).tolist()
    assert all(line.endswith("\x1b[0m") for line in text.split("\r\n"))


@pytest.mark.parametrize(("kind", "largest"), [("256", 48), ("16", 200)])
def test_with_few_colours_they_are_near(picture, kind, largest):
    shown = colours_of(paint(picture, 10, 6, kind)).astype(int)
    assert np.abs(shown - np.array(picture)).max() <= largest
    grey = Image.new("RGB", (2, 2), "white")
    assert colours_of(paint(grey, 2, 1, kind)).min() == 255


def test_the_nearest_of_the_sixteen_is_taken():
    for index, colour in enumerate(SIXTEEN):
        assert terminal_pictures._of_16(*colour) == f"8;5;{index}"


def test_kitty_gets_a_png_in_pieces():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", paint(noise, 8, 4, "kitty"))
    assert len(pieces) > 2 and max(len(data) for _, data in pieces) <= 4096
    assert [keys[-3:] for keys, _ in pieces] == ["m=1"] * (len(pieces) - 1) + ["m=0"]
    assert {"a=T", "f=100", "C=1", "c=8", "r=4"} <= set(pieces[0][0].split(","))
    sent = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in pieces))))
    assert sent.tobytes() == noise.tobytes()


def test_iterm_gets_a_png(picture):
    head, data = re.fullmatch(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", paint(picture, 8, 4, "iterm")).groups()
    assert {"inline=1", "width=8", "height=4"} <= set(head.split(";"))
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == picture.tobytes()


def test_sixels_are_the_picture_in_few_colours(monkeypatch):
    monkeypatch.setattr(terminal_pictures, "_cell_size", lambda: (4, 8))
    image = Image.new("RGB", (16, 16), (255, 0, 0))
    image.paste((0, 0, 255), (8, 3, 16, 16))
    body = paint(image, 4, 2, "sixel")
    start, size = re.match(r'\x1bPq"1;1;(\d+);(\d+)', body).end(), (16, 16)
    assert body.endswith("\x1b\\")
    shown, palette, colour, x, y = np.zeros((18, 16, 3), int), {}, 0, 0, 0
    for token in re.findall(r"#\d+(?:;\d+;\d+;\d+;\d+)?|[$-]|[?-~]", body[start:-2]):
        if ";" in token:
            number, _, *percent = map(int, token[1:].split(";"))
            palette[number] = [round(p * 2.55) for p in percent]
        elif token[0] == "#":
            colour = int(token[1:])
        elif token == "$":
            x = 0
        elif token == "-":
            x, y = 0, y + 6
        else:
            for bit in range(6):
                if (ord(token) - 63) >> bit & 1:
                    shown[y + bit, x] = palette[colour]
            x += 1
    assert np.abs(shown[: size[1]] - np.array(image)).max() <= 6


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, None),
        ({"TERM": "dumb"}, None),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, None),
        ({"TERM": "linux"}, "16"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "tmux-256color", "TMUX": "x", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}, "16"),
    ],
)
def test_a_terminal_is_known_by_its_environment(environment, kind):
    assert terminal_kind(environment) == kind


def test_what_is_no_preview_is_an_error_and_ci_gets_none(monkeypatch):
    with pytest.raises(SettingsError, match="off, fast, full"):
        chosen_preview("slow")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("CI", raising=False)
    assert chosen_preview(None) == "fast"
    monkeypatch.setenv("CI", "true")
    assert chosen_preview(None) == "off"
    assert chosen_preview("full") == "full"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", ["truecolor", "kitty"])
def test_fast_takes_less_than_a_hundredth_of_the_run(monkeypatch, kind):
    run = load(device="cpu", dtype=torch.float32).text2img("a lighthouse", seed=1, steps=30)
    monkeypatch.setattr(sys, "stderr", Terminal())
    spent, paintings = 0.0, 0

    class Timed(preview.Screen):
        def show(self, step):
            nonlocal spent, paintings
            began = time.thread_time()  # what it takes, not what the machine does beside it
            size = sys.stderr.tell()
            super().show(step)
            spent += time.thread_time() - began
            paintings += sys.stderr.tell() - size > 300

    monkeypatch.setattr(preview, "Screen", Timed)
    began = time.thread_time()
    watch_develop(run, "fast", kind)
    whole = time.thread_time() - began
    print(f"{kind}: {paintings} pictures, {1000 * spent:.1f} ms of {1000 * whole:.0f} ms, {100 * spent / whole:.2f} %")
    assert paintings
    assert spent < 0.01 * whole + 0.005  # one picture that was begun just before the end


def test_full_decodes_every_step(monkeypatch):
    sd = tiny_model()
    monkeypatch.setattr(sys, "stderr", Terminal())
    decoded = []
    monkeypatch.setattr(sd, "images", lambda latents: decoded.append(latents) or [Image.new("RGB", (64, 64))])
    run = sd.text2img("a red boat", seed=1)
    watch_develop(run, "full", "truecolor")
    assert len(decoded) == len(run)
    assert sys.stderr.getvalue().endswith("\x1b[J")


def on_a_terminal(folder: Path, environment: dict[str, str], *options: str) -> tuple[str, str]:
    """Stdout and what a terminal of 40 x 100 gets."""
    save_folder(tiny_model(), folder / "tiny")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "tintype", "text2img", "a red boat", "--model", "tiny", "--seed", "1", *options]
    plain = {k: v for k, v in os.environ.items() if k not in ("CI", "TMUX", "NO_COLOR", "COLORTERM", "TERM_PROGRAM")}
    plain |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)}
    running = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, cwd=folder, env=plain | environment
    )
    os.close(theirs)
    shown = []

    def listen() -> None:
        try:
            while data := os.read(ours, 65536):
                shown.append(data)
        except OSError:  # the other side is closed
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    out, _ = running.communicate(timeout=60)
    listener.join()
    os.close(ours)
    assert running.returncode == 0, b"".join(shown)
    return out.decode(), b"".join(shown).decode()


def test_a_terminal_shows_it_develop_and_is_left_clean(tmp_path):
    out, shown = on_a_terminal(tmp_path, {"TERM": "xterm-256color"}, "--preview", "full")
    assert out == "outputs/a-red-boat-1.png\n"
    assert shown.count("\x1b7") == 4
    assert "4/4" in shown and "▀" in shown and "\x1b[48" not in shown.split("\x1b[J")[-1]
    assert shown.endswith("\x1b[J")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "CI": "1"}])
def test_where_it_is_not_wanted_there_is_none(tmp_path, environment):
    _, shown = on_a_terminal(tmp_path, environment)
    assert "▀" not in shown and "\x1b7" not in shown and "\x1b_G" not in shown
