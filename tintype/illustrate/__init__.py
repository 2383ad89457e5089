"""From a live run to the illustrated article: what happened inside, for any prompt and any model.

    recorder = record(run)
    for step in run: ...
    recording = recorder.recording()
    page(recording).save("beach.html")

or all in one, with what is tried after the run: ``illustrate(sd, "paradise cosmic beach").save("beach.html")``.

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.lazy import lazily

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
    from tintype.illustrate.page_of_training import illustrate_training, training_page
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
    from tintype.illustrate.training_run import TrainingRun, read_run

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

__getattr__, __dir__ = lazily(
    __name__,
    {
        "tintype.illustrate.after": (
            "After",
            "look_after",
        ),
        "tintype.illustrate.agreement": (
            "Agreement",
            "AgreementStep",
            "learn_to_agree",
        ),
        "tintype.illustrate.autoencoding": (
            "Noised",
            "RoundTrip",
            "forward_row",
            "round_trip",
        ),
        "tintype.illustrate.decoding": ("decode_steps",),
        "tintype.illustrate.figures.figure": ("Figure",),
        "tintype.illustrate.heat_maps": (
            "HeatMaps",
            "LayerHeat",
            "StepHeat",
        ),
        "tintype.illustrate.learning": (
            "LearningStep",
            "NoisyExample",
            "TrainingRow",
            "learning_step",
            "row_latents",
            "training_examples",
            "training_rows",
        ),
        "tintype.illustrate.recorder": (
            "Recorder",
            "record",
        ),
        "tintype.illustrate.recording": (
            "Decoded",
            "Equation",
            "LayerRecord",
            "PartFacts",
            "RecordedStep",
            "Recording",
            "Term",
            "Token",
        ),
        "tintype.illustrate.run_page": (
            "Page",
            "illustrate",
            "page",
        ),
        "tintype.illustrate.page_of_training": (
            "illustrate_training",
            "training_page",
        ),
        "tintype.illustrate.training_run": (
            "TrainingRun",
            "read_run",
        ),
    },
)
