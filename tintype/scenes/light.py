"""The light of a scene: what the time of day and the weather do to every colour."""

from dataclasses import dataclass, replace

import numpy as np

from tintype.scenes.colours import BLACK, RGB, mix, multiply, rgb

SNOW = rgb("#f4f8ff")


@dataclass(frozen=True)
class Light:
    """The colours of the air, and what falls on things.

    ``haze`` veils what is far, ``ground`` and ``subject`` multiply the colours of land and subject, ``rim`` outlines
    the subject, ``sun`` is where sun or moon stands and ``shine`` its colour, ``mirror`` how much sky the water shows,
    ``snow`` how much of the land is covered, ``glitter`` how bright the sun's path on the water is.
    """

    top: RGB
    middle: RGB
    horizon: RGB
    haze: RGB
    ground: RGB
    subject: RGB
    rim: RGB
    rim_strength: float
    lamps: bool
    sun: tuple[float, float]
    shine: RGB
    mirror: float
    snow: float = 0.0
    glitter: float = 1.0

    def on_ground(self, colour: RGB) -> RGB:
        """A colour of the land in this light, under what snow lies on it."""
        return multiply(mix(colour, SNOW, self.snow), self.ground)

    def on_subject(self, colour: RGB) -> RGB:
        """A colour of the subject in this light, which is kinder than that on the land."""
        return multiply(colour, self.subject)


LIGHTS = {
    "day": Light(
        top=rgb("#2a8bea"),
        middle=rgb("#72c0f6"),
        horizon=rgb("#d9f2fb"),
        haze=rgb("#cfe9f7"),
        ground=(1.0, 1.0, 1.0),
        subject=(1.0, 1.0, 1.0),
        rim=rgb("#ffffff"),
        rim_strength=0.55,
        lamps=False,
        sun=(0.85, 0.14),
        shine=rgb("#fffbe0"),
        mirror=0.5,
    ),
    "sunrise": Light(
        top=rgb("#8db4ec"),
        middle=rgb("#f6bfd2"),
        horizon=rgb("#fff0b8"),
        haze=rgb("#fbdcd2"),
        ground=(1.0, 0.88, 0.87),
        subject=(1.0, 0.95, 0.93),
        rim=rgb("#fff6d8"),
        rim_strength=0.7,
        lamps=False,
        sun=(0.2, 0.53),
        shine=rgb("#fff6c4"),
        mirror=0.7,
    ),
    "sunset": Light(
        top=rgb("#43206e"),
        middle=rgb("#d63e68"),
        horizon=rgb("#ff9e38"),
        haze=rgb("#e8744e"),
        ground=(0.88, 0.63, 0.64),
        subject=(0.96, 0.82, 0.78),
        rim=rgb("#ffc070"),
        rim_strength=0.8,
        lamps=True,
        sun=(0.78, 0.52),
        shine=rgb("#ffdc6a"),
        mirror=0.85,
    ),
    "night": Light(
        top=rgb("#050a26"),
        middle=rgb("#101d4e"),
        horizon=rgb("#2a417c"),
        haze=rgb("#22356a"),
        ground=(0.38, 0.47, 0.8),
        subject=(0.83, 0.84, 0.96),
        rim=rgb("#9cc4ff"),
        rim_strength=0.85,
        lamps=True,
        sun=(0.14, 0.14),
        shine=rgb("#cfdcff"),
        mirror=0.5,
    ),
}

OVERCAST = {  # sky: (veil by day, how much of it, how much darker the land)
    "clear": (rgb("#000000"), 0.0, 1.0),
    "rainbow": (rgb("#9db4d0"), 0.12, 1.0),
    "cosmic": (rgb("#000000"), 0.0, 0.95),
    "cloudy": (rgb("#b4c2d4"), 0.38, 0.92),
    "rain": (rgb("#5d6c80"), 0.68, 0.74),
    "snow": (rgb("#a9b8cd"), 0.62, 0.94),
}

SNOW_COVER = 0.42
GLITTER = {"rain": 0.0, "snow": 0.0, "cloudy": 0.6}
VEIL_LIGHT = {"day": 1.0, "sunrise": 0.95, "sunset": 0.6, "night": 0.3}
COSMIC_TOP, COSMIC_MIDDLE = rgb("#1c0d4a"), rgb("#6a2fa8")


def light_of(time: str, sky: str, rng: np.random.Generator) -> Light:
    """The light at a time of day under a sky; ``rng`` moves the sun a little."""
    light = LIGHTS[time]
    x, y = light.sun
    sun = (x + rng.uniform(-0.05, 0.05), y + rng.uniform(-0.02, 0.02))
    veil, share, dim = OVERCAST[sky]
    veil = mix(BLACK, veil, VEIL_LIGHT[time])
    if sky == "cosmic":
        night = time == "night"
        light = replace(
            light,
            top=mix(light.top, COSMIC_TOP, 0.85),
            middle=mix(light.middle, COSMIC_MIDDLE, 0.35 if night else 0.6),
        )
    return replace(
        light,
        top=mix(light.top, veil, share),
        middle=mix(light.middle, veil, share * 0.95),
        horizon=mix(light.horizon, veil, share * 0.6),
        haze=mix(light.haze, veil, share * 0.6),
        ground=multiply(light.ground, (dim, dim, dim)),
        sun=sun,
        snow=SNOW_COVER if sky == "snow" else 0.0,
        glitter=GLITTER.get(sky, 1.0),
    )
