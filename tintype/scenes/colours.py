"""Colours as (red, green, blue) in 0..1, and the paint box of the painter."""

from dataclasses import dataclass

RGB = tuple[float, float, float]


def rgb(code: str) -> RGB:
    """The colour of a code such as "#ff8800"."""
    return tuple(int(code[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """``first`` with a ``share`` of ``second`` stirred in."""
    return tuple(a + (b - a) * share for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def multiply(first: RGB, second: RGB) -> RGB:
    """``first`` seen in the light ``second``."""
    return tuple(min(1.0, a * b) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
INK = rgb("#2a2438")
WOOD, DARK_WOOD = rgb("#9a643a"), rgb("#5e3a24")
CREAM = rgb("#fff3d8")
LAMP = rgb("#ffd978")


@dataclass(frozen=True)
class Coat:
    """The colour that a subject wears: lit side, middle and shaded side."""

    light: RGB
    main: RGB
    dark: RGB


def coat(main: RGB) -> Coat:
    """A coat around one colour."""
    return Coat(mix(main, WHITE, 0.28), main, mix(main, rgb("#1c1040"), 0.36))


PIGMENTS = {
    "red": rgb("#e0242f"),
    "orange": rgb("#ff8412"),
    "yellow": rgb("#ffd91f"),
    "green": rgb("#2aa84a"),
    "blue": rgb("#2463e0"),
    "purple": rgb("#8b35c4"),
}

NATURAL = {
    "pirate ship": rgb("#efe4cc"),
    "sailing boat": rgb("#fbfbf6"),
    "pyramid": rgb("#d9bd86"),
    "cat": rgb("#a8a0aa"),
    "house": rgb("#f0e3cf"),
    "hot-air balloon": rgb("#f4efe6"),
    "castle": rgb("#b3b0b4"),
    "rocket": rgb("#e3e8ee"),
    "lighthouse": rgb("#4a5568"),
    "windmill": rgb("#efe6d6"),
    "tent": rgb("#d8cba6"),
    "car": rgb("#cdd3da"),
    "flower": rgb("#fdf6f8"),
    "mushroom": rgb("#b98c62"),
    "bird": rgb("#7d8796"),
}


def coat_of(subject: str, colour: str | None) -> Coat:
    """What ``subject`` wears when it is ``colour``, or its natural coat."""
    return coat(PIGMENTS[colour] if colour else NATURAL.get(subject, CREAM))
