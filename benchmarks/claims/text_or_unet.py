"""A larger text encoder or a larger UNet: which of them makes pictures follow the words better? Two by two.

    nice -n 10 python -m benchmarks.claims.text_or_unet

Two CLIPs that differ in the text tower only, and on each two noise predictors in the same latents, all trained on as
many pictures. The judge, which has no part in training, reads what 128 pictures of unseen scenes show. The Imagen paper
(arXiv 2205.11487) found that a larger text encoder, trained on text alone, gains more than a larger UNet.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.claims.ground import (
    NEVER,
    Results,
    afresh,
    arguments,
    ground,
    pictures_by,
    print_table,
    seconds_of,
    share,
    unseen,
)
from tintype.evaluation.fidelity import asked_for, chance, right
from tintype.evaluation.intervals import bootstrap_mean
from tintype.evaluation.reader import NOT_THERE, load_judge
from tintype.evaluation.teaching import drawn
from tintype.models import TextEncoderConfig, UNetConfig
from tintype.scenes import Scene, complete
from tintype.training import Chain
from tintype.training.card import count_parameters
from tintype.training.recipes import TINY

AUTOENCODER_SEEN, CLIP_SEEN, SEEN = 4_096, 8_192, 8_192
PICTURES, STEPS = 128, 15
ATTRIBUTES = ("setting", "time", "sky", "subject", "colour", "place")
"""Those of which the scenes have more than one value."""

TEXTS: dict[str, TextEncoderConfig] = {
    "small": replace(TINY.clip.text, dim=32, num_layers=1, num_heads=1, mlp_dim=64),
    "large": replace(TINY.clip.text, dim=128, num_layers=4, num_heads=4, mlp_dim=256),
}
UNETS: dict[str, UNetConfig] = {
    "small": replace(TINY.denoiser.unet, channels=(24, 40)),
    "large": replace(TINY.denoiser.unet, channels=(56, 112)),
}
PAIRS = tuple((text, unet) for text in TEXTS for unet in UNETS)


def with_text(chain: Chain, text: str, length: float) -> Chain:
    """A run beside the chain's, on the same pictures and latents, whose CLIP has this text tower."""
    folder = chain.folder / f"text {text}"
    folder.mkdir(exist_ok=True)
    share(chain.folder, folder, "pictures", "tokenizer", "autoencoder", "latents")
    pictures = int(CLIP_SEEN * length)
    recipe = replace(
        chain.recipe.clip,
        text=TEXTS[text],
        pictures=pictures,
        batch_size=64,
        lr=1e-3,
        warmup=pictures // 16,
        cooldown=pictures // 4,
        save_every=NEVER,
    )
    own = Chain(replace(chain.recipe, clip=recipe), folder)
    list(own.clip_training(recipe))
    return own


def trained(chain: Chain, text: str, unet: str, seed: int, pictures: int) -> tuple[Chain, float]:
    """The noise predictor on these words, and the processor's seconds."""
    recipe = replace(
        chain.recipe.denoiser,
        unet=replace(UNETS[unet], context_dim=TEXTS[text].dim),
        pictures=pictures,
        warmup=pictures // 16,
        cooldown=pictures // 4,
        ema=0.98,
        seed=seed,
        save_every=NEVER,
    )
    afresh(chain.folder / "denoiser")
    own = Chain(replace(chain.recipe, denoiser=recipe), chain.folder)
    return own, seconds_of(own.denoiser_training(recipe))


def drawn_by(chain: Chain, scenes: list[Scene]) -> Tensor:
    """Its pictures of the full captions, the same noise for each arm: (n 3 H W)."""
    return pictures_by(chain, [complete(scene) for scene in scenes], STEPS, scale=4.0)


def measure(chain: Chain, results: Results, length: float, seeds: int) -> None:
    """A row for each pair and seed, with the share of its attributes that each picture shows."""
    judge, scenes = load_judge(), unseen(PICTURES)
    labels = {name: known for name, known in asked_for(scenes).items() if name in ATTRIBUTES}

    def shares(pixels: Tensor) -> list[float]:
        hits = right(judge, pixels, labels)
        there = torch.stack([labels[name] != NOT_THERE for name in ATTRIBUTES])
        shown = torch.stack([hits[name] for name in ATTRIBUTES]) & there
        return [round(share, 4) for share in (shown.sum(0) / there.sum(0)).tolist()]

    pictures = drawn(scenes, chain.recipe.size)
    results.add("drawn", {"shares": shares(pictures)})
    if not (chain.folder / "latents").exists():
        crops = int(AUTOENCODER_SEEN * length)
        list(chain.autoencoder_training(replace(chain.recipe.autoencoder, pictures=crops, cooldown=crops // 3)))
        list(chain.cache_latents())
    with torch.no_grad():
        model = chain.autoencoder().eval()
        through = model.decode(model.encode(pictures).mean).clamp(-1, 1)
    results.add("drawn, through the autoencoder", {"shares": shares(through)})
    for text in TEXTS:
        own = with_text(chain, text, length)
        for unet in UNETS:
            for seed in range(seeds):
                key = f"text {text}, UNet {unet}, seed {seed}"
                if key in results.rows:
                    continue
                made, seconds = trained(own, text, unet, seed, int(SEEN * length))
                row = {"text": text, "unet": unet, "seconds": round(seconds, 1)}
                row |= {
                    "text parameters": count_parameters(made.text_encoder()),
                    "unet parameters": count_parameters(made.unet()),
                }
                results.add(key, row | {"shares": shares(drawn_by(made, scenes))})


def averaged(results: Results) -> dict[tuple[str, str], list[float]]:
    """Of each pair, the shares of each prompt, over seeds."""
    found = {}
    for pair in PAIRS:
        rows = [row["shares"] for row in results.rows.values() if (row.get("text"), row.get("unet")) == pair]
        found[pair] = [sum(each) / len(each) for each in zip(*rows, strict=True)]
    return found


def percent(shares: list[float], sign: str = "") -> str:
    """The mean, and its 95 % interval over prompts."""
    low, high = bootstrap_mean(shares)
    return f"{100 * sum(shares) / len(shares):{sign}.1f} % ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def show(results: Results) -> None:
    """The table of the four, and what each enlargement gains, on the same prompts."""
    rows = []
    for key, row in results.rows.items():
        sizes = [f"{row[name]:,}" if name in row else "" for name in ("text parameters", "unet parameters")]
        rows.append((key, *sizes, row.get("seconds", ""), percent(row["shares"])))
    guess = sum(chance(name, TINY.vocabulary) for name in ATTRIBUTES) / len(ATTRIBUTES)
    rows.append(("a guess", "", "", "", f"{guess:.1%}"))
    print_table(("", "text parameters", "UNet parameters", "processor seconds", "attributes shown"), rows)
    found = averaged(results)
    four = zip(*(found[pair] for pair in PAIRS), strict=True)  # of each prompt: ss, sl, ls, ll; text first
    effects = [((ls + ll - ss - sl) / 2, (sl + ll - ss - ls) / 2) for ss, sl, ls, ll in four]
    by_text, by_unet = (list(each) for each in zip(*effects, strict=True))
    print_table(
        ("enlarged", "gain, in attributes shown"),
        [("text encoder", percent(by_text, "+")), ("UNet", percent(by_unet, "+"))],
    )


def plot(results: Results, path: Path) -> None:
    """The four with their intervals, beside a guess and the autoencoder's limit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    found = averaged(results)
    for text, colour in zip(TEXTS, ("#888888", "#3465a4"), strict=True):
        shares = [found[text, unet] for unet in UNETS]
        means = [100 * sum(each) / len(each) for each in shares]
        ends = [bootstrap_mean(each) for each in shares]
        below = [m - 100 * low for m, (low, _) in zip(means, ends, strict=True)]
        above = [100 * high - m for m, (_, high) in zip(means, ends, strict=True)]
        axes.errorbar(
            range(len(UNETS)), means, (below, above), marker="o", capsize=3, color=colour, label=f"{text} text encoder"
        )
    limit = results.rows["drawn, through the autoencoder"]["shares"]
    axes.axhline(100 * sum(limit) / len(limit), color="#4e9a06", linestyle=":", label="drawn, through the autoencoder")
    guess = sum(chance(name, TINY.vocabulary) for name in ATTRIBUTES) / len(ATTRIBUTES)
    axes.axhline(100 * guess, color="#a40000", linestyle=":", label="a guess")
    axes.set_xticks(range(len(UNETS)), [f"{unet} UNet" for unet in UNETS])
    axes.set_xlim(-0.4, len(UNETS) - 0.6)
    axes.set_ylim(0, 100)
    axes.set_ylabel("attributes shown, %")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def main() -> None:
    asked = arguments("text-or-unet", __doc__)
    results = Results(asked.output)
    measure(ground(asked.folder), results, asked.length, asked.seeds)
    show(results)
    plot(results, asked.plot)


if __name__ == "__main__":
    main()
