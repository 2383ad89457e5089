"""From a live run to the illustrated article: what happened inside, for any prompt and any model.

    recorder = record(run)
    for step in run: ...
    recording = recorder.recording()
    page(recording).save("beach.html")

or all in one, with what is tried after the run: ``illustrate(sd, "paradise cosmic beach").save("beach.html")``.

The names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tintype.illustrate.after import After, look_after
    from tintype.illustrate.agreement import Agreement, AgreementStep, learn_to_agree
    from tintype.illustrate.autoencoding import Noised, RoundTrip, forward_row, round_trip
    from tintype.illustrate.decoding import decode_steps
    from tintype.illustrate.figures.figure import Figure
    from tintype.illustrate.heat_maps import HeatMaps, LayerHeat, StepHeat
    from tintype.illustrate.learning import (
        LearningStep,
        NoisyExample,
        TrainingRow,
        learning_step,
        row_latents,
        training_examples,
        training_rows,
    )
    from tintype.illustrate.recorder import Recorder, record
    from tintype.illustrate.recording import (
        Decoded,
        Equation,
        LayerRecord,
        PartFacts,
        RecordedStep,
        Recording,
        Term,
        Token,
    )
    from tintype.illustrate.run_page import Page, illustrate, page
    from tintype.illustrate.training_page import illustrate_training, training_page
    from tintype.illustrate.training_run import TrainingRun, read_run

_HOMES = {
    **dict.fromkeys(("Agreement", "AgreementStep", "learn_to_agree"), "tintype.illustrate.agreement"),
    **dict.fromkeys(("Noised", "RoundTrip", "forward_row", "round_trip"), "tintype.illustrate.autoencoding"),
    **dict.fromkeys(("decode_steps",), "tintype.illustrate.decoding"),
    **dict.fromkeys(("Figure",), "tintype.illustrate.figures.figure"),
    **dict.fromkeys(("Page", "illustrate", "page"), "tintype.illustrate.run_page"),
    **dict.fromkeys(("After", "look_after"), "tintype.illustrate.after"),
    **dict.fromkeys(("HeatMaps", "LayerHeat", "StepHeat"), "tintype.illustrate.heat_maps"),
    **dict.fromkeys(
        (
            "LearningStep",
            "NoisyExample",
            "TrainingRow",
            "learning_step",
            "row_latents",
            "training_examples",
            "training_rows",
        ),
        "tintype.illustrate.learning",
    ),
    **dict.fromkeys(("Recorder", "record"), "tintype.illustrate.recorder"),
    **dict.fromkeys(
        ("Decoded", "Equation", "LayerRecord", "PartFacts", "RecordedStep", "Recording", "Term", "Token"),
        "tintype.illustrate.recording",
    ),
    **dict.fromkeys(("illustrate_training", "training_page"), "tintype.illustrate.training_page"),
    **dict.fromkeys(("TrainingRun", "read_run"), "tintype.illustrate.training_run"),
}

__all__ = [
    "After",
    "Agreement",
    "AgreementStep",
    "Decoded",
    "Equation",
    "Figure",
    "HeatMaps",
    "LayerHeat",
    "LayerRecord",
    "LearningStep",
    "Noised",
    "NoisyExample",
    "Page",
    "PartFacts",
    "RecordedStep",
    "Recorder",
    "Recording",
    "RoundTrip",
    "StepHeat",
    "Term",
    "Token",
    "TrainingRow",
    "TrainingRun",
    "decode_steps",
    "forward_row",
    "illustrate",
    "illustrate_training",
    "learn_to_agree",
    "learning_step",
    "look_after",
    "page",
    "read_run",
    "record",
    "round_trip",
    "row_latents",
    "training_examples",
    "training_page",
    "training_rows",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tintype.illustrate' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next time it is there
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
