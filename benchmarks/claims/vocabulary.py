"""Which vocabulary does the compute allow? Prompt fidelity of the whole one after 15,000, 50,000 and 150,000 pictures.

    nice -n 10 python -m benchmarks.claims.vocabulary

The recipe "full" knows all that the painter can draw: 10 settings, 20 subjects, up to three of some, 3 styles. Its
noise predictor is trained once; on the way a branch leaves it for every smaller count and cools down there, so that
each of them is a training of its length whose last third cools down. The autoencoder begins as the box's. The judge
reads what the pictures of each group show; what it misses is followed, as a power of the pictures seen, to where nobody
has been yet.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims.ground import Results, arguments, print_table, share
from tintype.checkpoints.load import BOX
from tintype.evaluation.examined import Curriculum, Examined
from tintype.evaluation.fidelity import ALL, fidelity_figures
from tintype.evaluation.groups import PAIR, SEEN, WHOLE, Group, draw_groups
from tintype.evaluation.reader import load_judge
from tintype.training import CHAINS, Chain

COUNTS = (15_000, 50_000, 150_000)
FOLLOWED_TO = 1_500_000
PROMPTS = 256
BARS = {"setting": 85, "time": 85, "weather": 85, "style": 85, "subject": 70, "colour": 65, "place": 50}
"""Per cent of what the judge reaches on drawn scenes, wanted for combinations that are new as a whole."""

ATTRIBUTES = (*BARS, "number", ALL)
COLOURS = {SEEN: "#888888", WHOLE: "#3465a4", PAIR: "#ce5c00"}


def prepared(folder: Path, length: float) -> Chain:
    """Pictures, words, CLIP, autoencoder and latents; what is there is not made again."""
    chain = Chain(CHAINS["full"], folder / "run")
    recipe = chain.recipe
    list(chain.draw_pictures())
    chain.tokenizer()
    list(chain.clip_training(shortened(recipe.clip, length)))
    autoencoder = replace(recipe.autoencoder, begin=str(BOX), pictures=20_000, lr=5e-4, warmup=400, cooldown=12_000)
    list(chain.autoencoder_training(shortened(autoencoder, length)))
    list(chain.cache_latents())
    return chain


def shortened(recipe: Any, length: float) -> Any:
    """Of the usual length a part, and of its warming up and cooling down."""
    dials = ("pictures", "warmup", "cooldown")
    return replace(recipe, **{dial: int(getattr(recipe, dial) * length) for dial in dials})


def trained(chain: Chain, length: float) -> Iterator[tuple[int, Chain]]:
    """The run of every count, the largest last: it is the one that the others leave."""
    recipe = shortened(chain.recipe.denoiser, length)
    counts = [int(count * length) for count in COUNTS]
    for count in counts[:-1]:
        begin = (count - count // 3) // recipe.batch_size * recipe.batch_size
        branch = Chain(chain.recipe, chain.folder.with_name(f"at-{count}"))
        if not branch.folder.exists():
            list(chain.denoiser_training(replace(recipe, pictures=begin, cooldown=0)))
            branch.folder.mkdir()
            share(chain.folder, branch.folder, "pictures", "tokenizer", "clip", "autoencoder", "latents")
            shutil.copytree(chain.folder / "denoiser", branch.folder / "denoiser")
        list(branch.denoiser_training(replace(recipe, pictures=count, cooldown=count - begin)))
        yield count, branch
    list(chain.denoiser_training(replace(recipe, pictures=counts[-1])))
    yield counts[-1], chain


def fidelity(chain: Chain, folder: Path) -> dict[str, dict[str, Any]]:
    """Of every group and attribute: how many of how many were right, and what the judge reaches on drawn scenes."""
    recipe, model = chain.recipe, chain.model()
    model.speed()
    examined = Examined(folder.name, model, Curriculum(recipe.seed, recipe.pictures, recipe.vocabulary), None)
    judge, found = load_judge(), {}
    for news in draw_groups(examined, PROMPTS, folder):
        if isinstance(news, Group):
            for figure in yielded(fidelity_figures(examined, news, judge)):
                found[figure.name] = {"share": figure.value, "of": figure.of, **figure.beside}
    return found


def yielded(work: Any) -> Any:
    """What a piece of work returns."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def measured(results: Results, name: str, group: str) -> tuple[list[int], list[float]]:
    """The counts, and at each the share of what is reached on drawn scenes."""
    counts = sorted(map(int, results.rows))
    rows = [results.rows[str(count)][f"{name}, {group}"] for count in counts]
    return counts, [row["share"] / row["drawn"] for row in rows]


def followed(counts: list[int], shares: list[float], to: np.ndarray) -> np.ndarray:
    """What is missed, as a power of the pictures seen, fitted to the logarithms; never less than half a picture."""
    missed = np.maximum(1 - np.array(shares), 0.5 / PROMPTS)
    slope, start = np.polyfit(np.log(counts), np.log(missed), 1)
    return np.clip(1 - np.exp(start + slope * np.log(to)), 0, 1)


def show(results: Results) -> None:
    """For each attribute and group its shares, and where they lead."""
    counts = sorted(map(int, results.rows))
    for group in COLOURS:
        rows = []
        for name in ATTRIBUTES:
            at, shares = measured(results, name, group)
            (far,) = followed(at, shares, np.array([FOLLOWED_TO]))
            drawn = results.rows[str(at[-1])][f"{name}, {group}"]["drawn"]
            bar = f"{BARS[name]} %" if name in BARS else ""
            rows.append((name, bar, *(f"{share:.0%}" for share in (*shares, far, drawn))))
        header = (group, "bar", *(f"{count:,}" for count in counts), f"followed to {FOLLOWED_TO:,}", "judge, drawn")
        print_table(header, rows)


def plot(results: Results, path: Path) -> None:
    """A panel for each attribute."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = figure.subplots(3, 3, sharex=True, sharey=True)
    for axes, name in zip(panels.flat, ATTRIBUTES, strict=True):
        for group, colour in COLOURS.items():
            counts, shares = measured(results, name, group)
            beyond = np.geomspace(counts[-1], FOLLOWED_TO, 20)
            axes.plot(counts, 100 * np.array(shares), marker="o", color=colour, label=group)
            axes.plot(beyond, 100 * followed(counts, shares, beyond), linestyle="--", linewidth=1, color=colour)
        if name in BARS:
            axes.axhline(BARS[name], color="#a40000", linestyle=":", linewidth=1)
        axes.set_title(name, fontsize=10)
        axes.set_xscale("log")
        axes.set_ylim(0, 110)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("pictures seen by the noise predictor")
    figure.supylabel("shown, % of what the judge reads from drawn scenes")
    panels.flat[-1].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=100)


def main() -> None:
    asked = arguments("vocabulary", __doc__)
    results = Results(asked.output)
    for count, chain in trained(prepared(asked.folder, asked.length), asked.length):
        if str(count) not in results.rows:
            results.add(str(count), fidelity(chain, asked.folder / f"pictures-{count}"))
    show(results)
    plot(results, asked.plot)


if __name__ == "__main__":
    main()
