"""``run.html``: what a run is and how it goes, one page that opens anywhere, rewritten whenever a state is saved."""

from __future__ import annotations

import base64
import io
import json
from datetime import timedelta
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from tintype.training.loop import Progress, Training
from tintype.training.watching.curves import Curve, Log, read_log
from tintype.training.watching.provenance import RECIPE, read_starts
from tintype.training.watching.watcher import read_about, replaced, sheets_of

PAGE = "run.html"
SHEETS_SHOWN = 9
SHEET_WIDTH, SHEET_QUALITY = 720, 82
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 170, 62, 22

STYLE = files("tintype.training.watching").joinpath("run.css").read_text(encoding="utf-8")


class PageWriter:
    """Keeps ``run.html`` of a run's folder true: as the training begins, at each state that it saves, at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._saved = 0

    def begin(self, training: Training) -> None:
        """Tells that it has begun."""
        self._saved = training.saved
        write_run_page(self.folder)

    def after(self, training: Training, progress: Progress) -> None:
        """Written anew when a state was."""
        if training.saved != self._saved:
            self._saved = training.saved
            write_run_page(self.folder)

    def end(self, training: Training) -> None:
        """The last state, and the last sheet."""
        write_run_page(self.folder)


def write_run_page(folder: Path) -> Path:
    """The page of a run: its folder is a training's own, or has those of several stages in it."""
    stages = stages_of(folder)
    recipe = folder / RECIPE
    parts = [_stage(each) for each in stages]
    if recipe.exists():
        parts.append(_folded("The recipe of the whole run", recipe.read_text(encoding="utf-8")))
    name = folder.resolve().name
    html = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}: a training</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(name)}</h1>\n<p class="faint">A training by Tintype, as it stood when it last saved.</p>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    with replaced(folder / PAGE) as beside:
        beside.write_text(html, encoding="utf-8")
    return folder / PAGE


def stages_of(folder: Path) -> list[Path]:
    """The folders of trainings in a run's folder, in the order in which they were begun; itself, where it is one."""
    found = [each.parent for each in (*folder.glob("training.json"), *folder.glob("*/training.json"))]
    return sorted(found, key=lambda each: (read_starts(each)[0]["when"], each.name))


def _stage(folder: Path) -> str:
    starts, log = read_starts(folder), read_log(folder)
    last = starts[-1]
    aim = last["recipe"]["pictures"]
    parts = [f'<section id="{escape(folder.name)}"><h2>{escape(folder.name)}</h2>', _counts(log, aim, last)]
    if log is not None:
        drawn = [chart(curve, aim) for curve in log.curves.values() if len(set(curve.values)) > 1]
        parts.append(f'<div class="curves">{"".join(drawn)}</div>')
    parts.append(_sheets(folder))
    parts.append(_folded("Recipe", json.dumps(last["recipe"], ensure_ascii=False, indent=1)))
    parts.append(_folded("Environment", json.dumps(last["environment"], indent=1)))
    begun = [f"{each['when']}  after {each['seen']:,} pictures" for each in starts]
    parts.append(_folded("Starts", "\n".join(begun)))
    return "\n".join(parts) + "</section>"


def _counts(log: Log | None, aim: int, start: dict[str, Any]) -> str:
    data = start["data"]
    rows = {
        "pictures seen": f"{log.seen if log else 0:,} of {aim:,}",
        "in the data": f"{data.get('pictures', data['visits']):,}",
        "updates": f"{log.steps if log else 0:,}",
        "left out": f"{log.skipped if log else 0:,}",
        "time": str(timedelta(seconds=round(log.seconds if log else 0))),
        "parameters": f"{start['parameters']:,}",
        "seed": str(start["recipe"].get("seed", "")),
    }
    if "listing_sha256" in data:
        rows["listing of the data, SHA-256"] = data["listing_sha256"][:12] + "…"
    return (
        "<dl>"
        + "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in rows.items())
        + "</dl>"
    )


def chart(curve: Curve, aim: int) -> str:
    """One curve with its least and largest value, over the pictures of the whole training."""
    least, largest = min(curve.values), max(curve.values)
    span = (largest - least) or 1.0
    points = " ".join(
        f"{LEFT + (WIDTH - LEFT - 8) * seen / max(aim, curve.seen[-1]):.1f},"
        f"{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 10) * (value - least) / span:.1f}"
        for seen, value in zip(curve.seen, curve.values, strict=True)
    )
    name = escape(curve.name.replace("_", " "))
    told = f"{name}: {curve.values[0]:.4g} at the beginning, {curve.values[-1]:.4g} after {curve.seen[-1]:,} pictures"
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{told}</title>'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 8}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{LEFT - 6}" y="14" text-anchor="end">{largest:.3g}</text>'
        f'<text x="{LEFT - 6}" y="{HEIGHT - BOTTOM}" text-anchor="end">{least:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">0</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 6}" text-anchor="end">{max(aim, curve.seen[-1]):,} pictures</text>'
        f'<polyline class="curve" points="{points}"/></svg><figcaption>{told}</figcaption></figure>'
    )


def _sheets(folder: Path) -> str:
    about, found = read_about(folder), sheets_of(folder)
    if not found:
        return ""
    shown = spread(found, SHEETS_SHOWN)
    figures = []
    for seen, path in shown:
        said = measured(about.get("sheets", {}).get(str(seen), {}))
        told = f"after {seen:,} pictures{': ' + said if said else ''}"
        figures.append(
            f'<figure><img src="{_embedded(path)}" alt="{escape(told)}">'
            f"<figcaption>{escape(told)}</figcaption></figure>"
        )
    left = f" {len(shown)} of {len(found)} sheets; all are in {folder.name}/sheets." if len(shown) < len(found) else ""
    words = "\n".join(f"{n}. {text}" for n, text in enumerate(about.get("prompts", about.get("captions", [])), 1))
    said = f'<p class="faint">{escape(KINDS.get(about.get("kind", ""), "") + left)}</p>'
    return said + f'<div class="sheets">{"".join(figures)}</div>' + (_folded("Words", words) if words else "")


def measured(values: dict[str, Any]) -> str:
    """What was measured on a sheet, in words."""
    if "found" in values:
        return f"{values['found']} of {values['of']} find their caption"
    return f"PSNR {values['psnr']:.1f} dB" if "psnr" in values else ""


KINDS = {
    "paintings": "Painted by the averaged weights, each prompt from a seed of its own.",
    "reconstructions": "Pictures, what the autoencoder makes of them, and four times the difference.",
    "similarities": "Pictures down the side, captions across; light is alike, pairs are on the diagonal.",
}


def spread(found: list[tuple[int, Path]], most: int) -> list[tuple[int, Path]]:
    """At most so many, evenly chosen, the first and the last among them."""
    if len(found) <= most:
        return found
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]


def _embedded(path: Path) -> str:
    image = Image.open(path).convert("RGB")
    if image.width > SHEET_WIDTH:
        image = image.resize((SHEET_WIDTH, round(image.height * SHEET_WIDTH / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=SHEET_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
