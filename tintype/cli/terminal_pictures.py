"""Pictures in a terminal: in half blocks of colour everywhere, as pictures where the terminal shows such.

What a terminal can do is told by its environment; sixels also by its own answer. Nothing is sent that a terminal has
not said it understands: on the wrong one, picture protocols are pages of garbage.
"""

from __future__ import annotations

import base64
import io
import os
import select
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image

Kind = Literal["kitty", "iterm", "sixel", "truecolor", "256", "16"]

KITTY_ID = 7421
"""One picture, replaced again and again."""

CELL = (10, 20)
"""Pixels of a character, where the terminal does not tell them."""

SIXEL_COLOURS = 48

ANSWER_SECONDS = 0.2

# The sixteen colours as xterm has them; terminals differ, and these are near to all.
SIXTEEN = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)),
    *((127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255)),
    (255, 255, 255),
)


def terminal_kind(environment: Mapping[str, str], asks: bool = False) -> Kind | None:
    """The best that a terminal shows, by its environment; None where that is no picture at all.

    Args:
        environment: ``os.environ``.
        asks: whether the terminal may be asked for sixels too.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term in ("", "dumb") or environment.get("NO_COLOR"):
        return None
    inside = "TMUX" in environment or term.startswith(("tmux", "screen"))  # which lets no picture through
    if not inside:
        if "KITTY_WINDOW_ID" in environment or term == "xterm-kitty" or program == "ghostty":
            return "kitty"
        if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
        likely = term.startswith(("xterm", "foot", "mlterm", "contour", "vt340"))
        if asks and likely and "SSH_CONNECTION" not in environment and _answers_sixel():
            return "sixel"
    if environment.get("COLORTERM") in ("truecolor", "24bit") or term.endswith("-direct") or "kitty" in term:
        return "truecolor"
    return "256" if "256color" in term else "16"


def paint(image: Image.Image, columns: int, rows: int, kind: Kind) -> str:
    """What to write so that the picture fills columns x rows characters. The cursor may be anywhere afterwards."""
    if kind == "kitty":
        return _kitty(image, columns, rows)
    if kind == "iterm":
        size = f"width={columns};height={rows};preserveAspectRatio=0"
        return f"\x1b]1337;File=inline=1;{size}:{_png(image)}\x07"
    if kind == "sixel":
        width, height = _cell_size()
        return _sixel(image.resize((columns * width, rows * height)))
    return "\r\n".join(_half_blocks(image.resize((columns, 2 * rows)), kind))


def wipe(kind: Kind) -> str:
    """What takes away a picture that lies above the text, where pictures do."""
    return f"\x1b_Ga=d,d=I,i={KITTY_ID},q=2\x1b\\" if kind == "kitty" else ""


def _half_blocks(image: Image.Image, kind: Kind) -> list[str]:
    """A line of text for two rows of pixels: the upper one as the colour of a half block, the lower one behind it."""
    code = {"truecolor": _true, "256": _of_256, "16": _of_16}[kind]
    pixels = image.tobytes()
    stride = 3 * image.width
    lines = []
    for top in range(0, 2 * stride * (image.height // 2), 2 * stride):
        line, before = [], ("", "")
        for at in range(top, top + stride, 3):
            upper = code(pixels[at], pixels[at + 1], pixels[at + 2])
            lower = code(pixels[at + stride], pixels[at + stride + 1], pixels[at + stride + 2])
            now = (upper, lower)
            line.append("▀" if now == before else f"\x1b[3{upper};4{lower}m▀")
            before = now
        lines.append("".join(line) + "\x1b[0m")
    return lines


def _true(red: int, green: int, blue: int) -> str:
    return f"8;2;{red};{green};{blue}"


def _of_256(red: int, green: int, blue: int) -> str:
    """The nearest of the cube of 6 x 6 x 6, whose levels are 0, 95, 135 ... 255."""
    r, g, b = (0 if level < 48 else 1 if level < 115 else (level - 35) // 40 for level in (red, green, blue))
    return f"8;5;{16 + 36 * r + 6 * g + b}"


@lru_cache(maxsize=4096)
def _of_16(red: int, green: int, blue: int) -> str:
    def distance(index: int) -> int:
        r, g, b = SIXTEEN[index]
        return 3 * (r - red) ** 2 + 4 * (g - green) ** 2 + 2 * (b - blue) ** 2

    return f"8;5;{min(range(16), key=distance)}"


def _png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _kitty(image: Image.Image, columns: int, rows: int) -> str:
    """Kitty's graphics protocol: a PNG in pieces of 4096; the same number replaces the picture before."""
    data = _png(image)
    pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    first = f"a=T,f=100,i={KITTY_ID},p=1,q=2,C=1,c={columns},r={rows},"
    out = []
    for index, piece in enumerate(pieces):
        more = int(index < len(pieces) - 1)
        out.append(f"\x1b_G{first if index == 0 else ''}m={more};{piece}\x1b\\")
    return "".join(out)


def _sixel(image: Image.Image) -> str:
    """DEC's sixels: bands of six rows; in a band, each colour a line of columns of six bits."""
    import numpy as np
    from PIL import Image

    few = image.quantize(SIXEL_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    indices = np.asarray(few)  # (H W)
    palette = np.array(few.getpalette()).reshape(-1, 3)
    out = [f'\x1bPq"1;1;{image.width};{image.height}']
    out += [f"#{i};2;{r * 100 // 255};{g * 100 // 255};{b * 100 // 255}" for i, (r, g, b) in enumerate(palette)]
    bits = 1 << np.arange(6)[:, None]  # (6 1)
    for top in range(0, image.height, 6):
        band = indices[top : top + 6]  # (6 W)
        for colour in np.unique(band):
            columns = ((band == colour) * bits[: len(band)]).sum(0) + 63  # (W,)
            out.append(f"#{colour}{columns.astype(np.uint8).tobytes().decode('ascii')}$")
        out.append("-")
    return "".join(out) + "\x1b\\"


def _cell_size() -> tuple[int, int]:
    """Pixels of one character, (width, height), as far as the terminal tells them."""
    try:
        import fcntl
        import struct
        import termios

        answer = fcntl.ioctl(2, termios.TIOCGWINSZ, bytes(8))
        lines, columns, width, height = struct.unpack("HHHH", answer)
        return (width // columns, height // lines) if width and height else CELL
    except (ImportError, OSError, ZeroDivisionError):
        return CELL


def _answers_sixel() -> bool:
    """Ask the terminal what it is (primary device attributes); 4 among its answers is sixels."""
    try:
        import termios
        import tty

        handle = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except (ImportError, OSError):
        return False
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle)
        os.write(handle, b"\x1b[c")
        answer = b""
        while not answer.endswith(b"c") and select.select([handle], [], [], ANSWER_SECONDS)[0]:
            answer += os.read(handle, 64)
        return b"4" in answer.strip(b"\x1b[?c").split(b";")
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
        os.close(handle)
