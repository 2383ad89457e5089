"""The autoencoder, and why latents: to latents and back, with noise on the way. The article's figures 21 to 23."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tintype.illustrate.autoencoding import Noised, RoundTrip
from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import bars
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, join, span
from tintype.illustrate.figures.ink import channels, heat, picture
from tintype.illustrate.figures.parts import PICTURE_BYTES, arrow
from tintype.illustrate.recording import Recording
from tintype.illustrate.strings import Strings, strings


def back_and_forth(trip: RoundTrip, others: float, words: Strings | None = None, *, own: bool = False) -> Figure:
    """Picture, encoder, latents, decoder, picture; with the map of what was lost.

    ``own``: the picture is one that the autoencoder was trained on, and not one that it painted.
    """
    s = words or strings()
    latents = say.shape(trip.latents.shape)
    worst = max(1 / 255, float(trip.error.quantile(0.995)))  # but for one pixel in two hundred
    body = div(
        "flow",
        div(
            "column",
            picture(trip.image, s.text("trip.original"), class_="result", most=PICTURE_BYTES),
            element("small", say.shape((3, trip.image.height, trip.image.width))),
        ),
        arrow(s.text("trip.encoder"), class_="gold"),
        div("tensor pink", picture(channels(trip.latents), s.text("trip.latents")), element("b", latents)),
        arrow(s.text("trip.decoder"), class_="gold"),
        div(
            "column",
            picture(trip.rebuilt, s.text("trip.restored"), class_="result", most=PICTURE_BYTES),
            element("small", f"PSNR {trip.psnr:.1f} dB"),
        ),
        div(
            "column",
            picture(heat(trip.error, "gold", worst), s.text("trip.error"), most=50_000),
            element("small", s.text("trip.error")),
        ),
    )
    values = {
        "pixels": f"{trip.numbers:,}",
        "latents": f"{trip.latent_numbers:,}",
        "ratio": f"{trip.compression:.0f}",
        "psnr": f"{trip.psnr:.1f}",
        "worst": f"{255 * worst:.0f}",
        "others": f"{others:.1f}",
    }
    caption = s.rich("trip.caption_own" if own else "trip.caption", **values)
    return Figure("autoencoder", body, caption, s.text("trip.alt", **values), (21,), values, wide=True)


def forward(trip: RoundTrip, row: Sequence[Noised], words: Strings | None = None) -> Figure:
    """The picture goes through the encoder; noise is added to its latents in known amounts; each painted below."""
    s = words or strings()
    columns = [
        div("column", picture(trip.image, s.text("trip.original"), class_="result", most=40_000)),
        arrow(s.text("trip.encoder"), class_="gold"),
    ]
    for amount, each in enumerate(row):
        label = s.text("forward.amount", amount=amount)
        how = "forward.decoded" if each.decoded else "forward.mapped"
        columns.append(
            div(
                "column",
                element("b", label),
                picture(channels(_unit(each)), label),
                element("small", f"t {each.timestep:.0f}, σ {say.number(each.sigma)}", class_="ink mint"),
                picture(each.image, s.text(how, amount=amount), class_="result", most=30_000),
            )
        )
    values = {"most": f"{row[-1].timestep:.0f}", "sigma": say.number(row[-1].sigma)}
    caption = s.rich("forward.caption" if row[-1].decoded else "forward.caption_mapped", **values)
    return Figure(
        "forward",
        div("filmstrip", columns),
        caption,
        s.text("forward.alt" if row[-1].decoded else "forward.alt_mapped", **values),
        (22,),
        values,
        wide=True,
    )


def _unit(each: Noised) -> Tensor:
    return each.x / (1 + each.sigma**2) ** 0.5


def both_ways(recording: Recording, trip: RoundTrip, row: Sequence[Noised], words: Strings | None = None) -> Figure:
    """Above, how training goes: from the picture to noise. Below, how drawing goes: from noise to the picture."""
    s = words or strings()
    above = [
        picture(trip.image, s.text("trip.original"), class_="result", most=30_000),
        arrow(s.text("trip.encoder"), class_="gold"),
    ]
    for number, each in enumerate(row):
        if number:
            above.append(span("sign", "+"))
        above.append(picture(channels(_unit(each)), s.text("forward.amount", amount=number)))
    last = len(recording.steps) - 1
    chosen = sorted({0, recording.outline_steps[0], recording.outline_steps[1], last})
    below = [
        picture(recording.image, s.text("trip.result"), class_="result", most=30_000),
        arrow(s.text("trip.decoder"), class_="gold left"),
    ]
    below.append(picture(channels(recording.latents), s.text("alt.latents")))
    for index in reversed(chosen):
        step = recording.steps[index]
        below.append(span("sign", "←"))
        below.append(picture(channels(step.x / (1 + step.sigma**2) ** 0.5), s.text("alt.step", step=index)))
    body = join(
        [
            div("way", element("h4", s.text("ways.forward")), div("flow tight", above)),
            div("way", element("h4", s.text("ways.reverse")), div("flow tight", below)),
        ]
    )
    values = {"steps": len(recording.steps), "shown": len(chosen)}
    return Figure(
        "both-ways", body, s.rich("ways.caption", **values), s.text("ways.alt", **values), (23,), values, wide=True
    )


def cost(operations: tuple[int, int] | None, recording: Recording, words: Strings | None = None) -> Figure:
    """What a step costs in latents, and what the same network would cost on pixels."""
    s = words or strings()
    if operations is None:
        none = s.rich("cost.none")
        return Figure("cost", element("p", none, class_="said"), none, s.text("cost.none"))
    small, large = operations
    unet = recording.part("unet")
    each = (unet.milliseconds or 0) / max(1, unet.calls)
    rows = [(s.text("cost.latents"), "pink", small / 1e9), (s.text("cost.pixels"), "orange", large / 1e9)]
    values = {
        "ratio": f"{large / small:.0f}",
        "small": say.count(small),
        "large": say.count(large),
        "each": say.duration(each),
        "would": say.duration(each * large / small),
        "whole": say.duration(each * large / small * unet.calls),
    }
    numbers = {"operations of a call in latents": small, "in pixels": large}
    return Figure(
        "cost", bars(rows, unit=" GFLOP"), s.rich("cost.caption", **values), s.text("cost.alt", **values), (), numbers
    )
