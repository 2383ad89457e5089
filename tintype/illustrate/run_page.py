"""The page: a story in the article's order, told with the figures of one run, as one HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tintype.illustrate.after import After, look_after
from tintype.illustrate.decoding import decode_steps
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.ink import Film, picture, sheets
from tintype.illustrate.recording import Recording
from tintype.illustrate.story import Chapter, chapters, recap
from tintype.illustrate.strings import Strings, strings
from tintype.illustrate.trials import Inputs, is_slow
from tintype.images import Source

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

PAINTED = 16
"""The most latents of steps that are painted in full; fewer after a slow run."""

SHEET_BYTES = {"estimate": 700_000, "layers": 300_000}
OTHER_SHEETS = 240_000
"""The most that the sheet of a film takes; base64 adds a third. All together the page stays under 6 MB."""


@dataclass(frozen=True)
class Page:
    """The finished page, and the numbers that are in it."""

    html: str
    numbers: dict[str, Any]

    def save(self, place: str | Path) -> Path:
        """Write the page."""
        place = Path(place).expanduser()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(self.html, encoding="utf-8")
        return place


def illustrate(
    sd: StableDiffusion,
    prompt: str,
    *,
    image: Source | None = None,
    mask: Source | None = None,
    language: str = "en",
    full: bool = False,
    dials: bool = False,
    other: str | None = None,
    progress: Callable[[str], None] | None = None,
    **settings: Any,
) -> Page:
    """Draw a picture and the page of how it was made.

    Args:
        sd: the model.
        prompt: what to draw.
        image: a picture to begin from; with ``mask``, of which the white part is repainted.
        mask: see ``image``.
        language: "en" or "zh".
        full: without the bound of 6 MB.
        dials: also sweep numbers of steps and guidance scales, and draw ``other`` on the same seed.
        other: the prompt to show beside this one.
        progress: is told the name of each stage before it begins.
        settings: the fields of ``Settings``.
    """
    from tintype.illustrate.recorder import record
    from tintype.pipeline.settings import Settings

    strings(language)  # an unknown language is told before anything is drawn
    run = sd.run(Settings(prompt=prompt, **settings), image=image, mask=mask)
    recorder = record(run)
    (progress or (lambda name: None))("run")
    for _ in run:
        pass
    recording = recorder.recording(decode=1)
    few = max(3, min(PAINTED, len(run) // 6))
    recording = decode_steps(sd, recording, few if is_slow(recording) else PAINTED)
    found = look_after(sd, recording, Inputs(image, mask), dials=dials, other=other, progress=progress)
    return page(recording, found, language=language, full=full)


def page(recording: Recording, after: After | None = None, *, language: str = "en", full: bool = False) -> Page:
    """The page of a recording; with what was found ``after`` the run, if anything."""
    s = strings(language)
    told = chapters(recording, after, s)
    facts = _facts(recording, s)
    return Page(
        render("page.html", s, told, full, recap=recap(recording, after, s), **facts), _numbers(recording, told)
    )


def render(template: str, s: Strings, told: list[Chapter], full: bool, **facts: Any) -> str:
    """A page of chapters: the sheets of its films, what the script knows, and a policy that lets nothing else run."""
    figures = [figure for chapter in told for figure in chapter.figures]
    style, script = Markup(_asset("figures.css") + _asset("page.css")), Markup(_asset("page.js"))
    return (
        _environment()
        .get_template(template)
        .render(
            **facts,
            s=s,
            language=s.language,
            chapters=told,
            sheets=_sheets(figures, full),
            data=_json(figures, s),
            style=style,
            script=script,
            policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'",
        )
    )


def _facts(recording: Recording, s: Strings) -> dict[str, Any]:
    """What the head and the foot of the page say."""
    made = s.rich(
        "page.made",
        model=recording.model_name or "–",
        seed=recording.seed,
        steps=len(recording.steps),
        sampler=recording.settings.sampler,
        guidance=f"{recording.guidance_scale:g}",
    )
    return {
        "prompt": recording.prompt,
        "steps": len(recording.steps),
        "notices": recording.notices,
        "picture": picture(recording.image, s.text("alt.result", prompt=recording.prompt), most=110_000),
        "made": made,
        "settings": json.dumps(recording.settings.to_dict(), ensure_ascii=False, indent=1),
    }


def _sheets(figures: list[Figure], full: bool) -> Markup:
    """The sheets of all films, once each."""
    films: dict[str, Film] = {}
    for figure in figures:
        films |= figure.films
    return sheets(films, {} if full else {name: SHEET_BYTES.get(name, OTHER_SHEETS) for name in films})


def _json(figures: list[Figure], s: Strings) -> Markup:
    """What the script knows. "<" is written as an escape, so that no text can end the element."""
    data: dict[str, Any] = {figure.name: figure.data for figure in figures if figure.data}
    data["strings"] = {"decoded": s.text("player.decoded"), "preview": s.text("player.preview")}
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _numbers(recording: Recording, told: list[Chapter]) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {
        "prompt": recording.prompt,
        "seed": recording.seed,
        "model": recording.model_name,
        "settings": recording.settings.to_dict(),
        "parts": chapter_numbers(told),
    }


def chapter_numbers(told: list[Chapter]) -> dict[str, Any]:
    """The numbers of all figures, by chapter and name."""
    return {
        chapter.name: {
            figure.name: {"caption": figure.caption.striptags(), "alt": figure.alt, **figure.numbers}
            for figure in chapter.figures
        }
        for chapter in told
    }


@cache
def _environment() -> Environment:
    loader = PackageLoader("tintype.illustrate", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)


@cache
def _asset(name: str) -> str:
    return files("tintype.illustrate").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source of the page's policy: only this text may be applied or run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
