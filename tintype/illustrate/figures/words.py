"""What the text encoder reads, and what it says: tokens, the strip of their vectors, how alike they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from markupsafe import Markup

from tintype.illustrate.figures import numbers as say
from tintype.illustrate.figures.charts import matrix
from tintype.illustrate.figures.figure import Figure
from tintype.illustrate.figures.html import div, element, span
from tintype.illustrate.figures.ink import picture, strip
from tintype.illustrate.recording import Recording, Token
from tintype.illustrate.strings import Strings, strings

MOST_CHIPS = 160
MOST_IN_MATRIX = 14


def tokens(recording: Recording, words: Strings | None = None) -> Figure:
    """Every position that the text encoder reads, with its id; what was weighted, cut into chunks, or left out."""
    s = words or strings()
    chips = []
    for chunk in sorted({token.chunk for token in recording.tokens}):
        inside = [token for token in recording.tokens if token.chunk == chunk]
        padding = [token for token in inside if token.kind == "padding"]
        shown = [_chip(s, token) for token in inside if token.kind != "padding"]
        if padding:
            shown.append(
                span("chip padding", element("b", f"+{len(padding)}"), element("small", s.text("tokens.padding")))
            )
        chips.append(div("chips", shown[:MOST_CHIPS], role="list"))
    if recording.cut:
        lost = [_chip(s, token, "cut") for token in recording.cut[:MOST_CHIPS]]
        chips.append(div("chips", element("small", s.text("tokens.cut")), lost, role="list"))
    pieces = sum(token.kind == "word" for token in recording.tokens)
    values = {
        "pieces": pieces,
        "words": len(recording.words),
        "positions": len(recording.tokens),
        "padding": sum(token.kind == "padding" for token in recording.tokens),
        "chunks": len(chips) - bool(recording.cut),
        "cut": len(recording.cut),
    }
    caption = s.rich("tokens.caption", **values)
    if len({token.chunk for token in recording.tokens}) > 1:
        caption += Markup(" ") + s.rich("tokens.chunks", **values)
    if any(token.weight != 1 for token in recording.tokens):
        caption += Markup(" ") + s.rich("tokens.weights")
    table = [[token.text, token.id, token.kind, token.weight] for token in recording.tokens if token.kind != "padding"]
    return Figure("tokens", div("tokens", chips), caption, s.text("tokens.alt", **values), (4,), {"tokens": table})


def _chip(s: Strings, token: Token, extra: str = "") -> Markup:
    kind = extra or token.kind
    text = token.text if token.kind == "word" else s.text(f"tokens.{token.kind}")
    weight = span("weight", f"×{token.weight:g}") if token.weight != 1 else None
    open_ended = token.kind == "word" and not token.text.endswith(" ")
    return span(
        f"chip {kind}{' piece' if open_ended else ''}",
        element("b", text.strip() or text),
        weight,
        element("small", token.id),
        role="listitem",
    )


def embedding(recording: Recording, words: Strings | None = None) -> Figure:
    """The token vectors as a strip: a row for each position, a column for each number."""
    s = words or strings()
    context = recording.context
    assert context is not None
    shown = [token for token in recording.tokens if token.kind != "padding"][:24]
    rows = torch.stack([context[token.position].float() for token in shown])
    labels = [token.text.strip() if token.kind == "word" else s.text(f"tokens.{token.kind}") for token in shown]
    body = div(
        "embedding",
        element("ol", [element("li", label) for label in labels]),
        picture(strip(rows, "blue", 256), s.text("alt.context"), class_="strip"),
    )
    values = {
        "shape": say.shape(context.shape),
        "dim": context.shape[1],
        "numbers": f"{context.numel():,}",
    }
    return Figure(
        "embedding", body, s.rich("embedding.caption", **values), s.text("embedding.alt", **values), (4, 7), values
    )


def likeness(recording: Recording, words: Strings | None = None) -> Figure:
    """How alike the token vectors are: the cosine of each with each."""
    s = words or strings()
    context = recording.context
    assert context is not None
    shown = [token for token in recording.tokens if token.kind != "padding"][:MOST_IN_MATRIX]
    padding = [token for token in recording.tokens if token.kind == "padding"][:1]
    rows = torch.stack([context[token.position].float() for token in (*shown, *padding)])
    cosines = F.normalize(rows, dim=-1) @ F.normalize(rows, dim=-1).T
    labels = [
        token.text.strip() if token.kind == "word" else s.text(f"tokens.{token.kind}") for token in (*shown, *padding)
    ]
    apart = cosines - 2 * torch.eye(len(cosines))
    place = int(apart.argmax())
    nearest = (labels[place // len(labels)], labels[place % len(labels)])
    values = {"one": nearest[0], "other": nearest[1], "cosine": say.number(float(apart.max()), 2)}
    body = div("scroll", matrix(cosines, labels, labels, alt=s.text("likeness.alt", **values)))
    numbers = values | {"labels": labels, "cosines": [[round(v, 4) for v in row] for row in cosines.tolist()]}
    return Figure("likeness", body, s.rich("likeness.caption", **values), s.text("likeness.alt", **values), (), numbers)
